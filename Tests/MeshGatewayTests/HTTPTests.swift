import MeshWire
import Testing

@testable import MeshGateway

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct HTTPTests {
    private static let request = "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"

    @Test func `a request is read whole and in any two pieces`() {
        let input = bytes(Self.request)
        let expected = HTTPRequest(method: .get, path: "/metrics", keepsAlive: true)
        for cut in 0...input.count {
            var session = HTTPSession()
            var offset = 0
            let part = Array(input[..<cut])
            let early = session.next(part.span, at: &offset)
            #expect(early == (cut == input.count ? .request(expected) : .incomplete))
            let event = session.next(input.span, at: &offset)
            #expect(event == .request(expected))
            #expect(offset == input.count)
        }
    }

    @Test func `requests in one piece are answered one by one`() {
        var session = HTTPSession()
        let input = bytes(
            "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nHEAD /x HTTP/1.1\r\nHost: a\r\n"
                + "Connection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        var offset = 0
        let first = session.next(input.span, at: &offset)
        #expect(first == .request(HTTPRequest(method: .get, path: "/healthz", keepsAlive: true)))
        session.respond(HTTPResponse(.ok, "ok\n"))
        let second = session.next(input.span, at: &offset)
        #expect(second == .request(HTTPRequest(method: .head, path: "/x", keepsAlive: false)))
        session.respond(HTTPResponse(.notFound, "not found\n"))
        let third = session.next(input.span, at: &offset)
        #expect(third == .end)
        let output = session.output.withSpan { String(decoding: Array(copying: $0), as: UTF8.self) }
        #expect(
            output == "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                + "Content-Length: 3\r\nCache-Control: no-store\r\n\r\nok\n"
                + "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
                + "Content-Length: 10\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")
    }

    @Test(arguments: [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", HTTPStatus.methodNotAllowed),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", .methodNotAllowed),
        ("GET / HTTP/1.1\r\n\r\n", .badRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", .badRequest),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .badRequest),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", .badRequest),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", .badRequest),
        ("GET /\r\n\r\n", .badRequest),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", .badRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", .badRequest),
        ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", .badRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", .badRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", .badRequest),
        ("GET /\u{7F} HTTP/1.1\r\nHost: a\r\n\r\n", .badRequest),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", .badRequest),
    ])
    func `what is no request of ours is refused and ends the connection`(
        _ row: (String, HTTPStatus)
    ) {
        var session = HTTPSession()
        var offset = 0
        let event = session.next(bytes(row.0).span, at: &offset)
        #expect(event == .end)
        let output = session.output.withSpan { String(decoding: Array(copying: $0), as: UTF8.self) }
        #expect(output.hasPrefix("HTTP/1.1 \(row.1.rawValue) \(row.1.reason)\r\n"))
        #expect(output.contains("Connection: close\r\n"))
    }

    @Test func `a head longer than 8 KiB is refused, however it comes`() {
        let field = "X: \(String(repeating: "a", count: 9_000))\r\n"
        let whole = bytes("GET / HTTP/1.1\r\nHost: a\r\n\(field)\r\n")
        for count in [HTTPRequest.headBytesMax, whole.count] {
            var session = HTTPSession()
            var offset = 0
            let event = session.next(Array(whole[..<count]).span, at: &offset)
            #expect(event == .end)
            let output = session.output.withSpan {
                String(decoding: Array(copying: $0), as: UTF8.self)
            }
            #expect(output.hasPrefix("HTTP/1.1 431 "))
        }
    }

    @Test func `HTTP 1.0 closes unless it asks otherwise`() {
        var session = HTTPSession()
        var offset = 0
        let old = bytes("GET / HTTP/1.0\r\n\r\n")
        let event = session.next(old.span, at: &offset)
        #expect(event == .request(HTTPRequest(method: .get, path: "/", keepsAlive: false)))
        var other = HTTPSession()
        offset = 0
        let kept = bytes("GET http://a.b/c HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n")
        let keptEvent = other.next(kept.span, at: &offset)
        #expect(keptEvent == .request(HTTPRequest(method: .get, path: "/c", keepsAlive: true)))
    }

    @Test func `random bytes never trap`() {
        var dice = Dice(state: 1)
        let alphabet = Array("GET /HP1.:\r\n\r\n \t*ab\u{0}".utf8)
        for _ in 0..<4_000 {
            var session = HTTPSession()
            var offset = 0
            let input = (0..<dice.roll(80)).map { _ in alphabet[dice.roll(alphabet.count)] }
            _ = session.next(input.span, at: &offset)
            let corrupted = bytes(Self.request).map {
                dice.roll(30) == 0 ? UInt8(dice.roll(256)) : $0
            }
            offset = 0
            var second = HTTPSession()
            _ = second.next(corrupted.span, at: &offset)
            #expect(offset <= corrupted.count)
        }
    }
}
