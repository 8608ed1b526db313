import MeshCore
import MeshServer

// How a reactor ends.

extension Reactor {
    mutating func takeRequests() {
        for request in inbox.take() {
            switch request {
            case .stop: phase = .ended(.stopped)
            case .leave: handle(.leave)
            case .found(let seeds): found(seeds)
            case .remembered: isRemembering = false
            case .reconfigure(let settings): reconfigure(settings)
            }
        }
    }

    private mutating func reconfigure(_ settings: Reconfiguration) {
        if let seeds = settings.seeds {
            hasNewSeeds = true
            server.learnSeeds(seeds, at: now)
        }
        server.reconfigure(at: now, into: &effects) { gateway in
            let bound = gateway.clientCountBound
            settings.change(&gateway)
            gateway.clientCountMax = min(gateway.clientCountMax, bound)
            if let level = settings.logLevel { gateway.logLevel = RedisLogLevel(level) }
        }
        performAll(Span())
        // After the words of Redis, which has one level fewer.
        if let level = settings.logLevel { log.level = level }
        log.write(.notice, "reloaded")
    }

    /// The server has left: what waits is sent, and everything is closed.
    mutating func beginFlushing() {
        guard phase == .running else { return }
        phase = .flushing(deadline: now + limits.lingerTime + limits.lingerTime)
        listeners.close(.http)
        hasLeft = true
    }

    mutating func advancePhase() {
        guard case .flushing(let deadline) = phase else { return }
        if hasLeft {
            hasLeft = false
            endEverything()
        }
        if connections.count == 0 || deadline <= now { phase = .ended(.left) }
    }

    /// Lets every connection send what it has and end.
    private mutating func endEverything() {
        for slot in 0..<connections.used {
            let index = ConnectionIndex(slot)
            switch connections[index].role {
            case .none: break
            case .link:
                unlink(index)
                linger(index)
            case .client: endClient(index)
            case .http:
                enter(.ending(until: now + limits.lingerTime), index)
                markDirty(index)
            }
        }
        flushAll()
    }
}
