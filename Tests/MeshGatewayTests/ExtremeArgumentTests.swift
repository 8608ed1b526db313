import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// Words that a client may write where a number, a size or a name is expected.
private let numbers: [String] = [
    "0", "-1", "1", "2147483648", "9223372036854775807", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "1099511627776gb", "1e400", "",
]
private let extremes: [String] =
    numbers + [
        "65535", "65536", "2147483647", "4294967295", "4294967296", "-9223372036854775808",
        "-9223372036854775809", "1000000000000000000000000000000", "1152921504606846976",
        "8589934592gb", "-1e400", "nan", "inf", "-Infinity", "0x7fffffffffffffff", " ", "\r\n",
        "\u{0}", "٣", "*", "[", "\\",
    ]

/// Options and values in whose company an argument is read as something else than a name.
private let companions: [String] = [
    "ID", "TYPE", "ADDR", "LADDR", "USER", "MAXAGE", "SKIPME", "ON", "OFF", "SKIP", "REDIRECT",
    "PREFIX", "SESSION", "RESUME", "SEEN", "COUNTED", "CHANNEL", "AUTH", "SETNAME", "3",
    "LIB-NAME", "FILTERBY", "PATTERN", "VOLATILE", "ASYNC",
]

private let token = "0000000000000001-" + String(repeating: "0", count: 32)

@Suite struct ExtremeArgumentTests {
    /// Every argument list that one extreme is put into.
    private static func arguments(with extreme: String) -> [[String]] {
        var lists: [[String]] = [
            [], [extreme], ["a", extreme], [extreme, "a"], ["a", "b", extreme],
            [extreme, extreme, extreme, extreme],
            ["a", "RESUME", extreme], ["a", "RESUME", token, "SEEN", extreme],
            [extreme, "RESUME", token, "SEEN", "1"],
            ["ID", "1", "MAXAGE", extreme], ["3", "AUTH", extreme, extreme],
        ]
        guard numbers.contains(extreme) else { return lists }
        for word in companions {
            lists.append([word, extreme])
            lists.append(["a", word, extreme])
        }
        return lists
    }

    /// Sends one command of a fresh client; another one must be answered afterwards.
    private static func send(
        _ words: [[UInt8]], _ harness: inout Harness, _ witness: inout ClientIndex
    ) {
        let client = harness.open()
        harness.send(client, command(words))
        let answer = harness.readBytes(client)
        let text = words.map { String(decoding: $0.prefix(40), as: UTF8.self) }
        #expect(isWellFormed(answer), "\(text)")
        let isHeard = harness.gateway.conversations[client].replies == .on
        let isSilenced = !isHeard || harness.gateway.hub.isDoomed(client)
        #expect(!answer.isEmpty || isSilenced || harness.ended.contains(client), "\(text)")
        // Time does not pass here.
        harness.gateway.endPause()
        if harness.gateway.hub.isDoomed(witness) {
            harness.close(witness)
            witness = harness.open()
        }
        // Limits that were set may be smaller than any reply.
        harness.gateway.hub.configuration = GatewayConfiguration()
        let pong = harness.exchange(witness, "PING\r\n")
        #expect(pong == "+PONG·", "after \(text)")
        harness.close(client)
    }

    @Test(arguments: CommandSpec.all.map(\.fullName))
    func `no argument of a command ends the node, whatever it is`(_ name: String) {
        let words = name.split(separator: "|").map { Array($0.utf8) }
        for extreme in extremes {
            // Fresh, because some of these change the node's settings.
            var harness = Harness()
            harness.gateway.hub.nodeID = NodeID(1)
            var witness = harness.open()
            for list in Self.arguments(with: extreme) {
                Self.send(words + list.map { Array($0.utf8) }, &harness, &witness)
            }
        }
        let long = [UInt8](repeating: UInt8(ascii: "9"), count: 70_000)
        var harness = Harness()
        var witness = harness.open()
        for place in 1...4 {
            let fillers = [[UInt8]](repeating: Array("a".utf8), count: place - 1)
            Self.send(words + fillers + [long], &harness, &witness)
            Self.send(words + fillers + [long, long], &harness, &witness)
        }
    }

    @Test func `no value of a parameter ends the node`() {
        var names: [String] = []
        do {
            var harness = Harness()
            let client = harness.open()
            let answer = harness.exchange(client, "CONFIG GET *\r\n")
            names = answer.split(separator: "·", omittingEmptySubsequences: false)
                .map(String.init)
            #expect(names.contains("maxclients"))
        }
        let values =
            extremes
            + extremes.flatMap { extreme in
                ["normal", "slave", "replica", "pubsub", extreme].flatMap { kind in
                    [
                        "\(kind) \(extreme) 0 0", "\(kind) 0 \(extreme) 0",
                        "\(kind) 0 0 \(extreme)", "pubsub 1 1 1 \(kind) \(extreme) 0 0",
                    ]
                }
            }
        for name in Set(names).sorted() {
            for value in values {
                var harness = Harness()
                var witness = harness.open()
                let words = ["CONFIG", "SET", name, value].map { Array($0.utf8) }
                Self.send(words, &harness, &witness)
            }
        }
    }

    @Test(arguments: [
        "pubsub 1099511627776gb 0 0", "normal 0 8589934592gb 0", "pubsub 0 0 2147483649",
        "pubsub 2gb 0 0", "pubsub 1073741825 0 0", "normal 18446744073709551616 0 0",
        "pubsub -1 0 0", "pubsub 0 0 -1", "pubsub inf 0 0",
    ]) func `a limit beyond its range is refused with the range`(_ limit: String) {
        var harness = Harness()
        let client = harness.open()
        let before = harness.exchange(client, "CONFIG GET client-output-buffer-limit\r\n")
        let answer = harness.exchange(
            client, "CONFIG SET client-output-buffer-limit '\(limit)'\r\n")
        #expect(answer.hasPrefix("-ERR CONFIG SET failed"))
        #expect(answer.contains("hard and soft are 0 to 1gb, soft_seconds 0 to 2147483648"))
        let after = harness.exchange(client, "CONFIG GET client-output-buffer-limit\r\n")
        #expect(after == before)
    }

    @Test func `sizes are read as Redis reads them, up to a gibibyte`() {
        let read = ["0", "1kb", "1k", "8mb", "1gb", "1g", "1073741824", "1024mb"].map {
            GatewayConfiguration.byteCount($0)
        }
        #expect(
            read == [0, 1_024, 1_000, 8_388_608, 1 << 30, 1_000_000_000, 1 << 30, 1 << 30])
        for word in extremes + ["1073741825", "2gb", "9223372036854775807gb", "1kib", "kb", "1 kb"]
        {
            let count = GatewayConfiguration.byteCount(word)
            #expect(count ?? 0 <= 1 << 30, "\(word)")
        }
    }

    @Test func `what waits for a client is bounded even where no limit is set`() {
        let none = OutputLimit(hard: 0, soft: 0, softDuration: .seconds(0))
        let huge = OutputLimit(hard: .max, soft: 0, softDuration: .seconds(0))
        #expect(none.bound == 1 << 30 && huge.bound == 1 << 30)
        var configuration = GatewayConfiguration()
        configuration.normalOutputLimit = none
        configuration.pubsubOutputLimit = huge
        configuration.memory = MemoryShares(total: 1 << 50)
        #expect(configuration.outputAlarm == 1 << 30)
        configuration.requestBytesMax = .max
        let gateway = Gateway(configuration, hasher: Harness.hasher)
        let input = gateway.limits.request.requestBytesMax
        #expect(input == 257 << 20)
    }

    @Test func `answers to other nodes do not gather beyond what offsets reach`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        let question: [UInt8] = [1, TopicKind.channel.rawValue, 0]
        var answer = ByteQueue()
        _ = unsafe answer.reserve(Hub.answersBytesMax + 1)
        harness.gateway.hub.answer(
            Slice(start: 0, count: question.count), question.span, into: &answer)
        #expect(answer.count == Hub.answersBytesMax + 1)
        let cut = harness.gateway.hub.counters[.answersCut]
        #expect(cut == 1)
    }
}
