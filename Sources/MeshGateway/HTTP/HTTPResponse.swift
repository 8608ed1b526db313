/// An answer of the monitoring port, with a body of text.
public struct HTTPResponse: Sendable {
    public var status: Int
    public var reason: String
    public var contentType: String
    public var body: String

    public init(
        status: Int, reason: String, contentType: String = "text/plain; charset=utf-8",
        body: String
    ) {
        self.status = status
        self.reason = reason
        self.contentType = contentType
        self.body = body
    }

    /// The whole response; without its body (`hasBody` false) to HEAD, with the length that GET
    /// would have had.
    public func bytes(keepsAlive: Bool, hasBody: Bool) -> [UInt8] {
        let content = Array(body.utf8)
        let head =
            "HTTP/1.1 \(status) \(reason)\r\nContent-Type: \(contentType)\r\n"
            + "Content-Length: \(content.count)\r\n"
            + (status == 405 ? "Allow: GET, HEAD\r\n" : "")
            + (keepsAlive ? "" : "Connection: close\r\n") + "\r\n"
        return Array(head.utf8) + (hasBody ? content : [])
    }
}
