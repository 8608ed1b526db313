import MeshCore
import MeshDriver
import MeshGateway
import MeshWire
import Testing

@testable import MeshServer

/// Clients that are not listened to for a while.
@Suite struct PauseTests {
    private static let payload = String(repeating: "x", count: 1_000)

    /// Two servers with a small window between them, a subscriber on the second, and nothing that
    /// the second sends arrives.
    private static func congested() -> (servers: Servers, subscriber: ClientIndex) {
        let servers = Servers(2) { $0.node.flows.windowBytes = 64 * 1024 }
        let subscriber = servers.open(1)
        _ = servers.exchange(subscriber, "SUBSCRIBE a\r\n", 1)
        servers.run(for: .milliseconds(100))
        servers.mesh.judge = { from, _, _ in from == 1 ? .drop : .pass }
        return (servers, subscriber)
    }

    private static func publications(_ range: Range<Int>) -> String {
        range.map { "PUBLISH a \($0)-\(payload)\r\n" }.joined()
    }

    private static func payloads(_ text: String) -> [Int] {
        text.split(separator: "·").filter { $0.hasSuffix(payload) }
            .map { Int($0.dropLast(payload.count + 1)) ?? -1 }
    }

    @Test func `a publisher waits while its flow is full, and goes on when it has drained`() {
        let (servers, subscriber) = Self.congested()
        let publisher = servers.open()
        servers.send(Self.publications(0..<200), from: publisher)
        let isPaused = servers.mesh.isPaused(publisher, 0)
        #expect(isPaused)
        let taken = servers.read(publisher).count { $0 == "·" }
        #expect(taken > 55 && taken < 70, "\(taken)")
        #expect(servers.paused() == 1)
        servers.mesh.judge = nil
        servers.run(for: .seconds(10))
        let goesOn = !servers.mesh.isPaused(publisher, 0)
        #expect(goesOn)
        let rest = servers.read(publisher).count { $0 == "·" }
        #expect(taken + rest == 200)
        #expect(Self.payloads(servers.read(subscriber, 1)) == Array(0..<200))
        let lost = servers.mesh.hosts[0].server.node.counters[.undelivered]
        #expect(lost == 0)
    }

    @Test func `a message for a full flow is not taken, and is carried out once, later`() {
        let (servers, subscriber) = Self.congested()
        let first = servers.open()
        servers.send(Self.publications(0..<200), from: first)
        let second = servers.open()
        // The commands behind it wait too, and so do those that come meanwhile.
        let reply = servers.exchange(
            second, "ECHO before\r\n" + Self.publications(900..<901) + "ECHO behind\r\n")
        #expect(reply == "$6·before·")
        #expect(servers.exchange(second, "ECHO late\r\n") == "")
        // Others are not held up.
        let third = servers.open()
        #expect(servers.exchange(third, "PUBLISH elsewhere x\r\n") == ":0·")
        servers.mesh.judge = nil
        servers.run(for: .seconds(10))
        #expect(servers.read(second) == ":1·$6·behind·$4·late·")
        let got = Self.payloads(servers.read(subscriber, 1))
        #expect(got.filter { $0 == 900 }.count == 1)
        #expect(got.count == 201)
    }

    /// Links are well, and no message comes to the second server.
    private static func muted(_ count: Int) -> Servers {
        let servers = Servers(count) { $0.node.flows.windowBytes = 64 * 1024 }
        for host in 1..<count {
            _ = servers.exchange(servers.open(host), "SUBSCRIBE a\r\n", host)
        }
        servers.run(for: .milliseconds(3_000))
        servers.mesh.judge = { _, to, frame in
            to == 1 && frame[4] == FrameKind.routed.rawValue ? .drop : .pass
        }
        return servers
    }

    @Test func `a subscriber does not wait longer than a second for another of its channel`() {
        let servers = Self.muted(3)
        let healthy = servers.open(2)
        _ = servers.exchange(healthy, "SUBSCRIBE a\r\n", 2)
        let publisher = servers.open()
        servers.send(Self.publications(0..<200), from: publisher)
        let isPaused = servers.mesh.isPaused(publisher, 0)
        #expect(isPaused)
        servers.run(for: .milliseconds(1_000))
        #expect(Self.payloads(servers.read(healthy, 2)) == Array(0..<200))
        #expect(servers.read(publisher).count { $0 == "·" } == 200)
        // More than twice the window is not kept for the one that is mute.
        let refused = servers.mesh.hosts[0].server.node.counters[.undelivered]
        #expect((60...80).contains(refused), "\(refused)")
        servers.run(for: .seconds(4))
        let stalled = servers.mesh.hosts[0].server.node.stalledDestinations().map(\.node)
        #expect(stalled == [servers.mesh.hosts[1].server.node.id])
    }

    @Test func `nobody waits for a live node that has acknowledged nothing for 20 seconds`() {
        let servers = Self.muted(2)
        let publisher = servers.open()
        _ = servers.exchange(publisher, "MESH.REPORTS ON\r\n")
        servers.send(Self.publications(0..<200), from: publisher)
        servers.run(for: .seconds(19))
        // Nobody else is to get it: there is nothing to be gained by losing it sooner.
        let isPaused = servers.mesh.isPaused(publisher, 0)
        #expect(isPaused)
        servers.run(for: .seconds(2))
        let goesOn = !servers.mesh.isPaused(publisher, 0)
        #expect(goesOn)
        #expect(servers.read(publisher).contains("unreachable"))
        servers.run(for: .seconds(21))
        let node = servers.mesh.hosts[0].server.node.counters
        #expect(node[.undelivered] == 200 && node[.flowsStalled] == 2)
        #expect(node[.deaths] == 0 && node[.suspicions] == 0)
        // It hears again, and all is as before.
        servers.mesh.judge = nil
        let reply = servers.exchange(publisher, "PUBLISH a again\r\n")
        #expect(reply.hasSuffix(":1·"))
        servers.run(for: .seconds(3))
        let isLeft = !servers.mesh.hosts[0].server.node.stalledDestinations().isEmpty
        #expect(!isLeft)
        let delivered = servers.mesh.hosts[1].server.node.counters[.messagesDelivered]
        #expect(delivered == 1)
    }

    @Test func `a client in the place of a paused one is not taken for it`() {
        let (servers, _) = Self.congested()
        let publisher = servers.open()
        servers.send(Self.publications(0..<200), from: publisher)
        servers.mesh.close(publisher, 0)
        let next = servers.open()
        #expect(next == publisher)
        servers.mesh.judge = nil
        servers.run(for: .seconds(10))
        #expect(servers.read(next) == "")
        #expect(servers.exchange(next, "PING\r\n") == "+PONG·")
    }

    @Test func `a publisher over a congested link waits until it has drained`() {
        let servers = Servers(2)
        let subscriber = servers.open(1)
        _ = servers.exchange(subscriber, "SUBSCRIBE a\r\n", 1)
        servers.run(for: .milliseconds(100))
        let link = servers.mesh.hosts[0].link(to: 1)!
        servers.mesh.hosts[0].server.linkIsCongested(link)
        let publisher = servers.open()
        #expect(servers.exchange(publisher, "PUBLISH a 1\r\nPUBLISH a 2\r\n") == ":1·")
        let bystander = servers.open()
        #expect(servers.exchange(bystander, "PUBLISH b 1\r\nPING\r\n") == ":0·+PONG·")
        servers.run(for: .seconds(1))
        #expect(servers.read(publisher) == "")
        let mayResume = servers.mesh.hosts[0].server.mayResume()
        #expect(!mayResume)
        servers.mesh.hosts[0].server.linkHasDrained(link)
        let mayResumeNow = servers.mesh.hosts[0].server.mayResume()
        #expect(mayResumeNow)
        servers.mesh.settle()
        #expect(servers.read(publisher) == ":1·")
    }

    @Test func `a client that asks faster than it reads is bounded, and gets all it asked for`() {
        let servers = Servers {
            ($0.clientOutputBytes, $0.outputBytesMax) = (10_000, 0)
        }
        let client = servers.open()
        servers.send(
            String(repeating: "ECHO \(Self.payload)\r\n", count: 100), from: client)
        let isPaused = servers.mesh.isPaused(client, 0)
        #expect(isPaused)
        let waiting = servers.mesh.hosts[0].server.outputCount(client)
        #expect(waiting > 10_000 && waiting < 11_100, "\(waiting)")
        // Half of it must have left.
        var got = servers.mesh.read(client, 0, countMax: 4_000)
        let stillWaits = servers.mesh.isPaused(client, 0)
        #expect(stillWaits)
        while true {
            let more = servers.mesh.read(client, 0, countMax: 4_000)
            if more.isEmpty { break }
            got += more
        }
        #expect(got.count == 100 * "$1000\r\n\(Self.payload)\r\n".utf8.count)
        let isDone = !servers.mesh.isPaused(client, 0)
        #expect(isDone)
    }

    @Test func `a whole pipeline is taken before its replies are read`() {
        let servers = Servers {
            $0.clientOutputBytes = 10_000
            $0.gateway.normalOutputLimit.hard = 400_000
        }
        let client = servers.open()
        servers.send(
            String(repeating: "ECHO \(Self.payload)\r\n", count: 250), from: client)
        let isTaken = !servers.mesh.isPaused(client, 0)
        #expect(isTaken)
        servers.send(
            String(repeating: "ECHO \(Self.payload)\r\n", count: 250), from: client)
        // Beyond three quarters of it the client would be ended for what it asks.
        let isPaused = servers.mesh.isPaused(client, 0)
        #expect(isPaused)
        var count = 0
        while case let bytes = servers.mesh.read(client, 0, countMax: 50_000), !bytes.isEmpty {
            count += bytes.count
        }
        #expect(count == 500 * "$1000\r\n\(Self.payload)\r\n".utf8.count)
    }

    @Test func `the output of all clients together is bounded, and those with little go on`() {
        let servers = Servers {
            ($0.clientOutputBytes, $0.outputBytesMax) = (10_000, 100_000)
        }
        let hasty = (0..<4).map { _ in servers.open() }
        for client in hasty {
            servers.send(
                String(repeating: "ECHO \(Self.payload)\r\n", count: 100), from: client)
        }
        let waiting = hasty.map { servers.mesh.hosts[0].server.outputCount($0) }
        #expect(waiting.reduce(0, +) < 100_000 + 4 * 12_000, "\(waiting)")
        #expect(servers.exchange(servers.open(), "PING\r\n") == "+PONG·")
        for client in hasty { _ = servers.read(client) }
        for client in hasty {
            while !servers.read(client).isEmpty {}
            #expect(servers.exchange(client, "PING\r\n") == "+PONG·")
        }
    }

    /// Messages that others do not read take the room of its replies: 16 subscribers leave 22.5 MiB, then 30 and
    /// 37.5, of 32 MiB.
    @Test func `near the bound of all clients those with much to read are not listened to`() {
        let servers = Servers {
            $0.clientOutputBytes = 10_000
            $0.gateway.memory = MemoryShares(total: 64 << 20)
        }
        let readers = (0..<16).map { _ in servers.open() }
        for reader in readers { _ = servers.exchange(reader, "SUBSCRIBE news\r\n") }
        let publisher = servers.open()
        let text = String(repeating: "x", count: 480 * 1_024)
        let news = "*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$\(text.utf8.count)\r\n\(text)\r\n"
        let requests = String(repeating: "ECHO \(Self.payload)\r\n", count: 50)
        for _ in 0..<3 {
            _ = servers.exchange(publisher, news)
        }
        let early = servers.open()
        servers.send(requests, from: early)
        let isListenedTo = !servers.mesh.isPaused(early, 0)
        #expect(isListenedTo)
        _ = servers.exchange(publisher, news)
        let late = servers.open()
        servers.send(requests, from: late)
        let isPaused = servers.mesh.isPaused(late, 0)
        #expect(isPaused)
        let throttled = servers.mesh.hosts[0].server.counters[.clientsThrottled]
        #expect(throttled == 1)
        let cuts = servers.logged(["slowConsumerCut"])
        #expect(cuts == [], "nobody is ended yet")
        // Clients with little are served meanwhile, and it goes on when it has read.
        #expect(servers.exchange(servers.open(), "PING\r\n") == "+PONG·")
        var count = 0
        while case let bytes = servers.mesh.read(late, 0, countMax: 4_000), !bytes.isEmpty {
            count += bytes.count
        }
        #expect(count == 50 * "$1000\r\n\(Self.payload)\r\n".utf8.count)
        let goesOn = !servers.mesh.isPaused(late, 0)
        #expect(goesOn)
        // Beyond the bound it is those with most who go.
        for _ in 0..<2 {
            _ = servers.exchange(publisher, news)
        }
        #expect(!servers.logged(["slowConsumerCut"]).isEmpty)
        #expect(servers.exchange(late, "PING\r\n") == "+PONG·")
    }

    @Test func `a client in the place of one that asked too fast is not taken for it`() {
        let servers = Servers {
            ($0.clientOutputBytes, $0.outputBytesMax) = (10_000, 0)
        }
        let hasty = servers.open()
        servers.send(String(repeating: "ECHO \(Self.payload)\r\n", count: 100), from: hasty)
        let isPaused = servers.mesh.isPaused(hasty, 0)
        #expect(isPaused)
        servers.mesh.close(hasty, 0)
        let next = servers.open()
        #expect(next == hasty)
        let throttled = servers.mesh.hosts[0].server.pause.throttled
        #expect(throttled == [])
        #expect(servers.exchange(next, "PING\r\n") == "+PONG·")
    }

    @Test func `a question to a node that stands still holds up its client alone`() {
        let servers = Servers(3)
        let client = servers.open()
        let other = servers.open()
        servers.mesh.judge = { from, _, _ in from == 2 ? .drop : .pass }
        #expect(servers.exchange(client, "PUBSUB CHANNELS\r\nPING\r\n") == "")
        #expect(servers.exchange(other, "PING\r\n") == "+PONG·")
        // Its answer is given up in the end. Nobody suspects it yet.
        servers.run(for: .seconds(10))
        #expect(servers.read(client) == "-TRYAGAIN n2 has not answered·+PONG·")
    }
}
