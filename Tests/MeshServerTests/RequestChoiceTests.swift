import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// The provider that gets a request: by a key, beside a suspect node, and while nodes leave.
@Suite struct RequestChoiceTests {
    /// The numbers of the providers that have got requests, by payload; all are answered.
    private func answered(_ desk: Desk, _ providers: [Desk.Person]) -> [String: Int] {
        var owners: [String: Int] = [:]
        for (number, provider) in providers.enumerated() {
            for request in desk.requests(provider) {
                #expect(owners[request.payload] == nil)
                owners[request.payload] = number
                desk.say(provider, "MESH.REPLY", request.id, "ok")
            }
        }
        return owners
    }

    private func owners(
        _ desk: Desk, _ providers: [Desk.Person], askedAt host: Int
    ) -> [String: Int] {
        let asker = desk.open(host)
        for key in 0..<40 {
            desk.say(
                asker, "MESH.REQUEST", "SERVICE", "sum", "k\(key)", "KEY", "k\(key)", "ASYNC",
                "t\(key)")
        }
        desk.run(1)
        let owners = answered(desk, providers)
        #expect(owners.count == 40)
        return owners
    }

    @Test func `a key has one provider, whoever asks, and only the share of one that goes moves`() {
        let desk = Desk(3)
        let providers = (0..<6).map { desk.provider($0 % 3) }
        let first = owners(desk, providers, askedAt: 0)
        #expect(Set(first.values).count > 3)
        #expect(owners(desk, providers, askedAt: 1) == first)
        desk.close(providers[4])
        desk.run(1)
        let then = owners(desk, providers, askedAt: 2)
        // It was one of two at its node: its keys go to the other one there.
        for (payload, owner) in first { #expect(then[payload] == (owner == 4 ? 1 : owner)) }
    }

    @Test func `a request with a key waits for its provider, though others are idle`() throws {
        let desk = Desk()
        let providers = (0..<4).map { _ in desk.provider(0, concurrency: 1) }
        let asker = desk.open()
        for payload in ["a", "b", "c"] {
            desk.say(
                asker, "MESH.REQUEST", "SERVICE", "sum", payload, "KEY", "k", "ASYNC", payload)
        }
        let given = providers.map { desk.requests($0) }
        let owner = try #require(given.firstIndex { !$0.isEmpty })
        #expect(given.map(\.count).reduce(0, +) == 1)
        // One without a key goes to the others.
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "free", "ASYNC", "free")
        #expect(
            providers.indices.count { $0 != owner && !desk.requests(providers[$0]).isEmpty } == 1)
        let answer = desk.say(providers[owner], "MESH.REPLY", given[owner][0].id, "1")
        #expect(answer.contains { $0.hasSuffix("service → sum → b") })
        // Its provider goes: the one that it has is lost, and the one that waits goes to another.
        desk.close(providers[owner])
        desk.run(1)
        let heard = desk.heard(asker)
        #expect(heard.contains("reply → a → OK → 1") && heard.contains("reply → b → DIED → "))
        let others = providers.indices.filter { $0 != owner }
        #expect(others.flatMap { desk.requests(providers[$0]) }.map(\.payload) == ["c"])
    }

    @Test func `requests that wait for one provider and for any are given in their order`() throws {
        let desk = Desk()
        let provider = desk.provider(0, concurrency: 1)
        let asker = desk.open()
        for (number, key) in [nil, "k", nil, "k"].enumerated() {
            if let key {
                desk.say(
                    asker, "MESH.REQUEST", "SERVICE", "sum", "\(number)", "KEY", key, "ASYNC",
                    "\(number)")
            } else {
                desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "\(number)", "ASYNC", "\(number)")
            }
        }
        var given = desk.requests(provider)
        for number in 0..<4 {
            try #require(given.map(\.payload) == ["\(number)"])
            desk.servers.mesh.send(
                RESPDecoder.command(["MESH.REPLY", given[0].id, "x"]), from: provider.client, 0)
            desk.servers.mesh.settle()
            given = desk.requests(provider)
        }
        desk.expectNothing()
    }

    // MARK: Suspicion

    /// A node with a request stands still, another has a provider, and the asker's is a third.
    private func stalled(_ options: String...) -> (
        desk: Desk, asker: Desk.Person, second: Desk.Person
    ) {
        let desk = Desk(4)
        let first = desk.provider(1)
        let asker = desk.open()
        let words = ["MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a"] + options
        desk.servers.mesh.send(RESPDecoder.command(words), from: asker.client, 0)
        desk.servers.mesh.settle()
        #expect(desk.heard(asker) == ["OK"])
        #expect(desk.requests(first).count == 1)
        let second = desk.provider(2)
        desk.servers.mesh.freeze(1)
        return (desk, asker, second)
    }

    @Test
    func `with RETRY another node is asked while the first is suspect, and one answer counts`()
        throws
    {
        let (desk, asker, second) = stalled("RETRY", "TIMEOUT", "60000")
        desk.run(1_400)
        #expect(desk.requests(second).isEmpty)
        desk.run(1_400)
        let request = try #require(desk.requests(second).first)
        let isPresent = desk.servers.mesh.hosts[0].server.node.isPresent(NodeID(2 << 60))
        #expect(isPresent)
        desk.say(second, "MESH.REPLY", request.id, "second")
        #expect(desk.heard(asker) == ["reply → a → OK → second"])
        desk.servers.mesh.thaw(1)
        desk.run(3_000)
        #expect(desk.heard(asker) == [])
        desk.expectNothing()
    }

    @Test func `a suspect node that answers first wins, and the other provider is told`() throws {
        let (desk, asker, second) = stalled("RETRY", "TIMEOUT", "60000")
        desk.run(2_500)
        let request = try #require(desk.requests(second).first)
        desk.servers.mesh.thaw(1)
        desk.run(500)
        // The first provider's connection is the first of its node.
        let provider = try #require(desk.people.first { $0.host == 1 })
        desk.say(provider, "MESH.REPLY", request.id, "first")
        #expect(desk.heard(asker) == ["reply → a → OK → first"])
        #expect(desk.heard(second) == ["cancel → \(request.id) → gone"])
        desk.say(second, "MESH.REPLY", request.id, "second")
        desk.expectNothing()
    }

    @Test func `without RETRY a suspect node is waited for`() {
        let (desk, asker, second) = stalled("TIMEOUT", "60000")
        desk.run(2_800)
        #expect(desk.requests(second).isEmpty)
        #expect(desk.heard(asker) == [])
        desk.run(4_000)
        #expect(desk.heard(asker) == ["reply → a → DIED → "])
        #expect(desk.requests(second).isEmpty)
        desk.expectNothing()
    }

    @Test func `a new request goes to a node that is not suspect`() {
        let (desk, _, second) = stalled("TIMEOUT", "60000")
        desk.run(2_500)
        let asker = desk.open()
        for number in 0..<8 {
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "\(number)")
        }
        #expect(desk.requests(second).count == 8)
    }

    // MARK: Drain

    @Test func `a node that leaves is asked no more, and what its providers have is answered`()
        throws
    {
        let desk = Desk(3)
        let provider = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "first", "ASYNC", "a")
        let first = try #require(desk.requests(provider).first)
        desk.servers.mesh.handle(.leave, 1)
        desk.run(1)
        #expect(
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x")
                == ["NOSERVICE nobody serves sum"])
        let second = desk.provider(2)
        for number in 0..<4 {
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "\(number)")
        }
        #expect(desk.requests(second).count == 4)
        // Idle connections are ended by now, and this one waits for its provider.
        desk.run(1_900)
        let isEnded = desk.servers.mesh.isEnded(provider.client, 1)
        #expect(!isEnded)
        desk.say(provider, "MESH.REPLY", first.id, "done")
        #expect(desk.heard(asker) == ["reply → a → OK → done"])
        desk.run(50)
        let isEndedThen = desk.servers.mesh.isEnded(provider.client, 1)
        #expect(isEndedThen)
    }

    @Test func `a request that comes to a node that has begun to leave goes on to the next`() throws
    {
        let desk = Desk(2)
        let leaving = desk.provider(1)
        let asker = desk.open()
        // Until the news is there, requests meet a node that takes nothing any more.
        desk.servers.mesh.judge = { from, _, frame in
            from == 1 && frame[4] == FrameKind.arc.rawValue ? .delay(.milliseconds(100)) : .pass
        }
        desk.servers.mesh.handle(.leave, 1)
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "WAIT", "ASYNC", "a")
        let attempts = desk.counter(.requestAttempts)
        #expect(attempts == 1)
        let other = desk.provider(0)
        desk.run(2_000)
        #expect(desk.requests(leaving).isEmpty)
        #expect(desk.requests(other).map(\.payload) == ["x"])
    }

    @Test func `a provider with concurrency 0 takes nothing, and comes again`() {
        let desk = Desk(2)
        let provider = desk.provider(1, concurrency: 1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "a", "ASYNC", "a")
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "b", "ASYNC", "b")
        let given = desk.requests(provider)
        #expect(desk.say(provider, "MESH.SERVE", "sum", "CONCURRENCY", "0") == ["OK"])
        #expect(desk.heard(asker) == ["OK", "OK", "reply → b → NOSERVICE → "].suffix(1))
        #expect(
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x")
                == ["NOSERVICE nobody serves sum"])
        desk.say(provider, "MESH.REPLY", given[0].id, "1")
        #expect(desk.heard(asker) == ["reply → a → OK → 1"])
        #expect(desk.say(provider, "MESH.SERVE", "sum", "CONCURRENCY", "2") == ["OK"])
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "y", "ASYNC", "c")
        #expect(desk.requests(provider).map(\.payload) == ["y"])
        // Once more away: the directory knows it each time.
        #expect(desk.say(provider, "MESH.UNSERVE", "sum") == ["1"])
        let holders = desk.servers.mesh.hosts[0].server.node.holders(
            of: desk.servers.mesh.hasher.key(.service, Array("sum".utf8)))
        #expect(holders.isEmpty)
    }
}

/// MESH.SERVICES.
@Suite struct ServiceListTests {
    @Test func `services are listed with what each node has of them`() throws {
        let desk = Desk(3)
        let providers = [desk.provider(0, concurrency: 1), desk.provider(1), desk.provider(1)]
        _ = desk.provider(2, "mul")
        let asker = desk.open(2)
        // A node is chosen by its load: both get some.
        for number in 0..<12 {
            desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "\(number)")
        }
        desk.run(5)
        var given = providers.map { desk.requests($0) }
        let waiting = 12 - given.map(\.count).reduce(0, +)
        for (provider, requests) in zip(providers, given) {
            guard let first = requests.first else { continue }
            desk.say(provider, "MESH.FAIL", first.id)
        }
        given = zip(given, providers).map { $0 + desk.requests($1) }
        _ = desk.heard(asker)
        #expect(
            desk.say(asker, "MESH.SERVICES", "m*") == ["mul → n2 → 1 → 0 → 0 → 0 → 0 → 0"])
        desk.servers.mesh.send(
            RESPDecoder.command(["MESH.SERVICES"]), from: asker.client, asker.host)
        desk.servers.mesh.settle()
        let line = try #require(desk.heard(asker).last)
        let words = line.components(separatedBy: " → ")
        let rows = stride(from: 0, to: words.count, by: 8).map { Array(words[$0..<$0 + 8]) }
        #expect(rows.map { $0[0] } == ["mul", "sum", "sum"])
        #expect(rows.map { $0[1] } == ["n2", "n0", "n1"])
        #expect(rows.map { $0[2] } == ["1", "1", "2"])
        let open = rows.map { Int($0[3])! + Int($0[4])! }.reduce(0, +)
        let failed = rows.map { Int($0[6])! }.reduce(0, +)
        #expect(open + failed == 12 && failed == given.count { !$0.isEmpty }, "\(rows) \(waiting)")
        #expect(rows.allSatisfy { $0[5] == "0" })
        #expect(rows[2][7] == "5000", "\(rows)")
        #expect(
            desk.say(asker, "MESH.SERVICES", "m", "x") == [
                "ERR syntax error: MESH.SERVICES [pattern]"
            ])
    }

    @Test func `rows that are cut short, or have more than a name, are refused`() {
        var service = Services()
        service.serve([1, 2], 4, ClientIndex(1), id: 1)
        let row = ServiceRow([1, 2], service[service: [1, 2]]!, at: NodeID(7), named: "n")
        let bytes = row.bytes
        #expect(ServiceRow(bytes.span, 0, bytes.count) == row)
        for count in 0..<bytes.count - 1 {
            let cut = ServiceRow(bytes.span, 0, count)
            #expect(cut == nil)
        }
        let long = bytes + [UInt8](repeating: 65, count: 255)
        let read = ServiceRow(long.span, 0, long.count)
        #expect(read == nil)
    }
}
