import MeshWire

/// A command typed by hand: words between blanks, quoted where they hold blanks themselves.
///
///     PUBLISH news "hello \"world\"\r\n" 'it\'s'
///
/// As `sdssplitargs` of Redis reads it: in double quotes `\n \r \t \b \a \xHH` and `\` before
/// anything else, in single quotes `\'`; a closing quote ends the word.
enum InlineCommand {
    enum Outcome {
        /// The words are in the list, as slices of the line.
        case words
        /// Some word is not in the line as it is meant: `decode` is needed.
        case escaped
        case unbalanced
    }

    /// Cuts `input[start ..< end]` into words, relative to `start`.
    static func split(
        _ input: Span<UInt8>, _ start: Int, _ end: Int, into arguments: inout ArgumentList
    ) -> Outcome {
        var at = start
        while true {
            while at < end, isBlank(input[at]) { at += 1 }
            if at == end { return .words }
            let first = input[at]
            if first == doubleQuote || first == singleQuote {
                var close = at + 1
                while close < end, input[close] != first {
                    if input[close] == backslash { return .escaped }
                    close += 1
                }
                guard close < end, close + 1 == end || isBlank(input[close + 1]) else {
                    return .unbalanced
                }
                arguments.append(Slice(start: at + 1 - start, count: close - at - 1))
                at = close + 1
            } else {
                let word = at
                while at < end, !isBlank(input[at]) {
                    if input[at] == doubleQuote || input[at] == singleQuote { return .escaped }
                    at += 1
                }
                arguments.append(Slice(start: word - start, count: at - word))
            }
        }
    }

    /// The words of `input[start ..< end]` as they are meant, one after the other; the list tells
    /// where each lies in the result. Nil when a quote is not closed.
    static func decode(
        _ input: Span<UInt8>, _ start: Int, _ end: Int, into arguments: inout ArgumentList
    ) -> [UInt8]? {
        var text: [UInt8] = []
        arguments.removeAll()
        var at = start
        while true {
            while at < end, isBlank(input[at]) { at += 1 }
            if at == end { return text }
            let word = text.count
            var quote: UInt8?
            while at < end {
                let byte = input[at]
                if let open = quote {
                    if byte == open {
                        guard at + 1 == end || isBlank(input[at + 1]) else { return nil }
                        quote = nil
                        at += 1
                        break
                    }
                    at += unescape(input, at, end, quote: open, into: &text)
                } else if isBlank(byte) {
                    break
                } else if byte == doubleQuote || byte == singleQuote {
                    quote = byte
                    at += 1
                } else {
                    text.append(byte)
                    at += 1
                }
            }
            if quote != nil { return nil }
            arguments.append(Slice(start: word, count: text.count - word))
        }
    }

    /// Appends what the byte at `at` means within quotes; returns how many bytes say so.
    private static func unescape(
        _ input: Span<UInt8>, _ at: Int, _ end: Int, quote: UInt8, into text: inout [UInt8]
    ) -> Int {
        guard input[at] == backslash, at + 1 < end else {
            text.append(input[at])
            return 1
        }
        let next = input[at + 1]
        if quote == singleQuote {
            text.append(next == singleQuote ? next : backslash)
            return next == singleQuote ? 2 : 1
        }
        if next == UInt8(ascii: "x"), at + 3 < end, let high = hexadecimal(input[at + 2]),
            let low = hexadecimal(input[at + 3])
        {
            text.append(high << 4 | low)
            return 4
        }
        switch next {
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "a"): text.append(0x07)
        default: text.append(next)
        }
        return 2
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) || byte == 0
    }

    private static let doubleQuote = UInt8(ascii: "\"")
    private static let singleQuote = UInt8(ascii: "'")
    private static let backslash = UInt8(ascii: "\\")
}
