import MeshGateway
import MeshServer
import Testing

/// CONFIG SET: what is answered OK is what CONFIG GET shows, and what the node does.
@Suite struct ConfigurationTests {
    private func get(_ name: String, _ servers: Servers, _ client: ClientIndex) -> String {
        servers.exchange(client, "CONFIG GET \(name)\r\n")
    }

    @Test(arguments: [
        ("timeout", ["0", "1", "2147483647"], ["-1", "2147483648", "x", "", "1.5", "+"]),
        ("tcp-keepalive", ["0", "1", "60", "2147483647"], ["-1", "2147483648", "9e9"]),
        ("maxclients", ["1", "10000", "1000000"], ["0", "1000001", "-1", "many"]),
        ("loglevel", ["debug", "verbose", "notice", "warning"], ["error", "info", "loud", ""]),
        ("notify-keyspace-events", [""], ["A", "Ex", "K"]), ("save", [""], ["60 1"]),
        ("maxmemory-policy", ["noeviction"], ["allkeys-lru"]), ("appendonly", ["no"], ["yes"]),
        ("maxmemory", ["0"], ["1"]), ("databases", ["16"], ["17"]),
        (
            "client-output-buffer-limit",
            [
                "normal 0 0 0 slave 268435456 67108864 60 pubsub 16777216 8388608 30",
                "normal 100000 2 3 slave 4 5 6 pubsub 1073741824 0 2147483648",
            ],
            ["normal 1073741825 0 0", "pubsub 0 0 2147483649", "slave -1 0 0", "queue 1 1 1", ""]
        ),
    ]) func `a value is taken and shown, or refused and everything stays`(
        name: String, taken: [String], refused: [String]
    ) {
        let servers = Servers()
        let client = servers.open()
        for value in taken {
            let answer = servers.exchange(client, "CONFIG SET \(name) '\(value)'\r\n")
            #expect(answer == "+OK·", "\(value)")
            #expect(
                get(name, servers, client)
                    == "*2·$\(name.utf8.count)·\(name)·$\(value.utf8.count)·\(value)·")
            for wrong in refused {
                // A second one that is right does not happen either.
                let answer = servers.exchange(
                    client,
                    "CONFIG SET \(name == "timeout" ? "loglevel debug" : "timeout 77") "
                        + "\(name) '\(wrong)'\r\n")
                #expect(
                    answer.hasPrefix(
                        "-ERR CONFIG SET failed (possibly related to argument '\(name)') - "),
                    "\(wrong): \(answer)")
                #expect(get(name, servers, client).contains("·\(value)·"))
                #expect(!get("timeout", servers, client).contains("77"))
            }
        }
    }

    @Test func `a parameter that is named twice is refused`() {
        let servers = Servers()
        let answer = servers.exchange(servers.open(), "CONFIG SET timeout 5 timeout 6\r\n")
        #expect(
            answer == "-ERR CONFIG SET failed (possibly related to argument 'timeout') - "
                + "duplicate parameter·")
    }

    @Test func `silence beyond timeout ends a client, unless it is subscribed`() {
        let servers = Servers()
        let subscriber = servers.open()
        _ = servers.exchange(subscriber, "SUBSCRIBE a\r\n")
        let user = servers.open()
        _ = servers.exchange(user, "MESH.ATTACH ann\r\n")
        let idle = servers.open()
        let busy = servers.open()
        #expect(servers.exchange(busy, "CONFIG SET timeout 10\r\n") == "+OK·")
        for _ in 0..<30 {
            servers.run(for: .milliseconds(500))
            #expect(servers.exchange(busy, "PING\r\n") == "+PONG·")
        }
        #expect(servers.isEnded(idle))
        for client in [subscriber, user, busy] { #expect(!servers.isEnded(client)) }
        #expect(servers.exchange(busy, "CONFIG SET timeout 0\r\n") == "+OK·")
        servers.run(for: .seconds(3_600))
        #expect(!servers.isEnded(busy))
    }

    @Test func `the driver is told only of the parameters that it carries out`() {
        let servers = Servers()
        let client = servers.open()
        let first = servers.mesh.hosts[0].clientSettings
        #expect(first == nil)
        _ = servers.exchange(client, "CONFIG SET timeout 9 maxclients 7\r\n")
        let second = servers.mesh.hosts[0].clientSettings
        #expect(second == nil)
        _ = servers.exchange(client, "CONFIG SET tcp-keepalive 60 loglevel warning\r\n")
        let settings = servers.mesh.hosts[0].clientSettings
        #expect(settings == ClientSettings(keepAliveSeconds: 60, logLevel: .warning))
    }

    @Test func `beyond maxclients nobody comes, and those that are there stay`() {
        let servers = Servers()
        let clients = (0..<3).map { _ in servers.open() }
        #expect(servers.exchange(clients[0], "CONFIG SET maxclients 2\r\n") == "+OK·")
        let refused = servers.mesh.open(0)
        #expect(refused == nil)
        #expect(servers.exchange(clients[2], "PING\r\n") == "+PONG·")
        #expect(servers.exchange(clients[0], "CONFIG SET maxclients 4\r\n") == "+OK·")
        let taken = servers.mesh.open(0)
        #expect(taken != nil)
    }
}
