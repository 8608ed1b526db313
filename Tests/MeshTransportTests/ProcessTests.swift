import Glibc
import MeshCore
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

@Suite(.timeLimit(.minutes(15)), .serialized) struct ProcessTests {
    @Test func `a signal lets a node leave, and it ends well`() throws {
        let first = try TestReactor()
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        try first.waitForMetric("links", 1)
        second.signal(SIGTERM)
        #expect(try second.waitForEnd() == 0)
        try first.waitForMetric("members", 1)
        #expect(try first.metric("deaths_total") == 0)
    }

    @Test func `a killed node is declared dead within a second`() throws {
        let first = try TestReactor()
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        try first.waitForMetric("links", 1)
        second.signal(SIGKILL)
        try first.waitForMetric("members", 1, seconds: 1)
    }

    @Test func `wrong flags end with 64 and a wrong file with 78`() throws {
        #expect(try TestProcess(["node", "--nothing"]).waitForEnd() == 64)
        #expect(try TestProcess(["node", "--mesh", "0.0.0.0:0"]).waitForEnd() == 64)
        #expect(try TestProcess(["nothing"]).waitForEnd() == 64)
        #expect(try TestProcess(["node", "--config", "/dev/null"]).waitForEnd() == 78)
        #expect(try TestProcess(["--version"]).waitForEnd() == 0)
    }

    @Test func `a publisher waits for a frozen node and nothing is lost`() throws {
        let first = try TestReactor {
            // The frozen node shall stay a member.
            $0.server.node.timing.silence = .seconds(60)
            $0.limits.congestionBytes = 256 * 1024
        }
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        let subscriber = try TestSocket(try second.endpoint("redis"))
        try subscriber.subscribe("flood")
        let publisher = try TestSocket(first.redis)
        try publisher.publishUntilHeard("flood", "begin")
        var expected = TestSocket.message("flood", "begin")
        _ = try subscriber.receive(count: expected.count)

        second.signal(SIGSTOP)
        let payload = String(repeating: "x", count: 9_990)
        var commands: [UInt8] = []
        expected = []
        for number in 1000..<4000 {
            commands += TestSocket.command(["PUBLISH", "flood", payload + String(number)])
            expected += TestSocket.message("flood", payload + String(number))
        }
        var sent = 0
        try eventually("paused") {
            sent += publisher.sendSome(Array(commands[sent...]))
            return try first.metric("publishers_paused_total") > 0
        }
        #expect(try first.metric("dropped_queue_full_total") == 0)
        second.signal(SIGCONT)
        var received: [UInt8] = []
        while received.count < expected.count {
            if sent < commands.count { sent += publisher.sendSome(Array(commands[sent...])) }
            if sent < commands.count || received.count < expected.count {
                received += try subscriber.receive()
            }
        }
        #expect(received == expected)
    }

    @Test func `messages above a link's bound are dropped and counted`() throws {
        let first = try TestReactor {
            $0.server.node.timing.silence = .seconds(60)
            $0.limits.congestionBytes = 64 * 1024
            $0.limits.linkMessageBytes = 1024 * 1024
            // On a busy machine filling the kernel's buffers takes longer than the 200 ms after
            // which a flow would send again what waits, and nothing new.
            $0.server.node.timing.retransmit = .seconds(60)
        }
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        let subscriber = try TestSocket(try second.endpoint("redis"))
        try subscriber.subscribe("flood")
        let probe = try TestSocket(first.redis)
        try probe.publishUntilHeard("flood", "begin")
        second.signal(SIGSTOP)
        // Each publisher gets one message in before it has to wait.
        let payload = String(repeating: "x", count: 65_000)
        let publishers = try (0..<300).map { _ in try TestSocket(first.redis) }
        for publisher in publishers {
            try publisher.send(TestSocket.command(["PUBLISH", "flood", payload]))
        }
        try eventually("dropped") { try first.metric("dropped_queue_full_total") > 0 }
        #expect(
            try first.metric("dropped_queue_full_bytes_total")
                >= 65_000 * first.metric("dropped_queue_full_total"))
        second.signal(SIGCONT)
    }
}
