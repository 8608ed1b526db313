import MeshWire

/// A message of a local client, as `Node.publish` takes it. Trivial: `name` and `payload` lie in the
/// bytes given with it.
public struct OutgoingMessage: Sendable {
    /// `.channel`, `.shardChannel` or `.user`.
    public var body: RoutedBody
    public var key: Key
    public var name: Slice
    public var payload: Slice
    /// The driver's own, for `.undelivered`; 0: nobody wants to know.
    public var sender: UInt64
    /// Sent at most once and never again: what is lost of it is lost.
    public var isVolatile: Bool
    /// Somebody on this node gets it too: what finds nobody elsewhere is not sent on.
    public var isReceivedHere: Bool
    /// The payload begins with a label (`LabelPrefix`).
    public var isLabelled = false

    public init(
        _ body: RoutedBody, _ key: Key, name: Slice, payload: Slice, sender: UInt64 = 0,
        isVolatile: Bool = false, isReceivedHere: Bool = false
    ) {
        self.body = body
        self.key = key
        self.name = name
        self.payload = payload
        self.sender = sender
        self.isVolatile = isVolatile
        self.isReceivedHere = isReceivedHere
    }
}

/// The fate of a message that a local client has published.
public struct PublishOutcome: Equatable, Sendable {
    public enum Verdict: Sendable {
        /// It goes to `nodeCount` other nodes.
        case sent
        /// Its user is nowhere, but was somewhere a moment ago: it waits for the user.
        case parked
        /// No other node has its key.
        case nowhere
        /// There is more under way to its receivers than may be kept for them. It is not sent, and
        /// each copy is reported (`.undelivered`).
        case refused
    }

    /// With the id of this node it names the message (`MessageID`).
    public var number: UInt32
    /// The other nodes that it goes to.
    public var nodeCount = 0
    public var verdict = Verdict.nowhere
    /// The fullest thing that the message belongs to. The publisher should not be listened to until
    /// `Node.isCongested` says no; an `.uncongested` tells when to ask.
    public var congestion: Congestion?

    public init(number: UInt32, nodeCount: Int = 0, verdict: Verdict = .nowhere) {
        self.number = number
        self.nodeCount = nodeCount
        self.verdict = verdict
    }
}

/// The part of the mesh that is too full for a publisher to be listened to.
public enum Congestion: Equatable, Sendable {
    /// The window of one flow.
    case flow(FlowIndex)
    /// The large messages of one flow of the bulk lane.
    case largeMessages(FlowIndex)
    /// All flows together keep too much.
    case allFlows
}

/// The place of a flow to another node in `Flows.outgoing`.
public struct FlowIndex: TableIndex {
    public var rawValue: Int32

    @inlinable @inline(__always)
    public init(rawValue: Int32) { self.rawValue = rawValue }
}
