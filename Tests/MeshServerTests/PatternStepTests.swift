import MeshCore
import MeshGateway
import MeshWire
import Testing

@testable import MeshServer

/// Names that cost more to match with all patterns than one event may.
@Suite struct PatternStepTests {
    /// Some 300 units each, with `name`.
    private static func patterns(_ count: Int) -> String {
        (0..<count).map {
            "*" + String(repeating: "a*", count: 8) + String(repeating: "a", count: 40)
                + "\(100_000 + $0)*"
        }.joined(separator: " ")
    }

    /// It has all digits, and matches none of them.
    private static let name = "0123456789" + String(repeating: "a", count: 20_000)

    /// The last of `servers` has a client with hard patterns, and one that hears the name.
    private final class Scene {
        let servers: Servers
        let hearer: ClientIndex
        let last: Int

        init(_ count: Int) {
            servers = Servers(count)
            last = count - 1
            let holder = servers.open(last)
            servers.send("PSUBSCRIBE \(patterns(500))\r\n", from: holder, last)
            hearer = servers.open(last)
            servers.send("HELLO 3\r\nPSUBSCRIBE *9aaa*\r\nSUBSCRIBE b\r\n", from: hearer, last)
            servers.run(for: .milliseconds(500))
            _ = servers.read(hearer, last)
        }

        /// The channels of the messages that have come to the hearer.
        func heard() -> [String] {
            let words = servers.read(hearer, last).split(separator: "·")
            return words.indices.filter { words[$0] == "message" || words[$0] == "pmessage" }.map {
                let name = words[$0 + (words[$0] == "message" ? 2 : 4)]
                return name.count > 100 ? "long" : String(name)
            }
        }

        func steps(_ host: Int) -> UInt64 {
            servers.mesh.hosts[host].server.counters[.namesMatchedInSteps]
        }

        func isIdle(_ host: Int) -> Bool {
            let steps = servers.mesh.hosts[host].server.patternSteps
            return steps.turns.isEmpty && steps.search == nil && steps.lanes.isEmpty
                && steps.heldBytes == 0 && steps.findings.isEmpty
        }
    }

    @Test func `a publisher waits while others are served, and its messages keep their order`() {
        let scene = Scene(1)
        let publisher = scene.servers.open()
        let other = scene.servers.open()
        scene.servers.mesh.send(
            Array("PUBLISH \(Self.name) 1\r\nPUBLISH b 2\r\nPING\r\n".utf8), from: publisher, 0)
        scene.servers.mesh.send(Array("PUBLISH b 3\r\n".utf8), from: other, 0)
        #expect(scene.servers.read(other) == ":1·")
        #expect(scene.servers.read(publisher) == "")
        #expect(scene.heard() == ["b"])
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(publisher) == ":1·:1·+PONG·")
        #expect(scene.heard() == ["long", "b"])
        #expect(scene.steps(0) == 1 && scene.isIdle(0))
    }

    @Test func `one step costs no more than an event may`() {
        let scene = Scene(1)
        let publisher = scene.servers.open()
        scene.servers.mesh.send(Array("PUBLISH \(Self.name) 1\r\n".utf8), from: publisher, 0)
        var steps = 0
        var effects = ServerEffects()
        while scene.servers.mesh.hosts[0].server.hasSteps, steps < 1_000 {
            let now = scene.servers.now + .microseconds(Int64(steps) + 1)
            #expect(scene.servers.mesh.hosts[0].server.nextDeadline()! <= now)
            scene.servers.mesh.hosts[0].server.handle(
                .deadline, bytes: Span(), at: now, into: &effects)
            steps += 1
        }
        // 500 patterns, 314 blocks of the name each, for the mesh and for the clients here.
        #expect(steps >= 500 * 314 * 2 / Work.perEvent && steps < 10)
    }

    @Test func `a transaction and a silenced command wait too`() {
        let scene = Scene(1)
        let publisher = scene.servers.open()
        scene.servers.send(
            "MULTI\r\nPUBLISH b 1\r\nPUBLISH \(Self.name) 1\r\nPUBLISH b 1\r\nEXEC\r\n",
            from: publisher)
        scene.servers.run(for: .seconds(1))
        let queued = "+QUEUED·"
        #expect(
            scene.servers.read(publisher) == "+OK·" + queued + queued + queued + "*3·:1·:1·:1·")
        #expect(scene.heard() == ["b", "long", "b"])
        scene.servers.send(
            "CLIENT REPLY SKIP\r\nPUBLISH \(Self.name) 1\r\nPUBLISH \"b\" 1\r\n", from: publisher)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(publisher) == ":1·")
        #expect(scene.heard() == ["long", "b"])
        scene.servers.send(
            "PUBLISH \"\(Self.name)\" 1\r\nCLIENT REPLY OFF\r\nPUBLISH \(Self.name) 1\r\n",
            from: publisher)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(publisher) == ":1·")
        #expect(scene.heard() == ["long", "long"])
        #expect(scene.steps(0) == 4 && scene.isIdle(0))
    }

    @Test func `a publisher that goes while it waits publishes nothing and leaves nothing`() {
        let scene = Scene(1)
        let publisher = scene.servers.open()
        scene.servers.mesh.send(Array("PUBLISH \(Self.name) 1\r\n".utf8), from: publisher, 0)
        _ = scene.servers.close(publisher)
        let next = scene.servers.open()
        scene.servers.send("PUBLISH \(Self.name) 2\r\n", from: next)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(next) == ":1·")
        #expect(scene.heard() == ["long"])
        #expect(scene.isIdle(0))
    }

    @Test
    func `messages of one origin keep their order while one is matched, those of others pass`() {
        let scene = Scene(3)
        let costly = scene.servers.open(0)
        scene.servers.send(
            "PUBLISH \(Self.name) 1\r\nPUBLISH b 2\r\nPUBLISH \(Self.name) 3\r\n"
                + "PUBLISH b 4\r\n", from: costly)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(costly) == ":1·:1·:1·:1·")
        #expect(scene.heard() == ["long", "b", "long", "b"])
        #expect(scene.steps(0) == 2 && scene.steps(2) == 2)

        // While a lane waits, the messages of another origin do not.
        let server = scene.servers
        let origins = [NodeID(1 << 60), NodeID(2 << 60)]
        let text = Array((Self.name + "b" + "x").utf8)
        let name = Slice(start: 0, count: text.count - 2)
        let short = Slice(start: text.count - 2, count: 1)
        let payload = Slice(start: text.count - 1, count: 1)
        let hasher = KeyHasher(cluster: "servers")
        func arrive(_ name: Slice, from origin: NodeID) {
            var clientBytes = 0
            let key = hasher.key(.channel, text.span, Int(name.start), Int(name.count))
            server.mesh.hosts[2].server.deliverInTurn(
                .channel, 0, key, name, payload, MessageID(origin: origin, number: 1),
                isLabelled: false, text.span, &clientBytes)
        }
        arrive(name, from: origins[0])
        arrive(short, from: origins[0])
        arrive(short, from: origins[1])
        #expect(scene.heard() == ["b"])
        server.run(for: .seconds(1))
        #expect(scene.heard() == ["long", "b"])
        #expect((0..<3).allSatisfy { scene.isIdle($0) })
    }

    @Test
    func `waiting messages have a bound, at which the first goes to the receivers found so far`() {
        let scene = Scene(1)
        let text =
            Array((Self.name + "b").utf8)
            + [UInt8](repeating: 0x78, count: PatternSteps.heldBytesMax / 4)
        let name = Slice(start: 0, count: Self.name.utf8.count)
        let short = Slice(start: name.end, count: 1)
        let payload = Slice(start: short.end, count: text.count - short.end)
        let hasher = KeyHasher(cluster: "servers")
        var clientBytes = 0
        for place in 0..<6 {
            let name = place == 1 ? short : name
            let key = hasher.key(.channel, text.span, Int(name.start), Int(name.count))
            scene.servers.mesh.hosts[0].server.deliverInTurn(
                .channel, 0, key, name, payload,
                MessageID(origin: NodeID(2 << 60), number: UInt32(place)), isLabelled: false,
                text.span, &clientBytes)
        }
        let steps = scene.servers.mesh.hosts[0].server.patternSteps
        #expect(steps.heldBytes <= PatternSteps.heldBytesMax && steps.heldBytes > 0)
        let cut = scene.servers.mesh.hosts[0].server.counters[.patternSearchesCut]
        #expect(cut == 3)
        // An ordinary name finds its receivers all the same.
        #expect(scene.heard() == ["b"])
        scene.servers.run(for: .seconds(1))
        #expect(scene.heard() == ["long", "long", "long"])
        #expect(scene.isIdle(0))
    }
}
