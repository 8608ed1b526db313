import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

/// Bounds of what clients may send, hold and let wait: one below each bound, at it, and one beyond, as a client sees it.
/// The numbers stand here as they are documented (README, Slow readers, `GatewayConfiguration`).
@Suite struct ClientLimitTests {
    // MARK: Commands

    /// Redis's bound until version 7; announced is enough to be refused.
    @Test(arguments: [
        ("*1048575\r\n", ""), ("*1048576\r\n", ""),
        ("*1048577\r\n", "-ERR Protocol error: invalid multibulk length·"),
        // A message of 64 MiB, and room for its name.
        ("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$67108864\r\n", ""),
        ("*1\r\n$67108864\r\n", ""),
        (
            "*1\r\n$67108865\r\n",
            "-ERR Protocol error: invalid bulk length: 67108865 bytes are more than the 67108864 of "
                + "--message-max, or of an eighth of --memory·"
        ),
        // Redis refuses more than 512 MiB, in these words.
        ("*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length·"),
    ])
    func `a command has a bounded number of arguments, and each a length`(
        announced: String, answer: String
    ) {
        var harness = Harness()
        let client = harness.open()
        let got = harness.exchange(client, announced)
        #expect(got == answer)
        #expect(harness.ended.contains(client) == !answer.isEmpty)
    }

    @Test(arguments: [
        ("*10\r\n", ""), ("*11\r\n", "-ERR Protocol error: unauthenticated multibulk length·"),
        ("*2\r\n$4\r\nAUTH\r\n$16384\r\n", ""),
        (
            "*2\r\n$4\r\nAUTH\r\n$16385\r\n",
            "-ERR Protocol error: unauthenticated bulk length·"
        ),
    ])
    func `before AUTH ten arguments of 16 KiB may come`(announced: String, answer: String) {
        var configuration = GatewayConfiguration()
        configuration.credentials.password = "p"
        var harness = Harness(configuration)
        let got = harness.exchange(harness.open(), announced)
        #expect(got == answer)
    }

    @Test(arguments: [
        ("MESH.ATTACH", 1, 512), ("MESH.WATCH", 1, 512), ("SUBSCRIBE", 0, 65_535),
        ("SSUBSCRIBE", 0, 65_535), ("PSUBSCRIBE", 0, 1_024),
    ])
    func `names have their lengths`(name: String, least: Int, most: Int) {
        for length in [least - 1, least, most - 1, most, most + 1] where length >= 0 {
            var harness = Harness()
            let client = harness.open(3)
            let text = [UInt8](repeating: 0x61, count: length)
            let answer = harness.exchange(client, [Array(name.utf8), text])
            let isRefused = length < least || length > most
            #expect(answer.hasPrefix("-ERR") == isRefused, "\(name) of \(length) bytes")
        }
    }

    // MARK: What a node's clients hold

    @Test func `a node's clients have so many patterns and no more`() {
        var configuration = GatewayConfiguration()
        #expect(configuration.patternCountMax == 65_535)
        configuration.patternCountMax = 16_384
        var harness = Harness(configuration)
        let (one, other) = (harness.open(3), harness.open(3))
        let patterns = (1...16_383).map { Array("\($0)*".utf8) }
        harness.send(one, command([Array("PSUBSCRIBE".utf8)] + patterns))
        // So many take several turns.
        harness.pass(.milliseconds(50))
        _ = harness.read(one)
        let last = harness.exchange(other, "PSUBSCRIBE a*\r\n")
        #expect(!last.hasPrefix("-ERR"))
        let refused = harness.exchange(one, "PSUBSCRIBE b*\r\n")
        #expect(refused == "-ERR a node has at most 16384 patterns·")
        // One that is there already is no other, and one that has gone leaves its place.
        let same = harness.exchange(one, "PSUBSCRIBE a*\r\n")
        #expect(!same.hasPrefix("-ERR"))
        _ = harness.exchange(one, "PUNSUBSCRIBE 1*\r\n")
        let next = harness.exchange(other, "PSUBSCRIBE b*\r\n")
        #expect(!next.hasPrefix("-ERR"))
    }

    /// Each name counts once, however many have it.
    @Test(arguments: [(99, false), (100, false), (101, true)])
    func `names have so many bytes together`(bytes: Int, isRefused: Bool) {
        var configuration = GatewayConfiguration()
        configuration.nameBytesMax = 100
        var harness = Harness(configuration)
        for _ in 0..<2 {
            let client = harness.open(3)
            _ = harness.exchange(client, "SUBSCRIBE \(String(repeating: "a", count: 50))\r\n")
        }
        let rest = String(repeating: "b", count: bytes - 50)
        let answer = harness.exchange(harness.open(3), "SUBSCRIBE \(rest)\r\n")
        #expect(answer.hasPrefix("-ERR") == isRefused)
    }

    @Test func `subscriptions, attachments and watches are counted together`() {
        var configuration = GatewayConfiguration()
        configuration.subscriptionCountMax = 4
        var harness = Harness(configuration)
        let (one, other) = (harness.open(3), harness.open(3))
        _ = harness.exchange(one, "SUBSCRIBE a\r\nMESH.WATCH u\r\n")
        let last = harness.exchange(other, "SUBSCRIBE a\r\nMESH.ATTACH u\r\n")
        #expect(!last.contains("-ERR"))
        for command in [
            "SUBSCRIBE b", "PSUBSCRIBE b", "SSUBSCRIBE b", "MESH.ATTACH v", "MESH.WATCH v",
        ] {
            let answer = harness.exchange(other, "\(command)\r\n")
            #expect(answer.hasPrefix("-ERR"), "\(command)")
        }
    }

    @Test func `a node has so many sessions, with and without a connection`() {
        var configuration = GatewayConfiguration()
        configuration.sessionsMax = 3
        var harness = Harness(configuration)
        let gone = harness.open(3)
        for user in ["a", "b"] { _ = harness.exchange(gone, "MESH.ATTACH \(user) SESSION\r\n") }
        harness.close(gone)
        let client = harness.open(3)
        let third = harness.exchange(client, "MESH.ATTACH c SESSION\r\n")
        #expect(third.hasPrefix("$49"))
        let fourth = harness.exchange(client, "MESH.ATTACH d SESSION\r\n")
        #expect(fourth == "-ERR this node has all the sessions that it may have·")
        // Without a session there is no bound on users.
        let plain = harness.exchange(client, "MESH.ATTACH d\r\n")
        #expect(!plain.hasPrefix("-ERR"))
    }
}

/// Messages that wait.
extension ClientLimitTests {
    /// A message to ann is 29 bytes as an array and so many of its text, and counts with 32 more.
    private func size(_ text: String) -> Int {
        message(text).replacing("·", with: "\r\n").utf8.count + 32
    }

    @Test(arguments: [-1, 0, 1])
    func `three messages wait for a session where bytes for three are kept`(beyond: Int) {
        var configuration = GatewayConfiguration()
        configuration.sessionBytesMax = 3 * size("a") + beyond
        var pair = Pair(configuration)
        let first = pair.here.open()
        let token = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        for text in ["a", "b", "c", "d"] { pair.here.deliver(.user, "ann", text) }
        let reply = pair.here.exchange(pair.here.open(), "MESH.ATTACH ann RESUME \(token)\r\n")
        let kept = beyond < 0 ? ["c", "d"] : ["b", "c", "d"]
        #expect(reply.hasSuffix(kept.map { message($0) }.joined()))
        #expect(reply.contains(":\(4 - kept.count)·:"))
    }

    @Test(arguments: [2, 3, 4])
    func `three messages wait for a session that may have three`(sent: Int) {
        var configuration = GatewayConfiguration()
        configuration.sessionCountMax = 3
        var pair = Pair(configuration)
        let first = pair.here.open()
        let token = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        for number in 1...sent { pair.here.deliver(.user, "ann", "\(number)") }
        let reply = pair.here.exchange(pair.here.open(), "MESH.ATTACH ann RESUME \(token)\r\n")
        let kept = (max(1, sent - 2)...sent).map { message("\($0)") }.joined()
        #expect(reply.hasSuffix(kept))
        #expect(reply.contains("$3·gap·") == (sent > 3))
    }

    /// The socket takes nothing, and 128 KiB wait for it already: what comes now waits in the queue.
    @Test(arguments: ["drop-oldest", "drop-newest", "latest"], [-1, 0, 1])
    func `three messages wait for a slow reader that has room for three`(
        policy: String, beyond: Int
    ) {
        // `*3·$7·message·$1·a·$1·1·` are 31 bytes.
        var configuration = GatewayConfiguration()
        configuration.slowBytesMax = 3 * (31 + 32) + beyond
        var harness = Harness(configuration)
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a b c d\r\n")
        let other = harness.open(3)
        _ = harness.exchange(other, "MESH.POLICY \(policy)\r\nSUBSCRIBE a b c d\r\n")
        harness.deliver(.channel, "a", String(repeating: "x", count: 131_072))
        _ = harness.read(client)
        for (name, text) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
            harness.deliver(.channel, name, text)
        }
        let all = harness.read(client)
        #expect(all.count { $0 == "*" } == 4)
        let got = harness.read(other).split(separator: "·").filter { $0.count == 1 }
            .compactMap { Int($0) }
        let room = beyond < 0 ? 2 : 3
        #expect(got == (policy == "drop-newest" ? Array(1...room) : Array((5 - room)...4)))
    }

    /// 31 bytes each: ten of them are 310.
    @Test(arguments: [(309, true), (310, false), (311, false)])
    func `a subscriber is ended whose output is longer than the hard limit`(
        hard: Int, isEnded: Bool
    ) {
        var configuration = GatewayConfiguration()
        configuration.pubsubOutputLimit = OutputLimit(
            hard: hard, soft: 0, softDuration: .seconds(60))
        var harness = Harness(configuration)
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        for number in 0..<10 { harness.deliver(.channel, "a", "\(number)") }
        #expect(harness.gateway.hub.isDoomed(client) == isEnded)
        let read = harness.read(client)
        #expect(read.utf8.count == (isEnded ? 0 : 310))
    }

    @Test(arguments: [(309, 59_999, false), (309, 60_001, true), (310, 60_001, false)])
    func `above the soft limit a subscriber may be for its time`(
        soft: Int, milliseconds: Int64, isEnded: Bool
    ) {
        var configuration = GatewayConfiguration()
        configuration.pubsubOutputLimit = OutputLimit(
            hard: 10_000, soft: soft, softDuration: .seconds(60))
        var harness = Harness(configuration)
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        for number in 0..<10 { harness.deliver(.channel, "a", "\(number)") }
        let start = harness.now
        let atOnce = harness.gateway.hub.overdue(at: start)
        #expect(atOnce == [])
        let overdue = harness.gateway.hub.overdue(at: start + .milliseconds(milliseconds))
        #expect(overdue == (isEnded ? [client] : []))
    }
}
