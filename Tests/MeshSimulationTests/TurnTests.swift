import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// Messages among the survivors of a disaster that nobody has begun to repair.
@Suite struct TurnTests {
    /// A mesh in which three nodes in ten have fallen silent: all doubt the links to them, none is
    /// declared dead yet, and so none is replaced.
    private func wounded(_ count: Int, degree: Int, seed: UInt64) -> World {
        var world = settledMesh(of: count, seed: seed, degree: degree)
        var random = RandomSource(seed: seed)
        for host in random.sample(count * 3 / 10, of: Array(0..<count)) { world.vanish(host) }
        world.run(for: .milliseconds(2_200))
        return world
    }

    /// The links that the survivors have left, as `smallworld-sim topology` would have them.
    private func graph(_ world: borrowing World, _ hosts: [Int]) -> Graph {
        var places: [NodeID: UInt32] = [:]
        for (place, host) in hosts.enumerated() { places[world.id(host)] = UInt32(place) }
        return Graph(
            positions: hosts.map { world.id($0).rawValue },
            neighbours: hosts.map { world.links($0).compactMap { places[$0.peer] } })
    }

    /// With six links, so that even lookahead 2 gets stuck in a mesh that a test can afford.
    @Test(arguments: [1, 3] as [UInt64])
    func
        `three nodes in ten dead and nothing repaired, stuck messages turn as routes of the model do`(
            seed: UInt64
        )
    {
        var world = wounded(200, degree: 6, seed: seed)
        let hosts = world.everyone.sorted { world.id($0) < world.id($1) }
        let graph = graph(world, hosts)
        world.clearDeliveries()
        var without = (walker: Walker(graph, .lookahead2, turns: 0), tally: RouteTally(graph))
        var once = (walker: Walker(graph, .lookahead2, turns: 1), tally: RouteTally(graph))
        var sent = 0
        for from in hosts.indices {
            for step in stride(from: 1, to: hosts.count, by: 5) {
                let to = (from + step) % hosts.count
                // In no flow: nobody sends it again.
                world.publish(hosts[from], .user, "user\(hosts[to])", [1], isVolatile: true)
                sent += 1
                without.walker.walk(graph, from: UInt32(from), to: UInt32(to), &without.tally)
                once.walker.walk(graph, from: UInt32(from), to: UInt32(to), &once.tally)
            }
        }
        world.run(for: .milliseconds(200))
        for host in hosts { #expect(world.counters(host)[.deaths] == 0) }
        let failed = sent - world.deliveries.count
        // Of several neighbours that lead equally far nodes and model take different ones, and nodes
        // may get new links on the way.
        #expect(failed < once.tally.failed + 10 + once.tally.failed / 4)
        #expect(failed * 4 < without.tally.failed * 3)
    }
}
