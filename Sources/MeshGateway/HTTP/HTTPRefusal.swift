/// The reason why a request gets no answer of its own, and the one table of what HTTP says then.
public enum HTTPRefusal: Equatable, Sendable {
    /// The bytes are no request.
    case malformed
    /// The head does not end within its bound.
    case headTooLong
    /// Neither HTTP/1.0 nor HTTP/1.1.
    case unknownVersion
    /// The request has a body.
    case hasBody
    /// Neither GET nor HEAD.
    case unknownMethod
    case unknownPath
    /// The node does not serve.
    case notReady(reason: String)

    /// The whole answer.
    public var response: HTTPResponse {
        switch self {
        case .malformed: Self.response(400, "Bad Request")
        case .headTooLong: Self.response(431, "Request Header Fields Too Large")
        case .unknownVersion: Self.response(505, "HTTP Version Not Supported")
        case .hasBody: Self.response(413, "Content Too Large")
        case .unknownMethod: Self.response(405, "Method Not Allowed", "Only GET and HEAD.")
        case .unknownPath:
            Self.response(404, "Not Found", "There are /healthz, /readyz and /metrics.")
        case .notReady(let reason): Self.response(503, "Service Unavailable", reason)
        }
    }

    /// A line for people; nil: the status in words.
    private static func response(
        _ status: Int, _ reason: String, _ line: String? = nil
    ) -> HTTPResponse {
        HTTPResponse(status: status, reason: reason, body: (line ?? reason) + "\n")
    }
}
