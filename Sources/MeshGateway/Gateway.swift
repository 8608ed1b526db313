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
    /// Ask other nodes (`Event.query`, with `questions.bytes` as the event's bytes). Until the
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

/// A client's question to the node itself.
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
/// `.incomplete`, and does what each answer says. After each call it performs `outbox.changes`, and
/// before it sleeps it flushes the clients in `outbox.dirty`. One thread owns a gateway.
public struct Gateway: ~Copyable {
    /// All that the driver has to see to.
    public var outbox = GatewayOutbox()
    public internal(set) var counters = GatewayCounters()

    /// This node, and where its clients connect, for other nodes; the driver sets them at the start.
    public var nodeID = NodeID(0)
    public var clientAddress: String? = ""
    var drain: Drain?
    /// The time of the wake-up; the driver sets it before anything else.
    public var now = Instant(nanoseconds: 0)

    var configuration: GatewayConfiguration
    let hasher: KeyHasher
    var clients = SlotTable<Session>()
    var isReady = false
    var limits: ClientLimits
    var memory = MemoryAccount()

    var registry: Registry
    var patterns: SubscribedPatterns
    /// The cost that matching may still have in this turn; the driver sets it at its begin, if it does.
    public var unitsLeft = Work.perTurn

    /// The command at hand.
    var arguments = CommandArguments()
    /// A message that goes to several clients; reused.
    var frame = ByteQueue()
    /// The message at hand beside its frame; valid while it is copied to receivers.
    var label = FrameLabel()
    /// The messages that wait in mailboxes.
    var stored = StoredMessages()
    var confirmations = WaitingConfirmations()
    var redis = RedisState()

    var sessions: UserSessions
    var mailboxes = SlotTable<SessionMailbox>()
    var questions: OpenQuestions

    /// - Parameter secret: two random words, from which the tokens of sessions are made, and what tables
    ///   are spread by.
    public init(
        _ configuration: GatewayConfiguration, hasher: KeyHasher,
        secret: (UInt64, UInt64) = (0, 0)
    ) {
        let secretHasher = KeyHasher(secret.0, secret.1)
        sessions = UserSessions(tokens: SessionTokenSource(secretHasher))
        questions = OpenQuestions(secretHasher)
        self.configuration = configuration
        self.hasher = hasher
        limits = ClientLimits(configuration)
        let tableSecret = secretHasher.digest(prefix: 3, [UInt8]().span, 0, 0)
        registry = Registry(secret: tableSecret)
        patterns = SubscribedPatterns(hasher: hasher, secret: tableSecret)
    }

    /// The bytes to send to a connection that `open` has refused.
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
        let slot = clients.insert(Session())
        let client = ClientIndex(slot)
        clients[slot].flags = .open
        clients[slot].origin = origin
        become(configuration.credentials.principal(from: origin), client)
        clients[slot].identity.id = redis.nextClientID
        clients[slot].identity.address = address
        clients[slot].identity.openedAt = now
        clients[slot].identity.lastSeenAt = now
        clients[slot].mailbox.policy = configuration.slowConsumerPolicy
        if configuration.slowConsumerPolicy != .disconnect {
            clients[slot].flags.insert(.tracked)
        }
        redis.nextClientID += 1
        counters[.connectionsAccepted] += 1
        return client
    }

    /// The connection is gone: its subscriptions and users go with it
    /// (`outbox.changes`), very many of them step by step (`hasGone`).
    ///
    /// - Parameter parting: what the kernel says of it; to be asked if `hasUnproven`.
    /// - Returns: sessions that may still turn out to have lost something with the connection:
    ///   call `conclude` with them when more is known. Mostly empty.
    public mutating func close(_ client: ClientIndex, _ parting: Parting) -> [SessionDoubt] {
        let slot = client.slot
        precondition(clients[slot].flags.contains(.open), "client \(client) is not open")
        keepSessions(client)
        let doubts = clients[slot].parted.isEmpty ? [] : judge(client, parting)
        // Its questions are still answered, to nobody: `finished` finds another id.
        let isDirty = clients[slot].flags.contains(.dirty)
        if !clients[slot].flags.isDisjoint(with: [.scripting, .working]) {
            redis.scripts.runs[client] = nil
            redis.long.forget(client)
        }
        if clients[slot].flags.contains(.monitoring) { endMonitoring(client) }
        redis.pause.waiting.removeAll { $0 == client }
        clients[slot].mailbox.empty(&stored)
        refund(client)
        // The index may be used again before the driver looks into `outbox.dirty`.
        if isDirty { outbox.dirty.removeAll { $0 == client } }
        remove(client)
        return doubts
    }

    /// Until this is called with true, commands that need the mesh answer `-LOADING`.
    public mutating func setReady(_ ready: Bool) {
        isReady = ready
        chooseWay()
    }

    /// The bytes of the patterns in the mesh; the driver sets it before clients subscribe.
    public var meshPatternBytes: Int {
        mutating get { patterns.meshBytes }
        set { patterns.meshBytes = newValue }
    }

    /// The subject of the last `.report`.
    public var report: Report {
        mutating get { questions.report }
    }

    /// The bytes that the slices of the last `.ask` point into.
    public var questionBytes: ByteQueue {
        _read { yield questions.bytes }
        _modify { yield &questions.bytes }
    }

    /// An inline command without its quotes and escapes, as long as its `.publish` is at hand.
    public var decodedLine: [UInt8] {
        mutating get { arguments.line }
    }

    /// Connections that are open.
    public var clientCount: Int {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { clients.usedCount }
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
    /// out of `outbox.dirty` before.
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
        for slot in clients.slots where clients[slot].flags.contains(.open) {
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
            outbox.dirty.append(client)
        }
        if clients[slot].output.count > limits.outputAlarm { noteMuchOutput(client, culprit) }
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
        guard count > limits.outputAlarm else { return }
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
                outbox.dirty.append(client)
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
            outbox.dirty.append(client)
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
