import MeshCore
import MeshGateway
import MeshServer
import MeshWire

/// Many servers in one process in virtual time: the other driver of `Server` beside the reactor.
///
/// They run their production code; bytes really pass through the codec. The network keeps the
/// order of each connection, takes its time, and can be cut (`Network`). One seed decides all: the
/// same seed and the same calls give the same run.
///
/// A host is one life of a node: a node that is started again is a new host, at the same address.
///
/// It has some forty properties: the tables of hosts, connections and clients, the network, and what
/// observers ask to be told. Each event of the queue touches several of them at once.
public struct World: ~Copyable {
    /// A message that a node has handed to its clients.
    public struct Delivery: Sendable {
        public var node: Int
        public var time: Instant
        public var body: RoutedBody
        public var name: [UInt8]
        public var payload: [UInt8]
    }

    public internal(set) var now = Instant(nanoseconds: 0)
    public var network = Network()
    /// By number; nil once the host is down.
    var hosts: [Host?] = []
    /// Hosts that are down and whose handles somebody further up may still hold.
    var retired: [Host] = []
    private(set) var ids: [NodeID] = []
    private(set) var endpoints: [Endpoint] = []
    /// The latest host at each address.
    var hostAt: [Endpoint: Int] = [:]
    private var hostOf: [NodeID: Int] = [:]
    var connections = ConnectionTable()
    var queue = EventQueue<Action>()
    var pool = BytePool()
    var effects = ServerEffects()
    /// For the network's jitter alone, so that what nodes and workload draw does not depend on it.
    var random: RandomSource
    private var birthRandom: RandomSource
    let hasher: KeyHasher
    /// The nodes' records of themselves, once for all of them.
    private let interner = RecordInterner(isShared: true)

    /// Whole deliveries are kept for tests; a long run reads the observations instead.
    public var keepsDeliveries = true
    public internal(set) var deliveries: [Delivery] = []
    var observations = Observations()
    /// The notes for `smallworld-sim trace`; nil: none are taken.
    var tracer: Tracer?
    var confirmations = ConfirmationChecker()
    /// The bytes that have travelled, and how changes and messages spread.
    var trafficCount = TrafficCount()
    /// A seeded mistake for the checkers to find; nil: none.
    var mutant: Mutant?

    public internal(set) var eventCount = 0
    /// Bytes that have travelled between nodes.
    public internal(set) var byteCount = 0
    /// The most bytes that were on their way on one connection at once.
    public internal(set) var inFlightMax = 0
    /// Folds every event's time and place: equal runs have equal hashes.
    public internal(set) var runHash: UInt64 = 0
    /// The words that `touch` has read; without a place for them the compiler would read nothing.
    var touched: Int64 = 0
    /// To whom the event that is being handled has sent something, and over which of their links;
    /// the first of them.
    var departed = InlineArray<32, Departed>(repeating: Departed(host: 0, link: .none))
    var departedCount = 0
    struct Departed: BitwiseCopyable {
        var host: Int32
        var link: LinkIndex
    }
    /// The message that is being published.
    var message: [UInt8] = []

    /// The connections of clients, all that there ever were.
    var lines: [ClientLine] = []
    /// Those that end when their servers' output has left.
    var endingLines: [Int] = []
    /// Orders of the server that is being handled, about its clients.
    var orders: [ServerEffects.Order] = []
    /// Clients that are flushed; reused.
    var dirtyClients: [ClientIndex] = []
    var isSettlingLines = false
    /// Bounds of the client side, for servers that start from now on.
    var gateway = GatewayConfiguration()
    /// For what kernels take of clients' output.
    var lineRandom: RandomSource

    /// - Parameter keyBits: of the names' hashes; few, so that names share keys.
    public init(seed: UInt64, keyBits: Int = 64) {
        let whole = KeyHasher(cluster: "smallworld")
        hasher = keyBits < 64 ? whole.cut(to: keyBits) : whole
        random = RandomSource(seed: seed)
        birthRandom = RandomSource(seed: RandomSource.mix(seed ^ 0x6269_7274_68))
        lineRandom = RandomSource(seed: RandomSource.mix(seed ^ 0x6c69_6e65))
    }

    deinit {
        for host in hosts { host?.free() }
        for host in retired { host.free() }
    }

    public var hostCount: Int { hosts.count }

    // MARK: Building

    /// Starts a node and returns its host's number.
    @discardableResult
    public mutating func start(
        seeds: [Int], degree: Int = 16, zone: Int = 0, at endpoint: Endpoint? = nil,
        configure: (inout Configuration) -> Void = { _ in }
    ) -> Int {
        let number = hosts.count
        let endpoint = endpoint ?? Endpoint(ipv4: 0x0A00_0000 + UInt32(number), port: 7400)
        var configuration = Configuration(
            endpoint: endpoint, name: "n\(number)", seeds: seeds.map { endpoints[$0] })
        configuration.degree = degree
        configure(&configuration)
        if let mutant, mutant.mistake == .hurriesGreetings, mutant.hosts.contains(number) {
            configuration.timing.greeting = .milliseconds(500)
        }
        let node = Node(
            id: NodeID(birthRandom.next()),
            incarnation: Incarnation(
                bootMilliseconds: 1_700_000_000_000 + UInt64(now.nanoseconds / 1_000_000)
                    + UInt64(number)),
            seed: birthRandom.next(), configuration: configuration, hasher: hasher, at: now,
            interner: interner)
        let id = node.id
        var options = ServerOptions(node: configuration)
        options.gateway = gateway
        let server = Server(
            options, node: node, hasher: hasher,
            secret: (RandomSource.mix(id.rawValue), RandomSource.mix(~id.rawValue)), at: now)
        ids.append(id)
        endpoints.append(endpoint)
        hostAt[endpoint] = number
        hostOf[id] = number
        hosts.append(Host(server: server, slotCount: configuration.linkSlotCount))
        network.addHost(zone: zone)
        trafficCount.addHost()
        scheduleDeadline(number)
        return number
    }

    // MARK: Looking

    public func id(_ host: Int) -> NodeID { ids[host] }
    public func host(of id: NodeID) -> Int? { hostOf[id] }
    public func endpoint(_ host: Int) -> Endpoint { endpoints[host] }
    public func isUp(_ host: Int) -> Bool { hosts[host] != nil }
    /// Its clients wait until it has compared with another.
    func isBehind(_ host: Int) -> Bool {
        if let mutant, mutant.mistake == .takesUncompared, mutant.isActive(host, now) {
            return false
        }
        return hosts[host]!.server.node.isBehind
    }
    public func isFrozen(_ host: Int) -> Bool { hosts[host]?.frozenUntil != nil }
    /// For hosts that are up, as everything below.
    public func isReady(_ host: Int) -> Bool { hosts[host]!.server.node.isReady }
    public func members(_ host: Int) -> [MemberReport] { hosts[host]!.server.node.memberReports() }
    func memberCount(_ host: Int) -> Int { hosts[host]!.server.node.memberCount }
    public func links(_ host: Int) -> [LinkStatus] { hosts[host]!.server.node.linkStatuses() }
    public func counters(_ host: Int) -> NodeCounters { hosts[host]!.server.node.counters }
    public func digest(_ host: Int) -> UInt64 { hosts[host]!.server.node.stateDigest }
    public func sizes(_ host: Int) -> TableSizes { hosts[host]!.server.node.tableSizes() }
    /// The faults of a node's timers (`Node.wrongTimers`).
    func wrongTimers(_ host: Int) -> [String] { hosts[host]!.server.node.wrongTimers() }
    public func traffic(_ host: Int) -> (bytesIn: Int, bytesOut: Int) {
        (hosts[host]!.bytesIn, hosts[host]!.bytesOut)
    }
    public func nextHop(_ host: Int, to other: Int) -> Int? {
        guard let hop = hosts[host]!.server.nextHop(to: ids[other]), let next = hostOf[hop] else {
            return nil
        }
        return isUp(next) ? next : nil
    }
    public func presences(_ host: Int) -> [(key: Key, isOnline: Bool)] { hosts[host]!.presences }
    public func answers(_ host: Int) -> [(query: QueryID, from: NodeID, answer: [UInt8])] {
        hosts[host]!.answers
    }
    public func finished(_ host: Int) -> [QueryID] { hosts[host]!.finished }

    public mutating func clearDeliveries() { deliveries.removeAll() }

    // MARK: Time

    public mutating func run(for delay: Delay) {
        run(until: now + delay)
    }

    public mutating func run(until end: Instant) {
        freeRetired()
        while let next = queue.nextTime, next <= end { step() }
        now = end
    }

    /// Runs until then, but at most `limit` events. Returns whether it got there.
    mutating func run(until end: Instant, eventsAtMost limit: Int) -> Bool {
        freeRetired()
        var left = limit
        while let next = queue.nextTime, next <= end {
            if left == 0 { return false }
            left -= 1
            step()
        }
        now = end
        return true
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

    /// Between events nobody holds a handle.
    private mutating func freeRetired() {
        for host in retired { host.free() }
        retired.removeAll()
    }

    private mutating func step() {
        guard let (time, action) = queue.take() else { return }
        if let next = queue.next, next.kind == .deadline { touchSender(next.host) }
        now = time
        eventCount += 1
        switch action.kind {
        case .deadline:
            guard let host = hosts[Int(action.host)], host.deadline == time else { return }
            if postpone(action, host) { return }
            host.deadline = nil
            handle(Int(action.host), .deadline)
        case .thaw:
            thaw(Int(action.host))
        case .retry:
            retry(action)
        case .departed, .waits:
            moveLine(action)
        case .reach:
            connections[action.connection].pending -= 1
            reach(action)
        case .connected, .refused, .bytes, .piece, .end:
            carry(action)
        case .unreachable:
            arrive(action)
        case .lineOpens, .lineInput, .lineEnds, .lineBreaks, .lineWritable, .lineArrival,
            .lineVerdict:
            if action.kind != .lineArrival, let host = hosts[Int(action.host)],
                postpone(action, host)
            {
                return
            }
            arriveOnLine(action)
        }
    }

    /// A frozen host does it when it thaws, in the order in which it came.
    @inline(__always)
    func postpone(_ action: Action, _ host: Host) -> Bool {
        guard host.frozenUntil != nil else { return false }
        host.inbox.append(action)
        return true
    }

    private mutating func thaw(_ number: Int) {
        guard let host = hosts[number], let until = host.frozenUntil, until <= now else { return }
        host.frozenUntil = nil
        host.server.woke(at: host.localTime(now), into: &effects)
        performAll(number, host, .none)
        let waiting = host.inbox
        host.inbox = []
        for action in waiting {
            if action.kind == .deadline {
                host.deadline = nil
                if hosts[number] != nil { handle(number, .deadline) }
            } else if action.kind.isOfLine {
                arriveOnLine(action)
            } else {
                arrive(action)
            }
        }
        if hosts[number] != nil { scheduleDeadline(number) }
    }
}
