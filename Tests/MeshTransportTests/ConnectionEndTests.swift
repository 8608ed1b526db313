import Glibc
import MeshCore
import MeshWire
import Testing

@testable import MeshServer
@testable import MeshTransport

/// A reactor's bookkeeping of its connections, driven by hand: no thread and no waiting.
@Suite struct ConnectionEndTests {
    private static func reactor() throws -> Reactor {
        let any = Endpoint(ipv4: 0x7F00_0001, port: 0)
        let listeners = try Listeners(mesh: any, redis: nil, http: nil)
        var options = ReactorOptions(
            server: ServerOptions(
                node: Configuration(endpoint: listeners.meshEndpoint, name: "test")))
        options.log.level = .error
        return try Reactor(options, listeners: listeners, inbox: try Inbox())
    }

    /// One end of a pair of sockets; the other is closed with the test's process.
    private static func stream() -> Stream {
        var ends: [Int32] = [-1, -1]
        let result = unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends)
        precondition(result == 0)
        return Stream(descriptor: ends[0], medium: .unixSocket)
    }

    /// A connection that another node has made.
    private static func accept(_ reactor: inout Reactor) -> (ConnectionIndex, LinkIndex) {
        let link = reactor.server.acceptLink(at: reactor.now, into: &reactor.effects)!
        let index = reactor.adopt(stream(), .link, link: link)!
        reactor.connectionOfLink[link.slot] = index
        return (index, link)
    }

    @Test func `each of several connections is given up when its own time is over`() throws {
        var reactor = try Self.reactor()
        let start = reactor.now
        for second in [2, 1, 3] as [Int64] {
            let index = reactor.adopt(Self.stream(), .http)!
            reactor.enter(.open(until: start + .seconds(second)), index)
        }
        for second in 1...3 as ClosedRange<Int64> {
            let due = reactor.earliestTimed
            #expect(due == start + .seconds(second))
            reactor.now = start + .seconds(second)
            reactor.endTimed()
            let count = reactor.connections.count
            #expect(count == 3 - Int(second))
        }
        let last = reactor.earliestTimed
        #expect(last == nil)
    }

    @Test func `a send that the kernel had no memory for is tried again, once for all that wait`()
        throws
    {
        var reactor = try Self.reactor()
        let one = reactor.adopt(Self.stream(), .http)!
        let other = reactor.adopt(Self.stream(), .http)!
        let due = reactor.now + reactor.options.limits.starvedTime
        reactor.starve(one)
        reactor.now = reactor.now + .milliseconds(1)
        reactor.starve(other)
        reactor.starve(one)
        let (again, count) = (reactor.starvedAgain, reactor.starved.count)
        #expect(again == due && count == 2)
        reactor.now = due
        reactor.flushStarved()
        let (next, rest) = (reactor.starvedAgain, reactor.starved.count)
        #expect(next == nil && rest == 0)
        // And the next shortage is another one.
        reactor.starve(other)
        let later = reactor.starvedAgain
        #expect(later == due + reactor.options.limits.starvedTime)
    }

    @Test(arguments: ["dropped", "closed by this node"])
    func `a congested link that ends holds up nobody`(way: String) throws {
        var reactor = try Self.reactor()
        let (index, link) = Self.accept(&reactor)
        reactor.connections[index].isCongested = true
        reactor.server.linkIsCongested(link)
        if way == "dropped" { reactor.dropLink(index, .closed) } else { reactor.linger(index) }
        let congested = reactor.server.pause.congestedLinks
        #expect(congested == [])
        let mayEnd = reactor.server.pause.mayEnd
        #expect(mayEnd)
    }

    @Test func `a link slot has another epoch for each connection`()
        throws
    {
        var reactor = try Self.reactor()
        var epochs: Set<UInt32> = []
        for _ in 0..<5 {
            let (index, link) = Self.accept(&reactor)
            #expect(link == LinkIndex(0))
            epochs.insert(reactor.linkEpochs[0])
            reactor.dropLink(index, .closed)
            let isFree = reactor.connectionOfLink[0].isNone
            #expect(isFree)
        }
        #expect(epochs.count == 5)
    }

    @Test func `a place in the slab has another generation each time that it is used`() {
        var slab = Connections(capacity: 1)
        var generations: Set<UInt32> = []
        for _ in 0..<10 {
            let index = slab.allocate()!
            slab[index].role = .http
            generations.insert(slab[index].generation)
            slab.release(index)
        }
        #expect(generations.count == 10)
    }

    @Test func `the loop wakes up for whatever is tried again after a rest`() throws {
        var reactor = try Self.reactor()
        let rest = reactor.options.limits.starvedTime
        let calm = reactor.waitingTime()
        #expect(calm > rest.nanoseconds)
        for reason in ["accepting", "sending", "a connection's end"] {
            reactor.acceptAgain = reason == "accepting" ? reactor.now + rest : nil
            reactor.starvedAgain = reason == "sending" ? reactor.now + rest : nil
            reactor.earliestTimed = reason == "a connection's end" ? reactor.now + rest : nil
            let time = reactor.waitingTime()
            #expect(time <= rest.nanoseconds, "\(reason)")
        }
    }
}
