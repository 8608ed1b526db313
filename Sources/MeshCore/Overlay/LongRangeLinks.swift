import MeshWire

/// The long-range links of a node: one outgoing and at most one incoming per stratum.
///
/// With K strata, the scale of log distance from the first node past the ring links (rank 3) to half
/// the ring is cut into K equal parts; a target is drawn log-uniformly inside each, clockwise, in
/// rank space. After Symphony (Manku, Bawa, Raghavan 2003, §3.1).
///
/// Differences from the paper: strata instead of K independent harmonic draws, and a bound of one
/// on incoming links per stratum, so that no node is a hub; fewer hops and a third of the load's
/// spread (<doc:Overlay>).
struct LongRangeLinks {
    struct Outgoing {
        /// The linked target; nil: to be drawn.
        var target: NodeID?
        /// The link to it when last looked at; none: not known.
        var link = LinkIndex.none
        /// The version of the ring in which there is a target that was found to serve the stratum.
        var servedVersion: UInt64 = 0
        /// It lies in whatever stratum had a place free.
        var isAnywhere = false
        /// An attempt is under way.
        var isDialling = false
        /// Refusals in a row.
        var refusals = 0
        /// The latest `refusalCountMax` nodes that have refused: not asked again at once.
        var refusedBy: [NodeID] = []
        /// When a nearer target is next looked for, and the pause after that.
        var improveAfter: Instant?
        var improvePause = LongRangeLinks.improvePauseMin
    }

    var outgoing: [Outgoing]
    /// The holders of this node's incoming places, by stratum.
    private var incoming: [NodeID?]
    /// Targets beyond one per stratum, taken because the node had few links.
    private(set) var extras: [NodeID] = []
    private(set) var isDiallingExtra = false
    /// A destination that is linked because a flow to it stood still (`Stall`).
    private var aim: (peer: NodeID, until: Instant)?

    init(strataCount: Int) {
        outgoing = [Outgoing](repeating: Outgoing(), count: strataCount)
        incoming = [NodeID?](repeating: nil, count: strataCount)
    }

    var strataCount: Int { outgoing.count }
    var acceptedCount: Int { incoming.count { $0 != nil } }

    /// After this many refusals in a row any free incoming place will do. Those who draw when nine
    /// of ten places of a stratum are taken are refused ten times on average: with 8 every ninth
    /// link came to lie anywhere, and 3,000 nodes needed 3.46 hops instead of 3.35.
    static let refusalCountMax = 32

    /// After this many nobody has a place free, and it is asked after 1, 2, 4 … rounds of maintenance
    /// without asking, in the end after every `askingPauseMax`. Guesses.
    static let askingCountMax = refusalCountMax + 24
    static let askingPauseMax = 256

    func holder(of stratum: Int) -> NodeID? {
        stratum < incoming.count ? incoming[stratum] : nil
    }

    mutating func accept(_ peer: NodeID, stratum: Int) {
        if stratum < incoming.count, incoming[stratum] == nil || incoming[stratum] == peer {
            incoming[stratum] = peer
        } else if let free = incoming.firstIndex(where: { $0 == nil }) {
            incoming[free] = peer
        }
    }

    mutating func dialling(stratum: Int) {
        outgoing[stratum].isDialling = true
    }

    /// Pauses between looks for a nearer target, doubled each time that none is had. Guesses.
    static let improvePauseMin = Delay.seconds(3)
    static let improvePauseMax = Delay.seconds(600)

    /// The stratum of a link beyond one per stratum.
    var extraStratum: Int { outgoing.count }

    mutating func diallingExtra() { isDiallingExtra = true }

    /// One at a time: while the link to one is wanted, others go without.
    mutating func aim(at peer: NodeID, until end: Instant) {
        if let aim, aim.peer != peer, end < aim.until + .seconds(10) { return }
        aim = (peer, end)
    }

    func aims(at now: Instant) -> NodeID? {
        aim.flatMap { now < $0.until ? $0.peer : nil }
    }

    func isTarget(_ peer: NodeID) -> Bool {
        outgoing.contains { $0.target == peer } || extras.contains(peer)
    }

    mutating func established(_ target: NodeID, stratum: Int, isAnywhere: Bool) {
        guard stratum < outgoing.count else {
            if stratum == extraStratum {
                isDiallingExtra = false
                extras.append(target)
            }
            return
        }
        outgoing[stratum] = Outgoing(target: target, isAnywhere: isAnywhere)
    }

    mutating func refused(stratum: Int, by peer: NodeID? = nil) {
        guard stratum < outgoing.count else {
            if stratum == extraStratum { isDiallingExtra = false }
            return
        }
        outgoing[stratum].isDialling = false
        if outgoing[stratum].target == nil { outgoing[stratum].refusals += 1 }
        if let peer {
            if outgoing[stratum].refusedBy.count >= Self.refusalCountMax {
                outgoing[stratum].refusedBy.removeFirst()
            }
            outgoing[stratum].refusedBy.append(peer)
        }
    }

    /// Whether somebody may be asked for a place in this stratum now.
    func mayAsk(_ stratum: Int) -> Bool {
        let rounds = outgoing[stratum].refusals - Self.askingCountMax
        return rounds <= 0 || rounds & (rounds - 1) == 0 || rounds % Self.askingPauseMax == 0
    }

    /// All nodes of a stratum that could be drawn are linked or have refused.
    mutating func exhausted(stratum: Int) {
        outgoing[stratum].refusals = max(outgoing[stratum].refusals + 1, Self.refusalCountMax)
    }

    /// A stratum has a target of its own, and none is being dialled.
    func mayImprove(_ stratum: Int) -> Bool {
        outgoing[stratum].target != nil && !outgoing[stratum].isDialling
            && !outgoing[stratum].isAnywhere
    }

    /// A stratum that has a target may look for a nearer one now; the next time is later.
    mutating func takeImprovement(_ stratum: Int, at now: Instant, jitter: Double) -> Bool {
        guard let after = outgoing[stratum].improveAfter else {
            let wait = Double(Self.improvePauseMin.nanoseconds) * (1 + jitter)
            outgoing[stratum].improveAfter = now + Delay(nanoseconds: Int64(wait))
            return false
        }
        guard after <= now else { return false }
        let wait = Double(outgoing[stratum].improvePause.nanoseconds) * (1 + jitter)
        outgoing[stratum].improveAfter = now + Delay(nanoseconds: Int64(wait))
        outgoing[stratum].improvePause = min(
            outgoing[stratum].improvePause * 2, Self.improvePauseMax)
        return true
    }

    /// A link to `peer` has ended: it is neither target nor holder any more.
    mutating func unlinked(_ peer: NodeID) {
        for stratum in outgoing.indices where outgoing[stratum].target == peer {
            outgoing[stratum] = Outgoing()
        }
        for stratum in incoming.indices where incoming[stratum] == peer {
            incoming[stratum] = nil
        }
        extras.removeAll { $0 == peer }
    }

    /// The peer has told that the link is no long-range link for it any more.
    mutating func released(by peer: NodeID) {
        for stratum in incoming.indices where incoming[stratum] == peer {
            incoming[stratum] = nil
        }
    }

    mutating func abandon(stratum: Int) {
        outgoing[stratum] = Outgoing()
    }

    mutating func abandonExtra() -> NodeID? { extras.popLast() }

    // MARK: Strata

    /// The first rank past the ring links.
    static let firstRank = 3

    /// Where stratum `index` of `count` begins, as a rank distance, in a ring of `size` nodes.
    static func boundary(_ index: Int, of count: Int, size: Int) -> Double {
        let first = Double(firstRank)
        let last = max(Double(size) / 2, first)
        return first * power(last / first, Double(index) / Double(count))
    }

    /// The rank distances of one stratum, to draw from.
    struct Stratum {
        private let low: Double
        /// log2 of the highest over the lowest.
        private let width: Double
        private let most: Int

        init(_ stratum: Int, of count: Int, size: Int) {
            low = boundary(stratum, of: count, size: size)
            let high = max(boundary(stratum + 1, of: count, size: size), low)
            width = log2(high / low)
            most = max(size / 2, firstRank)
        }

        /// A rank distance, log-uniform for `unit` in [0, 1).
        func draw(unit: Double) -> Int {
            min(max(Int(low * exp2(unit * width)), firstRank), most)
        }
    }

    /// Whether a link drawn for this stratum still serves it: within the stratum widened by half
    /// on either side, since every join and leave moves the boundaries a little.
    static func serves(rank: Int, stratum: Int, of count: Int, size: Int) -> Bool {
        let low = boundary(stratum, of: count, size: size) / 1.5
        let high = boundary(stratum + 1, of: count, size: size) * 1.5
        return rank >= Int(low) && rank <= Int(high) + 1
    }
}
