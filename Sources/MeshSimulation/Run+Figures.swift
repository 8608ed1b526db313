import MeshCore
import MeshWire

/// A node that died with users, until no survivor knows them any more.
struct KnownDeath {
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

/// The observations of a run for its `Figures` so far.
struct FigureTally {
    var suspicions: [Double] = []
    var withdrawals: [Double] = []
    /// When nodes last died whose links are not replaced yet, and what links nodes had before.
    var linksMissing: (since: Instant, before: LinkCounts)?
    var linksBack: [Double] = []
    var falseRemovals = 0
    var deaths: [KnownDeath] = []
    /// The cost of a repair when the last partition ended; nil: all agree.
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
    mutating func noteDeath(of host: Int, users: [Int32], channels: [Int32]) {
        let keys =
            users.prefix(FigureTally.keyCountMax).map { world.key(.user, userName(Int($0))) }
            + channels.prefix(FigureTally.keyCountMax).map {
                world.key(.channel, channelName(Int($0)))
            }
        guard !keys.isEmpty else { return }
        if tally.deaths.isEmpty {
            agenda.schedule(
                ScheduledAction(kind: .withdrawal), at: now + FigureTally.withdrawalPeriod)
        }
        tally.deaths.append(
            KnownDeath(
                host: host, keys: keys, knownAt: nil, waiting: live,
                until: now + FigureTally.withdrawalLimit))
    }

    mutating func knowsDeath(of subject: Int, at time: Instant) {
        guard
            let position = tally.deaths.firstIndex(where: { $0.host == subject }),
            tally.deaths[position].knownAt == nil
        else { return }
        tally.deaths[position].knownAt = time
    }

    /// Asks the survivors of each dead node for its users.
    mutating func lookForWithdrawn() {
        for position in tally.deaths.indices {
            guard let knownAt = tally.deaths[position].knownAt else { continue }
            let dead = world.id(tally.deaths[position].host)
            let keys = tally.deaths[position].keys
            var waiting: [Int] = []
            for host in tally.deaths[position].waiting where world.isUp(host) {
                if keys.contains(where: { world.holders(host, of: $0).contains(dead) }) {
                    waiting.append(host)
                } else if tally.withdrawals.count < FigureTally.timeCountMax {
                    tally.withdrawals.append(Double((now - knownAt).nanoseconds) / 1e9)
                }
            }
            tally.deaths[position].waiting = waiting
        }
        let time = now
        tally.deaths.removeAll { $0.waiting.isEmpty || $0.until < time }
        if !tally.deaths.isEmpty {
            agenda.schedule(
                ScheduledAction(kind: .withdrawal), at: now + FigureTally.withdrawalPeriod)
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
        repair.changes = world.trafficCount.changesRepaired
        repair.bytes = world.trafficCount.sum(.repair)
        repair.comparisonBytes = world.trafficCount.sum(.comparison)
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

    /// The figures of the whole run; the other metrics are there already.
    mutating func takeFigures() {
        countNodeSeconds()
        let trafficCount = world.trafficCount
        var figures = Figures()
        figures.suspicion = Distribution(tally.suspicions)
        figures.withdrawal = Distribution(tally.withdrawals)
        // A time that is not over yet is longer than any.
        if tally.linksMissing != nil { tally.linksBack.append(.infinity) }
        figures.linksBack = Distribution(tally.linksBack)
        figures.falseRemovals = tally.falseRemovals
        figures.nodeHours = tally.nodeSeconds / 3_600
        figures.bytesPerLinkSecond =
            metrics.linksPerNode == 0 ? 0 : metrics.bytesPerNodeSecond.mean / metrics.linksPerNode
        figures.traffic = TrafficCount.Purpose.allCases.map {
            ($0.name, trafficCount.sum($0), trafficCount.frameCount($0))
        }
        figures.spread = trafficCount.spread
        figures.confirmation = world.confirmations.latency.distribution
        figures.confirmationsExcused = world.confirmations.excusedCount
        figures.confirmationsLate = world.confirmations.lateCount
        let news = trafficCount.changesLive + trafficCount.changesRepaired
        figures.redundancy = news == 0 ? 0 : Double(trafficCount.changesSpare) / Double(news)
        let changeBytes = trafficCount.sum(.changes)
        figures.comparisonShare =
            changeBytes == 0
            ? 0 : Double(trafficCount.sum(.comparison, .repair)) / Double(changeBytes)
        figures.repair = tally.repair
        let channels = trafficCount.channels
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

    // MARK: The picture

    mutating func drawRing() {
        guard live.count <= 2_000 else { return }
        for host in live {
            for link in world.links(host) where world.id(host) < link.peer {
                metrics.ring.append(
                    (
                        Double(world.id(host).rawValue) / 0x1p64,
                        Double(link.peer.rawValue) / 0x1p64, link.role == "long-range"
                    ))
            }
        }
    }
}
