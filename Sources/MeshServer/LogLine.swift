/// One line of the log, before it has a format.
public struct LogLine: Sendable {
    public enum Value: Sendable {
        case text(String)
        case integer(Int)
    }

    public typealias Field = (String, Value)

    public var level: LogLevel
    /// A short name that does not change between versions.
    public var event: String
    public var fields: [Field]

    public init(_ level: LogLevel, _ event: String, _ fields: [Field] = []) {
        self.level = level
        self.event = event
        self.fields = fields
    }
}

/// How much a log line matters; `Log.level` is the least that is written.
public enum LogLevel: UInt8, Sendable, Comparable, CaseIterable {
    case debug, info, notice, warning, error

    public init?(name: String) {
        guard let level = LogLevel.allCases.first(where: { $0.name == name }) else { return nil }
        self = level
    }

    public var name: String {
        switch self {
        case .debug: "debug"
        case .info: "info"
        case .notice: "notice"
        case .warning: "warning"
        case .error: "error"
        }
    }

    public static func < (left: LogLevel, right: LogLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}

extension LogLevel {
    /// Redis has one level fewer.
    public init(_ level: RedisLogLevel) {
        switch level {
        case .debug: self = .debug
        case .verbose: self = .info
        case .notice: self = .notice
        case .warning: self = .warning
        }
    }
}

extension RedisLogLevel {
    public init(_ level: LogLevel) {
        switch level {
        case .debug: self = .debug
        case .info: self = .verbose
        case .notice: self = .notice
        case .warning, .error: self = .warning
        }
    }
}
