import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

@Suite struct FailureTests {
    private func settled(_ count: Int, seed: UInt64) -> World {
        var world = mesh(of: count, seed: seed)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(6))
        for host in 0..<count { world.change(host, .user, "user\(host)", .add) }
        world.run(for: .seconds(1))
        #expect(world.agree() == true)
        return world
    }

    @Test(arguments: [2, 3, 5, 24])
    func `a crashed node is gone everywhere within half a second`(count: Int) {
        var world = settled(count, seed: 31)
        world.crash(1)
        let gone = world.run(atMost: .milliseconds(500)) { $0.agree() }
        #expect(gone)
        for host in world.everyone {
            #expect(world.sizes(host).entries == count - 1)
            #expect(world.counters(host)[.deaths] == 1)
        }
    }

    @Test(arguments: [2, 5, 24])
    func `a node that falls silent is suspected within two seconds and dead within five`(count: Int)
    {
        var world = settled(count, seed: 33)
        world.vanish(1)
        let vanished = world.now
        let id = world.id(1)
        let suspected = world.run(atMost: .seconds(2)) { world in
            world.everyone.allSatisfy { host in
                world.members(host).first { $0.id == id }?.status == .suspect
            }
        }
        #expect(suspected)
        let gone = world.run(atMost: vanished + .seconds(5) - world.now) { $0.agree() }
        #expect(gone)
    }

    /// Nobody else can vouch for the other; it has all the five seconds.
    @Test(arguments: 0..<4)
    func `a cut of four seconds between two nodes kills neither`(phase: Int64) {
        var world = settled(2, seed: 51)
        world.run(for: .milliseconds(phase * 110))
        world.cut(from: 0, to: 1)
        world.run(for: .seconds(4))
        world.network.mend(from: 0, to: 1)
        world.run(for: .seconds(10))
        for host in world.everyone {
            #expect(world.counters(host)[.deaths] == 0)
            #expect(world.members(host).map { $0.status } == [.alive, .alive])
        }
    }

    @Test(arguments: [24, 60])
    func `a node cut off strikes the others within ten seconds and is back within ten`(
        count: Int
    ) {
        var world = settled(count, seed: 53)
        world.partition { $0 == 5 ? 1 : 0 }
        let parted = world.run(atMost: .seconds(10)) { world in
            world.members(5).count == 1 && world.agree(world.everyone.filter { $0 != 5 })
        }
        #expect(parted)
        world.heal()
        let merged = world.run(atMost: .seconds(10)) { $0.agree() }
        #expect(merged)
    }

    @Test(arguments: [2, 5, 24])
    func `a frozen node comes back by itself with all it had`(count: Int) {
        var world = settled(count, seed: 35)
        world.freeze(1, for: .seconds(8))
        world.run(for: .seconds(6))
        for host in world.everyone where host != 1 {
            #expect(world.members(host).count == count - 1)
            #expect(world.sizes(host).entries == count - 1)
        }
        let back = world.run(atMost: .seconds(6)) { $0.agree() }
        #expect(back)
        for host in world.everyone { #expect(world.sizes(host).entries == count) }
    }

    @Test(arguments: [5, 24])
    func `a short pause kills nobody`(count: Int) {
        var world = settled(count, seed: 37)
        for round in 0..<10 {
            world.freeze(round % count, for: .milliseconds(1_000))
            world.run(for: .seconds(3))
        }
        for host in world.everyone { #expect(world.counters(host)[.deaths] == 0) }
        #expect(world.agree() == true)
    }

    @Test(arguments: [5, 24])
    func `a node restarted at the same address leaves no ghost`(count: Int) {
        var world = settled(count, seed: 39)
        let endpoint = Endpoint(ipv4: 0x0A00_0001, port: 7400)
        world.crash(1)
        let fresh = world.start(seeds: [0], at: endpoint)
        let ready = world.run(atMost: .seconds(3)) { $0.isReady(fresh) && $0.agree() }
        #expect(ready)
        for host in world.everyone { #expect(world.sizes(host).entries == count - 1) }
    }

    @Test func `a one-way cut is routed around and accuses nobody`() {
        var world = settled(6, seed: 41)
        world.cut(from: 2, to: 3)
        world.run(for: .seconds(20))
        for host in world.everyone {
            #expect(world.counters(host)[.deaths] == 0)
            #expect(world.members(host).count == 6)
        }
        world.clearDeliveries()
        #expect(world.publish(2, .user, "user3", [1]) == 1)
        #expect(world.publish(3, .user, "user2", [2]) == 1)
        world.run(for: .seconds(1))
        #expect(world.deliveries.map { $0.payload }.sorted { $0[0] < $1[0] } == [[1], [2]])
    }

    @Test func `resets of links kill nobody`() {
        var world = settled(8, seed: 43)
        for round in 0..<40 {
            world.reset(round % 8, (round * 3 + 1) % 8)
            world.run(for: .milliseconds(300))
        }
        world.run(for: .seconds(2))
        for host in world.everyone { #expect(world.counters(host)[.deaths] == 0) }
        #expect(world.agree() == true)
    }

    @Test(arguments: [(6, 2), (9, 3), (24, 2), (24, 3)])
    func `partitions go on and merge by themselves`(count: Int, parts: Int) {
        var world = settled(count, seed: 45)
        world.partition { $0 % parts }
        let parted = world.run(atMost: .seconds(30)) { world in
            (0..<parts).allSatisfy { part in
                world.agree(world.everyone.filter { $0 % parts == part })
            }
        }
        #expect(parted)
        // Each part goes on: changes arrive within it.
        for host in world.everyone { world.change(host, .user, "later\(host)", .add) }
        world.run(for: .seconds(1))
        for host in world.everyone {
            let own = world.everyone.filter { $0 % parts == host % parts }.count
            #expect(world.sizes(host).entries == own * 2)
        }
        world.heal()
        let merged = world.run(atMost: .seconds(10)) { $0.agree() }
        #expect(merged)
        for host in world.everyone { #expect(world.sizes(host).entries == count * 2) }
    }

    @Test func `a node that leaves is struck at once`() {
        var world = settled(10, seed: 47)
        world.leave(4)
        let gone = world.run(atMost: .milliseconds(200)) { $0.agree() }
        #expect(gone)
        for host in world.everyone {
            #expect(world.counters(host)[.deaths] == 0)
            #expect(world.counters(host)[.suspicions] == 0)
        }
    }

    @Test func `a third crashes at one instant and the rest agree`() {
        var world = settled(45, seed: 49)
        for host in 0..<15 { world.crash(host * 3) }
        let agreed = world.run(atMost: .seconds(3)) { $0.agree() }
        #expect(agreed)
        world.run(for: .seconds(6))
        for from in world.everyone {
            for to in world.everyone where to != from {
                #expect(world.hops(from: from, to: to) != nil)
            }
        }
    }

    /// Found by `soak` 1000358: each tried one of the dead at a time, and most of those are.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func `two survivors of many that were parted find each other among the dead`(seed: UInt64) {
        var world = mesh(of: 24, seed: seed)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        while world.everyone.count > 2 {
            // Neither is the other's seed.
            let most = max(1, world.everyone.count / 3)
            for host in world.everyone.dropFirst().dropLast().prefix(most) { world.crash(host) }
            let agreed = world.run(atMost: .seconds(10)) { $0.agree() }
            #expect(agreed)
        }
        world.partition { $0 }
        world.run(for: .seconds(12))
        let parted = !world.agree()
        #expect(parted)
        world.heal()
        let met = world.run(atMost: .seconds(8)) { $0.agree() }
        #expect(met)
    }
    /// The one node whose seeds are on the other side dies while the two are parted.
    @Test func `sides that have forgotten each other, and have no seeds there, merge`() {
        var world = World(seed: 71)
        for (host, seeds) in [[], [0], [0], [2], [2]].enumerated() {
            world.start(seeds: seeds)
            world.run(for: .milliseconds(Int64(200 + host)))
        }
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.partition { $0 < 2 ? 0 : 1 }
        world.run(for: .seconds(20))
        world.crash(2)
        world.run(for: .seconds(3_700))
        for host in world.everyone { #expect(world.members(host).count == 2) }
        world.heal()
        let merged = world.run(atMost: .seconds(12)) { $0.agree() }
        #expect(merged)
    }

    /// One of two that advertise an address answers there. The other one dials, and is a member like all;
    /// it is taken for the other's next life once, when it comes.
    @Test func `two nodes that advertise one address are members, and stay it`() {
        var world = World(seed: 73)
        world.start(seeds: [])
        for host in 1..<6 {
            let shared = host == 4 ? world.endpoint(2) : nil
            world.start(seeds: [host == 1 ? 0 : 1]) { if let shared { $0.endpoint = shared } }
        }
        world.run(for: .seconds(25))
        for host in world.everyone {
            #expect(world.isReady(host) && world.members(host).count == 6)
            world.change(host, .user, "user\(host)", .add)
        }
        world.run(for: .seconds(2))
        let deaths = world.everyone.map { world.counters($0)[.deaths] }
        #expect(deaths.allSatisfy { $0 <= 1 })
        world.clearDeliveries()
        for (from, to) in [(2, 4), (4, 2), (4, 5), (3, 4)] {
            #expect(world.publish(from, .user, "user\(to)", [UInt8(from * 10 + to)]) == 1)
        }
        world.run(for: .seconds(30))
        let arrived = world.deliveries.map { $0.payload[0] }.sorted()
        #expect(arrived == [24, 34, 42, 45])
        #expect(world.everyone.map { world.counters($0)[.deaths] } == deaths)
        #expect(world.agree() == true)
    }
}
