import MeshCore
import MeshServer
import MeshWire

/// A server and the driver's side of its connections.
///
/// A handle of one word: the state stays where it was made, and reaching it costs no count of
/// references and no check of exclusivity, which as a class were a tenth of a run. The world owns the
/// state and gives it back (`free`) when nobody can hold a handle any more.
@safe struct Host {
    /// The driver's side: the clocks, the queue's side and the counters. The server stands behind it,
    /// its first words those of its node that every event touches.
    struct State: ~Copyable {
        // One cache line, which every event touches; then what few do.
        /// When the next `.deadline` event is due that has not been overtaken by an earlier one.
        var deadline: Instant?
        /// Runs nothing until then; what comes meanwhile waits in order.
        var frozenUntil: Instant?
        /// It has said good-bye to everybody.
        var hasLeft = false
        let slotCount: Int32
        /// Its clock against the world's: an offset, and parts in a million that it runs fast.
        var clockOffset = Delay.zero
        var clockDrift: Int64 = 0
        var bytesOut = 0
        var bytesIn = 0

        /// Its line, where lines take time.
        var line = SendingLine()
        var inbox: [Action] = []
        var finished: [QueryID] = []
        var answers: [(query: QueryID, from: NodeID, answer: [UInt8])] = []
        var presences: [(key: Key, isOnline: Bool)] = []
        /// The lines of clients, by the server's index.
        var clientLines: [Int?] = []

        init(slotCount: Int) {
            self.slotCount = Int32(slotCount)
        }
    }

    private let state: UnsafeMutablePointer<State>

    //     State │ Server │ the connection of each link slot; each begins a cache line
    private static var serverOffset: Int { (MemoryLayout<State>.size + 63) & ~63 }
    private static var connectionsOffset: Int {
        serverOffset + (MemoryLayout<Server>.size + 63) & ~63
    }

    @inline(__always)
    private var pointer: UnsafeMutablePointer<Server> {
        unsafe (UnsafeMutableRawPointer(state) + Self.serverOffset)
            .assumingMemoryBound(to: Server.self)
    }

    init(server: consuming Server, slotCount: Int) {
        let base = UnsafeMutableRawPointer.allocate(
            byteCount: Self.connectionsOffset + 4 * slotCount, alignment: 64)
        unsafe state = base.bindMemory(to: State.self, capacity: 1)
        unsafe state.initialize(to: State(slotCount: slotCount))
        unsafe (base + Self.serverOffset).bindMemory(to: Server.self, capacity: 1)
            .initialize(to: server)
        unsafe (base + Self.connectionsOffset).bindMemory(
            to: ConnectionNumber.self, capacity: slotCount
        )
        .initialize(repeating: .none, count: slotCount)
    }

    /// Ends the node's life; no handle may be used afterwards.
    func free() {
        unsafe pointer.deinitialize(count: 1)
        unsafe state.deinitialize(count: 1)
        unsafe UnsafeMutableRawPointer(state).deallocate()
    }

    /// By address, because a reader that yields a value which cannot be copied yields a copy of its
    /// bytes all the same: two thousand of them, twice an event.
    var server: Server {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(pointer) }
        @inline(__always) nonmutating unsafeMutableAddress { unsafe pointer }
    }
    /// The connection of a link slot.
    @inline(__always)
    subscript(link: LinkIndex) -> ConnectionNumber {
        unsafeAddress { unsafe UnsafePointer(connection(link)) }
        nonmutating unsafeMutableAddress { unsafe connection(link) }
    }

    @inline(__always)
    private func connection(_ link: LinkIndex) -> UnsafeMutablePointer<ConnectionNumber> {
        precondition(unsafe !link.isNone && link.rawValue < state.pointee.slotCount)
        return unsafe (UnsafeMutableRawPointer(state) + Self.connectionsOffset)
            .assumingMemoryBound(to: ConnectionNumber.self) + link.slot
    }

    /// All link slots.
    var links: Range<LinkIndex> {
        unsafe LinkIndex(0)..<LinkIndex(rawValue: state.pointee.slotCount)
    }

    var deadline: Instant? {
        @inline(__always) _read { yield unsafe state.pointee.deadline }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.deadline }
    }
    var frozenUntil: Instant? {
        @inline(__always) _read { yield unsafe state.pointee.frozenUntil }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.frozenUntil }
    }
    var clockOffset: Delay {
        @inline(__always) _read { yield unsafe state.pointee.clockOffset }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.clockOffset }
    }
    var clockDrift: Int64 {
        @inline(__always) _read { yield unsafe state.pointee.clockDrift }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.clockDrift }
    }
    var line: SendingLine {
        @inline(__always) _read { yield unsafe state.pointee.line }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.line }
    }
    var bytesOut: Int {
        @inline(__always) _read { yield unsafe state.pointee.bytesOut }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.bytesOut }
    }
    var bytesIn: Int {
        @inline(__always) _read { yield unsafe state.pointee.bytesIn }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.bytesIn }
    }
    var hasLeft: Bool {
        @inline(__always) _read { yield unsafe state.pointee.hasLeft }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.hasLeft }
    }
    var inbox: [Action] {
        @inline(__always) _read { yield unsafe state.pointee.inbox }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.inbox }
    }
    var finished: [QueryID] {
        @inline(__always) _read { yield unsafe state.pointee.finished }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.finished }
    }
    var answers: [(query: QueryID, from: NodeID, answer: [UInt8])] {
        @inline(__always) _read { yield unsafe state.pointee.answers }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.answers }
    }
    var presences: [(key: Key, isOnline: Bool)] {
        @inline(__always) _read { yield unsafe state.pointee.presences }
        @inline(__always) nonmutating _modify { yield unsafe &state.pointee.presences }
    }

    /// A client has come to it.
    @inline(__always)
    var hasClients: Bool { unsafe !state.pointee.clientLines.isEmpty }

    /// The line of a client; nil: none any more.
    func line(of client: ClientIndex) -> Int? {
        guard !client.isNone, unsafe client.slot < state.pointee.clientLines.count
        else { return nil }
        return unsafe state.pointee.clientLines[client.slot]
    }

    func setLine(of client: ClientIndex, _ line: Int?) {
        while unsafe state.pointee.clientLines.count <= client.slot {
            unsafe state.pointee.clientLines.append(nil)
        }
        unsafe state.pointee.clientLines[client.slot] = line
    }

    /// Reads what an event for this link will (`Node.touch`).
    @inline(__always)
    func touch(_ link: LinkIndex) -> Int64 {
        let connection = link.isNone ? 0 : Int64(self[link].rawValue)
        return Int64(bytesIn) &+ connection &+ server.node.touch(link)
    }

    /// The node's clock at a moment of the world's.
    @inline(__always)
    func localTime(_ time: Instant) -> Instant {
        if clockDrift == 0 { return time + clockOffset }
        return Instant(
            nanoseconds: time.nanoseconds + clockOffset.nanoseconds
                + Self.scaled(time.nanoseconds, clockDrift, 1_000_000))
    }

    /// The first moment of the world's clock at which the node's shows `local`.
    @inline(__always)
    func worldTime(_ local: Instant) -> Instant {
        if clockDrift == 0 { return local - clockOffset }
        let elapsed = local.nanoseconds - clockOffset.nanoseconds
        let time = Self.scaled(elapsed, 1_000_000, 1_000_000 + clockDrift)
        return Instant(nanoseconds: time + 1)
    }

    /// value · numerator / denominator, without overflow.
    private static func scaled(_ value: Int64, _ numerator: Int64, _ denominator: Int64) -> Int64 {
        let product = value.multipliedFullWidth(by: numerator)
        return denominator.dividingFullWidth(product).quotient
    }
}
