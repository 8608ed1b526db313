import MeshWire
import Testing

@testable import MeshCore
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
        var harness = Harness(peerCount: 2)
        let client = harness.open()
        let none = harness.exchange(client, "MESH.SEND ann hi\r\n")
        #expect(none == ":0·")
        for number in 1...2 {
            var peer = harness.peer(number)
            _ = peer.exchange(peer.open(), "MESH.ATTACH ann\r\n")
        }
        harness.pass(.milliseconds(500))
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
        let told = harness.changes.map(\.operation)
        #expect(told == [.addKey, .addKey, .addKey, .removeKey, .removeKey, .removeKey])
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
        var harness = Harness(peerCount: 2)
        var peer = harness.peer(1)
        _ = peer.exchange(peer.open(), "MESH.ATTACH ann\r\n")
        harness.pass(.milliseconds(500))
        let client = harness.open()
        let online = harness.exchange(client, "MESH.ONLINE ann bob ann\r\n")
        #expect(online == "*3·:1·:0·:1·")
        let place = harness.exchange(client, "MESH.WHERE ann\r\n")
        #expect(
            place == "*1·*8·$2·id·$16·0000000000000002·$4·name·$2·n1·$4·zone·$0··"
                + "$8·endpoint·$13·10.0.0.1:7400·")
    }

    @Test func `users are asked about by key, name, and whether they are here`() {
        var harness = Harness()
        let client = harness.open()
        _ = harness.exchange(client, "MESH.ATTACH ann\r\n")
        let input = command("MESH.ONLINE", "ann", "bob")
        var offset = 0
        var request = harness.gateway.next(
            input.span, at: &offset, from: client, now: harness.now)
        if case .command = request {
            request = harness.gateway.carryOut(
                input.span, at: &offset, from: client, now: harness.now)
        }
        guard case .report = request, case .online(let users) = harness.gateway.report else {
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
        var harness = Harness(peerCount: 1)
        var peer = harness.peer(1)
        let remote = peer.open()
        _ = peer.exchange(remote, "MESH.ATTACH ann\r\n")
        harness.pass(.milliseconds(500))
        let client = harness.open(3)
        let old = harness.open()
        let answer = harness.exchange(client, "MESH.WATCH ann bob\r\n")
        #expect(
            answer == ">3·$5·watch·$3·ann·:1·>3·$5·watch·$3·bob·:2·"
                + ">3·$8·presence·$3·ann·$6·online·>3·$8·presence·$3·bob·$7·offline·")
        let array = harness.exchange(old, "MESH.WATCH bob\r\n")
        #expect(array == "*3·$5·watch·$3·bob·:1·*3·$8·presence·$3·bob·$7·offline·")
        _ = peer.exchange(remote, "MESH.ATTACH bob\r\n")
        harness.pass(.milliseconds(500))
        let told = harness.read(client)
        #expect(told == ">3·$8·presence·$3·bob·$6·online·")
        let toldToo = harness.read(old)
        #expect(toldToo == "*3·$8·presence·$3·bob·$6·online·")
        let left = harness.exchange(client, "MESH.UNWATCH bob\r\nMESH.UNWATCH\r\n")
        #expect(left == ">3·$7·unwatch·$3·bob·:1·>3·$7·unwatch·$3·ann·:0·")
        _ = peer.exchange(remote, "MESH.DETACH\r\n")
        harness.pass(.seconds(20))
        let silence = harness.read(client)
        #expect(silence == "")
        let toldLast = harness.read(old)
        #expect(toldLast == "*3·$8·presence·$3·bob·$7·offline·")
    }

    @Test func `members, links and status are the driver's to tell`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "MESH.MEMBERS\r\nMESH.LINKS\r\nMESH.STATUS\r\n")
        #expect(answer.hasPrefix("*1·*20·$2·id·$16·0000000000000001·$4·name·$2·n0·"))
        // The only member has no link.
        #expect(answer.contains("$4·self·:1·*0·*"))
        #expect(answer.contains("·$5·ready·:1·"))
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
        var here = Harness(peerCount: 3)
        let local = here.open()
        _ = here.exchange(local, "SUBSCRIBE a\r\n")
        for number in 1...2 {
            var there = here.peer(number)
            for _ in 0..<2 { _ = there.exchange(there.open(), "SUBSCRIBE a b\r\n") }
        }
        here.pass(.milliseconds(500))
        let client = here.open()
        here.freezePeers()
        let open = here.exchange(client, "PUBSUB NUMSUB a b c a\r\nPING\r\n")
        #expect(open == "")
        // The third has none of them.
        here.shared.mesh.thaw(1)
        here.shared.mesh.thaw(2)
        here.pass(.zero)
        let reply = here.read(client)
        #expect(reply == "*8·$1·a·:5·$1·b·:4·$1·c·:0·$1·a·:5·+PONG·")
    }

    @Test func `PUBSUB CHANNELS asks everyone and answers each name once`() {
        var here = Harness(peerCount: 2)
        let local = here.open()
        _ = here.exchange(local, "SUBSCRIBE news.a other\r\nPSUBSCRIBE news*\r\n")
        var there = here.peer(1)
        _ = there.exchange(there.open(3), "SUBSCRIBE news.b news.a\r\nSSUBSCRIBE news.s\r\n")
        let client = here.open()
        here.freezePeers()
        _ = here.exchange(client, "PUBSUB CHANNELS news.*\r\n")
        here.shared.mesh.thaw(1)
        here.pass(.zero)
        let early = here.read(client)
        #expect(early == "")
        here.shared.mesh.thaw(2)
        here.pass(.zero)
        let reply = here.read(client)
        #expect(reply == "*2·$6·news.a·$6·news.b·")
    }

    @Test func `MESH.TRACE answers the path to each holder`() {
        var harness = Harness(peerCount: 2)
        for number in 1...2 {
            var peer = harness.peer(number)
            _ = peer.exchange(peer.open(), "MESH.ATTACH ann\r\n")
        }
        harness.pass(.milliseconds(500))
        let client = harness.open(3)
        let wrong = harness.exchange(client, "MESH.TRACE HOUSE x\r\n")
        #expect(wrong == "-ERR syntax error: MESH.TRACE USER|CHANNEL|ROOM name·")
        // One of them stands still: after a while it is suspected, and has said nothing.
        harness.shared.mesh.freeze(2)
        harness.pass(.milliseconds(600))
        let open = harness.exchange(client, "MESH.TRACE user ann\r\n")
        #expect(open == "")
        harness.pass(.milliseconds(1_050))
        let reply = harness.read(client)
        #expect(
            reply == "*2·%5·$6·holder·$2·n1·$2·id·$16·0000000000000002·"
                + "$6·status·$5·alive·$4·hops·:1·$4·path·*1·$2·n1·"
                + "%5·$6·holder·$2·n2·$2·id·$16·0000000000000003·"
                + "$6·status·$7·suspect·$4·hops·_·$4·path·_·")
    }

    @Test func `the answer for a client that has gone goes to nobody`() {
        var harness = Harness(peerCount: 1)
        harness.freezePeers()
        let client = harness.open()
        _ = harness.exchange(client, "PUBSUB CHANNELS\r\n")
        harness.close(client)
        let other = harness.open()
        #expect(other == client)
        #expect(harness.questions.count == 1)
        let question = harness.questions[0]
        harness.thawPeers()
        harness.pass(.zero)
        let silence = harness.read(other)
        #expect(silence == "")
        #expect(harness.questions.isEmpty)
        let late = harness.gateway.hub.finished(question)
        #expect(late == nil)
    }

    @Test func `malformed subjects get no answer`() {
        var dice = Dice(state: 11)
        var harness = Harness()
        let local = harness.open()
        _ = harness.exchange(local, "SUBSCRIBE a b c\r\n")
        for round in 0..<20_000 {
            let bytes = (0..<dice.roll(24)).map { _ in UInt8(dice.roll(round % 2 == 0 ? 256 : 6)) }
            // The largest answers, for the shortest questions: names of here, or four bytes a name.
            #expect(harness.asked(bytes).count <= 64)
        }
    }

    @Test func `malformed answers are not believed`() {
        var harness = Harness(peerCount: 5)
        let local = harness.open()
        _ = harness.exchange(local, "SUBSCRIBE a b c\r\n")
        for number in 1...4 {
            var peer = harness.peer(number)
            _ = peer.exchange(peer.open(), "SUBSCRIBE a\r\n")
        }
        harness.pass(.milliseconds(500))
        harness.freezePeers()
        let client = harness.open()
        func answer(_ line: String, _ answers: [[UInt8]]) -> String {
            harness.send(client, Array("\(line)\r\n".utf8))
            for (place, answer) in answers.enumerated() { harness.forge(answer, from: place + 1) }
            harness.pass(.zero)
            return harness.read(client)
        }
        let none: [UInt8] = [0, 0, 0, 0]
        let channels = answer("PUBSUB CHANNELS", [none, none, none, none + [1, 0, 0x7A], none])
        #expect(channels == "*4·$1·a·$1·b·$1·c·$1·z·")
        let counts = answer(
            "PUBSUB NUMSUB a", [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]])
        #expect(counts == "*2·$1·a·:4·")
        // They are no answers: neither the names nor the number would be all.
        let noChannels = answer(
            "PUBSUB CHANNELS",
            [[], none + [255, 255, 1], none + [1, 0], none + [1, 0, 0x7A], none])
        #expect(noChannels == "-TRYAGAIN n1 and 2 more have not answered·")
        let noCounts = answer("PUBSUB NUMSUB a", [[], [1, 2, 3], [0, 0, 0, 0, 0], [2, 0, 0, 0]])
        #expect(noCounts == "-TRYAGAIN n1 and 2 more have not answered·")
        let malformed = harness.gateway.hub.counters[.answersMalformed]
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
