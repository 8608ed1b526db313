import MeshWire

/// A node of the mesh: membership, links, directory and routing. Event in, effects out.
///
/// It has no clock, no socket, no global randomness and depends on no hash order: the same seed and
/// the same events give the same effects. The TCP driver and the simulator run this same code.
public struct Node: ~Copyable {
    public let id: NodeID
    public let configuration: Configuration
    /// When `.deadline` is due, at the latest; nil: never.
    public var nextDeadline: Instant?
    /// Members and table have arrived.
    public private(set) var isReady = false
    public private(set) var counters = Counters()

    /// - Parameter seed: for the node's own random choices; anything, but different on each node.
    public init(
        id: NodeID, incarnation: Incarnation, seed: UInt64, configuration: Configuration,
        hasher: KeyHasher, at now: Instant
    ) {
        self.id = id
        self.configuration = configuration
        nextDeadline = now
    }

    /// Advances the node by one event. Never blocks, never fails; what must happen next is appended
    /// to `effects`.
    public mutating func handle(
        _ event: Event, bytes: Span<UInt8>, at now: Instant, into effects: inout EffectBuffer
    ) {
    }

    /// A slot for a connection that the driver has accepted; nil when all are taken: close it.
    public mutating func acceptLink(at now: Instant) -> LinkIndex? { nil }

    /// The members, this node among them, in ring order.
    public func members() -> [MemberStatus] { [] }
    public func links() -> [LinkStatus] { [] }
    public func tableSizes() -> TableSizes {
        TableSizes(entries: 0, directoryBytes: 0, patterns: 0, members: 0, links: 0)
    }

    /// The nodes that hold this key, this one among them, in order of their ids.
    public func holders(of key: Key) -> [NodeID] { [] }
    public func isHeld(_ key: Key) -> Bool { false }
    /// Different patterns subscribed anywhere in the mesh.
    public var patternCount: Int { 0 }
}
