import MeshCore
import Testing

@testable import MeshSimulation

/// The copies of a channel's message are the edges of a tree, from every node and to any number of
/// others, as long as nothing changes. Few links a node make it hard: with eight, one destination in
/// a hundred lies five steps away among 200 nodes, as with sixteen among 3,000.
@Suite struct ChannelTreeTests {
    private static let count = 200

    /// A mesh in which nothing changes any more, with the subscribers of each channel.
    private func world(
        seed: UInt64, channels: [(name: String, subscribers: [Int])]
    ) -> World {
        var world = mesh(of: Self.count, seed: seed, degree: 8)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(15))
        for (name, subscribers) in channels {
            for host in subscribers { world.change(host, .channel, name, .add) }
        }
        world.run(for: .seconds(1))
        #expect(world.agree() == true)
        return world
    }

    /// The copies of each message, which are numbered from 0.
    private func copies(_ world: borrowing World, messages: Int) -> [[TrafficCount.Copy]] {
        var copies = [[TrafficCount.Copy]](repeating: [], count: messages)
        for copy in world.trafficCount.copies { copies[Int(copy.message)].append(copy) }
        return copies
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `a message to all of n nodes is sent n - 1 times, whoever sends it`(seed: UInt64) {
        var world = world(seed: seed, channels: [("all", Array(0..<Self.count))])
        for host in 0..<Self.count {
            _ = world.publish(host, .channel, "all", number: UInt32(host), size: 16)
            world.run(for: .milliseconds(1))
        }
        world.run(for: .milliseconds(150))
        #expect(world.deliveries.count == Self.count * (Self.count - 1))
        for (origin, copies) in copies(world, messages: Self.count).enumerated() {
            #expect(copies.count == Self.count - 1)
            #expect(Set(copies.map(\.to)).count == Self.count - 1)
            #expect(!copies.contains { $0.to == origin })
        }
    }

    @Test func `a message to some nodes is sent over a tree whose leaves are all subscribers`() {
        var random = RandomSource(seed: 1)
        let channels = [1, 5, 50, 100, 150].map { size in
            (name: "to \(size)", subscribers: random.sample(size, of: Array(0..<Self.count)))
        }
        var world = world(seed: 4, channels: channels)
        for host in 0..<Self.count {
            for (at, channel) in channels.enumerated() {
                let number = UInt32(host * channels.count + at)
                _ = world.publish(host, .channel, channel.name, number: number, size: 16)
            }
            world.run(for: .milliseconds(1))
        }
        world.run(for: .milliseconds(150))
        let messages = Self.count * channels.count
        for (message, copies) in copies(world, messages: messages).enumerated() {
            let origin = Int32(message / channels.count)
            let channel = channels[message % channels.count]
            let reached = Set(copies.map(\.to))
            #expect(copies.count == reached.count)
            #expect(!reached.contains(origin))
            let forwarders = Set(copies.map(\.from))
            #expect(forwarders.isSubset(of: reached.union([origin])))
            let subscribers = Set(channel.subscribers.map { Int32($0) }).subtracting([origin])
            #expect(subscribers.isSubset(of: reached))
            #expect(reached.subtracting(forwarders).isSubset(of: subscribers))
        }
    }
}
