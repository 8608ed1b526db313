import MeshWire

/// Changes of membership: taken if they outrank what is known, and flooded over all links, once.
extension Node {
    /// Takes what a peer says about members.
    ///
    /// - Parameter isRepair: the peer tells what it knows rather than news. Then death is hearsay:
    ///   it may come from the other side of a partition that has healed, and is only suspected
    ///   until the accused has had its chance to refute.
    mutating func merge(
        _ records: [MemberRecord], from link: LinkIndex, isRepair: Bool,
        _ effects: inout EffectBuffer
    ) {
        for position in records.indices {
            if position % MemberTable.anticipatedCount == 0 {
                let few = records[position...].prefix(MemberTable.anticipatedCount)
                members.anticipate(few) {
                    $0.id
                } endpoint: {
                    $0.endpoint
                }
            }
            if isOld(records[position], over: link) { continue }
            var record = records[position]
            if record.id == id {
                if receivedAboutOneself(record, &effects), links[link].state != .free {
                    send(.members([members[.oneself].record], isRepair: true), over: link, &effects)
                }
                continue
            }
            if isRepair, !record.status.isPresent, let known = members.index(of: record.id),
                members.status(of: known).isPresent, record.status == .dead
            {
                record.status = .suspect
            }
            _ = merge(record, from: link, isFirstHand: false, &effects)
        }
        if links[link].state == .introducing, links[link].isDialled,
            let peer = members.index(of: links[link].peer), members.status(of: peer).isPresent,
            join.isIntroduced, links[link].purpose != .introduce || records.count == 1
        {
            forget(link, &effects)
            timers.schedule(.maintenance, at: now)
        }
    }

    /// Whether a record says no more of another member than this node knows, as nearly all do: it
    /// came over another link before.
    @inline(__always)
    private mutating func isOld(_ record: borrowing MemberRecord, over link: LinkIndex) -> Bool {
        guard let index = members.index(of: record.id), index != .oneself else { return false }
        let incarnation = members.incarnation(of: index)
        let status = members.status(of: index)
        if record.incarnation != incarnation { return record.incarnation < incarnation }
        if record.status == status { knows(index, over: link) }
        return record.status <= status
    }

    /// Takes news of members that are known here. Of others the news of their coming is under way, and
    /// the digests will tell if it is not.
    mutating func apply(
        _ changes: [StatusChange], from link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        for change in changes {
            guard let index = members.index(of: change.id) else { continue }
            var record = members[index].record
            // The same life, of which birth's lowest 16 bits tell.
            let known = record.incarnation.rawValue
            guard UInt32(truncatingIfNeeded: known) >> 16 == change.incarnation >> 16 else {
                continue
            }
            record.incarnation = Incarnation((known & ~0xFFFF_FFFF) | UInt64(change.incarnation))
            record.status = change.status
            merge([record], from: link, isRepair: false, &effects)
        }
    }

    /// Takes one record. Returns the member's index if it is present afterwards.
    ///
    /// - Parameter isFirstHand: the record comes from the member itself, in a greeting.
    mutating func merge(
        _ record: MemberRecord, from link: LinkIndex, isFirstHand: Bool,
        _ effects: inout EffectBuffer
    ) -> MemberIndex? {
        guard record.id != id else { return nil }
        guard isPlausible(record.incarnation, of: record.id) else {
            counters[.protocolErrors] &+= 1
            return nil
        }
        guard let index = members.index(of: record.id) else {
            guard record.status.isPresent else { return nil }
            return admit(record, from: link, isFirstHand: isFirstHand, &effects)
        }
        // Nearly all news is old: it came over another link before.
        let status = members.status(of: index)
        let incarnation = members.incarnation(of: index)
        let outranks =
            record.incarnation > incarnation
            || record.incarnation == incarnation && record.status > status
        guard outranks else {
            if record.incarnation == incarnation, record.status == status {
                knows(index, over: link)
            }
            return status.isPresent ? index : nil
        }
        let known = members[index]

        if record.status != .alive, known.status.isPresent, hears(index), link != known.link {
            // This node hears the accused. It is told, and refutes; or it is leaving, and says so
            // itself.
            send(.members([record], isRepair: false), over: known.link, &effects)
            if record.status != .suspect { return index }
        }
        if record.status.isPresent, !status.isPresent || record.endpoint != known.endpoint,
            !takesAddress(record, from: link, isFirstHand: isFirstHand, &effects)
        {
            return status.isPresent ? index : nil
        }
        if record.incarnation.life != known.incarnation.life, known.status.isPresent {
            // While its log still says what there is to withdraw.
            withdrawKeys(of: index, &effects)
        }
        members.replace(index, with: record, at: now)
        let teller = links[link].state == .free ? nil : links[link].peer
        statusChanged(index, from: known.status, Doubt(.told, by: teller), &effects)
        // A member that was gone may have been forgotten elsewhere.
        let isKnown =
            known.status.isPresent && record.incarnation.life == known.incarnation.life
            && record.capabilities == known.capabilities
        tell(index, except: link, isStatus: isKnown)
        return record.status.isPresent ? index : nil
    }

    /// Somebody new, or back from the dead after having been forgotten.
    private mutating func admit(
        _ record: MemberRecord, from link: LinkIndex, isFirstHand: Bool,
        _ effects: inout EffectBuffer
    ) -> MemberIndex? {
        guard takesAddress(record, from: link, isFirstHand: isFirstHand, &effects) else {
            return nil
        }
        guard let index = members.insert(Member(record, at: now)) else { return nil }
        router.admit(index)
        coordinates.admit(index)
        statusChanged(index, from: .dead, Doubt(.told), &effects)
        tell(index, except: link, isStatus: false)
        return index
    }

    /// A node restarted at the same address replaces its former self (<doc:Membership>), and two can claim
    /// one address by mistake. The answer there decides: a member is dead when another node answers
    /// whose own address this is. Its watchers dial it to find out, and so do those that the newcomer greets.
    ///
    /// False: somebody later born is known there, and what is said of this one came late.
    private mutating func takesAddress(
        _ record: MemberRecord, from link: LinkIndex, isFirstHand: Bool,
        _ effects: inout EffectBuffer
    ) -> Bool {
        guard let other = members.index(at: record.endpoint), members.id(of: other) != record.id
        else { return true }
        if other == .oneself { return sharesOwnAddress(record, &effects) }
        if isFirstHand, links[link].isDialled, links[link].endpoint == record.endpoint {
            declareDead(other, .replaced, &effects)
            return true
        }
        if !isFirstHand, members[other].incarnation > record.incarnation { return false }
        if isFirstHand || isWatched(other) { probe(other, &effects) }
        return true
    }

    /// Another node advertises this one's address. It is a member like others, which this node does not
    /// dial: nobody reaches it there. False: it may be this node's own former life, of which the others
    /// will have heard that it is over.
    private mutating func sharesOwnAddress(
        _ record: MemberRecord, _ effects: inout EffectBuffer
    ) -> Bool {
        guard record.incarnation > incarnation || now - join.startedAt > Self.formerLifeTime
        else { return false }
        complain(of: record.endpoint, .addressShared(record.id, id), &effects)
        return true
    }

    /// A guess: watchers find out in milliseconds, and a node that heals from a partition in seconds.
    private static var formerLifeTime: Delay { .seconds(10) }

    /// This node has, or wants, a link to the member, or has just lost it.
    private func isWatched(_ index: MemberIndex) -> Bool {
        !members.link(of: index).isNone || members[index].wantedSince != nil
            || suspicions.accusations.contains(index)
    }

    /// Draws the consequences of a new status, which the table already has.
    private mutating func statusChanged(
        _ index: MemberIndex, from former: MemberStatus, _ doubt: Doubt,
        _ effects: inout EffectBuffer
    ) {
        let id = members.id(of: index)
        let status = members.status(of: index)
        gossip.changedAt = now
        router.invalidate()
        switch status {
        case .alive:
            if !former.isPresent {
                departed.remove(index)
                lostMembers.remove(members.endpoint(of: index))
                effects.append(.log(.memberUp(id)))
                timers.schedule(.maintenance, at: now + .milliseconds(20))
            }
            withdrawAccusation(of: index)
        case .suspect:
            reviewAccusations()
            counters[.suspicions] &+= 1
            effects.append(.log(.memberSuspect(id, doubt)))
            let due = deathDue(of: index)
            members.adjust(index) { $0.deathDue = due }
            timers.schedule(.suspicion, at: due)
        case .dead, .left:
            guard former.isPresent else { return }
            if status == .dead {
                counters[.deaths] &+= 1
                let endpoint = members.endpoint(of: index)
                // A new life at the same address has answered for it.
                if members.index(at: endpoint) == nil { lostMembers.insert(endpoint, at: id, now) }
                effects.append(.memberDied(id))
                effects.append(.log(.memberDead(id, doubt)))
            } else {
                effects.append(.log(.memberLeft(id)))
            }
            departed.append(index)
            noteStrike(index)
            withdrawAccusation(of: index)
            _ = takeInquiries(about: index)
            reviewAccusations()
            lists.remove(id)
            withdrawKeys(of: index, &effects)
            members.adjust(index) {
                $0.dialFailures = 0
                $0.dialNotBefore = nil
                $0.wantedSince = nil
            }
            let link = members.link(of: index)
            if !link.isNone {
                if status == .left {
                    // It closes the link itself, when nothing is under way through it any more.
                    links[link].isPeerLeaving = true
                    linksChanged()
                } else {
                    drop(link, .peerDead, &effects)
                }
            }
            if status == .left {
                awaitLastAcknowledgements(of: index)
            } else {
                giveUp(index, &effects)
                flows.dropWaiting(from: id)
            }
            strikeFromQueries(index, &effects)
            timers.schedule(.maintenance, at: now)
        }
        checkReady(&effects)
    }

    /// This node has evidence of its own that a member is gone for good.
    mutating func declareDead(
        _ index: MemberIndex, _ cause: Doubt.Cause, _ effects: inout EffectBuffer
    ) {
        change(index, to: .dead, cause, &effects)
    }

    mutating func declareSuspect(
        _ index: MemberIndex, _ cause: Doubt.Cause, _ effects: inout EffectBuffer
    ) {
        if members.status(of: index) == .alive { change(index, to: .suspect, cause, &effects) }
    }

    private mutating func change(
        _ index: MemberIndex, to status: MemberStatus, _ cause: Doubt.Cause,
        _ effects: inout EffectBuffer
    ) {
        let former = members.status(of: index)
        guard former.isPresent, former != status else { return }
        members.update(index, to: status, at: now)
        let link = members.link(of: index)
        let silence = link.isNone ? nil : now - links[link].heardAt
        statusChanged(index, from: former, Doubt(cause, after: silence), &effects)
        tell(index, except: .none, isStatus: true)
    }

    /// Suspicions that nobody has refuted.
    mutating func expireSuspicions(_ effects: inout EffectBuffer) {
        var next: Instant?
        var expired: [MemberIndex] = []
        for entry in members.ring {
            guard let due = members.deathDue(of: entry.index) else { continue }
            if due <= now {
                expired.append(entry.index)
            } else {
                next = min(next ?? due, due)
            }
        }
        for index in expired {
            if hears(index) {
                // It lives, and has not heard that it is suspected: tell it once more.
                let again = now + configuration.timing.suspicion
                members.adjust(index) { $0.deathDue = again }
                next = min(next ?? again, again)
                send(
                    .members([members[index].record], isRepair: false),
                    over: members[index].link, &effects)
            } else {
                declareDead(index, .unrefuted, &effects)
            }
        }
        if let next { timers.schedule(.suspicion, at: next) }
    }

    /// Nobody has started a day from now. Without this bound a liar could put somebody's incarnation where no
    /// refutation reaches it.
    ///
    /// The bound is one time of day for all nodes, whenever they and the subject were started: what is believed
    /// anywhere the subject can outbid, and what it says then is believed everywhere. A bound that moved with the
    /// births that are known could be pushed further by every lie while the subject stands still.
    ///
    /// Wall clocks can be wrong by years: this node's, or that of a node which nobody has known so
    /// far. Whose id is new has no refutations to be kept from, so its birth is taken as it is said. From then on
    /// it is the only one: a life is as long as an id.
    func isPlausible(_ incarnation: Incarnation, of subject: NodeID) -> Bool {
        let uptime = UInt64(max(0, (now - join.startedAt).milliseconds))
        if incarnation.life < bootMilliseconds &+ uptime &+ 86_400_000 { return true }
        guard let known = members.index(of: subject) else { return true }
        // More refutations than one life counts begin the next one.
        return incarnation.life <= members[known].incarnation.life &+ 1
    }

    // MARK: This node itself

    /// Somebody says that this node is suspect or dead, or knows a later life of it. Returns
    /// whether the sender should be told otherwise.
    private mutating func receivedAboutOneself(
        _ record: MemberRecord, _ effects: inout EffectBuffer
    ) -> Bool {
        if departure.hasBegun { return false }
        guard isPlausible(record.incarnation, of: id) else {
            counters[.protocolErrors] &+= 1
            return true
        }
        if record.incarnation > incarnation
            || record.status != .alive && record.incarnation == incarnation
        {
            refute(record.incarnation, isSuspicion: record.status == .suspect, &effects)
            return true
        }
        return record.incarnation < incarnation
    }

    /// Raises this node's incarnation above `claim`, so that its word outranks its accusers'.
    ///
    /// - Parameter isSuspicion: it is no worse; whoever believes it knows this node.
    mutating func refute(
        _ claim: Incarnation, isSuspicion: Bool, _ effects: inout EffectBuffer
    ) {
        var record = members[.oneself].record
        record.incarnation = max(claim, record.incarnation).next()
        members.replace(.oneself, with: record, at: now)
        counters[.refutations] &+= 1
        effects.append(.log(.refuted))
        let isStatus = isSuspicion && claim.life == bootMilliseconds
        tell(.oneself, except: .none, isStatus: isStatus && !record.capabilities.isDraining)
        // Those who took this node for dead have forgotten its links.
        if !isSuspicion {
            lists.forgetTold()
            ownListChanged()
        }
    }

    /// This node sends its clients elsewhere and then leaves: all others are told.
    package mutating func announceDrain(at now: Instant, into effects: inout EffectBuffer) {
        if now > self.now { self.now = now }
        if departure.hasBegun { return }
        var record = members[.oneself].record
        record.capabilities.features |= Capabilities.draining
        record.incarnation = record.incarnation.next()
        members.replace(.oneself, with: record, at: now)
        tell(.oneself, except: .none, isStatus: false)
        settleChanges(&effects)
    }

    // MARK: Flooding

    /// Puts a member on the list of what the neighbours are to be told.
    ///
    /// - Parameter isStatus: the neighbours know all but its new status, which is all they are told.
    mutating func tell(_ index: MemberIndex, except link: LinkIndex, isStatus: Bool) {
        var change = PendingChange(
            index: index, isStatus: isStatus, knowers: PendingChange.bit(link))
        if let position = members.pendingPlace(of: index) {
            // The node that told the former news knows nothing of this.
            if !gossip.pending[position].isStatus { change.isStatus = false }
            gossip.pending[position] = change
        } else {
            members.adjust(index) { $0.pendingPlace = gossip.pending.count }
            gossip.pending.append(change)
            hasPendingChanges = true
        }
    }

    /// The news that is to be told has come over this link too.
    @inline(__always)
    private mutating func knows(_ index: MemberIndex, over link: LinkIndex) {
        if let position = members.pendingPlace(of: index) {
            gossip.pending[position].knowers |= PendingChange.bit(link)
        }
    }

    /// A slot has another peer, who knows nothing yet.
    mutating func forgetWhatIsKnown(over link: LinkIndex) {
        for position in gossip.pending.indices {
            gossip.pending[position].knowers &= ~PendingChange.bit(link)
        }
    }

    /// Between one telling and the next. A single change travels at once; while there is always
    /// something to tell, as in a cold start of thousands, it travels in fewer and larger frames: a
    /// frame a link every 5 ms was nearly all that such a start did (10,000 nodes within 20 s).
    static var gossipPauseMin: Delay { .milliseconds(5) }
    /// Where thousands join at once each telling is of dozens all the same, and a frame of each
    /// neighbour every 40 ms is dear.
    static func gossipPauseMax(members: Int) -> Delay { .milliseconds(members > 2_048 ? 100 : 40) }

    /// Tells at once if nothing was told in the last few milliseconds; otherwise gathers.
    mutating func disseminateSoon(_ effects: inout EffectBuffer) {
        if now - gossip.toldAt >= gossip.pause {
            disseminate(&effects)
        } else {
            timers.schedule(.gossip, at: gossip.toldAt + gossip.pause)
        }
    }

    mutating func disseminate(_ effects: inout EffectBuffer) {
        guard !gossip.pending.isEmpty else { return }
        gossip.pause =
            now - gossip.toldAt > gossip.pause * 2
            ? Self.gossipPauseMin
            : min(gossip.pause * 2, Self.gossipPauseMax(members: members.ring.count))
        gossip.toldAt = now
        timers[.gossip] = nil
        // Each record is encoded once; a link's frame is put together of those it has not brought.
        var records: [NewsPiece] = []
        var statuses: [NewsPiece] = []
        for change in gossip.pending where members.contains(change.index) {
            members.adjust(change.index) { $0.pendingPlace = nil }
            let record = members[change.index].record
            let start = effects.bytes.count
            if change.isStatus {
                effects.bytes.append(StatusChange(record))
            } else {
                effects.bytes.append(record)
            }
            let piece = NewsPiece(
                bytes: Slice(start: start, count: effects.bytes.count - start),
                knowers: change.knowers)
            if change.isStatus { statuses.append(piece) } else { records.append(piece) }
        }
        gossip.pending.removeAll(keepingCapacity: true)
        hasPendingChanges = false
        disseminate(records, areStatuses: false, &effects)
        disseminate(statuses, areStatuses: true, &effects)
    }

    /// A member's record, or its new status, encoded, and the links that need not bear it.
    private struct NewsPiece {
        var bytes: Slice
        var knowers: UInt64
    }

    private mutating func disseminate(
        _ pieces: [NewsPiece], areStatuses: Bool, _ effects: inout EffectBuffer
    ) {
        if pieces.isEmpty { return }
        var whole: Slice?
        for link in links.established {
            let bit = PendingChange.bit(link)
            let known = pieces.count { $0.knowers & bit != 0 }
            if known == pieces.count { continue }
            let frame: Slice
            if known == 0, let whole {
                frame = whole
            } else {
                let start = effects.bytes.beginMembersFrame(
                    pieces.count - known, areStatuses: areStatuses)
                for piece in pieces where piece.knowers & bit == 0 {
                    effects.bytes.append(copyOf: piece.bytes)
                }
                frame = effects.bytes.endFrame(start)
                if known == 0 { whole = frame }
            }
            transmit(frame, .empty, .control, over: link, &effects)
        }
    }
}

/// The news of members that a node tells its neighbours, and when things last changed.
struct Gossip {
    var pending: [PendingChange] = []
    var toldAt: Instant
    /// At least so long between one telling of changes and the next.
    var pause = Node.gossipPauseMin
    /// When a member or a log last changed here.
    var changedAt: Instant
    /// When this node last compared what it knows with a neighbour's.
    var comparedAt: Instant?

    init(at now: Instant) {
        toldAt = now - .seconds(1)
        changedAt = now
    }
}

/// A member that the neighbours are to be told of.
struct PendingChange {
    var index: MemberIndex
    /// Only the status is new.
    var isStatus: Bool
    /// The links that have brought this very news: a bit for each of the first 64 slots. Nearly all
    /// links are there, and whoever is not is told in vain, at worst.
    var knowers: UInt64

    @inline(__always)
    static func bit(_ link: LinkIndex) -> UInt64 {
        !link.isNone && link.slot < 64 ? 1 << UInt64(link.slot) : 0
    }
}
