import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

@Suite struct ChangeTests {
    /// Everybody writes to everybody, all the time, while nodes join and leave on purpose.
    @Test(arguments: [1, 2, 3])
    func `joining and leaving lose nothing`(seed: UInt64) {
        var world = mesh(of: 12, seed: seed, degree: 6)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(4))
        for host in 0..<12 { world.change(host, .user, "user\(host)", .add) }
        world.run(for: .milliseconds(500))
        world.clearDeliveries()
        var sent: [[UInt8]] = []
        var guests: [Int] = []
        for round in 0..<400 {
            let from = round % 12
            for to in 0..<12 where to != from {
                let payload = [UInt8(from), UInt8(to), UInt8(round & 255), UInt8(round >> 8)]
                let count = world.publish(from, .user, "user\(to)", payload)
                #expect(count == 1)
                sent.append(payload)
            }
            if round % 25 == 10 { guests.append(world.start(seeds: [from], degree: 6)) }
            if round % 50 == 40 { world.leave(guests.removeFirst()) }
            world.run(for: .milliseconds(20))
        }
        world.run(for: .seconds(1))
        let received = world.deliveries.map { $0.payload }
        #expect(received.count == sent.count)
        #expect(Set(received) == Set(sent))
    }
}
