import MeshCore

/// Who is linked to whom, in flat arrays: what a million nodes cost is four bytes a link end.
///
/// Nodes are numbered in the order of their positions on the ring, so a node's number is its rank.
/// Each row of `links` is sorted.
public struct Graph: Sendable {
    public enum Kind: String, CaseIterable, Sendable {
        /// Ours: stratified and balanced (`LongRangeLinks`).
        case balanced
        /// Symphony's own law: harmonic draws, any number of incoming links.
        case harmonic
        /// Links at fixed distances that grow geometrically, as Chord's fingers.
        case fingers
        /// The ring and random links, one in for one out.
        case random
    }

    /// Ring positions, ascending.
    public let positions: [UInt64]
    /// Where each node's row starts; one more than there are nodes.
    private(set) var starts: [UInt32]
    private(set) var links: [UInt32]
    /// Nodes that routes may start and end at.
    public private(set) var live: [UInt32]

    public var count: Int { positions.count }
    public var byteCount: Int {
        positions.count * 8 + starts.count * 4 + links.count * 4 + live.count * 4
    }

    public var degree: Distribution {
        var counts: [Int] = []
        for node in live.indices {
            let size = row(Int(live[node])).count
            while counts.count <= size { counts.append(0) }
            counts[size] += 1
        }
        return Distribution(histogram: counts)
    }

    @inline(__always)
    func row(_ node: Int) -> Range<Int> { Int(starts[node])..<Int(starts[node + 1]) }

    @inline(__always)
    func distance(_ one: Int, _ other: Int) -> UInt64 {
        let clockwise = positions[other] &- positions[one]
        return min(clockwise, 0 &- clockwise)
    }

    /// Builds a graph.
    ///
    /// - Parameters:
    ///   - count: nodes, at least 8.
    ///   - degree: links of a node, even; ring links on both sides and as many long ones out as in.
    ///   - ringLinks: successors of a node, and predecessors.
    ///   - isEven: positions lie evenly on the ring, so that routing is by rank, as it was when
    ///     `hops.csv` was measured. With random positions, as nodes have them, hops are the same
    ///     within 1 %, load is less even and a tenth more routes fail among dead nodes.
    public init(
        _ kind: Kind, count: Int, degree: Int, ringLinks: Int, seed: UInt64, isEven: Bool = false
    ) {
        precondition(count >= 8 && count < 1 << 30 && ringLinks >= 1 && degree >= 2 * ringLinks)
        var random = RandomSource(seed: seed)
        let step = UInt64.max / UInt64(count)
        positions =
            isEven
            ? (0..<UInt64(count)).map { $0 * step }
            : (0..<count).map { _ in random.next() }.sorted()
        live = (0..<UInt32(count)).map { $0 }
        let long = min((degree - 2 * ringLinks) / 2, max(0, (count - 1 - 2 * ringLinks) / 2))
        var builder = LinkBuilder(count: count, long: long, ringLinks: ringLinks)
        switch kind {
        case .balanced: builder.drawBalanced(&random)
        case .harmonic: builder.drawHarmonic(&random)
        case .fingers: builder.drawFingers()
        case .random: builder.drawRandom(&random)
        }
        (starts, links) = builder.rows()
    }

    /// The same with nodes dead and nothing repaired: their links are gone.
    public func killing(_ share: Double, seed: UInt64) -> Graph {
        var random = RandomSource(seed: seed)
        var isDead = [Bool](repeating: false, count: count)
        for node in random.sample(Int(Double(count) * share), of: live) {
            isDead[Int(node)] = true
        }
        var result = self
        result.live = live.filter { !isDead[Int($0)] }
        result.links.removeAll(keepingCapacity: true)
        for node in 0..<count {
            result.starts[node] = UInt32(result.links.count)
            if isDead[node] { continue }
            for place in row(node) where !isDead[Int(links[place])] {
                result.links.append(links[place])
            }
        }
        result.starts[count] = UInt32(result.links.count)
        return result
    }
}

/// Draws links, then turns them into rows that both ends share.
private struct LinkBuilder {
    let count: Int
    let long: Int
    let ringLinks: Int
    /// The clockwise long links, `long` of each node; none: `UInt32.max`.
    private var targets: [UInt32]
    private static var none: UInt32 { .max }

    init(count: Int, long: Int, ringLinks: Int) {
        self.count = count
        self.long = long
        self.ringLinks = ringLinks
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
        for place in 0..<long {
            if targets[one * long + place] == UInt32(other) { return true }
            if targets[other * long + place] == UInt32(one) { return true }
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
            for place in 0..<(count - 1) {
                order.swapAt(place, place + random.next(below: count - place))
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
        for _ in 0..<24 {
            let steps = Int(low * exp2(scale * random.nextUnit()))
            let target = clockwise(node, min(max(steps, ringLinks + 1), count / 2))
            if !isTaken[target], !isLinked(node, target) { return target }
        }
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
            for place in 0..<long {
                for _ in 0..<32 {
                    let steps = Int(exp2(scale * random.nextUnit()))
                    let target = clockwise(node, min(max(steps, ringLinks + 1), count / 2))
                    if isLinked(node, target) { continue }
                    targets[node * long + place] = UInt32(target)
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
        for place in 0..<long {
            exact *= ratio
            steps = min(max(steps + 1, Int(exact.rounded()), ringLinks + 1), count / 2)
            for node in 0..<count {
                targets[node * long + place] = UInt32(clockwise(node, steps))
            }
        }
    }

    mutating func drawRandom(_ random: inout RandomSource) {
        var order = (0..<UInt32(count)).map { $0 }
        for place in 0..<long {
            for index in 0..<(count - 1) {
                order.swapAt(index, index + random.next(below: count - index))
            }
            for index in 0..<count {
                let node = Int(order[index])
                // The next of the random cycle that is no neighbour yet.
                var next = index + 1
                while next < index + 16, isLinked(node, Int(order[next % count])) { next += 1 }
                targets[node * long + place] = order[next % count]
            }
        }
    }

    /// Rows of all links, sorted, without doubles.
    func rows() -> (starts: [UInt32], links: [UInt32]) {
        var starts = [UInt32](repeating: 0, count: count + 1)
        func forEachLink(_ body: (Int, Int) -> Void) {
            for node in 0..<count {
                for steps in 1...ringLinks { body(node, clockwise(node, steps)) }
                for place in 0..<long where targets[node * long + place] != Self.none {
                    body(node, Int(targets[node * long + place]))
                }
            }
        }
        forEachLink { one, other in
            starts[one + 1] += 1
            starts[other + 1] += 1
        }
        for node in 0..<count { starts[node + 1] += starts[node] }
        var next = starts
        var links = [UInt32](repeating: 0, count: Int(starts[count]))
        forEachLink { one, other in
            links[Int(next[one])] = UInt32(other)
            next[one] += 1
            links[Int(next[other])] = UInt32(one)
            next[other] += 1
        }
        var written = 0
        var begin = 0
        for node in 0..<count {
            let end = Int(starts[node + 1])
            links[begin..<end].sort()
            starts[node] = UInt32(written)
            var last = Self.none
            for place in begin..<end where links[place] != last {
                last = links[place]
                links[written] = last
                written += 1
            }
            begin = end
        }
        starts[count] = UInt32(written)
        links.removeSubrange(written...)
        return (starts, links)
    }
}
