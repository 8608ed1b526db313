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

    @Test func `levels below the log's own are not written`() {
        let log = Log(level: .warning)
        #expect(log.writes(.error) && log.writes(.warning) && !log.writes(.notice))
    }
}
