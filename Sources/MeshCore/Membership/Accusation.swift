import MeshWire

/// A member that this node does not hear, and what others say of it (<doc:Membership>).
struct Accusation {
    /// A node's word on the accused.
    enum Word: Equatable {
        case accuses(Evidence)
        case vouches
    }

    var subject: MemberIndex
    var incarnation: Incarnation
    /// This node's own finding.
    var evidence: Evidence
    /// The latest word of each node, this one's first, the others' in the order of their first.
    private(set) var words: [(node: NodeID, word: Word)]
    /// The nodes that know this node's word.
    var told: [NodeID] = []
    /// Others that have been asked to dial the accused, because it has no other watcher.
    var probers: [NodeID] = []
    /// It was dialled for its word on another, and may be no neighbour of this node's.
    var isOfWitness = false
    /// Those that live have had the time to say what they find.
    var isFirstLookOver = false
    /// The next look at it.
    var due: Instant
    /// If it is not settled by then it makes a suspicion, or comes to nothing if somebody vouches.
    var end: Instant

    init(
        subject: MemberIndex, _ incarnation: Incarnation, _ evidence: Evidence, by accuser: NodeID,
        due: Instant, end: Instant
    ) {
        self.subject = subject
        self.incarnation = incarnation
        self.evidence = evidence
        self.due = due
        self.end = end
        words = [(accuser, .accuses(evidence))]
    }

    /// Everybody that does not hear the accused, this node first.
    var accusers: [NodeID] { words.compactMap { $0.word.isAccusation ? $0.node : nil } }

    /// Somebody hears the accused.
    var isVouched: Bool { words.contains { $0.word == .vouches } }

    /// Another node than this one says that the address refuses.
    var isConfirmed: Bool { words.dropFirst().contains { $0.word == .accuses(.refused) } }

    func word(of node: NodeID) -> Word? { words.first { $0.node == node }?.word }

    /// Takes a word in place of the node's former one.
    mutating func take(_ word: Word, of node: NodeID) {
        if let place = words.firstIndex(where: { $0.node == node }) {
            words[place].word = word
        } else {
            words.append((node, word))
        }
    }
}

extension Evidence {
    var cause: Doubt.Cause {
        switch self {
        case .silence: .silent
        case .refused: .refused
        }
    }
}

extension Accusation.Word {
    var isAccusation: Bool {
        switch self {
        case .accuses: true
        case .vouches: false
        }
    }
}

/// A member that refusals have struck, in the life that it had.
struct StruckMember {
    var id: NodeID
    var life: UInt64
    /// Until then it is not struck so again.
    var until: Instant
}

/// A refusal is what one machine can see alone: a firewall between two nodes refuses, and so does a proxy
/// whose node restarts, or a wrong address. So it is a death only when each other watcher says the same or
/// is gone itself. One that hears the accused contradicts, and then the fault is in the way to it.
///
///     refused → accuse, to the other watchers
///     → 10 ms and two round trips later: probe the watchers that have said nothing, and ask
///       them once more; one whose own address refuses is accused too
///     → 300 ms and two round trips after the first: suspect, unless somebody vouches
///     → whenever the last of them says so: dead
///
/// That a watcher refuses this node is not its death either. A group whose members refuse this node is
/// dead when all of their watchers outside of the group say that they refuse. If one of them lived, and
/// a chain of links led to it from here, the first link of the chain that enters the group would have an
/// end outside, which hears the other end and does not say so:
///
///     here ─── B ─── C ─── D      C and D refuse this node, and B finds that D refuses. B hears C:
///                                 so C is no member of the group, and D waits for C's word.
///     here ─── B     C     D      B finds that both refuse: both are dead, though neither can speak
///                                 for the other any more.
///
/// A suspect may have refuted it already: its word is waited for until it has, or is dead.
///
/// Watchers that this node has no link with are dialled before they are taken for gone, but not the
/// watchers of such a watcher in turn: of it three words are enough.
///
/// Where no other watcher is left, three other members are asked to dial the accused (SWIM §3.1, the
/// indirect probe); where there are none either, nobody can contradict.
///
/// Differences from the paper: watchers are neighbours rather than drawn at random, because they know at
/// once; and what they say against a member can make it dead without a suspicion before.
extension Node {
    /// Three watchers that find silence must agree, or all there are. A guess: two can share a switch.
    static var accuserCountNeeded: Int { 3 }
    /// Members that are asked to dial one that has no other watcher. A guess; SWIM §5 takes as many.
    private static var proberCountMax: Int { 3 }
    /// So many are asked in all, where those that were asked are found to be gone. A guess.
    private static var askedCountMax: Int { 12 }
    /// A member that refusals have struck and that has come back is only suspected for so long. A guess.
    private static var flappingPeriod: Delay { .seconds(60) }
    private static var struckCountMax: Int { 64 }
    /// Beyond it the work of one event would be the square of those who are accused.
    private static var weighedSinglyMax: Int { 64 }

    /// The longest of the links' round trips, twice; two seconds at most.
    private var twoRoundTrips: Delay {
        var longest = Delay.zero
        for index in links.established {
            longest = max(longest, links[index].roundTrips.smoothed ?? .zero)
        }
        return min(longest * 2, .seconds(2))
    }

    /// The time in which a watcher that lives has said what it finds.
    private var wordPatience: Delay { .milliseconds(10) + twoRoundTrips }

    /// The same of a watcher that has had time to notice already. A guess.
    private var lateWordPatience: Delay { .milliseconds(3) + twoRoundTrips }

    /// The time in which somebody who is asked has dialled and answered.
    var probePatience: Delay { .milliseconds(300) + twoRoundTrips }

    /// The others that should hear a member: its links, as it has told, or its ring neighbours.
    func watchers(of subject: MemberIndex) -> [NodeID] {
        let member = members[subject]
        var watchers = lists.links(of: member.id) ?? []
        if watchers.isEmpty {
            for steps in [1, -1, 2, -2] where members.ring.count > 4 {
                watchers.append(members[members.clockwise(from: member.id, steps: steps)].id)
            }
        }
        return watchers.filter { $0 != member.id && isWitness($0) }
    }

    func isWitness(_ node: NodeID) -> Bool {
        guard node != id, let index = members.index(of: node) else { return false }
        return members.status(of: index).isPresent
    }

    private func isAlive(_ node: NodeID) -> Bool {
        guard node != id, let index = members.index(of: node) else { return false }
        return members.status(of: index) == .alive
    }

    private func place(of subject: MemberIndex) -> Int? {
        suspicions.accusations.place(of: subject)
    }

    // MARK: What this node finds

    /// This node does not hear a member. Nothing happens while a link to it stands.
    mutating func accuse(
        _ subject: MemberIndex, _ evidence: Evidence, _ effects: inout EffectBuffer
    ) {
        guard subject > .oneself, members.status(of: subject).isPresent,
            !hasTrustedLink(to: subject)
        else { return }
        if let place = place(of: subject) {
            if suspicions.accusations[place].evidence < evidence {
                raise(place, to: evidence)
            }
        } else {
            let patience = patience(evidence)
            suspicions.accusations.append(
                Accusation(
                    subject: subject, members.incarnation(of: subject), evidence, by: id,
                    due: now + patience.first, end: now + patience.last))
        }
        tellAccusation(of: subject, &effects)
        weigh(subject, &effects)
        if let place = place(of: subject) {
            timers.schedule(.accusation, at: suspicions.accusations[place].due)
        }
    }

    /// How long others have before they are asked once more, and until it is decided without them.
    private func patience(_ evidence: Evidence) -> (first: Delay, last: Delay) {
        switch evidence {
        case .silence:
            let patience = max(configuration.timing.accusation, probePatience)
            return (patience, patience)
        case .refused: return (wordPatience, probePatience)
        }
    }

    /// More has been found than was told.
    private mutating func raise(_ place: Int, to evidence: Evidence) {
        let patience = patience(evidence)
        suspicions.accusations[place].evidence = evidence
        suspicions.accusations[place].take(.accuses(evidence), of: id)
        suspicions.accusations[place].told = []
        suspicions.accusations[place].isFirstLookOver = false
        suspicions.accusations[place].due = now + patience.first
        suspicions.accusations[place].end = now + patience.last
    }

    /// Tells those that do not know it yet: the other watchers, and whoever has asked.
    private mutating func tellAccusation(of subject: MemberIndex, _ effects: inout EffectBuffer) {
        guard let place = place(of: subject) else { return }
        let accusation = suspicions.accusations[place]
        var listeners = watchers(of: subject)
        for asker in takeInquiries(about: subject) where !listeners.contains(asker) {
            listeners.append(asker)
        }
        listeners.removeAll { accusation.told.contains($0) }
        if listeners.isEmpty { return }
        suspicions.accusations[place].told += listeners
        send(
            .accuse(
                subject: members.id(of: subject), accusation.incarnation, accusation.evidence),
            to: listeners, &effects)
    }

    mutating func withdrawAccusation(of subject: MemberIndex) {
        suspicions.accusations.remove(subject)
    }

    /// Others have changed, on whose word accusations may depend: all are looked at anew.
    mutating func reviewAccusations() {
        if !suspicions.accusations.isEmpty { timers.schedule(.accusation, at: now) }
    }

    // MARK: What others find

    /// Another watcher does not hear `subject`.
    mutating func receivedAccusation(
        of subject: NodeID, _ incarnation: Incarnation, _ evidence: Evidence, by accuser: NodeID,
        _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: subject), index != .oneself,
            members.status(of: index).isPresent, members[index].incarnation == incarnation
        else { return }
        // A member whose process has just ended was heard lately too: what is newer counts.
        let age = configuration.timing.heartbeat * (evidence == .silence ? 2 : 1)
        if hears(index, within: age) {
            send(.vouch(subject: subject, incarnation), to: [accuser], &effects)
            return
        }
        guard let place = place(of: index) else { return }
        suspicions.accusations[place].take(.accuses(evidence), of: accuser)
        if !suspicions.accusations[place].told.contains(accuser) {
            suspicions.accusations[place].told.append(accuser)
            let found = suspicions.accusations[place].evidence
            send(.accuse(subject: subject, incarnation, found), to: [accuser], &effects)
        }
        weigh(index, &effects)
    }

    mutating func receivedVouch(
        for subject: NodeID, _ incarnation: Incarnation, by witness: NodeID
    ) {
        guard let index = members.index(of: subject), let place = place(of: index),
            suspicions.accusations[place].incarnation == incarnation
        else { return }
        suspicions.accusations[place].take(.vouches, of: witness)
    }

    /// The address of a member that was dialled for its word refuses: is it gone, like the accused?
    mutating func lostWitness(_ witness: MemberIndex, _ effects: inout EffectBuffer) {
        let id = members.id(of: witness)
        let isAwaited = suspicions.accusations.contains {
            $0.evidence == .refused && silentWitnesses(of: $0).contains(id)
        }
        guard isAwaited else { return }
        let isNew = place(of: witness) == nil
        accuse(witness, .refused, &effects)
        if isNew, let place = place(of: witness) {
            suspicions.accusations[place].isOfWitness = true
            suspicions.accusations[place].due = now + lateWordPatience
            timers.schedule(.accusation, at: now + lateWordPatience)
        }
    }

    // MARK: The verdict

    /// Enough accusers end the matter before its time.
    ///
    /// - Parameter isAgreed: whether all agree on a refusal, if that has been found out.
    private mutating func weigh(
        _ subject: MemberIndex, isAgreed: Bool? = nil, _ effects: inout EffectBuffer
    ) {
        guard let place = place(of: subject), !suspicions.accusations[place].isVouched else {
            return
        }
        let accusation = suspicions.accusations[place]
        switch accusation.evidence {
        case .silence:
            let watcherCount = watchers(of: subject).count { isAlive($0) }
            if watcherCount == 0 {
                askProbers(place, &effects)
                if !suspicions.accusations[place].probers.isEmpty { return }
            }
            if accusation.accusers.count < min(Self.accuserCountNeeded, watcherCount + 1) {
                return
            }
        case .refused:
            guard isAgreed ?? self.isAgreed(place) else { return }
            if !accusation.isConfirmed {
                askProbers(place, &effects)
                guard self.isAgreed(place) else { return }
            }
        }
        conclude(accusation, &effects)
    }

    /// Asks the next members clockwise from the accused to dial it, as many as are to be asked at once.
    private mutating func askProbers(_ place: Int, _ effects: inout EffectBuffer) {
        let accusation = suspicions.accusations[place]
        let subject = members.id(of: accusation.subject)
        var asked: [NodeID] = []
        var steps = 1
        while asked.count < Self.proberCountMax,
            accusation.probers.count + asked.count < Self.askedCountMax,
            steps < min(members.ring.count, 64)
        {
            let candidate = members.id(of: members.clockwise(from: subject, steps: steps))
            steps += 1
            if isAlive(candidate), !accusation.probers.contains(candidate),
                refusalPlace(of: candidate) == nil
            {
                asked.append(candidate)
            }
        }
        if asked.isEmpty { return }
        suspicions.accusations[place].probers += asked
        send(.indirectProbe(subject: subject, accusation.incarnation), to: asked, &effects)
    }

    private mutating func conclude(
        _ accusation: Accusation, _ effects: inout EffectBuffer
    ) {
        if accusation.evidence == .refused, !isFlapping(accusation.subject) {
            declareDead(accusation.subject, .refused, &effects)
        } else {
            withdrawAccusation(of: accusation.subject)
            declareSuspect(accusation.subject, accusation.evidence.cause, &effects)
        }
    }

    /// Refusals have struck the member lately, in this life, and it has come back: it may go and come
    /// like that for long, and each time its users would be seen to go.
    private func isFlapping(_ subject: MemberIndex) -> Bool {
        let (id, life) = (members.id(of: subject), members.incarnation(of: subject).life)
        return suspicions.struck.contains { $0.id == id && $0.life == life && now < $0.until }
    }

    /// A member has died. If a refusal has told this node so, or told others, it is remembered.
    mutating func noteStrike(_ subject: MemberIndex) {
        guard let place = place(of: subject), suspicions.accusations[place].evidence == .refused
        else { return }
        let id = members.id(of: subject)
        suspicions.struck.removeAll { $0.id == id || $0.until <= now }
        if suspicions.struck.count == Self.struckCountMax { suspicions.struck.removeFirst() }
        suspicions.struck.append(
            StruckMember(
                id: id, life: members.incarnation(of: subject).life,
                until: now + Self.flappingPeriod))
    }

    // MARK: Looks

    /// Looks at all accusations, and decides those whose time is up.
    mutating func decideAccusations(_ effects: inout EffectBuffer) {
        // Of many, those that depend on what is found now are looked at once more, in an event of their own.
        let isMany = suspicions.accusations.count > Self.weighedSinglyMax
        let agreed = isMany ? agreedRefusals() : []
        for subject in suspicions.accusations.map(\.subject) {
            weigh(subject, isAgreed: isMany ? agreed.contains(subject) : nil, &effects)
            if let place = place(of: subject), suspicions.accusations[place].due <= now {
                decide(place, &effects)
            }
        }
        answerInquiries(&effects)
        var next: Instant?
        for accusation in suspicions.accusations {
            next = min(next ?? accusation.due, accusation.due)
        }
        for inquiry in suspicions.inquiries { next = min(next ?? inquiry.due, inquiry.due) }
        if let next { timers.schedule(.accusation, at: next) }
    }

    private mutating func decide(_ place: Int, _ effects: inout EffectBuffer) {
        let accusation = suspicions.accusations[place]
        if accusation.isVouched {
            if now < accusation.end {
                suspicions.accusations[place].due = accusation.end
            } else {
                endVouched(accusation, &effects)
            }
            return
        }
        if accusation.evidence == .silence {
            conclude(accusation, &effects)
            return
        }
        if !accusation.isFirstLookOver {
            suspicions.accusations[place].isFirstLookOver = true
            reviewAccusations()
        }
        let isOver = now >= accusation.end
        suspicions.accusations[place].due =
            isOver ? now + configuration.timing.accusation : accusation.end
        askAgain(suspicions.accusations[place], &effects)
        if isOver { declareSuspect(accusation.subject, .refused, &effects) }
    }

    /// The witnesses that have said nothing yet: are they there, and what do they find?
    private mutating func askAgain(_ accusation: Accusation, _ effects: inout EffectBuffer) {
        let silent = silentWitnesses(of: accusation)
        if silent.isEmpty { return }
        // Or a crash of many would be followed by this node from one to the next through the mesh.
        let isDialling = !accusation.isOfWitness || !isWordEnough(accusation)
        for witness in silent where isDialling && refusalPlace(of: witness) == nil {
            if let index = members.index(of: witness), !hears(index) { probe(index, &effects) }
        }
        send(
            .indirectProbe(
                subject: members.id(of: accusation.subject), accusation.incarnation),
            to: silent, &effects)
    }

    /// Others hear it: the fault is in the link. Ask again for as long as it lasts.
    private mutating func endVouched(_ accusation: Accusation, _ effects: inout EffectBuffer) {
        withdrawAccusation(of: accusation.subject)
        let link = members[accusation.subject].link
        if link.isNone {
            complain(
                of: members.endpoint(of: accusation.subject),
                .memberUnreachable(members.id(of: accusation.subject)), &effects)
        }
        guard !link.isNone, links[link].isDoubted else { return }
        if now - links[link].heardAt > configuration.timing.silence * 3 {
            noteHoleOrOutage(accusation.subject, &effects)
            drop(link, .silent, &effects)
            postpone(accusation.subject)
        } else {
            accuse(accusation.subject, .silence, &effects)
        }
    }
}
