import MeshGateway
import MeshWire

/// The result of reading an HTTP connection's input.
public struct HTTPStep: Sendable {
    /// Bytes of the input that were used up.
    public var used = 0
    /// The connection ends when its answers have left.
    public var isEnding = false
    /// An answer was written.
    public var hasAnswered = false
}

// The monitoring port: /healthz, /readyz and /metrics.

extension Server {
    /// Answers the requests that have arrived on one connection.
    ///
    /// - Parameters:
    ///   - headBytesMax: a longer head is answered with 431.
    ///   - waitingMax: above so many bytes of answers that nobody has read the connection ends.
    ///   - refusals: counts requests that are none.
    ///   - output: what waits to be sent.
    public func answerHTTP(
        _ bytes: Span<UInt8>, headBytesMax: Int, waitingMax: Int, facts: DriverFacts,
        refusals: inout UInt64, into output: inout ByteQueue
    ) -> HTTPStep {
        var step = HTTPStep()
        while !step.isEnding {
            switch HTTPHead.read(bytes, at: step.used, limit: headBytesMax) {
            case .incomplete: return step
            case .refused(let status, let reason):
                refusals &+= 1
                let response = HTTPResponse(status: status, reason: reason, body: reason + "\n")
                output.append(response.bytes(keepsAlive: false, hasBody: true))
                step.isEnding = true
            case .request(let request, let end):
                step.used = end
                let keepsAlive = request.keepsAlive && output.count < waitingMax
                output.append(
                    response(to: request, facts).bytes(
                        keepsAlive: keepsAlive, hasBody: request.method != "HEAD"))
                step.isEnding = !keepsAlive
            }
            step.hasAnswered = true
        }
        step.used = bytes.count
        return step
    }

    private func response(to request: HTTPRequest, _ facts: DriverFacts) -> HTTPResponse {
        guard request.method == "GET" || request.method == "HEAD" else {
            return HTTPResponse(
                status: 405, reason: "Method Not Allowed", body: "Only GET and HEAD.\n")
        }
        switch request.path {
        case "/healthz": return HTTPResponse(status: 200, reason: "OK", body: "ok\n")
        case "/readyz":
            if let reason = unreadyReason {
                return HTTPResponse(
                    status: 503, reason: "Service Unavailable", body: reason + "\n")
            }
            return HTTPResponse(status: 200, reason: "OK", body: "ready\n")
        case "/metrics":
            return HTTPResponse(
                status: 200, reason: "OK",
                contentType: "text/plain; version=0.0.4; charset=utf-8", body: metrics(facts))
        default:
            return HTTPResponse(
                status: 404, reason: "Not Found",
                body: "There are /healthz, /readyz and /metrics.\n")
        }
    }
}
