import MeshWire

/// The way to one destination, as cached per member.
struct Route {
    /// The router's epoch in which this was computed; 0: never.
    var epoch: UInt32 = 0
    /// The link to take; none: nothing known is nearer than this node.
    var link = LinkIndex.none
    /// The most that this node can see: `Potential` with all the steps.
    var potential: UInt32 = .max
}

/// The one side of the ring from which a message that has turned comes to its destination (`Frame`).
enum Side: UInt32 {
    /// Over the nodes that lie before it, clockwise; those that lie after it.
    case before = 1
    case after = 2
}

extension NodeID {
    /// The shorter way round; with a side the way round to `destination` from that side alone.
    @inline(__always)
    func distance(to destination: NodeID, from side: Side?) -> UInt64 {
        switch side {
        case nil: distance(to: destination)
        case .before: clockwise(to: destination)
        case .after: destination.clockwise(to: self)
        }
    }
}

/// (distance to the destination, steps) in 32 bits that order like the pair, as long as the side
/// between them stays the same (`Frame`).
enum Potential {
    /// - Parameter steps: 0 … 3.
    @inline(__always)
    static func make(distance: UInt64, steps: Int, from side: Side? = nil) -> UInt32 {
        UInt32(truncatingIfNeeded: distance >> 36) << 4 | (side?.rawValue ?? 0) << 2
            | UInt32(truncatingIfNeeded: steps)
    }

    /// The message has turned. Of the two bits 0 and 3 mean that it has not; the sum takes both to
    /// where one bit tells them from 1 and 2.
    @inline(__always)
    static func isOneSided(_ potential: UInt32) -> Bool { (potential &+ 4) & 8 != 0 }

    static func side(_ potential: UInt32) -> Side? { Side(rawValue: potential >> 2 & 3) }
}

/// Greedy routing with lookahead 2 (<doc:Routing>; Manku, Naor, Wieder 2004 call it
/// neighbour-of-neighbour greedy): of all nodes within three steps, head for the nearest to the
/// destination.
///
/// Of several shortest ways to a node all nodes prefer the same last step, and of several ways to
/// that step's node the same again. So the ways from one node to all within three steps are a tree,
/// and a message to many destinations does not come to a forwarder over two links.
///
/// The reachable nodes are kept as one list sorted by position and rebuilt when links, members or
/// link lists change (`invalidate`); a destination's next hop is then one binary search, cached.
struct Router {
    /// A node within three steps: the fewest steps to it and the first link of that way.
    struct Reach {
        var id: NodeID
        var steps: Int32
        var link: LinkIndex
        /// Breaks ties between ways of the same length (`Router.tie`).
        var tie: UInt64
    }

    private var reachable: [Reach] = []
    private var isStale = true
    private(set) var epoch: UInt32 = 1
    /// By member, as far as a way was ever asked for.
    private var routes: [Route] = []

    /// Links, members or link lists have changed: forget every route.
    mutating func invalidate() {
        isStale = true
        epoch &+= 1
        if epoch == 0 { epoch = 1 }
    }

    /// Somebody new is at `index`.
    @inline(__always)
    mutating func admit(_ index: MemberIndex) {
        if index.slot < routes.count { routes[index.slot] = Route() }
    }

    /// The cached way to `index`, if it is still valid.
    @inline(__always)
    func cached(_ index: MemberIndex) -> Route? {
        guard index.slot < routes.count else { return nil }
        let route = routes[index.slot]
        return route.epoch == epoch ? route : nil
    }

    /// Finds and caches the way to a destination.
    @inline(never)
    mutating func find(
        _ destination: NodeID, _ index: MemberIndex, members: borrowing MemberTable,
        links: borrowing LinkTable, lists: borrowing LinkLists
    ) -> Route {
        let route = find(
            destination, index, from: nil, members: members, links: links, lists: lists)
        if index.slot >= routes.count {
            let missing = members.slotCount - routes.count
            routes.append(contentsOf: repeatElement(Route(), count: missing))
        }
        routes[index.slot] = route
        return route
    }

    /// Finds the way to a destination; with a side the way of what has turned, which is rare and not
    /// cached.
    mutating func find(
        _ destination: NodeID, _ index: MemberIndex, from side: Side?,
        members: borrowing MemberTable, links: borrowing LinkTable, lists: borrowing LinkLists
    ) -> Route {
        if isStale {
            rebuild(members: members, links: links, lists: lists)
            isStale = false
        }
        var route = Route(epoch: epoch)
        let direct = members[index].link
        if !direct.isNone, links[direct].isPeerLeaving {
            // No way leads over it any more, but what is still owed to it goes there directly.
            route.link = direct
            route.potential = Potential.make(distance: 0, steps: 1, from: side)
            return route
        }
        if let nearest = nearest(to: destination, from: side) {
            let distance = nearest.id.distance(to: destination, from: side)
            // A node that is no nearer than this one is no progress.
            if distance < members[.oneself].id.distance(to: destination, from: side) {
                route.link = nearest.link
                route.potential = Potential.make(
                    distance: distance, steps: Int(nearest.steps), from: side)
            }
        }
        return route
    }

    /// The first link of the way to the node that a potential names: so far from `destination`, on one
    /// side or the other, and so many steps away; none: it is not in sight.
    mutating func treePath(
        to destination: NodeID, potential: UInt32, members: borrowing MemberTable,
        links: borrowing LinkTable, lists: borrowing LinkLists
    ) -> LinkIndex {
        if isStale {
            rebuild(members: members, links: links, lists: lists)
            isStale = false
        }
        guard !reachable.isEmpty else { return .none }
        let distance = UInt64(potential >> 4) << 36
        // The least position of either range that the potential, which is rounded, can mean.
        for start in [
            destination.rawValue &+ distance, destination.rawValue &- distance &- 0xF_FFFF_FFFF,
        ] {
            let position = self.position(of: NodeID(start))
            let candidate = reachable[position == reachable.count ? 0 : position]
            let found = Potential.make(
                distance: candidate.id.distance(to: destination), steps: Int(candidate.steps))
            if found == potential { return candidate.link }
        }
        return .none
    }

    /// The direct link that is strictly nearer to `destination` than this node, on the given side if
    /// there is one; none if no link is. Greedy in the narrowest sense, and so free of loops whatever
    /// others believe.
    func strictlyGreedy(
        _ destination: NodeID, from side: Side? = nil, oneself: NodeID,
        links: borrowing LinkTable, except arrival: LinkIndex
    ) -> LinkIndex {
        var best = LinkIndex.none
        var bestDistance = oneself.distance(to: destination, from: side)
        for index in links.established where index != arrival && links[index].isUsable {
            let distance = links[index].peer.distance(to: destination, from: side)
            if distance < bestDistance {
                bestDistance = distance
                best = index
            }
        }
        return best
    }

    /// The direct link nearest to `destination` of those between `oneself` and it, on the shorter way
    /// round, or to itself; none if there is no such link, or if that neighbour has none in its turn.
    func alongArc(
        to destination: NodeID, from oneself: NodeID, links: borrowing LinkTable,
        lists: borrowing LinkLists, except arrival: LinkIndex
    ) -> LinkIndex {
        let side: Side = oneself.clockwise(to: destination) < 1 << 63 ? .before : .after
        let link = strictlyGreedy(
            destination, from: side, oneself: oneself, links: links, except: arrival)
        guard !link.isNone, links[link].peer != destination else { return link }
        let left = links[link].peer.distance(to: destination, from: side)
        let next = lists.links(of: links[link].peer) ?? []
        return next.contains { $0.distance(to: destination, from: side) < left } ? link : .none
    }

    private func nearest(to destination: NodeID, from side: Side?) -> Reach? {
        guard !reachable.isEmpty else { return nil }
        let low = position(of: destination)
        let after = reachable[low == reachable.count ? 0 : low]
        if after.id == destination || side == .after { return after }
        let before = reachable[low == 0 ? reachable.count - 1 : low - 1]
        if side == .before { return before }
        let toAfter = after.id.distance(to: destination)
        let toBefore = before.id.distance(to: destination)
        if toAfter != toBefore { return toAfter < toBefore ? after : before }
        return after.steps <= before.steps ? after : before
    }

    /// The first reachable node at `id` or behind it.
    private func position(of id: NodeID) -> Int {
        partitionPoint(reachable.count) { reachable[$0].id < id }
    }

    private mutating func rebuild(
        members: borrowing MemberTable, links: borrowing LinkTable, lists: borrowing LinkLists
    ) {
        reachable.removeAll(keepingCapacity: true)
        // Where each member stands in the list. Thousands of ways lead to far fewer nodes, and to
        // sort all of them was a tenth of a run in which links come and go.
        var positions = [Int32](repeating: -1, count: members.slotCount)
        for index in links.established where links[index].isUsable {
            let peer = links[index].peer
            reach(peer, steps: 1, link: index, tie: 0, members, &positions)
            guard let second = lists.links(of: peer) else { continue }
            for next in second {
                let tie = Self.tie(next, after: peer)
                reach(next, steps: 2, link: index, tie: tie, members, &positions)
                guard let third = lists.links(of: next) else { continue }
                for last in third {
                    // The last step counts first.
                    let tie = Self.tie(last, after: next) | tie >> 32
                    reach(last, steps: 3, link: index, tie: tie, members, &positions)
                }
            }
        }
        reachable.sort { $0.id < $1.id }
    }

    /// How little the step from `previous` to `id` is preferred: the distance clockwise, 32 bits, the
    /// upper ones. It is the same on all nodes, and since each node has a link of about each length
    /// each is first choice for about as many: the busiest of 100 forwards 1.5 times the mean. A
    /// hash in its place made that 1.8.
    @inline(__always)
    private static func tie(_ id: NodeID, after previous: NodeID) -> UInt64 {
        (id.rawValue &- previous.rawValue) & ~0xFFFF_FFFF
    }

    /// A way to a node: kept if it has fewer steps than the one that is known, or as many and is
    /// preferred.
    @inline(__always)
    private mutating func reach(
        _ id: NodeID, steps: Int32, link: LinkIndex, tie: UInt64,
        _ members: borrowing MemberTable, _ positions: inout [Int32]
    ) {
        guard let member = members.index(of: id), member != .oneself else { return }
        let position = Int(positions[member.slot])
        if position >= 0 {
            let known = reachable[position]
            if (steps, tie) < (known.steps, known.tie) {
                reachable[position] = Reach(id: id, steps: steps, link: link, tie: tie)
            }
            return
        }
        // A suspect is a fine destination but a poor way to others; on the last step it is only
        // ever a destination.
        guard members.status(of: member).isPresent else { return }
        positions[member.slot] = Int32(truncatingIfNeeded: reachable.count)
        reachable.append(Reach(id: id, steps: steps, link: link, tie: tie))
    }
}
