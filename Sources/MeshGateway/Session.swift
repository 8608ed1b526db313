import MeshCore
import MeshWire

/// One client connection: its protocol, its subscriptions, its output.
///
///     open ─▶ (HELLO, AUTH) ─▶ serving ⇄ asking (a question to the mesh is open)
///                                  ⇄ queueing (after MULTI) ─▶ executing (after EXEC) ─▶ serving
///                                  ⇄ scripting (EVAL), as executing: one publication after another
///          ─▶ ending: an error or QUIT is in the output, then the connection closes
///          ─▶ doomed: over its limit or killed; the output is gone, the connection closes
struct Session: ~Copyable {
    var flags: SessionFlags = []
    var lists = SubscriptionLists()
    var output = ByteQueue()
    /// Messages that came while the replies of a transaction are being written: they follow them.
    var held = ByteQueue()

    /// The node's memory that it takes.
    var charge = MemoryCharge()

    var progress = RESPProgress()
    /// The rest of a command that is not wanted any more, while `skipping`.
    var skip = CommandSkip()
    /// The arguments of a long command of which more is to come.
    var partial = ArgumentList()
    var transaction = Transaction()
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

    /// Since when the output has been above the soft limit; nil: it is not.
    var overSoftLimitSince: Instant?
    var origin = ClientOrigin.elsewhere
    /// Those of its sessions of which messages may still come twice.
    var settlingCount: Int32 = 0
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
    var lastCommand: Command?
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
    static let resp3 = SessionFlags(rawValue: 1 << 1)
    static let authenticated = SessionFlags(rawValue: 1 << 2)
    /// RESP2 with subscriptions of Redis's kinds: few commands are allowed.
    static let restricted = SessionFlags(rawValue: 1 << 3)
    /// Stands in `GatewayOutbox.dirty`.
    static let dirty = SessionFlags(rawValue: 1 << 4)
    /// A question to the mesh is open.
    static let asking = SessionFlags(rawValue: 1 << 5)
    /// Between MULTI and EXEC.
    static let queueing = SessionFlags(rawValue: 1 << 6)
    /// A queued command was wrong: EXEC will refuse.
    static let aborted = SessionFlags(rawValue: 1 << 7)
    /// The replies of a transaction are being written.
    static let executing = SessionFlags(rawValue: 1 << 8)
    /// CLIENT REPLY OFF.
    static let replyOff = SessionFlags(rawValue: 1 << 9)
    /// CLIENT REPLY SKIP: the next command gets no reply.
    static let replySkip = SessionFlags(rawValue: 1 << 10)
    /// The last command gets no reply.
    static let muted = SessionFlags(rawValue: 1 << 11)
    static let ending = SessionFlags(rawValue: 1 << 12)
    static let doomed = SessionFlags(rawValue: 1 << 13)
    static let noEvict = SessionFlags(rawValue: 1 << 14)
    static let noTouch = SessionFlags(rawValue: 1 << 15)

    /// Its messages pass its mailbox: it has a policy other than to be disconnected, or a session.
    static let tracked = SessionFlags(rawValue: 1 << 16)
    /// MESH.GAPS ON.
    static let gaps = SessionFlags(rawValue: 1 << 17)
    /// There are gaps that it has not been told of.
    static let gapPending = SessionFlags(rawValue: 1 << 18)
    /// Some of its output is counted (`charge`).
    static let counted = SessionFlags(rawValue: 1 << 19)
    /// It has attached a user with a session.
    static let session = SessionFlags(rawValue: 1 << 20)
    /// Its session has just come from another node: messages may come twice.
    static let settling = SessionFlags(rawValue: 1 << 23)
    /// MESH.REPORTS ON.
    static let reports = SessionFlags(rawValue: 1 << 21)
    /// MESH.MOVES ON.
    static let moves = SessionFlags(rawValue: 1 << 22)

    /// Something in its output waits until other nodes know of it.
    static let confirming = SessionFlags(rawValue: 1 << 24)
    /// MESH.CONFIRM LOCAL.
    static let confirmsLocally = SessionFlags(rawValue: 1 << 25)

    /// A script runs (`Scripts.runs`); its command is at the front of the input.
    static let scripting = SessionFlags(rawValue: 1 << 26)

    /// MONITOR: it reads the commands of all clients (`RedisState.monitors`).
    static let monitoring = SessionFlags(rawValue: 1 << 27)

    /// It is the operator (`Credentials`).
    static let administrator = SessionFlags(rawValue: 1 << 29)

    /// Its input is the rest of a command that was given up.
    static let skipping = SessionFlags(rawValue: 1 << 30)

    /// A command goes on for several turns (`RedisState.long`).
    static let working = SessionFlags(rawValue: 1 << 31)

    /// Its output does not simply go to the socket.
    static let deliberate: SessionFlags = [.tracked, .gapPending, .confirming, .counted]

    /// The flags that decide whether a command takes the short way.
    static let relevant: SessionFlags = [
        .open, .authenticated, .restricted, .asking, .queueing, .executing, .replyOff, .replySkip,
        .muted, .ending, .doomed, .scripting, .skipping, .working,
    ]
    /// Their state when it does.
    static let plain: SessionFlags = [.open, .authenticated]
}

/// The commands between MULTI and EXEC. They stay in the driver's input until EXEC has come, so
/// that what they publish need not be copied.
struct Transaction {
    /// Bytes of input, from the first queued command on, that have been read and answered QUEUED.
    var queuedBytes = 0
    var queuedCount = 0
}
