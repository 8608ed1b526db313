import MeshWire
import Testing

@testable import MeshGateway

@Suite struct ScriptTests {
    @Test(arguments: [
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
        ),
        (
            String(repeating: "a", count: 1_000_000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"
        ),
        (
            String(repeating: "01234567", count: 80), "dea356a2cddd90c7a7ecedc5ebb563934f460452"
        ),
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ]) func `a text is named by SHA-1 (RFC 3174, 7.3)`(text: String, name: String) {
        let digest = SHA1(of: Array(text.utf8).span)
        #expect(digest.text == name)
        #expect(SHA1(hexadecimal: Array(name.uppercased().utf8)) == digest)
    }

    @Test func `texts of all lengths around a block's end have different names`() {
        let names = Set(
            (0...200).map { SHA1(of: [UInt8](repeating: 0x61, count: $0).span).text })
        #expect(names.count == 201)
        for wrong in [
            "", "a", String(repeating: "g", count: 40), String(repeating: "a", count: 41),
        ] {
            #expect(SHA1(hexadecimal: Array(wrong.utf8)) == nil)
        }
    }

    /// The number of publications of Laravel's and litestar's scripts, and their like.
    private static let loop = "for i = 2, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end"

    private func run(_ words: String..., harness: inout Harness) -> String {
        harness.exchange(harness.open(), words.map { Array($0.utf8) })
    }

    @Test(arguments: [
        ("if #ARGV > 1 then return 1 end", "line 1 has 'if', which is not understood there"),
        ("\n\nreturn redis.call('GET', 'k')", "line 3 calls 'GET'"),
        (
            "return redis.call(ARGV[1], 'a', 'b')",
            "line 1 has 'ARGV', which is not understood there"
        ),
        ("local t = {}", "line 1 has '{', which is not understood there"),
        ("return cjson.encode(1)", "line 1 has 'cjson', which is not understood there"),
        ("x = 1", "line 1 has 'x', which is not understood there"),
        ("local end = 1", "line 1 has 'end', which is not understood there"),
        ("return 1 end", "line 1 has 'end', which is not understood there"),
        ("return 0.5", "line 1 has '0.', which is not understood there"),
        ("return 0x10", "line 1 has '0x', which is not understood there"),
        ("return 100000000000000", "line 1 has '100000000000000', which is not understood there"),
        ("return 1 == 1", "line 1 has '=', which is not understood there"),
        ("return 'a", "line 1 ends where more is expected"),
        ("for i = 1, 2 do", "line 1 ends where more is expected"),
        ("return '\\999'", "line 1 has ''\\999', which is not understood there"),
        ("#!lua\nreturn 1", "line 1 has '#', which is not understood there"),
        ("return KEYS", "line 1 ends where more is expected"),
        ("return\u{7f}", "line 1 has '\u{7f}', which is not understood there"),
    ]) func `a script that does something else is refused, and what was met is named`(
        text: String, words: String
    ) {
        var harness = Harness()
        let answers =
            [run("EVAL", text, "0", harness: &harness)]
            + [run("SCRIPT", "LOAD", text, harness: &harness)]
        for answer in answers {
            #expect(
                answer == "-ERR Scripts of this node do nothing but publish: \(words)·", "\(text)")
        }
        #expect(harness.publicationCount == 0)
    }

    @Test func `what nests too deep or is too long is refused, not followed`() {
        var harness = Harness()
        let deep = [
            "return " + String(repeating: "(", count: 20_000) + "1",
            "return " + String(repeating: "-", count: 1) + String(repeating: " -", count: 20_000),
            "return " + String(repeating: "#", count: 20_000) + "'a'",
            String(repeating: "do ", count: 20_000),
            "return 'a'" + String(repeating: " .. 'a'", count: 5_000),
            "local a" + String(repeating: ", a", count: 5_000),
            "redis.call('publish'" + String(repeating: ", 'a'", count: 5_000) + ")",
            "return " + String(repeating: "KEYS[", count: 9_000),
        ]
        for text in deep {
            let answer = run("EVAL", text, "0", harness: &harness)
            #expect(
                answer.hasSuffix("line 1 nests too much, or has too many names or values·"),
                "\(text.prefix(40)): \(answer)")
        }
        let long = String(repeating: " ", count: Script.textBytesMax + 1)
        let answer = run("EVAL", long, "0", harness: &harness)
        #expect(answer.hasSuffix("this one has more than 65536 bytes·"))
        let longest = String(repeating: " ", count: Script.textBytesMax)
        #expect(run("EVAL", longest, "0", harness: &harness) == "$-1·")
    }

    @Test func `random words are a script or are refused`() {
        var dice = Dice(state: 11)
        let words = [
            "for", "i", "=", "1", ",", "do", "end", "redis", ".", "call", "(", "'publish'", ")",
            "KEYS", "[", "]", "ARGV", "..", "+", "-", "*", "#", "local", "x", "return", "ipairs",
            "in", "'a'", ";", "--", "[[", "]]", "\n", "\\", "nil", "pcall", "9",
        ]
        var harness = Harness()
        let client = harness.open()
        var understood = 0
        for _ in 0..<3_000 {
            let text = (0..<dice.roll(14)).map { _ in words[dice.roll(words.count)] }
                .joined(separator: dice.roll(2) == 0 ? " " : "")
            let answer = harness.exchange(
                client, ["EVAL", text, "1", "k", "v"].map { Array($0.utf8) })
            #expect(answer.hasSuffix("·"))
            if !answer.hasPrefix("-ERR Scripts") { understood += 1 }
        }
        #expect(understood > 75)
        #expect(harness.exchange(client, "PING\r\n") == "+PONG·")
    }

    @Test func `a script comes byte by byte, and more behind it`() {
        var harness = Harness()
        let subscriber = harness.open(3)
        _ = harness.exchange(subscriber, "SUBSCRIBE a b\r\n")
        let client = harness.open()
        let bytes =
            command("EVAL", Self.loop + " return #ARGV", "0", "x", "a", "b")
            + command("PING")
        for byte in bytes { harness.send(client, [byte]) }
        #expect(harness.read(client) == ":3·+PONG·")
        #expect(
            harness.read(subscriber)
                == ">3·$7·message·$1·a·$1·x·>3·$7·message·$1·b·$1·x·")
    }

    @Test func `what a script publishes to its own client follows its reply`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        let bytes =
            command("EVAL", Self.loop + " return 'end'", "0", "x", "a", "a") + command("PING")
        harness.send(client, bytes)
        let push = ">3·$7·message·$1·a·$1·x·"
        #expect(harness.read(client) == "$3·end·" + push + push + "+PONG·")
    }

    @Test func `each publication counts as one command`() {
        var harness = Harness()
        let before = harness.gateway.hub.counters[.commands]
        #expect(run("EVAL", Self.loop, "0", "x", "a", "b", "c", harness: &harness) == "$-1·")
        #expect(harness.publicationCount == 3)
        #expect(harness.gateway.hub.counters[.messagesPublished] == 3)
        #expect(harness.gateway.hub.counters[.commands] == before + 4)
    }

    @Test func `a script has an end`() {
        var harness = Harness()
        let client = harness.open()
        let forever = "for i = 1, 90000000000000 do redis.call('publish', 'a', 'x') end"
        var answer = harness.exchange(client, ["EVAL", forever, "0"].map { Array($0.utf8) })
        // It goes on in the next turn, and others are served before.
        #expect(answer == "" && (200...2_000).contains(harness.publicationCount))
        #expect(run("PING", harness: &harness) == "+PONG·")
        harness.pass(.milliseconds(10))
        answer = harness.read(client)
        #expect(
            answer.hasPrefix("-ERR user_script:1: more than the 656") && answer.hasSuffix(".·"),
            "\(answer)")
        // Each takes its share of the steps.
        #expect((5_000...17_000).contains(harness.publicationCount))
        let idle = "for i = 1, 90000000000000 do end"
        harness.send(client, command("EVAL", idle, "0") + command("PING"))
        harness.pass(.milliseconds(10))
        answer = harness.read(client)
        #expect(answer.contains("more than the") && answer.hasSuffix("·+PONG·"))
    }

    @Test func `the texts that a script makes are bounded`() {
        var configuration = GatewayConfiguration()
        configuration.requestBytesMax = 100_000
        var harness = Harness(configuration)
        let grows = "local s = ARGV[1] for i = 1, 40 do s = s .. s end return s"
        let answer = run("EVAL", grows, "0", "x", harness: &harness)
        #expect(answer.hasPrefix("-ERR user_script:1: not enough memory script: "))
        let fits = "local s = ARGV[1] for i = 1, 10 do s = s .. s end return #s"
        #expect(run("EVAL", fits, "0", "x", harness: &harness) == ":1024·")
        let name = "return redis.call('publish', ARGV[1] .. ARGV[1], 'x')"
        let long = String(repeating: "n", count: 40_000)
        #expect(
            run("EVAL", name, "0", long, harness: &harness)
                .hasPrefix("-ERR channel names have at most 65535 bytes script: "))
    }

    @Test func `of many scripts the latest are known`() {
        var cache = ScriptCache()
        var names: [SHA1] = []
        for number in 0..<2_000 {
            let text = Array("return \(number)".utf8)
            names.append(SHA1(of: text.span))
            guard let script = try? ScriptParser.parse(text) else { continue }
            cache.insert(script, names[number])
            // The first one is used all the time.
            _ = cache.use(names[0])
        }
        #expect(cache.count == ScriptCache.countMax)
        #expect(cache.contains(names[0]) && !cache.contains(names[1]))
        #expect(cache.contains(names[1_999]) && !cache.contains(names[976]))
        let large = Array(("return '" + String(repeating: "x", count: 60_000) + "'").utf8)
        guard let script = try? ScriptParser.parse(large) else { return }
        for number in 0..<200 { cache.insert(script, SHA1(of: Array("\(number)".utf8).span)) }
        #expect(cache.byteCount <= ScriptCache.bytesMax && cache.count < 80)
        cache.removeAll()
        #expect(cache.byteCount == 0 && cache.count == 0)
    }

    @Test func `a client that goes in the middle of its script leaves nothing behind`() {
        var harness = Harness()
        let client = harness.open()
        let input = command("EVAL", Self.loop, "0", "x", "a", "b")
        var offset = 0
        let begun = harness.gateway.next(input.span, at: &offset, from: client, now: harness.now)
        guard case .handled = begun else {
            Issue.record("the script has not begun")
            return
        }
        #expect(offset == 0)
        let first = harness.gateway.next(input.span, at: &offset, from: client, now: harness.now)
        guard case .publish(let publication) = first else {
            Issue.record("nothing is published")
            return
        }
        #expect(publication.isDecoded && offset == 0)
        #expect(harness.gateway.decodedLine == Array("ax".utf8))
        // A publication that is not taken is given again.
        harness.gateway.putBack(client)
        let again = harness.gateway.next(input.span, at: &offset, from: client, now: harness.now)
        guard case .publish = again else {
            Issue.record("it is not given again")
            return
        }
        #expect(harness.gateway.decodedLine == Array("ax".utf8))
        harness.close(client)
        let isPlain = harness.gateway.conversations[client].isPlain
        let resting = harness.gateway.redis.resting.count
        #expect(isPlain && resting == 0)
        #expect(run("PING", harness: &harness) == "+PONG·")
    }
}
