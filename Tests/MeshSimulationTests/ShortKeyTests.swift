import MeshCore
import MeshGateway
import MeshWire
import Testing

@testable import MeshSimulation

/// Runs with keys of 8 bits: users, channels, patterns and sessions share keys all the time, which in
/// production one pair of ten million does.
@Suite struct ShortKeyTests {
    @Test(arguments: [1, 2, 3] as [UInt64])
    func `names that share keys get what is theirs, in order and once`(seed: UInt64) throws {
        let scenario = try ScenarioReader.read(
            """
            { nodes: 8, degree: 6, duration: 14, settle: 8, keyBits: 8, timerLooks: 2,
              start: { over: 1 },
              users: { count: 150, moves: 5, departures: 1, arrivals: 2 },
              channels: { count: 12, subscribers: 3 },
              messages: { toUsers: 60, toChannels: 10, from: 3 },
              sessions: { count: 60, messages: 300, breaks: 4, counted: 0.3, watchers: 2, probes: 2 } }
            """)
        var run = Run(scenario, seed: seed)
        while !run.isFinished { run.advance(until: run.now + .seconds(1)) }
        #expect(run.result.violations == [])
        #expect(run.result.lost == 0 && run.result.delivered > 500)
        var collisions: UInt64 = 0
        for host in run.live { collisions += run.world.counters(host)[.keyCollisions] }
        #expect(collisions > 20, "hardly any names share a key")
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `the directory of names that share keys is repaired like any other`(seed: UInt64) throws {
        let scenario = try ScenarioReader.read(
            """
            { nodes: 12, degree: 6, duration: 18, settle: 10, keyBits: 8, timerLooks: 2,
              start: { over: 1 },
              faults: [{ at: 5, crash: 2 }, { at: 7, partition: [1, 2], for: 4 },
                       { at: 13, leave: 1 }, { at: 14, reset: 3 }],
              churn: { from: 4, to: 12, joins: 20 },
              users: { count: 200, moves: 5, departures: 2, arrivals: 4 },
              channels: { count: 12, subscribers: 4 },
              messages: { toUsers: 60, toChannels: 10, from: 3 } }
            """)
        let metrics = Run(scenario, seed: seed).completed()
        #expect(metrics.violations == [])
        #expect(metrics.delivered > 500)
    }

    /// A payload says for which name of which kind it is.
    @Test func `names that share a key never get each other's messages`() {
        var world = World(seed: 5, keyBits: 8)
        world.start(seeds: [])
        for _ in 1...3 { world.start(seeds: [0]) }
        world.run(for: .seconds(3))
        let kinds = [("USER", "MESH.ATTACH"), ("CHANNEL", "SUBSCRIBE"), ("SHARD", "SSUBSCRIBE")]
        var clients: [(line: Int, wanted: [String])] = []
        var keys: Set<Key> = []
        for number in 0..<90 {
            let (kind, command) = kinds[number % 3]
            let line = world.connectLocally(to: number % 4)!
            let name = "\(kind.lowercased())-\(number)"
            world.write(Array("\(command) \(name)\r\n".utf8), to: line)
            clients.append((line, ["\(kind)|\(name)|"]))
            keys.insert(world.key([KeyKind.user, .channel, .shardChannel][number % 3], name))
        }
        #expect(keys.count < 85, "hardly any names share a key")
        // Patterns have keys of their own, and get what matches their text.
        for number in 0..<20 {
            let line = world.connectLocally(to: number % 4)!
            world.write(Array("PSUBSCRIBE channel-*\(number)\r\n".utf8), to: line)
            let names = (0..<90).filter { $0 % 3 == 1 && "\($0)".hasSuffix("\(number)") }
            clients.append((line, names.map { "CHANNEL|channel-\($0)|" }))
        }
        world.run(for: .seconds(1))
        for client in clients { _ = world.read(client.line) }
        let sender = world.connectLocally(to: 0)!
        // The first round teaches senders which names are not where their keys are.
        for round in 1...3 {
            for number in 0..<90 {
                let (kind, _) = kinds[number % 3]
                let name = "\(kind.lowercased())-\(number)"
                let command = ["MESH.SEND", "PUBLISH", "SPUBLISH"][number % 3]
                world.write(
                    Array("\(command) \(name) \(kind)|\(name)|\(round)|\r\n".utf8), to: sender)
                world.run(for: .milliseconds(5))
            }
            world.run(for: .milliseconds(200))
        }
        _ = world.read(sender)
        for client in clients {
            let text = String(decoding: world.read(client.line), as: UTF8.self)
            let got = text.matches(of: /([A-Z]+\|[a-z]+-\d+\|)(\d)\|/).map {
                String($0.1) + String($0.2)
            }
            let expected = (1...3).flatMap { round in client.wanted.map { "\($0)\(round)" } }
            #expect(got.sorted() == expected.sorted())
        }
    }
}
