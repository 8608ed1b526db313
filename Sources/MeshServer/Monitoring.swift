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
    ///   - refusals: counts malformed requests.
    ///   - output: what waits to be sent.
    public func answerHTTP(
        _ bytes: Span<UInt8>, headBytesMax: Int, waitingMax: Int, facts: DriverFacts,
        refusals: inout UInt64, into output: inout ByteQueue
    ) -> HTTPStep {
        var step = HTTPStep()
        while !step.isEnding {
            switch HTTPHead.read(bytes, at: step.used, limit: headBytesMax) {
            case .incomplete: return step
            case .refused(let refusal):
                refusals &+= 1
                output.append(refusal.response.bytes(keepsAlive: false, hasBody: true))
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
            return HTTPRefusal.unknownMethod.response
        }
        switch request.path {
        case "/healthz": return HTTPResponse(status: 200, reason: "OK", body: "ok\n")
        case "/readyz":
            if let reason = unreadyReason {
                return HTTPRefusal.notReady(reason: reason).response
            }
            let words =
                node.isAlone ? "ready, alone: no seed has answered, or all are gone" : "ready"
            return HTTPResponse(status: 200, reason: "OK", body: words + "\n")
        case "/metrics":
            return HTTPResponse(
                status: 200, reason: "OK",
                contentType: "text/plain; version=0.0.4; charset=utf-8", body: metrics(facts))
        default:
            return HTTPRefusal.unknownPath.response
        }
    }
}
