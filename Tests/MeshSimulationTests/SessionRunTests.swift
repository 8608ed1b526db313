import MeshCore
import Testing

@testable import MeshSimulation

/// Clients with sessions over simulated nodes.
@Suite struct SessionRunTests {
    private func run(_ text: String, mistake: Mistake? = nil, seed: UInt64 = 1) throws -> Metrics {
        var scenario = try ScenarioReader.read(text)
        scenario.mistake = mistake
        return Run(scenario, seed: seed).completed()
    }

    private let breaking = """
        { nodes: 4, duration: 12, settle: 6,
          sessions: { count: 12, messages: 150, breaks: 8, counted: 0.4, slow: 0.3 } }
        """

    @Test func `while nothing breaks every message to a session comes`() throws {
        let metrics = try run(
            "{ nodes: 4, duration: 8, settle: 6, sessions: { count: 8, messages: 150 } }")
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.sessionMessages > 500)
        #expect(metrics.sessionDelivered == metrics.sessionMessages)
        #expect(metrics.sessionNotices == 0)
    }

    @Test func `what connections lose that break is announced`() throws {
        let metrics = try run(breaking)
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.sessionNotices > 0)
        #expect(metrics.sessionDelivered < metrics.sessionMessages)
        #expect(metrics.sessionDelivered > metrics.sessionMessages * 3 / 4)
    }

    @Test(arguments: [
        Mistake.asksNoKernel, .hidesNotices, .repeatsToSessions, .losesToSessions,
    ])
    func `the checker finds a mistake towards clients`(mistake: Mistake) throws {
        let found = try (1...3 as ClosedRange<UInt64>).contains { seed in
            try run(breaking, mistake: mistake, seed: seed).violations
                .contains { $0.checker == .session }
        }
        #expect(found)
    }

    /// The new node of a session crashes, or is suspected, while its old one passes messages on: the
    /// old one asked it again at once, without end. Seeds that stood still for ever.
    @Test(arguments: [5_007, 5_011, 5_013] as [UInt64])
    func `a batch for a node that does not answer stops nothing`(seed: UInt64) {
        let metrics = Run(Fuzz.scenario(seed: seed), seed: seed).completed()
        #expect(metrics.violations == [] && !metrics.isStuck)
    }

    @Test func `what waited for a user comes to its client where the sender is`() {
        var world = World(seed: 1)
        world.start(seeds: [])
        world.start(seeds: [0])
        world.run(for: .seconds(3))
        let first = world.connectLocally(to: 1)!
        world.write(Array("MESH.ATTACH ann\r\n".utf8), to: first)
        world.run(for: .seconds(1))
        world.crash(1)
        world.run(for: .milliseconds(500))
        let sender = world.connectLocally(to: 0)!
        world.write(Array("MESH.SEND ann hello\r\n".utf8), to: sender)
        #expect(world.read(sender) == Array(":-1\r\n".utf8))
        let second = world.connectLocally(to: 0)!
        world.write(Array("MESH.ATTACH ann\r\n".utf8), to: second)
        world.run(for: .milliseconds(100))
        let text = String(decoding: world.read(second), as: UTF8.self)
        #expect(text.contains("$3\r\nann\r\n$5\r\nhello\r\n"), "\(text)")
    }
}
