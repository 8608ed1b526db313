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
        log.write(
            server.breach(
                "misbehaved", at: endpointOfLink[link.slot], by: server.node.peer(of: link),
                "it does not read: \(waiting) bytes of control traffic wait"))
        deferred.append(EndedLink(link: link, epoch: ending, reason: .misbehaved))
    }
}
