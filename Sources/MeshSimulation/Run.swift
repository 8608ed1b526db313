import JSON5
import MeshCore
import MeshGateway
import MeshWire

/// One run of a scenario: the world, what happens to it, and what the checkers make of it.
///
/// Faults, load, network and nodes draw from random sources of their own, all of them from the one
/// seed: taking a fault out of a scenario changes nothing of the load. With the checkers and the random
/// sources, each of its own, it has some thirty properties.
public struct Run: ~Copyable {
    /// An action that is to be done at a time; an agenda beside the world's own queue.
    struct ScheduledAction: BitwiseCopyable {
        enum Kind: UInt8, BitwiseCopyable {
            case start, fault, unfault, restart, sample, withdrawal
            case churnJoin, churnLeave, churnCrash
            case subscribe, firstUser, userComes, userArrives, userDeparts, userMoves
            case toUser, toChannel, large
            case sessionLook, sessionBreak, sessionProbe, toSession
            case roomLook, roomChange, roomSay
        }
        var kind: Kind
        var index: Int32 = 0
        var count: Int32 = 0
    }

    public let scenario: Scenario
    var world: World
    var agenda = EventQueue<ScheduledAction>()
    var truth = Truth()
    var load = Workload()
    var metrics = Metrics()
    var agreement = AgreementChecker()
    var delivery = DeliveryChecker()
    var news = NewsChecker()
    var spread = SpreadChecker()
    var timers = TimerChecker()
    var tally = FigureTally()
    var sessionLoad = SessionLoad()
    var roomLoad = RoomLoad()
    var faultRandom: RandomSource
    var loadRandom: RandomSource
    /// Hosts that are up, in order.
    var live: [Int] = []
    /// The hosts and links that lasting faults have hurt, to be undone.
    var hurtHosts: [[Int]] = []
    var cutLinks: [[(Int, Int)]] = []
    var crashedAt: [Instant?] = []
    /// The hosts that each host was told when it started.
    private var seedsOf: [[Int]] = []
    /// When the network was first parted; nil: it never was.
    var partedSince: Instant?
    /// Links that were cut, until their connections move again.
    var cuts: [CutLink] = []
    private var detections: [Double] = []
    /// Faults whose end the mesh has not got over yet, by place in `metrics.recoveries`.
    private var openRecoveries: [Int] = []
    private var bytesSampled = 0
    /// When the bytes that a host sends began to be counted, and how many there were before: what
    /// the start costs is not what it costs to be there.
    private var counted: [(from: Instant, bytes: Int)] = []
    private var isCounting = false
    private var nextSecond = Instant(nanoseconds: 0)
    public private(set) var isFinished = false

    /// At most this many findings are listed; all are counted.
    static let violationsListed = 50
    /// A slice of time with more events than this is taken for a loop without progress.
    static let eventsPerSliceMax = 100_000_000
    /// Nodes that have not met after this never will.
    static let startLimit = Delay.seconds(180)
    /// A message that is still on its way then, a node's patience with users who do not come back
    /// included, is lost.
    static let drainLimit = Delay.seconds(12)

    public init(_ scenario: Scenario, seed: UInt64) {
        self.scenario = scenario
        world = World(
            seed: RandomSource.mix(seed ^ 0x776f_726c_64), keyBits: scenario.keyBits)
        faultRandom = RandomSource(seed: RandomSource.mix(seed ^ 0x6661_756c_74))
        loadRandom = RandomSource(seed: RandomSource.mix(seed ^ 0x6c6f_6164))
        world.keepsDeliveries = false
        if !scenario.keepsCopies { world.trafficCount.copyCountMax = 0 }
        metrics.scenario = scenario.name
        metrics.about = scenario.about
        metrics.seed = seed
        metrics.tolerates = scenario.tolerated.map(\.rawValue)
        layNetwork()
        plan()
    }

    /// The events of a message of a run, or of a host, between two times; a line each.
    public static func traced(
        _ scenario: Scenario, seed: UInt64, message: UInt32?, host: Int?, from: Instant,
        to: Instant
    ) -> [String] {
        precondition((message == nil) != (host == nil))
        var run = Run(scenario, seed: seed)
        let subject = message.map { Tracer.Subject.message($0) } ?? .host(host!)
        run.world.tracer = Tracer(subject, from: from, to: to)
        while !run.isFinished, run.now < to { run.advance(until: run.now + .milliseconds(100)) }
        let tracer = run.world.tracer!
        guard tracer.droppedLineCount > 0 else { return tracer.lines }
        return tracer.lines + ["… and \(tracer.droppedLineCount) lines more"]
    }

    public var now: Instant { world.now }
    public var eventCount: Int { world.eventCount }
    /// Until when the run goes on at the least.
    public var end: Instant { max(Instant(nanoseconds: 0) + scenario.duration, truth.lastTrouble) }

    // MARK: Planning

    private mutating func layNetwork() {
        world.network.latency = scenario.network.latency
        world.network.jitter = scenario.network.jitter
        world.network.connectTimeout = scenario.network.connectTimeout
        world.network.bytesPerSecond = scenario.network.bytesPerSecond
        let zones = scenario.zones
        guard !zones.isEmpty else { return }
        let pairs = scenario.network.between
        world.network.setZones(count: zones.count) { one, other in
            if one == other { return zones[one].latency }
            let names = (zones[one].name, zones[other].name)
            return pairs.first {
                ($0.0, $0.1) == names || ($0.1, $0.0) == names
            }?.2
        }
    }

    private func instant(_ delay: Delay) -> Instant { Instant(nanoseconds: 0) + delay }

    private mutating func plan() {
        if let mistake = scenario.mistake {
            let from = scenario.start.over + .seconds(mistake == .exceedsDegree ? 0 : 4)
            world.mutant = Mutant(
                mistake: mistake, hosts: Array(0..<scenario.nodes), from: instant(from))
        }
        agenda.schedule(ScheduledAction(kind: .start), at: instant(.zero))
        agenda.schedule(ScheduledAction(kind: .sample), at: instant(.zero) + samplePeriod)
        for (index, fault) in scenario.faults.enumerated() {
            hurtHosts.append([])
            cutLinks.append([])
            agenda.schedule(
                ScheduledAction(kind: .fault, index: Int32(index), count: 0), at: instant(fault.at))
        }
        let loadStart = instant(scenario.start.over + .seconds(1))
        if scenario.channels.count > 0 {
            agenda.schedule(ScheduledAction(kind: .subscribe, index: -1), at: loadStart)
        }
        if scenario.users.count > 0 {
            agenda.schedule(ScheduledAction(kind: .firstUser), at: loadStart)
        }
        planNext(.userComes, scenario.users.arrivals, after: loadStart)
        planNext(.userDeparts, scenario.users.departures, after: loadStart)
        planNext(.userMoves, scenario.users.moves, after: loadStart)
        let from = max(loadStart, instant(scenario.messages.from))
        planNext(.toUser, scenario.messages.toUsers, after: from)
        planNext(.toChannel, scenario.messages.toChannels, after: from)
        planNext(.large, scenario.messages.large, after: from)
        planSessions(from: loadStart)
        planRooms(from: loadStart)
        if let churn = scenario.churn {
            planNext(.churnJoin, churn.joins / 60, after: instant(churn.from))
            planNext(.churnLeave, churn.leaves / 60, after: instant(churn.from))
            planNext(.churnCrash, churn.crashes / 60, after: instant(churn.from))
        }
    }

    private var samplePeriod: Delay { .milliseconds(scenario.nodes > 2_000 ? 200 : 50) }

    /// The next of a stream of random events, unless it is over by then.
    mutating func planNext(_ kind: ScheduledAction.Kind, _ rate: Double, after time: Instant) {
        guard rate > 0 else { return }
        let isChurn = kind == .churnJoin || kind == .churnLeave || kind == .churnCrash
        let next =
            time
            + (isChurn ? faultRandom.wait(perSecond: rate) : loadRandom.wait(perSecond: rate))
        var last = scenario.duration
        if isChurn, let to = scenario.churn?.to { last = min(last, to) }
        if [.toUser, .toChannel, .large].contains(kind), let to = scenario.messages.to {
            last = min(last, to)
        }
        guard next <= self.instant(last) else { return }
        agenda.schedule(ScheduledAction(kind: kind), at: next)
    }

    // MARK: Time

    /// Goes on until then or the end, whichever is first.
    public mutating func advance(until limit: Instant) {
        while !isFinished {
            let next = min(agenda.nextTime ?? limit, limit)
            guard world.run(until: next, eventsAtMost: Self.eventsPerSliceMax) else {
                metrics.isStuck = true
                finish()
                return
            }
            readObservations()
            guard agenda.nextTime == next, let (_, task) = agenda.take() else { return }
            perform(task)
        }
    }

    /// Runs to the end.
    public consuming func completed() -> Metrics {
        while !isFinished { advance(until: now + .seconds(1)) }
        return result
    }

    public var result: Metrics { metrics }

    /// All nodes that were to start are ready and agree.
    public var hasStarted: Bool { metrics.startSeconds != nil }

    private mutating func perform(_ task: ScheduledAction) {
        let index = Int(task.index)
        switch task.kind {
        case .start: startNext(index)
        case .sample: sample()
        case .withdrawal: lookForWithdrawn()
        case .fault: makeFault(index, round: Int(task.count))
        case .unfault: endFault(index)
        case .restart: restart(index)
        case .churnJoin:
            join(1)
            planNext(.churnJoin, scenario.churn!.joins / 60, after: now)
        case .churnLeave:
            if live.count > 3 { takeDownSome(1, .leave) }
            planNext(.churnLeave, scenario.churn!.leaves / 60, after: now)
        case .churnCrash:
            if live.count > 3 { takeDownSome(1, .crash) }
            planNext(.churnCrash, scenario.churn!.crashes / 60, after: now)
        case .subscribe: subscribe(index)
        case .firstUser:
            userComes()
            if index + 1 < scenario.users.count {
                let pause =
                    scenario.users.over.nanoseconds / Int64(max(1, scenario.users.count))
                agenda.schedule(
                    ScheduledAction(kind: .firstUser, index: Int32(index + 1)),
                    at: now + Delay(nanoseconds: pause))
            }
        case .userComes:
            userComes()
            planNext(.userComes, scenario.users.arrivals, after: now)
        case .userArrives:
            if load.home[index].isNone { settle(index) }
        case .userDeparts:
            userDeparts()
            planNext(.userDeparts, scenario.users.departures, after: now)
        case .userMoves:
            userMoves()
            planNext(.userMoves, scenario.users.moves, after: now)
        case .toUser:
            sendToUser()
            planNext(.toUser, scenario.messages.toUsers, after: now)
        case .toChannel:
            sendToChannel()
            planNext(.toChannel, scenario.messages.toChannels, after: now)
        case .large: sendLarge()
        case .sessionLook: lookAtSessions()
        case .sessionBreak:
            breakSession()
            planNext(.sessionBreak, scenario.sessions.breaks, after: now)
        case .toSession:
            sendToSession()
            planNext(.toSession, scenario.sessions.messages, after: now)
        case .sessionProbe:
            probeSession()
            planNext(.sessionProbe, scenario.sessions.probes, after: now)
        case .roomLook: lookAtRooms()
        case .roomChange:
            changeRooms()
            planNext(.roomChange, scenario.rooms.changes, after: now)
        case .roomSay:
            sayInRoom()
            planNext(.roomSay, scenario.rooms.says, after: now)
        }
    }

    // MARK: Nodes come and go

    private mutating func startNext(_ number: Int) {
        startHost(at: nil, zone: zone(of: number))
        guard number + 1 < scenario.nodes else { return }
        let pause = scenario.start.over.nanoseconds / Int64(scenario.nodes)
        agenda.schedule(
            ScheduledAction(kind: .start, index: Int32(number + 1)),
            at: now + Delay(nanoseconds: pause))
    }

    /// Zones take their shares of every run of consecutive nodes.
    private func zone(of number: Int) -> Int {
        guard !scenario.zones.isEmpty else { return 0 }
        let total = scenario.zones.reduce(0) { $0 + $1.share }
        // The golden section spreads the numbers evenly over [0, 1).
        let unit = (Double(number) * 0.6180339887498949).truncatingRemainder(dividingBy: 1)
        var sum = 0.0
        for (position, zone) in scenario.zones.enumerated() {
            sum += zone.share / total
            if unit < sum { return position }
        }
        return scenario.zones.count - 1
    }

    @discardableResult
    mutating func startHost(at endpoint: Endpoint?, zone: Int) -> Int {
        // In the beginning one names those before it; later anybody who is up.
        let isBeginning = world.hostCount < scenario.nodes
        let number = world.hostCount
        var seeds: [Int]
        if isBeginning {
            seeds = (0..<min(scenario.start.seeds, number)).map { number - 1 - $0 }
        } else {
            seeds = faultRandom.sample(scenario.start.seeds, of: live)
        }
        if seeds.isEmpty, number > 0 { seeds = [0] }
        let degree = scenario.degree + (scenario.mistake == .exceedsDegree ? 2 : 0)
        let flows = scenario.flows
        let host = world.start(seeds: seeds, degree: degree, zone: zone, at: endpoint) {
            if let flows { $0.flows = flows }
        }
        if !isBeginning, world.network.isParted, let first = seeds.first {
            world.network.setGroup(of: host, like: first)
        }
        load.addHost()
        crashedAt.append(nil)
        counted.append((now, 0))
        seedsOf.append(seeds)
        live.append(host)
        truth.started(host, at: now)
        if scenario.channels.subscribers == .share(1) {
            for channel in 0..<scenario.channels.count where !isBeginning {
                subscribe(channel, at: host)
            }
        }
        return host
    }

    /// More nodes start; or the run ends, because it would have more than it may.
    mutating func join(_ count: Int) {
        guard live.count + count <= Scenario.nodesMax else {
            let seconds = decimal(Double(now.nanoseconds) / 1e9)
            metrics.scenarioError =
                "at \(seconds) s \(count) nodes are to join \(live.count) others; "
                + "at most \(Scenario.nodesMax) may be up at once"
            finish()
            return
        }
        for _ in 0..<count {
            startHost(at: nil, zone: zone(of: world.hostCount))
            note("join")
        }
    }

    enum Departure { case crash, vanish, leave }

    /// Somebody who has not joined yet knows nobody else who is up: without this host it never will.
    /// Or the network was parted, and nobody else of this part was there before: newcomers of two
    /// parts have never heard of each other.
    func isNeeded(_ host: Int) -> Bool {
        if let since = partedSince, truth.startedAt[host] < since {
            let group = world.network.group(of: host)
            let isLast = !live.contains {
                $0 != host && world.network.group(of: $0) == group && truth.startedAt[$0] < since
            }
            if isLast, world.hostCount > scenario.nodes { return true }
        }
        return live.contains { other in
            !world.isReady(other) && seedsOf[other].contains(host)
                && !seedsOf[other].contains { $0 != host && live.contains($0) }
        }
    }

    /// A fault has begun or ended; the mesh's agreement after it will be timed.
    mutating func note(_ kind: String) {
        metrics.recoveries.append(
            Metrics.Recovery(kind: kind, at: Double(now.nanoseconds) / 1e9))
        openRecoveries.append(metrics.recoveries.count - 1)
    }

    // MARK: Observing

    mutating func readObservations() {
        for sender in world.observations.returns {
            if let message = Observations.Report.message(of: sender) { delivery.goBack(message) }
        }
        for arrival in world.observations.arrivals { report(delivery.arrive(arrival)) }
        for given in world.observations.reports {
            let destination = world.host(of: given.destination)
            report(
                delivery.report(
                    given, to: destination, isReachable: isReachable(given, destination)))
        }
        for detour in world.observations.detours {
            report(LoopChecker().check(detour, truth, settle: scenario.settle))
        }
        for arrival in world.observations.changes { spread.take(arrival, truth) }
        for surprise in world.observations.surprises {
            report(world.confirmations.check(surprise, truth, settle: scenario.settle))
        }
        for slip in world.observations.unaware {
            report(world.confirmations.check(slip, truth))
        }
        for news in world.observations.news {
            let host = Int(news.host)
            if let id = NewsChecker.subject(of: news.event), let subject = world.host(of: id) {
                report(self.news.take(news, of: subject, truth))
            }
            switch news.event {
            case .memberDead(let id, _):
                metrics.deaths += 1
                guard let subject = world.host(of: id) else { continue }
                knowsDeath(of: subject, at: news.time)
                if world.isUp(subject) { tally.falseRemovals += 1 }
                if let at = crashedAt[subject], detections.count < 4_000_000 {
                    detections.append(Double((news.time - at).nanoseconds) / 1e9)
                }
                report(
                    RemovalChecker().check(
                        subject: subject, by: host, at: news.time, isUp: world.isUp(subject),
                        truth))
            case .memberSuspect(let id, _):
                metrics.suspicions += 1
                if let subject = world.host(of: id) { suspected(subject, at: news.time) }
            case .linkUp:
                if let node = world.hosts[host] {
                    report(
                        DegreeChecker().check(
                            links: node.server.node.tableSizes().links, degree: scenario.degree,
                            host,
                            at: news.time))
                }
            default: break
            }
        }
        world.observations.removeAll()
    }

    /// Whether the destination of a message that was given up could be reached all the time. Where
    /// windows are small on purpose, a full one is reason enough.
    private func isReachable(_ report: Observations.Report, _ destination: Int?) -> Bool {
        guard let destination else { return false }
        if scenario.flows != nil {
            // Whether a client's was refused at once is not known here.
            if report.isRefusal || report.message == nil || delivery.isHeld(report) { return false }
        }
        return world.isUp(destination) && truth.hurtUntil[destination] < report.time
            && truth.hurtUntil[Int(report.host)] < report.time
    }

    mutating func report(_ violation: Violation?) {
        guard let violation else { return }
        if scenario.tolerated.contains(violation.checker) {
            if metrics.tolerated.count < Self.violationsListed {
                metrics.tolerated.append(violation)
            }
            return
        }
        metrics.violationCount += 1
        if metrics.violations.count < Self.violationsListed {
            metrics.violations.append(violation)
        }
    }

    private mutating func sample() {
        let look = agreement.look(world, live)
        let seconds = Double(now.nanoseconds) / 1e9
        let areAllStarted = world.hostCount >= scenario.nodes
        countNodeSeconds()
        lookForLinks()
        if look.isMembershipRight, look.isDirectoryEqual { endRepair() }
        if look.isMembershipRight, areAllStarted {
            for position in openRecoveries {
                metrics.recoveries[position].seconds = seconds - metrics.recoveries[position].at
            }
            openRecoveries.removeAll(keepingCapacity: true)
            if metrics.startSeconds == nil, live.allSatisfy({ world.isReady($0) }) {
                metrics.startSeconds = seconds
            }
        }
        report(agreement.check(look, at: now, truth, settle: scenario.settle))
        report(delivery.judge(sentBefore: now - .seconds(5), truth, calm: scenario.settle))
        let rate =
            Double(world.byteCount - bytesSampled) * 8e-6
            / (Double(samplePeriod.nanoseconds) / 1e9)
        bytesSampled = world.byteCount
        metrics.samples.append(
            Metrics.Sample(
                time: seconds, share: look.share, live: live.count, megabits: rate))
        for violation in timers.look(
            world, live, perSecond: scenario.timerLooks, over: samplePeriod)
        {
            report(violation)
        }
        if now >= nextSecond {
            // Checks that are dear are made every second.
            checkHosts()
            nextSecond = now + .seconds(1)
        }
        if !isCounting, let start = metrics.startSeconds, seconds > start + 3 {
            isCounting = true
            for host in live { counted[host] = (now, world.traffic(host).bytesOut) }
        }
        // Programs with sessions, and those in rooms, look as long as there are any.
        let lookCount =
            (sessionLoad.clients.isEmpty ? 0 : 1) + (roomLoad.programs.isEmpty ? 0 : 1)
        let isOver = now > end && agenda.count == lookCount
        let isWell = look.isMembershipRight && look.isDirectoryEqual && now > end + .seconds(2)
        let last = max(
            truth.lastTrouble + scenario.settle, truth.lastDirectoryChange + .seconds(3),
            end + .seconds(3))
        if metrics.startSeconds == nil, now > instant(scenario.start.over + Self.startLimit) {
            metrics.isStuck = true
            finish()
        } else if isOver, isWell || now > last + samplePeriod,
            now > last + Self.drainLimit
                || !delivery.isWaiting({ world.isUp($0) }) && areSessionsCalm && areRoomsCalm
        {
            finish()
        } else {
            agenda.schedule(ScheduledAction(kind: .sample), at: now + samplePeriod)
        }
    }

    private mutating func checkHosts() {
        for host in live {
            report(
                ReadinessChecker().check(
                    isReady: world.isReady(host), host, at: now, truth,
                    settle: scenario.settle))
            report(BoundsChecker().check(world, host, at: now))
            report(LoopChecker().check(world.counters(host), host, at: now))
        }
        report(BoundsChecker().check(inFlightMax: world.inFlightMax, at: now))
    }

    // MARK: The end

    private mutating func finish() {
        isFinished = true
        if metrics.startSeconds == nil { metrics.isStuck = true }
        report(delivery.finish(truth, calm: scenario.settle) { world.isUp($0) })
        report(spread.finish(at: now))
        finishSessions()
        finishRooms()
        checkHosts()
        metrics.runHash = world.runHash
        metrics.nodes = live.count
        metrics.lives = world.hostCount
        metrics.events = world.eventCount
        metrics.virtualSeconds = Double(now.nanoseconds) / 1e9
        metrics.sent = delivery.sent.count
        metrics.delivered = delivery.delivered
        metrics.copies = delivery.copies
        metrics.refused = delivery.refused
        metrics.orphaned = delivery.orphaned
        metrics.lost = delivery.lost
        metrics.lostInCalm = delivery.lostInCalm
        metrics.undelivered = delivery.undelivered
        for host in live {
            metrics.retransmitted += Int(world.counters(host)[.retransmitted])
        }
        metrics.duplicated = delivery.duplicated
        metrics.reordered = delivery.reordered
        metrics.hopCounts = delivery.hops
        metrics.hops = Distribution(histogram: delivery.hops)
        (metrics.latency, metrics.largeLatency) = delivery.latencies
        metrics.detection = Distribution(detections)
        metrics.convergence = Distribution(metrics.recoveries.compactMap(\.seconds))
        metrics.bytes = world.byteCount
        metrics.inFlightMax = world.inFlightMax
        let links = live.map { Double(world.sizes($0).links) }
        metrics.linksPerNode = Distribution(links).mean
        metrics.bytesPerNodeSecond = Distribution(
            live.map { host in
                let age = Double((now - counted[host].from).nanoseconds) / 1e9
                let bytes = world.traffic(host).bytesOut - counted[host].bytes
                return age > 0 ? Double(bytes) / age : 0
            })
        metrics.loads = live.map { Double(world.counters($0)[.messagesForwarded]) }
        metrics.load = Distribution(metrics.loads)
        takeFigures()
        drawRing()
        metrics.judge(scenario.expectations)
    }
}
