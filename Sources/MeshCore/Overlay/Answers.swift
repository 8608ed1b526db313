import MeshWire

/// An answer where a member was expected: by the member itself, by the one that has its address now, or by
/// somebody to whom something between has led.
extension Node {
    /// Somebody greets as a member that this node hears over the member's own link, but in another life
    /// or with another address. It is not that member: an id is drawn at the start of a process, which keeps
    /// its address, and a later life of it is told over its own link. Nothing that it says is taken.
    mutating func isImpersonated(
        _ record: MemberRecord, on index: LinkIndex, _ effects: inout EffectBuffer
    ) -> Bool {
        guard let member = members.index(of: record.id), member != .oneself,
            hasTrustedLink(to: member),
            record.incarnation.life != members.incarnation(of: member).life
                || record.endpoint != members.endpoint(of: member)
        else { return false }
        counters[.protocolErrors] &+= 1
        complain(
            of: record.id.rawValue ^ 0x6e61_6d65, .memberImpersonated(record.id, by: index),
            &effects)
        return true
    }

    /// Somebody else answers where a member was expected. If this is the answerer's own address, as it
    /// says itself, the member has it no more and is gone. If not, whatever stands between has led here,
    /// and the member could not be dialled.
    mutating func metAnother(
        _ record: MemberRecord, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard links[index].peer != record.id, let expected = members.index(of: links[index].peer),
            members.status(of: expected).isPresent
        else { return }
        if record.endpoint == links[index].endpoint {
            declareDead(expected, .replaced, &effects)
        } else if links[index].purpose.isForLink {
            postpone(expected)
            accuse(expected, .silence, &effects)
        }
    }

    mutating func answeredProbe(
        _ record: MemberRecord, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        let link = links[index]
        let isKnownDead =
            members.index(of: record.id).map {
                !members.status(of: $0).isPresent && record.incarnation <= members[$0].incarnation
            } ?? false
        // One that is told of its death on a link refutes it; here nothing more is said.
        if !isKnownDead { _ = merge(record, from: index, isFirstHand: true, &effects) }
        forget(index, &effects)
        guard let expected = members.index(of: link.peer), members.status(of: expected).isPresent
        else { return }
        if link.peer == record.id {
            if let other = members.index(at: record.endpoint), other != expected, hears(other) {
                complain(
                    of: record.endpoint,
                    .addressShared(members.id(of: other), record.id), &effects)
            }
            probeAnswered(expected, &effects)
        } else {
            probeFailed(expected, .silence, &effects)
        }
    }

    /// The answerer has a link with this node, or dials it, and has not said who it is. If it is the
    /// member that was expected there, a link to that one is here or comes soon. If not, whoever answers
    /// a probe says so.
    mutating func askWhoRefuses(_ link: Link, _ effects: inout EffectBuffer) {
        guard let expected = members.index(of: link.peer), expected != .oneself,
            members.status(of: expected).isPresent, members.link(of: expected).isNone
        else { return }
        if members[expected].dialFailures > 0 { probe(expected, &effects) }
        postpone(expected)
    }
}
