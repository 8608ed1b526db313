import CLinux
import Glibc
import MeshServer
import Testing

@testable import MeshTransport

@Suite struct LogTests {
    private let fields: [(String, Log.Value)] = [
        ("members", .integer(3)), ("name", .text("a \"b\"\n\u{1B}[2J")),
    ]

    @Test func `a text line has time, level, event and fields`() {
        let line = Log.line(
            .text, .warning, "joined", [("members", .integer(3)), ("zone", .text("eu-1"))],
            wallMilliseconds: 1_772_366_400_007)
        #expect(line == "2026-03-01T12:00:00.007Z warning joined members=3 zone=eu-1\n")
    }

    @Test func `a leap day is dated right`() {
        let line = Log.line(.text, .info, "x", [], wallMilliseconds: 1_709_251_199_999)
        #expect(line == "2024-02-29T23:59:59.999Z info x\n")
    }

    @Test func `text of others cannot end the line or reach the terminal`() {
        let line = Log.line(.text, .info, "x", fields, wallMilliseconds: 0)
        #expect(
            line
                == "1970-01-01T00:00:00.000Z info x members=3 "
                + "name=\"a \\\"b\\\"\\n\\u001b[2J\"\n")
    }

    @Test func `a JSON line is one object`() {
        let line = Log.line(.json, .info, "x", fields, wallMilliseconds: 0)
        #expect(
            line
                == "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"event\":\"x\","
                + "\"members\":3,\"name\":\"a \\\"b\\\"\\n\\u001b[2J\"}\n")
    }

    @Test func `a disk that is full costs lines and not the program`() {
        let full = open("/dev/full", O_WRONLY)
        defer { close(full) }
        var log = Log(level: .info, format: .text, descriptor: full)
        for _ in 0..<5 { log.write(.info, "x") }
        #expect(log.linesLost == 5)
        #expect(log.linesLeftOut == 0)
    }

    @Test
    func `a log reader that stands still delays nothing and later learns how many lines it lacks`()
    {
        var ends: [Int32] = [-1, -1]
        #expect(unsafe pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        // A line longer than a pipe takes at once, so that one is cut as it fills up.
        let name = String(repeating: "n", count: 9_000)
        var log = Log(level: .info, format: .text, descriptor: ends[1])
        for _ in 0..<50 { log.write(.info, "x", [("name", .text(name))]) }
        let lost = Int(log.linesLost)
        #expect(lost > 0 && lost < 50)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        _ = unsafe read(ends[0], &bytes, bytes.count)
        log.write(.info, "y")
        let count = unsafe read(ends[0], &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        #expect(text.hasPrefix("\n"))
        #expect(text.hasSuffix(" info y linesLost=\(lost)\n"))
        #expect(Int(log.linesLost) == lost)
    }

    @Test func `lines beyond the rate that a person can follow are left out and counted`() {
        let null = open("/dev/null", O_WRONLY)
        defer { close(null) }
        var log = Log(level: .info, format: .text, descriptor: null)
        for _ in 0..<1_000 { log.write(.info, "x") }
        // The second may end meanwhile.
        #expect(log.linesLeftOut >= 1_000 - 2 * UInt64(Log.linesPerSecond))
        #expect(log.linesLost == 0)
    }

    @Test func `levels below the log's own are not written`() {
        let log = Log(level: .warning)
        #expect(log.writes(.error) && log.writes(.warning) && !log.writes(.notice))
    }
}
