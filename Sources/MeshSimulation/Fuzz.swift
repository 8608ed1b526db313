import JSON5
import MeshCore

/// Random scenarios, and the smallest that still fails like a given one.
public enum Fuzz {
    /// The scenario that a seed stands for; the same seed always for the same.
    public static func scenario(seed: UInt64, nodesMax: Int = 48) -> Scenario {
        var random = RandomSource(seed: RandomSource.mix(seed ^ 0x6675_7a7a))
        var scenario = Scenario()
        scenario.name = "fuzz-\(seed)"
        scenario.nodes = 2 + random.next(below: max(1, nodesMax - 1))
        scenario.degree = [6, 8, 12, 16][random.next(below: 4)]
        scenario.duration = .seconds(30)
        scenario.settle = .seconds(20)
        scenario.start.over = .milliseconds(Int64(random.next(below: 3_000)))
        scenario.network.latency = .microseconds(Int64(50 + random.next(below: 20_000)))
        scenario.network.jitter = .microseconds(Int64(random.next(below: 5_000)))
        for _ in 0..<random.next(below: 4) { scenario.faults.append(fault(&random)) }
        if random.next(below: 4) == 0 {
            scenario.churn = churn(
                from: .seconds(10), joins: 30, crashes: 20, leaves: 20, &random)
        }
        scenario.users.count = random.next(below: 400)
        scenario.users.moves = Double(random.next(below: 10))
        scenario.users.departures = Double(random.next(below: 5))
        scenario.users.arrivals = Double(random.next(below: 5))
        scenario.channels.count = random.next(below: 10)
        scenario.channels.subscribers = .count(1 + random.next(below: 8))
        scenario.messages.from = .seconds(6)
        scenario.messages.toUsers = Double(random.next(below: 100))
        scenario.messages.toChannels = Double(random.next(below: 20))
        if random.next(below: 4) == 0 {
            // Long enough to be accused, and back in time to refute it.
            var pause = Scenario.Fault(
                kind: .freeze, at: .milliseconds(Int64(8_000 + random.next(below: 15_000))))
            pause.lasts = .milliseconds(Int64(1_500 + random.next(below: 2_500)))
            scenario.faults.append(pause)
        }
        // Ring links alone: nothing but the turn leads past a gap of two.
        if seed % 8 == 0 { scenario.degree = 4 }
        // Drawn last: what older seeds drew stays.
        if random.next(below: 2) == 0 {
            scenario.sessions = sessions(&random)
            scenario.tolerated = tolerated(scenario)
        }
        if random.next(below: 16) == 0 { scenario.keyBits = 8 }
        scenario.timerLooks = 2
        if random.next(below: 4) == 0 {
            var fault = fault(&random)
            fault.kind = random.next(below: 3) == 0 ? .refuse : .reject
            scenario.faults.append(fault)
            if scenario.sessions.count > 0 { scenario.tolerated = tolerated(scenario) }
        }
        return scenario
    }

    /// The findings about sessions that are tolerated: counted and shown, but no violation.
    ///
    /// A message that finds its user gone goes back to its sender, and may come after later ones. And while
    /// nodes fail, some are lost without a notice, or come twice: three seeds of a hundred and fifty.
    private static func tolerated(_ scenario: Scenario) -> [CheckerName] {
        scenario.faults.isEmpty && scenario.churn == nil
            ? [.sessionOrder] : [.session, .sessionOrder]
    }

    private static func sessions(_ random: inout RandomSource) -> Scenario.Sessions {
        var sessions = Scenario.Sessions()
        sessions.count = 1 + random.next(below: 12)
        sessions.messages = Double(10 + random.next(below: 200))
        sessions.breaks = Double(random.next(below: 8))
        sessions.counted = Double(random.next(below: 3)) / 2
        sessions.slow = Double(random.next(below: 2)) / 2
        if random.next(below: 2) == 0 {
            sessions.kept = 5 << random.next(below: 5)
            sessions.size = random.next(below: 2) * random.next(below: 4_000)
        }
        sessions.watchers = random.next(below: 3)
        sessions.probes = Double(random.next(below: 3))
        return sessions
    }

    /// A scenario for as many messages as can be while everything goes wrong: few nodes, channels on
    /// all of them, and in half of the seeds so little room for what is under way that it is full.
    ///
    /// About `messages` reach their destinations, a copy for each counted as one.
    public static func soak(seed: UInt64, messages: Int = 1_000_000) -> Scenario {
        var random = RandomSource(seed: RandomSource.mix(seed ^ 0x736f_616b))
        var scenario = Scenario()
        scenario.name = "soak-\(seed)"
        scenario.keepsCopies = false
        // Mostly a full mesh, and now and then many hops.
        scenario.nodes = 4 + random.next(below: random.next(below: 8) == 0 ? 36 : 14)
        scenario.degree = [6, 8, 16][random.next(below: 3)]
        scenario.duration = .seconds(30)
        scenario.settle = .seconds(20)
        scenario.start.over = .milliseconds(Int64(random.next(below: 1_000)))
        scenario.network.latency = .microseconds(Int64(50 + random.next(below: 3_000)))
        scenario.network.jitter = .microseconds(Int64(random.next(below: 1_000)))
        for _ in 0..<3 + random.next(below: 6) {
            var fault = fault(&random)
            if fault.kind == .reset { fault.times *= 10 }
            scenario.faults.append(fault)
        }
        if random.next(below: 3) == 0 {
            scenario.churn = churn(
                from: .seconds(8), joins: 20, crashes: 20, leaves: 10, &random)
        }
        scenario.users.count = 20 + random.next(below: 200)
        scenario.users.moves = Double(random.next(below: 30))
        scenario.users.departures = Double(random.next(below: 5))
        scenario.users.arrivals = Double(random.next(below: 5))
        scenario.channels.count = 1 + random.next(below: 3)
        scenario.channels.subscribers = .share(1)
        scenario.messages.from = .seconds(5)
        scenario.messages.size = 4 + random.next(below: 60)
        scenario.messages.publishers = random.next(below: 5)
        let rate = Double(messages) / 25
        scenario.messages.toUsers = rate / 20
        scenario.messages.toChannels = rate / Double(scenario.nodes - 1)
        if random.next(below: 2) == 0 {
            var flows = FlowLimits()
            flows.windowBytes = 65_536 << random.next(below: 5)
            flows.windowCount = 64 << random.next(below: 8)
            flows.totalBytes = 262_144 << random.next(below: 6)
            flows.reorderCount = 16 << random.next(below: 7)
            flows.reorderBytes = 4_096 << random.next(below: 8)
            flows.parkedCount = 4 << random.next(below: 8)
            flows.parkedBytes = 4_096 << random.next(below: 8)
            scenario.flows = flows
        }
        // Drawn last: what older seeds drew stays.
        if random.next(below: 2) == 0 {
            scenario.sessions = sessions(&random)
            scenario.sessions.count *= 4
            scenario.sessions.size = 0
            scenario.sessions.messages = rate / 10
            scenario.tolerated = tolerated(scenario)
        }
        return scenario
    }

    /// Comings and goings until second 25, each fewer a minute than so many.
    private static func churn(
        from: Delay, joins: Int, crashes: Int, leaves: Int, _ random: inout RandomSource
    ) -> Scenario.Churn {
        var churn = Scenario.Churn()
        churn.from = from
        churn.to = .seconds(25)
        churn.joins = Double(random.next(below: joins))
        churn.crashes = Double(random.next(below: crashes))
        churn.leaves = Double(random.next(below: leaves))
        return churn
    }

    /// Not all that there are: what older seeds drew stays.
    private static let drawnKinds: [Scenario.Fault.Kind] = [
        .crash, .vanish, .leave, .join, .restart, .freeze, .slow, .partition, .cut, .reset, .skew,
    ]

    private static func fault(_ random: inout RandomSource) -> Scenario.Fault {
        let kinds = drawnKinds
        var fault = Scenario.Fault(
            kind: kinds[random.next(below: kinds.count)],
            at: .milliseconds(Int64(8_000 + random.next(below: 15_000))))
        fault.amount = .count(1 + random.next(below: 4))
        fault.lasts = .milliseconds(Int64(200 + random.next(below: 8_000)))
        fault.by = .milliseconds(Int64(1 + random.next(below: 300)))
        fault.drift = Int64(random.next(below: 2_001)) - 1_000
        fault.times = 1 + random.next(below: 3)
        fault.every = .milliseconds(Int64(100 + random.next(below: 3_000)))
        if fault.kind == .partition {
            fault.times = 1
            fault.parts = (0..<2 + random.next(below: 3)).map { _ in
                Double(1 + random.next(below: 10))
            }
        }
        return fault
    }

    /// Smaller versions of a scenario, the boldest first.
    static func smaller(_ scenario: Scenario) -> [Scenario] {
        var candidates: [Scenario] = []
        func add(_ change: (inout Scenario) -> Void) {
            var candidate = scenario
            change(&candidate)
            candidates.append(candidate)
        }
        if scenario.nodes > 3 { add { $0.nodes = max(2, $0.nodes / 2) } }
        if scenario.churn != nil { add { $0.churn = nil } }
        for index in scenario.faults.indices { add { $0.faults.remove(at: index) } }
        for index in scenario.faults.indices where scenario.faults[index].times > 1 {
            add { $0.faults[index].times = 1 }
        }
        if scenario.flows != nil { add { $0.flows = nil } }
        if scenario.keyBits < 64 { add { $0.keyBits = 64 } }
        if scenario.sessions.count > 0 { add { $0.sessions.count = 0 } }
        if scenario.sessions.count > 1 { add { $0.sessions.count /= 2 } }
        if scenario.sessions.breaks > 0 { add { $0.sessions.breaks = 0 } }
        if scenario.sessions.slow > 0 { add { $0.sessions.slow = 0 } }
        if scenario.sessions.counted > 0 { add { $0.sessions.counted = 0 } }
        if scenario.sessions.watchers > 0 { add { $0.sessions.watchers = 0 } }
        if scenario.sessions.probes > 0 { add { $0.sessions.probes = 0 } }
        if scenario.sessions.kept > 0 {
            add {
                $0.sessions.kept = 0
                $0.sessions.size = 0
            }
        }
        if scenario.sessions.messages > 20 { add { $0.sessions.messages /= 4 } }
        if scenario.channels.count > 0 { add { $0.channels.count = 0 } }
        if scenario.messages.toChannels > 20 { add { $0.messages.toChannels /= 4 } }
        if scenario.messages.toUsers > 20 { add { $0.messages.toUsers /= 4 } }
        if scenario.messages.toUsers > 0 { add { $0.messages.toUsers = 0 } }
        if scenario.users.moves + scenario.users.arrivals + scenario.users.departures > 0 {
            add {
                $0.users.moves = 0
                $0.users.arrivals = 0
                $0.users.departures = 0
            }
        }
        if scenario.users.count > 0 { add { $0.users.count = 0 } }
        if scenario.nodes > 2 { add { $0.nodes -= 1 } }
        return candidates
    }

    /// Takes away from a failing scenario what it can fail without, in at most `runsMax` runs.
    public static func shrink(
        _ scenario: Scenario, seed: UInt64, failing checker: CheckerName, runsMax: Int = 60
    ) -> Scenario {
        var best = scenario
        var runs = 0
        var isSmaller = true
        while isSmaller {
            isSmaller = false
            for candidate in smaller(best) where runs < runsMax {
                runs += 1
                let metrics = Run(candidate, seed: seed).completed()
                if metrics.violations.contains(where: { $0.checker == checker }) {
                    best = candidate
                    isSmaller = true
                    break
                }
            }
        }
        return best
    }
}

extension Scenario {
    /// The scenario as a file, as far as `Fuzz` draws scenarios.
    public var file: String {
        func seconds(_ delay: Delay) -> String {
            decimal(Double(delay.nanoseconds) / 1e9, places: 9)
        }
        func milliseconds(_ delay: Delay) -> String {
            decimal(Double(delay.nanoseconds) / 1e6, places: 6)
        }
        // Every digit: what is rounded gives another run.
        func exact(_ value: Double) -> String {
            value == value.rounded() && value.magnitude < 1e15 ? "\(Int64(value))" : "\(value)"
        }
        var lines = [
            "name: \(quoted(name))", "nodes: \(nodes)", "degree: \(degree)",
            "duration: \(seconds(duration))", "settle: \(seconds(settle))",
            "start: { over: \(seconds(start.over)), seeds: \(start.seeds) }",
            "network: { latency: \(milliseconds(network.latency)), "
                + "jitter: \(milliseconds(network.jitter)) }",
        ]
        if keyBits < 64 { lines.append("keyBits: \(keyBits)") }
        if timerLooks > 0 { lines.append("timerLooks: \(exact(timerLooks))") }
        if let churn {
            lines.append(
                "churn: { from: \(seconds(churn.from)), to: \(seconds(churn.to ?? duration)), "
                    + "joins: \(exact(churn.joins)), leaves: \(exact(churn.leaves)), "
                    + "crashes: \(exact(churn.crashes)) }")
        }
        func amount(_ amount: Amount) -> String {
            switch amount {
            case .count(let count): "\(count)"
            case .share(let share): "\"\(exact(share * 100))%\""
            }
        }
        let faults = self.faults.map { fault -> String in
            let value =
                fault.kind == .partition
                ? list(fault.parts.map { exact($0) }) : amount(fault.amount)
            return "{ at: \(seconds(fault.at)), \(fault.kind.rawValue): \(value), "
                + "for: \(seconds(fault.lasts)), by: \(milliseconds(fault.by)), "
                + "drift: \(fault.drift), times: \(fault.times), "
                + "every: \(seconds(fault.every)) }"
        }
        if !faults.isEmpty { lines.append("faults: " + list(faults)) }
        lines.append(
            "users: { count: \(users.count), arrivals: \(exact(users.arrivals)), "
                + "departures: \(exact(users.departures)), moves: \(exact(users.moves)) }")
        if channels.count > 0 {
            let subscribers = amount(channels.subscribers)
            lines.append("channels: { count: \(channels.count), subscribers: \(subscribers) }")
        }
        lines.append(
            "messages: { toUsers: \(exact(messages.toUsers)), "
                + "toChannels: \(exact(messages.toChannels)), "
                + "publishers: \(messages.publishers), size: \(messages.size), "
                + "from: \(seconds(messages.from)) }")
        if sessions.count > 0 {
            lines.append(
                "sessions: { count: \(sessions.count), messages: \(exact(sessions.messages)), "
                    + "breaks: \(exact(sessions.breaks)), "
                    + "counted: \(exact(sessions.counted)), slow: \(exact(sessions.slow)), "
                    + "size: \(sessions.size), kept: \(sessions.kept), "
                    + "watchers: \(sessions.watchers), probes: \(exact(sessions.probes)) }")
        }
        if let flows {
            lines.append(
                "flows: { windowBytes: \(flows.windowBytes), windowCount: \(flows.windowCount), "
                    + "totalBytes: \(flows.totalBytes), reorderCount: \(flows.reorderCount), "
                    + "reorderBytes: \(flows.reorderBytes), parkedCount: \(flows.parkedCount), "
                    + "parkedBytes: \(flows.parkedBytes) }")
        }
        if !tolerated.isEmpty {
            lines.append("tolerate: " + list(tolerated.map { quoted($0.rawValue) }))
        }
        return "{\n" + lines.map { "  \($0),\n" }.joined() + "}\n"
    }
}
