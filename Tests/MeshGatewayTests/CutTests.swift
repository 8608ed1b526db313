import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// The driver is told of clients that were ended because they read too slowly.
@Suite struct CutTests {
    private static func harness() -> Harness {
        var configuration = GatewayConfiguration()
        configuration.pubsubOutputLimit = OutputLimit(
            hard: 10_000, soft: 2_000, softDuration: .seconds(5))
        return Harness(configuration)
    }

    private static let text = String(repeating: "x", count: 6_000)

    @Test(arguments: [
        (1, "SUBSCRIBE news", "news"), (2, "SUBSCRIBE news", "news"),
        (1, "PSUBSCRIBE n*", "news"), (1, "MULTI\r\nPING\r\nSUBSCRIBE news\r\nEXEC", "news"),
    ]) func `a client is named with what it was cut for`(
        _ count: Int, _ line: String, _ channel: String
    ) {
        var harness = Self.harness()
        var clients: [ClientIndex] = []
        for _ in 0..<count {
            let client = harness.open(3)
            _ = harness.exchange(client, "CLIENT SETNAME worker-7\r\n")
            _ = harness.exchange(client, line + "\r\n")
            clients.append(client)
        }
        harness.deliver(.channel, "news", Self.text)
        #expect(harness.gateway.hub.outbox.cuts.isEmpty)
        harness.deliver(.channel, "news", Self.text)
        let cuts = harness.gateway.hub.outbox.cuts
        #expect(cuts.count == count)
        for (cut, client) in zip(cuts, clients) {
            #expect(cut.name == "worker-7")
            #expect(cut.address.hasPrefix("127.0.0.1:500"))
            #expect(cut.channel == channel)
            #expect(cut.discardedBytes > 12_000 && cut.discardedBytes < 12_500)
            let isDoomed = harness.gateway.hub.isDoomed(client)
            #expect(isDoomed)
        }
        // Once.
        harness.deliver(.channel, "news", Self.text)
        #expect(harness.gateway.hub.outbox.cuts.count == count)
    }

    @Test func `who is cut for having been slow too long, or for replies, has no channel`() {
        var harness = Self.harness()
        let slow = harness.open(3)
        _ = harness.exchange(slow, "SUBSCRIBE news\r\n")
        harness.deliver(.channel, "news", Self.text)
        _ = harness.gateway.hub.overdue(at: harness.now)
        _ = harness.gateway.hub.overdue(at: harness.now + .seconds(6))
        #expect(harness.gateway.hub.outbox.cuts.map(\.channel) == [""])
        harness.gateway.hub.outbox.cuts = []
        let asking = harness.open(3)
        _ = harness.exchange(asking, "SUBSCRIBE other\r\n")
        harness.send(asking, command("ECHO", Self.text) + command("ECHO", Self.text))
        // The server has logged it in the same turn.
        #expect(harness.gateway.hub.outbox.cuts.isEmpty)
        let cut = harness.shared.mesh.hosts[0].logLines.last
        #expect(cut?.event == "slowConsumerCut")
        #expect(cut?.fields.map(\.0) == ["client", "address", "discardedBytes"])
    }

    @Test func `a session keeps its messages, and only what is thrown away is counted`() {
        var harness = Self.harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        for _ in 0..<2 { harness.deliver(.user, "ann", Self.text) }
        let cuts = harness.gateway.hub.outbox.cuts
        #expect(cuts.map(\.channel) == ["ann"] && cuts.map(\.discardedBytes) == [0])
    }

    @Test func `long names are cut for the log`() {
        var harness = Self.harness()
        let client = harness.open(3)
        let name = String(repeating: "n", count: 300)
        _ = harness.exchange(client, "SUBSCRIBE \(name)\r\n")
        for _ in 0..<2 { harness.deliver(.channel, name, Self.text) }
        #expect(harness.gateway.hub.outbox.cuts.map(\.channel.utf8.count) == [128])
    }

    @Test func `whoever is killed is not among them`() {
        var harness = Self.harness()
        let client = harness.open()
        let other = harness.open()
        _ = harness.exchange(other, "CLIENT KILL TYPE normal\r\n")
        let isDoomed = harness.gateway.hub.isDoomed(client)
        #expect(isDoomed && harness.gateway.hub.outbox.cuts.isEmpty)
    }
}
