import JSON5
import MeshCore
import Testing

@testable import MeshSimulation

@Suite struct RunTests {
    static let calm = """
        { nodes: 12, degree: 6, duration: 8, start: { over: 1 },
          users: { count: 40 }, channels: { count: 3 },
          messages: { toUsers: 40, toChannels: 10, from: 5 } }
        """
    static let faulty = """
        { nodes: 14, degree: 6, duration: 24, settle: 20, start: { over: 0.5 },
          faults: [{ at: 6, crash: 2 }, { at: 8, restart: 1 }, { at: 10, freeze: 1, for: 2 },
                   { at: 12, cut: 2, for: 3 }, { at: 16, reset: 5 }, { at: 17, skew: 1, drift: 50 }],
          users: { count: 40, moves: 2 }, messages: { toUsers: 20, from: 5 } }
        """
    static let parted = """
        { nodes: 12, degree: 8, duration: 14, settle: 20,
          faults: [{ at: 4, partition: [1, 2], for: 8 }],
          churn: { joins: 20, crashes: 10, leaves: 10, to: 10 },
          users: { count: 20 } }
        """

    /// The three hashes hold in debug and release. They change when what nodes do changes, and must
    /// then be looked at: a change that was to leave the protocol alone has not.
    @Test(
        arguments: [
            (calm, 0x8ff5_1db4_8224_a529), (faulty, 0x3941_4261_7e84_afff),
            (parted, 0x1551_407a_6019_2b54),
        ] as [(String, UInt64)])
    func `the same seed gives the same run, today as when this was written`(
        text: String, hash: UInt64
    ) throws {
        let scenario = try ScenarioReader.read(text)
        let metrics = Run(scenario, seed: 7).completed()
        #expect(metrics.violations == [])
        #expect(metrics.exitStatus == 0)
        #expect(hexadecimal(metrics.runHash) == hexadecimal(hash))
        #expect(Run(scenario, seed: 7).completed().runHash == metrics.runHash)
        #expect(Run(scenario, seed: 8).completed().runHash != metrics.runHash)
    }

    @Test func `a report has the keys that programs rely on`() throws {
        let metrics = Run(try ScenarioReader.read(Self.calm), seed: 1).completed()
        let json = metrics.json(isWhole: true)
        for key in [
            "scenario", "seed", "runHash", "nodes", "events", "virtualSeconds", "delivered",
            "lost", "duplicated", "reordered", "hops", "detection", "convergence", "bytes",
            "expectations", "violations",
        ] {
            #expect(json.contains("\"\(key)\": "), "\(key)")
        }
        // The reader of scenarios reads all JSON.
        guard case .object(let members) = try JSON5.parse(json).value else {
            Issue.record("no object")
            return
        }
        #expect(members.count > 20)
        #expect(metrics.delivered > 100)
        #expect(metrics.lost == 0)
        #expect(metrics.startSeconds != nil)
        let page = metrics.page
        #expect(page.hasPrefix("<!DOCTYPE html>"))
        #expect(page.contains("<svg"))
        #expect(!page.contains("http") && !page.contains("<script"))
    }

    @Test func `an expectation that is missed is status 1, one that is met 0`() throws {
        var scenario = try ScenarioReader.read(Self.calm)
        scenario.expectations = [Scenario.Expectation(metric: "hops.mean", least: nil, most: 0.5)]
        #expect(Run(scenario, seed: 1).completed().exitStatus == 1)
        scenario.expectations[0].most = 3
        #expect(Run(scenario, seed: 1).completed().exitStatus == 0)
    }

    @Test func `a run whose nodes can never meet ends as stuck`() throws {
        var scenario = try ScenarioReader.read("{ nodes: 2, duration: 1 }")
        scenario.network.latency = .seconds(5)
        #expect(Run(scenario, seed: 1).completed().exitStatus == 3)
    }

    @Test func `a trace follows a message from its origin to its destination`() throws {
        let scenario = try ScenarioReader.read(Self.calm)
        let lines = Run.traced(
            scenario, seed: 1, message: 3, host: nil, from: Instant(nanoseconds: 0),
            to: Instant(nanoseconds: .max))
        #expect(lines.first?.contains("sends it to host") == true)
        #expect(lines.last?.contains("delivers it after") == true)
        let node = Run.traced(
            scenario, seed: 1, message: nil, host: 2, from: Instant(nanoseconds: 0),
            to: Instant(nanoseconds: 2_000_000_000))
        #expect(node.contains { $0.contains("heartbeat") })
        #expect(node.contains { $0.contains("log: ready") })
    }

    @Test func `the model of sizes is near to what a run measures`() throws {
        let metrics = Run(
            try ScenarioReader.read(
                """
                { nodes: 40, duration: 40, start: { over: 1 },
                  users: { count: 400, moves: 10 },
                  messages: { toUsers: 100, from: 4, size: 128 } }
                """), seed: 3
        ).completed()
        let sizing = Sizing(nodes: 40, users: 400, churn: 20, messageRate: 100)
        let measured = metrics.bytesPerNodeSecond.mean
        #expect(abs(sizing.bytesPerSecond / measured - 1) < 0.4, "\(measured)")
        #expect(abs(sizing.hops / metrics.hops.mean - 1) < 0.2, "\(metrics.hops.mean)")
    }
}
