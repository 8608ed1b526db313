import MeshCore
import MeshServer
import MeshWire

/// A server and its driver's side, in a `MemoryMesh`.
public struct MemoryHost: ~Copyable {
    public var server: Server
    public var effects = ServerEffects()
    /// Clients that are flushed; reused.
    @usableFromInline var dirty: [ClientIndex] = []
    /// Bytes that wait to be sent, by link.
    public var outputs: Slab<ByteQueue>
    /// The other end of each link.
    public internal(set) var wires: [Wire]
    /// Messages that the node has handed over for its clients.
    public var deliveredCount = 0
    /// The process lives.
    public internal(set) var isUp = true
    /// The process stands still: nothing happens to it, and what comes waits.
    public internal(set) var isFrozen = false
    /// The listeners that it has not closed.
    public internal(set) var takesClients = true
    public internal(set) var takesLinks = true
    public internal(set) var logLines: [LogLine] = []
    /// The settings that the server last told its driver.
    public internal(set) var clientSettings: ClientSettings?
    /// The facts of its driver that reports show, but for what waits on links.
    public var facts = DriverFacts()

    /// Parcels that have come while it was frozen.
    var waiting: [MemoryMesh.Parcel] = []
    /// By `ClientIndex`; nil: no client has the place.
    var clients: [MemoryClient?] = []

    /// The present event's effects concern more than bytes on links, or frames go one by one.
    @usableFromInline var needsMore = false

    /// The other end of a link.
    public struct Wire: Sendable {
        /// -1: none.
        public internal(set) var host = -1
        public internal(set) var link = LinkIndex.none
        /// How often the link's slot has been used: what is meant for a former use is dropped.
        @usableFromInline var use = 0
        /// It was made from outside the mesh.
        var isForeign = false
    }

    init(server: consuming Server, linkCount: Int) {
        self.server = server
        outputs = Slab(capacity: linkCount)
        for _ in 0..<linkCount { outputs.append(ByteQueue()) }
        wires = [Wire](repeating: Wire(), count: linkCount)
    }

    /// Things happen to it.
    var isRunning: Bool { isUp && !isFrozen }

    /// The first link to another host; nil: there is none.
    public func link(to peer: Int) -> LinkIndex? {
        wires.firstIndex { $0.host == peer }.map { LinkIndex($0) }
    }

    // MARK: Events

    /// One event, and the effects that the hot path has: bytes to links.
    @inlinable @inline(__always)
    mutating func handle(_ event: Event, _ input: Span<UInt8>, at now: Instant) {
        server.handle(event, bytes: input, at: now, into: &effects)
        performBytes(input)
    }

    /// The process goes on after it has slept, or stood still.
    mutating func wake(at now: Instant) {
        server.woke(at: now, into: &effects)
        performBytes(Span())
    }

    /// Frames that have come over a link, until one has effects that concern more than bytes.
    ///
    /// - Returns: where the rest starts. The turn of the last one is not ended.
    mutating func receive(
        _ input: Span<UInt8>, from start: Int, over link: LinkIndex, at now: Instant
    ) -> Int {
        var offset = start
        var needed = 0
        while true {
            guard let prefix = try? FramePrefix.read(input, at: offset, needed: &needed) else {
                preconditionFailure("a node sent a malformed frame")
            }
            handle(.received(prefix, start: offset, from: link), input, at: now)
            offset += prefix.length
            if needsMore || offset >= input.count { return offset }
            endTurn()
        }
    }

    /// A link for a connection that another has opened, and the same.
    mutating func acceptLink(at now: Instant) -> LinkIndex? {
        let link = server.acceptLink(at: now, into: &effects)
        performBytes(Span())
        return link
    }

    /// A message of no client, and the same.
    @inlinable @inline(__always)
    mutating func publish(
        _ message: OutgoingMessage, _ input: Span<UInt8>, at now: Instant
    ) -> PublishOutcome {
        let outcome = server.publish(message, bytes: input, at: now, into: &effects)
        performBytes(input)
        return outcome
    }

    /// A part of a session, and the same.
    mutating func sendSession(
        _ payload: Slice, to destination: NodeID, _ input: Span<UInt8>, at now: Instant
    ) -> BulkOutcome {
        let outcome = server.sendSession(
            payload, to: destination, bytes: input, at: now, into: &effects)
        performBytes(input)
        return outcome
    }

    /// A client's command, and the same.
    @inlinable @inline(__always)
    mutating func command(
        from client: ClientIndex, _ input: Span<UInt8>, at offset: inout Int, now: Instant
    ) -> ClientStep {
        let step = server.command(from: client, input, at: &offset, now: now, into: &effects)
        performBytes(input)
        return step
    }

    @inlinable @inline(__always)
    mutating func performBytes(_ input: Span<UInt8>) {
        for index in 0..<effects.mesh.count {
            switch effects.mesh[index] {
            case .send(let link, let head, let body, _):
                send(head, body, input, over: link.slot)
            case .deliver: deliveredCount += 1
            case .dial, .close, .left: needsMore = true
            default: break
            }
        }
    }

    @inlinable @inline(__always)
    mutating func endTurn() {
        effects.mesh.removeAll()
        if !effects.orders.isEmpty { takeOrders() }
    }

    @inlinable @inline(__always)
    mutating func send(_ head: Slice, _ body: Slice, _ input: Span<UInt8>, over link: Int) {
        // A link that is closed in the same turn has no other end any more.
        guard wires[link].host >= 0 else { return }
        let start = Int(head.start)
        let count = Int(head.count)
        let target = unsafe outputs[link].reserve(count)
        unsafe effects.mesh.bytes.withBytes {
            unsafe target.copyMemory(from: $0.baseAddress! + start, byteCount: count)
        }
        outputs[link].append(input, Int(body.start), Int(body.count))
    }
}
