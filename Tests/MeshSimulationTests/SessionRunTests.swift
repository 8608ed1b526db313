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
        { nodes: 4, duration: 24, settle: 6,
          sessions: { count: 12, messages: 150, breaks: 8, counted: 0.4, slow: 0.3,
                      watchers: 2, probes: 20 } }
        """
    /// Some 400 KB a second for readers of 40, and little room for what they do not read.
    private let slow = """
        { nodes: 4, duration: 18, settle: 6,
          sessions: { count: 8, messages: 100, size: 4000, breaks: 1, slow: 1, kept: 10 } }
        """

    @Test func `while nothing breaks every message to a session comes`() throws {
        let metrics = try run(
            "{ nodes: 4, duration: 8, settle: 6, sessions: { count: 8, messages: 150 } }")
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.sessionMessages > 500)
        #expect(metrics.sessionDelivered == metrics.sessionMessages)
        #expect(metrics.sessionNotices == 0)
    }

    @Test func `losses of broken connections are announced`() throws {
        let metrics = try run(breaking)
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.sessionNotices > 0)
        #expect(metrics.sessionDelivered < metrics.sessionMessages)
        #expect(metrics.sessionDelivered > metrics.sessionMessages * 3 / 4)
    }

    /// Two of eight are under each policy: cut, and told what was dropped.
    @Test func `losses of slow readers are announced under each policy`() throws {
        let metrics = try run(slow)
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.sessionNotices > 10)
        #expect(metrics.sessionDelivered < metrics.sessionMessages * 7 / 8)
        #expect(metrics.sessionDelivered > metrics.sessionMessages / 10)
    }

    @Test(arguments: [
        Mistake.asksNoKernel, .hidesNotices, .repeatsToSessions, .losesToSessions, .saysGone,
        .takesSpentTokens, .losesParts, .miscountsParts,
    ])
    func `the checker finds a mistake towards clients`(mistake: Mistake) throws {
        let found = try (1...3 as ClosedRange<UInt64>).contains { seed in
            try run(breaking, mistake: mistake, seed: seed).violations
                .contains { $0.checker == .session }
        }
        #expect(found)
    }

    @Test func `the checker finds a notice of the wrong size`() throws {
        let found = try (1...5 as ClosedRange<UInt64>).contains { seed in
            try run(slow, mistake: .miscountsNotices, seed: seed).violations
                .contains { $0.checker == .session }
        }
        #expect(found)
    }

    /// The new node of a session crashes, or is suspected, while its old one passes messages on: the
    /// old one asked it again at once, without end. Seeds that stood still for ever.
    @Test(arguments: [5_007, 5_011, 5_013] as [UInt64])
    func `a session that moves to a node that does not answer stops nothing`(seed: UInt64) {
        let metrics = Run(Fuzz.scenario(seed: seed), seed: seed).completed()
        #expect(metrics.violations == [] && !metrics.isStuck)
    }

    @Test func `messages that waited reach a client at the sender's own node`() {
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

    /// The former node of a session answers again with what it has given, for its answer may have been
    /// lost: shown at the new node, an old token got the session for the second time.
    @Test func `a token that was exchanged for one that was used is refused where the session is`()
    {
        var world = World(seed: 1)
        world.start(seeds: [])
        world.start(seeds: [0])
        world.run(for: .seconds(3))
        func attach(_ word: String, at host: Int) -> String {
            let line = world.connectLocally(to: host)!
            world.write(Array("MESH.ATTACH ann \(word)\r\n".utf8), to: line)
            world.run(for: .milliseconds(300))
            let reply = String(decoding: world.read(line), as: UTF8.self)
            world.close(line: line)
            world.run(for: .milliseconds(100))
            return reply
        }
        func token(_ reply: String) -> String {
            let lines = reply.split(separator: "\r\n")
            return lines.first == "$49" ? String(lines[1]) : reply
        }
        let first = token(attach("SESSION", at: 0))
        let second = token(attach("RESUME \(first)", at: 1))
        let third = token(attach("RESUME \(second)", at: 1))
        #expect(Set([first, second, third].map(\.count)) == [49])
        #expect(attach("RESUME \(first)", at: 1).hasPrefix("-NOSESSION"))
        #expect(attach("RESUME \(first)", at: 0).hasPrefix("-NOSESSION"))
        #expect(attach("RESUME \(third)", at: 0).hasPrefix("$49"))
    }

    @Test func `a message that follows its session never comes after a later one`() throws {
        let metrics = try run(
            """
            { nodes: 8, degree: 8, start: { over: 1 }, duration: 12, settle: 6,
              network: { latency: 20, jitter: 5 },
              sessions: { count: 10, messages: 2000, breaks: 20 } }
            """, seed: 2)
        #expect(metrics.violations == [])
    }

    /// A sender hears late of a user's new node, because one that stands still passes nothing on, and the old
    /// node has given up the key: what comes to it goes back.
    @Test(arguments: [1, 2, 3, 5, 8] as [UInt64])
    func `beside a node that stands still nothing is lost without a notice`(seed: UInt64) throws {
        let metrics = try run(
            """
            { nodes: 8, degree: 8, start: { over: 1 }, duration: 25, settle: 10,
              faults: [{ at: 10, freeze: 1, for: 3, times: 2, every: 6 }],
              sessions: { count: 40, messages: 400, breaks: 10, counted: 0.3 } }
            """, seed: seed)
        #expect(metrics.violations == [])
    }

    /// Seeds of `fuzz`: what went back was lost when its origin was taken for dead meanwhile, was told out of
    /// its order, and was taken for an overtaking.
    @Test(arguments: [91_023, 91_024, 91_114] as [UInt64])
    func `no partition loses a message that found its user gone`(seed: UInt64) {
        let metrics = Run(Fuzz.scenario(seed: seed), seed: seed).completed()
        #expect(metrics.violations == [])
    }

    /// Seed 83212760 of `fuzz`: notices of losses were lost with the connections of slow readers that count;
    /// and what two nodes dropped of the same messages, while a session moved, was told twice.
    @Test(arguments: [83_212_760, 1, 2, 3] as [UInt64])
    func `a slow reader that counts is told of all that it misses and of no more`(seed: UInt64) {
        var scenario = Fuzz.scenario(seed: 83_212_760)
        scenario.duration = .seconds(10)
        scenario.sessions.counted = 1
        scenario.sessions.slow = 1
        let metrics = Run(scenario, seed: seed).completed()
        #expect(metrics.violations == [])
        #expect(metrics.sessionNotices > 0 && metrics.sessionMissing > 0)
    }
}
