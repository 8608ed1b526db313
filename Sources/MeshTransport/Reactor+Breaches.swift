import MeshCore
import MeshServer
import MeshWire

// Peers that break the link protocol, for the log.

extension Reactor {
    /// A peer whose control traffic has piled up to its bound loses its link, after the present event.
    @inline(never)
    mutating func endNonReader(_ link: LinkIndex) {
        let ending = linkEpochs[link.slot]
        let isEnding = deferred.contains { $0.link == link && $0.epoch == ending }
        // One event may send it several things.
        guard !isEnding else { return }
        counters[.linksMisbehaved] &+= 1
        let waiting = connections[connectionOfLink[link.slot]].output.control.count
        logMisbehaved(link, "it does not read: \(waiting) bytes of control traffic wait")
        deferred.append(EndedLink(link: link, epoch: ending, reason: .misbehaved))
    }

    /// One line for a host at once, and then one with a count every ten seconds.
    @inline(never)
    mutating func logMisbehaved(_ link: LinkIndex, _ reason: String, hint: String? = nil) {
        let endpoint = endpointOfLink[link.slot]
        let line = server.breach(
            "misbehaved", at: endpoint, by: server.node.peer(of: link), reason, hint: hint)
        if let line = server.gathered(line, at: endpoint, now: now) { log.write(line) }
    }
}
