import MeshCore
import MeshWire

/// One client connection: its subscriptions, its sessions, its output. What its protocol has to remember of
/// it is the door's (`Conversation`).
///
///     open ─▶ serving ⇄ asking (a question to the mesh is open)
///          ─▶ ending: its last words are in the output, then the connection closes
///          ─▶ doomed: over its limit or killed; the output is gone, the connection closes
struct Session: ~Copyable {
    var flags: SessionFlags = []
    var lists = SubscriptionLists()
    var output = ByteQueue()
    /// Messages that came while the replies of a transaction are being written: they follow them.
    var held = ByteQueue()

    /// The node's memory that it takes.
    var charge = MemoryCharge()

    /// The sessions that this connection has.
    var sessions = HeldSessions()

    // Clients that may be behind, see SlowConsumers.

    var mailbox = Mailbox()
    /// Messages dropped for this client by its policy.
    var droppedCount = 0
    /// The position of the output's first byte in all that was written to it, while tracked or
    /// confirming.
    var outputBase: UInt64 = 0
    /// Places behind which nothing leaves yet, the first one first (Confirmations).
    var marks = FIFO<OutputMark>()
    /// The sessions that it had, and that may have lost something with its connection.
    var parted: [PartedSession] = []

    /// Topics whose present state the driver has been asked for, in order.
    var watching: [TopicIndex] = []

    /// The metadata of the attachment that it is about to begin; nil: there are none.
    var announced: [UInt8]?

    /// Since when the output has been above the soft limit; nil: it is not.
    var overSoftLimitSince: Instant?
    var origin = ClientOrigin.elsewhere
    /// Those of its sessions of which messages may still come twice.
    var settlingCount: Int32 = 0
    /// The user that its subscriptions are charged to, of those that it is attached as; none: it is attached
    /// as nobody (UserCharges).
    var payer = TopicIndex.none
    var identity = ClientIdentity()

    var isRESP3: Bool {
        @inline(__always) get { flags.contains(.resp3) }
    }
}

/// The things that people see of a client, in CLIENT LIST and in the log.
struct ClientIdentity {
    /// No other connection of this node has had it.
    var id: Int64 = 0
    var openedAt = Instant(nanoseconds: 0)
    var lastSeenAt = Instant(nanoseconds: 0)
    /// The number that its door has for the operation that it has given last; nil: it has given none.
    var lastOperation: UInt8?
    /// CLIENT SETNAME and SETINFO.
    var name: [UInt8] = []
    var libraryName: [UInt8] = []
    var libraryVersion: [UInt8] = []
    /// Where it comes from: `127.0.0.1:50123`.
    var address = ""
}

struct SessionFlags: OptionSet {
    var rawValue: UInt32
    init(rawValue: UInt32) { self.rawValue = rawValue }

    mutating func set(_ flags: SessionFlags, _ isSet: Bool) {
        if isSet { formUnion(flags) } else { subtract(flags) }
    }

    static let open = SessionFlags(rawValue: 1 << 0)
    /// It reads RESP3, and else RESP2.
    static let resp3 = SessionFlags(rawValue: 1 << 1)
    static let authenticated = SessionFlags(rawValue: 1 << 2)
    /// It is the operator (`Credentials`).
    static let administrator = SessionFlags(rawValue: 1 << 3)
    /// Stands in `GatewayOutbox.dirty`.
    static let dirty = SessionFlags(rawValue: 1 << 4)
    /// A question to the mesh is open.
    static let asking = SessionFlags(rawValue: 1 << 5)
    static let ending = SessionFlags(rawValue: 1 << 6)
    static let doomed = SessionFlags(rawValue: 1 << 7)

    /// It is in the middle of something that only its door knows: no message takes the short way.
    static let busy = SessionFlags(rawValue: 1 << 8)
    /// Messages wait until the answers that are being written are complete (`Session.held`).
    static let holding = SessionFlags(rawValue: 1 << 9)
    /// The operation at hand gets no answer.
    static let muted = SessionFlags(rawValue: 1 << 10)

    /// Its messages pass its mailbox: it has a policy other than to be disconnected, or a session.
    static let tracked = SessionFlags(rawValue: 1 << 11)
    /// It wants to be told of its gaps, of what was not delivered, and where to go when its node leaves.
    static let gaps = SessionFlags(rawValue: 1 << 12)
    static let reports = SessionFlags(rawValue: 1 << 13)
    static let moves = SessionFlags(rawValue: 1 << 14)
    /// There are gaps that it has not been told of.
    static let gapPending = SessionFlags(rawValue: 1 << 15)
    /// Some of its output is counted (`charge`).
    static let counted = SessionFlags(rawValue: 1 << 16)
    /// It has attached a user with a session.
    static let session = SessionFlags(rawValue: 1 << 17)
    /// Its session has just come from another node: messages may come twice.
    static let settling = SessionFlags(rawValue: 1 << 18)

    /// Something in its output waits until other nodes know of it.
    static let confirming = SessionFlags(rawValue: 1 << 19)
    /// Its subscriptions are confirmed as soon as this node has them.
    static let confirmsLocally = SessionFlags(rawValue: 1 << 20)

    /// A command of its is carried out in part: it can be ended with its connection alone.
    static let midway = SessionFlags(rawValue: 1 << 21)

    /// It is shown what messages say besides their payload.
    static let details = SessionFlags(rawValue: 1 << 22)
    /// It has said that it ends.
    static let quits = SessionFlags(rawValue: 1 << 23)

    /// Its output does not simply go to the socket.
    static let deliberate: SessionFlags = [.tracked, .gapPending, .confirming, .counted]

    /// The flags that decide whether a command takes the short way.
    static let relevant: SessionFlags = [
        .open, .authenticated, .busy, .asking, .muted, .ending, .doomed,
    ]
    /// Their state when it does.
    static let plain: SessionFlags = [.open, .authenticated]
}
