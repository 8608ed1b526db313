import MeshWire

/// The doubts of a node: about others, and whether it is alone itself.
struct Suspicions {
    var accusations = Accusations()
    /// Others wait for this node's word.
    var inquiries: [Inquiry] = []
    /// Members that refusals have struck, which may have been no deaths.
    var struck: [StruckMember] = []
    var isolation = Isolation()
}

/// Watchers are neighbours: each link is watched by its two ends, and death takes the word of several.
///
///     silence or a lost connection → this node avoids the link, and redials
///     → still nothing → accuse, to the other watchers (`Accusation`)
///     → silence: three watchers, or all that answer, and nobody vouches:
///         suspect, for all to see; dead 2.5 s later unless it refutes
///     → refused connections: all watchers that live: dead
extension Node {
    /// Bytes came over a link.
    @inline(__always)
    mutating func heard(_ index: LinkIndex) {
        guard links.isValid(index), links[index].state != .free else { return }
        if links[index].isDoubted { trustAgain(index) }
        links[index].heardAt = now
    }

    private mutating func trustAgain(_ index: LinkIndex) {
        noteEndOfSilence(on: index)
        links[index].heardAt = now
        links[index].isDoubted = false
        withdrawAccusation(of: links[index].member)
        timers.schedule(.silence, at: now + configuration.timing.silence)
        linksChanged()
        wayFound()
    }

    /// This node has a link to the member and hears it.
    func hears(_ index: MemberIndex) -> Bool {
        hears(index, within: configuration.timing.heartbeat * 2)
    }

    /// This node has a link to the member over which something came less than `age` ago.
    func hears(_ index: MemberIndex, within age: Delay) -> Bool {
        hasTrustedLink(to: index) && now - links[members.link(of: index)].heardAt < age
    }

    /// A link to the member stands, and has not been silent too long.
    func hasTrustedLink(to index: MemberIndex) -> Bool {
        let link = members.link(of: index)
        return !link.isNone && !links[link].isDoubted
    }

    /// When a link has been silent too long. The first word over one that was accepted is a whole round
    /// trip behind this node's own.
    func silenceDue(_ index: LinkIndex) -> Instant {
        let timing = configuration.timing
        let isFirst = !links[index].isDialled && links[index].heardAt == links[index].since
        return links[index].heardAt
            + (isFirst ? max(timing.silence, timing.greetingPause) : timing.silence)
    }

    /// Finds links that are silent too long, and when the next one can be.
    mutating func checkSilence(_ effects: inout EffectBuffer) {
        var next: Instant?
        var silent: [LinkIndex] = []
        for index in links.established where !links[index].isDoubted {
            let due = silenceDue(index)
            if due <= now {
                silent.append(index)
            } else {
                // Bytes that come meanwhile may make it due earlier.
                let look = min(due, now + configuration.timing.silence)
                next = min(next ?? look, look)
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

    /// This node was not running for a while. A node that seems silent gets another chance, and one
    /// that is suspected its time to refute anew: what was said meanwhile has not been heard.
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
}
