import MeshCore
import MeshGateway

// How a node drains, leaves the mesh and ends.

extension Reactor {
    mutating func takeRequests() {
        for request in inbox.take() {
            switch request {
            case .stop: phase = .ended(.stopped)
            case .leave:
                guard phase == .running else { continue }
                log.write(.info, "draining", [("clients", .integer(gateway.clientCount))])
                // What cannot be moved in this time is not waited for.
                phase = .draining(
                    deadline: now + limits.drainTime + limits.drainTime + .seconds(1))
                gateway.beginDrain(limits.drainTime, at: now)
            }
        }
    }

    mutating func leave() {
        log.write(.info, "leaving")
        phase = .leaving(deadline: now + limits.leaveTime)
        // Whoever connects now shall find another node, not wait here.
        listeners.close(.mesh, .redis)
        handle(.leave)
    }

    mutating func advancePhase() {
        switch phase {
        case .running, .ended: return
        case .draining(let deadline):
            if gateway.isEndingClients { listeners.close(.redis) }
            guard gateway.isDrained || deadline <= now else { return }
            if deadline <= now { log.write(.warning, "drainTimedOut") }
            leave()
        case .leaving(let deadline):
            guard hasLeft || deadline <= now else { return }
            if !hasLeft { log.write(.warning, "leaveTimedOut") }
            phase = .flushing(deadline: now + limits.lingerTime + limits.lingerTime)
            listeners.close(.http)
            endEverything()
        case .flushing(let deadline):
            guard connections.count == 0 || deadline <= now else { return }
            phase = .ended(.left)
        }
    }

    /// Lets every connection send what it has and end.
    mutating func endEverything() {
        var index: Int32 = 0
        while index < connections.used {
            switch connections[index].role {
            case .free, .lingering: break
            case .link:
                unlink(index)
                linger(index)
            case .client: endClient(index)
            case .http:
                connections[index].isEnding = true
                markDirty(index)
            }
            index += 1
        }
        flushAll()
    }
}
