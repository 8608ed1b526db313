import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

@Suite struct RequestTests {
    @Test(arguments: [0, 1])
    func `a request is answered by a provider, here or at another node`(host: Int) throws {
        let desk = Desk(2)
        let provider = desk.provider(host)
        let asker = desk.open()
        #expect(desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "1+2") == [])
        let request = try #require(desk.requests(provider).first)
        #expect(request.payload == "1+2")
        #expect(request.id.hasPrefix("1000000000000000") && request.id.count == 24)
        #expect(desk.say(provider, "MESH.REPLY", request.id, "3") == ["1"])
        #expect(desk.heard(asker) == ["3"])
        // It has ended.
        #expect(desk.say(provider, "MESH.REPLY", request.id, "4") == ["0"])
        #expect(desk.say(asker, "PING") == ["PONG"])
        #expect(desk.counter(.requestsAnswered) == 1)
        desk.expectNothing()
    }

    @Test func `a connection that waits keeps its replies in order, and one that does not goes on`()
    {
        let desk = Desk()
        let provider = desk.provider()
        let asker = desk.open()
        #expect(desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "1", "ASYNC", "a") == ["OK"])
        #expect(desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "2") == [])
        #expect(desk.say(asker, "ECHO", "x") == [])
        let requests = desk.requests(provider)
        #expect(requests.map(\.payload) == ["1", "2"])
        desk.say(provider, "MESH.REPLY", requests[0].id, "one")
        #expect(desk.heard(asker) == ["reply → a → OK → one"])
        desk.say(provider, "MESH.REPLY", requests[1].id, "two")
        #expect(desk.heard(asker) == ["two", "x"])
        desk.expectNothing()
    }

    @Test func `a large request and a large reply arrive`() throws {
        let desk = Desk(2)
        let provider = desk.provider(1)
        let asker = desk.open()
        let text = String(repeating: "abcdefgh", count: 100_000)
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", text)
        desk.run(1_000)
        let request = try #require(desk.requests(provider).first)
        #expect(request.payload == text)
        desk.say(provider, "MESH.REPLY", request.id, text + text)
        desk.run(1_000)
        #expect(desk.heard(asker) == [text + text])
        desk.expectNothing()
    }

    @Test func `without a provider a request ends at once, and with WAIT when one has come`() throws
    {
        let desk = Desk(2)
        let asker = desk.open()
        #expect(
            desk.say(asker, "MESH.REQUEST", "SERVICE", "nope", "x")
                == ["NOSERVICE nobody serves nope"])
        #expect(desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "WAIT") == [])
        desk.run(3_000)
        #expect(desk.heard(asker) == [])
        let provider = desk.provider(1)
        desk.run(1_100)
        let request = try #require(desk.requests(provider).first)
        desk.say(provider, "MESH.REPLY", request.id, "late but here")
        #expect(desk.heard(asker) == ["late but here"])
        desk.expectNothing()
    }

    @Test(arguments: [0, 1])
    func `no provider has more than its concurrency, and what waits follows`(host: Int) {
        let desk = Desk(2)
        let provider = desk.provider(host, concurrency: 2)
        let asker = desk.open()
        for number in 0..<6 {
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "\(number)", "ASYNC", "t\(number)")
        }
        var given = desk.requests(provider)
        #expect(given.map(\.payload) == ["0", "1"])
        for next in 2..<6 {
            #expect(desk.say(provider, "MESH.REPLY", given.removeFirst().id, "r").contains("1"))
            // The push came before the reply to its own command, in the same reading.
            let sent = desk.counter(.requestsGiven, host)
            #expect(sent == UInt64(next + 1))
            desk.say(provider, "MESH.SERVE", "sum", "CONCURRENCY", "2")
            if given.isEmpty { break }
        }
    }

    @Test func `a full queue is BUSY, and an idle provider at another node gets the request`() {
        let desk = Desk(2)
        let asker = desk.open()
        _ = desk.provider(1, concurrency: 1)
        for number in 0..<1_024 {
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "\(number)", "ASYNC", "t\(number)")
        }
        // The connection has what one may have.
        #expect(
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "more")
                .allSatisfy { $0.hasPrefix("LIMIT a connection has at most 1024") })
        let second = desk.open()
        #expect(desk.say(second, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a") == ["OK"])
        #expect(
            desk.say(second, "MESH.REQUEST", "SERVICE", "sum", "x")
                == ["BUSY too many requests wait for sum"])
        let idle = desk.provider(0, concurrency: 1)
        #expect(desk.say(second, "MESH.REQUEST", "SERVICE", "sum", "y", "ASYNC", "b") == ["OK"])
        #expect(desk.requests(idle).map(\.payload) == ["y"])
    }

    @Test func `a request that is rejected goes to the next node, and then the reason is told`() {
        let desk = Desk(3)
        let providers = [desk.provider(1), desk.provider(2)]
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x")
        for turn in 0..<2 {
            let given = providers.flatMap { person in
                desk.requests(person).map { (person, $0.id) }
            }
            #expect(given.count == 1, "turn \(turn)")
            for (person, id) in given { desk.say(person, "MESH.REJECT", id, "not me") }
        }
        #expect(desk.heard(asker) == ["REJECTED not me"])
        desk.expectNothing()
    }

    @Test func `what a provider fails has failed`() throws {
        let desk = Desk(2)
        let provider = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x")
        let request = try #require(desk.requests(provider).first)
        desk.say(provider, "MESH.FAIL", request.id, "no such\r\nthing")
        #expect(desk.heard(asker) == ["FAILED no such  thing"])
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a")
        let other = try #require(desk.requests(provider).first)
        desk.say(provider, "MESH.FAIL", other.id, "why")
        #expect(desk.heard(asker) == ["reply → a → FAILED → why"])
        desk.expectNothing()
    }

    @Test(arguments: [0, 1])
    func `a provider's end is told at once`(host: Int) {
        let desk = Desk(2)
        let provider = desk.provider(host, concurrency: 1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "given", "ASYNC", "a")
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "waiting", "ASYNC", "b")
        desk.close(provider)
        desk.run(1)
        #expect(Set(desk.heard(asker)) == ["reply → a → DIED → ", "reply → b → NOSERVICE → "])
        desk.expectNothing()
    }

    @Test func `with RETRY another provider gets what one has died with`() {
        let desk = Desk(2)
        let first = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "RETRY")
        #expect(desk.requests(first).count == 1)
        let second = desk.provider(1)
        desk.close(first)
        desk.run(100)
        let again = desk.requests(second)
        #expect(again.map(\.payload) == ["x"])
        let third = desk.provider(0)
        desk.close(second)
        desk.run(100)
        let last = desk.requests(third)
        #expect(last.map(\.payload) == ["x"])
        desk.say(third, "MESH.REPLY", last[0].id, "y")
        #expect(desk.heard(asker) == ["y"])
        desk.expectNothing()
    }

    @Test(arguments: [false, true])
    func `a node that dies with a request is told of, or another is asked`(retries: Bool) {
        let desk = Desk(3)
        let first = desk.provider(1)
        let asker = desk.open()
        if retries {
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a", "RETRY")
        } else {
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a")
        }
        #expect(desk.requests(first).count == 1)
        let second = desk.provider(2)
        desk.servers.mesh.crash(1)
        desk.run(200)
        if retries {
            let again = desk.requests(second)
            #expect(again.map(\.payload) == ["x"])
            desk.say(second, "MESH.REPLY", again[0].id, "y")
            #expect(desk.heard(asker) == ["reply → a → OK → y"])
        } else {
            #expect(desk.heard(asker) == ["reply → a → DIED → "])
            #expect(desk.requests(second).isEmpty)
        }
        desk.expectNothing()
    }

    @Test func `after its time a request ends, the provider hears of it, and its reply is late`()
        throws
    {
        let desk = Desk(2)
        let provider = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "TIMEOUT", "300")
        let request = try #require(desk.requests(provider).first)
        desk.run(299)
        #expect(desk.heard(asker) == [])
        desk.run(2)
        #expect(desk.heard(asker) == ["TIMEOUT the time of the request is over"])
        #expect(desk.heard(provider) == ["cancel → \(request.id) → timeout"])
        #expect(desk.say(provider, "MESH.REPLY", request.id, "3") == ["0"])
        desk.expectNothing()
    }

    @Test func `a reply that meets the end of its request is counted and dropped`() throws {
        let desk = Desk(2)
        let provider = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "TIMEOUT", "300", "ASYNC", "a")
        let request = try #require(desk.requests(provider).first)
        // Nothing goes between the two for a while.
        desk.servers.mesh.judge = { _, _, frame in
            frame[4] == FrameKind.routed.rawValue && frame[7] != RoutedBody.control.rawValue
                ? .delay(.milliseconds(50)) : .pass
        }
        desk.run(280)
        #expect(desk.say(provider, "MESH.REPLY", request.id, "3") == ["1"])
        desk.run(200)
        #expect(desk.heard(asker) == ["reply → a → TIMEOUT → "])
        #expect(desk.counter(.repliesLate) == 1)
        desk.expectNothing()
    }

    @Test func `a request that is given up, or whose asker goes, is recalled`() {
        let desk = Desk(2)
        let provider = desk.provider(1)
        let asker = desk.open()
        #expect(desk.say(asker, "MESH.CANCEL", "a") == ["0"])
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a")
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "y", "ASYNC", "b")
        let requests = desk.requests(provider)
        #expect(desk.say(asker, "MESH.CANCEL", "a") == ["1", "reply → a → CANCELLED → "])
        #expect(desk.heard(provider) == ["cancel → \(requests[0].id) → gone"])
        desk.close(asker)
        desk.run(1)
        #expect(desk.heard(provider) == ["cancel → \(requests[1].id) → gone"])
        desk.expectNothing()
    }

    @Test
    func `a request whose asker's node dies is recalled, and keeps its place until it is answered`()
    {
        let desk = Desk(3)
        let provider = desk.provider(1, concurrency: 1)
        let (gone, asker) = (desk.open(2), desk.open())
        desk.say(gone, "MESH.REQUEST", "SERVICE", "sum", "x")
        let first = desk.requests(provider)
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "y")
        desk.servers.mesh.crash(2)
        desk.run(200)
        #expect(desk.heard(provider) == ["cancel → \(first[0].id) → gone"])
        #expect(desk.say(provider, "MESH.REPLY", first[0].id, "1").contains("0"))
        #expect(desk.counter(.requestsGiven, 1) == 2)
    }

    @Test func `a provider that ends to serve may answer what it has`() {
        let desk = Desk(2)
        let provider = desk.provider(1, concurrency: 1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a")
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "y", "ASYNC", "b")
        let given = desk.requests(provider)
        #expect(desk.say(provider, "MESH.UNSERVE") == ["1"])
        #expect(desk.heard(asker) == ["reply → b → NOSERVICE → "])
        #expect(desk.say(provider, "MESH.SERVE", "sum", "CONCURRENCY", "1") == ["OK"])
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "z", "ASYNC", "c")
        #expect(desk.requests(provider).isEmpty)
        #expect(desk.say(provider, "MESH.REPLY", given[0].id, "1").contains("1"))
        #expect(desk.heard(asker) == ["reply → a → OK → 1"])
        #expect(desk.counter(.requestsGiven, 1) == 2)
    }

    @Test func `another connection cannot answer a request`() throws {
        let desk = Desk()
        let provider = desk.provider()
        let (asker, other) = (desk.open(), desk.open())
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x")
        let request = try #require(desk.requests(provider).first)
        #expect(desk.say(other, "MESH.REPLY", request.id, "false") == ["0"])
        #expect(desk.say(provider, "MESH.REPLY", request.id, "true") == ["1"])
        #expect(desk.heard(asker) == ["true"])
    }

    @Test func `a node that leaves does not leave its askers waiting`() {
        let desk = Desk(2)
        let provider = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a", "TIMEOUT", "60000")
        #expect(desk.requests(provider).count == 1)
        desk.servers.mesh.handle(.leave, 1)
        desk.run(8_000)
        #expect(desk.heard(asker) == ["reply → a → DIED → "])
        desk.expectNothing()
    }

    @Test(arguments: [
        ["MESH.REQUEST", "GROUP", "ann", "x"], ["MESH.REQUEST", "USER", "ann", "x", "KEY", "k"],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "KEY", ""],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "KEY", "k", "KEY", "k"],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "KEY", "k", "ALL"],
        ["MESH.REQUEST", "ROOM", "lobby", "x", "ALL", "RETRY"],
        ["MESH.REQUEST", "ROOM", "lobby", "x", "ALL", "STREAM", "a"],
        ["MESH.REQUEST", "ROOM", "", "x"],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a", "STREAM", "b"],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "TIMEOUT"],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "TIMEOUT", "0"],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "TIMEOUT", "3600001"],
        ["MESH.REQUEST", "SERVICE", "sum", "x", "WAIT", "WAIT"],
        ["MESH.REQUEST", "SERVICE", "", "x"], ["MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", ""],
        ["MESH.SERVE", ""], ["MESH.SERVE", "sum", "CONCURRENCY", "-1"],
        ["MESH.SERVE", "sum", "CONCURRENCY", "1025"], ["MESH.SERVE", "sum", "CONCURRENCY"],
        ["MESH.REPLY", "12", "x"], ["MESH.REPLY", "12", "x", "MORE"],
        ["MESH.REPLY", "00000000000000000000000a", "x", "LESS"],
        ["MESH.FAIL", "00000000000000000000000g"],
    ])
    func `what is not understood is refused`(words: [String]) {
        let desk = Desk()
        let client = desk.open()
        desk.servers.mesh.send(RESPDecoder.command(words), from: client.client, 0)
        let heard = desk.heard(client)
        #expect(heard.count == 1 && heard[0].hasPrefix("ERR "), "\(heard)")
    }

    @Test
    func `malformed requests and replies are counted`() {
        let desk = Desk(2)
        let provider = desk.provider(0)
        let sizes: [Int] = [0, 1, 15, 16, 18, 19, 4_000]
        for body in [RoutedBody.request, .reply] {
            for size in sizes {
                for byte in [0, 0xFF] as [UInt8] {
                    let name = body == .request ? Array("sum".utf8) : []
                    let bytes = name + [UInt8](repeating: byte, count: size)
                    desk.servers.mesh.hosts[0].server.edge.gateway.hub.deliver(
                        body, Key(7), name: Slice(start: 0, count: name.count),
                        payload: Slice(start: name.count, count: size), bytes.span,
                        id: MessageID(origin: NodeID(2 << 60), number: 1))
                }
            }
        }
        // Too short: five lengths of requests twice, three of replies twice; and kinds and statuses of 0xFF.
        #expect(desk.counter(.postsMalformed) == 10 + 2 + 6 + 4)
        // Of those with zeros one is taken: the others have its number, or its time is over.
        #expect(desk.requests(provider).count == 1)
        #expect(desk.counter(.repliesLate) == 4)
        desk.run(100)
    }
}
