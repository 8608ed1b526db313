import MeshCore
import MeshWire

/// A node that died with users, until no survivor knows them any more.
struct Bereavement {
    var host: Int
    /// Some of what it held.
    var keys: [Key]
    /// When the first survivor declared it dead.
    var knownAt: Instant?
    /// Survivors that may still know a key of it.
    var waiting: [Int]
    /// Nobody is waited for after this.
    var until: Instant
}

/// The links among all nodes that are up.
struct LinkCounts {
    var least: Int
    var mean: Double
}

/// What a run has seen for its `Figures` so far.
struct FigureTally {
    var suspicions: [Double] = []
    var withdrawals: [Double] = []
    /// When nodes last died whose links are not replaced yet, and what links nodes had before.
    var linksMissing: (since: Instant, before: LinkCounts)?
    var linksBack: [Double] = []
    var falseRemovals = 0
    var bereavements: [Bereavement] = []
    /// What a repair had cost when the last partition ended; nil: all agree.
    var repairBegan: Figures.Repair?
    var repair = Figures.Repair()
    var nodeSeconds = 0.0
    var sampledAt = Instant(nanoseconds: 0)
    /// At most so many times are kept of each kind.
    static let timeCountMax = 4_000_000
    /// How often survivors are asked about the users of the dead: the figures' resolution.
    static let withdrawalPeriod = Delay.milliseconds(10)
    static let withdrawalLimit = Delay.seconds(30)
    /// As many users, and channels, of each dead node are looked for.
    static let keyCountMax = 4
}

extension Run {
    // MARK: Deaths

    /// A node dies; survivors will be asked for its users until none knows them.
    mutating func mourn(_ host: Int, users: [Int32], channels: [Int32]) {
        let keys =
            users.prefix(FigureTally.keyCountMax).map { world.key(.user, Self.userName(Int($0))) }
            + channels.prefix(FigureTally.keyCountMax).map {
                world.key(.channel, Self.channelName(Int($0)))
            }
        guard !keys.isEmpty else { return }
        if tally.bereavements.isEmpty {
            agenda.schedule(Chore(kind: .mourning), at: now + FigureTally.withdrawalPeriod)
        }
        tally.bereavements.append(
            Bereavement(
                host: host, keys: keys, knownAt: nil, waiting: live,
                until: now + FigureTally.withdrawalLimit))
    }

    mutating func knowsDeath(of subject: Int, at time: Instant) {
        guard
            let position = tally.bereavements.firstIndex(where: { $0.host == subject }),
            tally.bereavements[position].knownAt == nil
        else { return }
        tally.bereavements[position].knownAt = time
    }

    /// Asks the survivors of each dead node for its users.
    mutating func lookForBereaved() {
        for position in tally.bereavements.indices {
            guard let knownAt = tally.bereavements[position].knownAt else { continue }
            let dead = world.id(tally.bereavements[position].host)
            let keys = tally.bereavements[position].keys
            var waiting: [Int] = []
            for host in tally.bereavements[position].waiting where world.isUp(host) {
                if keys.contains(where: { world.holders(host, of: $0).contains(dead) }) {
                    waiting.append(host)
                } else if tally.withdrawals.count < FigureTally.timeCountMax {
                    tally.withdrawals.append(Double((now - knownAt).nanoseconds) / 1e9)
                }
            }
            tally.bereavements[position].waiting = waiting
        }
        let time = now
        tally.bereavements.removeAll { $0.waiting.isEmpty || $0.until < time }
        if !tally.bereavements.isEmpty {
            agenda.schedule(Chore(kind: .mourning), at: now + FigureTally.withdrawalPeriod)
        }
    }

    mutating func suspected(_ subject: Int, at time: Instant) {
        guard let at = crashedAt[subject], tally.suspicions.count < FigureTally.timeCountMax
        else { return }
        tally.suspicions.append(Double((time - at).nanoseconds) / 1e9)
    }

    // MARK: Links

    /// Links to nodes that are up, whatever their other ends know.
    private var linkCounts: LinkCounts {
        let counts = live.map { host in
            world.links(host).count { world.host(of: $0.peer).map { world.isUp($0) } ?? false }
        }
        return LinkCounts(
            least: counts.min() ?? 0,
            mean: Double(counts.reduce(0, +)) / Double(max(1, counts.count)))
    }

    /// A node is about to die, and with it links of others.
    mutating func missLinks() {
        guard scenario.expectations.contains(where: { $0.metric.hasPrefix("linksBack") })
        else { return }
        tally.linksMissing = (now, tally.linksMissing?.before ?? linkCounts)
    }

    /// Looks whether the links of the dead are replaced.
    mutating func lookForLinks() {
        guard let missing = tally.linksMissing else { return }
        let counts = linkCounts
        guard counts.least >= missing.before.least - 1,
            counts.mean >= missing.before.mean * 0.98
        else { return }
        tally.linksMissing = nil
        tally.linksBack.append(Double((now - missing.since).nanoseconds) / 1e9)
    }

    // MARK: Repair

    private var repairSoFar: Figures.Repair {
        var repair = Figures.Repair()
        repair.changes = world.ledger.changesRepaired
        repair.bytes = world.ledger.sum(.repair)
        repair.comparisonBytes = world.ledger.sum(.comparison)
        return repair
    }

    /// A partition has healed: what repair costs from now on is its price.
    mutating func beginRepair() {
        if tally.repairBegan == nil { tally.repairBegan = repairSoFar }
    }

    /// All agree on members and directory.
    mutating func endRepair() {
        guard let before = tally.repairBegan else { return }
        tally.repairBegan = nil
        let after = repairSoFar
        tally.repair.changes += after.changes - before.changes
        tally.repair.bytes += after.bytes - before.bytes
        tally.repair.comparisonBytes += after.comparisonBytes - before.comparisonBytes
        tally.repair.pairs += live.reduce(0) { $0 + world.sizes($1).links } / 2
    }

    // MARK: The end

    /// Nodes that are up have lived so much longer.
    mutating func countNodeSeconds() {
        let seconds = Double((now - tally.sampledAt).nanoseconds) / 1e9
        tally.nodeSeconds += seconds * Double(live.count)
        tally.sampledAt = now
    }

    /// What the whole run comes to; the other metrics are there already.
    mutating func takeFigures() {
        countNodeSeconds()
        let ledger = world.ledger
        var figures = Figures()
        figures.suspicion = Distribution(tally.suspicions)
        figures.withdrawal = Distribution(tally.withdrawals)
        // What is not over yet is longer than any.
        if tally.linksMissing != nil { tally.linksBack.append(.infinity) }
        figures.linksBack = Distribution(tally.linksBack)
        figures.falseRemovals = tally.falseRemovals
        figures.nodeHours = tally.nodeSeconds / 3_600
        figures.bytesPerLinkSecond =
            metrics.linksPerNode == 0 ? 0 : metrics.bytesPerNodeSecond.mean / metrics.linksPerNode
        figures.traffic = Ledger.Purpose.allCases.map {
            ($0.name, ledger.sum($0), ledger.frameCount($0))
        }
        figures.spread = ledger.spread
        let news = ledger.changesLive + ledger.changesRepaired
        figures.redundancy = news == 0 ? 0 : Double(ledger.changesSpare) / Double(news)
        let changeBytes = ledger.sum(.changes)
        figures.comparisonShare =
            changeBytes == 0 ? 0 : Double(ledger.sum(.comparison, .repair)) / Double(changeBytes)
        figures.repair = tally.repair
        let channels = ledger.channels
        figures.channels.transmissions = channels.transmissions
        figures.channels.copiesAgain = channels.transmissions - channels.links
        figures.channels.copiesBeyondTree = channels.transmissions - channels.nodes
        figures.channels.perSubscriber =
            delivery.channelCopies == 0
            ? 0 : Double(channels.transmissions) / Double(delivery.channelCopies)
        let acknowledgements = live.reduce(0) { $0 + world.counters($1)[.acknowledgementsSent] }
        let delivered = live.reduce(0) { $0 + world.counters($1)[.messagesDelivered] }
        figures.acknowledgementsPerMessage =
            delivered == 0 ? 0 : Double(acknowledgements) / Double(delivered)
        metrics.figures = figures
    }
}
