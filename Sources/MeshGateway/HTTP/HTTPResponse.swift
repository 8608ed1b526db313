import MeshWire

/// The statuses that a node answers with.
public enum HTTPStatus: Int, Sendable {
    case ok = 200
    case badRequest = 400
    case notFound = 404
    case methodNotAllowed = 405
    case headTooLarge = 431
    case unavailable = 503

    public var reason: String {
        switch self {
        case .ok: "OK"
        case .badRequest: "Bad Request"
        case .notFound: "Not Found"
        case .methodNotAllowed: "Method Not Allowed"
        case .headTooLarge: "Request Header Fields Too Large"
        case .unavailable: "Service Unavailable"
        }
    }
}

/// An answer with a body of known length.
public struct HTTPResponse: Sendable {
    public var status: HTTPStatus
    public var contentType: String
    public var body: [UInt8]

    public init(
        _ status: HTTPStatus, _ body: String, contentType: String = "text/plain; charset=utf-8"
    ) {
        self.status = status
        self.contentType = contentType
        self.body = Array(body.utf8)
    }

    /// Appends the response; to HEAD the head alone, with the length that GET would have had.
    func append(to queue: inout ByteQueue, method: HTTPRequest.Method, keepsAlive: Bool) {
        var head = "HTTP/1.1 \(status.rawValue) \(status.reason)\r\n"
        head += "Content-Type: \(contentType)\r\nContent-Length: \(body.count)\r\n"
        head += "Cache-Control: no-store\r\n"
        if status == .methodNotAllowed { head += "Allow: GET, HEAD\r\n" }
        head += keepsAlive ? "\r\n" : "Connection: close\r\n\r\n"
        queue.append(Array(head.utf8))
        if method == .get { queue.append(body) }
    }
}
