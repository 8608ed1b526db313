import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

/// Messages of a session that its client may not have read when the connection ends are announced.
@Suite struct PartingTests {
    /// That something is missing, and nobody knows how much.
    static let notice = "*5·$3·gap·$4·user·$3·ann·:0·:0·"
    static let reset = Parting(unacknowledgedBytes: 0, wasBroken: true)

    /// The bytes that the kernel has not had acknowledged.
    static func unacknowledged(_ count: Int) -> Parting {
        Parting(unacknowledgedBytes: count, wasBroken: false)
    }

    /// A client of `here` with a session of ann: its place and its token.
    static func begin(_ pair: inout Pair) -> (ClientIndex, String) {
        let client = pair.here.open()
        return (client, sessionToken(pair.here.exchange(client, "MESH.ATTACH ann SESSION\r\n")))
    }

    /// The bytes that a new connection to `here` that shows the token reads behind the next token.
    static func resume(_ pair: inout Pair, _ token: String, _ words: String = "") -> String {
        let client = pair.here.open()
        let reply = pair.here.exchange(client, "MESH.ATTACH ann RESUME \(token)\(words)\r\n")
        #expect(reply.hasPrefix("$49·"))
        return String(reply.dropFirst("$49··".count + 49))
    }

    /// Behind the message a reply of seven bytes was sent.
    @Test(arguments: [(0, false), (7, false), (8, true), (37, true), (5_000, true)])
    func `the last message is lost if not all up to its end is acknowledged`(
        count: Int, isLost: Bool
    ) {
        var pair = Pair()
        let (client, token) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        let read = pair.here.read(client)
        #expect(read == message("a"))
        let pong = pair.here.exchange(client, "PING\r\n")
        #expect(pong == "+PONG·")
        // Bytes that the kernel was not given wait, and are no loss.
        pair.here.deliver(.user, "ann", "b")
        let doubts = pair.here.close(client, Self.unacknowledged(count))
        #expect(doubts.isEmpty == isLost)
        let rest = Self.resume(&pair, token)
        #expect(rest == (isLost ? Self.notice : "") + message("b"))
        #expect(pair.here.gateway.hub.counters[.gapNotices] == (isLost ? 1 : 0))
        #expect(pair.here.gateway.hub.counters[.sessionPartingsLost] == (isLost ? 1 : 0))
    }

    /// The kernel takes half of the second message: it comes again whole.
    @Test(arguments: [(15, false), (16, true)])
    func `a message that the kernel has a part of waits, and the one before it may be lost`(
        count: Int, isLost: Bool
    ) {
        var pair = Pair()
        let (client, token) = Self.begin(&pair)
        for text in ["a", "b"] { pair.here.deliver(.user, "ann", text) }
        pair.here.gateway.hub.flush(client) { bytes in
            #expect(bytes.count == 60)
            return 45
        }
        _ = pair.here.close(client, Self.unacknowledged(count))
        let rest = Self.resume(&pair, token)
        #expect(rest == (isLost ? Self.notice : "") + message("b"))
    }

    @Test func `what was sent is in doubt after a reset, and nothing is if nothing was sent`() {
        var pair = Pair()
        let (first, old) = Self.begin(&pair)
        let isAsked = pair.here.gateway.hub.hasUnproven(first)
        #expect(!isAsked)
        pair.here.deliver(.user, "ann", "a")
        pair.here.close(first, Self.reset)
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(reply.hasSuffix("·" + message("a")))
        let isAskedNow = pair.here.gateway.hub.hasUnproven(second)
        #expect(isAskedNow)
        let doubts = pair.here.close(second, Self.reset)
        #expect(doubts.isEmpty)
        let rest = Self.resume(&pair, sessionToken(reply))
        #expect(rest == Self.notice)
    }

    @Test func `an end in order announces nothing, and a reset behind it does`() {
        for isBroken in [false, true] {
            var pair = Pair()
            let (client, token) = Self.begin(&pair)
            pair.here.deliver(.user, "ann", "a")
            _ = pair.here.read(client)
            let doubts = pair.here.close(client, .inOrder)
            #expect(doubts.count == 1)
            let parting = isBroken ? Self.reset : .inOrder
            let left = pair.here.gateway.hub.conclude(doubts, parting)
            #expect(left.count == (isBroken ? 0 : 1))
            let rest = Self.resume(&pair, token)
            #expect(rest == (isBroken ? Self.notice : ""))
        }
    }

    @Test func `what is known too late is told to the connection that has the session by then`() {
        var pair = Pair()
        let (client, token) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(client)
        let doubts = pair.here.close(client, .inOrder)
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(token)\r\n")
        #expect(!reply.contains("gap"))
        _ = pair.here.gateway.hub.conclude(doubts, Self.unacknowledged(1))
        let told = pair.here.read(second)
        #expect(told == Self.notice)
    }

    @Test func `what is known too late is told to nobody if the session has ended`() {
        var pair = Pair()
        let (first, token) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        let doubts = pair.here.close(first, .inOrder)
        let second = pair.here.open()
        _ = pair.here.exchange(second, "MESH.ATTACH ann RESUME \(token)\r\nMESH.DETACH ann\r\n")
        // Its place is another's by now.
        let (third, _) = Self.begin(&pair)
        let left = pair.here.gateway.hub.conclude(doubts, Self.reset)
        #expect(left.isEmpty)
        let told = (pair.here.read(second), pair.here.read(third))
        #expect(told == ("", ""))
        #expect(pair.here.gateway.hub.counters[.sessionPartingsLost] == 0)
    }

    @Test
    func `who takes a session from a status connection is told what that may not have read`() {
        for isLost in [false, true] {
            var pair = Pair()
            let (first, token) = Self.begin(&pair)
            for text in ["a", "b"] {
                pair.here.deliver(.user, "ann", text)
                _ = pair.here.read(first)
            }
            pair.here.deliver(.user, "ann", "c")
            let second = pair.here.open()
            pair.here.send(second, Array("MESH.ATTACH ann RESUME \(token)\r\n".utf8))
            let isAsked = pair.here.gateway.hub.hasUnproven(first)
            #expect(isAsked)
            pair.here.close(first, Self.unacknowledged(isLost ? 1 : 0))
            let reply = pair.here.read(second)
            #expect(reply.hasSuffix("·" + (isLost ? Self.notice : "") + message("c")))
            #expect(reply.contains("gap") == isLost)
        }
    }

    @Test func `a session that another node fetches takes the notice with it`() {
        var pair = Pair()
        let (first, old) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        pair.here.close(first, Self.reset)
        pair.here.deliver(.user, "ann", "b")
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        let reply = pair.there.read(second)
        #expect(reply.hasSuffix("·" + Self.notice + message("b")))
    }

    @Test func `a node that has fetched a session from a status connection is told afterwards`() {
        var pair = Pair()
        let (first, old) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        let reply = pair.there.read(second)
        #expect(!reply.contains("gap"))
        let isDoomed = pair.here.gateway.hub.isDoomed(first)
        #expect(isDoomed)
        // No message waits there to be forwarded.
        pair.here.close(first, Self.unacknowledged(1))
        pair.settle()
        let told = pair.there.read(second)
        #expect(told == Self.notice)
        #expect(pair.here.gateway.hub.counters[.sessionDeparturesLost] == 0)
        pair.pass(.milliseconds(4_000))
        let rest = pair.there.read(second)
        #expect(rest == "", "it is told once")
        #expect(pair.here.gateway.hub.sessionCount == 0)
    }

    @Test func `a loss that is noticed while messages are passed on follows them`() {
        var pair = Pair()
        let (first, old) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        let doubts = pair.here.close(first, .inOrder)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        _ = pair.there.read(second)
        pair.here.deliver(.user, "ann", "b")
        pair.here.shared.mesh.runDeadlines()
        _ = pair.here.gateway.hub.conclude(doubts, Self.reset)
        pair.settle()
        let told = pair.there.read(second)
        #expect(told == message("b") + Self.notice)
    }

    @Test func `a loss that comes twice is told once`() {
        var pair = Pair()
        let (first, old) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        let doubts = pair.here.close(first, .inOrder)
        let second = pair.there.open()
        pair.there.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
        pair.settle()
        _ = pair.there.read(second)
        var doubledCount = 0
        pair.judgeParts { _ in
            doubledCount += 1
            return .double
        }
        _ = pair.here.gateway.hub.conclude(doubts, Self.reset)
        pair.settle()
        pair.pass(.seconds(3))
        #expect(doubledCount > 0)
        #expect(pair.there.read(second) == Self.notice)
    }

    @Test func `a client that counts is told nothing that its count says better`() {
        var pair = Pair()
        let first = pair.here.open()
        let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION COUNTED\r\n"))
        for text in ["a", "b"] { pair.here.deliver(.user, "ann", text) }
        _ = pair.here.read(first)
        let isAsked = pair.here.gateway.hub.hasUnproven(first)
        #expect(!isAsked)
        let doubts = pair.here.close(first, Self.reset)
        #expect(doubts.isEmpty)
        let rest = Self.resume(&pair, old, " SEEN 1")
        #expect(rest == message("b"))
    }

    @Test func `what came before a client began to count is in doubt until something was counted`()
    {
        for isCounted in [false, true] {
            var pair = Pair()
            let (first, old) = Self.begin(&pair)
            pair.here.deliver(.user, "ann", "a")
            _ = pair.here.read(first)
            _ = pair.here.exchange(first, "MESH.ATTACH ann SESSION COUNTED\r\n")
            if isCounted {
                pair.here.deliver(.user, "ann", "b")
                _ = pair.here.read(first)
            }
            pair.here.close(first, Self.reset)
            let rest = Self.resume(&pair, old, " SEEN \(isCounted ? 1 : 0)")
            #expect(rest == (isCounted ? "" : Self.notice))
        }
    }

    @Test func `a loss of unknown size outranks one of known size`() {
        var configuration = GatewayConfiguration()
        configuration.sessionCountMax = 1
        var pair = Pair(configuration)
        let (first, old) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        pair.here.close(first, Self.reset)
        for text in ["b", "c", "d"] { pair.here.deliver(.user, "ann", text) }
        let rest = Self.resume(&pair, old)
        #expect(rest == Self.notice + message("d"))
    }

    @Test func `a notice that may not have been read comes again, also if it was not sent at all`()
    {
        for isSent in [false, true] {
            var pair = Pair()
            let (first, old) = Self.begin(&pair)
            pair.here.deliver(.user, "ann", "a")
            _ = pair.here.read(first)
            pair.here.close(first, Self.reset)
            let second = pair.here.open()
            pair.here.send(second, Array("MESH.ATTACH ann RESUME \(old)\r\n".utf8))
            if isSent { _ = pair.here.read(second) }
            pair.here.close(second, Self.unacknowledged(isSent ? 1 : 0))
            let rest = Self.resume(&pair, old)
            #expect(rest == Self.notice)
            #expect(pair.here.gateway.hub.counters[.sessionPartingsLost] == 2)
        }
    }

    @Test func `a client that counts and has not heard of its token is told again what was lost`() {
        var configuration = GatewayConfiguration()
        configuration.sessionCountMax = 1
        for isElsewhere in [false, true] {
            var pair = Pair(configuration)
            let first = pair.here.open()
            let old = sessionToken(pair.here.exchange(first, "MESH.ATTACH ann SESSION COUNTED\r\n"))
            pair.here.close(first)
            for text in ["a", "b", "c"] { pair.here.deliver(.user, "ann", text) }
            let second = pair.here.open()
            let line = "MESH.ATTACH ann RESUME \(old) SEEN 0\r\n"
            let reply = pair.here.exchange(second, line)
            let both = "*5·$3·gap·$4·user·$3·ann·:2·:0·" + message("c")
            #expect(reply.hasSuffix("·" + both))
            pair.here.close(second, Self.reset)
            if isElsewhere {
                let third = pair.there.open()
                pair.there.send(third, Array(line.utf8))
                pair.settle()
                let again = pair.there.read(third)
                #expect(again.hasSuffix("·" + both))
            } else {
                let again = Self.resume(&pair, old, " SEEN 0")
                #expect(again == both)
            }
        }
    }

    @Test func `of several sessions of a connection each has its own last message`() {
        var pair = Pair()
        let (first, ann) = Self.begin(&pair)
        let bob = sessionToken(pair.here.exchange(first, "MESH.ATTACH bob SESSION\r\n"))
        pair.here.deliver(.user, "bob", "x")
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        // The message to bob came before: it has arrived.
        let doubts = pair.here.close(first, Self.unacknowledged(30))
        #expect(doubts.count == 1)
        let rest = Self.resume(&pair, ann)
        #expect(rest == Self.notice)
        let second = pair.here.open()
        let reply = pair.here.exchange(second, "MESH.ATTACH bob RESUME \(bob)\r\n")
        #expect(!reply.contains("gap"))
    }

    @Test func `a node that leaves passes on what it learns of connections that it has ended`() {
        var pair = Pair()
        let (first, old) = Self.begin(&pair)
        pair.here.deliver(.user, "ann", "a")
        _ = pair.here.read(first)
        pair.here.gateway.hub.beginDrain(.seconds(2), longest: .seconds(30), at: pair.here.now)
        pair.settle()
        pair.pass(.milliseconds(1_000))
        pair.pass(.milliseconds(1_000))
        _ = pair.here.read(first)
        let doubts = pair.here.close(first, .inOrder)
        pair.pass(.milliseconds(10))
        pair.pass(.milliseconds(300))
        #expect(pair.there.gateway.hub.sessionCount == 1)
        let hasMovedAll = pair.here.gateway.hub.hasMovedAll
        #expect(hasMovedAll)
        _ = pair.here.gateway.hub.conclude(doubts, Self.reset)
        let hasMovedAllNow = pair.here.gateway.hub.hasMovedAll
        #expect(!hasMovedAllNow)
        pair.settle()
        let back = pair.there.open()
        let reply = pair.there.exchange(back, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(reply.hasSuffix("·" + Self.notice))
    }
}
