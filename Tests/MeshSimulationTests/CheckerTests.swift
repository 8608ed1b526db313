import Foundation
import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

@Suite struct CheckerTests {
    /// Enough for each mistake to show, and small enough for a debug build.
    private func scenario(_ mistake: Mistake) throws -> Scenario {
        var scenario = try ScenarioReader.read(
            """
            { nodes: 14, degree: 6, duration: 20, settle: 6, timerLooks: 2, start: { over: 1 },
              faults: [{ at: 8, crash: 1 }, { at: 9, freeze: 1, for: 3 }],
              churn: { from: 6, to: 10, joins: 30 },
              users: { count: 60, moves: 0.5, departures: 0.3 }, channels: { count: 3 },
              messages: { toUsers: 60, toChannels: 5, from: 6, to: 12 } }
            """)
        scenario.mistake = mistake
        return scenario
    }

    /// Half of them here, where a debug build takes a second for each; all in turns in `.ci/mistakes`.
    @Test(
        arguments: Mistake.allCases.filter { !$0.isTowardsClients }.enumerated()
            .filter { $0.offset % 3 == 0 && $0.element.showsAtRandom }.map(\.element) + [
                .keepsRecords
            ])
    func `the checkers find each mistake that nodes make on purpose`(mistake: Mistake) throws {
        let scenario = try scenario(mistake)
        let found = (1...3 as ClosedRange<UInt64>).contains { seed in
            let metrics = Run(scenario, seed: seed).completed()
            return metrics.violationCount > 0 || metrics.isStuck
        }
        #expect(found)
    }

    @Test(arguments: [Mistake.forgetsSilence, .keepsTimers])
    func `a timer that is forgotten and one that is set for nothing are found in calm`(
        mistake: Mistake
    ) throws {
        var scenario = try ScenarioReader.read(
            "{ nodes: 6, duration: 8, settle: 6, timerLooks: 2, start: { over: 1 } }")
        let well = Run(scenario, seed: 1).completed()
        #expect(well.violations == [])
        scenario.mistake = mistake
        let metrics = Run(scenario, seed: 1).completed()
        #expect(metrics.violations.first?.checker == .timers)
        // Each node is looked at, and not before its time.
        #expect(Set(metrics.violations.compactMap(\.host)).count == 6)
        scenario.timerLooks = 0
        #expect(Run(scenario, seed: 1).completed().violations == [])
    }

    @Test func `a refutation that is never told is found when a frozen node thaws`() throws {
        var scenario = try ScenarioReader.read(
            """
            { nodes: 14, degree: 6, duration: 16, settle: 6, start: { over: 1 },
              faults: [{ at: 8, freeze: 1, for: 2.2 }] }
            """)
        let well = Run(scenario, seed: 1).completed()
        #expect(well.violations == [] && well.suspicions > 0)
        scenario.mistake = .neverRefutes
        let metrics = Run(scenario, seed: 1).completed()
        #expect(metrics.violations.contains { $0.checker == .removal })
    }

    @Test func `a frame that takes long on a thin line accuses nobody`() throws {
        var scenario = try ScenarioReader.read(
            """
            { nodes: 2, duration: 40, settle: 10, start: { over: 1 },
              network: { megabitsPerSecond: 0.15 }, users: { count: 4 },
              messages: { toUsers: 0.1, size: 60000, from: 4, to: 24 } }
            """)
        let well = Run(scenario, seed: 1).completed()
        #expect(well.violations == [] && well.suspicions == 0)
        scenario.mistake = .hearsWholeFrames
        let metrics = Run(scenario, seed: 1).completed()
        #expect(metrics.suspicions > 0)
    }

    @Test func `a partition that outlasts the memory of the dead heals`() throws {
        var scenario = try ScenarioReader.read(
            """
            { nodes: 6, duration: 3750, settle: 20, users: { count: 20 },
              faults: [{ at: 20, partition: [1, 1], for: 3700 }] }
            """)
        let well = Run(scenario, seed: 1).completed()
        #expect(well.violations == [])
        scenario.mistake = .forgetsTheLost
        let metrics = Run(scenario, seed: 1).completed()
        #expect(metrics.violations.contains { $0.checker == .agreement })
    }

    /// The scenario of a file with nodes that make this mistake; the names of expectations that are missed.
    private func missed(
        _ file: String, _ mistake: Mistake?, megabits: Int64? = nil
    ) throws -> [String] {
        let path = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../simulations/\(file).json5").path
        var scenario = try ScenarioReader.read(String(contentsOfFile: path, encoding: .utf8))
        scenario.mistake = mistake
        if let megabits {
            scenario.network.bytesPerSecond = megabits * 125_000
            scenario.messages.toUsers = 10
            (scenario.messages.large, scenario.messages.largeSize) = (0.3, 200_000)
        }
        return Run(scenario, seed: 1).completed().expectations.filter { !$0.isMet }.map(\.metric)
    }

    @Test func `large messages on thin lines hold up neither control nor small messages`() throws {
        #expect(try missed("thin-line", nil) == [])
        #expect(try missed("thin-line", .sendsControlLast).contains("retransmitted"))
        // Of 1 Mbit/s each part takes longer than the least timeout.
        #expect(try missed("thin-line", nil, megabits: 1) == ["latency.p99"])
        let missed = try missed("thin-line", .forgetsBacklog, megabits: 1)
        #expect(missed.contains("retransmitted"))
    }

    @Test func `a mesh of long round trips forms, unless greetings are hurried`() throws {
        #expect(try missed("satellite", nil) == [])
        #expect(try missed("satellite", .hurriesGreetings).contains("startSeconds"))
    }

    @Test func `messages pass beside an MTU hole, unless it is trusted`() throws {
        #expect(try missed("mtu-hole", nil) == [])
        #expect(try missed("mtu-hole", .trustsHollowLinks).contains("undelivered"))
    }

    @Test func `news that is never passed on is found when a machine ends`() throws {
        var scenario = try ScenarioReader.read(
            """
            { nodes: 20, degree: 6, duration: 11, settle: 6, start: { over: 1 },
              faults: [{ at: 7, vanish: 1 }] }
            """)
        let well = Run(scenario, seed: 1).completed()
        #expect(well.violations == [] && well.deaths == 19)
        scenario.mistake = .hushesNews
        let metrics = Run(scenario, seed: 1).completed()
        #expect(metrics.violationCount > 0)
    }

    @Test func `news that comes late is found where nothing else goes wrong`() {
        func at(_ milliseconds: Int64) -> Instant {
            Instant(nanoseconds: milliseconds * 1_000_000)
        }
        func judge(
            _ milliseconds: Int64, trouble: Int64? = nil, falseDeath: Int64? = nil
        ) -> CheckerName? {
            var truth = Truth()
            for host in 0..<3 { truth.started(host, at: at(0)) }
            truth.departed(2, at: at(20_000))
            truth.trouble(from: at(20_000), to: at(20_000))
            if let trouble { truth.trouble(from: at(trouble), to: at(trouble)) }
            var checker = NewsChecker()
            let event = LogEvent.memberDead(NodeID(7), Doubt(.told))
            if let falseDeath {
                let early = Observations.News(time: at(falseDeath), host: 0, event: event)
                #expect(checker.take(early, of: 2, truth) == nil)
            }
            let first = Observations.News(time: at(21_000), host: 0, event: event)
            let second = Observations.News(time: at(milliseconds), host: 1, event: event)
            #expect(checker.take(first, of: 2, truth) == nil)
            return checker.take(second, of: 2, truth)?.checker
        }
        #expect(judge(21_590) == nil)
        #expect(judge(21_610) == .news)
        #expect(judge(21_610, trouble: 18_000) == nil)
        #expect(judge(21_610, trouble: 20_500) == nil)
        // It was dead to a part of the mesh before, and refuted that.
        #expect(judge(21_590, falseDeath: 13_000) == nil)
        #expect(judge(21_610, falseDeath: 13_000) == .news)
    }

    @Test func `a failing scenario is shrunk to one that fails alike`() throws {
        var scenario = try ScenarioReader.read(
            """
            { nodes: 8, degree: 6, duration: 8, faults: [{ at: 5, reset: 1 }],
              users: { count: 30 }, messages: { toUsers: 20, from: 3 } }
            """)
        scenario.mistake = .deliversTwice
        let small = Fuzz.shrink(scenario, seed: 1, failing: .once, runsMax: 25)
        #expect(small.nodes <= 4)
        #expect(small.faults.isEmpty)
        let metrics = Run(small, seed: 1).completed()
        #expect(metrics.violations.first?.checker == .once)
        #expect(metrics.exitStatus == 2)
    }

    @Test func `a soak loses nothing, and counts every copy`() {
        for seed in 1...3 as ClosedRange<UInt64> {
            let metrics = Run(Fuzz.soak(seed: seed, messages: 8_000), seed: seed).completed()
            #expect(metrics.violations == [], "seed \(seed)")
            #expect(metrics.lost == 0 && metrics.duplicated == 0 && metrics.reordered == 0)
            #expect(metrics.delivered > 2_000)
            // A message that was reported can have arrived all the same, so this is no equation.
            let known = metrics.delivered + metrics.undelivered + metrics.orphaned
            #expect(known >= metrics.copies)
        }
    }

    @Test func `a copy that was reported and came all the same does not hide another that is lost`()
    {
        var checker = DeliveryChecker()
        let start = Instant(nanoseconds: 0)
        checker.publish(from: 1, at: start)
        checker.publish(copies: 2, isToChannel: true)
        let arrived = checker.arrive(
            Observations.Arrival(time: start, host: 5, message: 0, hops: 1))
        #expect(arrived == nil)
        let report = Observations.Report(
            time: start, host: 1, sender: Observations.Report.sender(of: 0), count: 1,
            destination: NodeID(5))
        #expect(checker.report(report, to: 5, isReachable: false) == nil)
        #expect(checker.isWaiting { _ in true })
        let violation = checker.finish(Truth(), calm: .seconds(1)) { _ in true }
        #expect(violation?.checker == .loss && checker.lost == 1)
    }

    /// Seed 9001603: the first host beyond the 64th was taken for the one that has its bit.
    @Test func `a copy for a 77th host is not the one for the thirteenth`() {
        var checker = DeliveryChecker()
        let start = Instant(nanoseconds: 0)
        checker.publish(from: 1, at: start)
        checker.publish(copies: 2, isToChannel: true)
        for host in [12, 76] as [Int32] {
            let violation = checker.arrive(
                Observations.Arrival(time: start, host: host, message: 0, hops: 1))
            #expect(violation == nil)
        }
        let again = checker.arrive(
            Observations.Arrival(time: start, host: 76, message: 0, hops: 1))
        #expect(again?.checker == .once)
    }

    @Test func `a random scenario's file is read as the same scenario`() throws {
        for seed in 1...40 as ClosedRange<UInt64> {
            let scenario = Fuzz.soak(seed: seed)
            let again = try ScenarioReader.read(scenario.file)
            #expect(again.file == scenario.file)
            #expect(again.messages.toChannels == scenario.messages.toChannels)
        }
    }

    /// Most links are cut in one direction, and then two nodes vanish: some node's whole links all lead to
    /// those. Its refutation reaches nobody in time.
    @Test(arguments: [1, 4] as [UInt64])
    func `a node without a whole link to the others is cornered`(seed: UInt64) throws {
        let scenario = try ScenarioReader.read(
            """
            {
              nodes: 6, degree: 6, duration: 30, settle: 20,
              start: { over: 0.8, seeds: 2 },
              network: { latency: 2.9, jitter: 0.1 },
              faults: [{ at: 9.62, cut: "70%", for: 5 }, { at: 10.9, vanish: 2 }],
              users: { count: 20 },
              messages: { toUsers: 20, toChannels: 0, publishers: 0, size: 44, from: 5 },
            }
            """)
        let metrics = Run(scenario, seed: seed).completed()
        #expect(metrics.violations == [])
        #expect(metrics.figures.falseRemovals > 0, "the scenario shows nothing any more")
    }

    /// Seed 95352503 of `soak`: what is between two nodes is cut in one direction, and all others say
    /// good-bye within half a second.
    @Test func `a node that says good-bye leads to nobody`() throws {
        let scenario = try ScenarioReader.read(
            """
            {
              nodes: 7, degree: 16, duration: 20, settle: 20,
              start: { over: 0.718, seeds: 2 },
              network: { latency: 0.271, jitter: 0.844 },
              churn: { from: 8, to: 25, joins: 8, leaves: 7, crashes: 7 },
              faults: [
                { at: 12.502, cut: 2, for: 7.767, by: 242, drift: -255, times: 1, every: 1.231 },
                { at: 14.164, leave: 2, for: 1.827, by: 245, drift: -274, times: 3, every: 0.437 },
                { at: 8.391, leave: 1, for: 2.12, by: 178, drift: 62, times: 2, every: 2.454 },
              ],
              users: { count: 101, arrivals: 2, departures: 2, moves: 28 },
              channels: { count: 2, subscribers: "100%" },
              messages: { toUsers: 20, toChannels: 66, publishers: 3, size: 8, from: 5 },
            }
            """)
        let metrics = Run(scenario, seed: 95_352_503).completed()
        #expect(metrics.violations == [])
        #expect(metrics.figures.falseRemovals > 0, "the scenario shows nothing any more")
    }

    @Test func `random scenarios find nothing`() {
        for seed in 1...4 as ClosedRange<UInt64> {
            let metrics = Run(Fuzz.scenario(seed: seed, nodesMax: 12), seed: seed).completed()
            #expect(metrics.violations == [], "seed \(seed)")
        }
    }

    /// Found by seed 108: a node dials one that is dead to it; the other takes the connection for a
    /// link and tells its link lists, while the dialling side, which has begun an introduction in
    /// `Node.receivedWelcome`, takes them for a breach.
    @Test func `nodes that meet again after a partition speak the protocol`() {
        let metrics = Run(Fuzz.scenario(seed: 108), seed: 108).completed()
        #expect(metrics.violations == [])
    }

    @Test func `order and uniqueness are judged by origin and destination`() {
        var checker = DeliveryChecker()
        let start = Instant(nanoseconds: 0)
        for _ in 0..<3 {
            checker.publish(from: 1, at: start)
            checker.publish(copies: 2, isToChannel: true)
        }
        func arrive(_ message: UInt32, _ host: Int32) -> CheckerName? {
            checker.arrive(
                Observations.Arrival(time: start, host: host, message: message, hops: 1))?.checker
        }
        #expect(arrive(1, 5) == nil)
        #expect(arrive(1, 5) == .once)
        #expect(arrive(0, 5) == .order)
        #expect(arrive(0, 5) == .once)
        #expect(arrive(0, 6) == nil)
        #expect(arrive(2, 5) == nil)
        #expect(checker.duplicated == 2 && checker.reordered == 1)
        #expect(checker.isWaiting { _ in true })
        let report = Observations.Report(
            time: start, host: 1, sender: Observations.Report.sender(of: 0), count: 1,
            destination: NodeID(6))
        #expect(checker.report(report, to: 6, isReachable: false) == nil)
        #expect(checker.report(report, to: 6, isReachable: true)?.checker == .loss)
        let violation = checker.finish(Truth(), calm: .seconds(1)) { _ in true }
        #expect(violation?.checker == .loss)
        #expect(checker.undelivered == 2 && checker.lost == 2)
    }

    @Test func `a notice to a client is not taken for a report about the workload`() {
        var checker = DeliveryChecker()
        checker.publish(from: 1, at: Instant(nanoseconds: 0))
        checker.publish(copies: 1)
        // The tag of the first connection of the first client.
        let report = Observations.Report(
            time: Instant(nanoseconds: 0), host: 1, sender: 1, count: 1, destination: NodeID(6))
        #expect(report.message == nil)
        #expect(checker.report(report, to: 6, isReachable: false) == nil)
        #expect(checker.report(report, to: 6, isReachable: true)?.checker == .loss)
        #expect(checker.undelivered == 0 && checker.isWaiting { _ in true })
    }

    @Test func `an origin that is gone owes nothing`() {
        var checker = DeliveryChecker()
        checker.publish(from: 1, at: Instant(nanoseconds: 0))
        checker.publish(copies: 1, isToChannel: false)
        #expect(!checker.isWaiting { _ in false })
        var truth = Truth()
        truth.trouble(from: Instant(nanoseconds: 0), to: Instant(nanoseconds: 0))
        let violation = checker.finish(truth, calm: .seconds(1)) { _ in false }
        #expect(violation == nil)
        #expect(checker.lost == 0)
    }
}
