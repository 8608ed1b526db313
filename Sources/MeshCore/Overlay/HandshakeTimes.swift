import MeshWire

/// How long connections may take (`Timing`):
///
///     dialling ── connect 7 s ──▶ stands ── greeting 2 s ──▶ first byte ── pauses 3 s ──▶ link
///                                 └──────────────── handshake 10 s ───────────────────────┘
extension Node {
    /// When a connection that is no link yet, or none any more, has taken too long.
    func handshakeDue(_ index: LinkIndex) -> Instant {
        let timing = configuration.timing
        switch links[index].state {
        case .dialling: return links[index].since + links[index].connectPatience
        case .closing: return links[index].since + timing.closing
        case .free, .awaiting, .greeting, .introducing, .established:
            let heardAt = links[index].heardAt
            let pause = heardAt == links[index].since ? timing.greeting : timing.greetingPause
            return min(heardAt + pause, links[index].since + timing.handshake)
        }
    }

    /// How long a connection may take to come about that is to tell whether a member is there: three
    /// round trips are a lost packet's time.
    func patience(with member: MemberIndex) -> Delay {
        let timing = configuration.timing
        let roundTrip = Delay.milliseconds(Int64(min(coordinates.estimate(member) ?? 0, 60_000)))
        return min(max(timing.probe, roundTrip * 3), timing.connect)
    }

    /// Handshakes and introductions that take too long.
    mutating func abandonHandshakes(_ effects: inout EffectBuffer) {
        var next: Instant?
        for index in links.indices
        where links[index].isShakingHands || links[index].state == .closing {
            let due = handshakeDue(index)
            if due > now {
                next = min(next ?? due, due)
                continue
            }
            let link = links[index]
            forget(index, &effects)
            noteSeedFailure(link, link.state == .dialling ? .silent : .late)
            if link.state == .awaiting {
                // The peer has not said which node it is.
                counters[.handshakesAbandoned] &+= 1
            } else if link.state == .introducing {
                if link.isDialled { introduced(&effects) }
            } else if link.isDialled {
                dialFailed(link, .unreachable, &effects)
            }
        }
        if let next { timers.schedule(.handshake, at: next) }
    }
}
