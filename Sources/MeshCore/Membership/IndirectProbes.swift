import MeshWire

/// Another node waits for this one's word on a member that this one knows no more of.
struct Inquiry {
    var subject: MemberIndex
    var incarnation: Incarnation
    var asker: NodeID
    /// Nothing is said after that.
    var end: Instant
    /// The next look.
    var due: Instant
}

/// Dials on behalf of others, who are refused or hear nothing (SWIM §3.1).
extension Node {
    /// Bounds the answers that are owed; beyond it nothing is promised, and the asker decides without.
    private static var inquiryCountMax: Int { 64 }
    /// Between looks whether a link that is idle has brought something since. A guess.
    private static var inquiryPeriod: Delay { .milliseconds(25) }

    /// Somebody asks whether `subject` is there.
    mutating func receivedIndirectProbe(
        of subject: NodeID, _ incarnation: Incarnation, for asker: NodeID,
        _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: subject), members.status(of: index).isPresent,
            members[index].incarnation == incarnation
        else { return }
        if index == .oneself || hears(index, within: configuration.timing.heartbeat) {
            send(.vouch(subject: subject, incarnation), to: [asker], &effects)
            return
        }
        if let place = suspicions.accusations.place(of: index) {
            let evidence = suspicions.accusations[place].evidence
            send(.accuse(subject: subject, incarnation, evidence), to: [asker], &effects)
            return
        }
        guard suspicions.inquiries.count < Self.inquiryCountMax else { return }
        if !suspicions.inquiries.contains(where: { $0.subject == index && $0.asker == asker }) {
            let due = now + Self.inquiryPeriod
            suspicions.inquiries.append(
                Inquiry(
                    subject: index, incarnation: incarnation, asker: asker,
                    end: now + configuration.timing.probe, due: due))
            timers.schedule(.accusation, at: due)
        }
        // News over a link that stands, or its end, tells more than a dial: an address can refuse though
        // its node is there.
        if !hasTrustedLink(to: index) { probe(index, &effects) }
    }

    /// Dials a member to find out whether it is there, unless it is being dialled.
    mutating func probe(_ index: MemberIndex, _ effects: inout EffectBuffer) {
        let endpoint = members.endpoint(of: index)
        if links.isDialling(endpoint) { return }
        dial(endpoint, peer: index, .probe, stratum: 0, &effects)
    }

    /// The member that was dialled to find out whether it is there has answered.
    mutating func probeAnswered(_ index: MemberIndex, _ effects: inout EffectBuffer) {
        let subject = members.id(of: index)
        let incarnation = members.incarnation(of: index)
        let askers = takeInquiries(about: index)
        if askers.isEmpty { return }
        send(.vouch(subject: subject, incarnation), to: askers, &effects)
    }

    /// Such a dial has come to nothing.
    mutating func probeFailed(
        _ index: MemberIndex, _ evidence: Evidence, _ effects: inout EffectBuffer
    ) {
        let subject = members.id(of: index)
        let incarnation = members.incarnation(of: index)
        let askers = takeInquiries(about: index)
        if !askers.isEmpty {
            send(.accuse(subject: subject, incarnation, evidence), to: askers, &effects)
        }
        if evidence == .refused { lostWitness(index, &effects) }
    }

    /// Ends the inquiries about a member; returns who asked.
    mutating func takeInquiries(about subject: MemberIndex) -> [NodeID] {
        if suspicions.inquiries.isEmpty { return [] }
        let incarnation = members.incarnation(of: subject)
        let askers = suspicions.inquiries.compactMap {
            $0.subject == subject && $0.incarnation == incarnation ? $0.asker : nil
        }
        suspicions.inquiries.removeAll { $0.subject == subject }
        return askers
    }

    /// Vouches for those that have been heard since somebody asked, and forgets what is too old.
    mutating func answerInquiries(_ effects: inout EffectBuffer) {
        if suspicions.inquiries.isEmpty { return }
        var subjects: [MemberIndex] = []
        suspicions.inquiries.removeAll { $0.end <= now }
        for place in suspicions.inquiries.indices where suspicions.inquiries[place].due <= now {
            suspicions.inquiries[place].due = now + Self.inquiryPeriod
            let subject = suspicions.inquiries[place].subject
            if !subjects.contains(subject) { subjects.append(subject) }
        }
        for subject in subjects where hears(subject, within: configuration.timing.heartbeat) {
            probeAnswered(subject, &effects)
        }
    }
}
