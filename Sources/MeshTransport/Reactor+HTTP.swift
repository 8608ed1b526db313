import CLinux
import Glibc
import MeshCore
import MeshGateway
import MeshWire

// The monitoring port: /healthz, /readyz and /metrics.

extension Reactor {
    mutating func acceptHTTP() {
        acceptAll(.http) { reactor, accepted in
            guard reactor.httpConnectionCount < reactor.limits.httpConnectionCount,
                let index = reactor.adopt(accepted.descriptor, .http, owner: -1)
            else {
                reactor.counters.connectionsRefused &+= 1
                if reactor.httpConnectionCount >= reactor.limits.httpConnectionCount {
                    close(accepted.descriptor)
                }
                return
            }
            reactor.counters.httpAccepted &+= 1
            reactor.httpConnectionCount += 1
            // Also what ends an idle connection that is kept alive.
            reactor.setDeadline(index, reactor.now + reactor.limits.httpHeadTime)
        }
    }

    /// Answers the requests that arrived; returns how many bytes they had.
    mutating func consumeHTTP(_ index: Int32, _ bytes: Span<UInt8>) -> Int {
        var offset = 0
        while !connections[index].isEnding {
            switch HTTPHead.read(bytes, at: offset, limit: limits.httpHeadBytes) {
            case .incomplete: return offset
            case .refused(let status, let reason):
                counters.httpRefused &+= 1
                let response = HTTPResponse(status: status, reason: reason, body: reason + "\n")
                respond(index, response, keepsAlive: false, hasBody: true)
            case .request(let request, let end):
                offset = end
                // Answers that nobody reads are not piled up.
                let keepsAlive =
                    request.keepsAlive && connections[index].output.count < 1024 * 1024
                respond(
                    index, response(to: request), keepsAlive: keepsAlive,
                    hasBody: request.method != "HEAD")
            }
        }
        return bytes.count
    }

    private mutating func respond(
        _ index: Int32, _ response: HTTPResponse, keepsAlive: Bool, hasBody: Bool
    ) {
        connections[index].output.control.append(
            response.bytes(keepsAlive: keepsAlive, hasBody: hasBody))
        connections[index].isEnding = !keepsAlive
        setDeadline(index, now + limits.httpHeadTime)
        markDirty(index)
    }

    private func response(to request: HTTPRequest) -> HTTPResponse {
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
                contentType: "text/plain; version=0.0.4; charset=utf-8", body: metrics())
        default:
            return HTTPResponse(
                status: 404, reason: "Not Found",
                body: "There are /healthz, /readyz and /metrics.\n")
        }
    }

    /// Why the node does not serve; nil when it does.
    var unreadyReason: String? {
        if phase != .running { return "leaving" }
        if node.isReady { return nil }
        if node.configuration.seeds.isEmpty { return "starting" }
        return node.isIntroduced
            ? "joining: members and directory have not arrived yet"
            : "joining: no seed has answered yet"
    }
}
