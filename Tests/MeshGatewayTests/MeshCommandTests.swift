import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

@Suite struct MeshCommandTests {
    @Test func `what is sent to a user reaches each of its connections once`() {
        var harness = Harness()
        let old = harness.open()
        let new = harness.open(3)
        let sender = harness.open()
        let attached = harness.exchange(old, "MESH.ATTACH ann\r\nMESH.ATTACH ann\r\n")
        #expect(attached == "+OK·+OK·")
        _ = harness.exchange(new, "MESH.ATTACH ann\r\nMESH.ATTACH bob\r\n")
        let answer = harness.exchange(sender, "MESH.SEND ann hi\r\n")
        #expect(answer == ":1·")
        let first = harness.read(old)
        #expect(first == "*3·$4·user·$3·ann·$2·hi·")
        let second = harness.read(new)
        #expect(second == ">3·$4·user·$3·ann·$2·hi·")
    }

    @Test func `MESH.SEND answers to how many nodes the message went`() {
        var harness = Harness()
        let client = harness.open()
        let none = harness.exchange(client, "MESH.SEND ann hi\r\n")
        #expect(none == ":0·")
        harness.remoteNodeCount = 2
        let remote = harness.exchange(client, "mesh.send ann hi\r\n")
        #expect(remote == ":2·")
        _ = harness.exchange(client, "MESH.ATTACH ann\r\n")
        let all = harness.exchange(client, "MESH.SEND ann hi\r\n")
        #expect(all == ":3·*3·$4·user·$3·ann·$2·hi·")
    }

    @Test func `an attached RESP2 connection may run commands`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "MESH.ATTACH ann\r\nPING\r\nECHO x\r\n")
        #expect(answer == "+OK·+PONG·$1·x·")
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        let refused = harness.exchange(client, "MESH.ATTACH bob\r\n")
        #expect(refused.hasPrefix("-ERR Can't execute 'mesh.attach': only "))
    }

    @Test func `MESH.DETACH answers how many users are left`() {
        var harness = Harness()
        let client = harness.open()
        _ = harness.exchange(client, "MESH.ATTACH a\r\nMESH.ATTACH b\r\nMESH.ATTACH c\r\n")
        let two = harness.exchange(client, "MESH.DETACH a nobody a\r\n")
        #expect(two == ":1·")
        let rest = harness.exchange(client, "MESH.DETACH\r\nMESH.DETACH\r\n")
        #expect(rest == ":2·:0·")
        #expect(harness.changes.map(\.change) == [.add, .add, .add, .remove, .remove, .remove])
        let none = harness.exchange(client, "MESH.SEND a x\r\n")
        #expect(none == ":0·")
    }

    @Test(arguments: ["MESH.ATTACH", "MESH.SEND", "MESH.ONLINE", "MESH.WHERE", "MESH.WATCH"])
    func `a user's name has 1 to 512 bytes`(_ name: String) {
        var harness = Harness()
        let client = harness.open()
        let payload = name == "MESH.SEND" ? [[UInt8]("x".utf8)] : []
        for count in [0, 513] {
            let user = [UInt8](repeating: 0x61, count: count)
            let answer = harness.exchange(client, [Array(name.utf8), user] + payload)
            #expect(answer == "-ERR user names have 1 to 512 bytes·")
        }
        let user = [UInt8](repeating: 0x61, count: 512)
        let answer = harness.exchange(client, [Array(name.utf8), user] + payload)
        #expect(!answer.hasPrefix("-"))
    }

    @Test func `MESH.ONLINE and MESH.WHERE ask the node`() {
        var harness = Harness()
        harness.onlineUsers = ["ann"]
        let client = harness.open()
        let online = harness.exchange(client, "MESH.ONLINE ann bob ann\r\n")
        #expect(online == "*3·:1·:0·:1·")
        let place = harness.exchange(client, "MESH.WHERE ann\r\n")
        #expect(place == "*1·$4·here·")
    }

    @Test func `users are asked about by key, name, and whether they are here`() {
        var harness = Harness()
        let client = harness.open()
        _ = harness.exchange(client, "MESH.ATTACH ann\r\nMESH.ONLINE ann bob\r\n")
        guard case .online(let users) = harness.reports.last else {
            Issue.record("the node was not asked")
            return
        }
        let names = ["ann", "bob"].map { Array($0.utf8) }
        #expect(users.map(\.key) == names.map { Harness.hasher.key(.user, $0) })
        #expect(
            users.map(\.name)
                == names.map { Harness.hasher.nameDigest(.user, $0.span, 0, $0.count) })
        #expect(users.map(\.isHere) == [true, false])
    }

    @Test func `a watcher is confirmed, told the present, and told each change`() {
        var harness = Harness()
        harness.onlineUsers = ["ann"]
        let client = harness.open(3)
        let old = harness.open()
        let answer = harness.exchange(client, "MESH.WATCH ann bob\r\n")
        #expect(
            answer == ">3·$5·watch·$3·ann·:1·>3·$5·watch·$3·bob·:2·"
                + ">3·$8·presence·$3·ann·$6·online·>3·$8·presence·$3·bob·$7·offline·")
        let array = harness.exchange(old, "MESH.WATCH bob\r\n")
        #expect(array == "*3·$5·watch·$3·bob·:1·*3·$8·presence·$3·bob·$7·offline·")
        let bob = Harness.hasher.key(.user, Array("bob".utf8))
        harness.gateway.presence(bob, isOnline: true)
        let told = harness.read(client)
        #expect(told == ">3·$8·presence·$3·bob·$6·online·")
        let toldToo = harness.read(old)
        #expect(toldToo == "*3·$8·presence·$3·bob·$6·online·")
        let left = harness.exchange(client, "MESH.UNWATCH bob\r\nMESH.UNWATCH\r\n")
        #expect(left == ">3·$7·unwatch·$3·bob·:1·>3·$7·unwatch·$3·ann·:0·")
        harness.gateway.presence(bob, isOnline: false)
        let silence = harness.read(client)
        #expect(silence == "")
        let watches = harness.changes.map(\.change)
        #expect(watches == [.add, .add, .remove])
    }

    @Test func `members, links and status are the driver's to tell`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "MESH.MEMBERS\r\nMESH.LINKS\r\nMESH.STATUS\r\n")
        #expect(answer == "*1·$7·members·*1·$5·links·*2·$5·ready·:1·")
    }

    @Test func `MESH.HELP names every MESH command`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "MESH.HELP\r\n")
        let words = [
            "ATTACH", "DETACH", "SEND", "ONLINE", "WHERE", "WATCH", "UNWATCH", "MEMBERS",
            "LINKS", "STATUS", "TRACE", "PUBLISH", "POLICY", "GAPS",
            "REPORTS", "MOVES", "HELP",
        ]
        for word in words { #expect(answer.contains("+MESH.\(word)")) }
    }
}

@Suite struct QuestionTests {
    @Test func `PUBSUB NUMSUB asks the holders and sums what they answer`() {
        var here = Harness()
        var there = Harness()
        let local = here.open()
        _ = here.exchange(local, "SUBSCRIBE a\r\n")
        for _ in 0..<2 {
            let remote = there.open()
            _ = there.exchange(remote, "SUBSCRIBE a b\r\n")
        }
        here.answers = nil
        let client = here.open()
        let open = here.exchange(client, "PUBSUB NUMSUB a b c a\r\nPING\r\n")
        #expect(open == "")
        guard case .holders(let keys, let subject) = here.questions[0].query else {
            Issue.record("\(here.questions[0].query)")
            return
        }
        let bytes = here.questions[0].bytes
        let names = ["a", "b", "c", "a"].map { Array($0.utf8) }
        for (index, name) in names.enumerated() {
            let start = Int(keys.start) + index * 8
            let raw = bytes[start..<start + 8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            #expect(Key(raw) == Harness.hasher.key(.channel, name))
        }
        var answer = ByteQueue()
        there.gateway.answer(subject, bytes.span, into: &answer)
        let answered = answer.withSpan { Array(copying: $0) }
        for _ in 0..<2 {
            here.gateway.answered(
                here.questions[0].id, Slice(start: 0, count: answered.count), answered.span)
        }
        let unblocked = here.gateway.finished(here.questions[0].id)
        #expect(unblocked == client)
        here.run(client)
        let reply = here.read(client)
        #expect(reply == "*8·$1·a·:5·$1·b·:4·$1·c·:0·$1·a·:5·+PONG·")
    }

    @Test func `PUBSUB CHANNELS asks everyone and answers each name once`() {
        var here = Harness()
        var there = Harness()
        let local = here.open()
        _ = here.exchange(local, "SUBSCRIBE news.a other\r\nPSUBSCRIBE news*\r\n")
        let remote = there.open()
        _ = there.exchange(remote, "SUBSCRIBE news.b news.a\r\nSSUBSCRIBE news.s\r\n")
        here.answers = nil
        let client = here.open()
        _ = here.exchange(client, "PUBSUB CHANNELS news.*\r\n")
        guard case .everyone(let subject) = here.questions[0].query else {
            Issue.record("\(here.questions[0].query)")
            return
        }
        let bytes = here.questions[0].bytes
        var answer = ByteQueue()
        there.gateway.answer(subject, bytes.span, into: &answer)
        let answered = answer.withSpan { Array(copying: $0) }
        here.gateway.answered(
            here.questions[0].id, Slice(start: 0, count: answered.count), answered.span)
        _ = here.gateway.finished(here.questions[0].id)
        let reply = here.read(client)
        #expect(reply == "*2·$6·news.a·$6·news.b·")
    }

    @Test func `MESH.TRACE answers the path to each holder`() {
        var harness = Harness()
        harness.answers = nil
        let client = harness.open(3)
        let wrong = harness.exchange(client, "MESH.TRACE ROOM x\r\n")
        #expect(wrong == "-ERR syntax error: MESH.TRACE USER|CHANNEL name·")
        _ = harness.exchange(client, "MESH.TRACE user ann\r\n")
        guard case .trace(let key) = harness.questions[0].query else {
            Issue.record("\(harness.questions[0].query)")
            return
        }
        #expect(key == Harness.hasher.key(.user, Array("ann".utf8)))
        let query = harness.questions[0].id
        harness.gateway.traced(
            query,
            TracedWay(holder: NodeID(3), name: "n3", standing: "alive", path: ["n2", "n3"]))
        let silent = harness.gateway.silentHolders(query) { asked in
            asked.key == key ? [NodeID(3), NodeID(4)] : []
        }
        #expect(silent == [NodeID(4)])
        harness.gateway.traced(
            query, TracedWay(holder: NodeID(4), name: "n4", standing: "suspect", path: nil))
        _ = harness.gateway.finished(query)
        let reply = harness.read(client)
        #expect(
            reply == "*2·%5·$6·holder·$2·n3·$2·id·$16·0000000000000003·"
                + "$8·standing·$5·alive·$4·hops·:2·$4·path·*2·$2·n2·$2·n3·"
                + "%5·$6·holder·$2·n4·$2·id·$16·0000000000000004·"
                + "$8·standing·$7·suspect·$4·hops·_·$4·path·_·")
    }

    @Test func `the answer for a client that has gone goes to nobody`() {
        var harness = Harness()
        harness.answers = nil
        let client = harness.open()
        _ = harness.exchange(client, "PUBSUB CHANNELS\r\n")
        harness.close(client)
        let other = harness.open()
        #expect(other == client)
        let unblocked = harness.gateway.finished(harness.questions[0].id)
        #expect(unblocked == nil)
        let silence = harness.read(other)
        #expect(silence == "")
        let late = harness.gateway.finished(harness.questions[0].id)
        #expect(late == nil)
    }

    @Test func `malformed subjects get no answer and malformed answers are not believed`() {
        var dice = Dice(state: 11)
        var harness = Harness()
        let local = harness.open()
        _ = harness.exchange(local, "SUBSCRIBE a b c\r\n")
        for round in 0..<20_000 {
            var bytes = (0..<dice.roll(24)).map { _ in UInt8(dice.roll(round % 2 == 0 ? 256 : 6)) }
            var answer = ByteQueue()
            harness.gateway.answer(
                Slice(start: 0, count: bytes.count), bytes.span, into: &answer)
            // What any answer can be, for what asks least: names of here, or four bytes a name.
            #expect(answer.count <= 64)
            if bytes.count > 3 { bytes.removeLast(2) }
        }
        let client = harness.open()
        harness.answers = [[], [0, 255, 255, 1], [0, 1, 0], [0, 1, 0, 0x7A], [1]]
        let channels = harness.exchange(client, "PUBSUB CHANNELS\r\n")
        #expect(channels == "*4·$1·a·$1·b·$1·c·$1·z·")
        harness.answers = [[], [1, 2, 3], [0, 0, 0, 0, 0], [2, 0, 0, 0]]
        let counts = harness.exchange(client, "PUBSUB NUMSUB a\r\n")
        #expect(counts == "*2·$1·a·:3·")
        let malformed = harness.gateway.counters[.answersMalformed]
        #expect(malformed >= 6)
    }

    @Test func `a question for too many channels is refused`() {
        var harness = Harness()
        let client = harness.open()
        let names = [[UInt8]](repeating: [0x61], count: 65_537)
        let answer = harness.exchange(
            client, [Array("PUBSUB".utf8), Array("NUMSUB".utf8)] + names)
        #expect(answer == "-ERR too many channels in one question·")
    }
}
