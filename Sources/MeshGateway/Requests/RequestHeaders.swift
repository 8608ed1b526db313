import MeshWire

// The fields before the payloads of requests and replies, little-endian:
//
//     request:  number 4 · remaining ms 4 · flags 1 · kind 1 · form 1 · hash of a key 8 · payload
//     reply:    number 4 · status 1 · waiting 2 · providers 2 · given 2 · form 1 · place 4 · payload
//
// Form is 0 so far.

/// The fields before a request's payload.
struct RequestHeader: Equatable {
    struct Flags: OptionSet {
        var rawValue: UInt8
        /// All of them at the node are asked.
        static let all = Flags(rawValue: 1)
        /// Another provider may get it when one has died with it.
        static let retries = Flags(rawValue: 2)
        /// Nobody awaits the request of this number any more. What remains is the reason (`CancelReason`).
        static let cancels = Flags(rawValue: 4)
        /// The answer may come in parts.
        static let parts = Flags(rawValue: 8)
        /// The hash of a key chooses the provider.
        static let keyed = Flags(rawValue: 16)
        static let known: Flags = [.all, .retries, .cancels, .parts, .keyed]
    }

    var number: UInt32
    /// Until the asker's deadline, when it was sent.
    var remainingMilliseconds: UInt32
    var flags: Flags
    var kind: RequestTarget.Kind
    /// Of the key, with `keyed`; else 0.
    var hash: UInt64 = 0

    static let size = 19

    init(
        number: UInt32, remainingMilliseconds: UInt32, flags: Flags,
        kind: RequestTarget.Kind = .service, hash: UInt64 = 0
    ) {
        self.number = number
        self.remainingMilliseconds = remainingMilliseconds
        self.flags = flags
        self.kind = kind
        self.hash = hash
    }

    /// Nil: the payload is too short, or the kind unknown.
    init?(_ bytes: Span<UInt8>, _ payload: Slice) {
        let start = Int(payload.start)
        guard payload.count >= Self.size,
            let kind = RequestTarget.Kind(rawValue: bytes[start + 9])
        else { return nil }
        number = bytes.load(UInt32.self, at: start)
        remainingMilliseconds = bytes.load(UInt32.self, at: start + 4)
        flags = Flags(rawValue: bytes[start + 8])
        self.kind = kind
        hash = bytes.load(UInt64.self, at: start + 11)
    }

    func append(to queue: inout ByteQueue) {
        queue.append(integer: number)
        queue.append(integer: remainingMilliseconds)
        queue.append(flags.rawValue)
        queue.append(kind.rawValue)
        queue.append(UInt8(0))
        queue.append(integer: hash)
    }
}

/// The reason why a request comes back, or its end.
enum ReplyStatus: UInt8 {
    case answer = 0
    /// A part of the answer; more follows.
    case part = 1
    /// The provider does not take it: another may.
    case rejected = 2
    /// The provider has tried.
    case failed = 3
    /// Too many wait for the service at this node.
    case busy = 4
    /// The service has no provider at this node.
    case nobody = 5
    /// The last provider has gone before it was given the request.
    case diedWaiting = 6
    /// The provider has gone with it.
    case diedGiven = 7
    /// The time was over before a provider was free.
    case expired = 8
    /// Of a request to all: the connections that it went to at this node, which answer one by one.
    case asked = 9
}

/// The fields before a reply's payload.
struct ReplyHeader: Equatable {
    var number: UInt32
    var status: ReplyStatus
    /// Of the service at the node that replies: requests that wait for a provider, providers, and requests
    /// that they have.
    var waiting: UInt16
    var providers: UInt16
    var given: UInt16
    /// Of a request to all, the place of the connection among those that were asked; of one in parts, how
    /// many parts go before; else 0.
    var place: UInt32

    static let size = 16

    init(
        number: UInt32, status: ReplyStatus, waiting: UInt16, providers: UInt16, given: UInt16,
        place: UInt32 = 0
    ) {
        self.number = number
        self.status = status
        self.waiting = waiting
        self.providers = providers
        self.given = given
        self.place = place
    }

    /// Nil: the payload is too short, or the status unknown.
    init?(_ bytes: Span<UInt8>, _ payload: Slice) {
        let start = Int(payload.start)
        guard payload.count >= Self.size, let status = ReplyStatus(rawValue: bytes[start + 4])
        else { return nil }
        number = bytes.load(UInt32.self, at: start)
        self.status = status
        waiting = bytes.load(UInt16.self, at: start + 5)
        providers = bytes.load(UInt16.self, at: start + 7)
        given = bytes.load(UInt16.self, at: start + 9)
        place = bytes.load(UInt32.self, at: start + 12)
    }

    func append(to queue: inout ByteQueue) {
        queue.append(integer: number)
        queue.append(status.rawValue)
        queue.append(integer: waiting)
        queue.append(integer: providers)
        queue.append(integer: given)
        queue.append(UInt8(0))
        queue.append(integer: place)
    }
}

/// A request or reply on its way to one node.
public struct Post: Sendable {
    /// This node too.
    public var destination: NodeID
    public var body: RoutedBody
    public var key: Key
    public var nameCount: Int
    /// The name, then the payload.
    public var bytes: [UInt8]
    /// For `undelivered`; 0: nobody wants to know.
    public var sender: UInt64

    public var name: Slice { Slice(start: 0, count: nameCount) }
    public var payload: Slice { Slice(start: nameCount, count: bytes.count - nameCount) }
}
