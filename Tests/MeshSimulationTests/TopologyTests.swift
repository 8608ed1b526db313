import Testing

@testable import MeshSimulation

@Suite struct TopologyTests {
    private func tally(_ graph: Graph, _ routing: Routing, routes: Int) -> RouteTally {
        RouteBatch(graph, routing, seed: 1).run(routeCount: routes, first: 0, stride: 1)
    }

    /// hops.csv: 16 links, two ring links on either side, measured on graphs whose positions lie
    /// evenly.
    @Test(arguments: [
        (100, [2.198, 1.900, 1.900]), (1_000, [3.889, 3.133, 2.862]),
    ])
    func `hops are those that the design was measured at, within three per cent`(
        count: Int, expected: [Double]
    ) {
        let graph = Graph(
            .balanced, count: count, degree: 16, ringLinks: 2, seed: 1, isEven: true)
        for (routing, mean) in zip(Routing.allCases, expected) {
            let tally = tally(graph, routing, routes: 6_000)
            #expect(tally.failed == 0)
            let measured = tally.distribution.mean
            #expect(abs(measured / mean - 1) < 0.03, "\(routing): \(measured)")
        }
        #expect(graph.degree.max <= 16)
        #expect(graph.degree.mean > 15.5)
    }

    @Test(arguments: [
        (Graph.Kind.harmonic, 4.354), (.fingers, 3.694), (.random, 7.890),
    ])
    func `the other graphs are those that ours was compared with`(
        kind: Graph.Kind, greedy: Double
    ) {
        let graph = Graph(kind, count: 1_000, degree: 16, ringLinks: 1, seed: 1, isEven: true)
        let measured = tally(graph, .greedy, routes: 10_000).distribution.mean
        #expect(abs(measured / greedy - 1) < 0.04, "\(measured)")
    }

    @Test func `three nodes in ten dead and nothing repaired, few routes fail`() {
        let graph = Graph(
            .balanced, count: 4_000, degree: 16, ringLinks: 2, seed: 2, isEven: true
        ).killing(0.3, seed: 3)
        #expect(graph.live.count == 2_800)
        #expect(tally(graph, .greedy, routes: 8_000).failedShare <= 0.08)
        #expect(tally(graph, .lookahead1, routes: 8_000).failedShare <= 0.011)
        #expect(tally(graph, .lookahead2, routes: 4_000).failedShare <= 0.001)
    }

    @Test func `the sum of routes does not depend on how they are divided`() {
        let graph = Graph(.balanced, count: 300, degree: 16, ringLinks: 2, seed: 1)
        let batch = RouteBatch(graph, .lookahead1, seed: 5)
        let whole = batch.run(routeCount: 3_000, first: 0, stride: 1)
        var parts = batch.run(routeCount: 3_000, first: 0, stride: 2)
        parts.add(batch.run(routeCount: 3_000, first: 1, stride: 2))
        #expect(whole.hops == parts.hops)
        #expect(whole.load == parts.load)
        #expect(whole.arrived == 3_000)
    }

    /// Lookahead 2 looks from the destination's side; this looks at all within three steps.
    @Test func `lookahead 2 finds what looking at everything finds`() {
        let graph = Graph(.balanced, count: 400, degree: 8, ringLinks: 2, seed: 4)
        for from in stride(from: 0, to: 400, by: 7) {
            let to = (from * 31 + 11) % 400
            guard from != to else { continue }
            var walker = Walker(graph)
            var tally = RouteTally(count: graph.count)
            walker.walk(from: from, to: to, .lookahead2, &tally)
            #expect(tally.arrived == 1)
            var ball: [Int: Int] = [from: 0]
            var edge = [from]
            for step in 1...3 {
                var next: [Int] = []
                for node in edge {
                    for place in graph.row(node) {
                        let other = Int(graph.links[place])
                        if ball[other] == nil {
                            ball[other] = step
                            next.append(other)
                        }
                    }
                }
                edge = next
            }
            if let steps = ball[to] { #expect(tally.hops[steps] == 1) }
        }
    }
}
