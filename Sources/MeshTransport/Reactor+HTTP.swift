import MeshCore
import MeshServer
import MeshWire

// Connections of the monitoring port.

extension Reactor {
    mutating func takeHTTP(_ stream: Stream) {
        makeRoomForHTTP()
        guard let index = adopt(stream, .http) else {
            counters[.connectionsRefused] &+= 1
            return
        }
        counters[.httpAccepted] &+= 1
        httpConnections.append(index)
        // Also what ends an idle connection that is kept alive.
        enter(.open(until: now + limits.httpHeadTime), index)
    }

    /// A probe is let in however many connections say nothing: of those that wait for a request the one
    /// whose time is over first makes room, and where all have an answer to read, the same of them.
    private mutating func makeRoomForHTTP() {
        guard httpConnections.count >= limits.httpConnectionCount else { return }
        let silent = httpConnections.filter { connections[$0].output.isEmpty }
        let latest = Instant(nanoseconds: .max)
        let first = (silent.isEmpty ? httpConnections : silent).min {
            connections[$0].deadline ?? latest < connections[$1].deadline ?? latest
        }
        guard let first else { return }
        counters[.httpTimedOut] &+= 1
        discard(first)
    }

    /// Has the requests answered that arrived; returns how many bytes they had.
    mutating func consumeHTTP(_ index: ConnectionIndex, _ bytes: Span<UInt8>) -> Int {
        let step = server.answerHTTP(
            bytes, headBytesMax: limits.httpHeadBytes, waitingMax: limits.httpWaitingBytes,
            facts: facts(), refusals: &counters[.httpRefused],
            into: &connections[index].output.control)
        if step.hasAnswered {
            let until = now + limits.httpHeadTime
            enter(step.isEnding ? .ending(until: until) : .open(until: until), index)
            markDirty(index)
        }
        return step.used
    }
}
