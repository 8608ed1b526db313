import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

@Suite struct JoinTests {
    @Test(arguments: [2, 3, 5, 17])
    func `small meshes become ready and full`(count: Int) {
        var world = mesh(of: count, seed: UInt64(count))
        let ready = world.run(atMost: .seconds(5)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(3))
        for host in world.everyone {
            let links = world.links(host).count
            #expect(links == count - 1)
        }
    }

    @Test(arguments: [1, 2, 3])
    func `sixty nodes that start at once are ready, within their degree, and near each other`(
        seed: UInt64
    ) {
        var world = mesh(of: 60, seed: seed)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(10))
        var total = 0
        var pairs = 0
        for from in world.everyone {
            let degree = world.links(from).count
            #expect(degree <= 16)
            for to in world.everyone where to != from {
                guard let hops = world.hops(from: from, to: to) else {
                    Issue.record("no way from \(from) to \(to)")
                    continue
                }
                total += hops
                pairs += 1
            }
        }
        let mean = Double(total) / Double(pairs)
        #expect(mean <= 1.9, "mean hops \(mean)")
    }
}

extension JoinTests {
    @Test(arguments: [60, 63, 78, 88])
    func `every node of sixty has at least 14 links`(seed: UInt64) {
        var world = mesh(of: 60, seed: seed)
        world.run(for: .seconds(15))
        for host in world.everyone {
            let degree = world.links(host).count
            #expect(degree >= 14 && degree <= 16, "\(degree) links")
        }
    }

    /// Links that stand in for a neighbour who cannot be reached took the places of the true ones, who
    /// refused each other for ever.
    @Test(arguments: [4, 6], [1, 3] as [UInt64])
    func `a mesh of few links closes its ring and is calm`(degree: Int, seed: UInt64) {
        var world = mesh(of: 60, seed: seed, degree: degree)
        world.run(for: .seconds(20))
        let ring = world.everyone.sorted { world.id($0) < world.id($1) }
        for (rank, host) in ring.enumerated() {
            let linked = Set(world.links(host).map { $0.peer })
            #expect(linked.count <= degree)
            for steps in 1...2 {
                #expect(linked.contains(world.id(ring[(rank + steps) % ring.count])))
            }
        }
        let before = ring.map {
            world.counters($0)[.linksRefused] + world.counters($0)[.linksOpened]
        }
        world.run(for: .seconds(20))
        let after = ring.map {
            world.counters($0)[.linksRefused] + world.counters($0)[.linksOpened]
        }
        #expect(zip(after, before).reduce(0) { $0 + $1.0 - $1.1 } <= 60)
    }

    /// Found by `soak` 2000829: newcomers whose seeds were frozen met through one another, and asked
    /// the others no more.
    @Test func `newcomers who met while their seeds were frozen still find the mesh`() {
        var world = mesh(of: 2, seed: 7)
        let ready = world.run(atMost: .seconds(5)) { $0.allReady() && $0.agree() }
        #expect(ready)
        for host in 0..<2 { world.freeze(host, for: .seconds(6)) }
        world.start(seeds: [0])
        world.start(seeds: [2, 1])
        world.start(seeds: [2, 0])
        world.run(for: .seconds(1))
        world.leave(2)
        world.run(for: .seconds(6))
        let met = world.run(atMost: .seconds(10)) { $0.agree() }
        #expect(met)
        #expect(world.members(4).count == 4)
    }
}
