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

    var grant: ByteQueue {
        var bytes = ByteQueue()
        bytes.append(integer: missed)
        bytes.append(integer: UInt32.max)
        bytes.append(integer: from)
        bytes.append(integer: sent)
        return bytes
    }

    /// The question with which it is handed over.
    var offer: [UInt8] {
        var bytes = ByteQueue()
        bytes.append(SessionTag.handOver)
        token.append(to: &bytes)
        token.append(to: &bytes)
        bytes.append(integer: UInt16(3))
        bytes.append(Array("ann".utf8))
        grant.withSpan { bytes.append($0, 0, $0.count) }
        return bytes.withSpan { Array(copying: $0) }
    }
}

@Suite struct ForgedSessionTests {
    @Test func `counts as high as there can be are summed, session after session`() {
        var harness = Harness()
        for number in 0..<40 {
            let forgery = Forgery(number: number, missed: .max, sent: 1 << 60)
            #expect(harness.asked(forgery.offer) == [1])
            let client = harness.open()
            let reply = harness.exchange(
                client, "MESH.ATTACH ann RESUME \(forgery.token.text) SEEN 0\r\n")
            #expect(reply.hasPrefix("$49·"))
            harness.close(client)
        }
        // Nothing waited, so nothing was repeated.
        let repeated = harness.gateway.counters[.sessionMessagesRepeated]
        #expect(repeated == 0)
    }

    @Test(
        arguments: [
            Forgery(number: 0, from: 1 << 60 + 1), Forgery(number: 0, sent: 1 << 60 + 1),
            Forgery(number: 0, from: .max), Forgery(number: 0, sent: .max),
            Forgery(number: 0, from: 1 << 63, sent: 1 << 63),
        ].map(\.offer)) func `a session with more messages than any has is refused`(
            _ offer: [UInt8]
        )
    {
        var harness = Harness()
        #expect(harness.asked(offer) == [0])
        let malformed = harness.gateway.counters[.answersMalformed]
        #expect(malformed == 1)
        let sessions = harness.gateway.sessionCount
        #expect(sessions == 0)
    }

    @Test(arguments: [UInt64(1) << 60 + 1, 1 << 63, .max])
    func `a grant with more messages than any session has is no grant`(_ sent: UInt64) {
        var harness = Harness(peerCount: 1)
        harness.freezePeers()
        let client = harness.open()
        let forgery = Forgery(number: 0, sent: sent)
        harness.send(
            client, Array("MESH.ATTACH ann RESUME \(forgery.token.text) SEEN 0\r\n".utf8))
        let grant = forgery.grant.withSpan { [1] + Array(copying: $0) }
        harness.forge(grant, from: 1)
        #expect(harness.questions.isEmpty)
        let malformed = harness.gateway.counters[.answersMalformed]
        #expect(malformed == 1)
        #expect(harness.read(client).hasPrefix("-NOSESSION"))
    }

    @Test(arguments: [UInt64(0), 1 << 60, 1 << 60 + 1, 1 << 63, .max - 1, .max])
    func `a client that says it has seen more than there can be does not end the node`(
        _ seen: UInt64
    ) {
        var harness = Harness()
        for number in 0..<20 {
            let forgery = Forgery(number: number, missed: .max, from: 1 << 60, sent: 1 << 60)
            #expect(harness.asked(forgery.offer) == [1])
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
        #expect(Gateway.sumOfLost(1, 2) == 3)
        #expect(Gateway.sumOfLost(.max, .max) == Gateway.unknownCount)
        #expect(Gateway.sumOfLost(Gateway.unknownCount, 1) == Gateway.unknownCount)
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "MESH.GAPS ON\r\n")
        for _ in 0..<3 { harness.gateway.missed(count: .max) }
        let told = harness.read(client)
        #expect(told.contains("gap·$4·node·"))
    }

    @Test func `a session with more than a frame holds goes in several parts`() {
        var configuration = GatewayConfiguration()
        configuration.sessionBytesMax = 128 * 1024 * 1024
        configuration.pubsubOutputLimit.hard = 0
        var pair = Pair(configuration)
        let first = pair.here.open()
        let token = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        let text = String(repeating: "x", count: 12 * 1024 * 1024)
        for _ in 0..<4 { pair.here.deliver(.user, "ann", text) }
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(token)\r\n".utf8))
        pair.settle()
        pair.pass(.seconds(1))
        #expect(pair.largestAnswer <= Gateway.grantBytesMax + 1_024)
        let count = pair.there.readBytes(second).count
        #expect(count > 4 * text.utf8.count)
    }
}
