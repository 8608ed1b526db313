import MeshWire

/// The purpose of a timer, as the whole state of the node says it: all of it is looked at, and
/// nothing is trusted that is kept to find it sooner.
struct Awaited {
    /// At the latest then the timer must be due; nil: nothing is awaited.
    private(set) var due: Instant?
    private(set) var purpose = ""
    /// It is not set while nothing is awaited. Others are lazy: what ends the waiting leaves them as
    /// they are, and they run once into nothing.
    var isExact = false
    /// No timer of its kind is ever set for later than so long from now.
    var horizon: Delay

    init(within horizon: Delay, isExact: Bool = false) {
        self.horizon = horizon
        self.isExact = isExact
    }

    /// The earliest counts.
    mutating func add(_ due: Instant, _ purpose: @autoclosure () -> String) {
        if let earliest = self.due, earliest <= due { return }
        self.due = due
        self.purpose = purpose()
    }
}

/// Whether each timer is due for something, and everything that is due has a timer.
///
/// A forgotten timer is mostly made good by something else, later: a heartbeat, a round of
/// maintenance, the next message. So tests of what comes in the end do not see it; this does.
extension Node {
    /// The faults of this node's timers between two events, a sentence each; empty: none.
    ///
    /// For checkers: O(members + flows + users who are waited for).
    package func wrongTimers() -> [String] {
        var wrong: [String] = []
        for timer in Timer.allCases {
            if let fault = judge(timer, awaited(timer)) { wrong.append("\(timer): \(fault)") }
        }
        return wrong + unlistedFlows()
    }

    /// Sets a timer as this node's own code does not, for mistakes that are made on purpose.
    package mutating func misset(_ timer: Timer, _ due: Instant?, onlyIfUnset: Bool = false) {
        if !onlyIfUnset || timers[timer] == nil { timers[timer] = due }
    }

    private func judge(_ timer: Timer, _ awaited: Awaited) -> String? {
        func span(_ delay: Delay) -> String { "\(delay.milliseconds) ms" }
        let set = timers[timer]
        if let due = awaited.due {
            let needed = "due in \(span(due - now)) for \(awaited.purpose)"
            guard let set else { return "\(needed), but no timer is set" }
            if set > due { return "\(needed), but the timer is set for \(span(set - due)) later" }
        }
        guard let set else { return nil }
        if awaited.isExact, awaited.due == nil {
            return "set for in \(span(set - now)), but nothing is awaited"
        }
        if set > now + awaited.horizon {
            return "set for in \(span(set - now)), but nothing takes longer than "
                + span(awaited.horizon)
        }
        return nil
    }

    /// The time for which this timer must be set now.
    func awaited(_ timer: Timer) -> Awaited {
        let timing = configuration.timing
        switch timer {
        case .heartbeat: return periodic(timing.heartbeat)
        case .redial:
            // Half a period more at the most, by chance.
            return periodic(Delay(nanoseconds: timing.redial.nanoseconds * 3 / 2))
        case .maintenance: return maintenanceAwaited()
        case .silence: return silenceAwaited()
        case .handshake: return handshakesAwaited()
        case .suspicion: return suspicionsAwaited()
        case .accusation: return accusationsAwaited()
        case .gossip: return gossipAwaited()
        case .linkList: return linkListsAwaited()
        case .records: return recordsAwaited()
        case .confirmation: return confirmationsAwaited()
        case .catchingUp: return comparisonAwaited()
        case .departure: return departureAwaited()
        case .seeds: return seedsAwaited()
        case .query: return queriesAwaited()
        case .presence: return absencesAwaited()
        case .repair: return repairsAwaited()
        case .probe: return probesAwaited()
        case .acknowledgement: return acknowledgementsAwaited()
        case .retransmission: return retransmissionsAwaited()
        case .grace: return usersAwaited()
        case .withdrawal: return withdrawalsAwaited()
        }
    }

    /// Always set.
    private func periodic(_ period: Delay) -> Awaited {
        var awaited = Awaited(within: period)
        awaited.add(now + period, "its next turn")
        return awaited
    }

    // MARK: Overlay

    /// Besides its turn: members that this node is to be linked with and is not. Of others nobody can
    /// tell from the state alone whether the last round wanted them.
    private func maintenanceAwaited() -> Awaited {
        var awaited = periodic(configuration.timing.maintenance)
        if departure.hasBegun { return awaited }
        var wanted: [MemberIndex] = []
        if members.ring.count - 1 <= configuration.degree {
            for entry in members.ring where entry.index != .oneself { wanted.append(entry.index) }
        } else {
            for steps in [-2, -1, 1, 2] { wanted.append(members.clockwise(from: id, steps: steps)) }
        }
        for index in wanted where members.link(of: index).isNone {
            let member = members[index]
            if links.handshake(with: member.id, at: member.endpoint) != nil { continue }
            // A member that lives again is wanted from the next turn on.
            guard let since = member.wantedSince else { continue }
            // The one with the later birth dials at once (`want`).
            let isOurs =
                (incarnation.life, id.rawValue) > (member.incarnation.life, member.id.rawValue)
            let due = max(
                since + (isOurs ? .zero : .milliseconds(300)), member.dialNotBefore ?? now)
            // A member that has been dialled already has its turn with the others.
            if due > now { awaited.add(due, "dialling \(member.id)") }
        }
        return awaited
    }

    /// Lazy: what is heard does not move the timer, which finds that out.
    private func silenceAwaited() -> Awaited {
        let timing = configuration.timing
        var awaited = Awaited(within: max(timing.silence, timing.greetingPause))
        for index in links.established where !links[index].isDoubted {
            awaited.add(
                silenceDue(index),
                "the silence of link \(index.rawValue)")
        }
        return awaited
    }

    /// Lazy: most handshakes end before their time.
    private func handshakesAwaited() -> Awaited {
        var awaited = Awaited(within: configuration.timing.handshake)
        for index in links.indices
        where links[index].isShakingHands || links[index].state == .closing {
            awaited.add(
                handshakeDue(index),
                "link \(index.rawValue), which is \(links[index].state)")
        }
        return awaited
    }

    private func departureAwaited() -> Awaited {
        let timing = configuration.timing
        // Once it is over, and before the driver has ended it, a node has no links.
        var awaited = Awaited(within: timing.departure, isExact: !departure.hasBegun)
        if departure.hasBegun, !links.established.isEmpty {
            awaited.add(
                max(departure.begunAt + timing.departure, now + .milliseconds(10)), "the departure")
        }
        return awaited
    }

    private func seedsAwaited() -> Awaited {
        // A quarter more at the most, by chance.
        let longest = Delay(nanoseconds: configuration.timing.seedRetryMax.nanoseconds * 5 / 4)
        // A node that leaves asks nobody, and the timer runs once into nothing.
        var awaited = Awaited(within: longest, isExact: !departure.hasBegun)
        if !join.isIntroduced, !departure.hasBegun { awaited.add(now + longest, "its seeds") }
        return awaited
    }

    // MARK: Membership

    /// Lazy: refutations leave it as it is.
    private func suspicionsAwaited() -> Awaited {
        // `deathDue(of:)` gives the only watcher more.
        var awaited = Awaited(within: max(configuration.timing.suspicion, .milliseconds(4_900)))
        for entry in members.ring {
            if let due = members.deathDue(of: entry.index) {
                awaited.add(due, "death of \(entry.id)")
            }
        }
        return awaited
    }

    /// Lazy: those that come to an end before their time leave it as it is.
    private func accusationsAwaited() -> Awaited {
        // Round trips may have become shorter since.
        var awaited = Awaited(within: max(configuration.timing.accusation, .milliseconds(2_300)))
        for accusation in suspicions.accusations {
            awaited.add(accusation.due, "the accusation of \(members.id(of: accusation.subject))")
        }
        for inquiry in suspicions.inquiries {
            awaited.add(inquiry.due, "an inquiry about \(members.id(of: inquiry.subject))")
        }
        return awaited
    }

    private func gossipAwaited() -> Awaited {
        var awaited = Awaited(within: gossip.pause, isExact: true)
        if !gossip.pending.isEmpty {
            awaited.add(gossip.toldAt + gossip.pause, "\(gossip.pending.count) changes of members")
        }
        return awaited
    }

    /// Lazy: a link that comes leaves it as it is. That it must be set is not asked: a node may be cut off
    /// without having lost a link, by what it hears of members, and then dials at its next turn.
    private func probesAwaited() -> Awaited { Awaited(within: configuration.timing.silence) }

    // MARK: Routing

    private func linkListsAwaited() -> Awaited {
        let due = lists.due(now)
        var awaited = Awaited(within: due - now, isExact: true)
        if lists.hasNews { awaited.add(due, "news of links") }
        return awaited
    }

    // MARK: Directory

    private func recordsAwaited() -> Awaited {
        var awaited = Awaited(within: configuration.timing.batch, isExact: true)
        if !directory.unsent.isEmpty {
            awaited.add(
                max(now, directory.unsentAfter),
                "\(directory.unsent.count) changes of the directory")
        }
        return awaited
    }

    /// Lazy: acknowledgements leave it as it is.
    private func confirmationsAwaited() -> Awaited {
        var awaited = Awaited(within: Confirmations.patienceMax)
        for batch in directory.confirmations.batches where !batch.isKnown {
            awaited.add(max(now, batch.due), "changes up to \(batch.records.last) to be known")
        }
        return awaited
    }

    private func comparisonAwaited() -> Awaited {
        var awaited = Awaited(within: CatchingUp.time, isExact: true)
        if let catchingUp = directory.catchingUp {
            awaited.add(max(now, catchingUp.due), "a comparison")
        }
        return awaited
    }

    /// Lazy: answers leave it as it is.
    ///
    /// Nothing that was due while there was no link to ask over is here: the first comparison with a
    /// neighbour asks for it, and no timer.
    private func repairsAwaited() -> Awaited {
        // Twenty times as long for a neighbour that is sending other things (`repeatRepairs`).
        var awaited = Awaited(within: Self.repairPatience * 21)
        for entry in members.ring where entry.index != .oneself {
            let log = members[entry.index].log
            if log.isComplete || isWithdrawn(entry.index) { continue }
            guard let asked = log.repairDue else {
                awaited.add(now, "records of \(entry.id), which nobody has been asked for")
                continue
            }
            var due = asked
            if !log.repairLink.isNone, links[log.repairLink].isUsable {
                let heard = links[log.repairLink].repairedAt + Self.repairPatience
                due = min(max(asked, heard), asked + Self.repairPatience * 20)
            }
            if due <= now { continue }
            // With another link than before, or one in doubt, there is less time, and the timer stays
            // where it is.
            awaited.add(max(due, now + Self.repairPatience), "records of \(entry.id)")
        }
        return awaited
    }

    /// Lazy: who returns leaves it as it is.
    private func absencesAwaited() -> Awaited {
        var awaited = Awaited(within: configuration.timing.presenceGrace)
        if let due = directory.watched.earliestAbsence {
            awaited.add(due, "a watched user's absence")
        }
        return awaited
    }

    /// Lazy: a step that a newly withdrawn member makes at once may be the last.
    private func withdrawalsAwaited() -> Awaited {
        var awaited = Awaited(within: .zero)
        if !directory.withdrawals.isEmpty { awaited.add(now, "the next step of a withdrawal") }
        return awaited
    }

    // MARK: Delivery

    /// Lazy: the last answer leaves it as it is.
    private func queriesAwaited() -> Awaited {
        var awaited = Awaited(within: configuration.timing.query)
        for query in queries { awaited.add(query.due, "query \(query.id.rawValue)") }
        return awaited
    }

    /// Lazy: who comes back leaves it as it is.
    private func usersAwaited() -> Awaited {
        var awaited = Awaited(within: configuration.timing.reattachGrace)
        if let due = parked.earliestDue { awaited.add(due, "users who may come back") }
        if parked.heldCount > 0 {
            awaited.add(now + Self.barrierGrain, "messages that wait for others to come back")
        }
        return awaited
    }

    /// Lazy: what a message has carried back, and a gap that is closed, leave it as it is.
    private func acknowledgementsAwaited() -> Awaited {
        let timing = configuration.timing
        let longest = max(timing.acknowledgement, timing.gap, timing.gapRepeat)
        var awaited = Awaited(within: longest)
        for slot in 0..<flows.incoming.count {
            let flow = IncomingFlowIndex(slot)
            guard flows.incoming[flow].isListed else { continue }
            // No flow has more time, whatever is written down with it.
            awaited.add(min(flows.incoming[flow].due, now + longest), "the flow \(slot)")
        }
        return awaited
    }

    /// Lazy: acknowledgements that leave a flow more time leave it as it is.
    private func retransmissionsAwaited() -> Awaited {
        // A guess: no round trip is longer than 20 s, three of which are waited.
        var awaited = Awaited(within: .seconds(60))
        for slot in 0..<flows.outgoing.count {
            let flow = FlowIndex(slot)
            guard flows.outgoing[flow].count > 0 else { continue }
            // A flow that is acknowledged before it starts again keeps the mark, though what comes
            // next has a way: then nothing is to be hurried.
            let hop = flows.outgoing[flow].detour.lastHop
            if flows.outgoing[flow].mustRecover, hop.isNone || !links[hop].isUsable {
                awaited.add(now, "the flow \(slot), which has lost its way")
                continue
            }
            let due = min(dueTime(flow), flows.outgoing[flow].giveUpDue ?? dueTime(flow))
            // Timeouts are looked at no more often.
            awaited.add(max(due, now + Self.timeoutGrain), "the flow \(slot)")
        }
        return awaited
    }

    /// Flows that no list has, so that their timer passes over them.
    private func unlistedFlows() -> [String] {
        var wrong: [String] = []
        var dueCounts = [Int](repeating: 0, count: flows.incoming.count)
        for flow in flows.due { dueCounts[flow.slot] += 1 }
        var activeCounts = [Int](repeating: 0, count: flows.outgoing.count)
        for flow in flows.active { activeCounts[flow.slot] += 1 }
        for slot in 0..<flows.incoming.count {
            let flow = IncomingFlowIndex(slot)
            let count = dueCounts[slot]
            let isListed = flows.incoming[flow].isListed
            if count != (isListed ? 1 : 0) {
                wrong.append("acknowledgement: the flow \(slot) is listed \(count) times")
            }
            // A gap alone may be in no list: its origin was dead when it was to be told.
            if flows.incoming[flow].unacknowledged > 0, !isListed {
                wrong.append("acknowledgement: the flow \(slot) has something to tell, and no time")
            }
        }
        for slot in 0..<flows.outgoing.count {
            let flow = FlowIndex(slot)
            let count = activeCounts[slot]
            if count != (flows.outgoing[flow].count > 0 ? 1 : 0) {
                wrong.append("retransmission: the flow \(slot) is listed \(count) times")
            }
        }
        return wrong
    }
}
