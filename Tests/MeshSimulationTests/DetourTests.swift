import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// Messages whose way leads through a node that stands still and is not yet known to.
@Suite struct DetourTests {
    /// Milliseconds from publishing to delivery of the messages between all but `frozen`, which
    /// stands still meanwhile, in ascending order.
    private func delays(in world: inout World, frozen: Int, size: Int) -> [Int64] {
        let hosts = world.everyone.filter { $0 != frozen }
        var published: [Instant] = []
        world.clearDeliveries()
        world.freeze(frozen, for: .seconds(2))
        for _ in 0..<100 {
            for from in hosts {
                for to in hosts where to != from {
                    let number = UInt32(published.count)
                    let digits = (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
                    let payload = digits + [UInt8](repeating: 0, count: size)
                    #expect(world.publish(from, .user, "user\(to)", payload) == 1)
                    published.append(world.now)
                }
            }
            world.run(for: .milliseconds(20))
        }
        world.run(for: .seconds(8))
        #expect(world.deliveries.count == published.count)
        return world.deliveries.map { delivery in
            let number = delivery.payload.span.load(UInt32.self, at: 0)
            return (delivery.time - published[Int(number)]).milliseconds
        }.sorted()
    }

    /// Without the detour each waits until the link is in doubt: two in a hundred 0.5 s and more, one
    /// of them 1.1 to 1.4 s.
    /// With much to send the acknowledgements have to find a way round too: a flow that starts again
    /// sends 64 KiB before the first.
    @Test(arguments: [(7, 0), (7, 12_000), (12, 0)])
    func `messages held up by a frozen node go round it after a timeout`(count: Int, size: Int) {
        var world = mesh(of: count, seed: 71, degree: 4)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(6))
        for host in 0..<count { world.change(host, .user, "user\(host)", .add) }
        world.run(for: .seconds(1))
        for frozen in 0..<4 {
            let delays = delays(in: &world, frozen: frozen, size: size)
            #expect(delays[delays.count * 98 / 100] < 100)
            // A flow that has sent nothing but again since its last timeout waits twice as long.
            #expect(delays[delays.count - 1] < 450)
        }
    }
}
