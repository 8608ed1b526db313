import Glibc
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

@Suite(.timeLimit(.minutes(15))) struct RedisPortTests {
    @Test func `a message reaches a subscriber on another node`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        let subscriber = try TestSocket(second.redis)
        try subscriber.subscribe("news")
        let publisher = try TestSocket(first.redis)
        try publisher.publishUntilHeard("news", "hello")
        let expected = TestSocket.message("news", "hello")
        #expect(try subscriber.receive(count: expected.count) == expected)
    }

    @Test func `commands may come byte by byte`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.redis)
        for byte in TestSocket.command(["PING", "x"]) + Array("PING\r\n".utf8) {
            try socket.send([byte])
        }
        #expect(try socket.receive(until: "+PONG\r\n") == "$1\r\nx\r\n+PONG\r\n")
    }

    @Test(arguments: [100_000, 300_000, 5_000_000])
    func `large messages arrive whole, between small ones`(size: Int) throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        let subscriber = try TestSocket(second.redis)
        try subscriber.subscribe("big")
        let publisher = try TestSocket(first.redis)
        try publisher.publishUntilHeard("big", "begin")
        let large = String(repeating: "0123456789", count: size / 10)
        try publisher.send(
            TestSocket.command(["PUBLISH", "big", large])
                + TestSocket.command(["PUBLISH", "big", "end"]))
        #expect(try publisher.receive(count: 8) == Array(":1\r\n:1\r\n".utf8))
        let expected = ["begin", large, "end"].flatMap { TestSocket.message("big", $0) }
        let received = try subscriber.receive(count: expected.count)
        #expect(received == expected)
    }

    @Test func `a thousand commands in one write are answered in order`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.redis)
        try socket.send((0..<1000).flatMap { TestSocket.command(["ECHO", String($0)]) })
        let expected = (0..<1000).map { "$\(String($0).count)\r\n\($0)\r\n" }.joined()
        #expect(
            try String(decoding: socket.receive(count: expected.utf8.count), as: UTF8.self)
                == expected)
    }

    @Test func `a client that writes and closes gets its replies`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.redis)
        try socket.send("PING\r\nPING\r\nQUIT\r\n")
        socket.finishSending()
        #expect(try socket.receiveAll() == "+PONG\r\n+PONG\r\n+OK\r\n")
    }

    @Test func `bytes that are no command end the connection with a reason`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.redis)
        try socket.send("*1\r\n$x\r\n")
        #expect(try socket.receiveAll().hasPrefix("-ERR Protocol error"))
        let other = try TestSocket(reactor.redis)
        try other.send("POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try other.receiveAll() == "")
        try reactor.waitForMetric("clients", 0)
    }

    @Test func `clients beyond the bound are told so`() throws {
        let reactor = try TestReactor { $0.server.gateway.clientCountMax = 1 }
        let first = try TestSocket(reactor.redis)
        try first.call("PING", expecting: "+PONG\r\n")
        let second = try TestSocket(reactor.redis)
        #expect(try second.receiveAll() == "-ERR max number of clients reached\r\n")
    }

    @Test func `a question to the others is answered after earlier and before later replies`()
        throws
    {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        let subscriber = try TestSocket(second.redis)
        try subscriber.subscribe("far")
        let asker = try TestSocket(first.redis)
        try asker.publishUntilHeard("far", "x")
        try asker.send(
            "PING\r\nPUBSUB NUMSUB far\r\nECHO last\r\nPUBSUB NUMSUB near\r\nPING\r\n")
        let expected =
            "+PONG\r\n*2\r\n$3\r\nfar\r\n:1\r\n$4\r\nlast\r\n*2\r\n$4\r\nnear\r\n:0\r\n+PONG\r\n"
        let answer = try asker.receive(count: expected.utf8.count)
        #expect(String(decoding: answer, as: UTF8.self) == expected)
    }

    @Test func `a client that asks without reading waits, and then gets every answer`() throws {
        let reactor = try TestReactor {
            ($0.server.clientOutputBytes, $0.server.outputBytesMax) = (100_000, 0)
        }
        let socket = try TestSocket(reactor.redis)
        let command = TestSocket.command(["ECHO", String(repeating: "e", count: 10_000)])
        let commands = (0..<3_000).flatMap { _ in command }
        var sent = 0
        // The kernel takes some megabytes each way before it makes anybody wait.
        var idleRounds = 0
        while idleRounds < 20, sent < commands.count {
            let count = socket.sendSome(Array(commands[sent..<min(sent + 100_000, commands.count)]))
            sent += count
            idleRounds = count == 0 ? idleRounds + 1 : 0
            usleep(5_000)
        }
        #expect(sent < commands.count)
        let replySize = 10_000 + "$10000\r\n\r\n".utf8.count
        var received = 0
        while received < 3_000 * replySize {
            if sent < commands.count {
                let next = commands[sent..<min(sent + 100_000, commands.count)]
                sent += socket.sendSome(Array(next))
            }
            received += try socket.receive().count
        }
        #expect(received == 3_000 * replySize)
    }

    @Test func `a subscriber that does not read is closed at its output limit`() throws {
        let reactor = try TestReactor { $0.server.gateway.pubsubOutputLimit.hard = 1_000_000 }
        let subscriber = try TestSocket(reactor.redis)
        try subscriber.subscribe("flood")
        let publisher = try TestSocket(reactor.redis)
        let command = TestSocket.command(
            ["PUBLISH", "flood", String(repeating: "x", count: 100_000)])
        try eventually("closed") {
            try publisher.send(command)
            _ = try publisher.receive(until: "\r\n")
            return try reactor.metric("clients") == 1
        }
        #expect(try reactor.metric("clients_overdue_total") == 1)
    }

    @Test func `the subscriptions of a closed client leave the directory`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        var subscriber: TestSocket? = try TestSocket(second.redis)
        try subscriber?.subscribe("a")
        try first.waitForMetric("directory_entries", 1)
        subscriber = nil
        try first.waitForMetric("directory_entries", 0)
    }

    @Test func `the node answers for itself, its members and its links`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        try second.waitForMetric("links", 1)
        let socket = try TestSocket(second.redis)
        for (command, expected) in [
            ("MESH.STATUS", "$7\r\nmembers\r\n:2\r\n"),
            ("MESH.MEMBERS", "$8\r\nendpoint\r\n"),
            ("MESH.LINKS", "$9\r\nframesOut\r\n"),
            ("INFO", "loading:0\r\n"),
            ("INFO mesh", "members:2\r\n"),
        ] {
            try socket.send("\(command)\r\n")
            usleep(20_000)
            let answer = String(decoding: try socket.receive(), as: UTF8.self)
            #expect(answer.contains(expected))
        }
    }

    @Test func `a leaving node flushes and closes its clients`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.redis)
        try socket.call("PING", expecting: "+PONG\r\n")
        reactor.inbox.leave()
        #expect(try socket.receiveAll() == "")
        #expect(try reactor.waitForEnd() == .left)
        #expect(throws: (any Error).self) { try TestSocket(reactor.redis) }
    }

    @Test func `INFO has the fields that monitoring and test suites read`() throws {
        let reactor = try TestReactor()
        try reactor.waitUntilReady()
        let socket = try TestSocket(reactor.redis)
        try socket.send("INFO\r\n")
        let header = try socket.receive(until: "\r\nready:1\r\n\r\n")
        var fields: [String: String] = [:]
        for line in header.split(separator: "\r\n") {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { fields[String(parts[0])] = String(parts[1]) }
        }
        #expect(fields["arch_bits"] == "64" && fields["cluster_enabled"] == "0")
        #expect(fields["process_id"] == String(getpid()))
        #expect(fields["tcp_port"] == String(reactor.redis.port))
        #expect(fields["uptime_in_days"] == "0" && fields["config_file"] == "")
        let runID = try #require(fields["run_id"])
        #expect(runID.count == 40 && runID.allSatisfy { $0.isHexDigit && !$0.isUppercase })
        #expect(fields["master_replid"] == runID)
        #expect(fields["os"]?.hasPrefix("Linux ") == true)
        #expect(fields["executable"]?.hasPrefix("/") == true)
        for name in ["redis_version", "redis_build_id", "redis_mode", "role", "maxmemory_policy"] {
            #expect(fields[name]?.isEmpty == false, "\(name)")
        }
    }
}
