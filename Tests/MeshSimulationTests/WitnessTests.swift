import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// One node's view of another is no proof: addresses refuse while their nodes live.
@Suite struct WitnessTests {
    private func expectNoDoubt(
        _ world: borrowing World, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        for host in world.everyone {
            #expect(world.counters(host)[.deaths] == 0, sourceLocation: sourceLocation)
            #expect(world.counters(host)[.suspicions] == 0, sourceLocation: sourceLocation)
        }
    }

    /// Returns how long it took until all that live agreed, at most so long.
    private func agreement(of world: inout World, atMost bound: Delay) -> Delay? {
        let start = world.now
        return world.run(atMost: bound) { $0.agree() } ? world.now - start : nil
    }

    @Test(arguments: [3, 5, 24], [1_000, 10_000])
    func `a firewall between two nodes kills neither`(count: Int, milliseconds: Int64) {
        var world = settledMesh(of: count, seed: 61)
        world.reject(1, 2)
        world.run(for: .milliseconds(200))
        world.clearDeliveries()
        for round in 0..<10 {
            #expect(world.publish(1, .user, "user2", [UInt8(round)]) == 1)
            #expect(world.publish(2, .user, "user1", [UInt8(round)]) == 1)
            world.run(for: Delay(nanoseconds: milliseconds * 100_000))
        }
        world.admit(1, 2)
        world.run(for: .seconds(1))
        #expect(world.deliveries.count == 20)
        world.run(for: .seconds(12))
        expectNoDoubt(world)
        #expect(world.agree() == true)
        #expect(world.links(1).contains { world.host(of: $0.peer) == 2 } == (count <= 17))
    }

    @Test func `a firewall that comes and goes kills nobody`() {
        var world = settledMesh(of: 5, seed: 63)
        for round in 0..<20 {
            world.reject(1, 2)
            world.run(for: .milliseconds(Int64(100 + round * 50)))
            world.admit(1, 2)
            world.run(for: .milliseconds(Int64(1_050 - round * 50)))
        }
        world.run(for: .seconds(1))
        expectNoDoubt(world)
    }

    @Test func `new connections refused one way alone kill nobody, and the other way is taken`() {
        var world = settledMesh(of: 5, seed: 65)
        world.network.reject(from: 1, to: 2)
        for _ in 0..<5 {
            world.reset(1, 2)
            world.run(for: .seconds(2))
            #expect(world.links(1).contains { world.host(of: $0.peer) == 2 })
        }
        expectNoDoubt(world)
    }

    /// A wrong address; a proxy whose server is not there yet.
    @Test(arguments: [3, 8])
    func `a node whose address refuses everybody lives, and newcomers kill it not`(count: Int) {
        var world = settledMesh(of: count, seed: 67)
        world.refuse(to: 2, true)
        for _ in 0..<4 {
            _ = world.start(seeds: [0])
            world.reset(0, 2)
            world.run(for: .seconds(3))
        }
        for host in world.everyone { #expect(world.counters(host)[.deaths] == 0) }
        let agreed = world.run(atMost: .seconds(3)) { $0.agree() }
        #expect(agreed)
    }

    @Test func `in a mesh of two nobody can contradict, and a crash is a death at once`() {
        var world = settledMesh(of: 2, seed: 69)
        world.crash(1)
        let time = agreement(of: &world, atMost: .milliseconds(100))
        #expect(time.map { $0 <= .milliseconds(10) } == true)
    }

    @Test func `of two that a firewall parts again and again neither dies each time`() {
        var world = settledMesh(of: 2, seed: 71)
        for _ in 0..<6 {
            world.reject(0, 1)
            world.run(for: .milliseconds(500))
            world.admit(0, 1)
            world.run(for: .seconds(4))
        }
        for host in world.everyone {
            #expect(world.counters(host)[.deaths] == 1)
            #expect(world.members(host).count == 2)
        }
    }

    @Test(arguments: [
        (3, [1]), (5, [1, 2]), (5, [1, 2, 3]), (3, [1, 2]), (24, [1, 2, 3, 4, 5]),
    ])
    func `crashes at one instant are known as fast as one`(count: Int, crashed: [Int]) {
        var world = settledMesh(of: count, seed: 73)
        for host in crashed { world.crash(host) }
        let time = agreement(of: &world, atMost: .seconds(1))
        #expect(time.map { $0 <= .milliseconds(50) } == true, "\(time as Delay?)")
    }

    @Test(arguments: [(24, 4), (24, 16), (40, 8)])
    func `half of all crash at one instant and the others know soon`(count: Int, degree: Int) {
        var world = settledMesh(of: count, seed: 75, degree: degree)
        for host in 0..<count where host % 2 == 1 { world.crash(host) }
        let time = agreement(of: &world, atMost: .seconds(10))
        #expect(time.map { $0 <= .milliseconds(4_500) } == true, "\(time as Delay?)")
    }

    @Test func `a node all of whose watchers crash with it is found by others`() {
        var world = settledMesh(of: 30, seed: 77, degree: 4)
        let watchers = world.links(7).compactMap { world.host(of: $0.peer) }
        for host in watchers + [7] { world.crash(host) }
        let time = agreement(of: &world, atMost: .seconds(10))
        #expect(time.map { $0 <= .seconds(5) } == true, "\(time as Delay?)")
    }

    @Test func `two nodes that cannot reach a third cause no doubt of it while others can`() {
        var world = settledMesh(of: 6, seed: 79)
        world.reject(1, 2)
        world.reject(3, 2)
        world.run(for: .seconds(10))
        expectNoDoubt(world)
    }

    // MARK: Several pairs at once

    /// Refuses all pairs but neighbours in `line`.
    private func leave(_ line: [Int], of world: inout World) {
        for (place, one) in line.enumerated() {
            for other in line.dropFirst(place + 2) { world.reject(one, other) }
        }
    }

    private func expectNoDeath(
        _ world: borrowing World, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        for host in world.everyone {
            #expect(world.counters(host)[.deaths] == 0, sourceLocation: sourceLocation)
            #expect(world.members(host).count == world.hostCount, sourceLocation: sourceLocation)
        }
    }

    @Test(arguments: [[0, 1, 2, 3], [2, 0, 3, 1], [1, 3, 0, 2]], [81, 82, 83] as [UInt64])
    func `a line of four is a mesh of four`(line: [Int], seed: UInt64) {
        var world = settledMesh(of: 4, seed: seed)
        leave(line, of: &world)
        world.run(for: .seconds(10))
        expectNoDeath(world)
        world.clearDeliveries()
        // From one end to the other.
        #expect(world.publish(line[0], .user, "user\(line[3])", [1]) == 1)
        world.run(for: .seconds(2))
        #expect(world.deliveries.count == 1)
    }

    @Test(
        arguments: [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2], [4, 2, 0, 1, 3]], [84, 85, 86] as [UInt64])
    func `a line of five is a mesh of five`(line: [Int], seed: UInt64) {
        var world = settledMesh(of: 5, seed: seed)
        leave(line, of: &world)
        world.run(for: .seconds(10))
        expectNoDeath(world)
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `a line that is parted pair by pair is a mesh`(seed: UInt64) {
        var world = settledMesh(of: 5, seed: 86 + seed)
        var pairs: [(Int, Int)] = []
        for one in 0..<3 { for other in (one + 2)..<5 { pairs.append((one, other)) } }
        var random = RandomSource(seed: seed)
        while !pairs.isEmpty {
            let (one, other) = pairs.remove(at: random.next(below: pairs.count))
            world.reject(one, other)
            world.run(for: .milliseconds(Int64(random.next(below: 900))))
        }
        world.run(for: .seconds(10))
        expectNoDeath(world)
    }

    @Test func `of three the one in the middle is the way between the others`() {
        var world = settledMesh(of: 3, seed: 91)
        world.reject(0, 2)
        world.run(for: .seconds(5))
        expectNoDoubt(world)
        // Refused by both: now there is no way to it. The two others go on.
        world.reject(0, 1)
        world.run(for: .seconds(1))
        #expect(world.members(0).count == 1)
        #expect(world.members(1).count == 2 && world.members(2).count == 2)
        world.admit(0, 1)
        let agreed = world.run(atMost: .seconds(15)) { $0.agree() }
        #expect(agreed && world.members(0).count == 3)
    }

    @Test(arguments: [(4, [2, 3]), (4, [1, 2, 3]), (5, [2, 3, 4])])
    func `those that crash while pairs are refused are dead at once`(count: Int, crashed: [Int]) {
        var world = settledMesh(of: count, seed: 93)
        world.reject(0, 2)
        world.run(for: .seconds(2))
        for host in crashed { world.crash(host) }
        let time = agreement(of: &world, atMost: .seconds(1))
        #expect(time.map { $0 <= .milliseconds(50) } == true, "\(time as Delay?)")
    }

    @Test func `half of a mesh that refuses the other half is dead to it at once`() {
        var world = settledMesh(of: 6, seed: 95)
        for one in 0..<3 { for other in 3..<6 { world.reject(one, other) } }
        world.run(for: .milliseconds(100))
        for host in 0..<6 { #expect(world.members(host).count == 3) }
    }
}
