import MeshCore
import MeshWire

/// A client connection's place in the gateway's table; reused after `close`.
public struct ClientIndex: TableIndex {
    public var rawValue: Int32

    @inlinable @inline(__always)
    public init(rawValue: Int32) { self.rawValue = rawValue }
}

/// A message from a local client, on its way to the node.
public struct Publication: Sendable {
    public var message: OutgoingMessage
    /// The name's local topic; none when nobody here has it.
    public var topic: TopicIndex
    /// The slices point into `Gateway.decodedLine`, not into the driver's input.
    public var isDecoded = false
    /// The sender's connection does not get it, though it listens.
    public var skipsSender = false
    /// The client as its node knows it; strangers do not get so far.
    public var principal = Principal.standard
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
        /// `Event.follow`; when it begins, `Hub.holdersChanged` is to be called.
        case holders
    }
    public var subject: Subject
    public var key: Key
    public var change: DirectoryChange
}

/// The clients of one node and what they have in common: subscriptions, sessions, mailboxes, questions to
/// the mesh, output. It knows no protocol of clients.
///
/// A door (`Gateway`) reads a client's bytes, and has the hub carry out what they ask for, in values; the
/// hub's answers are `Outcome`s, and what nobody asked for is a `Push` or a message. RESP's words for them
/// stand in `RESPPushes.swift`.
public struct Hub: ~Copyable {
    /// All that the driver has to see to.
    public var outbox = GatewayOutbox()
    public internal(set) var counters = GatewayCounters()

    /// This node, and where its clients connect, for other nodes; the driver sets them at the start.
    public var nodeID = NodeID(0)
    public var nodeName = ""
    public var clientAddress: String? = ""
    var drain: Drain?
    /// The time of the wake-up; the driver sets it before anything else.
    public var now = Instant(nanoseconds: 0)

    var configuration: GatewayConfiguration
    let hasher: KeyHasher
    var clients = SlotTable<Session>()
    private var hosts = ClientHosts()
    /// The number of the connection that comes next.
    private var nextClientID: Int64 = 1
    var isReady = false
    /// Output below this is within every limit, and not worth counting at once.
    var outputAlarm: Int
    var memory = MemoryAccount()

    var registry: Registry
    var patterns: SubscribedPatterns
    /// The cost that matching may still have in this turn; the driver sets it at its begin, if it does.
    public var unitsLeft = Work.perTurn

    /// A message that goes to several clients; reused.
    var frame = ByteQueue()
    /// The message at hand beside its frame; valid while it is copied to receivers.
    var label = FrameLabel()
    /// The label of the message at hand as far as receivers are shown it, or the reason for which a user has
    /// gone (`Absence`); empty: there is none.
    var details: [UInt8] = []
    /// The keys of the rooms that the labelled publication at hand is for, besides its own.
    public internal(set) var otherKeys: [Key] = []
    var onceMemory = OnceMemory()
    /// Attachments end because another client wants it.
    var isKicking = false
    /// Add it to `now` for the time of day, in milliseconds since 1970; the driver sets it.
    public var wallOffset: Int64 = 0
    /// The messages that wait in mailboxes.
    var stored = StoredMessages()
    var confirmations = WaitingConfirmations()

    var sessions: UserSessions
    var mailboxes = SlotTable<SessionMailbox>()
    var questions: OpenQuestions
    var userCharges = UserCharges()
    var openRequests: OpenRequests
    var services = Services()
    var rosters: Rosters

    init(_ configuration: GatewayConfiguration, hasher: KeyHasher, secret: KeyHasher) {
        sessions = UserSessions(tokens: SessionTokenSource(secret))
        questions = OpenQuestions(secret)
        openRequests = OpenRequests(seed: secret.digest(prefix: 4, [UInt8]().span, 0, 0))
        rosters = Rosters(seed: secret.digest(prefix: 5, [UInt8]().span, 0, 0))
        self.configuration = configuration
        self.hasher = hasher
        outputAlarm = configuration.outputAlarm
        let tableSecret = secret.digest(prefix: 3, [UInt8]().span, 0, 0)
        registry = Registry(secret: tableSecret)
        patterns = SubscribedPatterns(hasher: hasher, secret: tableSecret)
    }

    /// A new connection; nil when `clientCountMax` is reached, or half of it by connections of the same
    /// host: send `refusal` and close it.
    ///
    /// - Parameters:
    ///   - address: where it comes from, for CLIENT LIST: `127.0.0.1:50123`.
    ///   - peer: the same, of a connection over the network.
    ///   - origin: see `Credentials`.
    public mutating func open(
        address: String, peer: Endpoint? = nil, origin: ClientOrigin, at now: Instant
    ) -> ClientIndex? {
        guard clientCount < configuration.clientCountMax else {
            counters[.connectionsRefused] += 1
            return nil
        }
        let host = peer.flatMap { countedHost(of: $0, origin) }
        if let host, hosts.count(host) >= configuration.clientsOfHostMax {
            counters[.connectionsRefused] += 1
            noteTrouble(.connectionsOfHostsRefused, from: address)
            return nil
        }
        let slot = clients.insert(Session())
        let client = ClientIndex(slot)
        if let host { hosts.add(client, of: host) }
        clients[slot].flags = .open
        clients[slot].origin = origin
        become(configuration.credentials.principal(from: origin), client)
        clients[slot].identity.id = nextClientID
        clients[slot].identity.address = address
        clients[slot].identity.openedAt = now
        clients[slot].identity.lastSeenAt = now
        clients[slot].mailbox.policy = configuration.slowConsumerPolicy
        if configuration.slowConsumerPolicy != .disconnect {
            clients[slot].flags.insert(.tracked)
        }
        nextClientID += 1
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
        keepSessions(client, isClosing: true)
        abandonRequests(of: client)
        endProvider(client)
        let doubts = clients[slot].parted.isEmpty ? [] : judge(client, parting)
        // Its questions are still answered, to nobody: `finished` finds another id.
        let isDirty = clients[slot].flags.contains(.dirty)
        clients[slot].mailbox.empty(&stored)
        refund(client)
        hosts.remove(client)
        // The index may be used again before the driver looks into `outbox.dirty`.
        if isDirty { outbox.dirty.removeAll { $0 == client } }
        remove(client)
        return doubts
    }

    /// The client as its node knows it.
    @inline(__always)
    public mutating func principal(of client: ClientIndex) -> Principal {
        let flags = clients[client.slot].flags
        if flags.contains(.administrator) { return .administrator }
        return flags.contains(.authenticated) ? .standard : .stranger
    }

    /// From now on the client is this one.
    mutating func become(_ principal: Principal, _ client: ClientIndex) {
        let slot = client.slot
        clients[slot].flags.subtract([.authenticated, .administrator])
        switch principal {
        case .stranger: break
        case .standard: clients[slot].flags.insert(.authenticated)
        case .administrator: clients[slot].flags.formUnion([.authenticated, .administrator])
        }
    }

    /// The host of a connection, if its connections are counted: those of this machine are not, nor those of
    /// proxies, behind which many clients are.
    private func countedHost(of peer: Endpoint, _ origin: ClientOrigin) -> HostAddress? {
        guard origin == .elsewhere,
            !configuration.trustedProxies.contains(where: { $0.contains(peer) })
        else { return nil }
        return HostAddress(peer)
    }

    /// The bytes of the patterns in the mesh; the driver sets it before clients subscribe.
    public var meshPatternBytes: Int {
        mutating get { patterns.meshBytes }
        set { patterns.meshBytes = newValue }
    }

    /// The bytes that the slices of the last `.ask` point into.
    public var questionBytes: ByteQueue {
        _read { yield questions.bytes }
        _modify { yield &questions.bytes }
    }

    /// Connections that are open.
    public var clientCount: Int {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { clients.usedCount }
    }
    /// Different channels subscribed to here.
    public var channelCount: Int { registry.topics.count(.channel) }
    /// Rooms with a member here.
    public var roomCount: Int { registry.topics.count(.room) }
    /// Members of rooms here, hidden ones among them.
    public var memberCount: Int { registry.members.count }
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
        markDirty(client)
        if clients[client.slot].output.count > outputAlarm { noteMuchOutput(client, culprit) }
    }

    /// The driver is to look at the client before it sleeps.
    @inline(__always)
    private mutating func markDirty(_ client: ClientIndex) {
        let slot = client.slot
        if clients[slot].flags.contains(.dirty) { return }
        clients[slot].flags.insert(.dirty)
        outbox.dirty.append(client)
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
        markDirty(client)
        // Its messages wait for the next connection: `close` will see to them, in this turn.
        if clients[slot].flags.contains(.session) { return 0 }
        let discarded =
            clients[slot].output.count + clients[slot].held.count
            + clients[slot].mailbox.waiting.byteCount
        counters[.discardedOutputBytes] += UInt64(discarded)
        clients[slot].mailbox.empty(&stored)
        clients[slot].output.drop(clients[slot].output.count, retaining: 0)
        clients[slot].held.drop(clients[slot].held.count, retaining: 0)
        return discarded
    }
}
