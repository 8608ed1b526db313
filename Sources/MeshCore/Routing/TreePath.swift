import MeshWire

/// How the copies of one message keep to a tree: no node is sent a channel's message twice, and one
/// to all of n nodes is sent n − 1 times.
///
/// The ways from a node to all within three steps are a tree (`Router`). A destination that lies
/// further is headed for by way of the reachable node nearest to it; a forwarder that sees more could
/// now turn off towards a nearer one, and meet a node there that another copy of the same message
/// has come to. So a message to a channel keeps to its path: while the potential names a node that this
/// forwarder sees where it was claimed to be, that is where it goes.
///
///     the origin's tree ends at     ●           ●                 ●
///     the arc of each         ──────┴─────┼─────┴────────┼────────┴─────
///     in it, along the ring          ●●       ●    ●●●      ●      ●
///
/// The end of a path is the only node in reach of the origin between some point of the ring and
/// another, and of all copies those alone come to that arc whose path ends there. From there
/// on each goes over the link that comes furthest towards its destination and not past it, as if each
/// link told the part of the arc up to the next (`Broadcast`, with which n − 1 is n − 1 as well): so
/// each part is entered once. A few nodes lie in an arc, and the next are linked with it.
///
/// Users' messages, which have one destination, take any better way at once.
extension Node {
    /// The next hop on the path that the last forwarder claimed; nil: there is none, or it is of
    /// no use.
    ///
    /// Lies off the path of users' messages; two binary searches, or a look at each link.
    @inline(__always)
    mutating func treePathHop(
        to destination: NodeID, potential: UInt32, body: UInt8, isStrict: Bool, arrival: LinkIndex
    ) -> Hop? {
        // A destination that is itself in sight needs no holding.
        guard potential >> 4 != 0, !Potential.isOneSided(potential), !isStrict,
            body == RoutedBody.channel.rawValue || body == RoutedBody.shardChannel.rawValue
                || body == RoutedBody.room.rawValue
        else { return nil }
        return pathHop(to: destination, potential: potential, arrival: arrival)
    }

    @inline(never)
    private mutating func pathHop(
        to destination: NodeID, potential: UInt32, arrival: LinkIndex
    ) -> Hop? {
        if potential & 3 == 0 {
            let link = router.alongArc(
                to: destination, from: id, links: links, lists: lists, except: arrival)
            guard !link.isNone else { return nil }
            // The path ends there again.
            let next = Potential.make(
                distance: links[link].peer.distance(to: destination), steps: 0)
            return next < potential ? Hop(link: link, potential: next, isStrict: false) : nil
        }
        let link = router.treePath(
            to: destination, potential: potential, members: members, links: links, lists: lists)
        guard !link.isNone, link != arrival else { return nil }
        // One step of the path is taken with this hop.
        return Hop(link: link, potential: potential - 1, isStrict: false)
    }
}
