import MeshCore
import MeshWire

/// Many nodes in one process in virtual time: the other driver of `Node` beside the reactor.
///
/// The nodes run their production code; bytes really pass through the codec. The network has
/// latency and jitter, keeps the order of each connection, and can be cut. One seed decides all: the
/// same seed and the same calls give the same run.
public struct World: ~Copyable {
    /// How the network behaves when nothing is wrong.
    public struct Network: Sendable {
        /// One way, without jitter.
        public var latency = Delay.microseconds(200)
        /// Up to this much more, uniformly.
        public var jitter = Delay.microseconds(100)
        /// How long an attempt to connect to a silent address takes to fail.
        public var connectTimeout = Delay.seconds(3)
        public init() {}
    }

    /// A message that a node has handed to its clients.
    public struct Delivery: Sendable {
        public var node: Int
        public var time: Instant
        public var body: RoutedBody
        public var name: [UInt8]
        public var payload: [UInt8]
    }

    /// A node and the driver's side of its links.
    final class Host {
        var node: Node
        var endpoint: Endpoint
        /// The connection of each link slot, -1: none.
        var connections: [Int]
        var deadline: Instant?
        var isUp = true
        /// Runs nothing until then.
        var frozenUntil: Instant?
        var logs: [LogEvent] = []
        var finished: [QueryID] = []
        var answers: [(query: QueryID, from: NodeID, answer: [UInt8])] = []
        var presences: [(key: Key, isOnline: Bool)] = []

        init(node: consuming Node, endpoint: Endpoint, slotCount: Int) {
            self.node = node
            self.endpoint = endpoint
            connections = [Int](repeating: -1, count: slotCount)
        }
    }

    private struct Connection {
        /// The dialling side and the accepting side.
        var hosts: (Int, Int)
        var links: (LinkIndex, LinkIndex)
        var isOpen = true
        /// The last arrival in each direction: later bytes do not overtake.
        var lastArrival: (Instant, Instant)
    }

    private enum Action {
        case deadline(host: Int)
        case reach(connection: Int, host: Int)
        case connectFailed(host: Int, LinkIndex, connection: Int, Disconnection)
        case arrive(connection: Int, toDialler: Bool, [UInt8])
        case closed(connection: Int, toDialler: Bool)
    }

    public private(set) var now = Instant(nanoseconds: 0)
    public var network = Network()
    private(set) var hosts: [Host] = []
    private var connections: [Connection] = []
    private var queue = EventQueue<Action>()
    private var random: RandomSource
    private let hasher = KeyHasher(cluster: "smallworld")
    private var effects = EffectBuffer()
    /// Hosts of different groups cannot hear each other.
    private var groups: [Int] = []
    /// One-way cuts: (from, to).
    private var cuts: Set<Int> = []
    private static let cutStride = 1 << 20
    public private(set) var deliveries: [Delivery] = []
    public private(set) var eventCount = 0
    /// Bytes that have travelled between nodes.
    public private(set) var byteCount = 0
    /// Folds every event's time and place: equal runs have equal hashes.
    public private(set) var runHash: UInt64 = 0

    public init(seed: UInt64) {
        random = RandomSource(seed: seed)
    }

    public var hostCount: Int { hosts.count }

    // MARK: Building

    /// Starts a node and returns its number.
    @discardableResult
    public mutating func start(
        seeds: [Int], degree: Int = 16, at endpoint: Endpoint? = nil,
        configure: (inout Configuration) -> Void = { _ in }
    ) -> Int {
        let number = hosts.count
        let endpoint =
            endpoint ?? Endpoint(ipv4: 0x0A00_0000 + UInt32(number), port: 7400)
        var configuration = Configuration(
            endpoint: endpoint, name: "n\(number)", seeds: seeds.map { hosts[$0].endpoint })
        configuration.degree = degree
        configure(&configuration)
        let node = Node(
            id: NodeID(random.next()),
            incarnation: Incarnation(
                bootMilliseconds: 1_700_000_000_000 + UInt64(now.nanoseconds / 1_000_000)
                    + UInt64(number)),
            seed: random.next(), configuration: configuration, hasher: hasher, at: now)
        hosts.append(
            Host(node: node, endpoint: endpoint, slotCount: configuration.linkSlotCount))
        groups.append(0)
        scheduleDeadline(number)
        return number
    }

    public func id(_ host: Int) -> NodeID { hosts[host].node.id }
    public func isReady(_ host: Int) -> Bool { hosts[host].node.isReady }
    public func isUp(_ host: Int) -> Bool { hosts[host].isUp }
    public func members(_ host: Int) -> [MemberStatus] { hosts[host].node.memberStatuses() }
    public func links(_ host: Int) -> [LinkStatus] { hosts[host].node.linkStatuses() }
    public func counters(_ host: Int) -> Counters { hosts[host].node.counters }
    public func digest(_ host: Int) -> UInt64 { hosts[host].node.stateDigest }
    public func sizes(_ host: Int) -> TableSizes { hosts[host].node.tableSizes() }
    public func nextHop(_ host: Int, to other: Int) -> Int? {
        guard let hop = hosts[host].node.nextHop(to: id(other)) else { return nil }
        return hosts.firstIndex { $0.isUp && $0.node.id == hop }
    }
    public func presences(_ host: Int) -> [(key: Key, isOnline: Bool)] { hosts[host].presences }
    public func answers(_ host: Int) -> [(query: QueryID, from: NodeID, answer: [UInt8])] {
        hosts[host].answers
    }
    public func finished(_ host: Int) -> [QueryID] { hosts[host].finished }
    public func logs(_ host: Int) -> [LogEvent] { hosts[host].logs }

    public mutating func clearDeliveries() { deliveries.removeAll() }

    // MARK: What clients do

    public func key(_ kind: KeyKind, _ name: String) -> Key {
        hasher.key(kind, Array(name.utf8))
    }

    /// The first local session of a user, or subscriber of a channel, comes to a node; or the last goes.
    public mutating func change(
        _ host: Int, _ kind: KeyKind, _ name: String, _ change: DirectoryChange
    ) {
        let key = key(kind, name)
        if kind == .pattern {
            let bytes = Array(name.utf8)
            handle(
                host, .pattern(key, name: Slice(start: 0, count: bytes.count), change), bytes)
        } else {
            handle(host, .directory(key, change), [])
        }
    }

    public mutating func watch(_ host: Int, _ user: String) {
        handle(host, .watch(key(.user, user), .add), [])
    }

    /// Returns to how many other nodes it went.
    @discardableResult
    public mutating func publish(
        _ host: Int, _ body: RoutedBody, _ name: String, _ payload: [UInt8]
    ) -> Int {
        let kind: KeyKind =
            body == .user ? .user : body == .shardChannel ? .shardChannel : .channel
        let bytes = Array(name.utf8) + payload
        let nameCount = bytes.count - payload.count
        handle(
            host,
            .publish(
                body, key(kind, name), name: Slice(start: 0, count: nameCount),
                payload: Slice(start: nameCount, count: payload.count)), bytes)
        return lastRemoteNodeCount
    }
    private var lastRemoteNodeCount = 0

    public mutating func ask(_ host: Int, _ query: QueryID, everyone subject: [UInt8]) {
        handle(
            host, .query(query, .everyone(subject: Slice(start: 0, count: subject.count))),
            subject)
    }

    public mutating func leave(_ host: Int) {
        handle(host, .leave, [])
    }

    // MARK: Faults

    /// The process ends; its machine resets its connections and refuses new ones.
    public mutating func crash(_ host: Int) {
        hosts[host].isUp = false
        for connection in connections.indices where connections[connection].isOpen {
            let ends = connections[connection].hosts
            guard ends.0 == host || ends.1 == host else { continue }
            close(connection, by: host)
        }
    }

    /// The machine ends: nobody is told.
    public mutating func vanish(_ host: Int) {
        hosts[host].isUp = false
        isolated.insert(host)
    }
    private var isolated: Set<Int> = []

    public mutating func freeze(_ host: Int, for delay: Delay) {
        hosts[host].frozenUntil = now + delay
    }

    /// Splits the network: hosts hear only those of their own group.
    public mutating func partition(_ assign: (Int) -> Int) {
        for host in groups.indices { groups[host] = assign(host) }
    }

    public mutating func heal() {
        for host in groups.indices { groups[host] = 0 }
        cuts.removeAll()
    }

    /// Nothing goes from one host to another any more; the other way is unhurt.
    public mutating func cut(from: Int, to: Int) {
        cuts.insert(from * Self.cutStride + to)
    }

    /// Resets the connection between two hosts, if there is one.
    public mutating func reset(_ one: Int, _ other: Int) {
        for connection in connections.indices where connections[connection].isOpen {
            let ends = connections[connection].hosts
            if ends == (one, other) || ends == (other, one) {
                connections[connection].isOpen = false
                for side in [true, false] {
                    queue.schedule(
                        .closed(connection: connection, toDialler: side), at: now)
                }
            }
        }
    }

    private func isBlocked(from: Int, to: Int) -> Bool {
        groups[from] != groups[to] || isolated.contains(from) || isolated.contains(to)
            || !cuts.isEmpty && cuts.contains(from * Self.cutStride + to)
    }

    // MARK: Time

    public mutating func run(for delay: Delay) {
        run(until: now + delay)
    }

    public mutating func run(until end: Instant) {
        while let next = queue.nextTime, next <= end { step() }
        now = end
    }

    /// Runs until `condition` holds; false if it does not within `limit`.
    public mutating func run(
        atMost limit: Delay, until condition: (borrowing World) -> Bool
    ) -> Bool {
        let end = now + limit
        while true {
            if condition(self) { return true }
            guard now < end else { return false }
            run(until: min(end, now + .milliseconds(10)))
        }
    }

    private mutating func step() {
        guard let (time, action) = queue.take() else { return }
        now = time
        eventCount += 1
        switch action {
        case .deadline(let host):
            guard hosts[host].isUp, hosts[host].deadline == time else { return }
            if postponed(host, action) { return }
            hosts[host].deadline = nil
            handle(host, .deadline, [])
        case .reach(let connection, let host):
            reach(connection, host)
        case .connectFailed(let host, let link, let connection, let reason):
            if postponed(host, action) { return }
            guard hosts[host].isUp, hosts[host].connections[Int(link)] == connection else {
                return
            }
            hosts[host].connections[Int(link)] = -1
            handle(host, .disconnected(link, reason), [])
        case .arrive(let connection, let toDialler, let bytes):
            arrive(connection, toDialler, bytes, action)
        case .closed(let connection, let toDialler):
            let ends = connections[connection].hosts
            let host = toDialler ? ends.0 : ends.1
            let other = toDialler ? ends.1 : ends.0
            if isBlocked(from: other, to: host) {
                queue.schedule(action, at: now + .milliseconds(50))
                return
            }
            if postponed(host, action) { return }
            let links = connections[connection].links
            let link = toDialler ? links.0 : links.1
            guard hosts[host].isUp, link >= 0, hosts[host].connections[Int(link)] == connection
            else { return }
            hosts[host].connections[Int(link)] = -1
            handle(host, .disconnected(link, .closed), [])
        }
    }

    /// A frozen host does it when it thaws.
    private mutating func postponed(_ host: Int, _ action: Action) -> Bool {
        guard let until = hosts[host].frozenUntil else { return false }
        if until <= now {
            hosts[host].frozenUntil = nil
            return false
        }
        queue.schedule(action, at: until)
        if case .deadline = action { hosts[host].deadline = until }
        return true
    }

    // MARK: Connections

    /// A dial has come to the other side.
    private mutating func reach(_ connection: Int, _ dialler: Int) {
        let (from, to) = connections[connection].hosts
        let link = connections[connection].links.0
        guard connections[connection].isOpen, hosts[from].isUp else { return }
        if isBlocked(from: from, to: to) || isBlocked(from: to, to: from) {
            connections[connection].isOpen = false
            queue.schedule(
                .connectFailed(host: from, link, connection: connection, .unreachable),
                at: now + network.connectTimeout)
            return
        }
        guard hosts[to].isUp, let accepted = hosts[to].node.acceptLink(at: now) else {
            connections[connection].isOpen = false
            queue.schedule(
                .connectFailed(host: from, link, connection: connection, .refused),
                at: now + network.latency)
            return
        }
        scheduleDeadline(to)
        connections[connection].links.1 = accepted
        hosts[to].connections[Int(accepted)] = connection
        queue.schedule(
            .arrive(connection: connection, toDialler: true, []), at: now + network.latency)
    }

    private mutating func arrive(
        _ connection: Int, _ toDialler: Bool, _ bytes: [UInt8], _ action: Action
    ) {
        guard connections[connection].isOpen || !toDialler || !bytes.isEmpty else { return }
        let ends = connections[connection].hosts
        let host = toDialler ? ends.0 : ends.1
        let other = toDialler ? ends.1 : ends.0
        guard hosts[host].isUp else { return }
        if isBlocked(from: other, to: host) {
            // TCP sends again; the bytes come late or never.
            queue.schedule(action, at: now + .milliseconds(50))
            return
        }
        if postponed(host, action) { return }
        let links = connections[connection].links
        let link = toDialler ? links.0 : links.1
        guard link >= 0, hosts[host].connections[Int(link)] == connection else { return }
        if bytes.isEmpty {
            handle(host, .connected(link), [])
            return
        }
        byteCount += bytes.count
        handle(host, .heard(link), [])
        var at = 0
        var needed = 0
        while at < bytes.count {
            guard hosts[host].connections[Int(link)] == connection else { return }
            let prefix = try? FramePrefix.read(bytes.span, at: at, needed: &needed)
            guard let prefix else { preconditionFailure("a node sent a malformed frame") }
            handle(host, .received(prefix, start: at, from: link), bytes)
            at += prefix.length
        }
    }

    private mutating func close(_ connection: Int, by host: Int) {
        guard connections[connection].isOpen else { return }
        connections[connection].isOpen = false
        let isDialler = connections[connection].hosts.0 == host
        let after =
            isDialler
            ? connections[connection].lastArrival.1
            : connections[connection].lastArrival.0
        queue.schedule(
            .closed(connection: connection, toDialler: !isDialler),
            at: max(after, now + network.latency))
    }

    // MARK: Driving a node

    private mutating func scheduleDeadline(_ host: Int) {
        guard hosts[host].isUp, let due = hosts[host].node.nextDeadline else { return }
        if let scheduled = hosts[host].deadline, scheduled <= due { return }
        hosts[host].deadline = max(due, now)
        queue.schedule(.deadline(host: host), at: max(due, now))
    }

    private mutating func handle(_ host: Int, _ event: Event, _ bytes: [UInt8]) {
        runHash = RandomSource.mix(runHash ^ UInt64(bitPattern: now.nanoseconds)) ^ UInt64(host)
        hosts[host].node.handle(event, bytes: bytes.span, at: now, into: &effects)
        lastRemoteNodeCount = effects.remoteNodeCount
        var index = 0
        while index < effects.count {
            perform(effects[index], host, bytes)
            index += 1
        }
        effects.removeAll()
        scheduleDeadline(host)
    }

    private mutating func perform(_ effect: Effect, _ host: Int, _ bytes: [UInt8]) {
        switch effect {
        case .send(let link, let head, let body, _):
            var frame = effects.bytes.withSpan { $0.array(head) }
            if body.count > 0 { frame += bytes[Int(body.start)..<body.end] }
            send(frame, over: link, host)
        case .dial(let link, let endpoint):
            dial(endpoint, for: link, host)
        case .close(let link):
            let connection = hosts[host].connections[Int(link)]
            hosts[host].connections[Int(link)] = -1
            if connection >= 0 { close(connection, by: host) }
        case .deliver(let body, _, let name, let payload):
            deliveries.append(
                Delivery(
                    node: host, time: now, body: body,
                    name: Array(bytes[Int(name.start)..<name.end]),
                    payload: Array(bytes[Int(payload.start)..<payload.end])))
        case .presence(let key, let isOnline):
            hosts[host].presences.append((key, isOnline))
        case .asked(let asker, let query, let subject):
            // The simulated driver's answer is the question, and its own number.
            let answer = Array(bytes[Int(subject.start)..<subject.end]) + [UInt8(host & 255)]
            pendingAnswers.append((host, asker, query, answer))
        case .answered(let query, let from, let answer):
            hosts[host].answers.append(
                (query, from, Array(bytes[Int(answer.start)..<answer.end])))
        case .traced(let query, let holder, let path):
            hosts[host].answers.append(
                (query, holder, Array(bytes[Int(path.start)..<path.end])))
        case .finished(let query):
            hosts[host].finished.append(query)
        case .log(let event):
            hosts[host].logs.append(event)
        case .left: hosts[host].isUp = false
        }
        answerPending()
    }
    private var pendingAnswers: [(host: Int, asker: NodeID, query: QueryID, answer: [UInt8])] = []

    /// Answers go out as events of their own, a moment later, as from a driver's next turn.
    private mutating func answerPending() {
        guard !pendingAnswers.isEmpty, !isAnswering else { return }
        isAnswering = true
        let pending = pendingAnswers
        pendingAnswers.removeAll()
        for item in pending {
            var own = EffectBuffer()
            hosts[item.host].node.handle(
                .answer(
                    to: item.asker, item.query,
                    answer: Slice(start: 0, count: item.answer.count)),
                bytes: item.answer.span, at: now, into: &own)
            for index in 0..<own.count {
                if case .send(let link, let head, let body, _) = own[index] {
                    let frame =
                        own.bytes.withSpan { $0.array(head) }
                        + item.answer[Int(body.start)..<body.end]
                    send(frame, over: link, item.host)
                }
            }
        }
        isAnswering = false
    }
    private var isAnswering = false

    private mutating func dial(_ endpoint: Endpoint, for link: LinkIndex, _ host: Int) {
        let number = connections.count
        let target = hosts.lastIndex { $0.endpoint == endpoint }
        connections.append(
            Connection(
                hosts: (host, target ?? host), links: (link, -1), lastArrival: (now, now)))
        hosts[host].connections[Int(link)] = number
        guard target != nil else {
            queue.schedule(
                .connectFailed(host: host, link, connection: number, .refused),
                at: now + network.latency * 2)
            return
        }
        queue.schedule(.reach(connection: number, host: host), at: now + network.latency)
    }

    private mutating func send(_ frame: [UInt8], over link: LinkIndex, _ host: Int) {
        let connection = hosts[host].connections[Int(link)]
        guard connection >= 0, connections[connection].isOpen else { return }
        let toDialler = connections[connection].hosts.0 != host
        let jitter = Delay(
            nanoseconds: Int64(random.next(below: Int(network.jitter.nanoseconds) + 1)))
        var arrival = now + network.latency + jitter
        if toDialler {
            arrival = max(arrival, connections[connection].lastArrival.0)
            connections[connection].lastArrival.0 = arrival
        } else {
            arrival = max(arrival, connections[connection].lastArrival.1)
            connections[connection].lastArrival.1 = arrival
        }
        queue.schedule(
            .arrive(connection: connection, toDialler: toDialler, frame), at: arrival)
    }
}
