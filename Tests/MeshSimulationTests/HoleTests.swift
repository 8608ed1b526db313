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
