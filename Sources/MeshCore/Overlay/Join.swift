import MeshWire

/// How this node finds the mesh: it asks all its seeds at once who is there, and again with
/// back-off until one has answered.
struct JoinState {
    var seeds: [Endpoint]
    var startedAt: Instant
    var attempts = 0
    /// Some node has told who is there, or there is nobody to ask: the first node knows all there is.
    var isIntroduced: Bool
    /// The first round of asking has come to nothing. Then whoever takes this node in introduces it
    /// as well as a seed would: the two compare all that they know.
    var areSeedsSilent: Bool { !isIntroduced && attempts > 1 }
    /// Seeds that have never answered, and when the next of them is tried once this node has joined
    /// through others.
    private var unheard: [Endpoint]
    private var nextTry: Instant
    private var pause = JoinState.pauseMin
    /// A seed may be down for good: it costs a dial a minute then.
    private static var pauseMin: Delay { .seconds(2) }
    private static var pauseMax: Delay { .seconds(60) }

    init(seeds: [Endpoint], startedAt: Instant) {
        self.seeds = seeds
        self.startedAt = startedAt
        isIntroduced = seeds.isEmpty
        unheard = seeds
        nextTry = startedAt
    }

    /// Whoever is at this address has answered.
    mutating func heard(_ endpoint: Endpoint) {
        if !unheard.isEmpty { unheard.removeAll { $0 == endpoint } }
    }

    /// The seed to try now, each in its turn; nil: none, or not yet.
    mutating func overdueSeed(at now: Instant, _ members: borrowing MemberTable) -> Endpoint? {
        guard isIntroduced, now >= nextTry, !unheard.isEmpty else { return nil }
        var rest: [Endpoint] = []
        for seed in unheard where members.index(at: seed) == nil { rest.append(seed) }
        unheard = rest
        guard let seed = unheard.first else { return nil }
        unheard.append(unheard.removeFirst())
        nextTry = now + pause
        pause = min(pause * 2, Self.pauseMax)
        return seed
    }
}

extension Node {
    /// Dials every seed that is not being dialled, and schedules the next attempt.
    mutating func dialSeeds(_ effects: inout EffectBuffer) {
        guard !join.isIntroduced, !departure.hasBegun else { return }
        if join.attempts > 0, !links.established.isEmpty {
            introduced(&effects)
            return
        }
        for seed in join.seeds { introduce(at: seed, &effects) }
        let backOff = min(
            configuration.timing.seedRetry * (1 << Int64(min(join.attempts, 10))),
            configuration.timing.seedRetryMax)
        // After some 3 s, and then once a minute.
        if join.attempts == 4 || join.attempts > 0 && join.attempts % 12 == 0 {
            effects.append(.log(.seedsSilent(attempts: join.attempts)))
        }
        join.attempts += 1
        let jitter = Int64(random.next(below: Int(backOff.nanoseconds / 4 + 1)))
        timers[.seeds] = now + backOff + Delay(nanoseconds: jitter)
    }

    /// Asks the node at `endpoint` who is there; tells it the same.
    private mutating func introduce(at endpoint: Endpoint, _ effects: inout EffectBuffer) {
        if links.isDialling(endpoint) { return }
        dial(endpoint, peer: nil, .introduce, stratum: 0, &effects)
    }

    /// The dead that one node tries at a time, at most.
    private static var redialCountMax: Int { 16 }

    /// A partition heals because each side goes on trying the other's nodes, all of them in one
    /// period as long as a node need not try more than `redialCountMax` (<doc:Membership>). A node that has
    /// lost everybody tries its seeds too; and whoever has joined goes on trying those seeds that did
    /// not answer: it may have met another newcomer, and the mesh that it is to join be behind them.
    mutating func redialDead(_ effects: inout EffectBuffer) {
        let period = configuration.timing.redial
        timers[.redial] =
            now + period
            + Delay(nanoseconds: Int64(random.next(below: Int(period.nanoseconds / 2))))
        forgetDeparted(&effects)
        guard !departure.hasBegun else { return }
        if links.established.isEmpty, members.ring.count == 1 {
            for seed in join.seeds { introduce(at: seed, &effects) }
        } else if let seed = join.overdueSeed(at: now, members) {
            introduce(at: seed, &effects)
        }
        askLost(&effects)
        var candidates: [Endpoint] = []
        for index in departed.indices where members[index].status == .dead {
            let endpoint = members[index].endpoint
            // A new life at the same address has answered for it.
            if members.index(at: endpoint) == nil { candidates.append(endpoint) }
        }
        guard !candidates.isEmpty else { return }
        // Two survivors of seventeen that are parted would look for each other among fifteen others
        // for half a minute, one at a time.
        let living = members.ring.count
        let count = min((candidates.count + living - 1) / living, Self.redialCountMax)
        let first = random.next(below: candidates.count)
        for position in first..<(first + count) {
            introduce(at: candidates[position % candidates.count], &effects)
        }
    }

    /// Asks at the addresses of those that were lost long ago, and that nobody here knows any more.
    private mutating func askLost(_ effects: inout EffectBuffer) {
        for _ in 0..<Self.redialCountMax {
            guard let endpoint = lost.due(at: now) else { return }
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
    /// told of it.
    mutating func checkReady(_ effects: inout EffectBuffer) {
        guard !isReady, join.isIntroduced else { return }
        let isAlone = members.ring.count == 1
        guard isAlone || !links.established.isEmpty else { return }
        for index in links.established where !links[index].isCompared { return }
        for index in links.indices
        where links[index].isShakingHands && links[index].isDialled
            && links[index].purpose == .neighbour
        {
            return
        }
        for entry in members.ring
        where entry.index != .oneself && !members.isLogComplete(of: entry.index) {
            return
        }
        isReady = true
        effects.append(.log(.ready(members: members.ring.count, keys: directory.table.count)))
    }
}
