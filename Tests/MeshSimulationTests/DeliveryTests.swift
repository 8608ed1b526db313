import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

@Suite struct DeliveryTests {
    @Test(arguments: [5, 40])
    func `each subscriber's node gets each message once and in order`(count: Int) {
        var world = mesh(of: count, seed: 11)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(3))
        for host in 0..<count { world.change(host, .channel, "all", .add) }
        world.change(1, .channel, "one", .add)
        world.change(3, .pattern, "o*", .add)
        world.run(for: .seconds(1))
        #expect(world.agree() == true)
        for round in 0..<50 {
            for host in 0..<count {
                let toAll = world.publish(host, .channel, "all", [UInt8(host), UInt8(round)])
                #expect(toAll == count - 1)
                let toOne = world.publish(host, .channel, "one", [UInt8(host), UInt8(round)])
                #expect(toOne == (host == 1 || host == 3 ? 1 : 2))
            }
        }
        world.run(for: .seconds(1))
        for receiver in 0..<count {
            for sender in 0..<count where sender != receiver {
                let rounds = world.deliveries.filter {
                    $0.node == receiver && $0.name == Array("all".utf8) && $0.payload[0] == sender
                }.map { Int($0.payload[1]) }
                #expect(rounds == Array(0..<50))
            }
        }
        let toOne = world.deliveries.filter { $0.name == Array("one".utf8) }
        #expect(toOne.filter { $0.node == 1 }.count == 50 * (count - 1))
        #expect(toOne.filter { $0.node == 3 }.count == 50 * (count - 1))
        #expect(toOne.count == 100 * (count - 1))
    }

    @Test func `a change reaches every node once`() {
        var world = mesh(of: 60, seed: 5)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(5))
        let before = (0..<60).map { world.counters($0) }
        for number in 0..<200 { world.change(7, .user, "u\(number)", .add) }
        world.run(for: .milliseconds(400))
        for host in 0..<60 where host != 7 {
            let counters = world.counters(host)
            #expect(counters[.recordsLive] - before[host][.recordsLive] == 200)
            #expect(counters[.recordsDuplicate] == before[host][.recordsDuplicate])
            #expect(counters[.recordsRepaired] == before[host][.recordsRepaired])
        }
        #expect(world.agree() == true)
    }

    @Test func `watchers see a first arrival and a last departure, and nothing of a quick return`()
    {
        var world = mesh(of: 6, seed: 9)
        let ready = world.run(atMost: .seconds(5)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.watch(5, "ann")
        world.change(1, .user, "ann", .add)
        world.run(for: .seconds(1))
        world.change(2, .user, "ann", .add)
        world.change(1, .user, "ann", .remove)
        world.run(for: .seconds(1))
        #expect(world.presences(5).map { $0.isOnline } == [true])
        world.change(2, .user, "ann", .remove)
        world.run(for: .milliseconds(50))
        world.change(3, .user, "ann", .add)
        world.run(for: .seconds(1))
        #expect(world.presences(5).map { $0.isOnline } == [true])
        world.change(3, .user, "ann", .remove)
        world.run(for: .seconds(1))
        #expect(world.presences(5).map { $0.isOnline } == [true, false])
    }

    @Test func `a question to everyone is answered by all, and does not wait for a dead node`() {
        var world = mesh(of: 8, seed: 3)
        let ready = world.run(atMost: .seconds(5)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.ask(0, QueryID(1), everyone: [42])
        world.run(for: .milliseconds(50))
        #expect(world.finished(0) == [QueryID(1)])
        #expect(world.answers(0).count == 7)
        world.crash(4)
        world.ask(0, QueryID(2), everyone: [43])
        world.run(for: .milliseconds(300))
        #expect(world.finished(0) == [QueryID(1), QueryID(2)])
        #expect(world.answers(0).count == 13)
    }

    @Test func `a joining node gets a large table in shares, and all of it`() {
        var world = mesh(of: 5, seed: 21)
        let ready = world.run(atMost: .seconds(5)) { $0.allReady() && $0.agree() }
        #expect(ready)
        for number in 0..<10_000 { world.change(number % 5, .user, "u\(number)", .add) }
        world.change(2, .pattern, "news.*", .add)
        world.run(for: .seconds(2))
        #expect(world.agree() == true)
        let late = world.start(seeds: [3])
        let lateReady = world.run(atMost: .seconds(5)) { $0.isReady(late) }
        #expect(lateReady)
        #expect(world.sizes(late).entries == 10_000)
        #expect(world.sizes(late).patterns == 1)
        #expect(world.counters(late)[.snapshotsReceived] == 5)
        let servers = (0..<5).filter { world.counters($0)[.snapshotsSent] > 0 }
        #expect(servers.count >= 3)
        world.run(for: .seconds(1))
        #expect(world.agree() == true)
    }
}
