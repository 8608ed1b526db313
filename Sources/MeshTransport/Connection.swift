import Glibc
import MeshCore
import MeshServer
import MeshWire

/// A connection's place in `Connections`.
struct ConnectionIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// One socket and its bytes on the way in and out.
///
///     free → link | client | http → (lingering) → free
///
/// A link that is dialled is `connecting` first. `lingering` connections belong to nobody any more:
/// they send what waits until their deadline, read to nowhere, and end. How those of clients end may
/// say whether something is unread (`doubt`).
struct Connection: ~Copyable {
    enum Role: UInt8 {
        case free
        /// Of the `link`.
        case link
        /// Of the `client`.
        case client
        case http
        case lingering
    }

    var descriptor: Int32 = -1
    /// Raised each time that the place is used again.
    var generation: UInt32 = 0
    /// One word for both: the role tells which it is.
    private var owner: Int32 = -1
    @inline(__always) var link: LinkIndex {
        get { LinkIndex(rawValue: owner) }
        set { owner = newValue.rawValue }
    }
    @inline(__always) var client: ClientIndex {
        get { ClientIndex(rawValue: owner) }
        set { owner = newValue.rawValue }
    }
    var role = Role.free
    /// The three-way handshake is not over; nothing may be sent.
    var isConnecting = false
    /// Stands in the reactor's list of connections to flush.
    var isDirty = false
    /// Registered for reading, and for writing: what epoll knows.
    var readsRegistered = true
    var writesRegistered = false
    /// The input waits until the server lets it go on.
    var isPaused = false
    /// No more input is taken; the connection ends when its output has left.
    var isEnding = false
    /// Its queue is above `Limits.congestionBytes` and has not yet fallen below half of it.
    var isCongested = false
    /// Of a link: the node knows that something waits in its queue.
    var hasBacklog = false
    /// The kernel had no memory for its output; it stands in the reactor's list of such.
    var isStarved = false
    /// A call of the kernel has failed for good: it was reset, or has timed out.
    var isBroken = false
    /// The peer has ended its side in order.
    var hasPeerEnded = false
    /// This node has.
    var hasEnded = false
    /// Of a client that is closed, as long as the server wants to know how its connection ends.
    var doubt: UInt32?
    /// Input bytes without which there is no use in trying to decode again.
    var needed = 0
    /// Bytes that have arrived and could not be used yet.
    var input = ByteQueue()
    /// Bytes that wait to be sent; those of clients the server keeps.
    var output = SendQueue()
    /// Of a client: the server knows of input that waits.
    var hasLongInput = false
    /// When to give up: an HTTP head that does not end, a connection that does not flush.
    var deadline: Instant?
}

/// Connections by index, which never move: the slab begins with all of its capacity.
struct Connections: ~Copyable {
    let capacity: Int
    /// Places in use.
    private(set) var count = 0
    private var places: Slab<Connection>
    private var free: [ConnectionIndex] = []

    init(capacity: Int) {
        self.capacity = capacity
        places = Slab(capacity: capacity)
    }

    /// Places that have ever been used.
    var used: Int { places.count }

    /// By address, and not by `_read` and `_modify`: with those the compiler of Swift 6.3 makes a
    /// broken module of this one under the thread sanitizer.
    subscript(index: ConnectionIndex) -> Connection {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(places.pointer(to: index.slot)) }
        @inline(__always) unsafeMutableAddress { unsafe places.pointer(to: index.slot) }
    }

    /// A free place with a fresh generation; nil when all are taken.
    mutating func allocate() -> ConnectionIndex? {
        if let index = free.popLast() {
            count += 1
            self[index].generation &+= 1
            return index
        }
        guard used < capacity else { return nil }
        places.append(Connection())
        count += 1
        return ConnectionIndex(used - 1)
    }

    /// Gives a place back and forgets what was in it.
    mutating func release(_ index: ConnectionIndex) {
        precondition(self[index].role != .free)
        let generation = self[index].generation
        self[index] = Connection()
        self[index].generation = generation
        free.append(index)
        count -= 1
    }
}
