import MeshCore
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

@Suite(.timeLimit(.minutes(15))) struct SocketSessionTests {
    /// Attaches with a session; returns the token.
    private func begin(_ socket: TestSocket, _ user: String) throws -> String {
        try socket.send(TestSocket.command(["MESH.ATTACH", user, "SESSION"]))
        let reply = try socket.receive(count: 5 + 49 + 2)
        return String(decoding: reply[5..<54], as: UTF8.self)
    }

    /// Goes on with a session and expects exactly this behind the new token.
    private func resume(
        _ socket: TestSocket, _ user: String, _ token: String, expecting messages: [UInt8] = []
    ) throws {
        try socket.send(TestSocket.command(["MESH.ATTACH", user, "RESUME", token]))
        let reply = try socket.receive(count: 5 + 49 + 2 + messages.count)
        #expect(String(decoding: reply.prefix(5), as: UTF8.self) == "$49\r\n")
        #expect(Array(reply.dropFirst(56)) == messages)
    }

    private func attached(_ reactor: TestReactor, _ user: String) throws {
        let socket = try TestSocket(reactor.redis)
        try eventually("\(user) is online") {
            try socket.send(TestSocket.command(["MESH.ONLINE", user]))
            return try socket.receive(until: "\r\n").hasSuffix(":1\r\n")
        }
    }

    @Test func `messages sent while a client is away reach it on another node`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        try first.waitForMetric("links", 1)
        var socket: TestSocket? = try TestSocket(first.redis)
        let token = try begin(socket!, "ann")
        try attached(second, "ann")
        socket = nil
        try first.waitForMetric("sessions_waiting", 1)
        let sender = try TestSocket(second.redis)
        try sender.call("MESH.SEND", "ann", "hello", expecting: ":1\r\n")
        let back = try TestSocket(second.redis)
        try resume(
            back, "ann", token, expecting: TestSocket.command(["user", "ann", "hello"]))
        #expect(try first.metric("sessions_moved_out_total") == 1)
        #expect(try second.metric("sessions_moved_in_total") == 1)
    }

    @Test func `a node asked to end sends its clients away first`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh]) {
            $0.server.drainTime = .milliseconds(400)
        }
        try second.waitUntilReady()
        try first.waitForMetric("links", 1)
        let socket = try TestSocket(second.redis)
        let token = try begin(socket, "bob")
        try attached(first, "bob")
        second.inbox.leave()
        let address = "\(first.redis)"
        let push = "*3\r\n$5\r\nmoved\r\n$\(address.utf8.count)\r\n\(address)\r\n:"
        #expect(try socket.receiveAll().hasPrefix(push))
        #expect(try second.waitForEnd() == .left)
        let back = try TestSocket(first.redis)
        try resume(back, "bob", token)
        let sender = try TestSocket(first.redis)
        try sender.call("MESH.SEND", "bob", "hello", expecting: ":1\r\n")
    }

    @Test func `a client that does not read is treated by its policy`() throws {
        let reactor = try TestReactor {
            $0.server.gateway.slowConsumerPolicy = .dropOldest
            $0.server.gateway.slowBytesMax = 64 * 1024
        }
        let slow = try TestSocket(reactor.redis)
        try slow.subscribe("flood")
        let publisher = try TestSocket(reactor.redis)
        let payload = String(repeating: "x", count: 10_000)
        for _ in 0..<20 {
            var commands: [UInt8] = []
            for _ in 0..<100 { commands += TestSocket.command(["PUBLISH", "flood", payload]) }
            try publisher.send(commands)
            _ = try publisher.receive(count: 400)
        }
        #expect(try reactor.metric("slow_consumer_dropped_total{policy=\"drop-oldest\"}") > 0)
        #expect(try reactor.metric("clients_overdue_total") == 0)
        try publisher.call("PUBLISH", "flood", "end", expecting: ":1\r\n")
        let last = String(decoding: TestSocket.message("flood", "end"), as: UTF8.self)
        #expect(try slow.receive(until: last).hasSuffix(last))
    }
}
