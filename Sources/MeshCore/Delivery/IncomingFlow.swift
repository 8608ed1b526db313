import MeshWire

/// The content of one place in a flow.
enum FlowContent {
    case message(RoutedBody)
    /// The same with a label before its payload.
    case labelled(RoutedBody)
    /// A message of a later version: its origin is told when the flow passes it.
    case unsupported(Unsupported)
}

/// A message that came before an earlier one, copied until that comes.
struct ReorderedMessage {
    var content: FlowContent
    var key: Key
    var number: UInt32
    var hops: UInt64
    var nameCount: Int
    /// The name, then the payload.
    var bytes: [UInt8]

    /// Its cost in the bounds: its bytes and the bookkeeping.
    var cost: Int { bytes.count + 64 }
}

/// The place of a flow from another node in `Flows.incoming`.
struct IncomingFlowIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The messages of another node to this one in one lane: delivered once and in order.
///
/// In order, a message costs a comparison. One that comes too early waits in a window of places by
/// the lower bits of its number, made when the first one does.
struct IncomingFlow: ~Copyable {
    let origin: NodeID
    let lane: Lane
    /// The number of the next message to deliver, modulo 2^32.
    var expected: UInt32 = 1
    /// The number that the flow begins with, as far as this node knows.
    private var first: UInt32 = 1
    /// The highest number that has been seen; not below `expected`: something is missing.
    var highest: UInt32 = 0
    /// Messages since the last acknowledgement.
    var unacknowledged = 0
    /// There is something in `returned`: the next message may not be simply handed over.
    var givesBack = false
    var returned = ReturnedMessages()
    /// It stands in `Flows.due`, and is looked at then.
    var isListed = false
    /// Its origin is forgotten while it is still listed.
    var isForgotten = false
    var due: Instant
    /// That of its acknowledgements.
    var detour: Detour
    /// Since when the next message is missing while later ones have come.
    var gapSince: Instant
    /// Of the bulk lane: the large message whose parts are coming.
    var partial = PartialMessage()
    private var window: [ReorderedMessage?] = []
    private(set) var waitingCount = 0
    private(set) var waitingBytes = 0

    /// Numbers that can be that far apart are no flow's: at most 2^17 messages are kept by an
    /// origin, and those of a few dozen false deaths can be given up in a row.
    static let distanceMax = 1 << 24

    init(from origin: NodeID, _ lane: Lane = .messages, at now: Instant) {
        self.origin = origin
        self.lane = lane
        due = now
        detour = Detour(at: now)
        gapSince = now
    }

    /// How far `number` is ahead of the next message; negative: it has been delivered.
    @inline(__always)
    func distance(to number: UInt32) -> Int { Int(Int32(bitPattern: number &- expected)) }

    /// The same; a flow of which nothing has been delivered begins before this number, if it has to.
    mutating func distanceFromBegin(to number: UInt32) -> Int {
        if distance(to: number) < 0, isFresh, !hasGap { begin(before: number) }
        return distance(to: number)
    }

    @inline(__always) var hasGap: Bool { distance(to: highest) >= 0 }
    /// Nothing has been delivered yet: this node may have forgotten how far the flow was.
    var isFresh: Bool { expected == first }

    /// The first number to be seen of a flow that is past the middle of all numbers looks like an old one,
    /// counted from 1. It is taken as ahead by more than its origin keeps: what that has given up before,
    /// it says when it is asked.
    private mutating func begin(before number: UInt32) {
        first = number &- UInt32(Self.distanceMax / 2)
        expected = first
        highest = first &- 1
    }

    /// Passes over the next message, which is delivered or given up.
    @inline(__always)
    mutating func pass() {
        if Int32(bitPattern: expected &- highest) > 0 { highest = expected }
        expected &+= 1
    }

    /// Passes over several messages, none of which waits.
    mutating func pass(_ count: UInt32) {
        expected &+= count &- 1
        pass()
    }

    /// The messages that are missing after the last delivered one; 0: none.
    var missing: UInt32 {
        guard hasGap else { return 0 }
        for ahead in 1..<max(1, window.count) {
            let number = expected &+ UInt32(truncatingIfNeeded: ahead)
            if window[Int(number) & (window.count - 1)] != nil { return UInt32(ahead) }
        }
        return highest &+ 1 &- expected
    }

    /// Whether a message that is `ahead` of the next one waits already.
    func isWaiting(ahead: Int) -> Bool {
        guard ahead < window.count else { return false }
        return window[Int(expected &+ UInt32(ahead)) & (window.count - 1)] != nil
    }

    /// Keeps a message that is `ahead` ≥ 1 of the next one and less than `capacity`, a power of two.
    mutating func wait(_ message: ReorderedMessage, ahead: Int, capacity: Int) {
        precondition(ahead > 0 && ahead < capacity && capacity & (capacity - 1) == 0)
        if window.isEmpty { window = [ReorderedMessage?](repeating: nil, count: capacity) }
        let position = Int(expected &+ UInt32(ahead)) & (window.count - 1)
        precondition(window[position] == nil)
        window[position] = message
        waitingCount += 1
        waitingBytes += message.cost
    }

    /// Takes the next message out of the window, if it waits there.
    mutating func takeNext() -> ReorderedMessage? {
        guard waitingCount > 0 else { return nil }
        let position = Int(expected) & (window.count - 1)
        guard let message = window[position] else { return nil }
        window[position] = nil
        waitingCount -= 1
        waitingBytes -= message.cost
        if waitingCount == 0 { window = [] }
        return message
    }

    /// Forgets what waits: its origin, should it live, sends it again. What has found nobody stays: it
    /// is acknowledged by no word before the origin's.
    mutating func dropWaiting() {
        window = []
        waitingCount = 0
        waitingBytes = 0
        highest = expected &- 1
    }

    /// Everything up to here is delivered, given up by its origin, or its origin's again.
    var acknowledgeable: UInt32 { (returned.numbers.first ?? expected) &- 1 }
}
