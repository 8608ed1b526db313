import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// Nodes that lie far apart link with those that lie near (MeshCore.docc/Overlay.md).
@Suite struct RegionTests {
    /// Three regions, 1 ms there and back within; host n lies in region n % 3.
    private func mesh(
        of count: Int, seed: UInt64, apart latency: Delay = .milliseconds(40)
    ) -> World {
        var world = World(seed: seed)
        world.keepsDeliveries = false
        world.network.setZones(count: 3) { $0 == $1 ? .microseconds(500) : latency }
        for number in 0..<count {
            world.start(seeds: number == 0 ? [] : [number - 1], zone: number % 3)
        }
        return world
    }

    @Test func `long-range links stay in the region where they can, at the same number of hops`() {
        var world = mesh(of: 60, seed: 8)
        world.run(for: .seconds(60))
        #expect(world.agree() == true)
        var inside = 0
        var total = 0
        var hops = 0
        for host in world.everyone {
            for link in world.links(host) where link.role.contains("long-range") {
                total += 1
                if world.host(of: link.peer)! % 3 == host % 3 { inside += 1 }
            }
            #expect(world.links(host).count <= 16)
            for other in world.everyone where other != host {
                hops += world.hops(from: host, to: other) ?? 99
            }
        }
        // A third by chance.
        #expect(Double(inside) / Double(total) > 0.5, "\(inside) of \(total)")
        #expect(Double(hops) / (60 * 59) <= 1.9)
    }

    @Test func `the first message to a far region is not taken for lost`() {
        var world = mesh(of: 18, seed: 4, apart: .milliseconds(130))
        world.run(for: .seconds(60))
        for host in world.everyone { world.change(host, .user, "user\(host)", .add) }
        world.run(for: .seconds(2))
        for host in world.everyone {
            for other in world.everyone where other != host {
                #expect(world.publish(host, .user, "user\(other)", [1]) == 1)
            }
        }
        world.run(for: .seconds(5))
        var sentAgain: UInt64 = 0
        for host in world.everyone {
            #expect(world.counters(host)[.messagesDelivered] == 17)
            sentAgain += world.counters(host)[.retransmitted]
        }
        // A way between neighbours now and then leads through another region. Without the coordinates
        // it was 224 of the 306.
        #expect(sentAgain < 20)
    }

    /// A pause of a second made five neighbours in six tell each other for seconds that they had moved.
    @Test func `a node that pauses moves nobody`() {
        var world = MeshSimulationTests.mesh(of: 30, seed: 3)
        world.run(for: .seconds(60))
        let told = world.trafficCount.frames[TrafficCount.Purpose.links.rawValue]
        for host in [3, 11, 24] {
            world.freeze(host, for: .seconds(1))
            world.run(for: .seconds(10))
        }
        #expect(world.trafficCount.frames[TrafficCount.Purpose.links.rawValue] == told)
    }
}
