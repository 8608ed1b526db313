import MeshWire

/// From a connection to a link and back.
extension Node {
    /// A connection has got its slot.
    mutating func begin(_ index: LinkIndex) {
        forgetWhatIsKnown(over: index)
        forgetBacklog(of: index)
        links[index].since = now
        links[index].heardAt = now
        links[index].sentAt = now
        timers.schedule(.handshake, at: handshakeDue(index))
    }

    /// Opens a connection for a link or an introduction; nothing happens when no slot is free, or when
    /// others have named too many addresses lately (`DialLimits`).
    ///
    /// - Parameter former: the dead member that had this address.
    mutating func dial(
        _ endpoint: Endpoint, peer: MemberIndex?, former: MemberIndex? = nil,
        _ purpose: Greeting.Purpose, stratum: Int, _ effects: inout EffectBuffer
    ) {
        guard let index = links.free() else { return }
        guard join.isSeed(endpoint) || dialLimits.take(at: now) else {
            counters[.dialsWithheld] &+= 1
            return
        }
        links[index].state = .dialling
        links[index].connectPatience = configuration.timing.connect
        if let asked = peer ?? former, !purpose.isForLink {
            links[index].connectPatience = patience(with: asked)
        }
        links[index].isDialled = true
        links[index].endpoint = endpoint
        links[index].purpose = purpose
        links[index].stratum = stratum
        if let peer {
            links[index].member = peer
            links[index].peer = members[peer].id
        }
        begin(index)
        effects.append(.dial(index, endpoint))
    }

    mutating func connected(_ index: LinkIndex, _ effects: inout EffectBuffer) {
        guard links.isValid(index), links[index].state == .dialling else { return }
        links[index].state = .greeting
        links[index].since = now
        links[index].heardAt = now
        timers.schedule(.handshake, at: handshakeDue(index))
        send(.hello(greeting(links[index].purpose, links[index].stratum)), over: index, &effects)
    }

    /// The longest frame that the peer of a link may send now.
    @inline(__always)
    public func frameLengthMax(over index: LinkIndex) -> Int {
        guard links.isValid(index) else { return Frame.greetingLengthMax }
        switch links[index].state {
        case .free, .dialling, .awaiting, .greeting: return Frame.greetingLengthMax
        case .introducing, .established, .closing: return Frame.lengthMax
        }
    }

    private func greeting(_ purpose: Greeting.Purpose, _ stratum: Int) -> Greeting {
        Greeting(
            cluster: configuration.cluster, clusterID: clusterID, purpose: purpose,
            stratum: UInt8(truncatingIfNeeded: stratum), member: members[.oneself].record)
    }

    /// Why a greeting's sender cannot be talked to at all; nil if it can.
    private func objection(to greeting: Greeting) -> RefusalReason? {
        if greeting.cluster != configuration.cluster || greeting.clusterID != clusterID {
            return .wrongCluster
        }
        if greeting.member.id == id { return .oneself }
        if departure.hasBegun { return .leaving }
        return nil
    }

    // MARK: The accepting side

    mutating func receivedHello(
        _ greeting: Greeting, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        if let reason = objection(to: greeting) {
            if reason == .wrongCluster {
                complain(of: greeting.cluster, greeting.clusterID, on: index, &effects)
            }
            refuse(index, reason, &effects)
            return
        }
        links[index].isPeerLater = greeting.isLater
        let record = greeting.member
        guard record.status == .alive, isPlausible(record.incarnation, of: record.id) else {
            breach(.invalidValue(field: "status or birth"), on: index, &effects)
            return
        }
        if isImpersonated(record, on: index, &effects) {
            refuse(index, .duplicate, &effects)
            return
        }
        if let known = members.index(of: record.id), !members.status(of: known).isPresent,
            record.incarnation <= members[known].incarnation
        {
            refuse(index, .dead, knownAs: members[known].incarnation, &effects)
            return
        }
        guard let member = merge(record, from: index, isFirstHand: true, &effects) else {
            refuse(index, .full, &effects)
            return
        }
        links[index].peer = record.id
        links[index].member = member
        links[index].endpoint = record.endpoint
        links[index].purpose = greeting.purpose
        links[index].stratum = Int(greeting.stratum)
        if greeting.purpose == .probe {
            send(.welcome(self.greeting(.probe, 0)), over: index, &effects)
            forget(index, &effects)
            return
        }
        if greeting.purpose == .introduce {
            links[index].state = .introducing
            send(.welcome(self.greeting(.introduce, 0)), over: index, &effects)
            tellEverything(over: index, &effects)
            // The dialling side closes, once it has said in turn whom it knows.
            send(.refuse(.introduced, holder: NodeID(0), Incarnation(0)), over: index, &effects)
            return
        }
        if let reason = obstacle(to: greeting, from: member, on: index) {
            let holder = reason == .stratumTaken ? longRange.holder(of: links[index].stratum) : nil
            refuse(index, reason, holder: holder ?? NodeID(0), &effects)
            return
        }
        if greeting.purpose == .longRange { displace(for: member, on: index, &effects) }
        replaceOlder(than: index, with: member, &effects)
        guard makeRoom(for: greeting.purpose, of: member, &effects) else {
            refuse(index, .full, &effects)
            return
        }
        if greeting.purpose == .longRange || greeting.purpose == .longRangeAnywhere {
            links[index].peerRole = .longRange
            longRange.accept(record.id, stratum: links[index].stratum)
        }
        send(.welcome(self.greeting(greeting.purpose, links[index].stratum)), over: index, &effects)
        establish(index, &effects)
    }

    /// The obstacle to a link that is asked for; nil: none.
    private func obstacle(
        to greeting: Greeting, from member: MemberIndex, on index: LinkIndex
    ) -> RefusalReason? {
        let current = members[member].link
        if !current.isNone, !links[current].isDoubted,
            now - links[current].heardAt < configuration.timing.heartbeat * 2
        {
            return .duplicate
        }
        // Both dial at once: the connection of the lower id stands.
        if let ours = links.handshake(with: greeting.member.id, at: greeting.member.endpoint),
            ours != index, id < greeting.member.id
        {
            return .duplicate
        }
        if greeting.purpose == .longRange,
            let holder = longRange.holder(of: Int(greeting.stratum)),
            holder != greeting.member.id, !isNearer(member, than: holder)
        {
            return .stratumTaken
        }
        // A node that asks beyond its strata has few links: there may be nobody else who has as few.
        let isExtra = Int(greeting.stratum) == longRange.extraStratum
        if greeting.purpose == .longRangeAnywhere,
            longRange.acceptedCount >= longRange.strataCount,
            links.established.count >= configuration.degree - (isExtra ? 0 : 2)
        {
            return .stratumTaken
        }
        return nil
    }

    /// A node prefers the nearer of two that want its place in a stratum, if by much. Both sides of
    /// a link see the same round trip, so that the exchanges come to an end (Gale and Shapley 1962).
    private func isNearer(_ member: MemberIndex, than holder: NodeID) -> Bool {
        guard let index = members.index(of: holder), !members[index].link.isNone,
            links[members[index].link].role.isEmpty,
            now - links[members[index].link].since > Self.settled,
            let roundTrip = links[members[index].link].roundTrips.smoothed,
            let other = coordinates.estimate(member)
        else { return false }
        return Coordinates.isWorthChange(
            from: Double(roundTrip.microseconds) / 1_000, to: other)
    }

    /// A link of this age is no longer its peer's first, and its round trip is known. A guess.
    private static var settled: Delay { .seconds(5) }

    /// The caller gets the place of one who is farther; that one looks for another.
    private mutating func displace(
        for member: MemberIndex, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard let holder = longRange.holder(of: links[index].stratum),
            holder != links[index].peer, let former = members.index(of: holder),
            !members[former].link.isNone
        else { return }
        closeInOrder(members[former].link, .replaced, &effects)
    }

    /// Ends other connections with the same peer: a dead one, and our own attempt.
    private mutating func replaceOlder(
        than index: LinkIndex, with member: MemberIndex, _ effects: inout EffectBuffer
    ) {
        let current = members[member].link
        if !current.isNone { drop(current, .replaced, &effects) }
        if let ours = links.handshake(with: members.id(of: member), at: members[member].endpoint),
            ours != index
        {
            forget(ours, &effects)
        }
    }

    /// Room for one more link, to `peer`, under the degree cap, by ending one that is worth less.
    /// False: none.
    ///
    /// A node that stands in on the ring for another that cannot be reached gives way to the neighbour
    /// whose place it has; or else two neighbours, each full of such, would refuse each other for ever.
    private mutating func makeRoom(
        for purpose: Greeting.Purpose, of peer: MemberIndex, _ effects: inout EffectBuffer
    ) -> Bool {
        if links.established.count < configuration.degree { return true }
        var victim = LinkIndex.none
        var worth = purpose != .neighbour ? 1 : isRingNeighbour(peer) ? 3 : 2
        for index in links.established {
            let value = worthOfLink(index)
            let isFarther =
                value == worth && !victim.isNone
                && links[index].roundTrips.smoothed ?? .zero
                    > links[victim].roundTrips.smoothed ?? .zero
            if value < worth || isFarther {
                worth = value
                victim = index
            }
        }
        guard !victim.isNone else { return false }
        closeInOrder(victim, .unneeded, &effects)
        return true
    }

    /// 0: nothing to either side; 1: long-range; 2: close for the peer alone, or a stand-in on this
    /// node's ring; 3: a ring neighbour, or one of a full mesh.
    private mutating func worthOfLink(_ index: LinkIndex) -> Int {
        let close: LinkRole = [.successor, .predecessor, .mesh]
        let role = links[index].role
        if !role.isDisjoint(with: close) {
            return role.contains(.mesh) || isRingNeighbour(links[index].member) ? 3 : 2
        }
        if !links[index].peerRole.isDisjoint(with: close) { return 2 }
        return role.union(links[index].peerRole).isEmpty ? 0 : 1
    }

    /// One of the two nearest on either side, which this node is to be linked with.
    private mutating func isRingNeighbour(_ member: MemberIndex) -> Bool {
        [-2, -1, 1, 2].contains { members.neighbour($0) == member }
    }

    mutating func refuse(
        _ index: LinkIndex, _ reason: RefusalReason, holder: NodeID = NodeID(0),
        knownAs incarnation: Incarnation = Incarnation(0), _ effects: inout EffectBuffer
    ) {
        counters[.linksRefused] &+= 1
        send(.refuse(reason, holder: holder, incarnation), over: index, &effects)
        forget(index, &effects)
    }

    // MARK: The dialling side

    mutating func receivedWelcome(
        _ greeting: Greeting, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        if let reason = objection(to: greeting) {
            let endpoint = links[index].endpoint
            if reason == .oneself {
                strikeSeed(endpoint, &effects)
            }
            tellRefusal(endpoint, reason, &effects)
            forget(index, &effects)
            return
        }
        links[index].isPeerLater = greeting.isLater
        let record = greeting.member
        metAnother(record, on: index, &effects)
        if isImpersonated(record, on: index, &effects) {
            forget(index, &effects)
            return
        }
        if links[index].purpose == .probe {
            answeredProbe(record, on: index, &effects)
            return
        }
        if let known = members.index(of: record.id), !members.status(of: known).isPresent,
            record.incarnation <= members[known].incarnation
        {
            // It does not know that it is dead to us. Told so, it refutes on this connection.
            links[index].state = .introducing
            links[index].peer = record.id
            send(.members([members[known].record], isRepair: true), over: index, &effects)
            tellEverything(over: index, &effects)
            return
        }
        guard let member = merge(record, from: index, isFirstHand: true, &effects) else {
            forget(index, &effects)
            return
        }
        links[index].peer = record.id
        links[index].member = member
        if links[index].purpose == .introduce {
            noteAnswer(of: member, &effects)
            links[index].state = .introducing
            suspicions.isolation.unanswered = 0
            join.heard(links[index].endpoint, record.id)
            tellEverything(over: index, &effects)
            return
        }
        let current = members[member].link
        if !current.isNone { drop(current, .replaced, &effects) }
        replaceTarget(of: links[index].stratum, for: index, &effects)
        guard makeRoom(for: links[index].purpose, of: member, &effects) else {
            send(.bye, over: index, &effects)
            forget(index, &effects)
            return
        }
        establish(index, &effects)
    }

    /// A nearer target has accepted: the former one's link goes, unless it is of other use.
    private mutating func replaceTarget(
        of stratum: Int, for index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard links[index].purpose == .longRange, stratum < longRange.strataCount,
            let target = longRange.outgoing[stratum].target, target != links[index].peer,
            let former = members.index(of: target)
        else { return }
        let link = members[former].link
        longRange.abandon(stratum: stratum)
        guard !link.isNone else { return }
        links[link].role.remove(.longRange)
        links[link].isRoleTold = false
        if links[link].role.isEmpty, links[link].peerRole.isEmpty {
            closeInOrder(link, .replaced, &effects)
        }
    }

    mutating func receivedRefusal(
        _ reason: RefusalReason, holder: NodeID, _ known: Incarnation, on index: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        let link = links[index]
        if reason == .introduced {
            introduced(&effects)
            // Somebody who is dead to us, or suspect, may still refute on this connection.
            if let peer = members.index(of: link.peer), members.status(of: peer) == .alive {
                forget(index, &effects)
            }
            return
        }
        forget(index, &effects)
        if link.purpose == .probe, reason != .dead {
            // A peer that answers so has not said who it is.
            dialFailed(link, .unreachable, &effects)
            return
        }
        switch reason {
        case .introduced: break
        case .oneself:
            strikeSeed(link.endpoint, &effects)
            // Another member advertises this node's address.
            postpone(link.member)
        case .dead:
            guard isPlausible(known, of: id) else {
                counters[.protocolErrors] &+= 1
                postpone(link.member)
                return
            }
            if known >= incarnation { refute(known, isSuspicion: false, &effects) }
            guard dialLimits.mayRepeat(link.endpoint, at: now) else {
                postpone(link.member)
                return
            }
            dial(
                link.endpoint, peer: members.index(of: link.peer), link.purpose,
                stratum: link.stratum, &effects)
            return
        case .stratumTaken:
            longRange.refused(stratum: link.stratum, by: link.peer)
            timers.schedule(.maintenance, at: now + .milliseconds(20))
        case .duplicate:
            askWhoRefuses(link, &effects)
        case .full:
            if link.purpose == .neighbour { postpone(link.member) }
            if link.purpose == .longRange || link.purpose == .longRangeAnywhere {
                longRange.refused(stratum: link.stratum, by: link.peer)
                timers.schedule(.maintenance, at: now + .milliseconds(20))
            }
        case .wrongCluster, .wrongVersion, .leaving:
            postpone(link.member)
        }
        if reason != .duplicate && reason != .stratumTaken && reason != .full {
            tellRefusal(link.endpoint, reason, &effects)
        }
    }

    /// Everybody who is present, for a node that asks who is here.
    private mutating func tellEverything(over index: LinkIndex, _ effects: inout EffectBuffer) {
        var records: [MemberRecord] = []
        for entry in members.ring {
            records.append(members[entry.index].record)
            if records.count == 512 {
                send(.members(records, isRepair: true), over: index, &effects)
                records.removeAll()
            }
        }
        send(.members(records, isRepair: true), over: index, &effects)
        tellCoordinates(over: index, &effects)
    }

    // MARK: Links come and go

    private mutating func establish(_ index: LinkIndex, _ effects: inout EffectBuffer) {
        let member = links[index].member
        links.establish(index)
        links[index].peerCoordinate = coordinates.coordinate(of: member) ?? .origin
        links[index].since = now
        links[index].heardAt = now
        noteFresh(index)
        if join.areSeedsSilent { introduced(&effects) }
        members.adjust(member) {
            $0.link = index
            $0.dialFailures = 0
            $0.dialNotBefore = nil
            $0.wantedSince = nil
        }
        counters[.linksOpened] &+= 1
        effects.append(.log(.linkUp(links[index].peer)))
        if links[index].isDialled {
            if links[index].purpose == .longRange || links[index].purpose == .longRangeAnywhere {
                longRange.established(
                    links[index].peer, stratum: links[index].stratum,
                    isAnywhere: links[index].purpose == .longRangeAnywhere)
                links[index].role = .longRange
            }
        }
        withdrawAccusation(of: member)
        timers.schedule(.silence, at: now + configuration.timing.silence)
        linksChanged()
        wayFound()
        tellLinkLists(to: index, &effects)
        sendHeartbeat(over: index, &effects)
        if members.status(of: member) == .suspect {
            send(.members([members[member].record], isRepair: false), over: index, &effects)
        }
        timers.schedule(.maintenance, at: now + .milliseconds(20))
        foundLinkToAsk(index, &effects)
    }

    /// Ends a connection and frees its slot, whatever its state; no consequences for its peer.
    mutating func forget(_ index: LinkIndex, _ effects: inout EffectBuffer) {
        links.release(index)
        effects.append(.close(index))
    }

    /// Ends a link on purpose, so that nothing under way is lost: says bye behind all that was sent,
    /// and goes on to take what comes until the peer's bye. Bounded by `Timing.closing`.
    mutating func closeInOrder(
        _ index: LinkIndex, _ reason: LinkDownReason, _ effects: inout EffectBuffer
    ) {
        let frame = effects.bytes.appendLinkFrame(.bye)
        transmit(frame, .empty, .message, over: index, &effects)
        let link = links[index]
        links.beginClosing(index)
        links[index].since = now
        timers.schedule(.handshake, at: handshakeDue(index))
        unlinked(link, index, reason, &effects)
    }

    /// Ends a link of ours.
    mutating func drop(
        _ index: LinkIndex, _ reason: LinkDownReason, _ effects: inout EffectBuffer
    ) {
        guard links[index].state != .free else { return }
        let wasEstablished = links[index].state == .established
        let link = links[index]
        forget(index, &effects)
        if wasEstablished {
            wayLost(index)
            unlinked(link, index, reason, &effects)
            lostLinkToAsk(index, &effects)
        }
    }

    private mutating func unlinked(
        _ link: Link, _ index: LinkIndex, _ reason: LinkDownReason, _ effects: inout EffectBuffer
    ) {
        if members[link.member].link == index {
            members.adjust(link.member) { $0.link = .none }
        }
        counters[.linksLost] &+= 1
        effects.append(.log(.linkDown(link.peer, reason)))
        longRange.unlinked(link.peer)
        linksChanged()
        timers.schedule(.maintenance, at: now + .milliseconds(20))
        if isCutOff { timers.schedule(.probe, at: now + configuration.timing.silence) }
    }

    /// The driver's connection of this slot is gone.
    mutating func disconnected(
        _ index: LinkIndex, _ reason: Disconnection, _ effects: inout EffectBuffer
    ) {
        guard links.isValid(index), links[index].state != .free else { return }
        let link = links[index]
        links.release(index)
        switch link.state {
        case .free, .awaiting, .closing: break
        case .introducing:
            if link.isDialled, link.purpose == .introduce { introduced(&effects) }
        case .dialling, .greeting:
            noteSeedFailure(
                link, reason == .refused ? .refused : reason == .closed ? .closed : .silent)
            dialFailed(link, reason, &effects)
        case .established:
            if reason == .misbehaved { counters[.protocolErrors] &+= 1 }
            wayLost(index)
            unlinked(link, index, reason == .misbehaved ? .misbehaved : .closed, &effects)
            lostLinkToAsk(index, &effects)
            noteEnd(of: link, &effects)
            guard members.status(of: link.member).isPresent, !departure.hasBegun else { return }
            // Is it gone, or only the connection? Its address knows.
            dial(
                members[link.member].endpoint, peer: link.member,
                link.purpose == .introduce ? .neighbour : link.purpose, stratum: link.stratum,
                &effects)
        }
    }

    mutating func dialFailed(
        _ link: Link, _ reason: Disconnection, _ effects: inout EffectBuffer
    ) {
        if link.purpose == .longRange || link.purpose == .longRangeAnywhere {
            longRange.refused(stratum: link.stratum)
        }
        guard link.peer != NodeID(0), let member = members.index(of: link.peer),
            members.status(of: member).isPresent
        else { return }
        let evidence: Evidence = reason == .refused ? .refused : .silence
        if link.purpose == .probe {
            probeFailed(member, evidence, &effects)
            return
        }
        if link.purpose == .introduce {
            accuse(member, evidence, &effects)
            isolationProbeFailed(&effects)
            return
        }
        if reason == .closed, members[member].dialFailures < 3 {
            // A process that is just dying accepts and resets; a moment later it refuses.
            let due = now + .milliseconds(15)
            members.adjust(member) {
                $0.dialFailures += 1
                $0.dialNotBefore = due
            }
            timers.schedule(.maintenance, at: due)
        } else {
            postpone(member)
        }
        accuse(member, evidence, &effects)
        checkReady(&effects)
    }

    /// No further attempt to dial this member for a while, longer with each failure.
    mutating func postpone(_ member: MemberIndex) {
        guard !member.isNone, members.contains(member) else { return }
        let failures = members[member].dialFailures
        let delay = min(Delay.milliseconds(250) * (1 << Int64(min(failures, 6))), .seconds(8))
        let jitter = Delay(nanoseconds: Int64(random.next(below: Int(delay.nanoseconds / 4 + 1))))
        let due = now + delay + jitter
        members.adjust(member) {
            $0.dialFailures += 1
            $0.dialNotBefore = due
        }
        timers.schedule(.maintenance, at: due)
    }
}
