import MeshWire

/// Links that stand and do not carry what is sent over them: a path that drops packets above some size
/// (an MTU hole) passes greetings and heartbeats, and the first large message stops the connection.
///
///     the peer says that it hears nothing any more  ┐   a hole: a warning, and a link to this peer is
///     silent for longer than an outage explains,    │   second choice for 1, 2, 4 … 16 minutes
///       and the peer's address answers              ├
///     dropped as silent twice in a minute, and it   │
///       answers, or others hear it                  ┘
///     a flow's messages are not acknowledged            second choice for 5 s
///
/// A link that is second choice is kept, heard and watched as any other link, and carries messages where there is no
/// other way. Where a node hears no other link, its links that are second choice are as good as others.
/// Connections that are opened after a hole, or after a link was dropped as silent, send small packets.
///
/// An outage that has ended looks like a hole for a while: each end's TCP sends again what was lost after
/// pauses that double, so a link may be silent for as long again as the outage lasted, while new
/// connections are answered (RFC 6298, section 5).
struct SecondChoices {
    private struct Entry {
        var peer: NodeID
        /// No connection of this time is trusted.
        var until: Instant
        var pause: Delay
    }

    /// The address of a link's peer answers, though nothing comes over the link.
    struct Answer {
        var link: LinkIndex
        /// When it answered first.
        var at: Instant
        /// How long the link had brought nothing by then.
        var silence: Delay
    }

    private var entries: [Entry] = []
    /// Peers the way to which had a hole or an outage, nobody knows which.
    private var doubts: [(peer: NodeID, until: Instant)] = []
    /// Links that are second choice for some seconds.
    private var demotions: [(link: LinkIndex, until: Instant)] = []
    private var answers: [Answer] = []
    /// Links that brought nothing for long and do again: their peers may hear nothing for as long again.
    private var outages: [(link: LinkIndex, until: Instant)] = []

    /// Guesses.
    private static var pauseMin: Delay { .seconds(60) }
    private static var pauseMax: Delay { .seconds(960) }
    /// Beyond it the one that ends first is forgotten.
    private static var countMax: Int { 256 }
    /// Answers in the course of so long count together.
    private static var answerTime: Delay { .seconds(30) }

    var isEmpty: Bool { entries.isEmpty && doubts.isEmpty && demotions.isEmpty }

    /// A hole on the way to the peer. One that shows again within as long as it was second choice makes
    /// that twice as long; the same hole is seen several times.
    mutating func note(_ peer: NodeID, at now: Instant) {
        expire(at: now)
        doubts.removeAll { $0.peer == peer }
        guard let place = entries.firstIndex(where: { $0.peer == peer }) else {
            if entries.count == Self.countMax,
                let first = entries.indices.min(by: { entries[$0].until < entries[$1].until })
            {
                entries.remove(at: first)
            }
            entries.append(Entry(peer: peer, until: now + Self.pauseMin, pause: Self.pauseMin))
            return
        }
        let begin = entries[place].until - entries[place].pause
        if now - begin < .seconds(5) { return }
        entries[place].pause = min(entries[place].pause * 2, Self.pauseMax)
        entries[place].until = now + entries[place].pause
    }

    /// A hole, or an outage that has ended. True: there was one on the way to this peer in the last minute.
    mutating func doubt(_ peer: NodeID, at now: Instant) -> Bool {
        expire(at: now)
        if doubts.contains(where: { $0.peer == peer }) { return true }
        if doubts.count == Self.countMax { doubts.removeFirst() }
        doubts.append((peer, now + Self.pauseMin))
        return false
    }

    /// Forgets what has been well for as long as it was second choice.
    mutating func expire(at now: Instant) {
        if !entries.isEmpty { entries.removeAll { $0.until + $0.pause <= now } }
        if !doubts.isEmpty { doubts.removeAll { $0.until <= now } }
        if !demotions.isEmpty { demotions.removeAll { $0.until <= now } }
    }

    /// A link to the peer is second choice now.
    func isHollow(_ peer: NodeID, at now: Instant) -> Bool {
        entries.contains { $0.peer == peer && now < $0.until }
    }

    func isDemoted(_ link: LinkIndex) -> Bool { demotions.contains { $0.link == link } }

    func needsSmallPackets(_ peer: NodeID) -> Bool {
        entries.contains { $0.peer == peer } || doubts.contains { $0.peer == peer }
    }

    /// A link is second choice until then, whatever its peer.
    mutating func demote(_ link: LinkIndex, until: Instant) {
        demotions.removeAll { $0.link == link }
        demotions.append((link, until))
    }

    /// Something comes over a link again, after so long a silence.
    mutating func heardAgain(_ link: LinkIndex, after silence: Delay, at now: Instant) {
        outages.removeAll { $0.link == link || $0.until <= now }
        outages.append((link, now + silence))
    }

    /// The peer may still hear nothing over this link because of an outage that has ended.
    func mayFollowOutage(_ link: LinkIndex, at now: Instant) -> Bool {
        outages.contains { $0.link == link && now < $0.until }
    }

    /// The first answer of the address of this link's peer since nothing comes over it; nil: this is it.
    mutating func noteAnswer(_ link: LinkIndex, silence: Delay, at now: Instant) -> Answer? {
        answers.removeAll { now - $0.at > Self.answerTime }
        if let first = answers.first(where: { $0.link == link }), now - first.at < silence {
            return first
        }
        answers.removeAll { $0.link == link }
        answers.append(Answer(link: link, at: now, silence: silence))
        return nil
    }

    /// The slot has another connection now.
    mutating func forget(_ link: LinkIndex) {
        demotions.removeAll { $0.link == link }
        answers.removeAll { $0.link == link }
        outages.removeAll { $0.link == link }
    }
}

extension Node {
    /// Heartbeats in a row of a peer that has not heard this node for longer than `Timing.silence`. A
    /// process that has stood still says so once, before it reads what waits for it, and a line that
    /// loses a tenth of all packets for some seconds.
    private static var unheardCountMax: UInt8 { 4 }
    /// This node's own heartbeats in a row, before what the peer says of them counts: while this node
    /// stood still it was not to be heard.
    private static var beatsNeeded: UInt8 { 6 }
    /// A queue that moved so lately still delays what goes behind it.
    private static var queueTime: Delay { .seconds(3) }
    /// A link that was made for a flow stays for so long.
    private static var aimTime: Delay { .seconds(60) }
    /// A link that is silent for so long, beyond doubt, while its peer's address answers.
    private static var silenceNeeded: Delay { .milliseconds(2_300) }
    /// One flow's messages are not acknowledged, which has many reasons.
    private static var doubtTime: Delay { .seconds(5) }

    /// Connections to this address are to send small packets only.
    public func needsSmallPackets(over link: LinkIndex) -> Bool {
        guard links.isValid(link), !secondChoices.isEmpty else { return false }
        return secondChoices.needsSmallPackets(links[link].peer)
    }

    /// Counts heartbeats that say that the peer does not hear this node, which hears the peer.
    @inline(__always)
    mutating func noteEcho(
        _ heartbeat: Heartbeat, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        if Int64(heartbeat.echoDelay) < configuration.timing.silence.microseconds {
            links[index].unheardCount = 0
        } else {
            noteUnheard(on: index, &effects)
        }
    }

    @inline(never)
    private mutating func noteUnheard(on index: LinkIndex, _ effects: inout EffectBuffer) {
        // Heartbeats that come in a heap were said while nothing came over the link.
        let isTimely =
            now - links[index].peerHeartbeatAt > .milliseconds(225)
        guard links[index].beatCount >= Self.beatsNeeded, isTimely,
            !secondChoices.mayFollowOutage(index, at: now)
        else { return }
        if index.slot < flows.backlogs.count, flows.backlogs[index.slot].bytes > 0,
            now - flows.backlogs[index.slot].movedAt < Self.queueTime
        {
            return
        }
        links[index].unheardCount = min(links[index].unheardCount + 1, Self.unheardCountMax)
        guard links[index].unheardCount == Self.unheardCountMax else { return }
        noteHole(links[index].member, &effects)
        // Nothing on this connection arrives any more: another one is better.
        drop(index, .silent, &effects)
    }

    /// The address of a member has answered anew, whose link has brought nothing for long. Once may be
    /// chance: of a process that has stood still this may be read first.
    mutating func noteAnswer(of member: MemberIndex, _ effects: inout EffectBuffer) {
        let link = members.link(of: member)
        guard !link.isNone, links[link].isDoubted else { return }
        let silence = now - links[link].heardAt
        guard silence > Self.silenceNeeded,
            let first = secondChoices.noteAnswer(link, silence: silence, at: now),
            now - first.at >= configuration.timing.heartbeat
        else { return }
        if now - first.at < first.silence + configuration.timing.heartbeat {
            noteHoleOrOutage(member, &effects)
        } else {
            noteHole(member, &effects)
        }
        // Hole or not, another connection carries what this one holds up.
        drop(link, .silent, &effects)
    }

    /// Something comes over a link that was silent too long.
    mutating func noteEndOfSilence(on index: LinkIndex) {
        secondChoices.heardAgain(index, after: now - links[index].heardAt, at: now)
    }

    /// The peer ends a link over which it has not heard this node for a while.
    mutating func noteEnd(of link: Link, _ effects: inout EffectBuffer) {
        if link.unheardCount > 0 { noteHole(link.member, &effects) }
    }

    /// A link to this member has been silent too long, which an outage explains, if it is seen once.
    mutating func noteHoleOrOutage(_ member: MemberIndex, _ effects: inout EffectBuffer) {
        if secondChoices.doubt(members.id(of: member), at: now) { noteHole(member, &effects) }
    }

    /// Frames to this member over a link do not arrive, though both are there.
    mutating func noteHole(_ member: MemberIndex, _ effects: inout EffectBuffer) {
        let peer = members.id(of: member)
        secondChoices.note(peer, at: now)
        counters[.linksHollow] &+= 1
        complain(of: peer.rawValue ^ 0x686f_6c65, .linkHollow(peer), &effects)
        let link = members.link(of: member)
        if !link.isNone { demote(link, &effects) }
    }

    /// A flow that goes to its destination itself has had no acknowledgement for long.
    mutating func doubtWay(of flow: FlowIndex, _ effects: inout EffectBuffer) {
        let link = flows.outgoing[flow].detour.lastHop
        guard !link.isNone, links[link].isUsable, links[link].member == flows.outgoing[flow].member
        else { return }
        secondChoices.demote(link, until: now + Self.doubtTime)
        demote(link, &effects)
    }

    /// A flow to a member stands still: a link to itself, in place of the worst one. What stands between may
    /// be at fault.
    mutating func dialItself(_ member: MemberIndex, _ effects: inout EffectBuffer) {
        guard members.status(of: member) == .alive, members.link(of: member).isNone,
            !departure.hasBegun
        else { return }
        longRange.aim(at: members.id(of: member), until: now + Self.aimTime)
        let endpoint = members.endpoint(of: member)
        if links.isDialling(endpoint) { return }
        dial(endpoint, peer: member, .neighbour, stratum: 0, &effects)
    }

    private mutating func demote(_ link: LinkIndex, _ effects: inout EffectBuffer) {
        guard links[link].state == .established, !links[link].isSecondChoice,
            links.established.contains(where: { $0 != link && links[$0].isUsable })
        else { return }
        links[link].isSecondChoice = true
        linksChanged()
        wayLost(link)
        timers.schedule(.maintenance, at: now + .milliseconds(20))
        // Nobody waits for its queue.
        effects.append(.uncongested)
    }

    /// Messages go over this link only where there is no other way.
    public func isSecondChoice(_ link: LinkIndex) -> Bool {
        links.isValid(link) && links[link].isSecondChoice
    }

    /// A new link to a peer on the way to which there was a hole.
    mutating func noteFresh(_ link: LinkIndex) {
        secondChoices.forget(link)
        links[link].isSecondChoice = secondChoices.isHollow(links[link].peer, at: now)
    }

    /// Links whose time as second choice is over are as good as others.
    mutating func restoreLinks() {
        if !secondChoices.isEmpty { restoreDue() }
    }

    private mutating func restoreDue() {
        let now = now
        secondChoices.expire(at: now)
        var isAny = false
        for link in links.established where links[link].isSecondChoice {
            guard !secondChoices.isHollow(links[link].peer, at: now),
                !secondChoices.isDemoted(link)
            else { continue }
            links[link].isSecondChoice = false
            isAny = true
        }
        if isAny {
            linksChanged()
            wayFound()
        }
    }

    /// Second choice needs a first one: a node that hears no other link takes those that it hears.
    mutating func takeSecondChoices() {
        let heard = links.established.filter { !links[$0].isDoubted && !links[$0].isPeerLeaving }
        guard heard.allSatisfy({ links[$0].isSecondChoice }) else { return }
        for link in heard { links[link].isSecondChoice = false }
        if !heard.isEmpty { wayFound() }
    }

    /// As a node does that takes a link that stands for one that carries; for mutants.
    package mutating func forgetHoles() {
        secondChoices = SecondChoices()
        restoreDue()
    }
}
