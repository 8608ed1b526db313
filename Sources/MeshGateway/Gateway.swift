import MeshCore
import MeshWire

/// A client connection's place in the gateway's table; reused after `close`.
public struct ClientIndex: TableIndex {
    public var rawValue: Int32

    @inlinable @inline(__always)
    public init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The driver's task before it calls `next` for this client again. Nothing in it has to be retained: one
/// comes with each message.
public enum Request: Sendable {
    /// The input ends inside a command; call again when `needed` bytes from the offset on are
    /// there (a hint: at least one byte more than now).
    case incomplete(needed: Int)
    /// A command was carried out; its replies are in the client's output. Call again.
    case handled
    /// A command that does this waits for leave: call `carryOut` with the same input, or `deny`. The
    /// offset has moved past the command. Publications come as `.publish` and wait for leave too.
    case command(Operation)
    /// Publish to the rest of the mesh (`Node.publish`), then call `published`. The offset has
    /// moved past the command; the slices point into the same input, or into `decodedLine`.
    case publish(Publication)
    /// Ask other nodes (`Event.query`, with `questionBytes` as the event's bytes). Until the
    /// question is finished `next` answers `.blocked` for this client, so replies keep their order.
    case ask(QueryID, Query)
    /// The driver alone knows what `Gateway.report` is about: answer with `reply` or `presenceNow`
    /// before the next call of `next` for this client.
    case report
    /// A question of this client is open; do not read from it, call again after `finished`.
    case blocked
    /// Flush the client's output, then close the connection and call `close`.
    case end
}

/// A message from a local client, on its way to the node.
public struct Publication: Sendable {
    public var message: OutgoingMessage
    /// The name's local topic; none when nobody here has it.
    public var topic: TopicIndex
    /// The slices point into `Gateway.decodedLine`, not into the driver's input.
    public var isDecoded = false
    /// The client as its node knows it; strangers do not get so far.
    public var principal = Principal.standard
}

/// What a client asked of the node itself.
public enum Report: Sendable {
    case members
    case links
    case status
    /// One integer per user, in order: 1 or 0.
    case online([AskedUser])
    /// The nodes that hold this user. Where there are several, one may only pass on what still comes
    /// to it: they are asked first (`locate`).
    case whereabouts(AskedUser, user: [UInt8])
    /// The present state of users that this client begins to watch: answer with
    /// `presenceNow(client, user: index of the user, isOnline:)`, in order.
    case watch([AskedUser])
    /// INFO, with the section names in lower case; the driver adds the mesh's figures.
    case info(sections: [String])
    /// The client is to read all commands from now on (`Gateway.beginMonitoring`).
    case monitor
    /// Two texts: seconds since 1970, and the microseconds of the present one.
    case time
    /// One integer: the different patterns subscribed to in the mesh.
    case patternCount
}

/// A user that a client asks about.
public struct AskedUser: Equatable, Sendable {
    public var key: Key
    /// Tells users of one key apart (`KeyHasher.nameDigest`).
    public var name: UInt64
    /// A connection, or a session that waits, of this node is the user's.
    public var isHere: Bool
}

/// A first arrival or last departure among this node's clients, for the node's directory.
public struct InterestChange: Sendable {
    public enum Subject: Sendable {
        /// `Event.directory`
        case key
        /// `Event.pattern`, with this text.
        case pattern([UInt8])
        /// `Event.watch`
        case watch
    }
    public var subject: Subject
    public var key: Key
    public var change: DirectoryChange
}

/// The clients of one node: their sessions, subscriptions and output. Bytes in, bytes out; no socket.
///
/// The driver reads a client's bytes into a buffer of its own, calls `next` until it answers
/// `.incomplete`, and does what each answer says. After each call it performs `changes`, and
/// before it sleeps it flushes the clients in `dirty`. One thread owns a gateway.
public struct Gateway: ~Copyable {
    /// What has changed since the driver last looked; the driver empties it after each call of
    /// `next` and `close`.
    public var changes: [InterestChange] = []
    /// Clients whose output has grown since the driver last flushed; the driver empties it. A
    /// client stands in it at most once. A client that has been doomed stands in it too.
    public var dirty: [ClientIndex] = []
    /// The bytes that the slices of the last `.ask` point into.
    public var questionBytes = ByteQueue()
    public internal(set) var counters = GatewayCounters()
    public internal(set) var clientCount = 0

    /// What the gateway asks other nodes by itself; the driver empties it after `tick`.
    public var errands: [Errand] = []
    /// This node, and where its clients connect, for other nodes; the driver sets them at the start.
    public var nodeID = NodeID(0)
    public var clientAddress: String? = ""
    /// Where the clients of this node shall go, because it leaves; empty: to another node, and none has said
    /// where clients reach it; nil: it stays.
    public internal(set) var destination: String?
    /// Clients whose connections the driver is to end, once what they have to be sent is sent; the
    /// driver empties it after `tick`.
    public var farewells: [ClientIndex] = []
    /// Clients that were ended because they read too slowly; the driver empties it. Each of them is
    /// in `dirty` too.
    public var cuts: [CutClient] = []
    /// Troubles of clients, for the log; the driver empties it.
    public var complaints: [ClientTrouble] = []
    var troubles = ClientTroubles()
    /// Clients that waited for a session which has come: the driver goes on with their input, and empties
    /// it.
    package var resumable: [ClientIndex] = []
    var drain: Drain?
    /// The time of the wake-up; the driver sets it before anything else.
    public var now = Instant(nanoseconds: 0)

    var configuration: GatewayConfiguration
    /// CONFIG SET has changed something that the driver looks after (`settings`); it sets this to false.
    public var hasNewSettings = false
    let hasher: KeyHasher
    let table = CommandTable.shared
    var clients = Slab<Session>()
    var freeClients: [ClientIndex] = []
    var nextClientID: Int64 = 1
    var isReady = false
    /// Ready, and nobody wants to see a command before it is carried out.
    var takesShortWay = false
    var monitors = Monitors()
    var clientPause = ClientPause()
    /// What clients may send, and what those who have not authenticated themselves may.
    let limits: RESPLimits
    let strangerLimits: RESPLimits
    /// Output below this is within every limit, and not worth counting at once.
    var outputAlarm: Int
    var memory = MemoryAccount()

    var registry: Registry
    var patterns: PatternIndex
    /// The bytes of the patterns in the mesh; the driver sets it before clients subscribe.
    public var meshPatternBytes = 0
    /// The topic of each pattern, by the pattern's number.
    var patternTopics: [TopicIndex] = []
    /// Patterns that match the name at hand; reused.
    var matched: [PatternNumber] = []
    /// `matched` is that of the next message already.
    var isMatched = false
    /// The cost that matching may still have in this turn; the driver sets it at its begin, if it does.
    public var unitsLeft = Work.perTurn

    /// The arguments of the command at hand, relative to `argumentBase`.
    var arguments = ArgumentList()
    var argumentBase = 0
    /// The command at hand is a decoded line: its arguments do not lie in the driver's input.
    var isDecoded = false
    /// An inline command without its quotes and escapes, as long as its `.publish` is at hand.
    public internal(set) var decodedLine: [UInt8] = []
    /// Where the command at hand starts in the driver's input.
    var commandStart = 0
    /// Its bytes there.
    var commandSize = 0
    /// The subject of the last `.report`.
    public internal(set) var report = Report.members
    /// A message that goes to several clients; reused.
    var frame = ByteQueue()
    /// The message at hand beside its frame; valid while it is copied to receivers.
    var label = FrameLabel()
    /// The messages that wait in mailboxes.
    var stored = StoredMessages()
    var confirmations = WaitingConfirmations()
    var scripts = Scripts()
    var long = LongCommands()

    // Sessions.
    var sessions = UserSessions()
    var sessionOfToken: [SessionToken: UserSessionIndex] = [:]
    var movedTokens = MovedTokens()
    var moves = SessionMoves()
    var graceTimers: [SessionTimer] = []
    var graceHead = 0
    var shortTimers: [SessionTimer] = []
    var mailboxes = Slab<SessionMailbox>()
    var freeMailboxes: [MailboxIndex] = []
    var tokenCount: UInt64 = 0
    /// Under a secret of this node: for tokens, and for tables of what clients choose.
    let secretHasher: KeyHasher
    /// The frame at hand was forwarded by another node.
    var isForwarded = false

    var questions: [QueryID: Question] = [:]
    var nextQuestion = QueryID(1)
    var channels = ChannelQuestions()
    var counts = CountQuestions()

    /// - Parameter secret: two random words, from which the tokens of sessions are made, and what tables
    ///   are spread by.
    public init(
        _ configuration: GatewayConfiguration, hasher: KeyHasher,
        secret: (UInt64, UInt64) = (0, 0)
    ) {
        secretHasher = KeyHasher(secret.0, secret.1)
        self.configuration = configuration
        self.hasher = hasher
        limits = configuration.requestLimits(isAuthenticated: true)
        strangerLimits = configuration.requestLimits(isAuthenticated: false)
        outputAlarm = configuration.outputAlarm
        let tableSecret = secretHasher.digest(prefix: 3, [UInt8]().span, 0, 0)
        registry = Registry(secret: tableSecret)
        patterns = PatternIndex(hasher: hasher, secret: tableSecret)
    }

    /// There is something for the driver in `errands`, `farewells`, `cuts` or `complaints`; it sets this to
    /// false when it has seen to all of them.
    public var hasWork = false

    /// What to send to a connection that `open` has refused.
    public static let refusal = Array("-\(ClientRefusal.limit(.connections).inRESP)\r\n".utf8)

    /// A new connection; nil when `clientCountMax` is reached: send `refusal` and close it.
    ///
    /// - Parameters:
    ///   - address: where it comes from, for CLIENT LIST: `127.0.0.1:50123`.
    ///   - origin: see `Credentials`.
    public mutating func open(
        address: String, origin: ClientOrigin, at now: Instant
    ) -> ClientIndex? {
        guard clientCount < configuration.clientCountMax else {
            counters[.connectionsRefused] += 1
            return nil
        }
        let client: ClientIndex
        if let free = freeClients.popLast() {
            client = free
        } else {
            clients.append(Session())
            client = ClientIndex(clients.count - 1)
        }
        let slot = client.slot
        clients[slot].flags = .open
        clients[slot].origin = origin
        become(configuration.credentials.principal(from: origin), client)
        clients[slot].id = nextClientID
        clients[slot].address = address
        clients[slot].openedAt = now
        clients[slot].lastSeenAt = now
        clients[slot].mailbox.policy = configuration.slowConsumerPolicy
        if configuration.slowConsumerPolicy != .disconnect {
            clients[slot].flags.insert(.tracked)
        }
        nextClientID += 1
        clientCount += 1
        counters[.connectionsAccepted] += 1
        return client
    }

    /// The connection is gone: its subscriptions and users go with it (see `changes`).
    ///
    /// - Parameter parting: what the kernel says of it; to be asked if `hasUnproven`.
    /// - Returns: sessions that may still turn out to have lost something with the connection:
    ///   call `conclude` with them when more is known. Mostly empty.
    public mutating func close(_ client: ClientIndex, _ parting: Parting) -> [SessionDoubt] {
        let slot = client.slot
        precondition(clients[slot].flags.contains(.open), "client \(client) is not open")
        keepSessions(client)
        let doubts = clients[slot].parted.isEmpty ? [] : judge(client, parting)
        for kind in TopicKind.allCases {
            while !clients[slot].lists[first: kind].isNone {
                leave(client, clients[slot].lists[first: kind])
            }
        }
        // What was asked for it is still answered, to nobody: `finished` finds another id.
        let isDirty = clients[slot].flags.contains(.dirty)
        if !clients[slot].flags.isDisjoint(with: [.scripting, .working]) {
            scripts.runs[client] = nil
            long.forget(client)
        }
        if clients[slot].flags.contains(.monitoring) { endMonitoring(client) }
        clientPause.waiting.removeAll { $0 == client }
        clients[slot].mailbox.empty(&stored)
        refund(client)
        clients[slot] = Session()
        // The index may be used again before the driver looks into `dirty`.
        if isDirty { dirty.removeAll { $0 == client } }
        freeClients.append(client)
        clientCount -= 1
        return doubts
    }

    /// Until this is called with true, commands that need the mesh answer `-LOADING`.
    public mutating func setReady(_ ready: Bool) {
        isReady = ready
        chooseWay()
    }

    /// Different channels subscribed to here.
    public var channelCount: Int { registry.topics.count(.channel) }
    /// Different patterns subscribed to here.
    public var patternCount: Int { patterns.count }
    /// Subscriptions, attachments and watches of all clients.
    public var subscriptionCount: Int { registry.count }

    // MARK: Output

    /// Passes the client's waiting output to `body`, which returns how many bytes it has sent.
    ///
    /// `body` is not called when nothing waits, and may be called several times. Take the client
    /// out of `dirty` before.
    public mutating func flush(_ client: ClientIndex, _ body: (UnsafeRawBufferPointer) -> Int) {
        let slot = client.slot
        let flags = clients[slot].flags
        clients[slot].flags = flags.subtracting(.dirty)
        if !flags.isDisjoint(with: .deliberate) {
            unsafe flushTracked(client, body)
            countOutput(client)
            return
        }
        let waiting = clients[slot].output.count
        guard waiting > 0 else { return }
        let sent = unsafe clients[slot].output.withBytes { unsafe body($0) }
        clients[slot].output.drop(sent)
        if sent != waiting { countOutput(client) }
    }

    /// The bytes that wait for this client.
    public mutating func outputCount(_ client: ClientIndex) -> Int {
        clients[client.slot].output.count
    }

    /// True when the client has lost its output, to a limit or to CLIENT KILL: close it at once.
    /// `overdue` names it too, up to a second later.
    public mutating func isDoomed(_ client: ClientIndex) -> Bool {
        clients[client.slot].flags.contains(.doomed)
    }

    /// Finds clients over their output limits, and gives back the memory of idle ones' output: the
    /// driver calls it about once a second, and closes those that it returns.
    public mutating func overdue(at now: Instant) -> [ClientIndex] {
        var result: [ClientIndex] = []
        frame.trim()
        self.now = max(now, self.now)
        for slot in 0..<clients.count where clients[slot].flags.contains(.open) {
            clients[slot].output.trim()
            clients[slot].mailbox.waiting.trim()
            countOutput(ClientIndex(slot))
            if !clients[slot].flags.contains(.doomed) { checkSoftLimit(ClientIndex(slot), now) }
            if clients[slot].flags.contains(.doomed) { result.append(ClientIndex(slot)) }
        }
        return result
    }

    private mutating func checkSoftLimit(_ client: ClientIndex, _ now: Instant) {
        let slot = client.slot
        let limit = outputLimit(client)
        let waiting =
            leavingCount(client)
            + (clients[slot].mailbox.policy == .disconnect
                ? clients[slot].mailbox.waiting.byteCount : 0)
        guard limit.soft > 0, waiting > limit.soft else {
            clients[slot].overSoftLimitSince = nil
            return
        }
        guard let since = clients[slot].overSoftLimitSince else {
            clients[slot].overSoftLimitSince = now
            return
        }
        if !(now - since < limit.softDuration) { cut(client, .unknown) }
    }

    /// To be called after anything was written to a client's output.
    @inline(__always)
    mutating func wrote(_ client: ClientIndex, _ culprit: Culprit = .unknown) {
        let slot = client.slot
        if !clients[slot].flags.contains(.dirty) {
            clients[slot].flags.insert(.dirty)
            dirty.append(client)
        }
        if clients[slot].output.count > outputAlarm { noteMuchOutput(client, culprit) }
    }

    @inline(never)
    private mutating func noteMuchOutput(_ client: ClientIndex, _ culprit: Culprit) {
        if outputCount(client) > outputLimit(client).bound { cut(client, culprit) }
        countOutput(client)
    }

    /// The same for what waits for the end of a transaction.
    @inline(__always)
    mutating func heldBack(_ client: ClientIndex, _ culprit: Culprit) {
        let count = clients[client.slot].held.count
        guard count > outputAlarm else { return }
        if count > outputLimit(client).bound { cut(client, culprit) }
        countOutput(client)
    }

    /// The output with which the client is ended at once, in bytes.
    public mutating func outputBound(_ client: ClientIndex) -> Int { outputLimit(client).bound }

    private func outputLimit(_ client: ClientIndex) -> OutputLimit {
        clients[client.slot].lists.isEmpty
            ? configuration.normalOutputLimit : configuration.pubsubOutputLimit
    }

    /// The client gets nothing more, and what it has not been sent is forgotten at once: at the
    /// bound memory matters more than the last words. Returns how many bytes that were.
    @discardableResult
    mutating func doom(_ client: ClientIndex) -> Int {
        let slot = client.slot
        clients[slot].flags.insert(.doomed)
        if clients[slot].flags.contains(.session) {
            // Its messages wait for the next connection: `close` will see to them, in this turn.
            if !clients[slot].flags.contains(.dirty) {
                clients[slot].flags.insert(.dirty)
                dirty.append(client)
            }
            return 0
        }
        let discarded =
            clients[slot].output.count + clients[slot].held.count
            + clients[slot].mailbox.waiting.byteCount
        counters[.discardedOutputBytes] += UInt64(discarded)
        clients[slot].mailbox.empty(&stored)
        clients[slot].output.drop(clients[slot].output.count, retaining: 0)
        clients[slot].held.drop(clients[slot].held.count, retaining: 0)
        if !clients[slot].flags.contains(.dirty) {
            clients[slot].flags.insert(.dirty)
            dirty.append(client)
        }
        return discarded
    }
}

/// A reply of any shape, in the terms of RESP3; maps become flat arrays in RESP2.
public indirect enum ReplyValue: Sendable {
    case simple(String)
    case error(String)
    case integer(Int)
    case bulk([UInt8])
    case text(String)
    /// Text for people, as INFO answers it: in RESP2 a bulk string.
    case verbatim(String)
    case null
    case array([ReplyValue])
    case map([(String, ReplyValue)])
}
