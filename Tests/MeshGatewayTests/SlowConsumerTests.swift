import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// Messages that have left a server.
private final class SentMessages {
    var areVolatile: [Bool] = []
    var bodies: [RoutedBody] = []

    func note(_ frame: [UInt8]) {
        guard frame[4] == FrameKind.routed.rawValue, let body = RoutedBody(rawValue: frame[7]),
            body != .control
        else { return }
        bodies.append(body)
        areVolatile.append(FrameFlags(rawValue: frame[5]).contains(.volatile))
    }
}

@Suite struct SlowConsumerTests {
    /// The one that `stalled` opens.
    private let client = ClientIndex(0)

    /// A gateway whose queues hold 20 small messages, and a subscriber of `a` and `b` that has so
    /// much to read that all that comes now waits.
    private func stalled(
        _ policy: String, _ wishes: String = "", protocolVersion: Int = 3
    ) -> Harness {
        var configuration = GatewayConfiguration()
        configuration.slowBytesMax = 20 * (36 + WaitingMessages.entryCost)
        var harness = Harness(configuration)
        precondition(harness.open(protocolVersion) == client)
        _ = harness.exchange(client, "SUBSCRIBE a b\r\nMESH.POLICY \(policy)\r\n\(wishes)")
        let large = String(repeating: "x", count: Hub.aheadBytes)
        harness.deliver(.channel, "a", large)
        return harness
    }

    /// `>3 message a 00` …: the payloads of what the client reads, and gap notices whole.
    private func payloads(_ text: String) -> [String] {
        var result: [String] = []
        var words = text.split(separator: "·").map(String.init)[...]
        while let head = words.popFirst() {
            let count = Int(head.dropFirst())!
            var frame: [String] = []
            for _ in 0..<count {
                let word = words.popFirst()!
                if word.hasPrefix(":") {
                    frame.append(word)
                } else if word == "$0" {
                    frame.append("")
                    if words.first == "" { words.removeFirst() }
                } else {
                    frame.append(words.popFirst()!)
                }
            }
            if frame[0] == "gap" {
                result.append(frame.dropFirst().joined(separator: " "))
            } else if frame[2].utf8.count < 100 {
                result.append(frame[2])
            }
        }
        return result
    }

    private func deliver(_ harness: inout Harness, _ numbers: Range<Int>, _ channel: String = "a") {
        for number in numbers {
            harness.deliver(.channel, channel, number < 10 ? "0\(number)" : "\(number)")
        }
    }

    @Test func `drop-oldest keeps the newest messages in order and tells of the rest first`() {
        var harness = stalled("drop-oldest", "MESH.GAPS ON\r\n")
        deliver(&harness, 0..<30)
        harness.pass(.milliseconds(7))
        let got = payloads(harness.read(client))
        #expect(got.first == "channel a :\(31 - got.count) :7")
        #expect(
            Array(got.dropFirst()) == (31 - got.count..<30).map { $0 < 10 ? "0\($0)" : "\($0)" })
        #expect(got.count > 15)
        #expect(harness.gateway.hub.counters[.droppedOldest] == UInt64(31 - got.count))
        deliver(&harness, 30..<31)
        let live = payloads(harness.read(client))
        #expect(live == ["30"])
    }

    @Test func `drop-newest keeps what came first and tells of the rest behind it`() {
        var harness = stalled("drop-newest", "MESH.GAPS ON\r\n")
        deliver(&harness, 0..<30)
        let got = payloads(harness.read(client))
        let kept = got.count - 1
        #expect(Array(got.prefix(kept)) == (0..<kept).map { $0 < 10 ? "0\($0)" : "\($0)" })
        #expect(got.last == "channel a :\(30 - kept) :0")
        #expect(harness.gateway.hub.counters[.droppedNewest] == UInt64(30 - kept))
    }

    @Test func `latest keeps the newest message of each channel`() {
        var harness = stalled("latest", "MESH.GAPS ON\r\n")
        for number in 10..<1_000 {
            harness.deliver(.channel, number % 3 == 0 ? "a" : "b", "\(number)")
        }
        let got = payloads(harness.read(client))
        #expect(got == ["channel b :659 :0", "channel a :329 :0", "998", "999"])
        #expect(harness.gateway.hub.counters[.droppedSuperseded] == 988)
    }

    @Test func `who does not ask is not told, and CLIENT LIST counts all the same`() {
        var harness = stalled("drop-oldest")
        deliver(&harness, 0..<40)
        let got = payloads(harness.read(client))
        #expect(got.last == "39")
        #expect(!got.contains { $0.hasPrefix("channel") })
        let list = harness.exchange(client, "CLIENT INFO\r\n")
        #expect(list.contains(" policy=drop-oldest dropped=\(40 - got.count)"))
    }

    @Test func `in RESP2 a gap notice is an array`() {
        var harness = stalled("latest", "MESH.GAPS ON\r\n", protocolVersion: 2)
        deliver(&harness, 10..<12)
        let text = harness.read(client)
        #expect(
            text.hasSuffix(
                "·*5·$3·gap·$7·channel·$1·a·:1·:0·*3·$7·message·$1·a·$2·11·"))
    }

    @Test func `nothing of a channel comes after the confirmation that it was left`() {
        var harness = stalled("drop-oldest", protocolVersion: 2)
        deliver(&harness, 10..<12)
        let text = harness.exchange(client, "UNSUBSCRIBE a b\r\nPING\r\n")
        #expect(text.contains("·10·*3·$7·message·$1·a·$2·11·*3·$11·unsubscribe·$1·a·:1·"))
        #expect(text.hasSuffix("unsubscribe·$1·b·:0·+PONG·"))
    }

    @Test func `replies do not wait behind messages`() {
        var harness = stalled("drop-oldest")
        deliver(&harness, 10..<12)
        let text = harness.exchange(client, "PING\r\n")
        #expect(text.contains("·+PONG·>3·$7·message·$1·a·$2·10·"))
    }

    @Test func `a policy can be read, and a wrong one is refused`() {
        var harness = Harness()
        let client = harness.open()
        let text = harness.exchange(
            client, "MESH.POLICY\r\nMESH.POLICY Latest\r\nMESH.POLICY\r\nMESH.POLICY all\r\n")
        #expect(
            text == "$10·disconnect·+OK·$6·latest·"
                + "-ERR syntax error: MESH.POLICY disconnect|drop-oldest|drop-newest|latest·")
        let wish = harness.exchange(client, "MESH.GAPS OFF\r\nMESH.GAPS maybe\r\n")
        #expect(wish == "+OK·-ERR syntax error: ON or OFF·")
    }

    @Test func `going back to disconnect gives out what waits and loses nothing more`() {
        var harness = stalled("drop-oldest")
        deliver(&harness, 10..<15)
        let text = harness.exchange(client, "MESH.POLICY disconnect\r\n")
        #expect(text.hasSuffix("·13·>3·$7·message·$1·a·$2·14·+OK·"))
        deliver(&harness, 15..<99)
        let got = payloads(harness.read(client))
        #expect(got == (15..<99).map { "\($0)" })
    }

    @Test func `a gap in a flow is told to those who asked`() {
        var harness = Harness()
        let asked = harness.open(3)
        let other = harness.open(3)
        _ = harness.exchange(asked, "MESH.GAPS ON\r\n")
        harness.gateway.hub.missed(count: 12)
        let told = harness.read(asked)
        #expect(told == ">5·$3·gap·$4·node·$0··:12·:0·")
        let silence = harness.read(other)
        #expect(silence == "")
    }

    @Test func `a transaction's replies are not torn by messages that may be dropped`() {
        var harness = stalled("drop-oldest")
        _ = harness.read(client)
        harness.send(client, Array("MULTI\r\nPING\r\nPUBLISH a 77\r\nPING\r\nEXEC\r\n".utf8))
        let text = harness.read(client)
        #expect(
            text == "+OK·+QUEUED·+QUEUED·+QUEUED·*3·+PONG·:1·+PONG·>3·$7·message·$1·a·$2·77·")
    }

    @Test func `who asked is told which of its messages were not delivered`() {
        var harness = Harness()
        let sender = harness.open(3)
        let other = harness.open()
        _ = harness.exchange(sender, "MESH.REPORTS ON\r\n")
        let tag = harness.gateway.hub.senderTag(of: sender)
        let name = Array("ann".utf8)
        func report(_ tag: UInt64, _ body: RoutedBody, _ node: UInt64) {
            harness.gateway.hub.undelivered(
                sender: tag, body, Key(1), name: Slice(start: 0, count: 3), to: NodeID(node),
                name.span, count: 7)
        }
        report(tag, .user, 0)
        let expired = harness.read(sender)
        #expect(expired == ">5·$11·undelivered·$4·user·$3·ann·:7·$7·expired·")
        report(tag, .channel, 9)
        let lost = harness.read(sender)
        #expect(lost == ">5·$11·undelivered·$7·channel·$3·ann·:7·$11·unreachable·")
        // Others have not asked, or are no longer who they were.
        report(harness.gateway.hub.senderTag(of: other), .user, 0)
        report(tag &+ 1, .user, 0)
        let silence = harness.read(other) + harness.read(sender)
        #expect(silence == "")
        #expect(harness.gateway.hub.counters[.undelivered] == 28)
    }

    @Test func `a message can be volatile`() {
        var harness = Harness(peerCount: 1)
        var peer = harness.peer(1)
        _ = peer.exchange(peer.open(3), "SUBSCRIBE c\r\nMESH.ATTACH ann\r\n")
        harness.pass(.milliseconds(500))
        let sent = SentMessages()
        harness.shared.mesh.judge = { _, _, frame in
            sent.note(frame)
            return .pass
        }
        let client = harness.open()
        let answer = harness.exchange(
            client,
            "MESH.SEND ann x volatile\r\nMESH.PUBLISH c x VOLATILE\r\nMESH.PUBLISH c x\r\n"
                + "MESH.SEND ann x persistent\r\nMESH.PUBLISH c x VOLATILE VOLATILE\r\n")
        #expect(
            answer
                == ":1·:1·:1·-ERR syntax error: MESH.SEND user payload [VOLATILE] [TEXT|JSON] [FROM user] "
                + "[ONCE id] [ONLY sid] [EXCEPT sid]·"
                + "-ERR syntax error: MESH.PUBLISH channel payload [VOLATILE] [NOECHO] [TEXT|JSON] "
                + "[FROM user] [ONCE id]·")
        #expect(sent.areVolatile == [true, true, false])
        #expect(sent.bodies == [.user, .channel, .channel])
    }
}
