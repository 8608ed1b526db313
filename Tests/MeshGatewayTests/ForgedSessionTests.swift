import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

/// A session as another node hands it over.
private struct Forgery {
    var number: Int
    var missed: UInt32 = 0
    var from: UInt64 = 1
    var sent: UInt64 = 0

    var token: SessionToken { SessionToken(node: NodeID(2), high: 7, low: UInt64(number)) }

    /// The part with which it begins.
    var beginning: [UInt8] {
        var bytes = ByteQueue()
        bytes.append(.beginning, UInt64(number + 1))
        token.append(to: &bytes)
        token.append(to: &bytes)
        bytes.append(integer: missed)
        bytes.append(integer: UInt32.max)
        bytes.append(integer: from)
        bytes.append(integer: sent)
        bytes.append(Array("ann".utf8))
        return bytes.withSpan { Array(copying: $0) }
    }

    /// A part of it that follows.
    func part(_ kind: SessionPartKind, _ rest: [UInt8] = []) -> [UInt8] {
        var bytes = ByteQueue()
        bytes.append(kind, UInt64(number + 1))
        bytes.append(rest)
        return bytes.withSpan { Array(copying: $0) }
    }
}

@Suite struct ForgedSessionTests {
    @Test func `counts as high as there can be are summed, session after session`() {
        var harness = Harness()
        for number in 0..<40 {
            let forgery = Forgery(number: number, missed: .max, sent: 1 << 60)
            harness.receivePart(forgery.beginning)
            let client = harness.open()
            let reply = harness.exchange(
                client, "MESH.ATTACH ann RESUME \(forgery.token.text) SEEN 0\r\n")
            #expect(reply.hasPrefix("$49·"))
            harness.close(client)
        }
        // Nothing waited, so nothing was repeated.
        let repeated = harness.gateway.hub.counters[.sessionMessagesRepeated]
        #expect(repeated == 0)
    }

    @Test(
        arguments: [
            Forgery(number: 0, from: 1 << 60 + 1), Forgery(number: 0, sent: 1 << 60 + 1),
            Forgery(number: 0, from: .max), Forgery(number: 0, sent: .max),
            Forgery(number: 0, from: 1 << 63, sent: 1 << 63),
        ].map(\.beginning)) func `a session with more messages than any has is refused`(
            _ beginning: [UInt8]
        )
    {
        var harness = Harness()
        harness.receivePart(beginning)
        let malformed = harness.gateway.hub.counters[.answersMalformed]
        #expect(malformed == 1)
        let sessions = harness.gateway.hub.sessionCount
        #expect(sessions == 0)
    }

    @Test func `a session that does not begin as it should is waited for in vain`() {
        var harness = Harness(peerCount: 1)
        harness.freezePeers()
        let client = harness.open()
        let forgery = Forgery(number: 0, sent: .max)
        harness.send(
            client, Array("MESH.ATTACH ann RESUME \(forgery.token.text) SEEN 0\r\n".utf8))
        harness.forge([1, 1, 0, 0, 0, 0, 0, 0, 0], from: 1)
        harness.receivePart(forgery.beginning)
        let malformed = harness.gateway.hub.counters[.answersMalformed]
        #expect(malformed == 1)
        harness.thawPeers()
        harness.pass(.milliseconds(10_100))
        #expect(harness.questions.isEmpty)
        #expect(harness.read(client).hasPrefix("-TRYAGAIN"))
    }

    @Test func `a stream that is none is broken off, and the loss announced`() {
        let payload = [UInt8](repeating: 0, count: 12)
        let streams: [[[UInt8]]] = [
            [[0xFF, 0xFF, 0xFF, 0xFF] + payload],
            [[0xFF], [0xFF, 0xFF], [0xFF] + payload],
        ]
        for (number, stream) in streams.enumerated() {
            var harness = Harness()
            let forgery = Forgery(number: number, from: 0)
            harness.receivePart(forgery.beginning)
            let client = harness.open()
            _ = harness.exchange(client, "MESH.ATTACH ann RESUME \(forgery.token.text)\r\n")
            for part in stream { harness.receivePart(forgery.part(.messages, part)) }
            #expect(harness.read(client) == "*5·$3·gap·$4·user·$3·ann·:0·:0·")
            // The rest is of no session.
            harness.receivePart(forgery.part(.missed, [1, 0, 0, 0]))
            harness.receivePart(forgery.part(.end))
            #expect(harness.read(client) == "")
            let awaits = harness.gateway.hub.awaitsSessions
            #expect(!awaits)
        }
    }

    @Test func `a message that ends before its last byte is announced as lost`() {
        var harness = Harness()
        let forgery = Forgery(number: 0, from: 0)
        harness.receivePart(forgery.beginning)
        let client = harness.open()
        _ = harness.exchange(client, "MESH.ATTACH ann RESUME \(forgery.token.text)\r\n")
        var whole = ByteQueue()
        whole.append(integer: UInt32(3))
        whole.append(NodeID(9))
        whole.append(integer: UInt32(1))
        whole.append(Array("abc".utf8))
        let bytes = whole.withSpan { Array(copying: $0) }
        for byte in bytes.dropLast() { harness.receivePart(forgery.part(.messages, [byte])) }
        // It begins anew.
        harness.receivePart(forgery.part(.missed, [2, 0, 0, 0]))
        harness.receivePart(forgery.part(.messages, bytes + bytes.prefix(5)))
        harness.receivePart(forgery.part(.end))
        let gap = "*5·$3·gap·$4·user·$3·ann·"
        // Notices go ahead of messages that wait.
        #expect(
            harness.read(client) == gap + ":2·:0·" + gap + ":0·:0·" + message("abc"))
    }

    @Test(arguments: [UInt64(0), 1 << 60, 1 << 60 + 1, 1 << 63, .max - 1, .max])
    func `a client that says it has seen more than there can be does not end the node`(
        _ seen: UInt64
    ) {
        var harness = Harness()
        for number in 0..<20 {
            let forgery = Forgery(number: number, missed: .max, from: 1 << 60, sent: 1 << 60)
            harness.receivePart(forgery.beginning)
            for _ in 0..<20 {
                let client = harness.open()
                let reply = harness.exchange(
                    client, "MESH.ATTACH ann RESUME \(forgery.token.text) SEEN \(seen)\r\n")
                #expect(reply.hasPrefix("$49·") || reply.hasPrefix("-ERR"))
                harness.close(client)
            }
            // By the node's questions too.
            var question = ByteQueue()
            question.append(SessionTag.take)
            forgery.token.append(to: &question)
            question.append(integer: seen)
            question.append(Array("ann".utf8))
            _ = harness.asked(question.withSpan { Array(copying: $0) })
        }
    }

    @Test func `lost messages beyond what can be told are an unknown number`() {
        #expect(Hub.sumOfLost(1, 2) == 3)
        #expect(Hub.sumOfLost(.max, .max) == Hub.unknownCount)
        #expect(Hub.sumOfLost(Hub.unknownCount, 1) == Hub.unknownCount)
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "MESH.GAPS ON\r\n")
        for _ in 0..<3 { harness.gateway.hub.missed(count: .max) }
        let told = harness.read(client)
        #expect(told.contains("gap·$4·node·"))
    }

    @Test func `a session with more than a frame holds goes in small parts`() {
        var configuration = GatewayConfiguration()
        configuration.sessionBytesMax = 128 * 1024 * 1024
        configuration.pubsubOutputLimit.hard = 0
        var pair = Pair(configuration)
        let first = pair.here.open()
        let token = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        let text = String(repeating: "x", count: 12 * 1024 * 1024)
        for _ in 0..<4 { pair.here.deliver(.user, "ann", text) }
        var largest = 0
        pair.judgeParts { frame in
            largest = max(largest, frame.count)
            return .pass
        }
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(token)\r\n".utf8))
        pair.settle()
        pair.pass(.seconds(2))
        #expect(64 * 1024...66 * 1024 ~= largest)
        let count = pair.there.readBytes(second).count
        #expect(count > 4 * text.utf8.count)
    }
}
