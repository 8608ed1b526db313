import MeshWire

/// Keeps the set of links what the overlay asks for: a full mesh while the cluster is small, two
/// successors and two predecessors and the long-range links when it is not.
extension Node {
    /// Looks at all links: dials what is missing, ends what nobody needs.
    mutating func maintain(_ effects: inout EffectBuffer) {
        timers.schedule(.maintenance, at: now + configuration.timing.maintenance)
        flows.trim()
        restoreLinks()
        guard !departure.hasBegun else { return }
        forgetRoles()
        let others = members.ring.count - 1
        if others <= configuration.degree {
            for entry in members.ring where entry.index != .oneself {
                want(entry.index, .mesh, &effects)
            }
        } else {
            wantRing(&effects)
            wantLongRange(&effects)
            linkWithSeeds(&effects)
        }
        tellRolesAndEndUnneeded(&effects)
        if !isReady { checkReady(&effects) }
    }

    private mutating func forgetRoles() {
        for index in links.established { links[index].pendingRole = [] }
        // A long-range link stays one for as long as it is the target of its stratum.
        for stratum in 0..<longRange.strataCount {
            let link = targetLink(of: stratum)
            if !link.isNone { links[link].pendingRole = .longRange }
        }
        if longRange.extras.isEmpty, longRange.aims(at: now) == nil { return }
        let aim = longRange.aims(at: now)
        for index in links.established
        where longRange.isTarget(links[index].peer) || links[index].peer == aim {
            links[index].pendingRole = .longRange
        }
    }

    /// The established link to the target of a stratum.
    private mutating func targetLink(of stratum: Int) -> LinkIndex {
        guard let target = longRange.outgoing[stratum].target else { return .none }
        let known = longRange.outgoing[stratum].link
        if !known.isNone, links[known].state == .established, links[known].peer == target {
            return known
        }
        guard let index = members.index(of: target) else { return .none }
        let link = members.link(of: index)
        longRange.outgoing[stratum].link = link
        return link
    }

    /// The two nearest on either side. One that cannot be dialled now is kept as a wish and the
    /// next one taken besides, so that the ring stays closed.
    private mutating func wantRing(_ effects: inout EffectBuffer) {
        let size = members.ring.count
        for direction in [1, -1] {
            var reachable = 0
            var steps = 1
            while reachable < 2, steps <= min(size - 1, MemberTable.nearCount) {
                let index = members.neighbour(direction * steps)
                steps += 1
                if index == .oneself { break }
                let link = members.link(of: index)
                let isReachable =
                    !link.isNone && links[link].isUsable
                    || members[index].dialFailures == 0
                        && (link.isNone || !links[link].isSecondChoice)
                if isReachable { reachable += 1 }
                want(index, direction > 0 ? .successor : .predecessor, &effects)
            }
        }
    }

    /// A link to `index` is wanted in this role. The later born dials at once, because it knows
    /// first that it is there; the other only if nothing comes for a while, so that the two do not
    /// cross.
    private mutating func want(
        _ index: MemberIndex, _ role: LinkRole, _ effects: inout EffectBuffer
    ) {
        let link = members.link(of: index)
        if !link.isNone {
            links[link].pendingRole.insert(role)
            return
        }
        let since = members[index].wantedSince ?? now
        members.adjust(index) { $0.wantedSince = since }
        let other = members[index]
        let isOurs =
            (incarnation.life, id.rawValue) > (other.incarnation.life, other.id.rawValue)
        let patience: Delay = isOurs ? .zero : .milliseconds(300)
        var due = since + patience
        if let notBefore = other.dialNotBefore { due = max(due, notBefore) }
        guard due <= now else {
            timers.schedule(.maintenance, at: due)
            return
        }
        if links.handshake(with: other.id, at: other.endpoint) != nil { return }
        dial(other.endpoint, peer: index, .neighbour, stratum: 0, &effects)
    }

    // MARK: Long range

    private mutating func wantLongRange(_ effects: inout EffectBuffer) {
        let size = members.ring.count
        let count = longRange.strataCount
        var replaced = false
        for stratum in 0..<count {
            if longRange.outgoing[stratum].servedVersion == members.ring.version { continue }
            let outgoing = longRange.outgoing[stratum]
            if let target = outgoing.target {
                // At most one link a round is given up because the ring has grown or shrunk.
                guard !replaced, !outgoing.isAnywhere, let index = members.index(of: target)
                else { continue }
                if serves(index, stratum: stratum, size: size) {
                    longRange.outgoing[stratum].servedVersion = members.ring.version
                    continue
                }
                replaced = true
                longRange.abandon(stratum: stratum)
                if !members[index].link.isNone {
                    links[members[index].link].pendingRole.remove(.longRange)
                }
                if outgoing.isDialling { continue }
            } else if outgoing.isDialling {
                let isUnderWay = links.indices.contains {
                    links[$0].isShakingHands && links[$0].isDialled && links[$0].stratum == stratum
                        && (links[$0].purpose == .longRange
                            || links[$0].purpose == .longRangeAnywhere)
                }
                if isUnderWay { continue }
                longRange.refused(stratum: stratum)
            }
            drawLongRange(stratum, size: size, &effects)
        }
        wantExtra(size: size, &effects)
        if !replaced { improve(size: size, &effects) }
    }

    /// Strata that found nobody with a place free, or overlap with the ring links, leave a node with
    /// few links though all is calm: then any node that has not all of its own will do.
    private mutating func wantExtra(size: Int, _ effects: inout EffectBuffer) {
        let wanted = configuration.degree - 2
        let count = links.established.count
        if count > configuration.degree - 1, let peer = longRange.abandonExtra() {
            // Others want the place more.
            if let index = members.index(of: peer), !members[index].link.isNone {
                links[members[index].link].pendingRole.remove(.longRange)
            }
            return
        }
        guard count < wanted, !longRange.isDiallingExtra,
            longRange.extras.count < longRange.strataCount,
            longRange.outgoing.allSatisfy({
                $0.target != nil || $0.refusals > LongRangeLinks.refusalCountMax
            })
        else { return }
        guard
            let index = candidate(
                stratum: 0, of: 1, size: size, [],
                where: { node, member in
                    let links = node.lists.links(of: node.members.id(of: member))
                    return links.map { $0.count < node.configuration.degree } ?? false
                })
        else { return }
        longRange.diallingExtra()
        dial(
            members[index].endpoint, peer: index, .longRangeAnywhere,
            stratum: longRange.extraStratum, &effects)
    }

    /// Looks for a target that is much nearer than the one it has, in one stratum a round. Links are
    /// made at the start, when nobody knows how near anybody is.
    private mutating func improve(size: Int, _ effects: inout EffectBuffer) {
        guard isReady, coordinates.error < 0.5 else { return }
        for stratum in 0..<longRange.strataCount {
            guard longRange.mayImprove(stratum) else { continue }
            let link = targetLink(of: stratum)
            guard !link.isNone, let roundTrip = links[link].roundTrips.smoothed,
                longRange.takeImprovement(stratum, at: now, jitter: random.nextUnit())
            else { continue }
            let milliseconds = Double(roundTrip.microseconds) / 1_000
            guard
                let index = candidate(
                    stratum: stratum, of: longRange.strataCount, size: size,
                    longRange.outgoing[stratum].refusedBy,
                    where: { node, member in
                        node.coordinates.estimate(member).map {
                            Coordinates.isWorthChange(from: milliseconds, to: $0)
                        } ?? false
                    })
            else { continue }
            longRange.dialling(stratum: stratum)
            dial(
                members[index].endpoint, peer: index, .longRange, stratum: stratum, &effects)
            return
        }
    }

    /// Of 16 members drawn from a stratum, the nearest by estimated round trip that is neither linked
    /// nor recently unreachable (<doc:Overlay>). One whose round trip is not known counts as the middle
    /// of the others.
    private mutating func candidate(
        stratum: Int, of count: Int, size: Int, _ refusedBy: [NodeID],
        where isFit: (borrowing Node, MemberIndex) -> Bool
    ) -> MemberIndex? {
        var drawn: [(index: MemberIndex, roundTripClass: Int?)] = []
        let ranks = LongRangeLinks.Stratum(stratum, of: count, size: size)
        let own = members.rank(of: id)
        for _ in 0..<16 {
            let rank = own + ranks.draw(unit: random.nextUnit())
            let index = members.ring[rank < size ? rank : rank - size].index
            guard index != .oneself, members.link(of: index).isNone,
                members.status(of: index) == .alive,
                members.dialNotBefore(of: index).map({ $0 <= now }) ?? true,
                !refusedBy.contains(members.id(of: index)), isFit(self, index),
                links.handshake(with: members.id(of: index), at: members.endpoint(of: index))
                    == nil
            else { continue }
            drawn.append((index, coordinates.roundTripClass(index)))
        }
        let known = drawn.compactMap { $0.roundTripClass }.sorted()
        let middle = known.isEmpty ? 0 : known[known.count / 2]
        var best: (index: MemberIndex, roundTripClass: Int)?
        for item in drawn {
            let itsClass = item.roundTripClass ?? middle
            if best.map({ itsClass < $0.roundTripClass }) ?? true { best = (item.index, itsClass) }
        }
        return best?.index
    }

    private func serves(_ index: MemberIndex, stratum: Int, size: Int) -> Bool {
        let rank = members.rank(of: members[index].id) - members.rank(of: id)
        return LongRangeLinks.serves(
            rank: (rank + size) % size, stratum: stratum, of: longRange.strataCount, size: size)
    }

    /// Draws a target that is neither linked nor recently unreachable, and dials it.
    private mutating func drawLongRange(
        _ stratum: Int, size: Int, _ effects: inout EffectBuffer
    ) {
        // A node that has all the links that it may have would end the new one at once.
        guard links.established.count < configuration.degree else { return }
        guard longRange.mayAsk(stratum) else {
            longRange.refused(stratum: stratum)
            return
        }
        let isAnywhere = longRange.outgoing[stratum].refusals >= LongRangeLinks.refusalCountMax
        guard
            let index = candidate(
                stratum: isAnywhere ? 0 : stratum, of: isAnywhere ? 1 : longRange.strataCount,
                size: size, longRange.outgoing[stratum].refusedBy, where: { _, _ in true })
        else {
            longRange.exhausted(stratum: stratum)
            return
        }
        longRange.dialling(stratum: stratum)
        dial(
            members[index].endpoint, peer: index,
            isAnywhere ? .longRangeAnywhere : .longRange, stratum: stratum, &effects)
    }

    // MARK: Roles

    /// Tells each peer what its link is for this node, if that has changed, and ends links that
    /// are nothing to either side. The lower id ends them; the higher only after a while. A node that
    /// has few links keeps them all: where false members stand between the true ones, whoever is no
    /// neighbour may be all that a newcomer has.
    private mutating func tellRolesAndEndUnneeded(_ effects: inout EffectBuffer) {
        var unneeded: [LinkIndex] = []
        for index in links.established {
            let role = links[index].pendingRole
            if role != links[index].role || !links[index].isRoleTold {
                links[index].role = role
                links[index].isRoleTold = true
                send(.role(role), over: index, &effects)
            }
            let patience: Delay = id < links[index].peer ? .seconds(2) : .seconds(5)
            if role.isEmpty, links[index].peerRole.isEmpty, now - links[index].since > patience {
                unneeded.append(index)
            }
        }
        for index in unneeded where links.established.count > configuration.degree / 2 {
            closeInOrder(index, .unneeded, &effects)
        }
    }
}
