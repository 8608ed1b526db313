import Testing

@testable import NodeCommand

struct DemoSummaryTests {
    /// Five nodes, one message that arrived after one hop, one kill that was noticed in time.
    private func model() -> DemoModel {
        var model = DemoModel(nodeCount: 5)
        for _ in 0..<5 { model.nodes[model.addNode()].status = .serving }
        model.talkBegan = .zero
        model.talkEnded = .seconds(12)
        model.now = .seconds(13)
        let sequence = model.ledger.sent(from: 0, to: 1, on: 0, at: .seconds(1))
        _ = model.ledger.received(
            DemoLedger.Course(sender: 0, receiver: 1, isChannel: false), sequence,
            sentAt: .seconds(1), at: .seconds(1) + .milliseconds(1))
        model.nodes[1].delivered = 1
        model.nodes[1].hops = 1
        model.nodes[2].status = .killed(at: .seconds(4))
        model.kills = [
            DemoKill(
                node: 2, killedAt: .seconds(4), users: [2],
                droppedAt: .seconds(4) + .milliseconds(900),
                usersBackAt: .seconds(4) + .milliseconds(9),
                flowingAt: .seconds(4) + .milliseconds(10), knownAt: .seconds(5))
        ]
        return model
    }

    private func faults(_ change: (inout DemoModel) -> Void) -> [String] {
        var model = model()
        change(&model)
        return DemoSummary(model, needsKill: true).faults
    }

    @Test func `a run in which all is well is sound`() {
        let summary = DemoSummary(model(), needsKill: true)
        #expect(summary.isSound)
        #expect(summary.text.hasSuffix("\nSound.\n"))
        #expect(summary.text.contains("  node 3 killed after 4.0 s\n"))
        #expect(summary.text.contains("dropped by all others   900 ms"))
        #expect(summary.text.split(separator: "\n").allSatisfy { $0.count <= 80 })
    }

    @Test func `a copy that is missing without a reason is not sound`() {
        let faults = faults { _ = $0.ledger.sent(from: 0, to: 1, on: 0, at: .seconds(8)) }
        #expect(faults == ["copies lost for no reason that is known: 1"])
    }

    @Test func `a copy for the killed node's user is told apart`() {
        var model = model()
        _ = model.ledger.sent(
            from: 0, to: 2, on: 0, at: .seconds(4) + .milliseconds(500))
        let summary = DemoSummary(model, needsKill: true)
        #expect(summary.isSound)
        #expect(summary.text.contains("died with a node           1   1 to its users, 0 by them"))
    }

    @Test func `a kill that is noticed late, not by all, or not healed is not sound`() {
        let late = faults { $0.kills[0].droppedAt = .seconds(4) + .milliseconds(1_001) }
        #expect(late == ["the others took 1001 ms to drop node 3"])
        let never = faults { $0.kills[0].droppedAt = nil }
        #expect(never == ["not all others have dropped node 3"])
        let unknown = faults { $0.kills[0].knownAt = nil }
        #expect(unknown == ["not all others know where the users of node 3 are"])
    }

    @Test func `a run without a kill is sound only if it was cut short`() {
        var model = model()
        model.kills = []
        #expect(DemoSummary(model, needsKill: true).faults == ["no node was killed"])
        #expect(DemoSummary(model, needsKill: false).isSound)
    }

    @Test func `hops are as the size of the mesh allows`() {
        #expect(faults { $0.nodes[1].hops = 2 } == ["2.00 hops in the mean"])
        #expect(faults { $0.nodes[1].hops = 0 } == ["0.00 hops in the mean"])
        #expect(faults { $0.nodes[1].delivered = 0 } == ["no message crossed the mesh"])
        let large = faults { model in
            for _ in 0..<15 { _ = model.addNode() }
            model.nodes[1].hops = 2
        }
        #expect(large == [])
    }

    @Test func `every other fault is named`() {
        let fallen = faults { $0.nodes[4].status = .fallen(at: .seconds(3)) }
        #expect(fallen == ["node 5 ended by itself"])
        let presences = faults { model in
            model.presences.expected = 4
            model.presences.seen = 3
            model.presences.askedAbsent = 1
        }
        #expect(presences.count == 2)
        #expect(faults { $0.faults = ["something"] } == ["something"])
    }
}
