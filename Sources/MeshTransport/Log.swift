import CLinux
import Glibc
import MeshServer

public enum LogFormat: String, Sendable, CaseIterable {
    /// `2026-03-01T12:00:00.000Z info joined members=3`
    case text
    /// One JSON object a line with `time`, `level`, `event` and the event's own fields.
    case json
}

/// Writes one line per event to standard error.
///
/// Peers can cause events, so at most `linesPerSecond` lines are written in a second; how many were
/// left out is said with the first line of the next one.
///
/// Nothing waits for the log. A line that is not taken at once, because the disk is full or nobody
/// reads the pipe, is lost and counted; the first one that is taken again says how many were.
public struct Log: Sendable {
    public typealias Value = LogLine.Value

    /// Guess, not yet measured: more than a person can follow, less than a disk notices.
    static let linesPerSecond = 200

    public var level: LogLevel
    public var format: LogFormat
    /// The node that writes, in each line; empty: it is not said.
    public var source = ""
    private var second: Int64 = 0
    private var linesThisSecond = 0
    /// Lines left out since the last one that was written.
    private var suppressed = 0
    /// Lines lost since the last one that was written.
    private var lostInARow = 0
    /// The last line was taken in part: the next one begins on a line of its own.
    private var isCut = false
    /// Where lines go: standard error, but in tests.
    private let descriptor: Int32
    /// Lines left out because there were too many, and lines that were not taken.
    public private(set) var linesLeftOut: UInt64 = 0
    public private(set) var linesLost: UInt64 = 0

    public init(level: LogLevel = .info, format: LogFormat = .text) {
        self.init(level: level, format: format, descriptor: 2)
    }

    init(level: LogLevel, format: LogFormat, descriptor: Int32) {
        self.level = level
        self.format = format
        self.descriptor = descriptor
    }

    public func writes(_ level: LogLevel) -> Bool { level >= self.level }

    public mutating func write(_ line: LogLine) { write(line.level, line.event, line.fields) }

    /// Writes one line; `event` is a short name that does not change between versions.
    public mutating func write(
        _ level: LogLevel, _ event: String, _ fields: [(String, Value)] = []
    ) {
        guard writes(level) else { return }
        let wall = linux_wall_milliseconds()
        if wall / 1000 != second {
            second = wall / 1000
            linesThisSecond = 0
        }
        guard linesThisSecond < Log.linesPerSecond else {
            suppressed += 1
            linesLeftOut &+= 1
            return
        }
        linesThisSecond += 1
        var fields = fields
        if !source.isEmpty { fields.append(("self", .text(source))) }
        if suppressed > 0 {
            fields.append(("linesLeftOut", .integer(suppressed)))
        }
        if lostInARow > 0 { fields.append(("linesLost", .integer(lostInARow))) }
        emit(Log.line(format, level, event, fields, wallMilliseconds: wall))
    }

    private mutating func emit(_ line: String) {
        let line = isCut ? "\n" + line : line
        let written = Log.writeAtOnce(line, to: descriptor)
        if written == line.utf8.count {
            isCut = false
            suppressed = 0
            lostInARow = 0
        } else {
            if written > 0 { isCut = true }
            lostInARow += 1
            linesLost &+= 1
        }
    }

    /// Writes as much of a text as its reader takes without being waited for; returns how many
    /// bytes that were.
    @discardableResult
    public static func writeAtOnce(_ text: String, to descriptor: Int32) -> Int {
        var text = text
        return text.withUTF8 { bytes in
            unsafe linux_write_at_once(descriptor, bytes.baseAddress, bytes.count)
        }
    }

    static func line(
        _ format: LogFormat, _ level: LogLevel, _ event: String, _ fields: [(String, Value)],
        wallMilliseconds: Int64
    ) -> String {
        let time = timestamp(wallMilliseconds)
        switch format {
        case .text:
            var line = "\(time) \(level.name) \(event)"
            for (name, value) in fields {
                switch value {
                case .integer(let number): line += " \(name)=\(number)"
                case .text(let text):
                    line += " \(name)=" + (isPlain(text) ? text : quoted(text))
                }
            }
            return line + "\n"
        case .json:
            var line =
                "{\"time\":\"\(time)\",\"level\":\"\(level.name)\",\"event\":\(quoted(event))"
            for (name, value) in fields {
                switch value {
                case .integer(let number): line += ",\(quoted(name)):\(number)"
                case .text(let text): line += ",\(quoted(name)):\(quoted(text))"
                }
            }
            return line + "}\n"
        }
    }

    private static func isPlain(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy {
                $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=")
            }
    }

    /// A JSON string. Control characters are escaped, so that a peer's name cannot forge a line.
    public static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// UTC with milliseconds, ISO 8601; for instants from 1970 on. The date is Howard Hinnant's
    /// `civil_from_days`: years begin in March, so that the leap day is the last of its year.
    private static func timestamp(_ milliseconds: Int64) -> String {
        let seconds = milliseconds / 1_000
        let days = seconds / 86_400 + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func digits(_ value: Int64, _ width: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        return "\(digits(year, 4))-\(digits(month, 2))-\(digits(day, 2))"
            + "T\(digits(seconds / 3_600 % 24, 2)):\(digits(seconds / 60 % 60, 2))"
            + ":\(digits(seconds % 60, 2)).\(digits(milliseconds % 1_000, 3))Z"
    }
}
