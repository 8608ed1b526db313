import MeshCore
import MeshGateway
import MeshWire

/// A place of a client connection, and how a connection has ended: words of the gateway that a driver
/// passes on.
public typealias ClientIndex = MeshGateway.ClientIndex
public typealias Parting = MeshGateway.Parting
public typealias ClientOrigin = MeshGateway.ClientOrigin
/// The words in which rights are given.
public typealias Operation = MeshGateway.Operation
public typealias Principal = MeshGateway.Principal
public typealias GatewayConfiguration = MeshGateway.GatewayConfiguration
public typealias ClientSettings = MeshGateway.ClientSettings
public typealias RedisLogLevel = MeshGateway.RedisLogLevel

/// The options of a server, given at birth.
public struct ServerOptions: Sendable {
    public var node: Configuration
    public var gateway = GatewayConfiguration()
    /// Answered by `INFO`, `MESH.STATUS` and `/metrics`.
    public var version = Version.current
    /// A node that leaves sends its clients elsewhere within this time; 0: it ends their connections
    /// at once.
    public var drainTime: Delay = .seconds(2)
    /// The longest that a drain goes on, as long as other nodes take the node's sessions.
    public var drainMax: Delay = .seconds(30)
    /// A node that leaves has this long to say so.
    public var leaveTime: Delay = .seconds(3)
    /// Output of a client above which its commands wait, while `outputBytesMax` is exceeded or all clients
    /// together have nine tenths of what they may, until half of it has left. Otherwise they go on to three
    /// quarters of the hard limit of its class: many clients write a whole pipeline before they read, and one
    /// that is behind may want to unsubscribe.
    public var clientOutputBytes = 1024 * 1024
    /// Output that all clients together that have asked for more than `clientOutputBytes` may leave unread.
    public var outputBytesMax = 256 * 1024 * 1024
    /// The door's rules.
    public var rights = Rights()

    public init(node: Configuration) {
        self.node = node
    }
}

/// A node and its clients: everything between the bytes that come in and those that go out, and what
/// the two say to one another.
///
///     bytes of a link ──▶ handle(event) ─┐                    ┌─▶ effects: send, dial, close, log
///                                        ├─ Node ⇄ Hub ───────┤
///     bytes of a client ─▶ command() ────┘                    └─▶ outputs of clients: flush()
///
/// Pure: no socket, no clock, no randomness but the seed. The reactor drives one with sockets, the
/// simulator many in virtual time, and tests one by hand. A driver
///
/// 1. hands in what happens: `handle` for links and time, `open`, `command` and `close` for clients;
/// 2. carries out the effects after each call, before the bytes that it gave are used again;
/// 3. offers the output of the clients in `takeDirty` to their connections (`flush`), goes on with the
///    input of those that `nextResumable` names, and calls `handle(.deadline)` at `nextDeadline`.
///
/// One thread owns a server.
public struct Server: ~Copyable {
    /// First, because its first words are those that every event touches.
    public internal(set) var node: Node
    let edge: Edge
    /// A client has come, or the node leaves: until then only the node has to be looked after.
    var servesClients = false
    /// There are clients, and no message waits for its name to be matched.
    var deliversAtOnce = false
    /// The time of what is being handled.
    var now: Instant
    var phase = Phase.running
    /// The clients have been told not to come any more.
    var hasStoppedListening = false
    /// The readiness that the gateway was last told.
    private var wasReady = false
    var pause = Pause()
    var patternSteps = PatternSteps()
    /// There is work that goes in steps, one in each turn.
    var hasSteps = false
    var counters = ServerCounters()
    /// The command that waits for what only the driver knows.
    var pendingReport: (client: ClientIndex, report: Report)?
    /// Sessions that may still turn out to have lost something with a connection that has ended.
    var doubts: [UInt32: [SessionDoubt]] = [:]
    var lastDoubt: UInt32 = 0
    /// Events of this server's own, until the present one is handled.
    var own: [OwnEvent] = []
    var ownBytes = ByteQueue()
    var nextOverdueCheck: Instant
    var gatheredLines = GatheredLines()
    let startedAt: Instant
    public let options: ServerOptions

    enum Phase: Equatable {
        case running
        /// Clients are sent to other nodes first.
        case draining
        /// The node says goodbye; `.left` is expected before the deadline.
        case leaving(deadline: Instant)
        case left
    }

    /// An event that has to wait until the effects of another are read.
    enum OwnEvent {
        /// `answer` lies in `ownBytes`.
        case answer(NodeID, QueryID, answer: Slice)
        /// `name` lies in `ownBytes`.
        case wrongName(RoutedBody, Key, name: Slice, NodeID)
        case unclaimed(RoutedBody, Key, number: UInt32, NodeID, sharesKey: Bool)
    }

    /// - Parameters:
    ///   - node: born at `now`.
    ///   - secret: two random words, from which the tokens of sessions are made, and what the gateway's
    ///     tables are spread by.
    public init(
        _ options: ServerOptions, node: consuming Node, hasher: KeyHasher,
        secret: (UInt64, UInt64), at now: Instant
    ) {
        self.options = options
        self.now = now
        startedAt = now
        nextOverdueCheck = now + .seconds(1)
        edge = Edge(Gateway(options.gateway, hasher: hasher, secret: secret))
        edge.gateway.hub.now = now
        edge.gateway.hub.nodeID = node.id
        edge.gateway.hub.nodeName = options.node.name
        edge.gateway.hub.clientAddress = options.gateway.clientAddress
        self.node = node
    }

    deinit { edge.free() }

    // MARK: Events

    /// Advances the server by one event of its node's links, or of time. Never blocks, never fails.
    ///
    /// `.deadline` does everything that is due, of the clients too. `.leave` begins with sending the
    /// clients to other nodes; `.left` among the effects is its end.
    public mutating func handle(
        _ event: Event, bytes: Span<UInt8>, at now: Instant, into effects: inout ServerEffects
    ) {
        switch event {
        case .deadline:
            runDeadlines(at: now, &effects)
            return
        case .leave:
            self.now = now
            beginLeaving(&effects)
            return
        default:
            node.handle(event, bytes: bytes, at: now, into: &effects.mesh)
        }
        if !effects.mesh.hasSendsAlone { heed(bytes, at: now, &effects) }
    }

    /// To be called when the driver has slept, before it hands in what has come: a node that stood still
    /// compares with another before it takes commands of clients.
    public mutating func woke(at now: Instant, into effects: inout ServerEffects) {
        node.woke(at: now, into: &effects.mesh)
    }

    /// A free link for a connection that the driver has accepted; nil: close it. Effects are to be performed
    /// before it is used (`Node.acceptLink`).
    public mutating func acceptLink(
        at now: Instant, into effects: inout ServerEffects
    ) -> LinkIndex? {
        node.acceptLink(at: now, into: &effects.mesh)
    }

    /// See `Node.learnSeeds`.
    public mutating func learnSeeds(_ endpoints: [Endpoint], at now: Instant) {
        node.learnSeeds(endpoints, at: now)
    }

    /// The node that a message to this one would be sent to next; nil: none.
    public mutating func nextHop(to destination: NodeID) -> NodeID? {
        node.nextHop(to: destination)
    }

    /// The longest frame that may come over a link now, in bytes.
    public mutating func frameLengthMax(over link: LinkIndex) -> Int {
        node.frameLengthMax(over: link)
    }

    /// When `.deadline` is due, at the latest; nil: never.
    public mutating func nextDeadline() -> Instant? {
        var earliest = node.nextDeadline
        func consider(_ instant: Instant?) {
            if let instant { earliest = min(earliest ?? instant, instant) }
        }
        consider(gatheredLines.nextDeadline)
        if !servesClients { return earliest }
        consider(edge.gateway.nextDeadline())
        // Not `now` itself: a driver in virtual time goes from deadline to deadline, and must advance.
        if hasSteps { consider(now + .microseconds(1)) }
        if edge.gateway.hub.clientCount > 0 || edge.gateway.hub.awaitsSessions {
            consider(nextOverdueCheck)
        }
        switch phase {
        case .running, .left: break
        case .draining: consider(edge.gateway.hub.drainEnd)
        case .leaving(let deadline): consider(deadline)
        }
        return earliest
    }

    private mutating func runDeadlines(at now: Instant, _ effects: inout ServerEffects) {
        if let due = node.nextDeadline, due <= now {
            node.handle(.deadline, bytes: Span(), at: now, into: &effects.mesh)
            if !effects.mesh.hasSendsAlone { heed(Span(), at: now, &effects) }
        }
        if gatheredLines.nextDeadline != nil { tellGathered(at: now, &effects) }
        guard servesClients else { return }
        self.now = now
        edge.gateway.hub.now = now
        if let due = edge.gateway.nextDeadline(), due <= now { edge.gateway.tick(at: now) }
        if hasSteps { step(&effects) }
        if nextOverdueCheck <= now {
            nextOverdueCheck = now + .seconds(1)
            for client in edge.gateway.hub.overdue(at: now) {
                effects.orders.append(.close(client))
            }
            for client in edge.gateway.idleClients(at: now) where !isWaiting(client) {
                counters[.idleClientsEnded] &+= 1
                effects.orders.append(.close(client))
            }
            // A node may leave before it has given all of a session.
            for giver in edge.gateway.hub.givers where !node.isPresent(giver) {
                edge.gateway.hub.nodeDied(giver)
            }
        }
        settle(&effects)
        advancePhase(&effects)
    }

    // MARK: Effects of the node that concern clients

    /// Does what concerns clients of what the node wants done; the rest is the driver's. `bytes` are
    /// those of the event.
    @inline(__always)
    mutating func heed(
        _ bytes: Span<UInt8>, at now: Instant, _ effects: inout ServerEffects
    ) {
        var needsSettling = false
        var position = 0
        while position < effects.mesh.count {
            switch effects.mesh[position] {
            case .send, .dial, .close: break
            case .deliver(let body, let number, let key, let name, let payload, let id):
                if deliversAtOnce {
                    self.now = now
                    edge.gateway.hub.now = now
                    deliver(body, number, key, name, payload, id, bytes, &effects.clientBytes)
                    if edge.gateway.hub.outbox.hasWork || !own.isEmpty { needsSettling = true }
                } else if servesClients {
                    self.now = now
                    heedRare(
                        effects.mesh[position], bytes, effects.mesh.bytes, &effects.clientBytes)
                    needsSettling = true
                }
            default:
                self.now = now
                heedRare(
                    effects.mesh[position], bytes, effects.mesh.bytes, &effects.clientBytes)
                needsSettling = true
            }
            position += 1
        }
        if needsSettling { settle(&effects) }
    }

    @inline(__always)
    mutating func deliver(
        _ body: RoutedBody, _ number: UInt32, _ key: Key, _ name: Slice, _ payload: Slice,
        _ id: MessageID, isLabelled: Bool = false, _ bytes: Span<UInt8>,
        _ clientBytes: inout Int
    ) {
        let copies =
            isLabelled
            ? edge.gateway.hub.deliverLabelled(
                body, key, name: name, payload: payload, bytes, id: id)
            : edge.gateway.hub.deliver(body, key, name: name, payload: payload, bytes, id: id)
        if copies == 0 { noteUnclaimed(body, number, key, name, bytes, from: id.origin) }
        if copies >= 0 {
            clientBytes += copies * (Int(name.count) + Int(payload.count))
        } else {
            hold(
                body, number, key, name, payload, id, isLabelled: isLabelled, bytes, &clientBytes)
        }
    }

    /// - Parameters:
    ///   - bytes: those of the event.
    ///   - effectBytes: those of the effect buffer that the effect stands in.
    @inline(never)
    private mutating func heedRare(
        _ effect: Effect, _ bytes: Span<UInt8>, _ effectBytes: borrowing ByteQueue,
        _ clientBytes: inout Int
    ) {
        edge.gateway.hub.now = now
        switch effect {
        case .log(.memberLeft(let id)): edge.gateway.hub.nodeLeft(id)
        case .log(.memberSuspect(let id, _)): edge.gateway.hub.nodeSuspected(id)
        case .send, .dial, .close, .log, .takenBack, .resolveSeeds: break
        case .deliver(let body, let number, let key, let name, let payload, let id):
            if servesClients {
                deliverInTurn(
                    body, number, key, name, payload, id, isLabelled: false, bytes, &clientBytes)
            }
        case .left: phase = .left
        case .deliverKept(let body, let number, let key, let name, let payload, let id):
            if !servesClients { return }
            effectBytes.withSpan {
                deliverInTurn(
                    body, number, key, name, payload, id, isLabelled: false, $0, &clientBytes)
            }
        case .deliverLabelled(let body, let number, let key, let name, let payload, let id):
            if !servesClients { return }
            effectBytes.withSpan {
                deliverInTurn(
                    body, number, key, name, payload, id, isLabelled: true, $0, &clientBytes)
            }
        case .undelivered(let sender, let body, let key, let name, let node, let count):
            effectBytes.withSpan {
                edge.gateway.hub.undelivered(
                    sender: sender, body, key, name: name, to: node, $0, count: Int(count))
            }
        case .uncongested: pause.mayEnd = true
        case .recordsKnown: edge.gateway.hub.confirm(through: node.knownBatch)
        case .gap(let id, let count):
            edge.gateway.hub.missed(count: Int(count))
            edge.gateway.hub.rosterGap(from: id)
        case .holders(let key): edge.gateway.hub.holdersChanged(key)
        case .bulk(let other, let news): heed(news, of: other, bytes, effectBytes)
        case .presence(let key, let presence): edge.gateway.hub.presence(key, presence)
        case .queried(let node, let query, let subject):
            if edge.gateway.hub.takeOrder(subject, bytes, from: node, query) { return }
            let start = ownBytes.count
            edge.gateway.hub.answer(subject, bytes, from: node, into: &ownBytes)
            let answer = Slice(start: start, count: ownBytes.count - start)
            own.append(.answer(node, query, answer: answer))
        case .answered(let query, let node, let answer):
            edge.gateway.hub.answered(query, answer, bytes, from: node)
        case .traced(let query, let holder, let path): traced(query, holder, path, bytes)
        case .unanswered(let query, let node): edge.gateway.hub.unanswered(query, by: node)
        case .finished(let query): finished(query)
        case .memberDied(let id): edge.gateway.hub.nodeDied(id)
        }
    }

    private mutating func heed(
        _ news: BulkNews, of other: NodeID, _ bytes: Span<UInt8>,
        _ effectBytes: borrowing ByteQueue
    ) {
        switch news {
        case .session(let part):
            beginServing()
            edge.gateway.hub.receivePart(part, bytes, from: other)
        case .sessionKept(let part):
            beginServing()
            effectBytes.withSpan { edge.gateway.hub.receivePart(part, $0, from: other) }
        case .givenUp: edge.gateway.hub.partsGivenUp(by: other)
        case .gap: edge.gateway.hub.partsMissed(from: other)
        case .room: edge.gateway.hub.hasRoomForParts(to: other)
        }
    }

    /// Notes a message for a name that nobody here has. Mostly its last subscriber has just gone.
    @inline(never)
    private mutating func noteUnclaimed(
        _ body: RoutedBody, _ number: UInt32, _ key: Key, _ name: Slice, _ bytes: Span<UInt8>,
        from origin: NodeID
    ) {
        if origin == node.id { return }
        let sharesKey = edge.gateway.hub.hasAnother(body, key)
        if sharesKey {
            let start = ownBytes.count
            ownBytes.append(bytes, Int(name.start), Int(name.count))
            own.append(
                .wrongName(body, key, name: Slice(start: start, count: Int(name.count)), origin))
        }
        own.append(.unclaimed(body, key, number: number, origin, sharesKey: sharesKey))
    }

    // MARK: Consequences

    /// Passes changes and questions of the clients to the node, and answers the node's own questions, until
    /// nothing is left.
    mutating func settle(_ effects: inout ServerEffects) {
        noteReadiness()
        while true {
            if !edge.gateway.hub.outbox.changes.isEmpty {
                applyChanges(&effects)
            } else if !edge.gateway.hub.outbox.errands.isEmpty {
                var errands: [Errand] = []
                swap(&errands, &edge.gateway.hub.outbox.errands)
                for errand in errands {
                    advance(.query(errand.id, errand.query), errand.bytes.span, &effects)
                }
            } else if !own.isEmpty {
                advanceOwn(&effects)
            } else if edge.gateway.hub.hasWorkForMesh {
                if edge.gateway.hub.hasRosterLookups {
                    lookUpHolders()
                } else {
                    _ = settleRequests(&effects)
                }
            } else if let part = edge.gateway.hub.nextPart() {
                send(part, &effects)
            } else if edge.gateway.hub.hasFreshConfirmations {
                awaitKnown()
            } else if edge.gateway.hub.hasOrderAnswers, let answer = nextOrderAnswer() {
                own.append(answer)
            } else {
                break
            }
        }
        if edge.gateway.hub.isGathering || edge.gateway.hub.hasGone { hasSteps = true }
        for client in edge.gateway.hub.outbox.resumable { pause.resumable.append(client) }
        edge.gateway.hub.outbox.resumable.removeAll()
        if !edge.gateway.hub.outbox.farewells.isEmpty {
            for client in edge.gateway.hub.outbox.farewells { effects.orders.append(.end(client)) }
            edge.gateway.hub.outbox.farewells.removeAll()
        }
        if !edge.gateway.hub.outbox.cuts.isEmpty { reportCuts(&effects) }
        if !edge.gateway.hub.outbox.complaints.isEmpty { reportTroubles(&effects) }
        if edge.gateway.hub.outbox.hasNewSettings {
            edge.gateway.hub.outbox.hasNewSettings = false
            effects.orders.append(.configure(edge.gateway.hub.settings))
        }
        edge.gateway.hub.outbox.hasWork = false
    }

    /// Subscriptions are confirmed when all other nodes know of them.
    private mutating func awaitKnown() {
        let batch = node.latestBatch
        if batch == node.knownBatch || phase == .left {
            edge.gateway.hub.confirmAtOnce()
        } else {
            edge.gateway.hub.awaitKnown(batch)
        }
    }

    /// Other nodes' orders are answered when all know what has been done.
    private mutating func nextOrderAnswer() -> OwnEvent? {
        let start = ownBytes.count
        guard let answer = edge.gateway.hub.nextOrderAnswer(into: &ownBytes) else { return nil }
        return .answer(
            answer.asker, answer.query,
            answer: Slice(start: start, count: ownBytes.count - start))
    }

    /// A part of a session that moves to another node.
    private mutating func send(_ part: SessionPart, _ effects: inout ServerEffects) {
        let payload = Slice(start: 0, count: part.bytes.count)
        let outcome = node.sendSession(
            payload, to: part.destination, bytes: part.bytes.span, at: now, into: &effects.own)
        edge.gateway.hub.partWas(outcome, part)
        transfer(part.bytes.span, &effects)
    }

    /// First arrivals and last departures among the clients, for the directory of the node.
    mutating func applyChanges(_ effects: inout ServerEffects) {
        var changes: [InterestChange] = []
        swap(&changes, &edge.gateway.hub.outbox.changes)
        for change in changes where phase != .left {
            switch change.subject {
            case .key: advance(.directory(change.key, change.change), Span(), &effects)
            case .watch: advance(.watch(change.key, change.change), Span(), &effects)
            case .holders:
                advance(.follow(change.key, change.change), Span(), &effects)
                if change.change == .add { edge.gateway.hub.holdersChanged(change.key) }
            case .pattern(let text):
                let name = Slice(start: 0, count: text.count)
                advance(.pattern(change.key, name: name, change.change), text.span, &effects)
            }
        }
        if edge.gateway.hub.outbox.changes.isEmpty {
            changes.removeAll(keepingCapacity: true)
            swap(&changes, &edge.gateway.hub.outbox.changes)
        }
    }

    private mutating func advanceOwn(_ effects: inout ServerEffects) {
        var events: [OwnEvent] = []
        var bytes = ByteQueue()
        swap(&events, &own)
        swap(&bytes, &ownBytes)
        for event in events {
            switch event {
            case .answer(let asker, let query, let answer):
                bytes.withSpan { advance(.answer(to: asker, query, answer: answer), $0, &effects) }
            case .wrongName(let body, let key, let name, let origin):
                bytes.withSpan {
                    advance(.wrongName(body, key, name: name, from: origin), $0, &effects)
                }
            case .unclaimed(let body, let key, let number, let origin, let sharesKey):
                advance(
                    .unclaimed(body, key, number: number, from: origin, sharesKey: sharesKey),
                    Span(), &effects)
            }
        }
    }

    /// Advances the node by an event of the server's own. Its bytes are not those that the driver
    /// knows, so what is sent of them is copied behind the heads.
    mutating func advance(
        _ event: Event, _ bytes: Span<UInt8>, _ effects: inout ServerEffects
    ) {
        node.handle(event, bytes: bytes, at: now, into: &effects.own)
        transfer(bytes, &effects)
    }

    /// Reads the effects of an event of the server's own, and hands them on to the driver.
    mutating func transfer(_ bytes: Span<UInt8>, _ effects: inout ServerEffects) {
        for position in 0..<effects.own.count {
            let effect = effects.own[position]
            switch effect {
            case .send(let link, let head, let body, let sendClass):
                let start = effects.mesh.bytes.count
                effects.own.bytes.withSpan {
                    effects.mesh.bytes.append($0, Int(head.start), Int(head.count))
                }
                effects.mesh.bytes.append(bytes, Int(body.start), Int(body.count))
                let frame = Slice(start: start, count: effects.mesh.bytes.count - start)
                effects.mesh.appendSend(link, head: frame, body: .empty, sendClass)
            case .left:
                phase = .left
                effects.mesh.append(effect)
            case .dial, .close, .log: effects.mesh.append(effect)
            default: heedRare(effect, bytes, effects.own.bytes, &effects.clientBytes)
            }
        }
        effects.own.removeAll()
    }

    mutating func noteReadiness() {
        let isReady = isReady
        if isReady == wasReady { return }
        wasReady = isReady
        edge.gateway.setReady(isReady)
    }

    // MARK: Facts

    /// True if commands that need the mesh are carried out. A draining node still serves the clients that
    /// it sends away.
    public var isReady: Bool {
        mutating get {
            switch phase {
            case .running, .draining: node.isReady
            case .leaving, .left: false
            }
        }
    }

    /// True if messages to users who are not here go back to their origins: since the first client has come.
    public var returnsMessages: Bool { servesClients }

    public var clientCount: Int { edge.gateway.hub.clientCount }

    /// Why the node does not serve; nil when it does.
    public var unreadyReason: String? {
        if phase != .running { return "leaving" }
        if node.isReady { return nil }
        if !node.hasSeeds { return "starting" }
        return node.isIntroduced
            ? "joining: members and directory have not arrived yet"
            : "joining: no seed has answered yet"
    }
}

extension Server {
    /// See `Node.forgetHoles`.
    package mutating func forgetHoles() { node.forgetHoles() }

    /// See `Node.misset`.
    package mutating func misset(_ timer: Timer, _ due: Instant?, onlyIfUnset: Bool = false) {
        node.misset(timer, due, onlyIfUnset: onlyIfUnset)
    }
}
