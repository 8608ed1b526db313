/// A client's side of the protocol, RESP2 and RESP3: takes a connection's bytes apart into replies
/// and messages, as far as a schedule needs to know.
struct ClientReader {
    enum Item {
        /// A reply that is the token of a session.
        case token(String)
        /// A message to a user.
        case user(String, payload: ArraySlice<UInt8>)
        /// Where the client is to go.
        case moved(to: String)
    }

    private var bytes: [UInt8] = []
    private var start = 0

    /// Takes what has come, and tells of each reply or message that is whole now.
    ///
    /// - Returns: false: this is no RESP.
    mutating func take(_ more: [UInt8], _ body: (Item) -> Void) -> Bool {
        bytes += more
        while start < bytes.count {
            var at = start
            var words: [Range<Int>] = []
            guard skip(&at, depth: 0, &words) else { return false }
            if at < 0 { break }
            if let item = item(words) { body(item) }
            start = at
        }
        if start == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            start = 0
        }
        return true
    }

    private func item(_ words: [Range<Int>]) -> Item? {
        if bytes[start] == UInt8(ascii: "$") {
            guard words.count == 1, words[0].count == 49,
                bytes[words[0].lowerBound + 16] == UInt8(ascii: "-")
            else { return nil }
            return .token(text(words[0]))
        }
        guard words.count == 3 else { return nil }
        switch words[0].count {
        case 4 where text(words[0]) == "user":
            return .user(text(words[1]), payload: bytes[words[2]])
        case 5 where text(words[0]) == "moved": return .moved(to: text(words[1]))
        default: return nil
        }
    }

    private func text(_ range: Range<Int>) -> String {
        String(decoding: bytes[range], as: UTF8.self)
    }

    /// Moves `at` past a reply; -1: it is not whole. `words`: its text, or those of its elements.
    ///
    /// - Returns: false: this is no RESP.
    private func skip(_ at: inout Int, depth: Int, _ words: inout [Range<Int>]) -> Bool {
        guard at < bytes.count else {
            at = -1
            return true
        }
        let kind = bytes[at]
        guard let line = line(at + 1) else {
            at = -1
            return true
        }
        at = line.upperBound + 2
        switch kind {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ","),
            UInt8(ascii: "#"), UInt8(ascii: "("), UInt8(ascii: ":"):
            if depth <= 1 { words.append(line) }
            return true
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
            guard let count = number(line) else { return false }
            if count < 0 { return true }
            guard at + count + 2 <= bytes.count else {
                at = -1
                return true
            }
            if depth <= 1 { words.append(at..<at + count) }
            at += count + 2
            return bytes[at - 2] == 0x0D && bytes[at - 1] == 0x0A
        case UInt8(ascii: "*"), UInt8(ascii: ">"), UInt8(ascii: "~"), UInt8(ascii: "%"):
            guard let count = number(line) else { return false }
            for _ in 0..<max(0, kind == UInt8(ascii: "%") ? 2 * count : count) {
                guard skip(&at, depth: depth + 1, &words) else { return false }
                if at < 0 { return true }
            }
            return true
        default: return false
        }
    }

    /// The line that begins here, without its end; nil: it has not come to its end.
    private func line(_ from: Int) -> Range<Int>? {
        var at = from
        while at + 1 < bytes.count {
            if bytes[at] == 0x0D, bytes[at + 1] == 0x0A { return from..<at }
            at += 1
        }
        return nil
    }

    private func number(_ range: Range<Int>) -> Int? {
        guard range.count < 19 else { return nil }
        var value = 0
        var at = range.lowerBound
        let isNegative = at < range.upperBound && bytes[at] == UInt8(ascii: "-")
        if isNegative { at += 1 }
        guard at < range.upperBound else { return nil }
        while at < range.upperBound {
            guard bytes[at] &- 0x30 < 10 else { return nil }
            value = value * 10 + Int(bytes[at] - 0x30)
            at += 1
        }
        return isNegative ? -value : value
    }
}
