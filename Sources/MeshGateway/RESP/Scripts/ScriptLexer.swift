/// The words of a script's text, one after another.
struct ScriptLexer {
    enum Token: Equatable {
        case name([UInt8])
        case text([UInt8])
        case number(Int)
        /// `+`, `..`, `(` and their like.
        case sign(String)
        case end
    }

    private let bytes: [UInt8]
    private var at = 0
    private(set) var line = 1
    /// The word at hand, the line in which it ends, and its bytes.
    private(set) var token = Token.end
    private var start = 0

    init(_ bytes: [UInt8]) throws(ScriptError) {
        self.bytes = bytes
        try advance()
    }

    /// The bytes of the word at hand, as many as a refusal quotes.
    var excerpt: [UInt8] { Array(bytes[start..<min(at, start + 64)].prefix { $0 >= 0x20 }) }

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    private func isNext(_ text: StaticString) -> Bool {
        guard at + text.utf8CodeUnitCount <= bytes.count else { return false }
        for place in 0..<text.utf8CodeUnitCount
        where unsafe bytes[at + place] != text.utf8Start[place] {
            return false
        }
        return true
    }

    /// Goes on to the next word.
    mutating func advance() throws(ScriptError) {
        try skipBlanks()
        start = at
        guard let byte = next else {
            token = .end
            return
        }
        if Self.isLetter(byte) {
            while let byte = next, Self.isLetter(byte) || Self.isDigit(byte) { at += 1 }
            token = .name(Array(bytes[start..<at]))
        } else if Self.isDigit(byte) {
            token = .number(try number())
        } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
            token = .text(try quotedText(byte))
        } else if let level = longBracket() {
            token = .text(try longText(level))
        } else {
            at += isNext("..") && !isNext("...") ? 2 : 1
            guard Self.signs.contains(byte) else { throw unexpected() }
            token = .sign(String(decoding: bytes[start..<at], as: UTF8.self))
        }
    }

    private static let signs = Set("+-*#()[],=;.".utf8)

    private func unexpected() -> ScriptError {
        ScriptError(line: line, reason: .unexpected(excerpt))
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z")
            || byte == UInt8(ascii: "_")
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }

    /// Blanks and comments.
    private mutating func skipBlanks() throws(ScriptError) {
        while let byte = next {
            switch byte {
            case 0x20, 0x09, 0x0B, 0x0C, 0x0D: at += 1
            case 0x0A:
                line += 1
                at += 1
            case UInt8(ascii: "-") where isNext("--"):
                start = at
                at += 2
                if let level = longBracket() {
                    _ = try longText(level)
                } else {
                    while let byte = next, byte != 0x0A { at += 1 }
                }
            default: return
            }
        }
    }

    private mutating func number() throws(ScriptError) -> Int {
        var value = 0
        while let byte = next, Self.isDigit(byte) {
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
            at += 1
            if value >= ScriptRun.numberEnd { break }
        }
        // A fraction, an exponent, a base; but `1..2` joins two numbers, as far as Lua goes.
        if let byte = next, Self.isLetter(byte) || Self.isDigit(byte) || byte == UInt8(ascii: ".") {
            at += 1
            throw unexpected()
        }
        guard value < ScriptRun.numberEnd else { throw unexpected() }
        return value
    }

    /// `[[`, `[=[` and so on: the number of `=`.
    private func longBracket() -> Int? {
        guard next == UInt8(ascii: "[") else { return nil }
        var place = at + 1
        while place < bytes.count, bytes[place] == UInt8(ascii: "=") { place += 1 }
        guard place < bytes.count, bytes[place] == UInt8(ascii: "[") else { return nil }
        return place - at - 1
    }

    private mutating func longText(_ level: Int) throws(ScriptError) -> [UInt8] {
        at += level + 2
        // A line's end that follows at once does not count.
        if isNext("\r\n") { at += 1 }
        if next == 0x0A {
            line += 1
            at += 1
        }
        let first = at
        while at < bytes.count {
            if bytes[at] == UInt8(ascii: "]"), closes(level) {
                let text = Array(bytes[first..<at])
                at += level + 2
                return text
            }
            if bytes[at] == 0x0A { line += 1 }
            at += 1
        }
        throw ScriptError(line: line, reason: .endOfText)
    }

    private func closes(_ level: Int) -> Bool {
        let end = at + level + 1
        guard end < bytes.count, bytes[end] == UInt8(ascii: "]") else { return false }
        return bytes[(at + 1)..<end].allSatisfy { $0 == UInt8(ascii: "=") }
    }

    private mutating func quotedText(_ quote: UInt8) throws(ScriptError) -> [UInt8] {
        at += 1
        var text: [UInt8] = []
        while let byte = next {
            at += 1
            switch byte {
            case quote: return text
            case 0x0A: throw ScriptError(line: line, reason: .endOfText)
            case UInt8(ascii: "\\"): text.append(try escape())
            default: text.append(byte)
            }
        }
        throw ScriptError(line: line, reason: .endOfText)
    }

    /// The byte that stands behind a backslash (Lua 5.1, 2.1).
    private mutating func escape() throws(ScriptError) -> UInt8 {
        guard let byte = next else { throw ScriptError(line: line, reason: .endOfText) }
        at += 1
        switch byte {
        case UInt8(ascii: "n"): return 0x0A
        case UInt8(ascii: "r"): return 0x0D
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "a"): return 0x07
        case UInt8(ascii: "b"): return 0x08
        case UInt8(ascii: "f"): return 0x0C
        case UInt8(ascii: "v"): return 0x0B
        case 0x0A:
            line += 1
            return 0x0A
        case _ where Self.isDigit(byte):
            var value = Int(byte - UInt8(ascii: "0"))
            for _ in 0..<2 {
                guard let digit = next, Self.isDigit(digit) else { break }
                value = value * 10 + Int(digit - UInt8(ascii: "0"))
                at += 1
            }
            guard value < 256 else { throw unexpected() }
            return UInt8(value)
        default: return byte
        }
    }
}
