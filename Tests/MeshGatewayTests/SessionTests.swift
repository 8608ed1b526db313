import MeshWire
import Testing

@testable import MeshCore
import MeshDriver
@testable import MeshGateway

@Suite struct SessionTests {
    @Test func `a session waits for its client and nobody sees it go`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        #expect(old.hasPrefix("0000000000000001-"))
        pair.here.deliver(.user, "ann", "a")
        let read = pair.here.read(first)
        #expect(read == message("a"))
        pair.here.deliver(.user, "ann", "b")
        pair.here.close(first)
        pair.here.deliver(.user, "ann", "c")
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old)\r\n")
        let fresh = sessionToken(reply)
        #expect(fresh != old)
        #expect(reply == "$49·\(fresh)·" + message("b") + message("c"))
        pair.here.deliver(.user, "ann", "d")
        let live = pair.here.read(second)
        #expect(live == message("d"))
        #expect(pair.here.changes.map(\.operation) == [.addKey])
        // A token is good until the next one is used.
        let third = pair.here.open()
        let next = sessionToken(pair.here.exchange(third, "MESH.ATTACH ann RESUME \(fresh)\r\n"))
        #expect(next.hasPrefix("0000000000000001-"))
        let fourth = pair.here.open()
        let used = pair.here.exchange(fourth, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(used.hasPrefix("-NOSESSION "))
        let gone = pair.here.exchange(third, "MESH.DETACH ann\r\n")
        #expect(gone == ":1·")
        for past in [fresh, next] {
            let ended = pair.here.exchange(fourth, "MESH.ATTACH ann RESUME \(past)\r\n")
            #expect(ended.hasPrefix("-NOSESSION "))
        }
        #expect(pair.here.changes.map(\.operation) == [.addKey, .removeKey])
    }

    @Test func `a client that has not heard of the next token shows the former again`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        // The reply is lost three times: here, here, and at the other node.
        let second = pair.here.open()
        pair.here.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        let third = pair.here.open()
        pair.here.send(third, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.here.close(third)
        pair.here.deliver(.user, "ann", "a")
        let fourth = pair.there.open()
        pair.there.send(fourth, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        pair.there.close(fourth)
        pair.pass(.milliseconds(5_000))
        // The first node has forgotten the session, but not where it went.
        #expect(pair.here.gateway.hub.waitingSessionCount == 0)
        let fifth = pair.here.open()
        pair.here.send(fifth, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        let reply = pair.here.read(fifth)
        let fresh = sessionToken(reply)
        #expect(reply == "$49·\(fresh)·" + message("a"))
        let again = pair.here.exchange(fifth, "MESH.ATTACH ann RESUME \(fresh)\r\n")
        #expect(again == "$49·\(fresh)·")
        #expect(pair.here.gateway.hub.sessionCount == 1)
    }

    @Test func `what the kernel took a part of is sent again whole`() {
        var pair = Pair()
        let first = pair.here.open(3)
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        for text in ["a", "b", "c"] { pair.here.deliver(.user, "ann", text) }
        let size = message("a").utf8.count
        pair.here.gateway.hub.flush(first) { bytes in
            // The first, and five bytes of the second: CR LF is one character in `message`.
            #expect(bytes.count > size)
            return bytes.count / 3 + 5
        }
        pair.here.close(first)
        let second = pair.here.open(3)
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old)\r\n")
        let expected = (message("b") + message("c")).replacing("*3", with: ">3")
        #expect(reply.hasSuffix("·" + expected))
        #expect(!reply.contains("$1·a·"))
    }

    @Test func `a partly sent message goes on where it stopped while the connection lives`() {
        var pair = Pair()
        let client = pair.here.open()
        _ = pair.here.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        var expected = ""
        for number in 0..<50 {
            pair.here.deliver(.user, "ann", "\(number)")
            expected += message("\(number)")
        }
        var got: [UInt8] = []
        var dice = Dice(state: 3)
        while pair.here.gateway.hub.outputCount(client) > 0 {
            pair.here.gateway.hub.flush(client) { bytes in
                let count = min(bytes.count, 1 + dice.roll(40))
                unsafe got.append(contentsOf: bytes.prefix(count))
                return count
            }
        }
        let text = String(decoding: got, as: UTF8.self)
            .split(separator: "\r\n", omittingEmptySubsequences: false).joined(separator: "·")
        #expect(text == expected)
    }

    @Test func `what does not fit is announced on return with its size`() {
        var configuration = GatewayConfiguration()
        configuration.sessionCountMax = 3
        var pair = Pair(configuration)
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        for text in ["a", "b", "c", "d", "e"] { pair.here.deliver(.user, "ann", text) }
        pair.pass(.milliseconds(20))
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(
            reply.hasSuffix(
                "·*5·$3·gap·$4·user·$3·ann·:2·:20·" + message("c") + message("d") + message("e")))
        #expect(pair.here.gateway.hub.counters[.sessionMessagesDropped] == 2)
    }

    @Test func `after the grace the session is gone`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        pair.pass(.milliseconds(9_999))
        #expect(pair.here.gateway.hub.waitingSessionCount == 1)
        pair.pass(.milliseconds(1))
        #expect(pair.here.gateway.hub.waitingSessionCount == 0)
        #expect(pair.here.changes.map(\.operation) == [.addKey, .loseKey])
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(reply.hasPrefix("-NOSESSION "))
    }

    @Test func `a session is taken from a connection that only seems to stand`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.deliver(.user, "ann", "a")
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(reply.hasSuffix(message("a")))
        let isDoomed = pair.here.gateway.hub.isDoomed(first)
        #expect(isDoomed)
        pair.here.close(first)
        pair.here.deliver(.user, "ann", "b")
        let live = pair.here.read(second)
        #expect(live == message("b"))
    }

    @Test func `a session follows its client to another node in order and once`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        pair.here.deliver(.user, "ann", "a")
        let second = pair.there.open(3)
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\nPING\r\n".utf8))
        pair.settle()
        func pushed(_ text: String) -> String { message(text).replacing("*3", with: ">3") }
        let reply = pair.there.read(second)
        #expect(sessionToken(reply).hasPrefix("0000000000000002-"))
        #expect(reply.hasSuffix("·+PONG·" + pushed("a")))
        // A message that still comes to the old node is forwarded; one that comes to both is given out
        // once; one that comes to the new node alone waits until those that were forwarded are ahead.
        pair.there.deliver(.user, "ann", "c", number: 3)
        pair.here.deliver(.user, "ann", "b", number: 2)
        pair.here.deliver(.user, "ann", "c", number: 3)
        pair.there.deliver(.user, "ann", "d", number: 4)
        pair.settle()
        let forwarded = pair.there.read(second)
        #expect(forwarded == pushed("b") + pushed("c"))
        pair.pass(.milliseconds(250))
        let direct = pair.there.read(second)
        #expect(direct == pushed("d"))
        pair.here.deliver(.user, "ann", "e", number: 5)
        pair.settle()
        pair.there.deliver(.user, "ann", "e", number: 5)
        let once = pair.there.read(second)
        #expect(once == pushed("e"))
        // Both have the key, and one of them the user.
        let user = Array("ann".utf8)
        let key = Harness.hasher.key(.user, user)
        let isDeparted = (
            pair.here.gateway.hub.isDeparted(user, key),
            pair.there.gateway.hub.isDeparted(user, key)
        )
        #expect(isDeparted == (true, false))
        // Afterwards the old node gives the key up.
        #expect(pair.here.changes.map(\.operation) == [.addKey])
        pair.pass(.seconds(2))
        #expect(pair.here.changes.map(\.operation) == [.addKey, .removeKey])
        #expect(
            pair.here.gateway.hub.waitingSessionCount == 0
                && pair.there.gateway.hub.waitingSessionCount == 0)
        pair.pass(.seconds(10))
        pair.there.deliver(.user, "ann", "e")
        let again = pair.there.read(second)
        #expect(again == pushed("e"))
        let refused = pair.there.gateway.hub.counters[.answersMalformed]
        #expect(refused == 0)
    }

    /// Messages that come to one node, to the other, or to both, in whatever order within an origin's ways,
    /// while the session moves: every message once, though all have the same bytes.
    @Test(arguments: 1...20) func `equal messages are told apart while a session moves`(
        _ seed: Int
    ) {
        var configuration = GatewayConfiguration()
        configuration.sessionCountMax = 2_000
        var pair = Pair(configuration)
        var dice = Dice(state: UInt64(seed))
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        // Each of three origins learns of the new node after `learns` messages, and of the old
        // node's end after `forgets`; what it has sent arrives in order, but late, on each way.
        var here: [(MessageID, Int)] = []
        var there: [(MessageID, Int)] = []
        let count = 1_000
        var learns: [Int] = []
        var forgets: [Int] = []
        for _ in 0..<3 {
            learns.append(300 + dice.roll(100))
            forgets.append(500 + dice.roll(200))
        }
        for number in 0..<count {
            let origin = dice.roll(3)
            let id = MessageID(origin: NodeID(UInt64(20 + origin)), number: UInt32(number))
            if number < forgets[origin] { here.append((id, number)) }
            if number >= learns[origin] { there.append((id, number)) }
        }
        func arrive(_ harness: inout Harness, _ ids: inout [(MessageID, Int)], before limit: Int) {
            while let (id, number) = ids.first, number < limit {
                ids.removeFirst()
                harness.deliver(.user, "ann", "same", number: id.number, from: id.origin)
            }
        }
        arrive(&pair.here, &here, before: 150)
        var got = pair.here.read(first)
        pair.here.close(first)
        arrive(&pair.here, &here, before: 300)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        var reply = pair.there.read(second)
        _ = sessionToken(reply)
        reply.removeFirst(5 + 49)
        got += reply
        var reached = (here: 300, there: 300)
        while !here.isEmpty || !there.isEmpty {
            // Either way may be behind the other.
            if dice.roll(2) == 0 {
                reached.here += dice.roll(40)
                arrive(&pair.here, &here, before: reached.here)
            } else {
                reached.there += dice.roll(40)
                arrive(&pair.there, &there, before: reached.there)
            }
            if dice.roll(3) == 0 { pair.pass(.milliseconds(Int64(dice.roll(20)))) }
        }
        pair.pass(.milliseconds(300))
        pair.pass(.seconds(3))
        got += pair.there.read(second)
        let copies = got.split(separator: message("same"), omittingEmptySubsequences: false)
        #expect(copies.count - 1 == count && copies.allSatisfy { $0.isEmpty })
        let both = pair.there.gateway.hub.counters[.sessionTwins]
        #expect(both > 50)
    }

    @Test func `an answer that was lost is not missed, a part that comes twice is taken once`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        pair.here.deliver(.user, "ann", "a")
        // The question arrives, its answer does not.
        pair.judge { isAnswer, _ in isAnswer ? .drop : .pass }
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.giveUp()
        let reply = pair.there.read(second)
        #expect(reply.hasSuffix("·" + message("a")))
        var partCount = 0
        pair.judgeParts { _ in
            partCount += 1
            return .double
        }
        pair.here.deliver(.user, "ann", "b")
        pair.settle()
        #expect(partCount == 1)
        let read = pair.there.read(second)
        #expect(read == message("b"))
    }

    @Test func `a client waits for a session that is slow to come, and is told when it does not`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        pair.here.deliver(.user, "ann", "a")
        pair.judgeParts { _ in .drop }
        let (second, third) = (pair.there.open(), pair.there.open())
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\nPING\r\n".utf8))
        pair.pass(.milliseconds(9_000))
        let none = pair.there.read(second)
        #expect(none == "")
        pair.there.send(third, Array("MESH.ATTACH ann RESUME \(old)\r\nPING\r\n".utf8))
        pair.pass(.milliseconds(1_100))
        let failed = pair.there.read(second)
        #expect(failed.hasPrefix("-TRYAGAIN ") && failed.hasSuffix("·+PONG·"))
        pair.judgeParts { _ in .pass }
        pair.pass(.milliseconds(5_000))
        let reply = pair.there.read(third)
        #expect(reply == "$49·\(sessionToken(reply))·+PONG·" + message("a"))
    }

    @Test func `a session whose node is dead begins anew with a gap of unknown size`() {
        var pair = Pair()
        let dead = "00000000000000aa-" + String(repeating: "7", count: 32)
        let client = pair.there.open()
        pair.there.send(client, Array("MESH.ATTACH ann RESUME \(dead)\r\n".utf8))
        pair.settle()
        let reply = pair.there.read(client)
        #expect(reply == "$49·\(sessionToken(reply))·*5·$3·gap·$4·user·$3·ann·:0·:0·")
        #expect(pair.there.changes.map(\.operation) == [.addKey])
    }

    @Test(arguments: [false, true])
    func `what was lost with the node that a session has just left is announced`(
        _ isAttached: Bool
    ) {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        let fresh = sessionToken(pair.there.read(second))
        pair.pass(.milliseconds(300))
        if !isAttached { pair.there.close(second) }
        // Another node's death is none of its business.
        pair.there.gateway.hub.nodeDied(NodeID(77))
        pair.there.gateway.hub.nodeDied(Pair.hereID)
        pair.there.gateway.hub.nodeDied(Pair.hereID)
        let gap = "*5·$3·gap·$4·user·$3·ann·:0·:0·"
        if isAttached {
            let told = pair.there.read(second)
            #expect(told == gap)
        } else {
            let third = pair.there.open()
            let reply = pair.there.exchange(third, "MESH.ATTACH ann RESUME \(fresh)\r\n")
            #expect(reply.hasSuffix("·" + gap))
        }
    }

    /// Ann's session begins on one node and is resumed on the other, by this client.
    private func moveSession(_ pair: inout Pair) -> ClientIndex {
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        _ = pair.there.read(second)
        return second
    }

    @Test func `a node that has passed on all of a session may die unnoticed`() {
        var pair = Pair()
        let second = moveSession(&pair)
        pair.here.deliver(.user, "ann", "a")
        pair.pass(.milliseconds(2_100))
        let read = pair.there.read(second)
        #expect(read == message("a"))
        pair.there.gateway.hub.nodeDied(Pair.hereID)
        let told = pair.there.read(second)
        #expect(told == "")
    }

    @Test func `what cannot be passed on is announced in the end`() {
        var pair = Pair()
        let second = moveSession(&pair)
        pair.here.deliver(.user, "ann", "a")
        // It does not come through until the other node is taken for dead.
        pair.here.shared.mesh.judge = { _, _, _ in .drop }
        pair.settle()
        pair.pass(.seconds(20))
        let isPresent = pair.here.shared.mesh.hosts[0].server.node.isPresent(Pair.thereID)
        #expect(!isPresent)
        pair.judgeParts { _ in .pass }
        pair.pass(.seconds(10))
        let told = pair.there.read(second)
        #expect(told == "*5·$3·gap·$4·user·$3·ann·:0·:0·")
        #expect(pair.here.gateway.hub.sessionCount == 0)
    }

    @Test func `a session of which nothing has gone stays when its new node dies`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        pair.here.deliver(.user, "ann", "a")
        let asked = takeQuestion(old)
        // The asker is no member: nothing can be sent there.
        #expect(pair.here.asked(asked, by: NodeID(7)).first == 1)
        pair.settle()
        pair.here.deliver(.user, "ann", "b")
        let back = pair.here.open()
        let reply = pair.here.exchange(back, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(reply == "$49·\(sessionToken(reply))·" + message("a") + message("b"))
        let moved = pair.here.gateway.hub.counters[.sessionsMovedOut]
        #expect(moved == 0)
    }

    /// Another node's question for ann's session.
    private func takeQuestion(_ token: String) -> [UInt8] {
        var take = ByteQueue()
        take.append(UInt8(3))
        SessionToken(Array(token.utf8))!.append(to: &take)
        take.append(integer: UInt64.max)
        take.append(Array("ann".utf8))
        return take.withSpan { Array(copying: $0) }
    }

    @Test
    func `a node that stood still as long as it should have passed on a session ends it once`() {
        var configuration = GatewayConfiguration()
        configuration.sessionBytesMax = 100
        var pair = Pair(configuration)
        let second = moveSession(&pair)
        pair.pass(.milliseconds(100))
        // It is lost at once; that it is, is to be passed on, as the node stands still.
        pair.here.deliver(.user, "ann", String(repeating: "x", count: 200))
        pair.here.shared.mesh.freeze(0)
        pair.pass(.seconds(3))
        pair.here.shared.mesh.thaw(0)
        pair.pass(.seconds(1))
        let waiting = pair.here.gateway.hub.waitingSessionCount
        let sessions = pair.here.gateway.hub.sessionCount
        #expect(waiting == 0 && sessions == 0)
        let lost = pair.here.gateway.hub.counters[.sessionDeparturesLost]
        #expect(lost == 0)
        #expect(pair.there.read(second) == "*5·$3·gap·$4·user·$3·ann·:0·:0·")
    }

    @Test func `whoever asks for a session that has moved is sent there`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.close(first)
        let bytes = takeQuestion(old)
        var answers: [[UInt8]] = []
        for asker in [NodeID(7), NodeID(8), NodeID(7)] {
            answers.append(pair.here.asked(bytes, by: asker))
        }
        #expect(answers[0] == [1, 1, 0, 0, 0, 0, 0, 0, 0])
        #expect(answers[1] == [2, 7, 0, 0, 0, 0, 0, 0, 0])
        #expect(answers[2] == answers[0])
    }

    @Test func `bytes that no gateway sends are counted and change nothing`() {
        var pair = Pair()
        var dice = Dice(state: 9)
        let client = pair.here.open()
        _ = pair.here.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        for _ in 0..<5_000 {
            var bytes = [UInt8(3 + dice.roll(6))]
            for _ in 0..<dice.roll(80) { bytes.append(UInt8(dice.roll(256))) }
            _ = pair.here.asked(bytes, by: Pair.thereID)
            bytes[0] = UInt8(dice.roll(8))
            pair.here.receivePart(bytes, from: Pair.thereID)
        }
        pair.here.deliver(.user, "ann", "a")
        let read = pair.here.read(client)
        #expect(read == message("a"))
        let malformed = pair.here.gateway.hub.counters[.answersMalformed]
        #expect(malformed > 5_000)
    }

    @Test(arguments: [
        "MESH.ATTACH ann NOTHING", "MESH.ATTACH ann RESUME", "MESH.ATTACH ann RESUME short",
        "MESH.ATTACH ann SESSION please",
    ])
    func `a wrong way to attach is refused and attaches nobody`(_ line: String) {
        var pair = Pair()
        let client = pair.here.open()
        let reply = pair.here.exchange(client, line + "\r\n")
        #expect(reply.hasPrefix("-ERR "))
        #expect(pair.here.changes.isEmpty)
    }
}
