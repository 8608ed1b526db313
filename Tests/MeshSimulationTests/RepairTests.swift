import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// Whole sets, asked for part by part, and walks of the table that do not stop the node.
@Suite struct RepairTests {
    /// A small mesh whose first node has this many channels.
    private func mesh(of count: Int, channels: Int, seed: UInt64) -> World {
        var world = World(seed: seed)
        world.keepsDeliveries = false
        for number in 0..<count {
            world.start(seeds: number == 0 ? [] : [0]) {
                $0.bucketsPerStep = 256
                // Past the ring of recent changes, so that only whole sets help.
                $0.recentRecordCount = 1_000
            }
        }
        let ready = world.run(atMost: .seconds(5)) { $0.allReady() && $0.agree() }
        #expect(ready)
        for number in 0..<channels { world.change(0, .channel, "c\(number)", .add) }
        let agreed = world.run(atMost: .seconds(5)) { $0.agree() }
        #expect(agreed)
        world.run(for: .seconds(1))
        world.inFlightMax = 0
        return world
    }

    private func join(_ world: inout World, through seed: Int) -> Int {
        world.start(seeds: [seed]) {
            $0.bucketsPerStep = 256
            $0.recentRecordCount = 1_000
        }
    }

    @Test func `a newcomer asks for a large table in parts and is ready in a second`() {
        var world = mesh(of: 4, channels: 100_000, seed: 3)
        let fresh = join(&world, through: 2)
        let ready = world.run(atMost: .seconds(1)) { $0.isReady(fresh) && $0.agree() }
        #expect(ready)
        #expect(world.sizes(fresh).entries == 100_000)
        #expect(world.counters(fresh)[.recordsRepaired] == 100_000)
        // Half a megabyte in all; an answer is half of that at most.
        #expect(world.inFlightMax < 300_000)
    }

    @Test func `a set that is interrupted goes on where it stopped`() {
        var world = mesh(of: 4, channels: 60_000, seed: 5)
        // A line on which the table takes two seconds.
        world.network.bytesPerSecond = 150_000
        let fresh = join(&world, through: 2)
        for round in 1...3 {
            let some = world.run(atMost: .seconds(10)) {
                $0.sizes(fresh).entries > round * 12_000
            }
            #expect(some)
            for other in 0..<4 { world.reset(other, fresh) }
        }
        let ready = world.run(atMost: .seconds(15)) { $0.isReady(fresh) && $0.agree() }
        #expect(ready)
        // Records that were on their way at each of the three times are sent again, and no more.
        #expect(world.counters(fresh)[.recordsRepaired] < 60_000 + 3 * 15_000)
        #expect(world.counters(fresh)[.snapshotsReceived] == 1)
    }

    @Test func `a table that changes while it is handed over arrives as it is then`() {
        var world = mesh(of: 4, channels: 40_000, seed: 7)
        world.network.bytesPerSecond = 400_000
        let fresh = join(&world, through: 1)
        for round in 0..<20 {
            world.run(for: .milliseconds(40))
            for number in 0..<40 {
                world.change(0, .channel, "c\((round * 977 + number * 7) % 40_000)", .remove)
                world.change(0, .channel, "late\(round).\(number)", .add)
            }
        }
        #expect(world.isReady(fresh) == false)
        let ready = world.run(atMost: .seconds(10)) { $0.isReady(fresh) && $0.agree() }
        #expect(ready)
        #expect(world.sizes(fresh).entries == world.sizes(0).entries)
    }

    @Test func `several sets come at once, and one node's does not wait for another's`() {
        var world = mesh(of: 6, channels: 10_000, seed: 9)
        for host in 1..<6 {
            for number in 0..<10_000 { world.change(host, .user, "u\(host).\(number)", .add) }
        }
        let agreed = world.run(atMost: .seconds(5)) { $0.agree() }
        #expect(agreed)
        world.inFlightMax = 0
        let fresh = join(&world, through: 3)
        let ready = world.run(atMost: .seconds(1)) { $0.isReady(fresh) && $0.agree() }
        #expect(ready)
        #expect(world.counters(fresh)[.recordsRepaired] == 60_000)
        #expect(world.inFlightMax < 300_000)
    }

    @Test func `a dead node holds no keys at once, though its entries are removed in steps`() {
        var world = mesh(of: 4, channels: 40_000, seed: 11)
        world.change(1, .channel, "c5", .add)
        world.run(for: .seconds(1))
        world.watch(2, "nobody")
        world.crash(0)
        var steps = 0
        var partly = 0
        while world.members(2).count == 4 || world.sizes(2).entries > 1 {
            _ = world.run(until: world.now + .milliseconds(1), eventsAtMost: 1)
            steps += 1
            guard steps < 200_000 else { break }
            if world.members(2).count == 3, world.sizes(2).entries > 1 {
                partly += 1
                #expect(world.publish(2, .channel, "c7", [1]) == 0)
                #expect(world.publish(2, .channel, "c5", [1]) == 1)
            }
        }
        #expect(partly > 10)
        #expect(world.sizes(2).entries == 1)
        let agreed = world.run(atMost: .seconds(2)) { $0.agree() }
        #expect(agreed)
    }

    @Test func `a node that comes back while its entries are removed has them all afterwards`() {
        var world = mesh(of: 4, channels: 30_000, seed: 13)
        world.freeze(0, for: .milliseconds(7_000))
        let dead = world.run(atMost: .seconds(7)) { $0.members(2).count == 3 }
        #expect(dead)
        let back = world.run(atMost: .seconds(10)) { $0.agree() }
        #expect(back)
        for host in 0..<4 { #expect(world.sizes(host).entries == 30_000) }
    }
}
