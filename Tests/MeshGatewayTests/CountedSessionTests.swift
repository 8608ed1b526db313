import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

/// The words of the client when it begins.
private let counted = "MESH.ATTACH ann SESSION COUNTED\r\n"

/// A client with a counted session to which these messages have gone, and its token.
private func begin(_ pair: inout Pair, _ texts: [String]) -> (ClientIndex, String) {
    let client = pair.here.open()
    let token = sessionToken(pair.here.exchange(client, counted))
    for text in texts { pair.here.deliver(.user, "ann", text) }
    _ = pair.here.read(client)
    return (client, token)
}

private func gap(_ count: Int, _ milliseconds: Int = 0) -> String {
    "*5·$3·gap·$4·user·$3·ann·:\(count)·:\(milliseconds)·"
}

@Suite struct CountedSessionTests {
    @Test func `what the kernel had taken and the client has not seen comes again`() {
        var pair = Pair()
        let (first, old) = begin(&pair, ["a", "b", "c"])
        pair.here.close(first)
        pair.here.deliver(.user, "ann", "d")
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SEEN 1\r\n")
        let fresh = sessionToken(reply)
        #expect(reply == "$49·\(fresh)·" + message("b") + message("c") + message("d"))
        #expect(pair.here.gateway.hub.counters[.sessionMessagesRepeated] == 2)
        // The count begins anew with the token.
        pair.here.close(second)
        let third = pair.here.open()
        let again = pair.here.exchange(third, "MESH.ATTACH ann RESUME \(fresh) SEEN 2\r\n")
        #expect(again == "$49·\(sessionToken(again))·" + message("d"))
    }

    @Test func `what is acknowledged is not kept, and not sent again`() {
        var pair = Pair()
        let (first, old) = begin(&pair, ["a", "b", "c"])
        let rest = pair.here.exchange(first, "MESH.ACK ann 2\r\n")
        #expect(rest == ":1·")
        pair.here.close(first)
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SEEN 2\r\n")
        #expect(reply == "$49·\(sessionToken(reply))·" + message("c"))
        // A client that has acknowledged more than it has seen is told what it has thrown away.
        pair.here.deliver(.user, "ann", "d")
        _ = pair.here.read(second)
        _ = pair.here.exchange(second, "MESH.ACK ann 2\r\n")
        pair.here.close(second)
        let third = pair.here.open()
        let foolish = pair.here.exchange(
            third, "MESH.ATTACH ann RESUME \(sessionToken(reply)) SEEN 1\r\n")
        #expect(foolish == "$49·\(sessionToken(foolish))·" + gap(1))
    }

    @Test(arguments: [0, 2, 3, 5])
    func `what is kept is bounded, and what fell out is announced if it was not seen`(seen: Int) {
        var configuration = GatewayConfiguration()
        configuration.sessionCountMax = 3
        var pair = Pair(configuration)
        let (first, old) = begin(&pair, ["a", "b", "c", "d", "e"])
        pair.here.close(first)
        // Of the three that are kept one more falls out.
        pair.here.deliver(.user, "ann", "f")
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SEEN \(seen)\r\n")
        let missed = seen < 3 ? gap(3 - seen) : ""
        let come = ["d", "e", "f"].suffix(min(3, 6 - seen)).map { message($0) }.joined()
        #expect(reply == "$49·\(sessionToken(reply))·" + missed + come)
    }

    @Test func `a full store of bytes lets the oldest go`() {
        var configuration = GatewayConfiguration()
        configuration.sessionBytesMax = 4_096
        var pair = Pair(configuration)
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, counted))
        let long = String(repeating: "x", count: 1_000)
        for _ in 0..<1_000 {
            pair.here.deliver(.user, "ann", long)
            _ = pair.here.read(first)
        }
        #expect(pair.here.gateway.hub.clients[first.slot].output.count <= 5_200)
        let waiting = pair.here.gateway.hub.outputCount(first)
        #expect(waiting == 0)
        pair.here.close(first)
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SEEN 990\r\n")
        #expect(
            reply == "$49·\(sessionToken(reply))·" + gap(7) + message(long) + message(long)
                + message(long)
        )
    }

    @Test func `mistakes are answered, and cost no token`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, counted))
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        for (text, error) in [
            ("MESH.ACK ann 2", "-ERR only 1 messages were sent·"),
            ("MESH.ACK ann -1", "-ERR value is not an integer or out of range·"),
            ("MESH.ACK ann x", "-ERR value is not an integer or out of range·"),
            ("MESH.ACK bob 1", "-ERR this connection has no counted session of this user·"),
        ] {
            let reply = pair.here.exchange(first, text + "\r\n")
            #expect(reply == error)
        }
        let plain = pair.here.open()
        let other = sessionToken(pair.here.exchange(plain, "MESH.ATTACH bob SESSION\r\n"))
        let uncounted = pair.here.exchange(plain, "MESH.ACK bob 0\r\n")
        #expect(uncounted == "-ERR this connection has no counted session of this user·")
        let second = pair.here.open()
        for text in [
            "ann RESUME \(old)", "ann RESUME \(old) SEEN 2", "bob RESUME \(other) SEEN 0",
        ] {
            let reply = pair.here.exchange(second, "MESH.ATTACH \(text)\r\n")
            #expect(reply == "-\(ClientRefusal.session(.miscounted).inRESP)·")
        }
        let syntax = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SAW 1\r\n")
        #expect(syntax.hasPrefix("-ERR syntax error: MESH.ATTACH user"))
        let number = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SEEN -1\r\n")
        #expect(number == "-ERR value is not an integer or out of range·")
        // At another node it is the same.
        let there = pair.there.open()
        pair.there.send(there, Array("MESH.ATTACH ann RESUME \(old) SEEN 9\r\n".utf8))
        pair.settle()
        let away = pair.there.read(there)
        #expect(away == "-\(ClientRefusal.session(.miscounted).inRESP)·")
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SEEN 1\r\n")
        #expect(reply == "$49·\(sessionToken(reply))·")
    }

    @Test func `absurd counts are refused, whoever says them`() {
        var pair = Pair()
        let (first, old) = begin(&pair, ["a"])
        pair.here.close(first)
        let second = pair.here.open()
        _ = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old) SEEN 1\r\n")
        pair.here.close(second)
        // The token before the last: nobody knows what was seen before it.
        let third = pair.here.open()
        let count = "9223372036854775807"
        let reply = pair.here.exchange(third, "MESH.ATTACH ann RESUME \(old) SEEN \(count)\r\n")
        #expect(reply == "-\(ClientRefusal.session(.miscounted).inRESP)·")
        var take = ByteQueue()
        take.append(UInt8(3))
        SessionToken(Array(old.utf8))!.append(to: &take)
        take.append(integer: UInt64.max - 1)
        take.append(Array("ann".utf8))
        let bytes = take.withSpan { Array(copying: $0) }
        let answered = pair.here.asked(bytes, by: NodeID(7))
        #expect(answered == [3])
    }

    @Test func `what was not seen follows the client to another node and back`() {
        var pair = Pair()
        let (first, old) = begin(&pair, ["a", "b", "c"])
        pair.here.close(first)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old) SEEN 1\r\n".utf8))
        pair.settle()
        pair.pass(.milliseconds(300))
        let moved = pair.there.read(second)
        #expect(moved == "$49·\(sessionToken(moved))·" + message("b") + message("c"))
        pair.there.close(second)
        let third = pair.here.open()
        pair.here.send(
            third, Array("MESH.ATTACH ann RESUME \(sessionToken(moved)) SEEN 1\r\n".utf8))
        pair.settle()
        let back = pair.here.read(third)
        #expect(back == "$49·\(sessionToken(back))·" + message("c"))
    }

    @Test func `a client that is gone when its session arrives finds it there all the same`() {
        var pair = Pair()
        let (first, old) = begin(&pair, ["a", "b", "c"])
        pair.here.close(first)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old) SEEN 1\r\n".utf8))
        pair.there.close(second)
        pair.settle()
        pair.pass(.milliseconds(300))
        let third = pair.there.open()
        let reply = pair.there.exchange(third, "MESH.ATTACH ann RESUME \(old) SEEN 1\r\n")
        #expect(reply == "$49·\(sessionToken(reply))·" + message("b") + message("c"))
    }

    @Test func `a drained node hands over what was not seen`() {
        var pair = Pair()
        let (first, old) = begin(&pair, ["a", "b", "c"])
        pair.here.gateway.hub.beginDrain(.seconds(2), longest: .seconds(30), at: pair.here.now)
        pair.settle()
        pair.pass(.milliseconds(2_000))
        pair.here.close(first)
        pair.pass(.milliseconds(10))
        pair.pass(.milliseconds(300))
        let hasMovedAll = pair.here.gateway.hub.hasMovedAll
        #expect(hasMovedAll)
        let back = pair.there.open()
        let reply = pair.there.exchange(back, "MESH.ATTACH ann RESUME \(old) SEEN 2\r\n")
        #expect(reply == "$49·\(sessionToken(reply))·" + message("c"))
    }

    @Test func `a session that died with its node begins anew, counted`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, counted))
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old) SEEN 0\r\n".utf8))
        // While the question is open.
        pair.here.shared.mesh.crash(0)
        pair.pass(.seconds(4))
        let reply = pair.there.read(second)
        #expect(reply == "$49·\(sessionToken(reply))·" + gap(0))
        pair.there.deliver(.user, "ann", "a")
        _ = pair.there.read(second)
        let rest = pair.there.exchange(second, "MESH.ACK ann 1\r\n")
        #expect(rest == ":0·")
    }

    @Test func `two sessions of one connection are counted apart`() {
        var pair = Pair()
        let first = pair.here.open()
        let ann = sessionToken(pair.here.exchange(first, counted))
        let bob = sessionToken(pair.here.exchange(first, "MESH.ATTACH bob SESSION\r\n"))
        for number in 0..<4 {
            pair.here.deliver(.user, "ann", "a\(number)")
            pair.here.deliver(.user, "bob", "b\(number)")
        }
        _ = pair.here.read(first)
        _ = pair.here.exchange(first, "MESH.ACK ann 1\r\n")
        pair.here.close(first)
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(ann) SEEN 2\r\n")
        #expect(reply == "$49·\(sessionToken(reply))·" + message("a2") + message("a3"))
        // The kernel had all of the other's, who does not count: nothing comes twice.
        let other = pair.here.exchange(second, "MESH.ATTACH bob RESUME \(bob)\r\n")
        #expect(other == "$49·\(sessionToken(other))·")
    }

    @Test func `a session that has ended keeps no message of its connection`() {
        var pair = Pair()
        let client = pair.here.open()
        _ = pair.here.exchange(client, counted)
        for number in 0..<4 { pair.here.deliver(.user, "ann", "\(number)") }
        _ = pair.here.read(client)
        let kept = pair.here.gateway.hub.stored.count
        #expect(kept == 4)
        let reply = pair.here.exchange(client, "MESH.DETACH ann\r\n")
        #expect(reply == ":1·")
        let left = pair.here.gateway.hub.stored.count
        #expect(left == 0)
    }

    /// Breaks connections anywhere, with bytes that nobody reads, here and there.
    @Test(arguments: 0..<40 as Range<UInt64>)
    func
        `a client that counts misses nothing and gets nothing twice, wherever its connection breaks`(
            seed: UInt64
        )
    {
        var pair = Pair()
        var dice = Dice(state: seed)
        var client = pair.here.open()
        var isHere = true
        var token = sessionToken(pair.here.exchange(client, counted))
        var expected: [String] = []
        var got: [String] = []
        /// Bytes that the kernel has and the client has not read; a break loses them.
        var kernel: [UInt8] = []
        var seen = 0
        for _ in 0..<400 {
            switch dice.roll(10) {
            case 0...4:
                let payload = "m\(expected.count)" + String(repeating: "x", count: dice.roll(50))
                expected.append(payload)
                let number = UInt32(expected.count)
                // It comes to both while both have the user.
                pair.here.deliver(.user, "ann", payload, number: number)
                pair.there.deliver(.user, "ann", payload, number: number)
            case 5...6:
                let room = dice.roll(400)
                func take(_ bytes: UnsafeRawBufferPointer) -> Int {
                    let count = min(bytes.count, max(0, room - kernel.count))
                    unsafe kernel.append(contentsOf: bytes.prefix(count))
                    return count
                }
                if isHere {
                    unsafe pair.here.gateway.hub.flush(client) { unsafe take($0) }
                } else {
                    unsafe pair.there.gateway.hub.flush(client) { unsafe take($0) }
                }
                let messages = takeMessages(&kernel, countMax: dice.roll(8))
                seen += messages.count
                got += messages
            case 7:
                let text = Array("MESH.ACK ann \(seen)\r\n".utf8)
                if isHere { pair.here.send(client, text) } else { pair.there.send(client, text) }
            case 8:
                pair.pass(.milliseconds(Int64(dice.roll(400))))
            default:
                guard dice.roll(4) == 0 else { continue }
                // The connection may break before the reply has come, or before it is on its way.
                // A late attempt may take the session from a later one: then the client tries again.
                var attempts = dice.roll(4)
                var isServed = false
                while !isServed {
                    if isHere { pair.here.close(client) } else { pair.there.close(client) }
                    isHere = dice.roll(2) == 0
                    let resume = Array("MESH.ATTACH ann RESUME \(token) SEEN \(seen)\r\n".utf8)
                    if isHere {
                        client = pair.here.open()
                        pair.here.send(client, resume)
                    } else {
                        client = pair.there.open()
                        pair.there.send(client, resume)
                    }
                    attempts -= 1
                    if attempts >= 0, dice.roll(2) == 0 { continue }
                    pair.pass(.milliseconds(attempts >= 0 ? Int64(dice.roll(1_500)) : 0))
                    if attempts >= 0, dice.roll(2) == 0 {
                        _ = isHere ? pair.here.readBytes(client) : pair.there.readBytes(client)
                    }
                    let isDoomed =
                        isHere
                        ? pair.here.gateway.hub.isDoomed(client)
                        : pair.there.gateway.hub.isDoomed(client)
                    isServed = attempts < 0 && !isDoomed
                }
                kernel = isHere ? pair.here.readBytes(client) : pair.there.readBytes(client)
                token = takeToken(&kernel)
                seen = 0
            }
        }
        pair.pass(.seconds(7))
        kernel += isHere ? pair.here.readBytes(client) : pair.there.readBytes(client)
        got += takeMessages(&kernel, countMax: .max)
        let isSame = got == expected
        #expect(isSame, "\(got.count) of \(expected.count)")
        #expect(expected.count > 100)
    }
}

/// Takes the messages and the replies at the front of what a client reads, until there have been so
/// many messages; what is incomplete stays.
private func takeMessages(_ bytes: inout [UInt8], countMax: Int) -> [String] {
    var messages: [String] = []
    while messages.count < countMax {
        var lines = bytes.split(
            separator: 0x0A, maxSplits: 7, omittingEmptySubsequences: false)
        guard let first = lines.first, lines.count > 1 else { break }
        if first.first == UInt8(ascii: ":") {
            bytes.removeFirst(first.count + 1)
            continue
        }
        guard lines.count == 8 else { break }
        lines.removeLast()
        bytes.removeFirst(lines.reduce(0) { $0 + $1.count + 1 })
        messages.append(String(decoding: lines[6].dropLast(), as: UTF8.self))
    }
    return messages
}

private func takeToken(_ bytes: inout [UInt8]) -> String {
    let reply = bytes.prefix(56)
    #expect(reply.starts(with: Array("$49\r\n".utf8)))
    bytes.removeFirst(reply.count)
    return String(decoding: reply.dropFirst(5).prefix(49), as: UTF8.self)
}
