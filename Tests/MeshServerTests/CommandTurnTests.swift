import MeshCore
import Testing

@testable import MeshGateway
@testable import MeshServer

/// No client's commands keep all others waiting: what costs much goes on in the next turn.
@Suite struct CommandTurnTests {
    @Test func `CLIENT LIST of many clients goes on for several turns, and others are served`() {
        let servers = Servers(1)
        let count = 2_000
        for _ in 0..<count - 2 { _ = servers.open() }
        let (asker, other) = (servers.open(), servers.open())
        servers.mesh.send(Array("CLIENT LIST\r\nECHO end\r\n".utf8), from: asker, 0)
        let begun = servers.mesh.hosts[0].server.edge.gateway.conversations[asker].phase
        guard case .working(.listing(let listing), _) = begun else {
            Issue.record("the list does not go on")
            return
        }
        #expect(listing.nextSlot * ClientListing.unitsPerClient <= Work.perEvent + 2 * count)
        #expect(servers.read(asker) == "")
        servers.mesh.send(Array("PING\r\n".utf8), from: other, 0)
        #expect(servers.read(other) == "+PONG·")
        let isDone = servers.mesh.hosts[0].server.edge.gateway.conversations[asker].isPlain
        #expect(!isDone)
        servers.run(for: .milliseconds(10))
        let reply = servers.read(asker)
        #expect(reply.hasSuffix("·$3·end·"))
        let lines = reply.split(separator: "\n").filter { $0.contains("addr=") }
        #expect(lines.count == count)
        #expect(lines.allSatisfy { $0.contains(" laddr=") && $0.hasSuffix("marks=0") })
    }

    @Test func `a client that leaves in the middle of a list leaves nothing behind`() {
        let servers = Servers(1)
        for _ in 0..<1_000 { _ = servers.open() }
        let asker = servers.open()
        servers.mesh.send(Array("CLIENT LIST\r\n".utf8), from: asker, 0)
        servers.mesh.close(asker, 0)
        servers.run(for: .milliseconds(10))
        let (isPlain, resting) = (
            servers.mesh.hosts[0].server.edge.gateway.conversations[asker].isPlain,
            servers.mesh.hosts[0].server.edge.gateway.redis.resting.count
        )
        #expect(isPlain && resting == 0)
    }

    @Test(arguments: ["COMMAND", "INFO"])
    func `a pipeline of long replies is answered in several turns`(command: String) {
        let servers = Servers(1)
        let (asker, other) = (servers.open(), servers.open())
        let count = 1_000
        let pipeline = String(repeating: command + "\r\n", count: count) + "ECHO end\r\n"
        servers.mesh.send(Array(pipeline.utf8), from: asker, 0)
        let waiting = servers.mesh.hosts[0].server.edge.gateway.hub.outputCount(asker)
        let size = servers.exchange(servers.open(), command + "\r\n").utf8.count
        #expect(waiting < Work.perTurn + 2 * size && waiting > 0)
        servers.mesh.send(Array("PING\r\n".utf8), from: other, 0)
        #expect(servers.read(other) == "+PONG·")
        var reply = ""
        for _ in 0..<1_000 where !reply.hasSuffix("$3·end·") {
            servers.run(for: .milliseconds(1))
            reply += servers.read(asker)
        }
        #expect(reply.hasSuffix("$3·end·"))
        #expect(reply.utf8.count > count * size / 2)
    }
}
