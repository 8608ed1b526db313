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

/// One stream and its bytes on the way in and out.
struct Connection: ~Copyable {
    /// Where a connection is in its life.
    ///
    ///     free ─┬▶ opening ─┐
    ///           └───────────┴▶ open ⇄ paused
    ///                            │ ╲    │
    ///                            │  ▼   ▼
    ///                            │  ending
    ///                            ▼   ▼
    ///                          lingering ─▶ free
    ///
    /// Each may become free at once, when the stream ends.
    enum Phase {
        case free
        /// A link that is dialled and does not stand yet. The node decides when to give it up.
        case opening
        /// `until`: on the HTTP port, when the connection ends unless a request comes; elsewhere nil.
        case open(until: Instant?)
        /// A client's input waits until the server lets it go on.
        case paused
        /// No more input is taken. The connection leaves its owner once the output has left, and at `until`
        /// at the latest.
        case ending(until: Instant)
        /// The connection has no owner any more.
        case lingering(Lingering)
    }

    /// The last part of a connection's life.
    struct Lingering {
        enum Stage {
            /// The output leaves.
            case sending
            /// All has left, and this side has said so. The input goes nowhere.
            case listening
            /// Both sides have ended: only a reset is waited for.
            case expectingReset
        }

        var stage: Stage
        var until: Instant
        /// Of a client, as long as the server wants to know how its connection ends.
        var doubt: UInt32?
    }

    /// The peer, as far as it is known.
    enum Peer {
        case present
        /// It has ended its side in order.
        case ended
        /// A call of the kernel has failed for good: the connection was reset, or has timed out.
        case gone
    }

    enum Role: UInt8 {
        /// Free, or lingering.
        case none
        /// Of the `link`.
        case link
        /// Of the `client`.
        case client
        case http
    }

    var stream = Stream.none
    /// Raised each time that the place becomes free.
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
    var role = Role.none
    var phase = Phase.free
    var peer = Peer.present
    /// The connection stands in the reactor's list of those to flush.
    var isDirty = false
    /// The connection stands in the reactor's list of those with a deadline.
    var isTimed = false
    /// The state that epoll knows.
    var registered = Stream.Interest.input
    /// Its queue is above `Limits.congestionBytes` and has not yet fallen below half of it.
    var isCongested = false
    /// Of a link: the node knows that something waits in its queue.
    var hasBacklog = false
    /// The kernel had no memory for the output; the connection stands in the reactor's list of such.
    var isStarved = false
    /// Decoding is tried again when so many input bytes are there.
    var needed = 0
    /// Bytes that have arrived and could not be used yet.
    var input = ByteQueue()
    /// Bytes that wait to be sent. The server keeps those of clients.
    var output = SendQueue()
    /// The server knows of a client's input that waits.
    var hasLongInput = false

    var isFree: Bool {
        @inline(__always) get {
            if case .free = phase { true } else { false }
        }
    }

    var isOpen: Bool {
        @inline(__always) get {
            if case .open = phase { true } else { false }
        }
    }

    var isOpening: Bool {
        @inline(__always) get {
            if case .opening = phase { true } else { false }
        }
    }

    var isPaused: Bool {
        if case .paused = phase { true } else { false }
    }

    var lingering: Lingering? {
        if case .lingering(let lingering) = phase { lingering } else { nil }
    }

    /// Bytes that arrive are read, if only to go nowhere.
    var takesInput: Bool {
        @inline(__always) get {
            switch phase {
            case .open: true
            case .free, .opening, .paused, .ending: false
            case .lingering(let lingering): lingering.stage != .sending
            }
        }
    }

    /// Something happens when all output has left.
    var endsWhenSent: Bool {
        @inline(__always) get {
            switch phase {
            case .free, .opening, .open, .paused: false
            case .ending: true
            case .lingering(let lingering): lingering.stage == .sending
            }
        }
    }

    /// When to give up.
    var deadline: Instant? {
        switch phase {
        case .free, .opening, .paused: nil
        case .open(let until): until
        case .ending(let until): until
        case .lingering(let lingering): lingering.until
        }
    }
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

    /// A place, open from now on; nil when all are taken.
    mutating func allocate() -> ConnectionIndex? {
        if free.isEmpty {
            guard used < capacity else { return nil }
            places.append(Connection())
            free.append(ConnectionIndex(used - 1))
        }
        let index = free.removeLast()
        self[index].phase = .open(until: nil)
        count += 1
        return index
    }

    /// Gives a place back and forgets what was in it; its next connection has another generation.
    mutating func release(_ index: ConnectionIndex) {
        precondition(!self[index].isFree)
        let generation = self[index].generation &+ 1
        self[index] = Connection()
        self[index].generation = generation
        free.append(index)
        count -= 1
    }
}
