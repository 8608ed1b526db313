import MeshCore
import MeshServer
import MeshWire
import Testing

/// A server's reports about itself.
@Suite struct ReportTests {
    /// The fields of MESH.STATUS of a RESP2 client.
    private static func status(_ servers: Servers, _ client: ClientIndex) -> [String: String] {
        let words = servers.exchange(client, "MESH.STATUS\r\n").split(
            separator: "·", omittingEmptySubsequences: false)
        var fields: [String: String] = [:]
        var items: [String] = []
        var at = 1
        while at < words.count, !words[at].isEmpty {
            if words[at].hasPrefix("$") {
                items.append(String(words[at + 1]))
                at += 2
            } else {
                items.append(String(words[at].dropFirst()))
                at += 1
            }
        }
        for place in stride(from: 0, to: items.count - 1, by: 2) {
            fields[items[place]] = items[place + 1]
        }
        return fields
    }

    /// The samples of /metrics without labels.
    private static func samples(_ text: String) -> [String: String] {
        var samples: [String: String] = [:]
        for line in text.split(separator: "\n") where line.hasPrefix("smallworld_") {
            let words = line.split(separator: " ")
            samples[String(words[0].dropFirst("smallworld_".count))] = String(words[1])
        }
        return samples
    }

    /// As the counter is called in /metrics.
    private static func series(_ name: String) -> String {
        name.map { $0.isUppercase ? "_\($0.lowercased())" : "\($0)" }.joined() + "_total"
    }

    @Test func `MESH STATUS and metrics tell the same of the same server`() {
        let servers = Servers(3)
        let client = servers.open()
        let subscriber = servers.open()
        _ = servers.exchange(subscriber, "SUBSCRIBE a b\r\nPSUBSCRIBE p*\r\n")
        _ = servers.exchange(servers.open(1), "MESH.ATTACH ann SESSION\r\n", 1)
        servers.run(for: .seconds(1))
        _ = servers.exchange(client, "PUBLISH a x\r\nMESH.SEND ann y\r\n")
        servers.run(for: .seconds(1))
        let fields = Self.status(servers, client)
        let metrics = servers.get("/metrics")
        let samples = Self.samples(metrics)
        let expected = [
            "ready": "1", "members": "3", "links": "2", "clients": "2", "sessions": "0",
            "patterns": "1", "rooms": "0",
        ]
        for (name, value) in expected {
            #expect(fields[name] == value, "\(name)")
            #expect(samples[name] == value, "\(name)")
        }
        // ann on the other node, a and b here.
        #expect(fields["entries"] == "3" && samples["directory_entries"] == "3")
        #expect(fields["name"] == "n0" && fields["version"] == Version.current)
        #expect(metrics.contains(#"build_info{version="\#(Version.current)",node="n0",id=""#))
        // Every counter stands in both, with one value.
        var count = 0
        for (name, value) in fields {
            guard let sample = samples[Self.series(name)] else { continue }
            count += 1
            #expect(sample == value, "\(name)")
        }
        let counters = samples.keys.filter { $0.hasSuffix("_total") && !$0.contains("{") }
        #expect(count == counters.count && count > 50)
        #expect(fields["publishersPaused"] == "0")
    }

    @Test func `a report that needs the driver's facts has them, and the next command waits`() {
        let servers = Servers(2)
        servers.mesh.hosts[0].facts.redisPort = 7_379
        servers.mesh.hosts[0].facts.hostLines = ["os:none"]
        let client = servers.open()
        let reply = servers.exchange(client, "INFO server\r\nPING\r\nMESH.LINKS\r\nPING\r\n")
        #expect(reply.contains("·tcp_port:7379·") && reply.contains("·os:none·"))
        #expect(reply.contains("·+PONG·*1·") && reply.hasSuffix("·+PONG·"))
        #expect(reply.contains("$11·queuedBytes·:0·"))
    }

    @Test func `INFO and metrics count the seconds that a server has lived`() {
        let servers = Servers()
        servers.run(for: .seconds(90))
        let client = servers.open()
        let info = servers.exchange(client, "INFO server\r\n")
        // The three seconds in which it was to find the others.
        #expect(info.contains("·uptime_in_seconds:93·"))
        #expect(Self.samples(servers.get("/metrics"))["uptime_seconds"] == "93")
    }

    @Test(arguments: [
        ("/healthz", "HTTP/1.1 200 "), ("/readyz", "HTTP/1.1 200 "),
        ("/metrics", "HTTP/1.1 200 "), ("/nothing", "HTTP/1.1 404 "),
    ])
    func `the monitoring port has three pages`(path: String, status: String) {
        let servers = Servers()
        #expect(servers.get(path).hasPrefix(status))
    }

    @Test(arguments: [
        ("GET /metrics HTTP/1.1", OtherProtocol.httpRequest), ("*1\r\n$4", .redisCommand),
        ("PING", .redisCommand), ("+PONG\r\n", .redisAnswer), ("-LOADING", .redisAnswer),
        ("HTTP/1.1 400", .httpAnswer), ("SSH-2.0", .ssh), ("PROXY TCP4", .proxy),
        ("\u{16}\u{3}\u{1}\u{2}", .tls),
    ])
    func `the first bytes of a stranger at the mesh port tell its protocol`(
        text: String, other: OtherProtocol
    ) {
        let bytes = Array(text.utf8)
        let start = Array(bytes.prefix(3))
        #expect(OtherProtocol(bytes.span, at: 0) == other)
        #expect(OtherProtocol(start.span, at: 0) == nil)
    }

    @Test func `a peer that is no node is logged with its address, reason and a hint`() {
        let servers = Servers()
        let line = servers.mesh.hosts[0].server.breach(
            "linkMisbehaved", at: Endpoint(ipv4: 0x0A00_0063, port: 4_000), by: nil, "no frame",
            hint: OtherProtocol.httpRequest.hint)
        let words = line.fields.map { field in
            if case .text(let text) = field.1 { "\(field.0)=\(text)" } else { field.0 }
        }
        #expect(line.level == .warning && line.event == "linkMisbehaved")
        #expect(
            words == [
                "address=10.0.0.99:4000", "reason=no frame",
                "hint=it sends HTTP requests, which the HTTP port takes; this is the mesh port",
            ])
    }
}
