import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// One user does not take the places of all, however many connections it has.
@Suite struct UserLimitTests {
    private static func configuration(
        _ limits: KeyValuePairs<UserLimits.Kind, Int>
    ) -> GatewayConfiguration {
        var configuration = GatewayConfiguration()
        for (kind, count) in limits { configuration.userLimits[kind] = count }
        return configuration
    }

    private static func refusal(_ kind: UserLimits.Kind, _ count: Int) -> String {
        "-LIMIT a user has at most \(count) \(kind.rawValue) at a node "
            + "(--user-limit '\(kind.rawValue) N')·"
    }

    @Test func `a user has so many connections, and sessions that wait take their places`() {
        var harness = Harness(Self.configuration([.connections: 3]))
        let refusal = Self.refusal(.connections, 3)
        let clients = (0..<3).map { _ in harness.open() }
        let token = sessionToken(harness.exchange(clients[0], "MESH.ATTACH ann SESSION\r\n"))
        for client in clients[1...] {
            #expect(harness.exchange(client, "MESH.ATTACH ann\r\n") == "+OK·")
        }
        let late = harness.open()
        #expect(harness.exchange(late, "MESH.ATTACH ann\r\n") == refusal)
        #expect(harness.exchange(late, "MESH.ATTACH ann SESSION\r\n") == refusal)
        // It is attached already, and another user has its own bound.
        #expect(harness.exchange(clients[2], "MESH.ATTACH ann\r\n") == "+OK·")
        #expect(harness.exchange(late, "MESH.ATTACH bob\r\n") == "+OK·")
        harness.close(clients[0])
        #expect(harness.exchange(late, "MESH.ATTACH ann\r\n") == refusal)
        // The session's place is its client's.
        let again = harness.open()
        #expect(harness.exchange(again, "MESH.ATTACH ann RESUME \(token)\r\n").hasPrefix("$49·"))
        #expect(harness.exchange(clients[1], "MESH.DETACH ann\r\n") == ":1·")
        #expect(harness.exchange(late, "MESH.ATTACH ann\r\n") == "+OK·")
        let met = harness.gateway.hub.counters[.userLimitsMet]
        #expect(met == 3)
        #expect(harness.troubles("userLimitsMet", "user") == ["ann"])
    }

    @Test func `a connection that has gone gives its place back at once`() {
        var harness = Harness(Self.configuration([.connections: 1, .subscriptions: 30_000]))
        let first = harness.open()
        _ = harness.exchange(first, "MESH.ATTACH ann\r\n")
        // So many that they end over several turns.
        let names = (0..<30_000).map { Array("n\($0)".utf8) }
        harness.send(first, command([Array("SUBSCRIBE".utf8)] + names))
        harness.pass(.milliseconds(100))
        let charge = harness.gateway.hub.charge(of: "ann")
        #expect(charge == UserCharges.Charge(subscriptions: 30_000))
        harness.close(first)
        let hasGone = harness.gateway.hub.hasGone
        #expect(hasGone)
        let rest = harness.gateway.hub.charge(of: "ann")
        #expect(rest == UserCharges.Charge())
        let second = harness.open()
        #expect(harness.exchange(second, "MESH.ATTACH ann\r\n") == "+OK·")
        harness.pass(.milliseconds(100))
        let count = harness.gateway.hub.userCharges.count
        #expect(count == 0)
    }

    @Test func `a user has so many sessions, with and without a connection`() {
        var harness = Harness(Self.configuration([.sessions: 2]))
        let clients = (0..<3).map { _ in harness.open() }
        let first = sessionToken(harness.exchange(clients[0], "MESH.ATTACH ann SESSION\r\n"))
        let second = sessionToken(harness.exchange(clients[1], "MESH.ATTACH ann SESSION\r\n"))
        #expect(
            harness.exchange(clients[2], "MESH.ATTACH ann SESSION\r\n")
                == Self.refusal(.sessions, 2))
        // The connection has the session already, and no session is needed to be attached.
        #expect(
            harness.exchange(clients[1], "MESH.ATTACH ann SESSION\r\n") == "$49·\(second)·")
        #expect(harness.exchange(clients[2], "MESH.ATTACH ann\r\n") == "+OK·")
        harness.close(clients[0])
        #expect(
            harness.exchange(clients[2], "MESH.ATTACH ann SESSION\r\n")
                == Self.refusal(.sessions, 2))
        let again = harness.open()
        #expect(harness.exchange(again, "MESH.ATTACH ann RESUME \(first)\r\n").hasPrefix("$49·"))
        harness.close(again)
        harness.pass(.seconds(11))
        #expect(harness.exchange(clients[2], "MESH.ATTACH ann SESSION\r\n").hasPrefix("$49·"))
    }

    @Test(arguments: ["SUBSCRIBE", "SSUBSCRIBE", "MESH.WATCH"])
    func `a user has so many subscriptions over all its connections`(_ word: String) {
        var harness = Harness(Self.configuration([.subscriptions: 4]))
        let (first, second) = (harness.open(3), harness.open(3))
        for client in [first, second] { _ = harness.exchange(client, "MESH.ATTACH ann\r\n") }
        #expect(!harness.exchange(first, "\(word) a b c\r\n").contains("LIMIT"))
        let refusal = Self.refusal(.subscriptions, 4)
        #expect(harness.exchange(second, "\(word) a b\r\n") == refusal)
        // Each name once, and not those that it has.
        #expect(!harness.exchange(second, "\(word) a a\r\n").contains("LIMIT"))
        #expect(harness.exchange(first, "\(word) d\r\n") == refusal)
        #expect(!harness.exchange(first, "\(word) a b\r\n").contains("LIMIT"))
        // Patterns have a bound of their own, and other clients none of this kind.
        #expect(!harness.exchange(first, "PSUBSCRIBE a*\r\n").contains("LIMIT"))
        let other = harness.open(3)
        #expect(!harness.exchange(other, "\(word) a b c d e f\r\n").contains("LIMIT"))
        // With what it has it cannot be attached as the user.
        #expect(harness.exchange(other, "MESH.ATTACH ann\r\n") == refusal)
        harness.close(first)
        #expect(harness.exchange(other, "MESH.ATTACH ann\r\n") == refusal)
        harness.close(second)
        #expect(harness.exchange(other, "MESH.ATTACH ann\r\n") == refusal)
        let charge = harness.gateway.hub.userCharges.count
        #expect(charge == 0)
    }

    @Test func `a user has so many patterns over all its connections`() {
        var harness = Harness(Self.configuration([.patterns: 2]))
        let (first, second) = (harness.open(3), harness.open(3))
        for client in [first, second] { _ = harness.exchange(client, "MESH.ATTACH ann\r\n") }
        #expect(!harness.exchange(first, "PSUBSCRIBE a*\r\n").contains("LIMIT"))
        #expect(!harness.exchange(second, "PSUBSCRIBE a*\r\n").contains("LIMIT"))
        #expect(harness.exchange(second, "PSUBSCRIBE b*\r\n") == Self.refusal(.patterns, 2))
        _ = harness.exchange(first, "PUNSUBSCRIBE\r\n")
        #expect(!harness.exchange(second, "PSUBSCRIBE b*\r\n").contains("LIMIT"))
    }

    @Test func `very many names at once are counted before the first is subscribed to`() {
        var harness = Harness(Self.configuration([.subscriptions: 2_000]))
        let client = harness.open(3)
        _ = harness.exchange(client, "MESH.ATTACH ann\r\n")
        let names = (0..<2_001).map { Array("n\($0)".utf8) }
        harness.send(client, command([Array("SUBSCRIBE".utf8)] + names))
        harness.pass(.milliseconds(10))
        #expect(harness.read(client) == Self.refusal(.subscriptions, 2_000))
        let none = harness.gateway.hub.charge(of: "ann")
        #expect(none == UserCharges.Charge())
        harness.send(client, command([Array("SUBSCRIBE".utf8)] + names.dropLast()))
        harness.pass(.milliseconds(10))
        #expect(!harness.read(client).contains("LIMIT"))
        let all = harness.gateway.hub.charge(of: "ann")
        #expect(all == UserCharges.Charge(subscriptions: 2_000))
    }

    @Test func `a session that is taken up brings no more than its user may have`() {
        var harness = Harness(Self.configuration([.subscriptions: 4]))
        let (old, next) = (harness.open(3), harness.open(3))
        let token = sessionToken(harness.exchange(old, "MESH.ATTACH ann SESSION\r\n"))
        _ = harness.exchange(old, "SUBSCRIBE a b c\r\n")
        _ = harness.exchange(next, "SUBSCRIBE a b c d e\r\n")
        let refused = harness.exchange(next, "MESH.ATTACH ann RESUME \(token)\r\n")
        #expect(refused == Self.refusal(.subscriptions, 4))
        _ = harness.exchange(next, "UNSUBSCRIBE e\r\n")
        // Those of the connection that it leaves do not count.
        let reply = harness.exchange(next, "MESH.ATTACH ann RESUME \(token)\r\n")
        #expect(reply.hasPrefix("$49·"))
        let charge = harness.gateway.hub.charge(of: "ann")
        #expect(charge == UserCharges.Charge(subscriptions: 4))
    }

    @Test func `sessions that come from another node count there and here`() {
        var pair = Pair(Self.configuration([.sessions: 1]))
        let first = pair.here.open()
        let token = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        let other = pair.there.open()
        let held = sessionToken(pair.there.exchange(other, "MESH.ATTACH ann SESSION\r\n"))
        let client = pair.there.open()
        let refused = pair.there.exchange(client, "MESH.ATTACH ann RESUME \(token)\r\n")
        #expect(refused == Self.refusal(.sessions, 1))
        _ = pair.there.exchange(other, "MESH.DETACH ann\r\n")
        pair.there.send(client, Array("MESH.ATTACH ann RESUME \(token)\r\n".utf8))
        pair.settle()
        let moved = pair.there.read(client)
        #expect(moved.hasPrefix("$49·") && !moved.contains(held))
        let there = pair.there.gateway.hub.sessions.count(of: Array("ann".utf8))
        #expect(there == 1)
        // The old node forgets it when all of it has gone.
        pair.pass(.seconds(5))
        let here = pair.here.gateway.hub.sessions.count(of: Array("ann".utf8))
        #expect(here == 0)
        let next = pair.here.open()
        #expect(pair.here.exchange(next, "MESH.ATTACH ann SESSION\r\n").hasPrefix("$49·"))
    }

    @Test func `limits are read in pairs, and stay in their range`() {
        var limits = UserLimits()
        #expect(limits.set("sessions 8 patterns 10000000") == nil)
        #expect(limits[.sessions] == 8 && limits[.patterns] == 10_000_000)
        for (text, fault) in [
            ("", UserLimits.Fault.wordCount), ("sessions", .wordCount),
            ("Sessions 8", .unknownKind),
            ("sessions 0", .value), ("sessions 10000001", .value), ("sessions -1", .value),
            ("sessions 9223372036854775808", .value),
        ] {
            #expect(limits.set(text) == fault, "\(text)")
        }
        for kind in UserLimits.Kind.allCases {
            limits[kind] = .max
            #expect(limits[kind] == 10_000_000)
            limits[kind] = .min
            #expect(limits[kind] == 1)
        }
    }
}

extension Hub {
    /// The subscriptions that are charged to the user.
    mutating func charge(of user: String) -> UserCharges.Charge {
        let name = Array(user.utf8)
        let topic = registry.topics.find(.user, hasher.key(.user, name), name.span, 0, name.count)
        return topic.isNone ? UserCharges.Charge() : userCharges[topic]
    }

    /// The clients that are attached as the user, with the sessions of its that wait.
    mutating func placeCount(of user: String) -> Int {
        let name = Array(user.utf8)
        let topic = registry.topics.find(.user, hasher.key(.user, name), name.span, 0, name.count)
        return topic.isNone ? 0 : receiverCount(topic)
    }
}
