import MeshCore
import Testing

@testable import MeshSimulation

/// Users in rooms over simulated nodes.
@Suite struct RoomRunTests {
    private func run(_ text: String, mistake: Mistake? = nil, seed: UInt64 = 1) throws -> Metrics {
        var scenario = try ScenarioReader.read(text)
        scenario.mistake = mistake
        return Run(scenario, seed: seed).completed()
    }

    private let calm = """
        { nodes: 3, duration: 8, settle: 6,
          rooms: { count: 2, members: 8, watchers: 2, changes: 4, says: 20 } }
        """
    private let troubled = """
        { nodes: 5, duration: 26, settle: 8,
          rooms: { count: 2, members: 10, watchers: 2, changes: 6, says: 20 },
          faults: [{ at: 6, crash: 1 }, { at: 9, freeze: 1, for: 1.2 }, { at: 12, join: 1 }] }
        """

    @Test func `while nothing breaks all watchers know who is in each room`() throws {
        let metrics = try run(calm)
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.rostersChecked == 4)
        #expect(metrics.roomMessages > 60 && metrics.roomCopies > 200)
        #expect(metrics.rosterPushes > 10)
    }

    @Test(arguments: 1...2 as ClosedRange<UInt64>)
    func `after crashes and pauses too, and no word under one id comes twice`(
        seed: UInt64
    ) throws {
        let metrics = try run(troubled, seed: seed)
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.rostersChecked == 4)
        #expect(metrics.roomCopies > 800)
    }

    @Test(arguments: [(Mistake.repeatsInRooms, CheckerName.once), (.losesRosters, .roster)])
    func `the checkers find mistakes in rooms`(mistake: Mistake, checker: CheckerName) throws {
        let found = try (1...3 as ClosedRange<UInt64>).contains { seed in
            try run(calm, mistake: mistake, seed: seed).violations
                .contains { $0.checker == checker }
        }
        #expect(found)
    }
}
