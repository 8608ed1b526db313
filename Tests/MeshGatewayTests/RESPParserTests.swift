import MeshWire
import Testing

@testable import MeshGateway

/// A parser's reading of a stream: each command's arguments, then how it ended.
private struct Parsed: Equatable {
    var commands: [[[UInt8]]] = []
    var error: RESPError?
}

/// Feeds the pieces one after the other, as a connection would, and parses after each.
private func parse(_ pieces: [[UInt8]], isAuthenticated: Bool = true) -> Parsed {
    var parsed = Parsed()
    var input: [UInt8] = []
    var start = 0
    var progress = RESPProgress()
    var arguments = ArgumentList()
    let limits = RESPLimits(
        requestBytesMax: 8 << 20, messageBytesMax: 8 << 20, isAuthenticated: isAuthenticated)
    for piece in pieces {
        input += piece
        feeding: while true {
            let outcome = RESPParser.parse(
                input.span, at: start, limits: limits, progress: &progress, into: &arguments)
            switch outcome {
            case .command(let size):
                var command: [[UInt8]] = []
                for index in 0..<arguments.count {
                    let first = start + Int(arguments[index].start)
                    command.append(Array(input[first..<first + Int(arguments[index].count)]))
                }
                parsed.commands.append(command)
                start += size
            case .escapedLine(let size, let lineCount):
                guard
                    let text = InlineCommand.decode(
                        input.span, start, start + lineCount, into: &arguments)
                else {
                    parsed.error = .unbalancedQuotes
                    return parsed
                }
                parsed.commands.append(
                    (0..<arguments.count).map { index in
                        let first = Int(arguments[index].start)
                        return Array(text[first..<first + Int(arguments[index].count)])
                    })
                start += size
            case .nothing(let size):
                start += size
            case .incomplete(let needed):
                precondition(needed > input.count - start)
                break feeding
            case .malformed(let error):
                parsed.error = error
                return parsed
            }
        }
    }
    return parsed
}

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct RESPParserTests {
    private static let stream: [UInt8] =
        command("PUBLISH", "news", "hello\r\nworld") + bytes("PING  'a b' \"c\"\r\n\r\n")
        + command([bytes("SET"), [0, 255, 13, 10], []]) + bytes("*0\r\n*-1\r\nQUIT\n")
        + command((0..<40).map { bytes("argument \($0)") })

    private static let expected: [[[UInt8]]] =
        [
            [bytes("PUBLISH"), bytes("news"), bytes("hello\r\nworld")],
            [bytes("PING"), bytes("a b"), bytes("c")],
            [bytes("SET"), [0, 255, 13, 10], []],
            [bytes("QUIT")],
            (0..<40).map { bytes("argument \($0)") },
        ]

    @Test func `a stream in one piece is parsed`() {
        #expect(parse([Self.stream]) == Parsed(commands: Self.expected))
    }

    @Test func `a stream byte by byte is parsed alike`() {
        #expect(parse(Self.stream.map { [$0] }) == Parsed(commands: Self.expected))
    }

    @Test func `a stream cut in two anywhere is parsed alike`() {
        for cut in 0...Self.stream.count {
            let pieces = [Array(Self.stream[..<cut]), Array(Self.stream[cut...])]
            let parsed = parse(pieces)
            if parsed != Parsed(commands: Self.expected) {
                Issue.record("cut at \(cut): \(parsed)")
                return
            }
        }
    }

    @Test func `many streams at once are parsed`() {
        let parsed = parse([Self.stream + Self.stream + Self.stream])
        #expect(parsed.commands == Self.expected + Self.expected + Self.expected)
    }

    @Test func `a truncated stream yields what is complete and no error`() {
        for cut in 0..<Self.stream.count {
            let parsed = parse([Array(Self.stream[..<cut])])
            #expect(parsed.error == nil)
            #expect(parsed.commands == Array(Self.expected.prefix(parsed.commands.count)))
        }
    }

    @Test func `corrupted streams end in commands or errors, never in a trap`() {
        var dice = Dice(state: 3)
        var errorCount = 0
        for _ in 0..<4_000 {
            var stream = Self.stream
            for _ in 0...dice.roll(3) { stream[dice.roll(stream.count)] = UInt8(dice.roll(256)) }
            let cut = dice.roll(stream.count)
            let parsed = parse([Array(stream[..<cut]), Array(stream[cut...])])
            #expect(parsed == parse([stream]))
            if parsed.error != nil { errorCount += 1 }
        }
        #expect(errorCount > 1_000)
    }

    /// The texts are those of redis-server 7.0.15, but for the last four.
    @Test(arguments: [
        ("*abc\r\n", "invalid multibulk length"),
        ("*03\r\n", "invalid multibulk length"),
        ("*-\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*2000000\r\n", "invalid multibulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$9999999999\r\n", "invalid bulk length"),
        ("*1\r\nPING\r\n", "expected '$', got 'P'"),
        ("*1\r\n\n", "expected '$', got ' '"),
        ("PING \"a\r\n", "unbalanced quotes in request"),
        ("PING 'a'b\r\n", "unbalanced quotes in request"),
        ("*1\r\n$4\r\nPINGxx", "expected CRLF after a bulk string"),
        ("*1\rx", "invalid multibulk length"),
        (
            "*2\r\n$8000000\r\n" + String(repeating: "a", count: 8_000_000) + "\r\n$600000\r\n",
            "too big request"
        ),
    ])
    func `bytes that are no command are named as Redis names them`(_ row: (String, String)) {
        #expect(parse([bytes(row.0)]).error?.text == row.1)
    }

    @Test func `a line has at most 64 KiB`() {
        let line = [UInt8](repeating: 0x61, count: 64 * 1024)
        #expect(parse([line]).error == nil)
        #expect(parse([line + bytes("a")]).error == .tooBigLine)
        #expect(parse([line + bytes("\n")]).commands == [[line]])
    }

    @Test func `who is not authenticated may send little`() {
        let many = command((0..<11).map { bytes("\($0)") })
        #expect(parse([many], isAuthenticated: false).error == .unauthenticatedMultibulk)
        #expect(
            parse([bytes("*1\r\n$16385\r\n")], isAuthenticated: false).error
                == .unauthenticatedBulk)
    }

    @Test func `a command of 200,000 arguments in small pieces takes linear time`() {
        let whole = command((0..<200_000).map { bytes("channel \($0)") })
        let pieces = stride(from: 0, to: whole.count, by: 1_000).map {
            Array(whole[$0..<min($0 + 1_000, whole.count)])
        }
        let clock = ContinuousClock()
        var parsed = Parsed()
        let taken = clock.measure { parsed = parse(pieces) }
        #expect(parsed.commands.first?.count == 200_000)
        // Read again from the start at each of 4,000 pieces it would take minutes.
        #expect(taken < .seconds(10))
    }

    @Test func `a large argument says how many bytes are needed`() {
        let head = bytes("*1\r\n$1000\r\nabc")
        var progress = RESPProgress()
        var arguments = ArgumentList()
        let outcome = RESPParser.parse(
            head.span, at: 0,
            limits: RESPLimits(
                requestBytesMax: 4_096, messageBytesMax: 4_096, isAuthenticated: true),
            progress: &progress, into: &arguments)
        guard case .incomplete(let needed) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(needed == 4 + 7 + 1_000 + 2)
    }

    @Test func `the short way for PUBLISH finds what the long way finds, or nothing`() {
        var dice = Dice(state: 8)
        let limits = RESPLimits(
            requestBytesMax: 1 << 20, messageBytesMax: 1 << 20, isAuthenticated: true)
        var shortCount = 0
        for round in 0..<8_000 {
            let sizes = [0, 1, 9, 10, 11, 99, 100, 101, 999, 1_000, 1_001]
            let name = [UInt8](repeating: 0x6E, count: sizes[dice.roll(sizes.count)])
            let payload = [UInt8](repeating: 0x70, count: sizes[dice.roll(sizes.count)])
            let word = ["PUBLISH", "publish", "PuBlIsH"][dice.roll(3)]
            var input = command([bytes(word), name, payload])
            if round % 2 == 0 {
                // Close to the front, where the lengths are.
                input[dice.roll(min(input.count, 40))] = UInt8(dice.roll(128))
            }
            if round % 5 == 0 { input.removeLast(1 + dice.roll(input.count)) }
            guard
                let short = RESPParser.publish(
                    input.span, at: 0, requestBytesMax: limits.requestBytesMax)
            else {
                // It looks at eight bytes at once, so the last string must have two at least.
                let isIntact = round % 2 != 0 && round % 5 != 0
                #expect(!isIntact || payload.count < 2, "\(input)")
                continue
            }
            shortCount += 1
            var progress = RESPProgress()
            var arguments = ArgumentList()
            let long = RESPParser.parse(
                input.span, at: 0, limits: limits, progress: &progress, into: &arguments)
            guard case .command(let size) = long else {
                Issue.record("\(long) for \(input)")
                return
            }
            #expect(size == short.end)
            let slices = [arguments[1], arguments[2]]
            #expect(slices == [short.name, short.payload])
        }
        #expect(shortCount > 3_000)
    }

    /// The rows are those of redis-server 7.0.15.
    @Test(arguments: [
        (#"PING "\x41\n\r\t\"\\""#, ["PING", "A\n\r\t\"\\"]),
        (#"PING 'it\'s'"#, ["PING", "it's"]),
        (#"PING 'a\nb' x\y"#, ["PING", #"a\nb"#, #"x\y"#]),
        (#"PING fo"o b"'a r'"#, nil),
        (#"PING fo"o b""#, ["PING", "foo b"]),
        (#"PING "\xzz\q""#, ["PING", "xzzq"]),
        (#"PING "a\""#, nil),
        (#"PING "a\"#, nil),
        (#"PING 'a\'"#, nil),
        (#"PING """#, ["PING", ""]),
        (#"PING \x41"#, ["PING", #"\x41"#]),
    ])
    func `a line has the words that Redis finds in it`(_ row: (String, [String]?)) {
        let parsed = parse([bytes(row.0 + "\r\n")])
        if let words = row.1 {
            #expect(parsed.commands == [words.map { bytes($0) }])
        } else {
            #expect(parsed.error == .unbalancedQuotes)
        }
    }
}
