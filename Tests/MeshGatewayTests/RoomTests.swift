import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

/// The node's bounds count what would be new.
@Suite struct RoomTests {
    private static let refusal = "-ERR this node has all the subscriptions that it may have·"

    /// Subscribes to very many patterns, which takes several turns.
    private func subscribe(
        _ client: ClientIndex, _ patterns: [[UInt8]], _ harness: inout Harness
    ) -> String {
        harness.send(client, command([Array("PSUBSCRIBE".utf8)] + patterns))
        harness.pass(.milliseconds(50))
        return harness.read(client)
    }

    @Test func `the same 9,000 patterns fit on a second connection`() {
        var configuration = GatewayConfiguration()
        configuration.patternCountMax = 16_384
        var harness = Harness(configuration)
        let names = (0..<9_000).map { Array("doc:\($0):*".utf8) }
        for _ in 0..<2 {
            let client = harness.open()
            let answer = subscribe(client, names, &harness)
            #expect(answer.hasSuffix(":9000·"), "\(answer.prefix(70))")
        }
        let count = harness.gateway.hub.patternCount
        #expect(count == 9_000)
        let third = harness.open()
        let others = (0..<9_000).map { Array("other:\($0):*".utf8) }
        let refused = subscribe(third, others, &harness)
        #expect(refused == "-ERR a node has at most 16384 patterns·")
        // Up to the bound: one that is there, one twice, and as many as are left.
        let rest = (0..<16_384 - 9_000).map { Array("other:\($0):*".utf8) }
        let taken = subscribe(third, [names[0], rest[0]] + rest, &harness)
        #expect(taken.hasSuffix(":\(rest.count + 1)·"), "\(taken.prefix(70))")
        let one = harness.exchange(third, "PSUBSCRIBE one:*\r\n")
        #expect(one == "-ERR a node has at most 16384 patterns·")
    }

    @Test(arguments: ["SUBSCRIBE", "SSUBSCRIBE", "PSUBSCRIBE", "MESH.WATCH"])
    func `a client at the bound may name what it has`(_ word: String) {
        var configuration = GatewayConfiguration()
        configuration.subscriptionCountMax = 3
        configuration.nameBytesMax = 6
        var harness = Harness(configuration)
        let client = harness.open(3)
        let first = harness.exchange(client, "\(word) aa bb\r\n")
        #expect(!first.contains("-ERR"))
        for line in ["aa bb", "aa aa aa aa bb", "bb"] {
            let again = harness.exchange(client, "\(word) \(line)\r\n")
            #expect(!again.contains("-ERR"), "\(line)")
        }
        // A new one counts once, however often it is named.
        let refused = harness.exchange(client, "\(word) aa cc dd\r\n")
        #expect(refused == Self.refusal)
        let twice = harness.exchange(client, "\(word) cc cc aa\r\n")
        #expect(!twice.contains("-ERR"))
        let full = harness.exchange(client, "\(word) dd\r\n")
        #expect(full == Self.refusal)
        let count = harness.gateway.hub.subscriptionCount
        #expect(count == 3)
    }

    @Test func `names that are here do not count for another client, its subscriptions do`() {
        var configuration = GatewayConfiguration()
        configuration.subscriptionCountMax = 5
        configuration.nameBytesMax = 4
        var harness = Harness(configuration)
        let one = harness.open(3)
        _ = harness.exchange(one, "SUBSCRIBE aa bb\r\n")
        let two = harness.open(3)
        let same = harness.exchange(two, "SUBSCRIBE aa bb\r\n")
        #expect(!same.contains("-ERR"))
        let three = harness.open(3)
        let many = harness.exchange(three, "SUBSCRIBE aa bb\r\n")
        #expect(many == Self.refusal)
        let last = harness.exchange(three, "SUBSCRIBE bb\r\n")
        #expect(!last.contains("-ERR"))
    }

    @Test func `an attachment counts as one, without the words that follow it`() {
        var configuration = GatewayConfiguration()
        configuration.subscriptionCountMax = 1
        configuration.nameBytesMax = 3
        var harness = Harness(configuration)
        let client = harness.open()
        let reply = harness.exchange(client, "MESH.ATTACH ann SESSION COUNTED\r\n")
        #expect(reply.hasPrefix("$49·"))
        let again = harness.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        #expect(again == reply)
        let plain = harness.exchange(client, "MESH.ATTACH ann\r\n")
        #expect(plain == "+OK·")
        let other = harness.exchange(client, "MESH.ATTACH bob\r\n")
        #expect(other == Self.refusal)
        // The session waits with the same subscription, and goes on with it.
        harness.close(client)
        let next = harness.open()
        let resumed = harness.exchange(
            next, "MESH.ATTACH ann RESUME \(sessionToken(reply)) SEEN 0\r\n")
        #expect(resumed.hasPrefix("$49·"))
    }
}
