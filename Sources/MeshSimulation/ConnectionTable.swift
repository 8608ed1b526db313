import MeshCore
import MeshWire

/// A connection's number in `ConnectionTable`.
struct ConnectionNumber: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// A simulated TCP connection: two ordered streams of bytes. Two thirds of a cache line, since every
/// frame touches it twice.
struct Connection {
    /// One direction of it, from the side that dialled or towards it.
    struct Stream {
        /// The last arrival: later bytes do not overtake.
        var lastArrival = Instant(nanoseconds: 0)
        /// Bytes on their way.
        var inFlight: Int32 = 0
        /// The network holds something up (`ConnectionTable.stalled`).
        var isStalled = false
        /// It is so for as long as the way drops large packets: one is lost (`World.isSwallowed`).
        var isHollow = false
    }

    /// The side that dialled and the side that accepted.
    var dialler: Int32
    var acceptor: Int32
    /// The slots of the link on either side; none: that side has none, any more or yet.
    var diallerLink: LinkIndex
    var acceptorLink = LinkIndex.none
    /// Events that name this connection and have not happened.
    var pending: Int32 = 0
    /// It was dialled to send small packets only.
    var isSmall = false
    var toDialler = Stream()
    var toAcceptor = Stream()

    /// Nobody can tell any more that it was there.
    @inline(__always)
    var isOver: Bool { diallerLink.isNone && acceptorLink.isNone && pending == 0 }
}

/// All connections by number. The numbers of those that are over are used again, so the table is as
/// large as the most that ever were at one time.
struct ConnectionTable: ~Copyable {
    private var slots = Slab<Connection>()
    private var free: [ConnectionNumber] = []
    /// The bytes that the network holds up on a stream, in order, until a retransmission gets through; by
    /// connection and direction. Only ever asked, never walked: no order comes of it.
    private var stalled: [Int64: Stalled] = [:]

    private struct Stalled {
        var actions: [Action]
        /// After how long the first of them is sent again once more.
        var retryAfter: Delay
    }

    /// Connections that stand, or are being set up or torn down.
    var indices: Range<Int> { 0..<slots.count }

    @inline(__always)
    subscript(number: ConnectionNumber) -> Connection {
        _read { yield slots[number.slot] }
        _modify { yield &slots[number.slot] }
    }

    mutating func open(from dialler: Int, _ link: LinkIndex, to acceptor: Int) -> ConnectionNumber {
        let connection = Connection(
            dialler: Int32(dialler), acceptor: Int32(acceptor), diallerLink: link)
        if let number = free.popLast() {
            slots[number.slot] = connection
            return number
        }
        slots.append(connection)
        return ConnectionNumber(slots.count - 1)
    }

    /// Gives the number back once nothing refers to it.
    @inline(__always)
    mutating func recycle(_ number: ConnectionNumber) {
        if slots[number.slot].isOver { free.append(number) }
    }

    // MARK: Streams

    /// Something of `size` bytes sets out. Returns when it arrives, behind what is there, and how
    /// many bytes are on the way with it.
    @inline(__always)
    mutating func depart(
        _ number: ConnectionNumber, toDialler: Bool, _ size: Int32, at time: Instant
    ) -> (arrival: Instant, inFlight: Int) {
        func add(_ stream: inout Connection.Stream) -> (Instant, Int) {
            stream.lastArrival = max(time, stream.lastArrival)
            stream.inFlight += size
            return (stream.lastArrival, Int(stream.inFlight))
        }
        slots[number.slot].pending += 1
        return toDialler
            ? add(&slots[number.slot].toDialler) : add(&slots[number.slot].toAcceptor)
    }

    /// It has arrived.
    @inline(__always)
    mutating func arrived(_ number: ConnectionNumber, toDialler: Bool, _ size: Int32) {
        func finish(_ connection: inout Connection) -> Bool {
            if toDialler {
                connection.toDialler.inFlight -= size
            } else {
                connection.toAcceptor.inFlight -= size
            }
            connection.pending -= 1
            return connection.isOver
        }
        if finish(&slots[number.slot]) { free.append(number) }
    }

    private static func stream(_ number: ConnectionNumber, _ toDialler: Bool) -> Int64 {
        Int64(number.rawValue) * 2 + (toDialler ? 1 : 0)
    }

    private mutating func setStalled(
        _ number: ConnectionNumber, _ toDialler: Bool, _ isStalled: Bool
    ) {
        if toDialler {
            slots[number.slot].toDialler.isStalled = isStalled
        } else {
            slots[number.slot].toAcceptor.isStalled = isStalled
        }
    }

    /// Holds something up. Returns true if nothing was held up before it.
    mutating func stall(_ action: Action, retryAfter: Delay) -> Bool {
        let stream = Self.stream(action.connection, action.isToDialler)
        if stalled[stream]?.actions.append(action) != nil { return false }
        stalled[stream] = Stalled(actions: [action], retryAfter: retryAfter)
        setStalled(action.connection, action.isToDialler, true)
        return true
    }

    /// A retransmission did not get through: after how long the next one is tried.
    mutating func retryAgain(_ number: ConnectionNumber, toDialler: Bool, most: Delay) -> Delay {
        let stream = Self.stream(number, toDialler)
        let delay = min(stalled[stream]!.retryAfter * 2, most)
        stalled[stream]!.retryAfter = delay
        return delay
    }

    /// Bytes that were held up go on.
    mutating func release(_ number: ConnectionNumber, toDialler: Bool) -> [Action] {
        setStalled(number, toDialler, false)
        return stalled.removeValue(forKey: Self.stream(number, toDialler))?.actions ?? []
    }
}

/// One event that waits in the queue. Trivial, so that the queue moves words.
struct Action: BitwiseCopyable {
    enum Kind: UInt8, BitwiseCopyable {
        /// The node's deadline.
        case deadline
        /// A dial comes to the other side.
        case reach
        /// The other side's answer to a dial comes back: it stands, or what stands against it.
        case connected, refused, unreachable
        /// Bytes come to one side.
        case bytes
        /// A piece of what is still on its way comes to one side.
        case piece
        /// The end of a stream comes to one side.
        case end
        /// The network tries again what it could not carry.
        case retry
        /// A frame has left a host whose line takes time.
        case departed
        /// Something waits for such a line.
        case waits
        /// A frozen node goes on.
        case thaw
        /// A client's connection, bytes of it, its end, or a reset come to its node.
        case lineOpens, lineInput, lineEnds, lineBreaks
        /// A client's machine has taken bytes of its node's kernel.
        case lineWritable
        /// Bytes of the node's kernel come to a client's machine.
        case lineArrival
        /// Nothing more will be known of a client's connection that has ended.
        case lineVerdict

        /// It concerns a client's line, not a connection between nodes.
        @inline(__always)
        var isOfLine: Bool { rawValue >= Kind.lineOpens.rawValue }
    }

    var kind: Kind
    /// Which way, for what travels on a connection.
    var isToDialler = false
    var host: Int32 = -1
    /// Of two nodes, or a client's line.
    var connection = ConnectionNumber.none
    var parcel = Parcel.none

    /// The client's line that it concerns.
    var line: Int { connection.slot }
}
