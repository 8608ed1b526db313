import CLinux
import Glibc
import MeshCore
import MeshServer
import MeshWire

// Connections of the monitoring port.

extension Reactor {
    mutating func acceptHTTP() {
        acceptAll(.http) { reactor, accepted in
            guard reactor.httpConnectionCount < reactor.limits.httpConnectionCount,
                let index = reactor.adopt(accepted.descriptor, .http)
            else {
                reactor.counters[.connectionsRefused] &+= 1
                if reactor.httpConnectionCount >= reactor.limits.httpConnectionCount {
                    close(accepted.descriptor)
                }
                return
            }
            reactor.counters[.httpAccepted] &+= 1
            reactor.httpConnectionCount += 1
            // Also what ends an idle connection that is kept alive.
            reactor.setDeadline(index, reactor.now + reactor.limits.httpHeadTime)
        }
    }

    /// Has the requests answered that arrived; returns how many bytes they had.
    mutating func consumeHTTP(_ index: ConnectionIndex, _ bytes: Span<UInt8>) -> Int {
        let step = server.answerHTTP(
            bytes, headBytesMax: limits.httpHeadBytes, waitingMax: limits.httpWaitingBytes,
            facts: facts(), refusals: &counters[.httpRefused],
            into: &connections[index].output.control)
        if step.hasAnswered {
            connections[index].isEnding = step.isEnding
            setDeadline(index, now + limits.httpHeadTime)
            markDirty(index)
        }
        return step.used
    }
}
