import Testing

@testable import MeshGateway

private func read(_ text: String, limit: Int = 1_024) -> HTTPHead {
    let bytes = Array(text.utf8)
    return HTTPHead.read(bytes.span, at: 0, limit: limit)
}

private func status(_ head: HTTPHead) -> Int? {
    if case .refused(let refusal) = head { refusal.response.status } else { nil }
}

@Suite struct HTTPHeadTests {
    private static let request = "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"

    @Test func `a head is read up to its empty line`() {
        let expected = HTTPRequest(method: "GET", path: "/metrics", keepsAlive: true)
        #expect(
            read(Self.request + "GET /")
                == .request(expected, end: Self.request.utf8.count))
    }

    @Test func `every shorter beginning of a head is incomplete`() {
        for count in 0..<Self.request.utf8.count {
            #expect(
                read(String(decoding: Self.request.utf8.prefix(count), as: UTF8.self))
                    == .incomplete)
        }
    }

    @Test(arguments: [
        "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\ncOnNection:\tCLOSE \r\n\r\n",
    ]) func `old versions and those that ask for it are not kept alive`(text: String) {
        guard case .request(let request, _) = read(text) else {
            Issue.record("refused")
            return
        }
        #expect(!request.keepsAlive)
    }

    @Test(arguments: [
        ("GET /\r\n\r\n", 400), ("GET  / HTTP/1.1\r\n\r\n", 400), ("\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400), ("GET / HTTP/1.1\r\nnothing\r\n\r\n", 400),
        ("GET /\u{1} HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/2\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 413),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
    ]) func `what is no plain request is refused`(text: String, expected: Int) {
        #expect(status(read(text)) == expected)
    }

    @Test func `a head beyond the limit is refused before it ends`() {
        #expect(
            status(read("GET / HTTP/1.1\r\nX: " + String(repeating: "x", count: 100), limit: 64))
                == 431)
        #expect(status(read(Self.request, limit: 16)) == 431)
    }
}
