import MeshCore
import MeshGateway
import MeshServer
import Testing

/// `nextDeadline` is all that a driver goes by.
@Suite struct DeadlineTests {
    /// Lets one server pass all its deadlines up to an instant, and nothing else happen.
    private static func pass(_ servers: Servers, until end: Instant) -> [Instant] {
        var dues: [Instant] = []
        var effects = ServerEffects()
        while let due = servers.mesh.hosts[0].server.nextDeadline(), due <= end {
            dues.append(due)
            servers.mesh.hosts[0].server.handle(
                .deadline, bytes: Span(), at: due, into: &effects)
            effects.removeAll()
        }
        return dues
    }

    @Test func `deadlines come in order, and none stays in the past`() {
        let servers = Servers()
        let client = servers.open()
        _ = servers.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        let dues = Self.pass(servers, until: servers.now + .seconds(30))
        #expect(dues.count > 30 && dues == dues.sorted())
        #expect(Set(dues).count == dues.count)
    }

    @Test func `without clients a server wakes up for its node alone`() {
        let servers = Servers()
        let alone = servers.mesh.hosts[0].server.nextDeadline()
        let node = servers.mesh.hosts[0].server.node.nextDeadline
        #expect(alone == node)
    }

    @Test func `a session's end is among the deadlines, without a client`() {
        let servers = Servers()
        let client = servers.open()
        _ = servers.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        servers.mesh.close(client, 0)
        let end = servers.now + .seconds(10)
        _ = Self.pass(servers, until: end - .milliseconds(1))
        let before = Self.sessions(servers)
        #expect(before == 1)
        let dues = Self.pass(servers, until: end)
        let after = Self.sessions(servers)
        #expect(after == 0)
        #expect(dues.last == end)
    }

    private static func sessions(_ servers: Servers) -> Int {
        let client = servers.open()
        defer { servers.mesh.close(client, 0) }
        let text = servers.exchange(client, "MESH.STATUS\r\n")
        let rest = text.split(separator: "$8·sessions·:").last ?? ""
        return Int(rest.prefix { $0.isNumber }) ?? -1
    }

    @Test func `a client that reads nothing is looked at each second`() {
        let servers = Servers {
            $0.gateway.pubsubOutputLimit = OutputLimit(
                hard: 1 << 20, soft: 1_000, softDuration: .seconds(3))
        }
        let slow = servers.open()
        _ = servers.exchange(slow, "SUBSCRIBE a\r\n")
        let publisher = servers.open()
        _ = servers.exchange(publisher, "PUBLISH a \(String(repeating: "x", count: 2_000))\r\n")
        servers.run(for: .milliseconds(2_900))
        let isEarly = servers.mesh.isEnded(slow, 0)
        #expect(!isEarly)
        servers.run(for: .milliseconds(2_200))
        let isEnded = servers.mesh.isEnded(slow, 0)
        #expect(isEnded)
        servers.mesh.close(slow, 0)
        #expect(servers.logged(["slowConsumerCut"]) == ["slowConsumerCut"])
    }
}
