import MeshWire

/// The attempts of a node that hears nobody any more to find somebody.
struct Isolation {
    /// Members that the next round dials; doubles with each round.
    var batch = 2
    /// Dials that came to nothing, since the last one that was answered.
    var unanswered = 0
}

/// A node none of whose links is heard is cut off, or everybody else is gone: nobody tells it which,
/// and it is linked with a few of those in its list. So it dials others, two, four, eight, … of them
/// every quarter of a second. One that does not answer is accused like a silent neighbour. When sixty in
/// a row have not answered, all others are suspected too. So a node that is cut off has struck the
/// rest from its list within ten seconds, whatever the size of the mesh, and goes on alone.
///
/// In a mesh of two the same dials ask the only other node, whose connection may be the only thing
/// that is broken, until the moment at which it is struck.
extension Node {
    private static var probePeriod: Delay { .milliseconds(250) }
    private static var probeCountMax: Int { 64 }
    /// Guess: of sixty drawn at random, none on this node's side of a cut.
    private static var unansweredCountMax: Int { 60 }

    /// No link is heard, though there are others.
    var isCutOff: Bool {
        join.isIntroduced && members.ring.count > 1
            && !links.established.contains { links[$0].isUsable }
    }

    /// Dials some members while no link is heard; `since` then.
    mutating func probe(_ effects: inout EffectBuffer) {
        guard isCutOff, !departure.hasBegun else {
            suspicions.isolation = Isolation()
            return
        }
        timers[.probe] = now + Self.probePeriod
        let underWay = links.indices.count { links[$0].isShakingHands && links[$0].isDialled }
        let count = min(suspicions.isolation.batch, Self.probeCountMax - underWay)
        suspicions.isolation.batch = min(suspicions.isolation.batch * 2, Self.probeCountMax)
        guard count > 0 else { return }
        for _ in 0..<count {
            let entry = members.ring[random.next(below: members.ring.count)]
            guard entry.index != .oneself else { continue }
            let endpoint = members[entry.index].endpoint
            let isAsked = links.indices.contains {
                links[$0].isShakingHands && links[$0].isDialled && links[$0].endpoint == endpoint
                    && now - links[$0].since < Self.probePeriod
            }
            if isAsked { continue }
            dial(endpoint, peer: entry.index, .introduce, stratum: 0, &effects)
        }
    }

    /// A probe has come back without an answer.
    mutating func isolationProbeFailed(_ effects: inout EffectBuffer) {
        guard isCutOff else { return }
        suspicions.isolation.unanswered += 1
        guard
            suspicions.isolation.unanswered >= min(Self.unansweredCountMax, members.ring.count - 1)
        else {
            return
        }
        for entry in members.ring where entry.index != .oneself {
            declareSuspect(entry.index, .cutOff, &effects)
        }
    }

    /// When a suspicion is to end in death. Whose only watcher this node is, or seems to be, has all
    /// the time that there is: nobody else can vouch for it.
    func deathDue(of index: MemberIndex) -> Instant {
        let due = now + configuration.timing.suspicion
        let link = members[index].link
        guard !link.isNone, members.ring.count == 2 || isCutOff else { return due }
        return max(due, links[link].heardAt + .milliseconds(4_900))
    }
}
