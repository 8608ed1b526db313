import Foundation
import MeshCore
import Testing

@testable import MeshGateway
@testable import MeshServer

/// A client with very many names ends them, or goes, and nobody waits for it meanwhile.
@Suite struct ManyNamesTests {
    /// Some ten turns' worth.
    private let count = 10 * Work.perTurn / Hub.unitsPerSubscription

    /// A client of host 0 that has many names.
    private func holder(_ servers: Servers, _ command: String, _ prefix: String) -> ClientIndex {
        let client = servers.open()
        for start in stride(from: 0, to: count, by: 1_000) {
            let names = (start..<min(start + 1_000, count)).map { "\(prefix)\($0)" }
            if command == "MESH.ATTACH" {
                servers.send(
                    names.map { "MESH.ATTACH \($0)\r\n" }.joined(), from: client)
            } else {
                servers.send("\(command) \(names.joined(separator: " "))\r\n", from: client)
            }
            servers.run(for: .milliseconds(1))
        }
        servers.run(for: .milliseconds(200))
        _ = servers.read(client)
        return client
    }

    private func subscriptions(_ servers: Servers) -> Int {
        servers.mesh.hosts[0].server.edge.gateway.hub.subscriptionCount
    }

    @Test(arguments: ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MESH.WATCH", "MESH.ATTACH"])
    func `a client that goes leaves over several turns, and is gone at once for others`(
        command: String
    ) {
        let servers = Servers(2)
        let client = holder(servers, command, "n")
        #expect(subscriptions(servers) == count)
        let (other, far) = (servers.open(), servers.open(1))
        // As to a user who was alone on its connection.
        let single = servers.open()
        servers.send("MESH.ATTACH single\r\n", from: single)
        servers.run(for: .milliseconds(10))
        servers.mesh.close(single, 0)
        let answer = servers.exchange(other, "MESH.SEND single x\r\n")
        servers.mesh.close(client, 0)
        let left = subscriptions(servers)
        #expect(left > count / 2 && left < count)
        // The last name: its subscription has not ended yet.
        let last = "n\(count - 1)"
        switch command {
        case "SUBSCRIBE", "PSUBSCRIBE":
            #expect(servers.exchange(other, "PUBLISH \(last) x\r\n") == ":0·")
            #expect(servers.exchange(other, "PUBSUB NUMSUB \(last)\r\n").hasSuffix(":0·"))
        case "SSUBSCRIBE": #expect(servers.exchange(other, "SPUBLISH \(last) x\r\n") == ":0·")
        case "MESH.ATTACH":
            #expect(servers.exchange(other, "MESH.SEND \(last) x\r\n") == answer)
        default: #expect(servers.exchange(other, "PING\r\n") == "+PONG·")
        }
        servers.run(for: .milliseconds(500))
        #expect(subscriptions(servers) == 0)
        let entries = servers.exchange(far, "MESH.STATUS\r\n", 1)
        #expect(entries.contains("$7·entries·:0·"), "\(entries)")
        // Its place is used again, by one who has nothing of it.
        let next = servers.open()
        #expect(next == client)
        #expect(servers.exchange(next, "SUBSCRIBE fresh\r\n").hasSuffix("$5·fresh·:1·"))
    }

    @Test func `a message for a user whose client is going waits for the next one`() {
        let servers = Servers(2)
        let client = holder(servers, "MESH.ATTACH", "u")
        servers.mesh.close(client, 0)
        let (sender, user) = (servers.open(1), "u\(count - 1)")
        servers.send("MESH.SEND \(user) late\r\n", from: sender, 1)
        servers.run(for: .milliseconds(500))
        let back = servers.open()
        servers.send("MESH.ATTACH \(user)\r\n", from: back)
        servers.run(for: .milliseconds(500))
        #expect(servers.read(back).hasSuffix("$4·late·"))
    }

    @Test func `RESET is answered once, when all has ended`() {
        let servers = Servers(1)
        let client = holder(servers, "SUBSCRIBE", "c")
        servers.send("RESET\r\nECHO end\r\n", from: client)
        #expect(servers.read(client) == "" && subscriptions(servers) > 0)
        #expect(servers.exchange(servers.open(), "PING\r\n") == "+PONG·")
        servers.run(for: .milliseconds(100))
        #expect(servers.read(client) == "+RESET·$3·end·")
        #expect(subscriptions(servers) == 0)
    }

    @Test func `UNSUBSCRIBE without names confirms each, over several turns`() {
        let servers = Servers(1)
        let client = holder(servers, "SUBSCRIBE", "c")
        servers.send("UNSUBSCRIBE\r\nPING\r\n", from: client)
        var reply = servers.read(client)
        let first = subscriptions(servers)
        #expect(first > 0 && first < count)
        #expect(servers.exchange(servers.open(), "PING\r\n") == "+PONG·")
        for _ in 0..<1_000 where !reply.hasSuffix("+PONG·") {
            servers.run(for: .milliseconds(1))
            reply += servers.read(client)
        }
        #expect(reply.components(separatedBy: "unsubscribe").count == count + 1)
        #expect(reply.hasSuffix(":0·+PONG·"))
        #expect(subscriptions(servers) == 0)
    }

    @Test func `a client that goes in the middle of its RESET leaves nothing behind`() {
        let servers = Servers(1)
        let client = holder(servers, "SUBSCRIBE", "c")
        servers.send("RESET\r\n", from: client)
        servers.mesh.close(client, 0)
        servers.run(for: .milliseconds(200))
        #expect(subscriptions(servers) == 0)
        let isPlain = servers.mesh.hosts[0].server.edge.gateway.conversations[client].isPlain
        #expect(isPlain)
    }

    // MARK: Commands of very many names

    /// A command with this many names, as an array or as a line.
    private func text(_ command: String, _ names: [String], isLine: Bool) -> String {
        if isLine {
            return "\(command) '\(names[0])' \(names.dropFirst().joined(separator: " "))\r\n"
        }
        let words = [command] + names
        return "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
    }

    /// Reads until the text ends so.
    private func read(_ servers: Servers, _ client: ClientIndex, until end: String) -> String {
        var reply = servers.read(client)
        for _ in 0..<1_000 where !reply.hasSuffix(end) {
            servers.run(for: .milliseconds(1))
            reply += servers.read(client)
        }
        return reply
    }

    @Test(arguments: ["subscribe", "psubscribe", "ssubscribe"], [false, true])
    func `many names are subscribed to in steps, each once and in order`(
        command: String, isLine: Bool
    ) {
        let servers = Servers(2)
        let (client, other, far) = (servers.open(), servers.open(), servers.open(1))
        let count = isLine ? 6_000 : 20_000
        let names = (0..<count).map { "n\($0)" }
        let start = text(command, names, isLine: isLine)
        servers.mesh.send(Array((start + "PING\r\n").utf8), from: client, 0)
        #expect(subscriptions(servers) <= 2 * Gateway.namesPerEvent)
        servers.mesh.send(Array("PING\r\n".utf8), from: other, 0)
        #expect(servers.read(other) == "+PONG·")
        let expected = names.enumerated().map { index, name in
            "*3·$\(command.count)·\(command)·$\(name.count)·\(name)·:\(index + 1)·"
        }
        let pong = "*2·$4·pong·$0··"
        #expect(read(servers, client, until: pong) == expected.joined() + pong)
        #expect(subscriptions(servers) == count)
        let publish = command == "ssubscribe" ? "SPUBLISH" : "PUBLISH"
        #expect(servers.exchange(far, "\(publish) n\(count - 1) x\r\n", 1) == ":1·")

        let ends = [
            "subscribe": "unsubscribe", "psubscribe": "punsubscribe", "ssubscribe": "sunsubscribe",
        ]
        let end = ends[command]!
        servers.send(text(end, names, isLine: isLine) + "PING\r\n", from: client)
        let reply = read(servers, client, until: "+PONG·")
        #expect(reply.components(separatedBy: "$\(end.count)·\(end)·").count == count + 1)
        #expect(reply.hasSuffix(":0·+PONG·"))
        #expect(subscriptions(servers) == 0)
    }

    @Test func `within a transaction the steps come before what is queued behind`() {
        let servers = Servers(1)
        let client = servers.open()
        let names = (0..<5_000).map { "n\($0)" }
        let command = text("SUBSCRIBE", names, isLine: false)
        servers.send("HELLO 3\r\n", from: client)
        _ = servers.read(client)
        servers.send("MULTI\r\n\(command)ECHO behind\r\nEXEC\r\nECHO end\r\n", from: client)
        let reply = read(servers, client, until: "$3·end·")
        #expect(reply.hasPrefix("+OK·+QUEUED·+QUEUED·*2·>3·$9·subscribe·$2·n0·:1·"))
        #expect(reply.hasSuffix("$5·n4999·:5000·$6·behind·$3·end·"))
    }

    @Test func `a client that goes in the middle of them leaves nothing behind`() {
        let servers = Servers(1)
        let client = servers.open()
        let names = (0..<20_000).map { "n\($0)" }
        servers.mesh.send(Array(text("SUBSCRIBE", names, isLine: false).utf8), from: client, 0)
        servers.run(for: .zero)
        servers.mesh.close(client, 0)
        servers.run(for: .milliseconds(200))
        #expect(subscriptions(servers) == 0)
        let next = servers.open()
        #expect(next == client)
        #expect(servers.exchange(next, "SUBSCRIBE a\r\n") == "*3·$9·subscribe·$1·a·:1·")
    }
}
