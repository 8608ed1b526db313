import MeshCore
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Very many sessions that come to something at once, and questions about very many names.
@Suite struct ManySessionsTests {
    /// Some ten turns' worth.
    private static let count = 10 * Work.perEvent / Hub.unitsPerSession

    private struct Figures: Equatable {
        var sessions: Int
        var subscriptions: Int
        var expired: UInt64
    }

    private func figures(_ servers: Servers) -> Figures {
        Figures(
            sessions: servers.mesh.hosts[0].server.edge.gateway.hub.sessionCount,
            subscriptions: servers.mesh.hosts[0].server.edge.gateway.hub.subscriptionCount,
            expired: servers.mesh.hosts[0].server.edge.gateway.hub.counters[.sessionsExpired])
    }

    /// A client that has this many sessions, and the token of the last one.
    private func holder(_ servers: Servers, _ count: Int = count) -> (ClientIndex, String) {
        let client = servers.open()
        var last = ""
        for start in stride(from: 0, to: count, by: 500) {
            let users = start..<min(start + 500, count)
            servers.send(
                users.map { "MESH.ATTACH u\($0) SESSION\r\n" }.joined(), from: client)
            servers.run(for: .milliseconds(200))
            last = servers.read(client)
        }
        return (client, String(last.split(separator: "·").last ?? ""))
    }

    @Test func `sessions that end together do so over several turns, the first ones first`() {
        let servers = Servers(2)
        let (client, _) = holder(servers)
        servers.mesh.close(client, 0)
        servers.run(for: .seconds(1))
        let count = Self.count
        #expect(
            figures(servers) == Figures(sessions: count, subscriptions: count, expired: 0))
        let due =
            servers.now + servers.mesh.hosts[0].server.edge.gateway.hub.configuration.sessionGrace
        for step in 1...3 {
            servers.mesh.hosts[0].server.edge.gateway.tick(at: due)
            let ended = step * (Work.perEvent / Hub.unitsPerSession + 1)
            #expect(
                figures(servers)
                    == Figures(
                        sessions: count - ended, subscriptions: count - ended,
                        expired: UInt64(ended)))
            let next = servers.mesh.hosts[0].server.edge.gateway.nextDeadline()
            #expect(next.map { $0 <= due } == true)
        }
        servers.run(for: .seconds(11))
        #expect(
            figures(servers) == Figures(sessions: 0, subscriptions: 0, expired: UInt64(count)))
        let status = servers.exchange(servers.open(1), "MESH.STATUS\r\n", 1)
        #expect(status.contains("$7·entries·:0·"), "\(status)")
    }

    @Test func `messages of a session that ends count as work`() {
        let servers = Servers(1)
        let (client, _) = holder(servers, 20)
        let sender = servers.open()
        servers.mesh.close(client, 0)
        let each = servers.mesh.hosts[0].server.edge.gateway.hub.configuration.sessionCountMax
        let ended = Work.perEvent / (each * 8 + Hub.unitsPerSession) + 1
        #expect(ended < 20)
        for user in 0..<20 {
            servers.send(
                String(repeating: "MESH.SEND u\(user) x\r\n", count: each), from: sender)
            servers.run(for: .milliseconds(1))
            _ = servers.read(sender)
        }
        let due = servers.now + .seconds(20)
        servers.mesh.hosts[0].server.edge.gateway.tick(at: due)
        #expect(
            figures(servers)
                == Figures(
                    sessions: 20 - ended, subscriptions: 20 - ended, expired: UInt64(ended)))
        servers.run(for: .seconds(30))
        #expect(figures(servers) == Figures(sessions: 0, subscriptions: 0, expired: 20))
        let lost = servers.mesh.hosts[0].server.edge.gateway.hub.counters[.sessionMessagesDropped]
        #expect(lost == UInt64(20 * each))
    }

    @Test func `a client with very many sessions leaves its users over several turns`() {
        let servers = Servers(2)
        let count = 3 * Work.perEvent / Hub.unitsPerSubscription
        let (client, token) = holder(servers, count)
        let (sender, far) = (servers.open(), servers.open(1))
        servers.mesh.close(client, 0)
        // Each has its mailbox already.
        let after = figures(servers)
        #expect(after.sessions == count)
        #expect(after.subscriptions > count && after.subscriptions < 2 * count)
        let last = "u\(count - 1)"
        servers.mesh.send(Array("MESH.SEND \(last) near\r\n".utf8), from: sender, 0)
        #expect(servers.read(sender) == ":1·")
        #expect(servers.exchange(far, "MESH.SEND \(last) far\r\n", 1) == ":1·")
        servers.run(for: .milliseconds(500))
        #expect(figures(servers) == Figures(sessions: count, subscriptions: count, expired: 0))
        let dropped = servers.mesh.hosts[0].server.edge.gateway.hub.counters[.droppedClientCopies]
        #expect(dropped == 0)
        let back = servers.open()
        let reply = servers.exchange(back, "MESH.ATTACH \(last) RESUME \(token)\r\n")
        #expect(reply.hasSuffix("$4·near·*3·$4·user·$\(last.count)·\(last)·$3·far·"), "\(reply)")
    }

    // MARK: Timers

    @Test func `timers come in the order of their times, then in that in which they were added`() {
        var timers = SessionTimers()
        var random = RandomSource(seed: 17)
        var added: [(due: Int, number: Int)] = []
        for number in 0..<1_000 {
            let due = Int(random.next(below: 100))
            added.append((due, number))
            timers.add(
                SessionTimer(
                    due: Instant(nanoseconds: Int64(due)), session: UserSessionIndex(number),
                    serial: 0))
        }
        let expected = added.sorted { ($0.due, $0.number) < ($1.due, $1.number) }
        var taken: [Int] = []
        for now in [0, 10, 50, 99] {
            while let timer = timers.takeShort(by: Instant(nanoseconds: Int64(now))) {
                #expect(timer.due <= Instant(nanoseconds: Int64(now)))
                taken.append(timer.session.slot)
            }
            let next = expected.first { $0.due > now }?.due
            #expect(timers.next == next.map { Instant(nanoseconds: Int64($0)) })
        }
        #expect(taken == expected.map(\.number))
    }

    // MARK: PUBSUB NUMSUB

    @Test(arguments: [1, 2])
    func `the subscribers of very many names are counted in steps`(nodeCount: Int) {
        let servers = Servers(nodeCount)
        let count = 2 * CountQuestions.partNames + 100
        let names = (0..<count).map { "c\($0)" }
        for (host, step) in zip(0..<nodeCount, [3, 2]) {
            let client = servers.open(host)
            for start in stride(from: 0, to: count, by: 1_200) {
                let part = stride(from: start, to: min(start + 1_200, count), by: step)
                servers.send(
                    "SUBSCRIBE \(part.map { names[$0] }.joined(separator: " "))\r\n", from: client,
                    host)
            }
        }
        servers.run(for: .milliseconds(500))
        let (asker, other) = (servers.open(), servers.open())
        let words = ["PUBSUB", "NUMSUB"] + names
        let command =
            "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
        servers.mesh.send(Array((command + "ECHO end\r\n").utf8), from: asker, 0)
        #expect(servers.read(asker) == "")
        servers.mesh.send(Array("PING\r\n".utf8), from: other, 0)
        #expect(servers.read(other) == "+PONG·" && servers.read(asker) == "")
        servers.run(for: .milliseconds(100))
        let expected = names.indices.map { index in
            let subscribers =
                (index % 1_200 % 3 == 0 ? 1 : 0) + (nodeCount == 2 && index % 2 == 0 ? 1 : 0)
            return "$\(names[index].count)·\(names[index])·:\(subscribers)·"
        }
        #expect(servers.read(asker) == "*\(2 * count)·" + expected.joined() + "$3·end·")
        // One that goes leaves no question behind.
        servers.mesh.send(Array(command.utf8), from: asker, 0)
        servers.mesh.close(asker, 0)
        servers.run(for: .milliseconds(100))
        let (isEmpty, isOver) = (
            servers.mesh.hosts[0].server.edge.gateway.hub.questions.isEmpty,
            !servers.mesh.hosts[0].server.edge.gateway.hub.hasDueCounts
        )
        #expect(isEmpty && isOver)
    }
}
