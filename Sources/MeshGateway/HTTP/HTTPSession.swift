import MeshWire

/// One HTTP/1.1 connection: requests in, responses out, one at a time and in order.
///
///     waiting ─ request ─▶ answering ─ respond ─▶ waiting, or ending when it is not kept alive
///     waiting ─ nonsense ─▶ ending: the refusal is in the output
public struct HTTPSession: ~Copyable {
    private enum State {
        case waiting
        case answering(HTTPRequest)
        case ending
    }

    private var state = State.waiting
    /// The bytes to send; the driver takes them from its front.
    public var output = ByteQueue()
    /// Requests answered, refusals included.
    public private(set) var requestCount = 0

    public init() {}

    public enum Event: Equatable, Sendable {
        /// Answer it with `respond`, then call `next` again.
        case request(HTTPRequest)
        /// Call again when more bytes are there; at most `HTTPRequest.headBytesMax` are waited for.
        case incomplete
        /// Send the output, then close.
        case end
    }

    /// Takes one request from `input[offset...]` and moves `offset` past it.
    public mutating func next(_ input: Span<UInt8>, at offset: inout Int) -> Event {
        switch state {
        case .answering(let request): return .request(request)
        case .ending: return .end
        case .waiting: break
        }
        switch HTTPRequest.parse(input, at: offset) {
        case .incomplete:
            return .incomplete
        case .request(let request, let size):
            offset += size
            state = .answering(request)
            return .request(request)
        case .refused(let status):
            HTTPResponse(status, "\(status.reason)\n")
                .append(to: &output, method: .get, keepsAlive: false)
            requestCount += 1
            state = .ending
            return .end
        }
    }

    /// Answers the request that `next` has returned.
    public mutating func respond(_ response: HTTPResponse) {
        guard case .answering(let request) = state else {
            preconditionFailure("there is no request to answer")
        }
        response.append(to: &output, method: request.method, keepsAlive: request.keepsAlive)
        requestCount += 1
        state = request.keepsAlive ? .waiting : .ending
    }
}
