/// A mistake in a JSON5 file, in its form or in what it means to its reader: where it is, and what
/// was expected there.
public struct JSON5Error: Error, Equatable, Sendable, CustomStringConvertible {
    /// Counted from 1.
    public var line: Int
    public var column: Int
    public var message: String

    public var description: String { "line \(line), column \(column): \(message)" }
}

/// One value of a JSON5 file, with the place where it stands (spec.json5.org).
public struct JSON5: Sendable {
    public indirect enum Value: Sendable {
        case null
        case bool(Bool)
        case number(Double)
        case text(String)
        case list([JSON5])
        case object([Member])
    }
    public struct Member: Sendable {
        public var key: String
        /// Of the key, counted from 1.
        public var line: Int
        public var column: Int
        public var value: JSON5

        /// A mistake in the key.
        public func error(_ message: String) -> JSON5Error {
            JSON5Error(line: line, column: column, message: message)
        }
    }

    public var value: Value
    /// Counted from 1.
    public var line: Int
    public var column: Int

    public func error(_ message: String) -> JSON5Error {
        JSON5Error(line: line, column: column, message: message)
    }

    /// The kind of the value, for messages.
    public var kind: String {
        switch value {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .number(let value) where value.isInfinite: value < 0 ? "-Infinity" : "Infinity"
        case .number(let value): decimal(value)
        case .text(let value): "the text \"\(value)\""
        case .list: "a list"
        case .object: "an object"
        }
    }

    /// Reads a whole file.
    public static func parse(_ text: String) throws(JSON5Error) -> JSON5 {
        var reader = JSON5Reader(text)
        return try reader.file()
    }
}

/// Recursive descent over the characters, counting lines.
private struct JSON5Reader {
    private let characters: [Unicode.Scalar]
    private var at = 0
    private var line = 1
    private var column = 1
    private var depth = 0
    /// Deeper files are refused rather than the stack exhausted.
    private static var depthMax: Int { 64 }

    init(_ text: String) { characters = Array(text.unicodeScalars) }

    private var next: Unicode.Scalar? { at < characters.count ? characters[at] : nil }

    private func error(_ message: String) -> JSON5Error {
        JSON5Error(line: line, column: column, message: message)
    }

    private var found: String {
        guard let next else { return "the end of the file" }
        return "'\(next)'"
    }

    private mutating func skip() {
        if characters[at] == "\n" {
            line += 1
            column = 1
        } else {
            column += 1
        }
        at += 1
    }

    private mutating func skipBlanks() throws(JSON5Error) {
        while let scalar = next {
            if scalar.properties.isWhitespace || scalar == "\u{FEFF}" {
                skip()
            } else if scalar == "/", at + 1 < characters.count, characters[at + 1] == "/" {
                while let scalar = next, scalar != "\n" {
                    _ = scalar
                    skip()
                }
            } else if scalar == "/", at + 1 < characters.count, characters[at + 1] == "*" {
                let start = error("this comment is never closed: expected */")
                skip()
                skip()
                while next != "*" || at + 1 >= characters.count || characters[at + 1] != "/" {
                    guard next != nil else { throw start }
                    skip()
                }
                skip()
                skip()
            } else {
                return
            }
        }
    }

    mutating func file() throws(JSON5Error) -> JSON5 {
        try skipBlanks()
        let result = try value()
        try skipBlanks()
        guard next == nil else { throw error("expected the end of the file, found \(found)") }
        return result
    }

    private mutating func value() throws(JSON5Error) -> JSON5 {
        var result = JSON5(value: .null, line: line, column: column)
        guard let first = next else { throw error("expected a value, found \(found)") }
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else { throw error("nested too deeply") }
        switch first {
        case "{": result.value = .object(try object())
        case "[": result.value = .list(try list())
        case "\"", "'": result.value = .text(try text())
        case "+", "-", ".", "0"..."9": result.value = .number(try number())
        default:
            let place = error("expected a value, found \(found)")
            switch word() {
            case "true": result.value = .bool(true)
            case "false": result.value = .bool(false)
            case "null": result.value = .null
            case "Infinity": result.value = .number(.infinity)
            default: throw place
            }
        }
        return result
    }

    private mutating func object() throws(JSON5Error) -> [JSON5.Member] {
        var members: [JSON5.Member] = []
        skip()
        while true {
            try skipBlanks()
            if next == "}" {
                skip()
                return members
            }
            let place = error("")
            let key: String
            if next == "\"" || next == "'" {
                key = try text()
            } else {
                key = word()
                guard !key.isEmpty else { throw error("expected a key or '}', found \(found)") }
            }
            if members.contains(where: { $0.key == key }) {
                throw JSON5Error(
                    line: place.line, column: place.column, message: "'\(key)' is there twice")
            }
            try skipBlanks()
            guard next == ":" else { throw error("expected ':' after '\(key)', found \(found)") }
            skip()
            try skipBlanks()
            members.append(
                JSON5.Member(
                    key: key, line: place.line, column: place.column, value: try value()))
            try separator(before: "}")
        }
    }

    private mutating func list() throws(JSON5Error) -> [JSON5] {
        var values: [JSON5] = []
        skip()
        while true {
            try skipBlanks()
            if next == "]" {
                skip()
                return values
            }
            values.append(try value())
            try separator(before: "]")
        }
    }

    private mutating func separator(before end: Unicode.Scalar) throws(JSON5Error) {
        try skipBlanks()
        if next == "," {
            skip()
        } else if next != end {
            throw error("expected ',' or '\(end)', found \(found)")
        }
    }

    /// A key or literal without quotes.
    private mutating func word() -> String {
        var scalars = String.UnicodeScalarView()
        while let scalar = next {
            let isPart =
                scalar.properties.isAlphabetic || scalar == "_" || scalar == "$"
                || !scalars.isEmpty && scalar.properties.numericType != nil
            guard isPart else { break }
            scalars.append(scalar)
            skip()
        }
        return String(scalars)
    }

    private mutating func text() throws(JSON5Error) -> String {
        let start = error("this text is never closed: expected \(found)")
        let quote = next
        skip()
        var scalars = String.UnicodeScalarView()
        while let scalar = next, scalar != quote {
            if scalar == "\n" { throw start }
            if scalar == "\\" {
                skip()
                guard let escaped = next else { throw start }
                switch escaped {
                case "n": scalars.append("\n")
                case "t": scalars.append("\t")
                case "r": scalars.append("\r")
                case "b": scalars.append("\u{8}")
                case "f": scalars.append("\u{C}")
                case "0": scalars.append("\0")
                case "\n": break
                case "u", "x":
                    scalars.append(try escape(digits: escaped == "u" ? 4 : 2))
                    continue
                default: scalars.append(escaped)
                }
                skip()
            } else {
                scalars.append(scalar)
                skip()
            }
        }
        guard next != nil else { throw start }
        skip()
        return String(scalars)
    }

    private mutating func escape(digits: Int) throws(JSON5Error) -> Unicode.Scalar {
        let place = error("expected \(digits) hexadecimal digits of a character")
        skip()
        var code: UInt32 = 0
        for _ in 0..<digits {
            guard let digit = next.flatMap({ Character($0).hexDigitValue }) else { throw place }
            code = code << 4 | UInt32(digit)
            skip()
        }
        guard let scalar = Unicode.Scalar(code) else { throw place }
        return scalar
    }

    private mutating func number() throws(JSON5Error) -> Double {
        let place = error("expected a number")
        var text = ""
        while let scalar = next {
            let isPart =
                "0"..."9" ~= scalar || "a"..."z" ~= scalar || "A"..."Z" ~= scalar
                || scalar == "." || scalar == "+" || scalar == "-"
            guard isPart else { break }
            text.unicodeScalars.append(scalar)
            skip()
        }
        let isNegative = text.hasPrefix("-")
        var digits = Substring(text)
        if let sign = digits.first, sign == "-" || sign == "+" { digits = digits.dropFirst() }
        let magnitude: Double?
        if digits.hasPrefix("0x") || digits.hasPrefix("0X") {
            magnitude = UInt64(digits.dropFirst(2), radix: 16).map { Double($0) }
        } else if digits == "Infinity" {
            magnitude = .infinity
        } else {
            // JSON5 also writes .5 and 5. where Swift wants digits on either side.
            let whole = digits.hasPrefix(".") ? "0" + digits : String(digits)
            let padded = whole.hasSuffix(".") ? whole + "0" : whole
            magnitude =
                padded.first.map { "0"..."9" ~= $0 } == true ? Double(padded) : nil
        }
        guard let magnitude else { throw place }
        return isNegative ? -magnitude : magnitude
    }
}
