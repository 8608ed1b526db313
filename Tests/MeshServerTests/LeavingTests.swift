import MeshCore
import MeshDriver
import MeshServer
import MeshWire
import Testing

/// running → draining → leaving → left, and no phase lasts longer than its deadline.
@Suite(.timeLimit(.minutes(15))) struct LeavingTests {
    private static let words = ["draining", "drainTimedOut", "leaving", "leaveTimedOut"]

    @Test func `with nobody to send away a server leaves at once`() {
        let servers = Servers(2)
        servers.mesh.handle(.leave, 1)
        servers.run(for: .milliseconds(500))
        #expect(!servers.isUp(1))
        #expect(servers.logged(Self.words, 1) == ["draining", "leaving"])
        let members = servers.mesh.hosts[0].server.node.tableSizes().members
        #expect(members == 1)
    }

    @Test func `clients are told where to go, ended within the drain's time, and then it leaves`() {
        let servers = Servers(2)
        let (mover, quiet) = (servers.open(), servers.open())
        _ = servers.exchange(mover, "HELLO 3\r\nMESH.MOVES ON\r\n")
        _ = servers.exchange(quiet, "PING\r\n")
        servers.mesh.handle(.leave, 0)
        // In the first half clients are told, in the second ended, one by one.
        for (pause, expected) in [
            (990, [false, false]), (500, [true, false]), (600, [true, true]),
        ] {
            servers.run(for: .milliseconds(Int64(pause)))
            let areEnded = [mover, quiet].map { servers.mesh.isEnded($0, 0) }
            #expect(areEnded == expected)
        }
        #expect(servers.isUp(0))
        #expect(servers.read(mover).hasPrefix(">3·$5·moved·$13·10.0.0.2:7379·:"))
        // Newcomers find another node; links stand until the goodbye.
        let listens = (servers.mesh.hosts[0].takesClients, servers.mesh.hosts[0].takesLinks)
        #expect(listens == (false, true))
        for client in [mover, quiet] { servers.mesh.close(client, 0) }
        servers.run(for: .milliseconds(600))
        #expect(!servers.isUp(0))
        #expect(servers.logged(Self.words) == ["draining", "leaving"])
    }

    @Test func `without drain time clients are ended in the same turn`() {
        let servers = Servers(2) { $0.drainTime = .zero }
        let client = servers.open()
        _ = servers.exchange(client, "PING\r\n")
        servers.mesh.handle(.leave, 0)
        servers.run(for: .milliseconds(10))
        let isEnded = servers.mesh.isEnded(client, 0)
        #expect(isEnded)
    }

    @Test func `clients whose connections do not end are not waited for beyond the deadline`() {
        let servers = Servers(2)
        _ = servers.exchange(servers.open(), "PING\r\n")
        servers.mesh.handle(.leave, 0)
        // Twice the drain's time and a second.
        servers.run(for: .milliseconds(4_900))
        #expect(servers.isUp(0))
        #expect(servers.logged(Self.words) == ["draining"])
        servers.run(for: .milliseconds(600))
        #expect(!servers.isUp(0))
        #expect(servers.logged(Self.words) == ["draining", "drainTimedOut", "leaving"])
    }

    /// It waits for the acknowledgement of a message that it has taken, which does not come.
    @Test func `a goodbye that nobody hears ends with the leave's time`() {
        let servers = Servers(2) { $0.leaveTime = .milliseconds(100) }
        let subscriber = servers.open(1)
        let publisher = servers.open()
        _ = servers.exchange(subscriber, "SUBSCRIBE a\r\n", 1)
        servers.run(for: .milliseconds(100))
        servers.mesh.judge = { _, _, _ in .drop }
        #expect(servers.exchange(publisher, "PUBLISH a x\r\n") == ":1·")
        servers.mesh.close(publisher, 0)
        servers.mesh.handle(.leave, 0)
        servers.run(for: .milliseconds(90))
        #expect(servers.isUp(0))
        servers.run(for: .milliseconds(20))
        #expect(!servers.isUp(0))
        #expect(servers.logged(Self.words) == ["draining", "leaving", "leaveTimedOut"])
    }

    @Test func `a second request to leave changes nothing`() {
        let servers = Servers(2)
        let client = servers.open()
        servers.mesh.handle(.leave, 0)
        servers.run(for: .seconds(1))
        servers.mesh.handle(.leave, 0)
        servers.run(for: .milliseconds(1_100))
        let isEnded = servers.mesh.isEnded(client, 0)
        #expect(isEnded)
        #expect(servers.logged(Self.words) == ["draining"])
    }

    /// The session is elsewhere by then; what its connection has lost is announced there.
    @Test func `a leaving node waits to learn what the connections that it ended have lost`() throws
    {
        let servers = Servers(2)
        let client = servers.open()
        let token = sessionToken(servers.exchange(client, "MESH.ATTACH ann SESSION\r\n"))
        servers.run(for: .seconds(1))
        #expect(servers.exchange(servers.open(1), "MESH.SEND ann a\r\n", 1) == ":1·")
        servers.run(for: .milliseconds(100))
        #expect(servers.read(client).hasSuffix("$1·a·"))
        servers.mesh.handle(.leave, 0)
        servers.run(for: .milliseconds(2_100))
        let doubt = try #require(servers.close(client))
        servers.run(for: .milliseconds(900))
        #expect(servers.isUp(0))
        servers.mesh.conclude(doubt, Parting(unacknowledgedBytes: 0, wasBroken: true), 0)
        servers.run(for: .milliseconds(600))
        #expect(!servers.isUp(0))
        let reply = servers.exchange(servers.open(1), "MESH.ATTACH ann RESUME \(token)\r\n", 1)
        #expect(reply.hasSuffix("·*5·$3·gap·$4·user·$3·ann·:0·:0·"))
    }

    /// Of 24 sessions of 1 MiB one after another goes, because each acknowledgement takes 300 ms.
    @Test(arguments: [(Delay.seconds(30), 24...24), (.seconds(4), 4...16), (.seconds(1), 0...1)])
    func `a drain goes on while sessions are taken, what is left goes as gaps`(
        _ most: Delay, _ counts: ClosedRange<Int>
    ) {
        let servers = Servers(2) {
            $0.drainTime = .milliseconds(300)
            $0.drainMax = most
        }
        var tokens: [String] = []
        for number in 0..<24 {
            let client = servers.open()
            tokens.append(
                sessionToken(servers.exchange(client, "MESH.ATTACH u\(number) SESSION\r\n")))
            servers.mesh.close(client, 0)
        }
        servers.run(for: .milliseconds(100))
        let sender = servers.open(1)
        let payload = String(repeating: "x", count: 1 << 20)
        for number in 0..<24 {
            servers.send(
                "*3\r\n$9\r\nMESH.SEND\r\n$\("u\(number)".utf8.count)\r\nu\(number)\r\n"
                    + "$\(payload.utf8.count)\r\n\(payload)\r\n", from: sender, 1)
            // A flow's window is full with the first.
            servers.run(for: .milliseconds(20))
            let reply = servers.read(sender, 1)
            #expect(reply == ":1·")
        }
        servers.run(for: .milliseconds(100))
        servers.mesh.judge = { _, _, frame in
            guard frame[4] == FrameKind.routed.rawValue,
                frame[7] == RoutedBody.control.rawValue
            else { return .pass }
            return .delay(.milliseconds(300))
        }
        servers.mesh.handle(.leave, 0)
        for _ in 0..<150 where servers.isUp(0) { servers.run(for: .milliseconds(100)) }
        #expect(!servers.isUp(0))
        servers.mesh.judge = nil
        var taken = 0
        var gaps = 0
        for (number, token) in tokens.enumerated() {
            let client = servers.open(1)
            let reply = servers.exchange(
                client, "MESH.ATTACH u\(number) RESUME \(token)\r\n", 1)
            if reply.hasSuffix("$\(payload.utf8.count)·\(payload)·") { taken += 1 }
            if reply.contains("*5·$3·gap·$4·user·$\("u\(number)".utf8.count)·u\(number)·:1·") {
                gaps += 1
            }
        }
        #expect(counts ~= taken)
        #expect(taken + gaps == 24)
    }
}
