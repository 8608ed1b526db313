import MeshCore
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Commands of very many users are carried out in steps, and answered as if they were not.
@Suite struct ManyUsersTests {
    /// Some four turns' worth.
    private static let count = 4 * Work.perTurn / Hub.unitsPerSubscription
    private static let names = (0..<count).map { "n\($0)" }
    /// Every third of them is somewhere.
    private static let present = stride(from: 0, to: count, by: 3).map { names[$0] }

    /// A command with these words, as an array or as a line.
    private func text(_ words: [String], isLine: Bool = false) -> String {
        if isLine {
            return "\(words[0]) '\(words[1])' \(words.dropFirst(2).joined(separator: " "))\r\n"
        }
        return "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
    }

    /// Reads until the text ends so.
    private func read(
        _ servers: Servers, _ client: ClientIndex, _ host: Int = 0, until end: String
    ) -> String {
        var reply = servers.read(client, host)
        for _ in 0..<1_000 where !reply.hasSuffix(end) {
            servers.run(for: .milliseconds(1))
            reply += servers.read(client, host)
        }
        return reply
    }

    private func attach(
        _ servers: Servers, _ users: [String], _ host: Int = 0, options: String = ""
    ) -> ClientIndex {
        let client = servers.open(host)
        for start in stride(from: 0, to: users.count, by: 1_000) {
            let part = users[start..<min(start + 1_000, users.count)]
            servers.send(
                part.map { "MESH.ATTACH \($0)\(options)\r\n" }.joined(), from: client, host)
            servers.run(for: .milliseconds(1))
        }
        servers.run(for: .milliseconds(200))
        _ = servers.read(client, host)
        return client
    }

    private func subscriptions(_ servers: Servers) -> Int {
        servers.mesh.hosts[0].server.edge.gateway.hub.subscriptionCount
    }

    private func isPlain(_ servers: Servers, _ client: ClientIndex) -> Bool {
        servers.mesh.hosts[0].server.edge.gateway.conversations[client].isPlain
    }

    /// The command has begun and is not over, and another client is served.
    private func expectUnderWay(_ servers: Servers, _ client: ClientIndex) {
        #expect(!isPlain(servers, client))
        let other = servers.open()
        servers.mesh.send(Array("PING\r\n".utf8), from: other, 0)
        #expect(servers.read(other) == "+PONG·")
        #expect(!isPlain(servers, client))
        servers.mesh.close(other, 0)
    }

    // MARK: MESH.WATCH and MESH.UNWATCH

    @Test(arguments: [2, 3], [false, true])
    func `very many users are watched, each confirmed in order, then each told of`(
        version: Int, isLine: Bool
    ) {
        let servers = Servers(2)
        _ = attach(servers, Self.present, 1)
        let names = isLine ? Array(Self.names.prefix(6_000)) : Self.names
        let client = servers.open()
        if version == 3 { _ = servers.exchange(client, "HELLO 3\r\n") }
        let command = text(["MESH.WATCH"] + names, isLine: isLine) + "ECHO end\r\n"
        servers.mesh.send(Array(command.utf8), from: client, 0)
        expectUnderWay(servers, client)
        let marker = version == 3 ? ">3" : "*3"
        let confirmed = names.enumerated().map { index, name in
            "\(marker)·$5·watch·$\(name.count)·\(name)·:\(index + 1)·"
        }
        let told = names.enumerated().map { index, name in
            "\(marker)·$8·presence·$\(name.count)·\(name)·"
                + (index % 3 == 0 ? "$6·online·" : "$7·offline·")
        }
        let reply = read(servers, client, until: "$3·end·")
        #expect(reply == confirmed.joined() + told.joined() + "$3·end·")
        #expect(subscriptions(servers) == names.count)

        // It goes on as any other watch.
        let absent = names[names.count - 2]
        _ = servers.exchange(servers.open(), "MESH.ATTACH \(absent)\r\n")
        servers.run(for: .milliseconds(100))
        let change = "\(marker)·$8·presence·$\(absent.count)·\(absent)·$6·online·"
        #expect(servers.read(client) == change)
        let watching = servers.mesh.hosts[0].server.edge.gateway.hub.clients[client.slot].watching
        #expect(watching.count <= Gateway.namesPerEvent)

        servers.send(text(["MESH.UNWATCH"] + names, isLine: isLine) + "ECHO end\r\n", from: client)
        let left = names.enumerated().map { index, name in
            "\(marker)·$7·unwatch·$\(name.count)·\(name)·:\(names.count - index - 1)·"
        }
        #expect(read(servers, client, until: "$3·end·") == left.joined() + "$3·end·")
        #expect(subscriptions(servers) == 1)
    }

    @Test func `MESH.UNWATCH without a user confirms each, over several turns`() {
        let servers = Servers(1)
        let client = servers.open()
        servers.send(text(["MESH.WATCH"] + Self.names) + "ECHO end\r\n", from: client)
        _ = read(servers, client, until: "$3·end·")
        servers.mesh.send(Array("MESH.UNWATCH\r\nECHO end\r\n".utf8), from: client, 0)
        expectUnderWay(servers, client)
        let reply = read(servers, client, until: "$3·end·")
        #expect(reply.components(separatedBy: "$7·unwatch·").count == Self.count + 1)
        #expect(reply.hasSuffix(":0·$3·end·"))
        #expect(subscriptions(servers) == 0)
    }

    @Test func `more users than there is room for are not watched at all`() {
        let room = Self.count - 1
        let servers = Servers(1) { $0.gateway.subscriptionCountMax = room }
        let client = servers.open()
        servers.send(text(["MESH.WATCH"] + Self.names) + "ECHO end\r\n", from: client)
        let refused = read(servers, client, until: "$3·end·")
        #expect(refused.hasPrefix("-") && refused.components(separatedBy: "·").count == 4)
        #expect(subscriptions(servers) == 0)
        // Named twice it counts once.
        let names = Self.names.dropLast() + ["n0"]
        servers.send(text(["MESH.WATCH"] + names) + "ECHO end\r\n", from: client)
        let reply = read(servers, client, until: "$3·end·")
        #expect(reply.components(separatedBy: "$5·watch·").count == Self.count + 1)
        #expect(reply.components(separatedBy: "$8·presence·").count == Self.count + 1)
        #expect(subscriptions(servers) == room)
    }

    // MARK: MESH.ONLINE

    private static let online =
        "*\(count)·" + (0..<count).map { $0 % 3 == 0 ? ":1·" : ":0·" }.joined()

    @Test func `very many users are asked after in steps, and answered in one array`() {
        let servers = Servers(2)
        _ = attach(servers, Self.present, 1)
        let client = servers.open()
        _ = servers.exchange(client, "HELLO 3\r\n")
        _ = servers.exchange(client, "SUBSCRIBE c\r\n")
        let command = text(["MESH.ONLINE"] + Self.names)
        servers.mesh.send(Array((command + "ECHO end\r\n").utf8), from: client, 0)
        expectUnderWay(servers, client)
        // A message that comes meanwhile is ahead of the array, not within it.
        let other = servers.open()
        servers.mesh.send(Array("PUBLISH c x\r\n".utf8), from: other, 0)
        let message = ">3·$7·message·$1·c·$1·x·"
        #expect(read(servers, client, until: "$3·end·") == message + Self.online + "$3·end·")

        servers.send("MULTI\r\nECHO a\r\n\(command)ECHO b\r\nEXEC\r\nECHO end\r\n", from: client)
        #expect(
            read(servers, client, until: "$3·end·")
                == "+OK·+QUEUED·+QUEUED·+QUEUED·*3·$1·a·\(Self.online)$1·b·$3·end·")
        servers.send("CLIENT REPLY SKIP\r\n\(command)ECHO end\r\n", from: client)
        #expect(read(servers, client, until: "$3·end·") == "$3·end·")
        servers.send(text(["MESH.ONLINE", "n0"], isLine: true), from: client)
        #expect(servers.read(client) == "*1·:1·")
    }

    // MARK: MESH.DETACH

    @Test(arguments: ["", " SESSION"], [false, true])
    func `very many users are let go of in steps, and counted once`(options: String, isAll: Bool) {
        let servers = Servers(2)
        let client = attach(servers, Self.names, options: options)
        #expect(subscriptions(servers) == Self.count)
        // Twice, and one that it never had.
        let names = isAll ? [] : Self.names + ["n0", "stranger"]
        servers.mesh.send(
            Array((text(["MESH.DETACH"] + names) + "ECHO end\r\n").utf8), from: client, 0)
        expectUnderWay(servers, client)
        #expect(read(servers, client, until: "$3·end·") == ":\(Self.count)·$3·end·")
        #expect(subscriptions(servers) == 0)
        let sessions = servers.mesh.hosts[0].server.edge.gateway.hub.sessionCount
        #expect(sessions == 0)
        servers.run(for: .milliseconds(100))
        #expect(servers.exchange(servers.open(1), "MESH.ONLINE n1\r\n", 1) == "*1·:0·")
    }

    @Test func `what came before a user is let go of is ahead of the answer`() {
        let servers = Servers(1)
        let client = attach(servers, Self.names, options: " SESSION")
        let (sender, last) = (servers.open(), "n\(Self.count - 1)")
        servers.mesh.send(Array(text(["MESH.DETACH"] + Self.names).utf8), from: client, 0)
        servers.mesh.send(Array("MESH.SEND \(last) late\r\n".utf8), from: sender, 0)
        let message = "*3·$4·user·$\(last.count)·\(last)·$4·late·"
        let answer = ":\(Self.count)·"
        #expect(read(servers, client, until: answer) == message + answer)
    }

    // MARK: Ends

    @Test(arguments: ["MESH.WATCH", "MESH.UNWATCH", "MESH.ONLINE", "MESH.DETACH"])
    func `a client that goes in the middle of them leaves nothing behind`(command: String) {
        let servers = Servers(1)
        let client: ClientIndex
        if command == "MESH.DETACH" {
            client = attach(servers, Self.names)
        } else {
            client = servers.open()
        }
        if command == "MESH.UNWATCH" {
            servers.send(text(["MESH.WATCH"] + Self.names) + "ECHO end\r\n", from: client)
            _ = read(servers, client, until: "$3·end·")
        }
        servers.mesh.send(Array(text([command] + Self.names).utf8), from: client, 0)
        servers.run(for: .zero)
        #expect(!isPlain(servers, client))
        servers.mesh.close(client, 0)
        servers.run(for: .milliseconds(200))
        #expect(subscriptions(servers) == 0)
        let next = servers.open()
        #expect(next == client && isPlain(servers, next))
        #expect(servers.exchange(next, "MESH.ONLINE n0 n1\r\n") == "*2·:0·:0·")
        #expect(servers.exchange(next, "MESH.DETACH\r\n") == ":0·")
    }
}
