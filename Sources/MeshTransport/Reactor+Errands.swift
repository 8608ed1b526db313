import MeshCore
import MeshWire

// Errands that would block the loop are done on threads of their own: one of each kind at a time, and none while
// there is nothing to do.

extension Reactor {
    /// At most so often the members' addresses are written down. A guess: a restart finds the mesh by any of
    /// them.
    private static var memoryPause: Delay { .seconds(10) }

    /// Finds the addresses of the seeds; they come through the inbox.
    mutating func resolveSeeds() {
        guard let resolve = options.resolveSeeds, !isResolving else { return }
        let error = Thread.start(name: "seeds") { [inbox] in inbox.found(resolve()) }
        isResolving = error == nil
    }

    mutating func found(_ seeds: [Endpoint]?) {
        isResolving = false
        guard let seeds, !hasNewSeeds else { return }
        server.learnSeeds(seeds, at: now)
    }

    /// Writes down where members are, if that has changed.
    mutating func rememberMembers() {
        guard let remember = options.remember, !isRemembering, now >= nextMemory else { return }
        nextMemory = now + Reactor.memoryPause
        let addresses = server.node.addressesToRemember(countMax: options.rememberedCountMax)
        // A node that knows nobody keeps what it remembers.
        if addresses.isEmpty || addresses == remembered { return }
        remembered = addresses
        let error = Thread.start(name: "state") { [inbox] in
            remember(addresses)
            inbox.hasRemembered()
        }
        isRemembering = error == nil
    }
}
