import MeshWire

/// A node's reports about itself; for status commands and tests, not for the hot path.
extension Node {
    /// Everybody known, this node among them: first those on the ring in its order, then the dead.
    public func memberReports(includingDeparted: Bool = false) -> [MemberReport] {
        var indices = members.ring.map { $0.index }
        if includingDeparted { indices += departed.indices }
        return indices.map { index in
            let member = members[index]
            return MemberReport(
                id: member.id, incarnation: member.incarnation, status: member.status,
                endpoint: member.endpoint, name: member.name, zone: member.zone,
                wireVersion: member.capabilities.version,
                keyCount: Int(member.log.keyCount), isSelf: index == .oneself,
                isDraining: member.capabilities.isDraining)
        }
    }

    /// The name of a member, or of one that is gone; nil: it is unknown, or has none.
    public func name(of node: NodeID) -> String? {
        guard let index = members.index(of: node) else { return nil }
        let name = members[index].name
        return name.isEmpty ? nil : name
    }

    /// Members that are alive or suspect, this node among them.
    public var memberCount: Int { members.ring.count }

    public func linkStatuses() -> [LinkStatus] {
        links.established.map { index in
            let link = links[index]
            return LinkStatus(
                index: index, peer: link.peer, endpoint: members[link.member].endpoint,
                role: roleName(link), roundTrip: link.roundTrips.smoothed,
                isDoubted: link.isDoubted, isSecondChoice: link.isSecondChoice,
                framesIn: link.framesIn, framesOut: link.framesOut, bytesIn: link.bytesIn,
                bytesOut: link.bytesOut)
        }
    }

    /// The peer at the other end of a link, by its own account or because it was dialled for that
    /// node; nil: nobody knows yet.
    public func peer(of link: LinkIndex) -> NodeID? {
        guard links.isValid(link), links[link].state != .free, links[link].peer != NodeID(0)
        else { return nil }
        return links[link].peer
    }

    private func roleName(_ link: Link) -> String {
        let role = link.role.union(link.peerRole)
        var names: [String] = []
        if link.role.contains(.successor) { names.append("successor") }
        if link.role.contains(.predecessor) { names.append("predecessor") }
        if role.contains(.longRange) { names.append("long-range") }
        if role.contains(.mesh) { names.append("mesh") }
        return names.isEmpty ? "spare" : names.joined(separator: "+")
    }

    public func tableSizes() -> TableSizes {
        TableSizes(
            entries: directory.table.count, directoryBytes: directory.table.byteCount,
            patterns: directory.patterns.count, members: members.ring.count,
            links: links.established.count)
    }

    /// Whether some node has told who is there; true from the start without seeds.
    public var isIntroduced: Bool { join.isIntroduced }

    /// The name of the other cluster whose node was refused last.
    public var otherCluster: String { complaints.cluster }

    /// It was given seeds, with or without addresses.
    public var hasSeeds: Bool { join.hasSeeds }

    /// It serves, though it was given seeds and knows nobody.
    public var isAlone: Bool { isReady && join.hasSeeds && members.ring.count == 1 }

    /// Where this node would find the mesh after a restart: members that are spread evenly over the
    /// ring, and then those that were lost, the latest first; at most `countMax`.
    public func addressesToRemember(countMax: Int) -> [Endpoint] {
        let others = members.ring.count - 1
        let count = min(others, countMax * 3 / 4)
        var endpoints = (0..<count).map { number in
            let steps = 1 + number * others / count
            return members.endpoint(of: members.clockwise(from: id, steps: steps))
        }
        for entry in lostMembers.entries.reversed() where endpoints.count < countMax {
            endpoints.append(entry.endpoint)
        }
        return endpoints
    }

    /// The nodes that hold this key, this one among them, in order of their ids.
    public func holders(of key: Key) -> [NodeID] {
        holderIndices(of: key).map { members.id(of: $0) }.sorted()
    }

    /// Whether this node is a member, alive or suspect.
    public func isPresent(_ node: NodeID) -> Bool {
        members.index(of: node).map { members.status(of: $0).isPresent } ?? false
    }

    /// Some member is suspect.
    public var hasSuspects: Bool { timers[.suspicion] != nil }

    /// Whether this node is a member that is suspect.
    public func isSuspect(_ node: NodeID) -> Bool {
        members.index(of: node).map { members.status(of: $0) == .suspect } ?? false
    }

    /// These nodes by their distance in time: this one first, those of which it is not known last; by their
    /// ids where it is equal.
    public func byDistance(_ nodes: [NodeID]) -> [NodeID] {
        let measured = nodes.map { (node: $0, milliseconds: distance(to: $0)) }
        return measured.sorted { ($0.milliseconds, $0.node) < ($1.milliseconds, $1.node) }.map(
            \.node)
    }

    private func distance(to node: NodeID) -> Double {
        guard let index = members.index(of: node) else { return .infinity }
        if index == .oneself { return -1 }
        let link = members.link(of: index)
        if !link.isNone, let roundTrip = links[link].roundTrips.smoothed {
            return Double(roundTrip.microseconds) / 1_000
        }
        return coordinates.estimate(index) ?? .infinity
    }

    /// Whether this node is one of them.
    public func isHeldHere(_ key: Key) -> Bool { isHeldHere(directory.table.holders(of: key)) }

    public func hasHolder(_ key: Key) -> Bool { !holderIndices(of: key).isEmpty }

    /// The link slots in use, and some that are free.
    public var linkIndices: Range<LinkIndex> { links.indices }

    /// Different patterns subscribed anywhere in the mesh.
    public var patternCount: Int { directory.patterns.count }

    /// Equal on two nodes that agree on who is there and who holds what.
    public var stateDigest: UInt64 { members.digest }

    /// The next node on the way to `destination`; nil: unknown, oneself, or no way.
    public mutating func nextHop(to destination: NodeID) -> NodeID? {
        guard destination != id, let index = members.index(of: destination) else { return nil }
        let route =
            router.cached(index)
            ?? router.find(destination, index, members: members, links: links, lists: lists)
        return !route.link.isNone ? links[route.link].peer : nil
    }
}
