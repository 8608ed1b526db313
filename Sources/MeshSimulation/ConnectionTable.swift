import MeshCore

/// A simulated TCP connection: two ordered streams of bytes.
struct Connection {
    /// One direction of it, from the side that dialled or towards it.
    struct Stream {
        /// The last arrival: later bytes do not overtake.
        var lastArrival = Instant(nanoseconds: 0)
        /// Bytes on their way.
        var inFlight = 0
        /// What the network holds up, in order, until a retransmission gets through.
        var stalled: [Action] = []
        /// When the first of `stalled` is sent again, and after how long once more.
        var retryAfter = Delay.zero
    }

    /// The side that dialled and the side that accepted.
    var dialler: Int32
    var acceptor: Int32
    /// The slots of the link on either side; -1: that side has none, any more or yet.
    var diallerLink: LinkIndex
    var acceptorLink: LinkIndex = -1
    var toDialler = Stream()
    var toAcceptor = Stream()
    /// Events that name this connection and have not happened.
    var pending = 0

    @inline(__always)
    func stream(toDialler isToDialler: Bool) -> Stream { isToDialler ? toDialler : toAcceptor }

    /// Nobody can tell any more that it was there.
    var isOver: Bool { diallerLink < 0 && acceptorLink < 0 && pending == 0 }
}

/// All connections by number. The numbers of those that are over are used again, so the table is as
/// large as the most that ever were at one time.
struct ConnectionTable {
    private var slots: [Connection] = []
    private var free: [Int32] = []

    /// Connections that stand, or are being set up or torn down.
    var count: Int { slots.count - free.count }
    var indices: Range<Int> { slots.indices }

    @inline(__always)
    subscript(number: Int32) -> Connection {
        _read { yield slots[Int(number)] }
        _modify { yield &slots[Int(number)] }
    }

    mutating func open(from dialler: Int, _ link: LinkIndex, to acceptor: Int) -> Int32 {
        let connection = Connection(
            dialler: Int32(dialler), acceptor: Int32(acceptor), diallerLink: link)
        if let number = free.popLast() {
            slots[Int(number)] = connection
            return number
        }
        slots.append(connection)
        return Int32(slots.count - 1)
    }

    /// Gives the number back once nothing refers to it.
    @inline(__always)
    mutating func recycle(_ number: Int32) {
        if slots[Int(number)].isOver { free.append(number) }
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
        /// The end of a stream comes to one side.
        case end
        /// The network tries again what it could not carry.
        case retry
        /// A frozen node goes on.
        case thaw
    }

    var kind: Kind
    /// Which way, for what travels on a connection.
    var isToDialler = false
    var host: Int32 = -1
    var connection: Int32 = -1
    var parcel = Parcel.none
}
