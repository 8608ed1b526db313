import MeshCore

/// The links between nodes, in flat arrays: a million nodes cost four bytes a link end.
///
/// Nodes are numbered in the order of their positions on the ring, so a node's number is its rank.
public struct Graph: Sendable {
    public enum Kind: String, CaseIterable, Sendable {
        /// Stratified and balanced (`LongRangeLinks`).
        case ours
        /// Symphony's own law: harmonic draws, any number of incoming links.
        case randomHarmonic = "random-harmonic"
        /// Links at fixed distances that grow geometrically, as Chord's fingers.
        case geometricFingers = "geometric-fingers"
        /// The ring and random links, one in for one out.
        case randomRegular = "random-regular"
    }

    /// Ring positions, ascending.
    public let positions: [UInt64]
    /// The links of node n are in places n × `rowSize` ..< (n + 1) × `rowSize` after the first
    /// `lead`, sorted. A place without a link holds n itself: no route ever goes there.
    private(set) var links: [UInt32]
    /// Unused places at the beginning, so that rows begin where lines of the cache do.
    let lead: Int
    /// The most links of any node, so that all rows are of one size: 64 bytes at degree 16, a line
    /// of the cache.
    public let rowSize: Int
    /// Nodes that routes may start and end at.
    public private(set) var live: [UInt32]
    /// The zone of each node; empty: there is one zone.
    private let zones: [UInt8]

    public var count: Int { positions.count }
    public var byteCount: Int {
        positions.count * 8 + links.count * 4 + live.count * 4 + zones.count
    }

    public var degree: Distribution {
        var counts = [Int](repeating: 0, count: rowSize + 1)
        for node in live { counts[neighbours(of: node).count] += 1 }
        return Distribution(histogram: counts)
    }

    /// Of the links of live nodes, those that stay within a zone.
    public var shareWithinZones: Double {
        guard !zones.isEmpty else { return 1 }
        var total = 0
        var within = 0
        for node in live {
            for neighbour in neighbours(of: node) {
                total += 1
                if zones[Int(node)] == zones[Int(neighbour)] { within += 1 }
            }
        }
        return total == 0 ? 1 : Double(within) / Double(total)
    }

    func neighbours(of node: UInt32) -> [UInt32] {
        links[row(Int(node))].filter { $0 != node }
    }

    private func row(_ node: Int) -> Range<Int> {
        lead + node * rowSize..<lead + (node + 1) * rowSize
    }

    @inline(__always)
    func zone(of node: UInt32) -> UInt8 { zones.isEmpty ? 0 : zones[Int(node)] }

    @inline(__always)
    func distance(_ one: UInt32, _ other: UInt32) -> UInt64 {
        let clockwise = positions[Int(other)] &- positions[Int(one)]
        return min(clockwise, 0 &- clockwise)
    }

    /// From `other` to `one` it is nearer clockwise than the other way.
    @inline(__always)
    func isAfter(_ one: UInt32, _ other: UInt32) -> Bool {
        let clockwise = positions[Int(one)] &- positions[Int(other)]
        return clockwise < 0 &- clockwise
    }

    /// The wishes for a graph.
    public struct Plan: Sendable {
        public var kind = Kind.ours
        /// Nodes, at least 8.
        public var count = 1_000
        /// Links of a node, even; ring links on both sides and as many long ones out as in.
        public var degree = 16
        /// Successors of a node, and predecessors.
        public var ringLinks = 2
        /// Positions lie evenly on the ring, so that routing is by rank, as it was when the graphs
        /// were compared (MeshCore.docc/Overlay.md). With random positions, as nodes have them, hops
        /// are the same within 1 %, load is less even and a tenth more routes fail among dead nodes.
        public var isEven = false
        /// Nodes are in so many zones, at random and in equal parts; 1 … 255.
        public var zoneCount = 1
        /// Of so many candidates for a long link the first in the node's own zone is taken, the last
        /// if none is; 1: zones play no part.
        public var candidateCount = 1

        public init(_ kind: Kind = .ours, count: Int = 1_000) {
            self.kind = kind
            self.count = count
        }
    }

    public init(_ plan: Plan, seed: UInt64) {
        let count = plan.count
        precondition(count >= 8 && count < 1 << 30 && plan.ringLinks >= 1)
        precondition(plan.degree >= 2 * plan.ringLinks && (1...255).contains(plan.zoneCount))
        var random = RandomSource(seed: seed)
        let step = UInt64.max / UInt64(count)
        positions =
            plan.isEven
            ? (0..<UInt64(count)).map { $0 * step }
            : (0..<count).map { _ in random.next() }.sorted()
        live = (0..<UInt32(count)).map { $0 }
        zones =
            plan.zoneCount == 1
            ? [] : (0..<count).map { _ in UInt8(random.next(below: plan.zoneCount)) }
        var builder = LinkBuilder(plan, zones)
        switch plan.kind {
        case .ours: builder.drawBalanced(&random)
        case .randomHarmonic: builder.drawHarmonic(&random)
        case .geometricFingers: builder.drawFingers()
        case .randomRegular: builder.drawRandom(&random)
        }
        (links, lead, rowSize) = builder.rows()
    }

    /// A graph that is there already, of nodes that are all alive.
    ///
    /// - Parameters:
    ///   - positions: ascending.
    ///   - neighbours: of each, in any order, each once; links go both ways.
    init(positions: [UInt64], neighbours: [[UInt32]]) {
        self.positions = positions
        rowSize = max(1, neighbours.map(\.count).max() ?? 0)
        lead = 0
        links = []
        for (node, others) in neighbours.enumerated() {
            let none = repeatElement(UInt32(node), count: rowSize - others.count)
            links += (others + none).sorted()
        }
        live = (0..<UInt32(positions.count)).map { $0 }
        zones = []
    }

    /// How many nodes a share of them is, rounded to the nearest: 0.29 of a hundred is 28.999… in
    /// binary.
    public static func count(of share: Double, among nodes: Int) -> Int {
        Int((Double(nodes) * share).rounded())
    }

    /// The same with nodes dead and nothing repaired: their links are gone.
    public func killing(_ share: Double, seed: UInt64) -> Graph {
        var random = RandomSource(seed: seed)
        var isDead = [Bool](repeating: false, count: count)
        for node in random.sample(Self.count(of: share, among: count), of: live) {
            isDead[Int(node)] = true
        }
        var result = self
        result.live = live.filter { !isDead[Int($0)] }
        for node in 0..<count {
            let row = row(node)
            var isChanged = false
            for position in row where isDead[node] || isDead[Int(links[position])] {
                result.links[position] = UInt32(node)
                isChanged = true
            }
            if isChanged { result.links[row].sort() }
        }
        return result
    }
}

/// Draws links, then turns them into rows that both ends share.
private struct LinkBuilder {
    let count: Int
    let long: Int
    let ringLinks: Int
    let candidateCount: Int
    let zones: [UInt8]
    /// The clockwise long links, `long` of each node; none: `UInt32.max`.
    private var targets: [UInt32]
    private static var none: UInt32 { .max }

    init(_ plan: Graph.Plan, _ zones: [UInt8]) {
        count = plan.count
        ringLinks = plan.ringLinks
        long = min(
            (plan.degree - 2 * ringLinks) / 2, max(0, (count - 1 - 2 * ringLinks) / 2))
        candidateCount = zones.isEmpty ? 1 : plan.candidateCount
        self.zones = zones
        targets = [UInt32](repeating: Self.none, count: count * long)
    }

    private func clockwise(_ node: Int, _ steps: Int) -> Int {
        let sum = node + steps
        return sum >= count ? sum - count : sum
    }

    /// They are linked already, by the ring or a long link of either.
    private func isLinked(_ one: Int, _ other: Int) -> Bool {
        let forward = other >= one ? other - one : other - one + count
        if min(forward, count - forward) <= ringLinks { return true }
        for position in 0..<long {
            if targets[one * long + position] == UInt32(other) { return true }
            if targets[other * long + position] == UInt32(one) { return true }
        }
        return false
    }

    /// One target in each stratum, and no node the target of two in one stratum: what
    /// `LongRangeLinks` makes nodes agree on by refusals, done for all of them at once.
    mutating func drawBalanced(_ random: inout RandomSource) {
        guard long > 0 else { return }
        let first = Double(ringLinks + 1)
        let ratio = max(1, Double(count) / 2 / first)
        var order = (0..<UInt32(count)).map { $0 }
        for stratum in 0..<long {
            let low = first * power(ratio, Double(stratum) / Double(long))
            let high = first * power(ratio, Double(stratum + 1) / Double(long))
            var isTaken = [Bool](repeating: false, count: count)
            for position in 0..<(count - 1) {
                order.swapAt(position, position + random.next(below: count - position))
            }
            for node in order {
                let target = target(of: Int(node), low, high, isTaken, &random)
                guard target >= 0 else { continue }
                targets[Int(node) * long + stratum] = UInt32(target)
                isTaken[target] = true
            }
        }
    }

    /// A free node in the stratum; at last any free node that is further on; -1: none.
    private func target(
        of node: Int, _ low: Double, _ high: Double, _ isTaken: [Bool],
        _ random: inout RandomSource
    ) -> Int {
        let scale = log2(high / low)
        var free = -1
        var candidates = 0
        for _ in 0..<24 * candidateCount where candidates < candidateCount {
            let steps = Int(low * exp2(scale * random.nextUnit()))
            let target = clockwise(node, min(max(steps, ringLinks + 1), count / 2))
            if isTaken[target] || isLinked(node, target) { continue }
            free = target
            candidates += 1
            if candidateCount == 1 || zones[node] == zones[target] { break }
        }
        if free >= 0 { return free }
        var steps = max(ringLinks + 1, Int(low))
        let last = min(count - ringLinks - 1, max(Int(high) + 1, steps + 64))
        while steps < last {
            let target = clockwise(node, steps)
            if !isTaken[target], !isLinked(node, target) { return target }
            steps += 1
        }
        return -1
    }

    mutating func drawHarmonic(_ random: inout RandomSource) {
        let scale = log2(Double(count) / 2)
        for node in 0..<count {
            for position in 0..<long {
                for _ in 0..<32 {
                    let steps = Int(exp2(scale * random.nextUnit()))
                    let target = clockwise(node, min(max(steps, ringLinks + 1), count / 2))
                    if isLinked(node, target) { continue }
                    targets[node * long + position] = UInt32(target)
                    break
                }
            }
        }
    }

    mutating func drawFingers() {
        guard long > 0 else { return }
        let first = Double(ringLinks)
        let ratio = power(Double(count) / 2 / first, 1 / (Double(long) + 0.5))
        var steps = 0
        var exact = first
        for position in 0..<long {
            exact *= ratio
            steps = min(max(steps + 1, Int(exact.rounded()), ringLinks + 1), count / 2)
            for node in 0..<count {
                targets[node * long + position] = UInt32(clockwise(node, steps))
            }
        }
    }

    mutating func drawRandom(_ random: inout RandomSource) {
        var order = (0..<UInt32(count)).map { $0 }
        for position in 0..<long {
            for index in 0..<(count - 1) {
                order.swapAt(index, index + random.next(below: count - index))
            }
            for index in 0..<count {
                let node = Int(order[index])
                // The next of the random cycle that is no neighbour yet.
                var next = index + 1
                while next < index + 16, isLinked(node, Int(order[next % count])) { next += 1 }
                targets[node * long + position] = order[next % count]
            }
        }
    }

    /// Rows of all links, sorted, without doubles, filled up to one size with the node itself.
    func rows() -> (links: [UInt32], lead: Int, size: Int) {
        func forEachLink(_ body: (Int, Int) -> Void) {
            for node in 0..<count {
                for steps in 1...ringLinks { body(node, clockwise(node, steps)) }
                for position in 0..<long where targets[node * long + position] != Self.none {
                    body(node, Int(targets[node * long + position]))
                }
            }
        }
        var degrees = [UInt16](repeating: 0, count: count)
        forEachLink { one, other in
            degrees[one] += 1
            degrees[other] += 1
        }
        let size = Int(degrees.max() ?? 0)
        var links = [UInt32](repeating: 0, count: count * size + 15)
        let address = unsafe links.withUnsafeBytes { Int(bitPattern: $0.baseAddress) }
        let lead = (64 - address % 64) % 64 / 4
        for node in 0..<count {
            for position in lead + node * size..<lead + (node + 1) * size {
                links[position] = UInt32(node)
            }
            degrees[node] = 0
        }
        forEachLink { one, other in
            links[lead + one * size + Int(degrees[one])] = UInt32(other)
            degrees[one] += 1
            links[lead + other * size + Int(degrees[other])] = UInt32(one)
            degrees[other] += 1
        }
        for node in 0..<count {
            let row = lead + node * size..<lead + (node + 1) * size
            links[row].sort()
            var isDouble = false
            for position in row.dropFirst() where links[position] == links[position - 1] {
                isDouble = isDouble || links[position] != UInt32(node)
            }
            guard isDouble else { continue }
            var last = Self.none
            for position in row {
                let link = links[position]
                if link == last { links[position] = UInt32(node) }
                last = link
            }
            links[row].sort()
        }
        return (links, lead, size)
    }
}
