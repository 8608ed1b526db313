import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

private func gap(_ count: Int) -> String { "*5·$3·gap·$4·user·$3·ann·:\(count)·:0·" }

private func resume(_ token: String, seen: Int) -> String {
    "MESH.ATTACH ann RESUME \(token) SEEN \(seen)\r\n"
}

/// Two nodes that keep three messages of a session.
private func smallPair() -> Pair {
    var configuration = GatewayConfiguration()
    configuration.sessionCountMax = 3
    return Pair(configuration)
}

/// A notice of lost messages may be lost itself.
@Suite struct LossNoticeTests {
    @Test(arguments: [0, 1])
    func `a notice is told again unless a message behind it has come`(seen: Int) {
        var pair = smallPair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION COUNTED\r\n"))
        pair.here.close(first)
        for text in ["a", "b", "c", "d", "e"] { pair.here.deliver(.user, "ann", text) }
        let second = pair.here.open()
        let told = pair.here.exchange(second, resume(old, seen: 0))
        let token = sessionToken(told)
        #expect(told == "$49·\(token)·" + gap(2) + message("c") + message("d") + message("e"))
        pair.here.close(second)
        let third = pair.here.open()
        let again = pair.here.exchange(third, resume(token, seen: seen))
        let expected =
            seen == 0
            ? gap(2) + message("c") + message("d") + message("e")
            : message("d") + message("e")
        #expect(again == "$49·\(sessionToken(again))·" + expected)
    }

    @Test func `an acknowledged message proves the notices before it`() {
        var pair = smallPair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION COUNTED\r\n"))
        pair.here.close(first)
        for text in ["a", "b", "c", "d"] { pair.here.deliver(.user, "ann", text) }
        let second = pair.here.open()
        _ = pair.here.exchange(second, resume(old, seen: 0))
        _ = pair.here.exchange(second, "MESH.ACK ann 1\r\n")
        let session = pair.here.gateway.hub.session(of: Array("ann".utf8), at: second)!
        let untold = pair.here.gateway.hub.sessions[session].told.losses.count
        #expect(untold == 0)
    }

    @Test(arguments: [true, false])
    func `the notice of a slow reader's losses is told again when its connection ends`(
        isSeen: Bool
    ) {
        var configuration = GatewayConfiguration()
        configuration.slowBytesMax = 4_096
        var pair = Pair(configuration)
        let first = pair.here.open()
        let old = sessionToken(
            pair.here.exchange(
                first,
                "MESH.POLICY drop-oldest\r\nMESH.GAPS ON\r\nMESH.ATTACH ann SESSION COUNTED\r\n"
            ).replacing("+OK·", with: ""))
        let long = String(repeating: "x", count: 1_000)
        for _ in 0..<200 { pair.here.deliver(.user, "ann", long) }
        let read = pair.here.read(first)
        let messages = read.components(of: message(long))
        let lost = 200 - messages
        #expect(lost > 0)
        #expect(read.contains(gap(lost)))
        let before = read.prefix(upTo: gap(lost)).components(of: message(long))
        #expect(before < messages)
        pair.here.close(first)
        let second = pair.here.open()
        let back = pair.here.exchange(second, resume(old, seen: isSeen ? messages : before))
        #expect(back.contains(gap(lost)) == !isSeen)
    }

    @Test func `messages on their way to a session that moved are bounded in bytes alone`() {
        var pair = smallPair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION COUNTED\r\n"))
        pair.here.close(first)
        let second = pair.there.open()
        pair.there.send(second, Array(resume(old, seen: 0).utf8))
        pair.settle()
        let token = sessionToken(pair.there.read(second))
        // Each comes to both nodes, and what the old one dropped would be told as lost.
        var expected = ""
        for number in 1...10 as ClosedRange<UInt32> {
            pair.here.deliver(.user, "ann", "m\(number)", number: number)
            pair.there.deliver(.user, "ann", "m\(number)", number: number)
            expected += message("m\(number)")
        }
        pair.pass(.milliseconds(300))
        let read = pair.there.read(second)
        #expect(read == expected)
        pair.there.close(second)
        let third = pair.there.open()
        let back = pair.there.exchange(third, resume(token, seen: 10))
        #expect(back == "$49·\(sessionToken(back))·")
    }

    @Test func `nobody knows how much of what a moved session's node dropped has come elsewhere`() {
        var configuration = GatewayConfiguration()
        configuration.sessionBytesMax = 4_096
        var pair = Pair(configuration)
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        _ = pair.there.read(second)
        let long = String(repeating: "x", count: 1_000)
        for number in 1...10 as ClosedRange<UInt32> {
            pair.here.deliver(.user, "ann", long, number: number)
        }
        pair.pass(.milliseconds(300))
        let read = pair.there.read(second)
        #expect(read.components(of: message(long)) == 3)
        #expect(read.contains(gap(0)))
    }

    @Test func `what is told of is bounded, and no loss is forgotten by that`() {
        var told = ToldLosses()
        for number in 1...1_000 as ClosedRange<UInt64> {
            told.add(1, since: Instant(nanoseconds: 0), after: number)
        }
        #expect(told.losses.count == ToldLosses.countMax)
        #expect(told.losses.map(\.count).reduce(0, +) == 1_000)
        told.forget(seen: 1_000)
        #expect(told.losses.map(\.count) == [1])
    }
}

extension String {
    /// How often the text is in it.
    fileprivate func components(of text: String) -> Int {
        split(separator: text, omittingEmptySubsequences: false).count - 1
    }

    fileprivate func prefix(upTo text: String) -> String {
        String(split(separator: text, omittingEmptySubsequences: false)[0])
    }
}
