import JSON5
import MeshCore
import Testing

@testable import MeshSimulation

/// The meaning of the numbers and shares of faults.
@Suite struct AmountTests {
    /// Nine nodes and one fault after five seconds, run until right after it.
    private func run(
        _ kind: Scenario.Fault.Kind, _ amount: Scenario.Amount, times: Int = 1
    ) -> Run {
        var scenario = Scenario()
        scenario.nodes = 9
        scenario.duration = .seconds(10)
        scenario.keepsCopies = false
        var fault = Scenario.Fault(kind: kind, at: .seconds(5))
        fault.amount = amount
        fault.times = times
        scenario.faults = [fault]
        var run = Run(scenario, seed: 1)
        run.advance(until: Instant(nanoseconds: 5_000_000_000 + Int64(times) * 1_000_000_000 - 1))
        return run
    }

    @Test(arguments: [
        (Scenario.Amount.share(0.33), 12), (.share(1), 18), (.share(0.05), 9), (.share(0.06), 10),
        (.count(4), 13),
    ]) func `a share of a join is one of the nodes that are up`(
        amount: Scenario.Amount, expected: Int
    ) {
        let run = run(.join, amount)
        let count = run.live.count
        #expect(count == expected)
    }

    @Test func `a share that comes again is one of the nodes that are up by then`() {
        let run = run(.join, .share(1), times: 2)
        let count = run.live.count
        #expect(count == 36)
    }

    @Test(arguments: [(Scenario.Amount.share(0.33), 3), (.share(1), 7), (.count(2), 2)])
    func `a share of a crash is one of the nodes that are up, and two stay`(
        amount: Scenario.Amount, crashed: Int
    ) {
        let run = run(.crash, amount)
        let count = run.live.count
        #expect(count == 9 - crashed)
    }

    /// Nine nodes are a full mesh of 36 links.
    @Test(arguments: [
        (Scenario.Amount.share(0.25), 9), (.share(1), 36), (.share(0), 0), (.count(1), 1),
    ]) func `a share of cuts is one of the links, each cut one way`(
        amount: Scenario.Amount, expected: Int
    ) {
        let run = run(.cut, amount)
        let cuts = run.cutLinks[0]
        #expect(cuts.count == expected)
        let pairs = Set(cuts.map { [min($0.0, $0.1), max($0.0, $0.1)] })
        #expect(pairs.count == expected)
    }

    @Test func `all connections can be reset at once, each one time`() {
        var scenario = Scenario()
        scenario.nodes = 9
        scenario.duration = .seconds(10)
        var fault = Scenario.Fault(kind: .reset, at: .seconds(5))
        fault.amount = .share(1)
        scenario.faults = [fault]
        let metrics = Run(scenario, seed: 1).completed()
        #expect(metrics.exitStatus == 0)
        #expect(metrics.violationCount == 0)
    }

    @Test func `parts of a partition have the shares that are written`() {
        var scenario = Scenario()
        scenario.nodes = 100
        scenario.duration = .seconds(10)
        var fault = Scenario.Fault(kind: .partition, at: .milliseconds(100))
        // 0.29 of a hundred is 28.999… in binary.
        fault.parts = [29, 71]
        scenario.faults = [fault]
        var run = Run(scenario, seed: 1)
        run.advance(until: Instant(nanoseconds: 100_000_001))
        let first = run.live.count { run.world.network.group(of: $0) == 0 }
        #expect(first == 29)
    }

    @Test func `a join that is more than a run can have ends it with a reason`() {
        let run = run(.join, .count(Scenario.nodesMax - 8))
        let isFinished = run.isFinished
        #expect(isFinished)
        let metrics = run.result
        #expect(metrics.exitStatus == 64)
        #expect(
            metrics.scenarioError
                == "at 5 s 19992 nodes are to join 9 others; at most 20000 may be up at once")
        #expect(metrics.table.contains("WRONG SCENARIO: at 5 s"))
        #expect(metrics.json().contains("\"scenarioError\": \"at 5 s"))
    }

    @Test func `a number of nodes to join has the bound of the nodes to start`() throws {
        func scenario(_ join: String) throws(JSON5Error) -> Scenario {
            try ScenarioReader.read("{ nodes: 3, faults: [{ at: 1, join: \(join) }] }")
        }
        #expect(try scenario("20000").faults[0].amount == .count(20_000))
        #expect(try scenario("'33%'").faults[0].amount == .share(0.33))
        let error = #expect(throws: JSON5Error.self) { try scenario("20001") }
        #expect(error?.column == 37)
        #expect(error?.message.contains("expected at most 20000 for 'join'") == true)
    }
}
