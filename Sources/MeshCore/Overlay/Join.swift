import MeshWire

/// How this node finds the mesh: it asks all its seeds at once who is there, and again with
/// back-off until one has answered; and then, for ever, those that are no members.
struct JoinState {
    /// An address that a seed has now.
    private struct Seed {
        var endpoint: Endpoint
        /// The node that has answered there. Behind a balancer's address it advertises another.
        var answerer: NodeID?
    }

    /// The node was given seeds, whether or not they have addresses.
    let hasSeeds: Bool
    private var seeds: [Seed]
    /// Addresses that have turned out to be this node's own, the latest last.
    private var own: [Endpoint]
    var startedAt: Instant
    var attempts = 0
    /// A node that has all else is ready then, whether or not it is linked with its neighbours on the ring:
    /// a firewall may stand between them.
    var ringDue: Instant?
    /// So much of the directory had come when it was looked at last, and since then nothing more has.
    private var progress: UInt64 = 0
    private var progressAt: Instant?
    /// When a node that has no link, and sees only members whom it cannot reach, turns to its seeds.
    var seedsDue: Instant?
    /// Since when this node waits for what others have told of.
    private var waitingSince: Instant?
    /// The fate of the last attempt at a seed.
    var failure = SeedFailure.waiting
    /// Some node has told who is there, or there is nobody to ask: the first node knows all there is.
    var isIntroduced: Bool
    /// The first round of asking has come to nothing. Then whoever takes this node in introduces it
    /// as well as a seed would: the two compare all that they know.
    var areSeedsSilent: Bool { !isIntroduced && attempts > 1 }
    /// When the absent seeds are asked again, and how often they were since all were there.
    private var nextRound: Instant
    private var roundCount = 0

    /// Behind a name there may be many; a round asks them all. A guess.
    private static var seedCountMax: Int { 64 }
    private static var ownCountMax: Int { 8 }
    /// With the time until a node looks again, 5 s and 30 s.
    private static var pauseMin: Delay { .seconds(4) }
    private static var pauseMax: Delay { .seconds(29) }
    /// For five minutes a seed is expected back; then it may be down for good.
    private static var quickRoundCount: Int { 60 }

    init(_ configuration: Configuration, startedAt: Instant) {
        hasSeeds =
            configuration.seeds.contains { $0 != configuration.endpoint }
            || !configuration.seedNames.isEmpty || !configuration.remembered.isEmpty
        own = [configuration.endpoint]
        seeds = []
        self.startedAt = startedAt
        isIntroduced = !hasSeeds
        nextRound = startedAt
        _ = learn(configuration.seeds, at: startedAt)
    }

    /// The longest wait for something that others have told of and do not bring, and for all of it; guesses. A
    /// node that is asked in vain is asked again after half a second, or another is. The set of one node comes as a
    /// whole: for 100,000 users a line of 1 Mbit/s takes so long.
    static var stuckTime: Delay { .seconds(10) }
    static var stuckTimeMax: Delay { .seconds(300) }

    /// Whether what this node still waits for is no reason to wait any longer: a liar can tell of a log that
    /// nobody has, or be a neighbour that compares nothing.
    ///
    /// - Parameter progress: how much of the directory has come.
    mutating func isStuck(_ progress: UInt64, at now: Instant) -> Bool {
        let since = waitingSince ?? now
        waitingSince = since
        if progressAt == nil || progress != self.progress {
            self.progress = progress
            progressAt = now
        }
        return now - progressAt! >= Self.stuckTime || now - since >= Self.stuckTimeMax
    }

    /// The seeds' addresses.
    var endpoints: [Endpoint] { seeds.map(\.endpoint) }

    func isSeed(_ endpoint: Endpoint) -> Bool { seeds.contains { $0.endpoint == endpoint } }

    /// Takes the addresses that the seeds have now. Returns whether one of them is new.
    mutating func learn(_ endpoints: [Endpoint], at now: Instant) -> Bool {
        var next: [Seed] = []
        var isNews = false
        for endpoint in endpoints
        where next.count < Self.seedCountMax && !own.contains(endpoint)
            && !next.contains(where: { $0.endpoint == endpoint })
        {
            let known = seeds.first { $0.endpoint == endpoint }
            if known == nil { isNews = true }
            next.append(known ?? Seed(endpoint: endpoint))
        }
        seeds = next
        if isNews {
            roundCount = 0
            nextRound = now
        }
        return isNews
    }

    /// The node at this address has answered; nil: it has not said which it is.
    mutating func heard(_ endpoint: Endpoint, _ answerer: NodeID) {
        for place in seeds.indices where seeds[place].endpoint == endpoint {
            seeds[place].answerer = answerer
        }
    }

    /// The seeds that have answered, and the nodes that did.
    var answered: [(endpoint: Endpoint, answerer: NodeID)] {
        seeds.compactMap { seed in seed.answerer.map { (seed.endpoint, $0) } }
    }

    /// This address is the node's own.
    mutating func strike(_ endpoint: Endpoint) {
        seeds.removeAll { $0.endpoint == endpoint }
        if own.contains(endpoint) { return }
        if own.count == Self.ownCountMax { own.remove(at: 1) }
        own.append(endpoint)
    }

    /// The seeds that are to be asked now, those that are no members; nil: it is not time.
    mutating func nextRound(
        at now: Instant, _ members: borrowing MemberTable
    ) -> [Endpoint]? {
        guard hasSeeds, isIntroduced else { return nil }
        var absent: [Endpoint] = []
        for seed in seeds where members.index(at: seed.endpoint) == nil {
            if let answerer = seed.answerer, let index = members.index(of: answerer),
                members.status(of: index).isPresent
            {
                continue
            }
            absent.append(seed.endpoint)
        }
        let isAlone = members.ring.count == 1
        if absent.isEmpty, !isAlone {
            roundCount = 0
        } else if roundCount == 0 {
            nextRound = min(nextRound, now)
        }
        guard now >= nextRound else { return nil }
        if !absent.isEmpty || isAlone { roundCount += 1 }
        let isQuick = isAlone || (1...Self.quickRoundCount).contains(roundCount)
        nextRound = now + (isQuick ? Self.pauseMin : Self.pauseMax)
        return absent
    }
}

extension Node {
    /// Where most members are false or gone, a node that looks for neighbours and targets among them finds
    /// nobody for long. Its seeds were there when they answered: whoever has had no link for a second
    /// takes links with them.
    mutating func linkWithSeeds(_ effects: inout EffectBuffer) {
        guard join.isIntroduced, links.established.isEmpty else {
            join.seedsDue = nil
            return
        }
        guard let due = join.seedsDue else {
            join.seedsDue = now + .seconds(1)
            return
        }
        guard due <= now else { return }
        join.seedsDue = now + .seconds(1)
        for seed in join.answered where !links.isDialling(seed.endpoint) {
            guard let index = members.index(of: seed.answerer),
                members.status(of: index).isPresent
            else { continue }
            dial(seed.endpoint, peer: index, .neighbour, stratum: 0, &effects)
        }
    }

    /// Takes the addresses that the names of the seeds lead to now (`Effect.resolveSeeds`); at most 64
    /// of them. Those that are no members are asked.
    public mutating func learnSeeds(_ endpoints: [Endpoint], at now: Instant) {
        if now > self.now { self.now = now }
        let isNews = join.learn(endpoints, at: self.now)
        if isNews, !join.isIntroduced, !departure.hasBegun { timers[.seeds] = self.now }
    }

    /// Dials every seed that is not being dialled, and schedules the next attempt.
    mutating func dialSeeds(_ effects: inout EffectBuffer) {
        guard !join.isIntroduced, !departure.hasBegun else { return }
        if join.attempts > 0, !links.established.isEmpty {
            introduced(&effects)
            return
        }
        let aloneDue = configuration.aloneAfter.map { join.startedAt + $0 }
        if let aloneDue, now >= aloneDue {
            serveAlone(&effects)
            return
        }
        resolveSeeds(&effects)
        for seed in join.endpoints { introduce(at: seed, &effects) }
        for entry in lostMembers.entries { introduce(at: entry.endpoint, &effects) }
        let backOff = min(
            configuration.timing.seedRetry * (1 << Int64(min(join.attempts, 10))),
            configuration.timing.seedRetryMax)
        // After some 3 s, and then once a minute.
        if join.attempts == 4 || join.attempts > 0 && join.attempts % 12 == 0 {
            effects.append(.log(.seedsSilent(attempts: join.attempts, join.failure)))
        }
        join.attempts += 1
        let jitter = Int64(random.next(below: Int(backOff.nanoseconds / 4 + 1)))
        let next = now + backOff + Delay(nanoseconds: jitter)
        timers[.seeds] = min(next, aloneDue ?? next)
    }

    /// The driver is asked for the addresses that the seeds have now.
    private func resolveSeeds(_ effects: inout EffectBuffer) {
        if !configuration.seedNames.isEmpty { effects.append(.resolveSeeds) }
    }

    /// No seed has answered for long: there may be no mesh yet, or it cannot be reached. If there is
    /// one, this node and it merge like the two sides of a partition.
    private mutating func serveAlone(_ effects: inout EffectBuffer) {
        join.isIntroduced = true
        timers[.seeds] = nil
        effects.append(.log(.servesAlone))
        checkReady(&effects)
    }

    /// A connection that was dialled to ask a seed has come to nothing.
    mutating func noteSeedFailure(_ link: Link, _ failure: SeedFailure) {
        guard !join.isIntroduced, link.isDialled, link.purpose == .introduce else { return }
        join.failure = failure
    }

    /// Asks the node at `endpoint` who is there; tells it the same.
    private mutating func introduce(
        at endpoint: Endpoint, former: MemberIndex? = nil, _ effects: inout EffectBuffer
    ) {
        if links.isDialling(endpoint) { return }
        dial(endpoint, peer: nil, former: former, .introduce, stratum: 0, &effects)
    }

    /// One of the seeds is this node itself; if it was the only one, this is the first node.
    mutating func strikeSeed(_ endpoint: Endpoint, _ effects: inout EffectBuffer) {
        join.strike(endpoint)
        // A name may lead elsewhere in a moment.
        if join.endpoints.isEmpty, configuration.seedNames.isEmpty, lostMembers.entries.isEmpty {
            introduced(&effects)
        }
    }

    /// Some node has told who is there.
    mutating func introduced(_ effects: inout EffectBuffer) {
        timers.schedule(.maintenance, at: now)
        if join.isIntroduced { return }
        join.isIntroduced = true
        timers[.seeds] = nil
        effects.append(.log(.joined(members: members.ring.count)))
        checkReady(&effects)
    }

    /// The dead that one node tries at a time, at most.
    private static var redialCountMax: Int { 16 }

    /// A partition heals because each side goes on trying the other's nodes, all of them in one
    /// period as long as a node need not try more than `redialCountMax` (<doc:Membership>). And each goes on
    /// asking those seeds that are no members: it may have met another newcomer, and the mesh that it is
    /// to join be behind them; or a seed has come back at another address.
    mutating func redialDead(_ effects: inout EffectBuffer) {
        let period = configuration.timing.redial
        timers[.redial] =
            now + period
            + Delay(nanoseconds: Int64(random.next(below: Int(period.nanoseconds / 2))))
        forgetDeparted(&effects)
        forgetPartials(&effects)
        guard !departure.hasBegun else { return }
        if let absent = join.nextRound(at: now, members) {
            resolveSeeds(&effects)
            for seed in absent { introduce(at: seed, &effects) }
        }
        askLost(&effects)
        var candidates: [MemberIndex] = []
        for index in departed.indices where members[index].status == .dead {
            let endpoint = members[index].endpoint
            // A new life at the same address has answered for it.
            if members.index(at: endpoint) == nil { candidates.append(index) }
        }
        guard !candidates.isEmpty else { return }
        // Two survivors of seventeen that are parted would look for each other among fifteen others
        // for half a minute, one at a time.
        let living = members.ring.count
        let count = min((candidates.count + living - 1) / living, Self.redialCountMax)
        let first = random.next(below: candidates.count)
        for position in first..<(first + count) {
            let member = candidates[position % candidates.count]
            introduce(at: members[member].endpoint, former: member, &effects)
        }
    }

    /// Asks at the addresses of those that were lost long ago, and that nobody here knows any more.
    private mutating func askLost(_ effects: inout EffectBuffer) {
        for _ in 0..<Self.redialCountMax {
            guard let endpoint = lostMembers.nextToAsk(at: now) else { return }
            // Another life there is a member, or was told to this node before it asked.
            if members.index(at: endpoint) == nil { introduce(at: endpoint, &effects) }
        }
    }

    /// Keeps the list of the dead within its bounds of number and time.
    private mutating func forgetDeparted(_ effects: inout EffectBuffer) {
        while let oldest = departed.first, !isWithdrawn(oldest),
            departed.count > configuration.rememberedDeadCount
                || now - members[oldest].since > configuration.timing.forget
        {
            departed.remove(oldest)
            giveUp(oldest, &effects)
            flows.forget(oldest, members.id(of: oldest))
            members.forget(oldest)
        }
    }

    /// Ready means: introduced; linked with everybody it first wanted and could reach; compared with
    /// each of them, since one may lack what another has; and every log known as far as anybody has
    /// told of it; and linked with both neighbours on the ring, or not in 2 s; and, after all that, once
    /// more compared (`CatchingUp`). What does not come is waited for, but not for ever (`JoinState.isStuck`).
    mutating func checkReady(_ effects: inout EffectBuffer) {
        guard !isReady, join.isIntroduced, directory.catchingUp == nil else { return }
        let isAlone = members.ring.count == 1
        guard isAlone || !links.established.isEmpty else { return }
        let progress = counters[.recordsRepaired] &+ counters[.snapshotsReceived]
        let isStuck = join.isStuck(progress, at: now)
        guard isStuck || hasAllThatIsTold else { return }
        if !isAlone, awaitsRing() { return }
        // All that are linked with this node have compared, so each has it as a link, and passes on to it
        // what others change. What was confirmed before that may have missed it.
        if isAlone { becomeReady(&effects) } else { mayBeBehind(.wasAway, &effects) }
    }

    /// This node has linked and compared with whom it wanted, and has all that anybody has told of.
    private var hasAllThatIsTold: Bool {
        for index in links.established where !links[index].isCompared { return false }
        for index in links.indices
        where links[index].isShakingHands && links[index].isDialled
            && links[index].purpose == .neighbour
        {
            return false
        }
        for entry in members.ring
        where entry.index != .oneself && !members.isLogComplete(of: entry.index) {
            return false
        }
        return true
    }

    /// The last comparison has ended. Others may have joined meanwhile, and stand next to this node now.
    mutating func finishJoining(_ effects: inout EffectBuffer) {
        if awaitsRing() { checkReady(&effects) } else { becomeReady(&effects) }
    }

    /// Changes come over the ring to whom no other link leads.
    private mutating func awaitsRing() -> Bool {
        let isLinked = [-1, 1].allSatisfy {
            let neighbour = members.neighbour($0)
            if neighbour == .oneself || members.status(of: neighbour) != .alive { return true }
            let link = members.link(of: neighbour)
            return !link.isNone && links[link].isUsable
        }
        if isLinked { return false }
        let end = join.ringDue ?? now + .seconds(2)
        join.ringDue = end
        if end <= now { return false }
        timers.schedule(.maintenance, at: end)
        return true
    }

    private mutating func becomeReady(_ effects: inout EffectBuffer) {
        isReady = true
        effects.append(.log(.ready(members: members.ring.count, keys: directory.table.count)))
    }
}
