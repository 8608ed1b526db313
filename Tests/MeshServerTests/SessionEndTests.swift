import MeshCore
import MeshDriver
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Sessions whose connection, or whose former node, has ended.
@Suite struct SessionEndTests {
    private static let gap = "*5·$3·gap·$4·user·$3·ann·:0·:0·"
    private static let reset = Parting(unacknowledgedBytes: 0, wasBroken: true)

    /// A client with a session that has read one message, and the session's token.
    private static func begin(_ servers: Servers) -> (ClientIndex, String) {
        let client = servers.open()
        let token = sessionToken(servers.exchange(client, "MESH.ATTACH ann SESSION\r\n"))
        #expect(servers.exchange(servers.open(), "MESH.SEND ann a\r\n") == ":1·")
        #expect(servers.read(client) == "*3·$4·user·$3·ann·$1·a·")
        return (client, token)
    }

    private static func resume(_ servers: Servers, _ token: String) -> String {
        let reply = servers.exchange(servers.open(), "MESH.ATTACH ann RESUME \(token)\r\n")
        return String(reply.dropFirst("$49··".count + 49))
    }

    @Test(arguments: [false, true])
    func `facts learnt of a connection after its end reach its session`(
        isBroken: Bool
    ) throws {
        let servers = Servers()
        let (client, token) = Self.begin(servers)
        let isUnproven = servers.mesh.hosts[0].server.hasUnproven(client)
        #expect(isUnproven)
        let doubt = try #require(servers.close(client))
        servers.mesh.conclude(doubt, isBroken ? Self.reset : .inOrder, 0)
        #expect(Self.resume(servers, token) == (isBroken ? Self.gap : ""))
    }

    @Test func `a doubt is settled once, and an unknown one settles nothing`() throws {
        let servers = Servers()
        let (client, token) = Self.begin(servers)
        let doubt = try #require(servers.close(client))
        servers.mesh.conclude(doubt &+ 1, Self.reset, 0)
        servers.mesh.conclude(doubt, .inOrder, 0)
        servers.mesh.conclude(doubt, Self.reset, 0)
        #expect(Self.resume(servers, token) == "")
    }

    @Test func `doubts of several connections are told apart`() throws {
        let servers = Servers()
        let (first, token) = Self.begin(servers)
        let other = servers.open()
        let bob = sessionToken(servers.exchange(other, "MESH.ATTACH bob SESSION\r\n"))
        _ = servers.exchange(servers.open(), "MESH.SEND bob b\r\n")
        _ = servers.read(other)
        let doubt = try #require(servers.close(first))
        let otherDoubt = try #require(servers.close(other))
        #expect(doubt != otherDoubt)
        servers.mesh.conclude(otherDoubt, Self.reset, 0)
        servers.mesh.conclude(doubt, .inOrder, 0)
        #expect(Self.resume(servers, token) == "")
        let reply = servers.exchange(servers.open(), "MESH.ATTACH bob RESUME \(bob)\r\n")
        #expect(reply.hasSuffix("·*5·$3·gap·$4·user·$3·bob·:0·:0·"))
    }

    @Test func `a connection without a session leaves no doubt open`() {
        let servers = Servers()
        let client = servers.open()
        _ = servers.exchange(client, "SUBSCRIBE a\r\n")
        _ = servers.exchange(servers.open(), "PUBLISH a x\r\n")
        _ = servers.read(client)
        let doubt = servers.mesh.close(client, 0, Self.reset)
        #expect(doubt == nil)
    }

    @Test(arguments: [false, true])
    func `the death of the node that a session has just left is told to it`(isOther: Bool) {
        let servers = Servers(4)
        let (first, token) = Self.begin(servers)
        servers.mesh.close(first, 0)
        let second = servers.open(1)
        let reply = servers.exchange(second, "MESH.ATTACH ann RESUME \(token)\r\n", 1)
        #expect(reply.hasPrefix("$49·"))
        servers.mesh.crash(isOther ? 2 : 0)
        servers.run(for: .seconds(4))
        let members = servers.mesh.hosts[1].server.node.tableSizes().members
        #expect(members == 3)
        #expect(servers.read(second, 1) == (isOther ? "" : Self.gap))
    }

    /// A message that it was given of the session that has ended is not taken for a later one.
    @Test func `a session that is begun again on a connection keeps what has not left`() {
        let servers = Servers()
        let client = servers.open()
        let sender = servers.open()
        _ = servers.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        #expect(servers.exchange(sender, "MESH.SEND ann a\r\n") == ":1·")
        servers.send("MESH.DETACH ann\r\n", from: client)
        #expect(servers.read(client) == "*3·$4·user·$3·ann·$1·a·:1·")
        let filling = String(repeating: "z", count: 500)
        let token = sessionToken(servers.exchange(client, "MESH.ATTACH ann SESSION\r\n"))
        servers.send("ECHO \(filling)\r\n", from: client)
        #expect(servers.exchange(sender, "MESH.SEND ann b\r\n") == ":1·")
        _ = servers.close(client, Self.reset)
        #expect(Self.resume(servers, token).hasSuffix("*3·$4·user·$3·ann·$1·b·"))
    }

    /// The node that it was taken from goes on naming the one that has died.
    @Test func `a session whose new node has died begins anew after a few questions`() {
        let servers = Servers(3)
        let (client, token) = Self.begin(servers)
        _ = servers.close(client)
        let second = servers.open(1)
        let reply = servers.exchange(second, "MESH.ATTACH ann RESUME \(token)\r\n", 1)
        #expect(reply.hasPrefix("$49·"))
        servers.mesh.crash(1)
        servers.run(for: .seconds(3))
        let third = servers.open(2)
        servers.send("MESH.ATTACH ann RESUME \(token)\r\n", from: third, 2)
        servers.run(for: .seconds(3))
        let answer = servers.read(third, 2)
        #expect(answer.hasPrefix("$49·") && answer.hasSuffix("·\(Self.gap)"))
        let questions = servers.mesh.hosts[2].server.edge.gateway.hub.counters[.questions]
        #expect(questions <= 10)
    }
}
