import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// A mesh of `count` nodes that start at the same moment, each naming the one before as its seed.
func mesh(of count: Int, seed: UInt64, degree: Int = 16) -> World {
    var world = World(seed: seed)
    world.start(seeds: [], degree: degree)
    for number in 1..<max(count, 1) where count > 1 {
        world.start(seeds: [number - 1], degree: degree)
    }
    return world
}

/// The same, ready and in its links, each node with a user of its own: `user0`, `user1`, …
func settledMesh(of count: Int, seed: UInt64, degree: Int = 16) -> World {
    var world = mesh(of: count, seed: seed, degree: degree)
    let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
    #expect(ready)
    world.run(for: .seconds(6))
    for host in 0..<count { world.change(host, .user, "user\(host)", .add) }
    world.run(for: .seconds(1))
    return world
}

extension World {
    var everyone: [Int] { (0..<hostCount).filter { isUp($0) } }

    func allReady() -> Bool { everyone.allSatisfy { isReady($0) } }

    /// All that are up know exactly each other, and agree on everything.
    func agree(_ group: [Int]? = nil) -> Bool {
        let group = group ?? everyone
        let ids = Set(group.map { id($0) })
        return group.allSatisfy {
            Set(members($0).map { $0.id }) == ids && digest($0) == digest(group[0])
        }
    }

    /// Hops of all pairs, by asking each node for its next hop; nil where a walk does not arrive.
    func hops(from: Int, to: Int) -> Int? {
        var at = from
        var hops = 0
        while at != to {
            guard hops < 48, let next = nextHop(at, to: to) else { return nil }
            at = next
            hops += 1
        }
        return hops
    }
}
