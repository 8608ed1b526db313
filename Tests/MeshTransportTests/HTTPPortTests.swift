import MeshWire
import Testing

@testable import MeshTransport

@Suite(.timeLimit(.minutes(15))) struct HTTPPortTests {
    @Test func `a first node is healthy and ready`() throws {
        let reactor = try TestReactor()
        #expect(try reactor.get("/healthz") == "ok\n")
        #expect(try reactor.get("/readyz") == "ready\n")
    }

    @Test func `a node whose seed does not answer is healthy and not ready`() throws {
        let nobody = try Listeners(
            mesh: Endpoint(ipv4: 0x7F00_0001, port: 0), redis: nil, http: nil)
        let reactor = try TestReactor(seeds: [nobody.meshEndpoint])
        #expect(try reactor.get("/healthz") == "ok\n")
        let socket = try TestSocket(reactor.http)
        try socket.send("GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
        let answer = try socket.receiveAll()
        #expect(answer.hasPrefix("HTTP/1.1 503 "))
        #expect(answer.contains("joining"))
    }

    @Test func `every metric has help and type and one value per series`() throws {
        let reactor = try TestReactor()
        var described: Set<String> = []
        var typed: Set<String> = []
        var series: Set<String> = []
        for line in try reactor.get("/metrics").split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 3).map(String.init)
            if line.hasPrefix("# HELP ") {
                #expect(described.insert(words[2]).inserted)
            } else if line.hasPrefix("# TYPE ") {
                #expect(typed.insert(words[2]).inserted)
                #expect(
                    words[3] == "gauge" || words[3] == "counter" && words[2].hasSuffix("_total"))
            } else {
                let name = line.prefix { $0 != "{" && $0 != " " }
                #expect(described.contains(String(name)) && typed.contains(String(name)))
                #expect(series.insert(String(line.prefix { $0 != " " })).inserted)
                #expect(Double(line.split(separator: " ").last!) != nil)
            }
        }
        #expect(series.contains("smallworld_members"))
    }

    @Test func `requests in one packet are answered in order on one connection`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.http)
        try socket.send(
            "GET /healthz HTTP/1.1\r\n\r\nHEAD /healthz HTTP/1.1\r\n\r\n"
                + "GET /nothing HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\nConnection: close\r\n\r\n")
        let answer = try socket.receiveAll()
        let statuses = answer.split(separator: "HTTP/1.1 ").map { String($0.prefix(3)) }
        #expect(statuses == ["200", "200", "404", "405"])
        #expect(answer.components(of: "ok\n") == 1)
    }

    @Test func `a head may come byte by byte`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.http)
        for byte in "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n".utf8 {
            try socket.send([byte])
        }
        #expect(try socket.receiveAll().hasSuffix("ok\n"))
    }

    @Test func `a head that does not end in time closes the connection`() throws {
        let reactor = try TestReactor { $0.limits.httpHeadTime = .milliseconds(150) }
        let socket = try TestSocket(reactor.http)
        try socket.send("GET /healthz HTTP/1.1\r\nX-Slow")
        #expect(try socket.receiveAll(seconds: 3) == "")
        #expect(try reactor.metric("http_timed_out_total") == 1)
    }

    @Test func `a head that is too long is refused`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.http)
        _ = socket.sendSome(
            Array("GET / HTTP/1.1\r\nX: ".utf8) + [UInt8](repeating: 0x78, count: 40_000))
        #expect(try socket.receiveAll().hasPrefix("HTTP/1.1 431 "))
        #expect(try reactor.metric("http_refused_total") == 1)
    }

    @Test func `beyond the bound silent connections make room and are counted`() throws {
        let reactor = try TestReactor { $0.limits.httpConnectionCount = 2 }
        let first = try TestSocket(reactor.http)
        let second = try TestSocket(reactor.http)
        try first.send("GET /healthz HTTP/1.1\r\n\r\n")
        _ = try first.receive()
        let third = try TestSocket(reactor.http)
        #expect(try second.receiveAll() == "")
        try first.send("GET /healthz HTTP/1.1\r\n\r\n")
        #expect(String(decoding: try first.receive(), as: UTF8.self).hasSuffix("ok\n"))
        try third.send("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
        #expect(try third.receiveAll().contains("smallworld_http_timed_out_total 1\n"))
    }

    @Test func `a probe is answered beside many silent connections`() throws {
        let reactor = try TestReactor { $0.limits.httpConnectionCount = 8 }
        var silent: [TestSocket] = []
        for _ in 0..<20 { silent.append(try TestSocket(reactor.http)) }
        let probe = try TestSocket(reactor.http)
        try probe.send("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        #expect(try probe.receiveAll().hasSuffix("ok\n"))
        #expect(silent.count == 20)
    }

    @Test func `a client that sends and closes its side still gets its answer`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.http)
        try socket.send("GET /healthz HTTP/1.1\r\n\r\n")
        socket.finishSending()
        #expect(try socket.receiveAll().hasSuffix("ok\n"))
    }
}

extension String {
    fileprivate func components(of part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
