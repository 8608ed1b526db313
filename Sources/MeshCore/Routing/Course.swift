import MeshWire

/// How the copies of one message keep to a tree.
///
/// The ways from a node to all within three steps are a tree (`Router`). A destination that lies
/// further is headed for by way of the reachable node nearest to it; a forwarder that sees more could
/// now turn off towards a nearer one, and meet a node there that another copy of the same message
/// has come to. So a message to a channel keeps its course: while the promise names a node that this
/// forwarder sees where it was promised to be, that is where it goes. Users' messages, which have one
/// destination, take any better way at once.
extension Node {
    /// The next hop on the course that the last forwarder promised; nil: there is none, or it is of
    /// no use.
    ///
    /// Lies off the path of users' messages; two binary searches.
    mutating func courseHeld(
        to destination: NodeID, promise: UInt32, body: UInt8, isStrict: Bool, arrival: LinkIndex
    ) -> Hop? {
        // A destination that is itself in sight, or a course that ends here, needs no holding.
        guard promise >> 4 != 0, promise & 3 != 0, !Promise.isOneSided(promise), !isStrict,
            body == RoutedBody.channel.rawValue || body == RoutedBody.shardChannel.rawValue
        else { return nil }
        let link = router.course(
            to: destination, promise: promise, members: members, links: links, lists: lists)
        guard link >= 0, link != arrival else { return nil }
        // One step of the course is taken with this hop.
        return Hop(link: link, promise: promise - 1, isStrict: false)
    }
}
