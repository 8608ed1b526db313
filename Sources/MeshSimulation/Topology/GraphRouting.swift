import MeshCore

/// How routes find their way over a `Graph`.
public enum Routing: String, CaseIterable, Sendable {
    /// To the neighbour nearest to the destination.
    case greedy
    /// Towards the nearest among neighbours and theirs.
    case lookahead1 = "lookahead-1"
    /// Towards the nearest within three steps: what `Router` does.
    case lookahead2 = "lookahead-2"
}

/// What a number of routes came to. Tallies of parts add up.
public struct RouteTally: Sendable {
    public var hops: [Int] = [Int](repeating: 0, count: 64)
    public var failed = 0
    public var arrived = 0
    /// Messages passed on by each node.
    public var load: [UInt32]

    init(count: Int) { load = [UInt32](repeating: 0, count: count) }

    public mutating func add(_ other: RouteTally) {
        for place in hops.indices { hops[place] += other.hops[place] }
        failed += other.failed
        arrived += other.arrived
        for node in load.indices { load[node] += other.load[node] }
    }

    public var distribution: Distribution { Distribution(histogram: hops) }
    public var failedShare: Double {
        failed == 0 ? 0 : Double(failed) / Double(failed + arrived)
    }

    /// The busiest node's over the mean of those that are live.
    public func loadMaxOverMean(_ graph: Graph) -> Double {
        var most: UInt32 = 0
        var sum = 0
        for node in graph.live {
            most = max(most, load[Int(node)])
            sum += Int(load[Int(node)])
        }
        return sum == 0 ? 0 : Double(most) * Double(graph.live.count) / Double(sum)
    }
}

/// Routes between random pairs, in chunks that draw from sources of their own: any division of the
/// chunks among threads gives the same sum.
public struct RouteBatch: Sendable {
    public static let chunkSize = 1_024

    let graph: Graph
    let routing: Routing
    let seed: UInt64

    public init(_ graph: Graph, _ routing: Routing, seed: UInt64) {
        self.graph = graph
        self.routing = routing
        self.seed = seed
    }

    /// Routes of every `stride`-th chunk from `first`, of `routeCount` in all.
    public func run(routeCount: Int, first: Int, stride: Int) -> RouteTally {
        var walker = Walker(graph)
        var tally = RouteTally(count: graph.count)
        var chunk = first
        while chunk * Self.chunkSize < routeCount {
            var random = RandomSource(seed: RandomSource.mix(seed &+ UInt64(chunk) &* 2 &+ 1))
            for _ in 0..<min(Self.chunkSize, routeCount - chunk * Self.chunkSize) {
                let from = random.next(below: graph.live.count)
                var to = random.next(below: graph.live.count - 1)
                if to >= from { to += 1 }
                walker.walk(
                    from: Int(graph.live[from]), to: Int(graph.live[to]), routing, &tally)
            }
            chunk += stride
        }
        return tally
    }
}

/// Walks routes; keeps its tables from one to the next.
struct Walker {
    private let graph: Graph
    /// The nodes within two steps of where the route is: open addressing by `slot`.
    private var near: [UInt32]
    private var nearStamp: [UInt32]
    /// The places in the row of the route's node through which one is two steps away; all ones for
    /// its neighbours. Places from 63 on count for nothing: no row of a sensible graph has them.
    private var nearThrough: [UInt64]
    /// One bit for each of 16,384 classes of nodes: most nodes are seen not to be near by this alone.
    private var filter = [UInt64](repeating: 0, count: 256)
    private var stamp: UInt32 = 0
    private var path: [UInt32] = []
    private static var nearBits: UInt64 { 12 }
    /// As in `Frame.hopLimit`.
    private static var hopLimit: Int { 48 }

    init(_ graph: Graph) {
        self.graph = graph
        near = [UInt32](repeating: 0, count: 1 << Int(Self.nearBits))
        nearStamp = [UInt32](repeating: 0, count: 1 << Int(Self.nearBits))
        nearThrough = [UInt64](repeating: 0, count: 1 << Int(Self.nearBits))
    }

    mutating func walk(from: Int, to: Int, _ routing: Routing, _ tally: inout RouteTally) {
        path.removeAll(keepingCapacity: true)
        var at = from
        while at != to {
            let next: Int
            switch routing {
            case .greedy: next = greedy(at, to)
            case .lookahead1: next = lookahead1(at, to)
            case .lookahead2: next = lookahead2(at, to)
            }
            guard next >= 0, path.count < Self.hopLimit else {
                tally.failed += 1
                return
            }
            at = next
            path.append(UInt32(at))
        }
        tally.arrived += 1
        tally.hops[path.count] += 1
        for node in path.dropLast() { tally.load[Int(node)] += 1 }
    }

    /// The neighbour of `node` nearest to `to`; -1: it has none. Rows are sorted, so it is one of
    /// the two on either side of `to`.
    @inline(__always)
    private func nearest(in node: Int, to: Int) -> Int {
        let row = graph.row(node)
        if row.isEmpty { return -1 }
        var low = row.lowerBound
        var high = row.upperBound
        while low < high {
            let middle = (low + high) / 2
            if Int(graph.links[middle]) < to { low = middle + 1 } else { high = middle }
        }
        let after = Int(graph.links[low == row.upperBound ? row.lowerBound : low])
        if after == to { return after }
        let before = Int(graph.links[low == row.lowerBound ? row.upperBound - 1 : low - 1])
        return graph.distance(before, to) < graph.distance(after, to) ? before : after
    }

    private func greedy(_ at: Int, _ to: Int) -> Int {
        let next = nearest(in: at, to: to)
        guard next >= 0, graph.distance(next, to) < graph.distance(at, to) else { return -1 }
        return next
    }

    private func lookahead1(_ at: Int, _ to: Int) -> Int {
        var best = -1
        var bestDistance = graph.distance(at, to)
        var bestSteps = 0
        for place in graph.row(at) {
            let neighbour = Int(graph.links[place])
            if neighbour == to { return to }
            let direct = graph.distance(neighbour, to)
            if direct < bestDistance || direct == bestDistance && bestSteps > 1 {
                (best, bestDistance, bestSteps) = (neighbour, direct, 1)
            }
            let second = nearest(in: neighbour, to: to)
            let distance = graph.distance(second, to)
            if distance < bestDistance {
                (best, bestDistance, bestSteps) = (neighbour, distance, 2)
            }
        }
        return best
    }

    // MARK: Lookahead 2

    @inline(__always)
    private func hash(_ node: UInt32) -> UInt64 { UInt64(node) &* 0x9E37_79B9_7F4A_7C15 }

    @inline(__always)
    private func slot(of node: UInt32) -> Int {
        var at = Int(truncatingIfNeeded: hash(node) >> (64 - Self.nearBits))
        while nearStamp[at] == stamp, near[at] != node { at = (at + 1) & (near.count - 1) }
        return at
    }

    /// How a node within two steps is reached; 0: it is not.
    @inline(__always)
    private func through(_ node: UInt32) -> UInt64 {
        let code = hash(node) >> 50
        guard filter[Int(code >> 6)] & (1 << (code & 63)) != 0 else { return 0 }
        let at = slot(of: node)
        return nearStamp[at] == stamp ? nearThrough[at] : 0
    }

    @inline(__always)
    private mutating func mark(_ node: UInt32, _ through: UInt64) {
        let at = slot(of: node)
        if nearStamp[at] == stamp {
            nearThrough[at] |= through
        } else {
            near[at] = node
            nearStamp[at] = stamp
            nearThrough[at] = through
            let code = hash(node) >> 50
            filter[Int(code >> 6)] |= 1 << (code & 63)
        }
    }

    /// Instead of looking at all d³ nodes within three steps, this looks from the other end: at the
    /// nodes around the destination, nearest first, until one is within two steps or has a link
    /// that is. They lie side by side in memory, and d² nodes fit the cache.
    private mutating func lookahead2(_ at: Int, _ to: Int) -> Int {
        stamp &+= 1
        if stamp == 0 {
            for place in nearStamp.indices { nearStamp[place] = 0 }
            stamp = 1
        }
        for word in filter.indices { filter[word] = 0 }
        let row = graph.row(at)
        for place in row { mark(graph.links[place], .max) }
        for place in row.prefix(63) {
            let bit: UInt64 = 1 << UInt64(place - row.lowerBound)
            for second in graph.row(Int(graph.links[place])) { mark(graph.links[second], bit) }
        }
        let count = graph.count
        var candidate = to
        var after = to
        var before = to
        while candidate != at {
            let found = through(UInt32(candidate))
            if found == .max { return candidate }
            if found != 0 { return neighbour(row, of: found, towards: candidate) }
            var leads: UInt64 = 0
            for place in graph.row(candidate) { leads |= through(graph.links[place]) }
            // A neighbour of a neighbour of this node's would be within two steps itself.
            if leads != 0 { return neighbour(row, of: leads, towards: candidate) }
            let nextAfter = after + 1 == count ? 0 : after + 1
            let nextBefore = before == 0 ? count - 1 : before - 1
            if graph.positions[nextAfter] &- graph.positions[to]
                <= graph.positions[to] &- graph.positions[nextBefore]
            {
                after = nextAfter
                candidate = after
            } else {
                before = nextBefore
                candidate = before
            }
        }
        return -1
    }

    /// One of the neighbours whose places are set in `leads`; which one depends on the target, so that
    /// load spreads.
    @inline(__always)
    private func neighbour(_ row: Range<Int>, of leads: UInt64, towards target: Int) -> Int {
        let first = UInt64(graph.links[row.lowerBound]) << 32
        let spread = RandomSource.mix(UInt64(target) ^ first)
        var left = leads & ~(1 << 63)
        var skip = Int(spread.multipliedFullWidth(by: UInt64(left.nonzeroBitCount)).high)
        while skip > 0 {
            left &= left - 1
            skip -= 1
        }
        return Int(graph.links[row.lowerBound + left.trailingZeroBitCount])
    }
}
