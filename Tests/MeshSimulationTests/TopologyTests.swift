import Foundation
import MeshCore
import Testing

@testable import MeshSimulation

@Suite struct TopologyTests {
    private func tally(
        _ graph: Graph, _ routing: Routing, routes: Int, turns: Int = 1
    ) -> RouteTally {
        let batch = RouteBatch(graph, routing, routes: routes, turns: turns, seed: 1)
        var tally = RouteTally(graph)
        for chunk in 0..<batch.chunkCount { batch.run(chunk: chunk, into: &tally) }
        return tally
    }

    private func graph(
        _ kind: Graph.Kind = .ours, count: Int, degree: Int = 16, ringLinks: Int = 2,
        isEven: Bool = false, seed: UInt64 = 1
    ) -> Graph {
        var plan = Graph.Plan(kind, count: count)
        plan.degree = degree
        plan.ringLinks = ringLinks
        plan.isEven = isEven
        return Graph(plan, seed: seed)
    }

    /// Nodes, degree, ring links on a side. `.ci/nightly` has graphs of 100,000 and of a million nodes.
    static let plans: [(Int, Int, Int)] = [
        (100, 8, 1), (100, 12, 1), (100, 16, 1), (100, 24, 1), (300, 12, 2), (300, 16, 2),
        (1_000, 8, 2), (1_000, 12, 2), (1_000, 16, 2), (1_000, 24, 2), (2_000, 12, 2),
        (2_000, 16, 2), (10_000, 8, 2), (10_000, 12, 2), (10_000, 16, 2), (10_000, 24, 2),
    ]

    @Test(arguments: plans)
    func `hops are those that the design was measured at, within three per cent`(
        count: Int, degree: Int, ringLinks: Int
    ) throws {
        let expected = try MeasuredHops.means("balanced-stratified", count, degree, ringLinks)
        let graph = graph(count: count, degree: degree, ringLinks: ringLinks)
        #expect(graph.degree.max <= Double(degree))
        #expect(graph.degree.mean > Double(degree) * 0.96)
        for (routing, mean) in zip(Routing.allCases, expected) {
            let tally = tally(graph, routing, routes: routing == .lookahead2 ? 1_500 : 6_000)
            #expect(tally.failed == 0)
            let measured = tally.distribution.mean
            #expect(abs(measured / mean - 1) < 0.03, "\(routing): \(measured), not \(mean)")
        }
    }

    @Test(arguments: [
        (Graph.Kind.randomHarmonic, "harmonic"), (.geometricFingers, "geometric-fingers"),
        (.randomRegular, "random-regular"),
    ])
    func `the other graphs are those that ours was compared with`(
        kind: Graph.Kind, name: String
    ) throws {
        let expected = try MeasuredHops.means(name, 1_000, 16, 1)
        let graph = graph(kind, count: 1_000, ringLinks: 1, isEven: true)
        for (routing, mean) in zip(Routing.allCases, expected) {
            let tally = tally(graph, routing, routes: routing == .lookahead2 ? 1_500 : 8_000)
            #expect(tally.failed == 0)
            let measured = tally.distribution.mean
            #expect(abs(measured / mean - 1) < 0.05, "\(routing): \(measured), not \(mean)")
        }
    }

    /// Without a turn this holds to 4,000 nodes; with it to 100,000.
    @Test func `three nodes in ten dead and nothing repaired, few routes fail`() {
        let graph = graph(count: 10_000, seed: 2).killing(0.3, seed: 3)
        #expect(graph.live.count == 7_000)
        #expect(tally(graph, .greedy, routes: 8_000).failedShare <= 0.08)
        #expect(tally(graph, .lookahead1, routes: 8_000).failedShare <= 0.011)
        #expect(tally(graph, .lookahead2, routes: 3_000).failedShare <= 0.001)
    }

    @Test func `a route that may turn once arrives where most others fail`() {
        let graph = graph(count: 10_000, seed: 2).killing(0.3, seed: 3)
        let without = tally(graph, .greedy, routes: 8_000, turns: 0)
        let once = tally(graph, .greedy, routes: 8_000)
        #expect(without.failedShare > 0.08)
        #expect(once.failedShare < 0.025)
        // Those that need no turn go the same ways.
        #expect(once.arrived > without.arrived)
        #expect(tally(graph, .lookahead1, routes: 8_000).failedShare < 0.006)
    }

    /// Numbers begin anew where the ring closes, and a node behind that place is after the last.
    @Test func `a stuck route turns to the other side also where the ring closes`() {
        // 5 is one before 0, where the route is stuck; from 1 there is a way round to 5.
        let step = UInt64.max / 6
        let graph = Graph(
            positions: (0..<6).map { $0 * step },
            neighbours: [[1], [0, 2], [1, 3], [2, 4], [3, 5], [4]])
        var tally = RouteTally(graph)
        var walker = Walker(graph, .greedy, turns: 1)
        walker.walk(graph, from: 0, to: 5, &tally)
        #expect(tally.arrived == 1)
        walker.walk(graph, from: 5, to: 0, &tally)
        #expect(tally.arrived == 2)
        var without = Walker(graph, .greedy, turns: 0)
        without.walk(graph, from: 0, to: 5, &tally)
        #expect(tally.failed == 1)
    }

    @Test func `as many nodes are dead as the share says`() {
        // In binary both are a little less.
        #expect(graph(count: 100).killing(0.29, seed: 1).live.count == 71)
        #expect(graph(count: 100).killing(0.57, seed: 1).live.count == 43)
    }

    @Test func `no link leads to a dead node`() {
        let graph = graph(count: 500).killing(0.5, seed: 9)
        let live = Set(graph.live)
        for node in 0..<UInt32(500) {
            let neighbours = graph.neighbours(of: node)
            #expect(neighbours.allSatisfy(live.contains))
            if !live.contains(node) { #expect(neighbours.isEmpty) }
        }
    }

    @Test func `links go both ways and none is there twice`() {
        for kind in Graph.Kind.allCases {
            let graph = graph(kind, count: 300, ringLinks: 2)
            for node in 0..<UInt32(300) {
                let neighbours = graph.neighbours(of: node)
                #expect(neighbours == Array(Set(neighbours)).sorted())
                for other in neighbours { #expect(graph.neighbours(of: other).contains(node)) }
            }
        }
    }

    @Test func `candidates in the own zone keep links there and cost few hops`() {
        var plan = Graph.Plan(.ours, count: 2_000)
        plan.zoneCount = 4
        let blind = Graph(plan, seed: 1)
        plan.candidateCount = 16
        let near = Graph(plan, seed: 1)
        #expect(abs(blind.shareWithinZones - 0.25) < 0.02)
        #expect(near.shareWithinZones > 0.6)
        #expect(near.degree.max <= 16)
        let before = tally(blind, .lookahead1, routes: 4_000)
        let after = tally(near, .lookahead1, routes: 4_000)
        #expect(after.meanCrossings < before.meanCrossings * 0.75)
        #expect(after.distribution.mean < before.distribution.mean * 1.15)
    }

    @Test func `the sum of routes does not depend on how they are divided`() {
        let graph = graph(count: 300)
        let batch = RouteBatch(graph, .lookahead1, routes: 3_000, seed: 5)
        #expect(batch.chunkCount == 3)
        var whole = RouteTally(graph)
        for chunk in 0..<3 { batch.run(chunk: chunk, into: &whole) }
        var parts = RouteTally(graph)
        batch.run(chunk: 2, into: &parts)
        var others = RouteTally(graph)
        batch.run(chunk: 1, into: &others)
        batch.run(chunk: 0, into: &others)
        parts.add(others)
        #expect(whole.hops == parts.hops)
        #expect(whole.load == parts.load)
        #expect(whole.arrived == 3_000)
    }

    /// Brackets and rows against looking at every node within three steps of every node on the way.
    @Test(arguments: [(8, 0.0), (16, 0.0), (12, 0.3)])
    func `lookahead 2 goes where looking at everything would go`(degree: Int, dead: Double) {
        let graph = graph(count: 400, degree: degree, seed: 4).killing(dead, seed: 5)
        /// Nodes within three steps, with the fewest.
        func ball(_ from: UInt32) -> [UInt32: Int] {
            var ball: [UInt32: Int] = [from: 0]
            var edge = [from]
            for step in 1...3 {
                var next: [UInt32] = []
                for node in edge {
                    for other in graph.neighbours(of: node) where ball[other] == nil {
                        ball[other] = step
                        next.append(other)
                    }
                }
                edge = next
            }
            return ball
        }
        var walker = Walker(graph, .lookahead2, turns: 0)
        for (place, from) in graph.live.enumerated() where place % 7 == 0 {
            let to = graph.live[(place * 31 + 11) % graph.live.count]
            guard from != to else { continue }
            let reached = ball(from)
            let best = reached.min {
                (graph.distance($0.key, to), $0.value) < (graph.distance($1.key, to), $1.value)
            }!
            let next = walker.next(graph, from, to, .either)
            if best.key == from {
                #expect(next == nil)
            } else {
                // The best node is one step nearer from there.
                let steps = next.flatMap { $0 == best.key ? 0 : ball($0)[best.key] }
                #expect(steps == best.value - 1)
            }
        }
    }
}

/// The table beside this file: mean hops of graphs of several kinds, measured before one of them was
/// chosen, by another program than the one that is tested.
private enum MeasuredHops {
    /// Mean hops by greedy routing, with lookahead 1 and with lookahead 2.
    static func means(
        _ graph: String, _ nodes: Int, _ degree: Int, _ ringLinks: Int
    ) throws -> [Double] {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "hops-by-graph.csv")
        let rows = try String(contentsOf: file, encoding: .utf8).split(whereSeparator: \.isNewline)
            .map { $0.split(separator: ",") }
        return try Routing.allCases.map { routing in
            let row = rows.first {
                $0.starts(
                    with: [
                        "\(nodes)", "\(degree)", "\(ringLinks)", graph[...], routing.rawValue[...],
                    ])
            }
            return try #require(row.flatMap { Double($0[5]) })
        }
    }
}
