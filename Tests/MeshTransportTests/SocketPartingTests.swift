import Glibc
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

/// How connections of sessions end, as the kernel tells: what may be unread is announced.
@Suite(.timeLimit(.minutes(15))) struct SocketPartingTests {
    /// How a client leaves a connection.
    enum Way: CaseIterable, CustomTestStringConvertible {
        /// As the kernel does for a process that is killed.
        case close
        /// As redis-py does; the reset comes behind the end.
        case shutdownAndClose
        /// The node ends the connection.
        case quit

        var testDescription: String { "\(self)" }
    }

    static let notice = "*5\r\n$3\r\ngap\r\n$4\r\nuser\r\n$3\r\nann\r\n:0\r\n:0\r\n"
    static let message = TestSocket.command(["user", "ann", "hello"])

    private static func connect(_ reactor: TestReactor, _ isUnix: Bool) throws -> TestSocket {
        isUnix ? try TestSocket(path: reactor.path) : try TestSocket(reactor.redis)
    }

    /// Begins a session of ann; returns its token.
    private static func begin(_ socket: TestSocket) throws -> String {
        try socket.send(TestSocket.command(["MESH.ATTACH", "ann", "SESSION"]))
        let reply = try socket.receive(count: 5 + 49 + 2)
        return String(decoding: reply[5..<54], as: UTF8.self)
    }

    /// A new connection that shows the token: what it reads up to the answer of the PING behind.
    private static func resume(
        _ reactor: TestReactor, _ token: String, isUnix: Bool = false
    ) throws -> (TestSocket, String) {
        let socket = try connect(reactor, isUnix)
        try socket.send(
            TestSocket.command(["MESH.ATTACH", "ann", "RESUME", token])
                + TestSocket.command(["PING"]))
        let reply = try socket.receive(until: "+PONG\r\n")
        #expect(reply.hasPrefix("$49\r\n"))
        return (socket, String(reply.dropFirst("$49\r\n\r\n".count + 49)))
    }

    /// Sends the message until the user is found; it has come to the client's kernel then.
    private static func greet(_ reactor: TestReactor, _ socket: TestSocket) throws {
        try TestSocket(reactor.redis).call(
            "MESH.SEND", "ann", "hello", expecting: ":1\r\n")
        try eventually("the message has come") {
            var bytes = [UInt8](repeating: 0, count: 256)
            return recv(socket.descriptor, &bytes, bytes.count, Int32(MSG_PEEK))
                >= message.count
        }
    }

    private static func leave(_ socket: inout TestSocket?, _ way: Way) throws {
        switch way {
        case .close: break
        case .shutdownAndClose:
            shutdown(socket!.descriptor, Int32(SHUT_RDWR))
            // The node has seen the end by then.
            usleep(30_000)
        case .quit:
            try socket!.send(TestSocket.command(["QUIT"]))
            usleep(30_000)
        }
        // The only reference: this closes it.
        socket = nil
    }

    @Test(arguments: Way.allCases, [false, true])
    func `a notice announces what a client left unread`(_ way: Way, isUnix: Bool) throws {
        let reactor = try TestReactor { $0.limits.partingTime = .seconds(5) }
        var socket: TestSocket? = try Self.connect(reactor, isUnix)
        let token = try Self.begin(socket!)
        try Self.greet(reactor, socket!)
        try Self.leave(&socket, way)
        try reactor.waitForMetric("session_partings_lost_total", 1)
        let (_, rest) = try Self.resume(reactor, token, isUnix: isUnix)
        #expect(rest == Self.notice + "+PONG\r\n")
        #expect(try reactor.metric("gap_notices_total") == 1)
    }

    @Test(arguments: Way.allCases, [false, true])
    func `a client that had read everything gets no notice`(_ way: Way, isUnix: Bool) throws {
        let reactor = try TestReactor { $0.limits.partingTime = .milliseconds(50) }
        var socket: TestSocket? = try Self.connect(reactor, isUnix)
        let token = try Self.begin(socket!)
        try Self.greet(reactor, socket!)
        #expect(try socket!.receive(count: Self.message.count) == Self.message)
        if way == .quit {
            try socket!.call("QUIT", expecting: "+OK\r\n")
            #expect(try socket!.receive().isEmpty)
            try Self.leave(&socket, .close)
        } else {
            try Self.leave(&socket, way)
        }
        try reactor.waitForMetric("sessions_waiting", 1)
        // And nothing comes later: all that lingered is gone.
        usleep(100_000)
        let (again, rest) = try Self.resume(reactor, token)
        #expect(rest == "+PONG\r\n")
        try again.call("PING", expecting: "+PONG\r\n")
        #expect(try reactor.metric("session_partings_lost_total") == 0)
    }

    @Test func `the taker of a session gets a notice if the former client did not read`() throws {
        let reactor = try TestReactor {
            $0.limits.lingerTime = .milliseconds(100)
            $0.server.gateway.sessionCountMax = 10_000
            $0.server.gateway.sessionBytesMax = 64 * 1024 * 1024
        }
        let standing = try TestSocket(reactor.redis)
        let token = try Self.begin(standing)
        let sender = try TestSocket(reactor.redis)
        let payload = String(repeating: "x", count: 16_000)
        // More than fits the kernel's buffers on both sides.
        for _ in 0..<16 {
            var commands: [UInt8] = []
            for _ in 0..<64 { commands += TestSocket.command(["MESH.SEND", "ann", payload]) }
            try sender.send(commands)
            _ = try sender.receive(count: 64 * 4)
        }
        let socket = try TestSocket(reactor.redis)
        try socket.send(TestSocket.command(["MESH.ATTACH", "ann", "RESUME", token]))
        // It may come amid what waited.
        var end = ""
        while !end.contains(Self.notice) {
            end = String(end.suffix(Self.notice.utf8.count))
            end += String(decoding: try socket.receive(), as: UTF8.self)
        }
        #expect(try reactor.metric("session_partings_lost_total") == 1)
        _ = consume standing
    }

    /// Where nothing can be waited for the kernel is asked once.
    @Test(arguments: [false, true])
    func `no former connection lingers where there is no room for it`(
        _ reads: Bool
    ) throws {
        let reactor = try TestReactor { $0.limits.lingeringCount = 0 }
        var socket: TestSocket? = try TestSocket(reactor.redis)
        let token = try Self.begin(socket!)
        try Self.greet(reactor, socket!)
        if reads { _ = try socket!.receive(count: Self.message.count) }
        try Self.leave(&socket, .close)
        try reactor.waitForMetric("sessions_waiting", 1)
        let (_, rest) = try Self.resume(reactor, token)
        #expect(rest == (reads ? "" : Self.notice) + "+PONG\r\n")
    }

    @Test func `a connection that is read to its end after its session has moved has lost nothing`()
        throws
    {
        let reactor = try TestReactor { $0.limits.lingerTime = .milliseconds(200) }
        var standing: TestSocket? = try TestSocket(reactor.redis)
        let token = try Self.begin(standing!)
        try Self.greet(reactor, standing!)
        let (socket, rest) = try Self.resume(reactor, token)
        #expect(rest == "+PONG\r\n")
        let end = String(decoding: Self.message, as: UTF8.self)
        #expect(try standing!.receiveAll() == end)
        try Self.leave(&standing, .close)
        usleep(250_000)
        try socket.call("PING", expecting: "+PONG\r\n")
        #expect(try reactor.metric("session_partings_lost_total") == 0)
    }

    @Test func `the taker of a session gets no notice if the former client had read all`() throws {
        let reactor = try TestReactor()
        let standing = try TestSocket(reactor.redis)
        let token = try Self.begin(standing)
        try Self.greet(reactor, standing)
        #expect(try standing.receive(count: Self.message.count) == Self.message)
        // The command acknowledges what has come before it.
        try standing.call("PING", expecting: "+PONG\r\n")
        let (_, rest) = try Self.resume(reactor, token)
        #expect(rest == "+PONG\r\n")
        #expect(try standing.receive().isEmpty, "the old connection is ended")
        _ = consume standing
        #expect(try reactor.metric("session_partings_lost_total") == 0)
    }

    @Test
    func `messages left unread on the old connection of a moved session are announced`()
        throws
    {
        let first = try TestReactor { $0.limits.lingerTime = .seconds(5) }
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        try first.waitForMetric("links", 1)
        var standing: TestSocket? = try TestSocket(first.redis)
        let token = try Self.begin(standing!)
        try Self.greet(first, standing!)
        // So that it is acknowledged: for a sign of life the client needs not read.
        try standing!.send(TestSocket.command(["MESH.GAPS", "OFF"]))
        usleep(50_000)
        let (socket, rest) = try Self.resume(second, token)
        #expect(rest == "+PONG\r\n")
        #expect(try first.metric("session_partings_lost_total") == 0)
        try Self.leave(&standing, .close)
        #expect(try socket.receive(until: Self.notice) == Self.notice)
    }
}
