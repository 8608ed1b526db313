import MeshWire

/// A member that this node does not hear, and what the other watchers say (<doc:Membership>).
struct Accusation {
    var subject: MemberIndex
    var incarnation: Incarnation
    var evidence: Evidence
    /// The watchers that do not hear it either, this node among them.
    var accusers: [NodeID]
    /// Somebody hears it: it is not accused in this round.
    var isVouched = false
    var due: Instant
}

/// The doubts of a node: about others, and whether it is alone itself.
struct Suspicions {
    var accusations: [Accusation] = []
    var isolation = Isolation()
}

/// Watchers are neighbours: each link is watched by its two ends, and death takes the word of several.
///
///     silence or a lost connection → this node avoids the link, and redials
///     → still nothing → accuse, to the other watchers
///     → three watchers, or all that answer, and nobody vouches:
///         refused connections: dead
///         silence:             suspect, for all to see; dead 2.5 s later unless it refutes
extension Node {
    /// Three watchers must agree, or all there are. A guess: two can share a switch.
    static var accuserCountNeeded: Int { 3 }

    /// Bytes came over a link.
    @inline(__always)
    mutating func heard(_ index: LinkIndex) {
        guard links.isValid(index), links[index].state != .free else { return }
        links[index].heardAt = now
        if links[index].isDoubted { trustAgain(index) }
    }

    private mutating func trustAgain(_ index: LinkIndex) {
        links[index].isDoubted = false
        withdrawAccusation(of: links[index].member)
        timers.schedule(.silence, at: now + configuration.timing.silence)
        linksChanged()
        wayFound()
    }

    /// This node has a link to the member and hears it.
    func hears(_ index: MemberIndex) -> Bool {
        let link = members[index].link
        return !link.isNone && !links[link].isDoubted
            && now - links[link].heardAt < configuration.timing.heartbeat * 2
    }

    /// Finds links that are silent too long, and when the next one can be.
    mutating func checkSilence(_ effects: inout EffectBuffer) {
        var next: Instant?
        var silent: [LinkIndex] = []
        for index in links.established where !links[index].isDoubted {
            let due = links[index].heardAt + configuration.timing.silence
            if due <= now {
                silent.append(index)
            } else {
                next = min(next ?? due, due)
            }
        }
        if let next { timers.schedule(.silence, at: next) }
        for index in silent {
            links[index].isDoubted = true
            linksChanged()
            wayLost(index)
            accuse(links[index].member, .silence, &effects)
        }
        if !silent.isEmpty, isCutOff { timers.schedule(.probe, at: now) }
    }

    /// This node was not running for a while. Whoever seems silent gets another chance, and whoever
    /// is suspected its time to refute anew: what was said meanwhile has not been heard.
    mutating func forgivePause() {
        for index in links.established where !links[index].isDoubted {
            links[index].heardAt = now
        }
        timers[.silence] = now + configuration.timing.silence
        guard timers[.suspicion] != nil else { return }
        let anew = now + configuration.timing.suspicion
        for entry in members.ring where members.deathDue(of: entry.index) != nil {
            members.adjust(entry.index) { $0.deathDue = anew }
        }
        timers[.suspicion] = anew
    }

    // MARK: Accusing

    /// The others that should hear a member: its links, as it has told, or its ring neighbours.
    private func watchers(of subject: MemberIndex) -> [NodeID] {
        let member = members[subject]
        var watchers = lists.links(of: member.id) ?? []
        if watchers.isEmpty {
            for steps in [1, -1, 2, -2] where members.ring.count > 4 {
                watchers.append(members[members.clockwise(from: member.id, steps: steps)].id)
            }
        }
        return watchers.filter { watcher in
            guard watcher != id, watcher != member.id, let index = members.index(of: watcher)
            else { return false }
            return members.status(of: index) == .alive
        }
    }

    mutating func accuse(
        _ subject: MemberIndex, _ evidence: Evidence, _ effects: inout EffectBuffer
    ) {
        guard subject > .oneself, members.status(of: subject).isPresent else { return }
        let member = members[subject]
        let patience: Delay =
            evidence == .refused ? .milliseconds(150) : configuration.timing.accusation
        if let position = suspicions.accusations.firstIndex(where: { $0.subject == subject }) {
            if suspicions.accusations[position].evidence < evidence {
                suspicions.accusations[position].evidence = evidence
                suspicions.accusations[position].due = min(
                    suspicions.accusations[position].due, now + patience)
            }
        } else {
            suspicions.accusations.append(
                Accusation(
                    subject: subject, incarnation: member.incarnation, evidence: evidence,
                    accusers: [id], due: now + patience))
        }
        send(
            .accuse(subject: member.id, member.incarnation, evidence),
            to: watchers(of: subject), &effects)
        timers.schedule(.accusation, at: now + patience)
        considerAccusation(of: subject, &effects)
    }

    mutating func withdrawAccusation(of subject: MemberIndex) {
        if suspicions.accusations.isEmpty { return }
        suspicions.accusations.removeAll { $0.subject == subject }
    }

    /// Another watcher does not hear `subject`.
    mutating func receivedAccusation(
        of subject: NodeID, _ incarnation: Incarnation, _ evidence: Evidence, by accuser: NodeID,
        _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: subject), index != .oneself,
            members.status(of: index).isPresent, members[index].incarnation == incarnation
        else { return }
        if evidence == .silence, hears(index) {
            send(.vouch(subject: subject, incarnation), to: [accuser], &effects)
            return
        }
        guard let position = suspicions.accusations.firstIndex(where: { $0.subject == index })
        else {
            return
        }
        if !suspicions.accusations[position].accusers.contains(accuser) {
            suspicions.accusations[position].accusers.append(accuser)
        }
        considerAccusation(of: index, &effects)
    }

    mutating func receivedVouch(
        for subject: NodeID, _ incarnation: Incarnation, _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: subject),
            let position = suspicions.accusations.firstIndex(where: { $0.subject == index }),
            suspicions.accusations[position].evidence == .silence
        else { return }
        suspicions.accusations[position].isVouched = true
    }

    /// Enough accusers end the matter before its time.
    private mutating func considerAccusation(
        of subject: MemberIndex, _ effects: inout EffectBuffer
    ) {
        guard let position = suspicions.accusations.firstIndex(where: { $0.subject == subject })
        else {
            return
        }
        let accusation = suspicions.accusations[position]
        if accusation.isVouched { return }
        let all = watchers(of: subject).count + 1
        if accusation.accusers.count >= min(Self.accuserCountNeeded, all) {
            conclude(accusation, &effects)
        }
    }

    private mutating func conclude(
        _ accusation: Accusation, _ effects: inout EffectBuffer
    ) {
        withdrawAccusation(of: accusation.subject)
        switch accusation.evidence {
        case .refused: declareDead(accusation.subject, &effects)
        case .silence: declareSuspect(accusation.subject, &effects)
        }
    }

    /// Accusations whose time is up: nobody vouched, or another round.
    mutating func decideAccusations(_ effects: inout EffectBuffer) {
        var next: Instant?
        for accusation in suspicions.accusations {
            if accusation.due > now {
                next = min(next ?? accusation.due, accusation.due)
                continue
            }
            if !accusation.isVouched {
                conclude(accusation, &effects)
                continue
            }
            // Others hear it: the fault is in the link. Ask again for as long as it lasts.
            withdrawAccusation(of: accusation.subject)
            let link = members[accusation.subject].link
            if !link.isNone, links[link].isDoubted {
                if now - links[link].heardAt > configuration.timing.silence * 3 {
                    drop(link, .silent, &effects)
                    postpone(accusation.subject)
                } else {
                    accuse(accusation.subject, .silence, &effects)
                    next = min(
                        next ?? now + configuration.timing.accusation,
                        now + configuration.timing.accusation)
                }
            }
        }
        if let next { timers.schedule(.accusation, at: next) }
    }
}
