import CLinux
import Glibc
import MeshGateway
import MeshWire
import Smallworld
import Testing

@testable import MeshTransport
@testable import NodeCommand

/// Redis clients over a Unix socket, and its file.
@Suite(.timeLimit(.minutes(15))) struct UnixSocketTests {
    private static let any = Endpoint(ipv4: 0x7F00_0001, port: 0)

    private static func listen(_ socket: UnixSocket) throws -> Listeners {
        try Listeners(mesh: any, redis: nil, redisSocket: socket, http: nil)
    }

    private static func facts(_ path: String) -> stat? {
        var facts = stat()
        return lstat(path, &facts) == 0 ? facts : nil
    }

    /// Leaves what a killed process leaves.
    private static func makeStale(_ path: String) throws {
        close(try SystemError.check(linux_bind_path(path, 0o600), "bind"))
    }

    // MARK: The file

    @Test func `the file has its mode, and goes when the listener closes`() throws {
        for mode in [0o600, 0o660, 0o777] as [UInt32] {
            let path = temporaryPath()
            let listeners = try Self.listen(UnixSocket(path: path, mode: mode))
            #expect(Self.facts(path)!.st_mode & 0o7777 == mode)
            _ = try TestSocket(path: path)
            listeners.close()
            #expect(Self.facts(path) == nil)
        }
    }

    @Test func `the file is given to a user and a group`() throws {
        let path = temporaryPath()
        let listeners = try Self.listen(
            UnixSocket(path: path, owner: getuid(), group: getgid()))
        #expect(Self.facts(path)!.st_uid == getuid() && Self.facts(path)!.st_gid == getgid())
        listeners.close()
    }

    @Test func `a file at which nobody answers is replaced`() throws {
        let path = temporaryPath()
        try Self.makeStale(path)
        let listeners = try Self.listen(UnixSocket(path: path))
        _ = try TestSocket(path: path)
        listeners.close()
    }

    @Test func `a file at which somebody answers stays`() throws {
        let path = temporaryPath()
        let first = try Self.listen(UnixSocket(path: path))
        #expect {
            _ = try Self.listen(UnixSocket(path: path))
        } throws: { error in
            let error = error as! SystemError
            return error.isAddressInUse && error.advice.contains("another process answers")
        }
        _ = try TestSocket(path: path)
        first.close()
    }

    @Test func `a file that is no socket stays`() throws {
        let path = temporaryPath()
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        defer { unlink(path) }
        #expect {
            _ = try Self.listen(UnixSocket(path: path))
        } throws: {
            "\($0)".contains("no socket")
        }
        #expect(Self.facts(path) != nil)
    }

    @Test func `a file that has replaced the node's own is left alone`() throws {
        let path = temporaryPath()
        let listeners = try Self.listen(UnixSocket(path: path))
        unlink(path)
        try Self.makeStale(path)
        listeners.close()
        #expect(Self.facts(path) != nil)
        unlink(path)
    }

    @Test func `of many nodes that start at one stale file, one gets it`() async throws {
        for _ in 0..<20 {
            let path = temporaryPath()
            try Self.makeStale(path)
            let winners = await withTaskGroup(of: Listeners?.self) { group in
                for _ in 0..<4 {
                    group.addTask { try? Self.listen(UnixSocket(path: path)) }
                }
                return await group.reduce(into: []) { all, one in all += one.map { [$0] } ?? [] }
            }
            #expect(winners.count == 1)
            _ = try TestSocket(path: path)
            winners[0].close()
        }
    }

    @Test func `a missing directory is an error that says so`() {
        #expect {
            _ = try Self.listen(UnixSocket(path: "/nowhere/at/all.sock"))
        } throws: {
            "\($0)" == "cannot listen on unix:/nowhere/at/all.sock (--redis): No such file or "
                + "directory; make its directory first"
        }
    }

    @Test func `the longest path works, and a longer one is refused`() throws {
        let longest = "/tmp/" + String(repeating: "x", count: UnixSocket.pathBytesMax - 5)
        let listeners = try Self.listen(UnixSocket(path: longest))
        _ = try TestSocket(path: longest)
        listeners.close()
        #expect {
            _ = try Self.listen(UnixSocket(path: longest + "x"))
        } throws: {
            ($0 as! SystemError).code == ENAMETOOLONG
        }
    }

    // MARK: Clients

    @Test func `a client is shown as Redis shows it, and is the operator`() throws {
        let reactor = try TestReactor()
        let client = try TestSocket(path: reactor.path)
        try client.send(TestSocket.command(["CLIENT", "INFO"]))
        let line = try client.receive(until: "\n\r\n")
        #expect(line.contains(" addr=\(reactor.path):0 laddr=\(reactor.path):0 "))
        #expect(line.contains(" flags=U "))
        try client.call("CONFIG", "SET", "timeout", "0", expecting: "+OK\r\n")
        let other = try TestSocket(reactor.redis)
        try other.call(
            "CLIENT", "KILL", "LADDR", "\(reactor.path):0", expecting: ":1\r\n")
        #expect(try client.receive().isEmpty)
        try other.call("PING", expecting: "+PONG\r\n")
    }

    @Test func `with a password alone a client is the operator without it`() throws {
        let reactor = try TestReactor { $0.server.gateway.credentials.password = "p" }
        try TestSocket(path: reactor.path)
            .call("CONFIG", "SET", "timeout", "0", expecting: "+OK\r\n")
        try TestSocket(reactor.redis)
            .call("PING", expecting: "-NOAUTH Authentication required.\r\n")
    }

    @Test func `messages pass between the Unix socket and the port`() throws {
        let reactor = try TestReactor()
        let near = try TestSocket(path: reactor.path)
        let far = try TestSocket(reactor.redis)
        try near.subscribe("a")
        try far.publishUntilHeard("a", "x")
        #expect(
            try near.receive(count: TestSocket.message("a", "x").count)
                == TestSocket.message("a", "x"))
    }

    @Test(arguments: [false, true])
    func `what a client sent before it went is carried out, also after a pause`(
        isUnix: Bool
    ) throws {
        let reactor = try TestReactor()
        try reactor.waitUntilReady()
        let listener = try TestSocket(reactor.redis)
        try listener.subscribe("a")
        try TestSocket(reactor.redis).call("CLIENT", "PAUSE", "1000", expecting: "+OK\r\n")
        var sender: TestSocket? =
            isUnix ? try TestSocket(path: reactor.path) : try TestSocket(reactor.redis)
        let command = TestSocket.command(["PUBLISH", "a", "x"])
        try sender!.send([UInt8](([[UInt8]](repeating: command, count: 100)).joined()))
        // The only reference: this closes it, while its commands wait.
        sender = nil
        usleep(50_000)
        let before = try reactor.metric("wake_ups_total")
        #expect(before > 0)
        usleep(200_000)
        // An end that the kernel reports again and again would keep the loop busy: thousands.
        #expect(try reactor.metric("wake_ups_total") - before < 100)
        let message = TestSocket.message("a", "x")
        let all = try listener.receive(count: 100 * message.count)
        #expect(all.count == 100 * message.count && all.starts(with: message))
    }

    @Test func `a node with a Unix socket alone sends its clients to no address`() throws {
        let path = temporaryPath()
        var options = MeshNode.Options()
        options.mesh.port = 0
        options.http = nil
        options.redis = nil
        options.redisSocket = RedisSocket(path: path)
        options.log.level = .error
        let node = try MeshNode(options)
        #expect(node.ports.redis == nil && node.ports.redisSocket == path)
        node.stop()
        try node.runBlocking()
        #expect(Self.facts(path) == nil)
    }

    @Test func `status asks over the socket`() throws {
        let reactor = try TestReactor()
        let client = try RESPClient(.file(reactor.path), seconds: 5)
        #expect(try client.call(["MESH.STATUS"])["ready"] == .integer(1))
        #expect {
            _ = try RESPClient(.file(reactor.path + "x"), seconds: 5)
        } throws: {
            "\($0)".hasPrefix("cannot connect to unix:\(reactor.path)x: No such file")
        }
    }

    // MARK: Words

    private static func options(_ values: [String: [String]]) throws -> MeshNode.Options {
        try NodeSubcommand.options(values)
    }

    @Test func `the socket is a setting, with the port or without it`() throws {
        let alone = try Self.options([
            "redis": ["unix:/run/a"], "redis-socket-mode": ["0600"],
            "redis-socket-owner": ["ann:users"],
        ])
        #expect(alone.redis == nil)
        #expect(alone.redisSocket == RedisSocket(path: "/run/a", mode: 0o600, owner: "ann:users"))
        let both = try Self.options(["redis": ["unix:///run/a", "127.0.0.1:1"]])
        #expect(both.redis == HostPort(host: "127.0.0.1", port: 1))
        #expect(both.redisSocket == RedisSocket(path: "/run/a", mode: 0o660))
    }

    @Test(arguments: [
        ["redis": ["unix:a"]], ["redis": ["unix:"]], ["redis": ["unix:/a", "unix:/b"]],
        ["redis": ["a:1", "b:1"]], ["redis": ["a:1", "off"]], ["redis": ["off", "off"]],
        ["redis-socket-mode": ["0888"], "redis": ["unix:/a"]],
        ["redis-socket-mode": ["1777"], "redis": ["unix:/a"]],
        ["redis-socket-mode": ["-1"], "redis": ["unix:/a"]],
        ["redis-socket-mode": [""], "redis": ["unix:/a"]],
    ]) func `a wrong setting is an error that names it`(values: [String: [String]]) {
        let name = values.keys.contains("redis-socket-mode") ? "redis-socket-mode" : "redis"
        #expect {
            try Self.options(values)
        } throws: {
            "\($0)".hasPrefix("\(name): ")
        }
    }

    @Test(arguments: [
        (RedisSocket(path: "a"), "is not the path of a file"),
        (RedisSocket(path: "/"), "is not the path of a file"),
        (RedisSocket(path: "/a\nb"), "contains control characters"),
        (RedisSocket(path: "/" + String(repeating: "é", count: 60)), "has a path of 121 bytes"),
        (RedisSocket(path: "/a", mode: 0o1000), "--redis-socket-mode 1000 is not within 0 … 777"),
        (RedisSocket(path: "/a", owner: ""), "is none of USER"),
        (RedisSocket(path: "/a", owner: "a:b:c"), "is none of USER"),
        (RedisSocket(path: "/a", owner: "root:"), "is none of USER"),
        (RedisSocket(path: "/a", owner: "no-such-user"), "names no user"),
        (RedisSocket(path: "/a", owner: ":no-such-group"), "names no group"),
        (RedisSocket(path: "/a", owner: "4294967295"), "names no user"),
    ]) func `a node with an impossible socket does not start`(
        socket: RedisSocket, reason: String
    ) {
        var options = MeshNode.Options()
        options.mesh.port = 0
        options.http = nil
        options.redis = nil
        options.redisSocket = socket
        #expect {
            _ = try MeshNode(options)
        } throws: {
            "\($0)".contains(reason)
        }
    }
}
