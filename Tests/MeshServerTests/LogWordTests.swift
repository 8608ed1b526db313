import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Lines of the log say of whom, why, and by whose word.
@Suite struct LogWordTests {
    /// A mesh whose nodes' events are kept.
    private final class Watched {
        let servers: Servers
        private var events: [(host: Int, event: LogEvent)] = []

        init(_ count: Int) {
            servers = Servers(count)
            servers.run(for: .seconds(3))
            servers.mesh.witness = { [unowned self] host, effects, _ in
                for place in 0..<effects.count {
                    if case .log(let event) = effects[place] { events.append((host, event)) }
                }
            }
        }

        /// The lines of a host's log with this event, or these.
        func lines(_ host: Int, _ names: String...) -> [LogLine] {
            events.filter { $0.host == host }
                .map {
                    servers.mesh.hosts[host].server.line(for: $0.event) { _ in
                        MemoryMesh.endpoint(9)
                    }
                }
                .filter { names.contains($0.event) }
        }
    }

    private static func text(_ line: LogLine, _ field: String) -> String? {
        for (name, value) in line.fields where name == field {
            switch value {
            case .text(let text): return text
            case .integer(let number): return String(number)
            }
        }
        return nil
    }

    @Test func `a node whose address refuses is dead by that, and named`() {
        let watched = Watched(3)
        let id = watched.servers.mesh.hosts[2].server.node.id.description
        watched.servers.mesh.crash(2)
        watched.servers.run(for: .seconds(1))
        for host in 0..<2 {
            let lines = watched.lines(host, "memberDead")
            #expect(lines.map { Self.text($0, "name") } == ["n2"])
            #expect(lines.map { Self.text($0, "node") } == [id])
            #expect(lines.map(\.level) == [.warning])
            let ends = watched.lines(host, "linkDown")
            #expect(ends.map { Self.text($0, "name") } == ["n2"])
            #expect(ends.map { Self.text($0, "reason") } == ["closed"])
        }
        // Of the two one finds it, and the other is told, if it does not find it at the same time.
        let causes = (0..<2).flatMap { watched.lines($0, "memberDead") }
            .map { Self.text($0, "cause") }
        #expect(causes.contains("refused"))
        #expect(causes.allSatisfy { $0 == "refused" || $0 == "told" })
    }

    @Test func `a silent node is suspect by silence, and the line says for how long`() throws {
        let watched = Watched(3)
        watched.servers.mesh.freeze(2)
        watched.servers.run(for: .milliseconds(2_200))
        let suspicions = (0..<2).flatMap { watched.lines($0, "memberSuspect") }
        #expect(suspicions.count == 2)
        for line in suspicions {
            #expect(Self.text(line, "name") == "n2")
            let silence = try #require(Self.text(line, "silentMilliseconds").flatMap(Int.init))
            if Self.text(line, "cause") == "silent" { #expect((1_300...2_200).contains(silence)) }
        }
        let causes = suspicions.map { Self.text($0, "cause") }
        #expect(causes.contains("silent"))
        watched.servers.run(for: .seconds(3))
        let deaths = (0..<2).flatMap { watched.lines($0, "memberDead") }
        #expect(deaths.count == 2)
        let ends = Set(deaths.compactMap { Self.text($0, "cause") })
        #expect(ends.contains("unrefuted") && ends.isSubset(of: ["unrefuted", "told"]))
    }

    @Test func `news from another node names that node in the log`() {
        let servers = Servers(3)
        let (teller, other) = (NodeID(1 << 60), NodeID(3 << 60))
        let doubt = Doubt(.told, by: teller, after: nil)
        let server = servers.mesh.hosts[1].server.line(for: .memberDead(other, doubt)) { _ in
            MemoryMesh.endpoint(9)
        }
        #expect(Self.text(server, "cause") == "told" && Self.text(server, "by") == "n0")
        #expect(Self.text(server, "silentMilliseconds") == nil)
        // A stranger has no name.
        let stranger = Doubt(.told, by: NodeID(77), after: .milliseconds(1_500))
        let line = servers.mesh.hosts[1].server.line(for: .memberSuspect(other, stranger)) { _ in
            MemoryMesh.endpoint(9)
        }
        #expect(Self.text(line, "by") == NodeID(77).description)
        #expect(Self.text(line, "silentMilliseconds") == "1500")
    }

    @Test func `all lines of members and links have their names beside their ids`() {
        let servers = Servers(2)
        let id = NodeID(2 << 60)
        let events: [LogEvent] = [
            .memberUp(id), .memberSuspect(id, Doubt(.silent)), .memberDead(id, Doubt(.refused)),
            .memberLeft(id), .linkUp(id), .linkDown(id, .silent), .linkHollow(id),
            .memberMute(id), .memberUnreachable(id), .memberImpersonated(id, by: LinkIndex(0)),
        ]
        for event in events {
            let line = servers.mesh.hosts[0].server.line(for: event) { _ in
                MemoryMesh.endpoint(9)
            }
            #expect(Self.text(line, "name") == "n1", "\(line.event)")
            #expect(Self.text(line, "node") == id.description, "\(line.event)")
        }
    }

    @Test func `a peer that breaks the protocol is named with its address`() {
        let servers = Servers(2)
        let line = servers.mesh.hosts[0].server.line(
            for: .protocolError(LinkIndex(0), NodeID(2 << 60), .invalidValue(field: "kind"))
        ) { _ in MemoryMesh.endpoint(9) }
        #expect(Self.text(line, "address") == MemoryMesh.endpoint(9).description)
        #expect(Self.text(line, "name") == "n1")
    }

    // MARK: Clients

    private static func troubles(_ servers: Servers, _ host: Int = 0) -> [[String]] {
        servers.mesh.hosts[host].logLines.filter { $0.event == "clientTrouble" }
            .map { line in
                ["counter", "count", "name", "user"].map { text(line, $0) ?? "-" }
            }
    }

    @Test func `trouble of clients is one line in ten seconds with the client's name`() {
        let servers = Servers(1) { $0.gateway.credentials.password = "right" }
        let client = servers.open()
        _ = servers.exchange(client, "AUTH right\r\nCLIENT SETNAME worker-7\r\n")
        for _ in 0..<5 { _ = servers.exchange(client, "AUTH wrong\r\n") }
        #expect(Self.troubles(servers) == [["authenticationFailures", "1", "worker-7", "-"]])
        servers.run(for: .milliseconds(9_900))
        _ = servers.exchange(client, "AUTH wrong\r\n")
        #expect(Self.troubles(servers).count == 1)
        // Another counter does not wait for it.
        _ = servers.exchange(servers.open(), "*1\r\n$-7\r\n")
        #expect(Self.troubles(servers).map { $0[0] }.last == "clientProtocolErrors")
        servers.run(for: .milliseconds(200))
        _ = servers.exchange(client, "AUTH wrong\r\n")
        #expect(Self.troubles(servers).last == ["authenticationFailures", "6", "worker-7", "-"])
        #expect(Self.troubles(servers).count == 3)
        // All are counted.
        let failures = servers.mesh.hosts[0].server.edge.gateway.hub.counters[
            .authenticationFailures]
        #expect(failures == 7)
    }

    @Test func `messages that are lost to a session whose client is away are told with its user`() {
        let servers = Servers(1) { $0.gateway.sessionCountMax = 3 }
        let client = servers.open()
        _ = servers.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        _ = servers.close(client)
        let sender = servers.open()
        for number in 0..<8 { _ = servers.exchange(sender, "MESH.SEND ann \(number)\r\n") }
        #expect(Self.troubles(servers) == [["sessionMessagesDropped", "1", "-", "ann"]])
    }

    @Test func `a client whose messages are given up is named`() {
        let servers = Servers(2)
        _ = servers.exchange(servers.open(1), "SUBSCRIBE a\r\n", 1)
        let client = servers.open()
        _ = servers.exchange(client, "CLIENT SETNAME feed\r\n")
        servers.mesh.judge = { _, to, frame in
            to == 1 && frame[4] == FrameKind.routed.rawValue ? .drop : .pass
        }
        _ = servers.exchange(client, "PUBLISH a x\r\n")
        servers.run(for: .seconds(23))
        #expect(Self.troubles(servers) == [["undelivered", "1", "feed", "-"]])
        let mute = servers.mesh.hosts[0].server.node.counters[.flowsStalled]
        #expect(mute == 1)
    }

    // MARK: Draining

    @Test func `a node that drains is shown as leaving on all nodes, and leaves`() {
        let servers = Servers(3)
        _ = servers.exchange(servers.open(1), "PING\r\n", 1)
        for host in 0..<3 {
            let before = servers.mesh.hosts[host].server.node.memberReports().map(\.statusName)
            #expect(before == ["alive", "alive", "alive"])
        }
        servers.mesh.handle(.leave, 1)
        servers.run(for: .milliseconds(100))
        let id = servers.mesh.hosts[1].server.node.id
        for host in 0..<3 {
            let reports = servers.mesh.hosts[host].server.node.memberReports()
            #expect(reports.filter { $0.statusName == "leaving" }.map(\.id) == [id])
            #expect(reports.count { $0.statusName == "alive" } == 2)
        }
        let asker = servers.open()
        #expect(servers.exchange(asker, "MESH.MEMBERS\r\n").contains("·$7·leaving·"))
        // Nobody doubts it, and nobody is told of a new member.
        for host in 0..<3 {
            let counters = servers.mesh.hosts[host].server.node.counters
            #expect(counters[.suspicions] == 0 && counters[.deaths] == 0)
        }
    }
}
