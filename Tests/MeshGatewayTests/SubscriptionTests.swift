import MeshWire
import Testing

@testable import MeshCore
@testable import MeshGateway

@Suite struct SubscriptionTests {
    @Test func `each argument is confirmed, repeats too, and counts are of channels and patterns`()
    {
        var harness = Harness()
        let client = harness.open()
        let one = harness.exchange(client, "SUBSCRIBE a b a\r\n")
        #expect(
            one == "*3·$9·subscribe·$1·a·:1·*3·$9·subscribe·$1·b·:2·*3·$9·subscribe·$1·a·:2·")
        let two = harness.exchange(client, "PSUBSCRIBE p*\r\n")
        #expect(two == "*3·$10·psubscribe·$2·p*·:3·")
        let shard = harness.exchange(client, "SSUBSCRIBE s t\r\n")
        #expect(shard == "*3·$10·ssubscribe·$1·s·:1·*3·$10·ssubscribe·$1·t·:2·")
        let left = harness.exchange(client, "UNSUBSCRIBE a nope\r\n")
        #expect(left == "*3·$11·unsubscribe·$1·a·:2·*3·$11·unsubscribe·$4·nope·:2·")
        let all = harness.exchange(client, "UNSUBSCRIBE\r\n")
        #expect(all == "*3·$11·unsubscribe·$1·b·:1·")
        let none = harness.exchange(client, "UNSUBSCRIBE\r\n")
        #expect(none == "*3·$11·unsubscribe·$-1·:1·")
        let patterns = harness.exchange(client, "PUNSUBSCRIBE\r\n")
        #expect(patterns == "*3·$12·punsubscribe·$2·p*·:0·")
        let limited = harness.exchange(client, "ECHO x\r\n")
        #expect(limited.hasPrefix("-ERR Can't execute 'echo': only (P|S)SUBSCRIBE / "))
        let shards = harness.exchange(client, "SUNSUBSCRIBE\r\n")
        #expect(shards == "*3·$12·sunsubscribe·$1·t·:1·*3·$12·sunsubscribe·$1·s·:0·")
        let free = harness.exchange(client, "ECHO x\r\n")
        #expect(free == "$1·x·")
    }

    @Test func `a pattern longer than every node would keep is refused`() {
        var harness = Harness()
        let client = harness.open()
        let longest = String(repeating: "a", count: Frame.patternLengthMax)
        let accepted = harness.exchange(client, "PSUBSCRIBE \(longest)\r\n")
        #expect(accepted.hasSuffix(":1·"))
        let refused = harness.exchange(client, "PSUBSCRIBE b \(longest)*\r\n")
        #expect(refused == "-ERR patterns have at most 1024 bytes·")
    }

    @Test func `in RESP3 confirmations are pushes`() {
        var harness = Harness()
        let client = harness.open(3)
        let answer = harness.exchange(
            client, "SUBSCRIBE a\r\nSSUBSCRIBE s\r\nUNSUBSCRIBE\r\nUNSUBSCRIBE\r\n")
        #expect(
            answer == ">3·$9·subscribe·$1·a·:1·>3·$10·ssubscribe·$1·s·:1·"
                + ">3·$11·unsubscribe·$1·a·:0·>3·$11·unsubscribe·_·:0·")
    }

    @Test(arguments: [
        ("PING", "*2·$4·pong·$0··"),
        ("PING hi", "*2·$4·pong·$2·hi·"),
        ("ECHO x", "echo"), ("CLIENT LIST", "client|list"), ("PUBLISH a b", "publish"),
        ("HELLO 3", "hello"), ("MESH.SEND u x", "mesh.send"),
    ])
    func `a subscribed RESP2 client may do little`(_ row: (String, String)) {
        var harness = Harness()
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        let answer = harness.exchange(client, row.0 + "\r\n")
        let refusal =
            "-ERR Can't execute '\(row.1)': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / "
            + "PING / QUIT / RESET are allowed in this context·"
        #expect(answer == (row.1.hasPrefix("*") ? row.1 : refusal))
    }

    @Test func `a subscribed RESP3 client may do everything`() {
        var harness = Harness()
        let client = harness.open(3)
        let answer = harness.exchange(client, "SUBSCRIBE a\r\nPING\r\nECHO x\r\nCLIENT ID\r\n")
        #expect(answer.hasSuffix("+PONG·$1·x·:1·"))
    }

    @Test func `RESET ends the subscriptions and RESP3`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "SUBSCRIBE a\r\nPSUBSCRIBE b\r\nMESH.ATTACH u\r\n")
        let answer = harness.exchange(client, "RESET\r\nCLIENT GETNAME\r\nPUBLISH a x\r\n")
        #expect(answer == "+RESET·$-1·:0·")
        let removals = harness.changes.suffix(3).map(\.operation)
        #expect(removals.filter { $0 == .removeKey }.count == 2)
        #expect(removals.filter { $0 == .removePattern }.count == 1)
    }

    @Test func `the node hears of first arrivals and last departures alone`() {
        var harness = Harness()
        let one = harness.open()
        let two = harness.open()
        let key = Harness.hasher.key(.channel, Array("news".utf8))
        _ = harness.exchange(one, "SUBSCRIBE news news\r\n")
        #expect(harness.changes.map(\.key) == [key])
        #expect(harness.changes.map(\.operation) == [.addKey])
        _ = harness.exchange(two, "SUBSCRIBE news\r\n")
        _ = harness.exchange(one, "UNSUBSCRIBE news news\r\n")
        #expect(harness.changes.count == 1)
        harness.close(two)
        #expect(harness.changes.map(\.operation) == [.addKey, .removeKey])
        #expect(harness.changes.map(\.key) == [key, key])
    }

    @Test func `patterns, shard channels and users have keys of their own`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(
            client, "SUBSCRIBE x\r\nSSUBSCRIBE x\r\nPSUBSCRIBE x\r\nMESH.ATTACH x\r\n")
        let name = Array("x".utf8)
        let keys = [KeyKind.channel, .shardChannel, .pattern, .user].map {
            Harness.hasher.key($0, name)
        }
        #expect(harness.changes.map(\.key) == keys)
        #expect(harness.changes.map(\.operation) == [.addKey, .addKey, .addPattern, .addKey])
        let patterns = harness.shared.mesh.hosts[0].server.node.directory.patterns.texts(
            keys[2], of: 0)
        #expect(patterns == [name])
        // A watcher of a user has it not.
        let told = harness.exchange(client, "MESH.WATCH x\r\n")
        #expect(told.hasSuffix("·$8·presence·$1·x·$6·online·"))
        #expect(harness.changes.count == 4)
    }

    @Test func `100,000 channels in one command are subscribed to, and left, in linear time`() {
        var harness = Harness()
        let client = harness.open(3)
        let names = (0..<100_000).map { Array("channel:\($0)".utf8) }
        let clock = ContinuousClock()
        let taken = clock.measure {
            harness.send(client, command([Array("SUBSCRIBE".utf8)] + names))
            // It takes several turns.
            harness.pass(.milliseconds(100))
        }
        let count = harness.gateway.hub.channelCount
        #expect(count == 100_000)
        #expect(harness.changeCount == 100_000)
        let confirmations = harness.readBytes(client)
        #expect(confirmations.suffix(9) == Array(":100000\r\n".utf8))
        let closing = clock.measure {
            harness.close(client)
            // It leaves over several turns.
            harness.pass(.milliseconds(100))
        }
        let left = harness.gateway.hub.channelCount
        #expect(left == 0)
        #expect(harness.changeCount == 200_000)
        #expect(taken < .seconds(15) && closing < .seconds(15))
    }

    @Test func `a channel of many clients is joined, served and left`() {
        var harness = Harness()
        let clients = (0..<2_000).map { _ in harness.open() }
        for client in clients { _ = harness.exchange(client, "SUBSCRIBE all\r\n") }
        let publisher = harness.open()
        let answer = harness.exchange(publisher, "PUBLISH all x\r\n")
        #expect(answer == ":2000·")
        for client in clients {
            let message = harness.read(client)
            #expect(message == "*3·$7·message·$3·all·$1·x·")
        }
        for client in clients.reversed() { harness.close(client) }
        let count = harness.gateway.hub.subscriptionCount
        #expect(count == 0)
    }

    @Test func `names longer than a frame can carry are refused as a whole`() {
        var harness = Harness()
        let client = harness.open()
        let long = [UInt8](repeating: 0x61, count: 65_536)
        let refusal = "-ERR channel names have at most 65535 bytes·"
        let subscribe = harness.exchange(client, [Array("SUBSCRIBE".utf8), [0x62], long])
        #expect(subscribe == refusal)
        let publish = harness.exchange(client, [Array("PUBLISH".utf8), long, [0x62]])
        #expect(publish == refusal)
        let left = harness.exchange(client, [Array("UNSUBSCRIBE".utf8), long])
        #expect(left.hasSuffix(":0·"))
        let count = harness.gateway.hub.channelCount
        #expect(count == 0)
        let longest = Array(long.dropLast())
        _ = harness.exchange(client, [Array("SUBSCRIBE".utf8), longest])
        let other = harness.open()
        let answer = harness.exchange(other, [Array("PUBLISH".utf8), longest, [0x62]])
        #expect(answer == ":1·")
    }

    @Test func `the text of patterns is bounded, of the node and of the mesh`() {
        var configuration = GatewayConfiguration()
        configuration.patternBytesMax = 10
        configuration.meshPatternBytesMax = 15
        var harness = Harness(configuration)
        let client = harness.open(3)
        let ten = harness.exchange(client, "PSUBSCRIBE aaaa* bbbb*\r\n")
        #expect(!ten.contains("-ERR"))
        let refused = harness.exchange(client, "PSUBSCRIBE aaaa* c\r\n")
        #expect(refused == "-ERR the patterns of a node have at most 10 bytes·")
        // Patterns that are there already take no room.
        let again = harness.exchange(harness.open(3), "PSUBSCRIBE bbbb* aaaa* aaaa*\r\n")
        #expect(!again.contains("-ERR"))
        _ = harness.exchange(client, "PUNSUBSCRIBE bbbb*\r\n")
        harness.gateway.hub.configuration.patternBytesMax = 100
        let fits = harness.exchange(client, "PSUBSCRIBE cccc*\r\n")
        #expect(!fits.contains("-ERR"))
        let beyond = harness.exchange(client, "PSUBSCRIBE d\r\n")
        #expect(beyond == "-ERR all patterns in the mesh have at most 15 bytes·")
        #expect(harness.gateway.hub.counters[.subscriptionsRefused] == 2)
    }

    @Test func `at the node's bounds subscriptions are refused, and counted`() {
        var configuration = GatewayConfiguration()
        configuration.subscriptionCountMax = 4
        configuration.patternCountMax = 1
        configuration.nameBytesMax = 100
        var harness = Harness(configuration)
        let client = harness.open(3)
        let refusal = "-ERR this node has all the subscriptions that it may have·"
        let five = harness.exchange(client, "SUBSCRIBE a b c d e\r\n")
        #expect(five == refusal)
        let patterns = harness.exchange(client, "PSUBSCRIBE a* b*\r\n")
        #expect(patterns == "-ERR a node has at most 1 patterns·")
        let long = String(repeating: "x", count: 101)
        let name = harness.exchange(client, "SSUBSCRIBE \(long)\r\n")
        #expect(name == refusal)
        let fits = harness.exchange(
            client, "PSUBSCRIBE a*\r\nMESH.ATTACH u\r\nMESH.WATCH u\r\nSUBSCRIBE a\r\n")
        #expect(!fits.contains("-ERR"))
        for line in ["SUBSCRIBE b", "MESH.ATTACH v", "MESH.WATCH v"] {
            let answer = harness.exchange(client, line + "\r\n")
            #expect(answer == refusal)
        }
        let again = harness.exchange(client, "UNSUBSCRIBE a\r\nSUBSCRIBE b\r\n")
        #expect(!again.contains("-ERR"))
        let refused = harness.gateway.hub.counters[.subscriptionsRefused]
        #expect(refused == 6)
        harness.close(client)
        let bytes = harness.gateway.hub.registry.topics.nameBytes
        #expect(bytes == 0)
    }

    @Test func `the empty name is a name`() {
        var harness = Harness()
        let client = harness.open(3)
        let answer = harness.exchange(client, "SUBSCRIBE ''\r\nPUBLISH '' x\r\n")
        #expect(answer == ">3·$9·subscribe·$0··:1·:1·>3·$7·message·$0··$1·x·")
    }
}

@Suite struct SubscriberTests {
    @Test func `a message reaches subscribers of its channel and of patterns that match`() {
        var harness = Harness()
        let both = harness.open()
        let modern = harness.open(3)
        let publisher = harness.open()
        _ = harness.exchange(both, "SUBSCRIBE news\r\nPSUBSCRIBE n* *s x*\r\n")
        _ = harness.exchange(modern, "SUBSCRIBE news\r\n")
        let answer = harness.exchange(publisher, "PUBLISH news hello\r\n")
        #expect(answer == ":4·")
        let message = "3·$7·message·$4·news·$5·hello·"
        let got = harness.read(both)
        #expect(got.hasPrefix("*" + message))
        let rest = got.dropFirst(message.count + 1)
        let first = "*4·$8·pmessage·$2·n*·$4·news·$5·hello·"
        let second = "*4·$8·pmessage·$2·*s·$4·news·$5·hello·"
        #expect(rest == first + second || rest == second + first)
        let push = harness.read(modern)
        #expect(push == ">" + message)
        let delivered = harness.gateway.hub.counters[.clientCopies]
        #expect(delivered == 4)
    }

    @Test func `shard channels are another world`() {
        var harness = Harness()
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a\r\nPSUBSCRIBE *\r\nSSUBSCRIBE s\r\n")
        let publisher = harness.open()
        let none = harness.exchange(publisher, "SPUBLISH a x\r\n")
        #expect(none == ":0·")
        let one = harness.exchange(publisher, "SPUBLISH s x\r\n")
        #expect(one == ":1·")
        let got = harness.read(client)
        #expect(got == "*3·$8·smessage·$1·s·$1·x·")
    }

    @Test func `a publisher that hears itself has its reply first`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "SUBSCRIBE a\r\nPSUBSCRIBE a*\r\n")
        let answer = harness.exchange(client, "PUBLISH a x\r\n")
        #expect(
            answer == ":2·>3·$7·message·$1·a·$1·x·>4·$8·pmessage·$2·a*·$1·a·$1·x·")
    }

    @Test func `PUBLISH counts local receivers and remote nodes`() {
        var harness = Harness(peerCount: 4)
        for number in 1...3 {
            // Two clients of one node are one receiver.
            for _ in 0..<2 {
                var peer = harness.peer(number)
                _ = peer.exchange(peer.open(), "SUBSCRIBE a\r\n")
            }
        }
        harness.pass(.milliseconds(500))
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        let publisher = harness.open()
        let answer = harness.exchange(publisher, "publish a x\r\n")
        #expect(answer == ":4·")
    }

    @Test func `messages of other nodes are delivered to local clients`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(
            client, "SUBSCRIBE a\r\nPSUBSCRIBE a?\r\nSSUBSCRIBE s\r\nMESH.ATTACH u\r\n")
        let counts = [
            harness.deliver(.channel, "a", "1"), harness.deliver(.channel, "ab", "2"),
            harness.deliver(.shardChannel, "s", "3"), harness.deliver(.user, "u", "4"),
            harness.deliver(.user, "a", "5"), harness.deliver(.channel, "q", "6"),
        ]
        #expect(counts == [1, 1, 1, 1, 0, 0])
        let got = harness.read(client)
        #expect(
            got == ">3·$7·message·$1·a·$1·1·>4·$8·pmessage·$2·a?·$2·ab·$1·2·"
                + ">3·$8·smessage·$1·s·$1·3·>3·$4·user·$1·u·$1·4·")
    }

    @Test func `a client stands in dirty once until it is flushed`() {
        var harness = Harness()
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        harness.deliver(.channel, "a", "1")
        harness.deliver(.channel, "a", "2")
        let dirty = harness.gateway.hub.outbox.dirty
        #expect(dirty == [client])
        _ = harness.read(client)
        harness.deliver(.channel, "a", "3")
        let again = harness.gateway.hub.outbox.dirty
        #expect(again == [client])
    }

    @Test func `output that is taken in parts comes whole`() {
        var harness = Harness()
        let client = harness.open()
        harness.send(client, command("ECHO", String(repeating: "abc", count: 100)))
        var got: [UInt8] = []
        while harness.gateway.hub.outputCount(client) > 0 {
            harness.gateway.hub.flush(client) { raw in
                let part = min(raw.count, 7)
                got += unsafe Array(raw.prefix(part))
                return part
            }
        }
        #expect(got == Array("$300\r\n\(String(repeating: "abc", count: 100))\r\n".utf8))
    }

    @Test func `a payload of a megabyte is delivered`() {
        var harness = Harness()
        let client = harness.open()
        let payload = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        _ = harness.exchange(client, "SUBSCRIBE big\r\n")
        let publisher = harness.open()
        let answer = harness.exchange(
            publisher, [Array("PUBLISH".utf8), Array("big".utf8), payload])
        #expect(answer == ":1·")
        let got = harness.readBytes(client)
        let head = Array("*3\r\n$7\r\nmessage\r\n$3\r\nbig\r\n$1000000\r\n".utf8)
        #expect(got == head + payload + [13, 10])
    }
}

@Suite struct OutputLimitTests {
    private func limited() -> GatewayConfiguration {
        var configuration = GatewayConfiguration()
        configuration.pubsubOutputLimit = OutputLimit(
            hard: 10_000, soft: 1_000, softDuration: .seconds(60))
        return configuration
    }

    @Test func `at the hard limit a subscriber is doomed, its output gone, others untouched`() {
        var harness = Harness(limited())
        let slow = harness.open()
        let quick = harness.open()
        _ = harness.exchange(slow, "SUBSCRIBE a\r\n")
        _ = harness.exchange(quick, "SUBSCRIBE a\r\n")
        for number in 0..<20 {
            harness.deliver(.channel, "a", String(repeating: "x", count: 1_000))
            let got = harness.read(quick)
            #expect(got.count > 1_000, "message \(number)")
        }
        let isDoomed = harness.gateway.hub.isDoomed(slow)
        #expect(isDoomed)
        let waiting = harness.gateway.hub.outputCount(slow)
        #expect(waiting == 0)
        let overdue = harness.gateway.hub.overdue(at: harness.now)
        #expect(overdue == [slow])
        let counters = harness.gateway.hub.counters
        #expect(counters[.clientsOverdue] == 1)
        #expect(counters[.clientCopies] == 30 && counters[.droppedClientCopies] == 10)
        harness.run(slow)
        #expect(harness.ended == [slow])
    }

    @Test func `above the soft limit a subscriber has sixty seconds without a pause`() {
        var harness = Harness(limited())
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        func overdue(after seconds: Int64) -> [ClientIndex] {
            harness.gateway.hub.overdue(at: Instant(nanoseconds: seconds * 1_000_000_000))
        }
        harness.deliver(.channel, "a", String(repeating: "x", count: 2_000))
        #expect(overdue(after: 0) == [])
        #expect(overdue(after: 59) == [])
        // It catches up, and falls behind again: the time begins anew.
        _ = harness.read(client)
        #expect(overdue(after: 60) == [])
        harness.deliver(.channel, "a", String(repeating: "x", count: 2_000))
        #expect(overdue(after: 61) == [])
        #expect(overdue(after: 120) == [])
        #expect(overdue(after: 121) == [client])
    }

    @Test func `who subscribes to nothing has the limits of normal clients`() {
        var harness = Harness(limited())
        let client = harness.open()
        harness.send(client, command("ECHO", String(repeating: "x", count: 50_000)))
        let isDoomed = harness.gateway.hub.isDoomed(client)
        #expect(!isDoomed)
        let waiting = harness.gateway.hub.outputCount(client)
        #expect(waiting > 50_000)
    }

    @Test func `CONFIG SET changes the limits at once`() {
        var harness = Harness()
        let client = harness.open(3)
        let answer = harness.exchange(
            client, "CONFIG SET client-output-buffer-limit 'pubsub 2kb 1kb 5'\r\n")
        #expect(answer == "+OK·")
        let shown = harness.exchange(client, "CONFIG GET client-output-buffer-limit\r\n")
        #expect(shown.contains("pubsub 2048 1024 5·"))
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        harness.deliver(.channel, "a", String(repeating: "x", count: 3_000))
        let isDoomed = harness.gateway.hub.isDoomed(client)
        #expect(isDoomed)
    }

    @Test(arguments: ["PUBLISH a hello\r\n", "SPUBLISH a hello\r\n", "MESH.SEND a hello\r\n"])
    func `a publish that must wait is read again`(_ line: String) {
        var harness = Harness()
        let client = harness.open()
        for input in [Array(line.utf8), command(line.split(separator: " ").map { Array($0.utf8) })]
        {
            let before = harness.gateway.hub.counters[.commands]
            var offset = 0
            for _ in 0..<3 {
                offset = 0
                let request = harness.gateway.next(
                    input.span, at: &offset, from: client, now: harness.now)
                guard case .publish = request else {
                    Issue.record("no publication but \(request)")
                    return
                }
                let isPostponed = harness.gateway.postpone(client)
                #expect(isPostponed)
            }
            let after = harness.gateway.hub.counters[.commands]
            #expect(offset == input.count && after == before)
        }
        let nothing = harness.read(client)
        #expect(nothing == "")
        // A command that has left its mark cannot be read twice.
        _ = harness.exchange(client, "CLIENT REPLY SKIP\r\n")
        let input = Array("PUBLISH a hello\r\n".utf8)
        var offset = 0
        _ = harness.gateway.next(input.span, at: &offset, from: client, now: harness.now)
        let isPostponed = harness.gateway.postpone(client)
        #expect(!isPostponed)
    }
}
