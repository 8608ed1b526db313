import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// Paths that drop large packets: links stand, and do not carry what is sent over them.
@Suite struct HoleTests {
    private let large = [UInt8](repeating: 0, count: 4_096)

    private func settled(_ count: Int, seed: UInt64, degree: Int = 16) -> World {
        var world = settledMesh(of: count, seed: seed, degree: degree)
        world.clearDeliveries()
        return world
    }

    private func links(_ world: borrowing World, _ host: Int, to other: Int) -> [LinkStatus] {
        world.links(host).filter { $0.peer == world.id(other) }
    }

    @Test func `large messages take another way at once, and new links send small packets`() {
        var world = settled(5, seed: 91)
        world.narrow(1, 2, to: 1_200)
        for _ in 0..<20 {
            #expect(world.publish(1, .user, "user2", large) == 1)
            world.run(for: .milliseconds(100))
        }
        world.run(for: .milliseconds(500))
        #expect(world.deliveries.count == 20)
        world.run(for: .seconds(5))
        // The side that is not heard knows, and they are linked again.
        let isSecondChoice = links(world, 1, to: 2).map(\.isSecondChoice)
        #expect(isSecondChoice == [true])
        let holes = world.counters(1)[.linksHollow]
        #expect(holes >= 1)
        world.run(for: .seconds(60))
        let isTrusted = links(world, 1, to: 2).map(\.isSecondChoice)
        #expect(isTrusted == [false])
        let losses = world.counters(1)[.linksLost]
        for _ in 0..<20 {
            #expect(world.publish(1, .user, "user2", large) == 1)
            world.run(for: .milliseconds(100))
        }
        #expect(world.deliveries.count == 40)
        #expect(world.counters(1)[.linksLost] == losses)
        for host in world.everyone {
            #expect(world.counters(host)[.deaths] == 0)
            #expect(world.counters(host)[.suspicions] == 0)
        }
    }

    @Test func `a hole that small packets do not pass either is second choice for twice as long`() {
        var world = settled(5, seed: 93)
        world.narrow(1, 2, to: 300)
        var times: [Instant] = []
        var former = world.counters(1)[.linksHollow]
        for _ in 0..<900 {
            #expect(world.publish(1, .user, "user2", large) == 1)
            world.run(for: .milliseconds(500))
            let holes = world.counters(1)[.linksHollow]
            if holes > former { times.append(world.now) }
            former = holes
        }
        world.run(for: .seconds(3))
        #expect(world.deliveries.count == 900)
        let pauses = zip(times, times.dropFirst()).map { $1 - $0 }.filter { $0 > .seconds(20) }
        #expect(pauses.count >= 2)
        for (one, next) in zip(pauses, pauses.dropFirst()) {
            #expect(next.milliseconds > one.milliseconds * 3 / 2)
        }
    }

    /// Silence while a process stood still says nothing of its links.
    @Test(arguments: [1_000, 2_500, 3_500])
    func `pauses leave no link as second choice`(milliseconds: Int64) {
        var world = settled(8, seed: 95)
        for host in 0..<8 {
            world.freeze(host, for: .milliseconds(milliseconds))
            world.run(for: .milliseconds(milliseconds + 4_000))
        }
        for host in world.everyone {
            #expect(world.counters(host)[.linksHollow] == 0)
            let isAny = world.links(host).contains { $0.isSecondChoice }
            #expect(!isAny)
        }
    }

    /// Each end's TCP is silent for as long again as an outage lasted, while new connections are answered.
    @Test(arguments: [1_500, 2_000, 2_500, 3_500, 5_000], [1, 3])
    func `outages that have ended leave no link as second choice`(
        milliseconds: Int64, count: Int
    ) {
        for seed in UInt64(101)..<104 {
            var world = settled(8, seed: seed, degree: 4)
            world.partition { $0 < count ? 1 : 0 }
            world.run(for: .milliseconds(milliseconds))
            world.heal()
            world.run(for: .seconds(20))
            for host in world.everyone {
                #expect(world.counters(host)[.linksHollow] == 0)
                let isAny = world.links(host).contains { $0.isSecondChoice }
                #expect(!isAny)
            }
            for host in world.everyone {
                for other in world.everyone where other != host {
                    #expect(world.publish(host, .user, "user\(other)", large) == 1)
                }
            }
            world.run(for: .seconds(1))
            #expect(world.deliveries.count == 8 * 7)
        }
    }

    /// The pauses double until what was lost comes through, on either side for itself.
    @Test(arguments: [2_400, 2_700, 3_000], [2_700, 3_100, 3_500])
    func `one direction that is well before the other is no hole`(first: Int64, second: Int64) {
        for seed in UInt64(105)..<108 {
            var world = settled(5, seed: seed)
            world.cut(from: 1, to: 2)
            world.cut(from: 2, to: 1)
            world.run(for: .milliseconds(first))
            world.network.mend(from: 2, to: 1)
            world.run(for: .milliseconds(max(0, second - first)))
            world.network.mend(from: 1, to: 2)
            world.run(for: .seconds(20))
            for host in world.everyone { #expect(world.counters(host)[.linksHollow] == 0) }
        }
    }

    /// Else it takes itself for cut off, and dials everybody four times a second.
    @Test func `a node around which all paths have holes uses the links that it has`() {
        var world = settled(8, seed: 99, degree: 4)
        world.narrow(1, to: 1_200)
        for other in [0, 2, 3, 4, 5, 6, 7] {
            #expect(world.publish(1, .user, "user\(other)", large) == 1)
        }
        world.run(for: .seconds(10))
        let holes = world.counters(1)[.linksHollow]
        #expect(holes >= 2)
        let isAnyFirst = world.links(1).contains { !$0.isSecondChoice }
        #expect(isAnyFirst)
        let opened = world.everyone.map { world.counters($0)[.linksOpened] }
        let sent = world.traffic(1).bytesOut
        world.run(for: .seconds(10))
        let openedLater = world.everyone.map { world.counters($0)[.linksOpened] }
        #expect(opened == openedLater)
        #expect(world.traffic(1).bytesOut - sent < 10_000)
        world.clearDeliveries()
        for other in [0, 2, 3, 4, 5, 6, 7] {
            #expect(world.publish(1, .user, "user\(other)", large) == 1)
            #expect(world.publish(other, .user, "user1", large) == 1)
        }
        world.run(for: .seconds(1))
        #expect(world.deliveries.count == 14)
    }

    @Test func `a flow that stands still gets a link of its own`() {
        var world = settled(60, seed: 97, degree: 6)
        var found: (host: Int, other: Int)?
        for other in 1..<60 where found == nil {
            if links(world, 0, to: other).isEmpty, (world.hops(from: 0, to: other) ?? 0) >= 3 {
                found = (0, other)
            }
        }
        guard let (host, other) = found else { return #expect(found != nil) }
        // All that comes to the other one over the links that it has.
        for link in world.links(other) {
            if let peer = world.host(of: link.peer) { world.narrow(peer, other, to: 300) }
        }
        #expect(world.publish(host, .user, "user\(other)", large) == 1)
        world.run(for: .seconds(4))
        #expect(world.deliveries.count == 1)
        #expect(!links(world, host, to: other).isEmpty)
        let count = world.links(host).count
        #expect(count <= 6)
    }
}
