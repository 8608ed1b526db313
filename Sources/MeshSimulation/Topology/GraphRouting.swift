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

/// From which side of the ring a route draws near its destination.
enum Approach {
    /// Whichever is shorter.
    case either
    /// Over nodes further round the ring than the destination alone, or over those before it.
    case after, before
}

/// The outcome of a number of routes. Tallies of parts add up.
public struct RouteTally: Sendable {
    /// How many routes took so many hops; as long as the longest.
    public private(set) var hops: [Int] = []
    public private(set) var failed = 0
    public private(set) var arrived = 0
    /// Hops from one zone to another, of all routes that arrived.
    public private(set) var crossings = 0
    /// Messages passed on by each node.
    public private(set) var load: [UInt32]

    public init(_ graph: Graph) { load = [UInt32](repeating: 0, count: graph.count) }

    public mutating func add(_ other: RouteTally) {
        while hops.count < other.hops.count { hops.append(0) }
        for position in other.hops.indices { hops[position] += other.hops[position] }
        failed += other.failed
        arrived += other.arrived
        crossings += other.crossings
        for node in load.indices { load[node] += other.load[node] }
    }

    mutating func fail() { failed += 1 }

    /// - Parameter path: the nodes after the origin, the destination last.
    mutating func arrive(over path: [UInt32], crossings: Int) {
        arrived += 1
        while hops.count <= path.count { hops.append(0) }
        hops[path.count] += 1
        self.crossings += crossings
        for position in 0..<max(0, path.count - 1) { load[Int(path[position])] += 1 }
    }

    public var distribution: Distribution { Distribution(histogram: hops) }
    public var failedShare: Double {
        failed == 0 ? 0 : Double(failed) / Double(failed + arrived)
    }
    public var meanCrossings: Double {
        arrived == 0 ? 0 : Double(crossings) / Double(arrived)
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
    let routeCount: Int
    let turnCountMax: Int
    let seed: UInt64

    /// - Parameter turns: how often a route that finds nothing nearer may go past its destination and
    ///   draw near from the other side. Each side is kept to until the next turn, so no route loops.
    public init(_ graph: Graph, _ routing: Routing, routes: Int, turns: Int = 1, seed: UInt64) {
        self.graph = graph
        self.routing = routing
        routeCount = routes
        turnCountMax = turns
        self.seed = seed
    }

    public var chunkCount: Int { (routeCount + Self.chunkSize - 1) / Self.chunkSize }

    /// Walks the routes of one chunk.
    public func run(chunk: Int, into tally: inout RouteTally) {
        var walker = Walker(graph, routing, turns: turnCountMax)
        var random = RandomSource(seed: RandomSource.mix(seed &+ UInt64(chunk) &* 2 &+ 1))
        for _ in 0..<min(Self.chunkSize, routeCount - chunk * Self.chunkSize) {
            let from = random.next(below: graph.live.count)
            var to = random.next(below: graph.live.count - 1)
            if to >= from { to += 1 }
            walker.walk(graph, from: graph.live[from], to: graph.live[to], &tally)
        }
    }
}

/// The nodes of some set nearest to a target: so many nodes further round the ring, and so many
/// before. Nodes are numbered round the ring, so the nearest by position is one of these two, and
/// a set's bracket is the least of its parts': no position need be read until all have been seen.
struct Bracket: Equatable {
    var after: UInt32 = .max
    var before: UInt32 = .max

    @inline(__always)
    func gap(_ isAfter: Bool) -> UInt32 { isAfter ? after : before }

    @inline(__always)
    mutating func narrow(by other: Bracket) {
        after = min(after, other.after)
        before = min(before, other.before)
    }
}

/// Walks routes; keeps its tables from one to the next.
struct Walker {
    private let routing: Routing
    private let turnCountMax: Int
    /// The nodes that can be reached through the neighbour at each place of the row of the route's node:
    /// by the neighbour's links, and theirs.
    private var second: [Bracket]
    private var third: [Bracket]
    private var path: [UInt32] = []
    /// Each hop is nearer than the last, so this ends none but long routes over graphs that are not
    /// ours; the mesh itself ends them after `Frame.hopLimit`, far above what ours needs.
    static var hopsMax: Int { 1_000 }

    init(_ graph: Graph, _ routing: Routing, turns: Int) {
        self.routing = routing
        turnCountMax = turns
        second = [Bracket](repeating: Bracket(), count: graph.rowSize)
        third = second
    }

    mutating func walk(
        _ graph: Graph, from: UInt32, to: UInt32, _ tally: inout RouteTally
    ) {
        path.removeAll(keepingCapacity: true)
        var at = from
        var approach = Approach.either
        var turnCount = 0
        var crossings = 0
        while at != to {
            guard path.count < Self.hopsMax else { return tally.fail() }
            guard let next = next(graph, at, to, approach) else {
                guard turnCount < turnCountMax else { return tally.fail() }
                turnCount += 1
                switch approach {
                case .either: approach = graph.isAfter(at, to) ? .before : .after
                case .after: approach = .before
                case .before: approach = .after
                }
                continue
            }
            if graph.zone(of: at) != graph.zone(of: next) { crossings += 1 }
            at = next
            path.append(at)
        }
        tally.arrive(over: path, crossings: crossings)
    }

    /// The nodes nearest to `target` in the row that starts at `start`.
    @inline(__always)
    private static func bracket(
        _ links: Span<UInt32>, _ start: Int, _ size: Int, _ target: UInt32
    ) -> Bracket {
        // The first place whose node is not before the target, by halving without branches.
        var position = start
        var count = size
        while count > 1 {
            let half = count / 2
            position += links[position + half - 1] < target ? half : 0
            count -= half
        }
        position += links[position] < target ? 1 : 0
        let after = links[position == start + size ? start : position]
        let before = links[position == start ? start + size - 1 : position - 1]
        return Bracket(after: after &- target, before: target &- before)
    }

    /// The first link in each row of nodes two steps away: nothing that `bracket` would not find.
    ///
    /// The rows lie anywhere in memory, and a processor waits for many of them at a time only if it
    /// does little else with each. Reading them all ahead of their use makes routes over a million
    /// nodes more than twice as fast.
    @inline(__always)
    private static func glance(
        _ links: Span<UInt32>, _ row: Int, _ size: Int, _ target: UInt32
    ) -> Bracket {
        var seen = Bracket()
        for position in row..<(row + size) {
            let start = Int(links[position]) * size
            for link in start..<(start + size) {
                let node = links[Int(links[link]) * size]
                seen.narrow(by: Bracket(after: node &- target, before: target &- node))
            }
        }
        return seen
    }

    /// The neighbour to send to on the way; nil: nothing in sight is nearer than this node.
    mutating func next(
        _ graph: Graph, _ at: UInt32, _ to: UInt32, _ approach: Approach
    ) -> UInt32? {
        // Compiled with the usual size as a constant the search has no loops: a third less time.
        graph.rowSize == 16
            ? next(graph, 16, at, to, approach) : next(graph, graph.rowSize, at, to, approach)
    }

    @inline(__always)
    private mutating func next(
        _ graph: Graph, _ size: Int, _ at: UInt32, _ to: UInt32, _ approach: Approach
    ) -> UInt32? {
        let links = graph.links.span.extracting(droppingFirst: graph.lead)
        let row = Int(at) * size
        let first = Self.bracket(links, row, size, to)
        if first.after == 0 { return to }
        var seen = first
        if routing != .greedy {
            for position in 0..<size {
                let neighbour = links[row + position]
                second[position] =
                    neighbour == at
                    ? Bracket() : Self.bracket(links, Int(neighbour) * size, size, to)
                seen.narrow(by: second[position])
            }
        }
        if routing == .lookahead2, seen.after != 0 {
            seen.narrow(by: Self.glance(links, row, size, to))
            for position in 0..<size {
                let neighbour = links[row + position]
                let start = Int(neighbour) * size
                var sum = Bracket()
                for link in start..<(start + size) {
                    sum.narrow(by: Self.bracket(links, Int(links[link]) * size, size, to))
                }
                third[position] = neighbour == at ? Bracket() : sum
                seen.narrow(by: third[position])
            }
        }
        let isAfter: Bool
        switch approach {
        case .either:
            let after = graph.distance(to &+ seen.after, to)
            let before = graph.distance(to &- seen.before, to)
            guard min(after, before) < graph.distance(at, to) else { return nil }
            // Fewer steps break ties.
            isAfter =
                after < before
                || after == before
                    && steps(to: seen.after, first, isAfter: true)
                        <= steps(to: seen.before, first, isAfter: false)
        case .after:
            guard seen.after < at &- to else { return nil }
            isAfter = true
        case .before:
            guard seen.before < to &- at else { return nil }
            isAfter = false
        }
        let gap = isAfter ? seen.after : seen.before
        let target = isAfter ? to &+ gap : to &- gap
        if first.gap(isAfter) == gap { return target }
        let position =
            choose(second, gap, isAfter, at, target) ?? choose(third, gap, isAfter, at, target)
        return position.map { links[row + $0] }
    }

    private func steps(to gap: UInt32, _ first: Bracket, isAfter: Bool) -> Int {
        if first.gap(isAfter) == gap { return 1 }
        return second.contains { $0.gap(isAfter) == gap } ? 2 : 3
    }

    /// The place of a neighbour through which the target is reached; which of them depends on the
    /// target, so that load spreads.
    @inline(__always)
    private func choose(
        _ brackets: [Bracket], _ gap: UInt32, _ isAfter: Bool, _ at: UInt32, _ target: UInt32
    ) -> Int? {
        var count = 0
        for position in brackets.indices where brackets[position].gap(isAfter) == gap { count += 1 }
        if count == 0 { return nil }
        let spread = RandomSource.mix(UInt64(target) | UInt64(at) << 32)
        var skip = Int(spread.multipliedFullWidth(by: UInt64(count)).high)
        for position in brackets.indices where brackets[position].gap(isAfter) == gap {
            if skip == 0 { return position }
            skip -= 1
        }
        return nil
    }
}
