/// Redis's glob: which names a pattern of `PSUBSCRIBE` matches.
///
///     *       any bytes, also none        [abc]   one of these bytes
///     ?       one byte                    [^a]    one byte that is none of these
///     \x      the byte x itself           [a-z]   one byte of this range
///
/// Patterns and names are bytes; case counts, and no byte separates levels. Odd patterns mean what
/// they mean to Redis: `\` at the end is itself, `[` without `]` ends with the pattern, `[]` matches
/// nothing, `[a-]` is a range up to `]` in a class that is still open, and the empty name is matched
/// by the empty pattern alone, not by `*`.
///
/// Differences from Redis 7 (`stringmatchlen`): ranges compare bytes as unsigned. A match is found
/// by going back to the last `*` alone, which suffices because everything else matches one byte; so
/// nothing is recursive, and instead of 1,000 nested stars the bound is `stepMax`.
public enum Glob {
    /// A match gives up, and says no, after looking at this many bytes of the pattern. The longest
    /// name against a pattern of sixteen bytes stays below it; without a bound a pattern and a name
    /// of 64 KiB each could cost 2^32 steps. About a millisecond.
    public static let stepMax = 1 << 20

    /// True when `pattern[patternStart ..< patternStart + patternCount]` matches
    /// `name[start ..< start + count]`. Cost: the length of both, at worst their product up to `stepMax`.
    public static func matches(
        _ pattern: Span<UInt8>, _ patternStart: Int, _ patternCount: Int,
        name: Span<UInt8>, _ start: Int, _ count: Int
    ) -> Bool {
        let patternEnd = patternStart + patternCount
        let end = start + count
        precondition(patternStart >= 0 && patternCount >= 0 && patternEnd <= pattern.count)
        precondition(start >= 0 && count >= 0 && end <= name.count)
        if count == 0 { return patternCount == 0 }

        var p = patternStart
        var n = start
        var afterStar = -1
        var starAt = 0
        var stepsLeft = stepMax
        while n < end {
            var matched = false
            var next = p + 1
            if p < patternEnd {
                let byte = pattern[p]
                switch byte {
                case star:
                    p += 1
                    while p < patternEnd, pattern[p] == star { p += 1 }
                    if p == patternEnd { return true }
                    afterStar = p
                    starAt = n
                    continue
                case questionMark:
                    matched = true
                case openBracket:
                    (matched, next) = matchClass(pattern, p, patternEnd, name[n])
                    stepsLeft -= next - p
                case backslash where p + 1 < patternEnd:
                    matched = pattern[p + 1] == name[n]
                    next = p + 2
                default:
                    matched = byte == name[n]
                }
            }
            stepsLeft -= 1
            if matched {
                p = next
                n += 1
                continue
            }
            guard afterStar >= 0, stepsLeft > 0 else { return false }
            starAt += 1
            n = starAt
            p = afterStar
        }
        while p < patternEnd, pattern[p] == star { p += 1 }
        return p == patternEnd
    }

    public static func matches(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
        matches(pattern.span, 0, pattern.count, name: name.span, 0, name.count)
    }

    /// Whether `byte` is in the class that opens at `open`, and where the pattern goes on after it.
    private static func matchClass(
        _ pattern: Span<UInt8>, _ open: Int, _ end: Int, _ byte: UInt8
    ) -> (matched: Bool, next: Int) {
        var p = open + 1
        let isNegated = p < end && pattern[p] == caret
        if isNegated { p += 1 }
        var isMember = false
        while p < end {
            let first = pattern[p]
            if first == backslash, p + 1 < end {
                if pattern[p + 1] == byte { isMember = true }
                p += 2
            } else if first == closeBracket {
                return (isMember != isNegated, p + 1)
            } else if p + 2 < end, pattern[p + 1] == dash {
                let last = pattern[p + 2]
                if min(first, last) <= byte, byte <= max(first, last) { isMember = true }
                p += 3
            } else {
                if first == byte { isMember = true }
                p += 1
            }
        }
        return (isMember != isNegated, end)
    }

    /// The bytes that every match starts with, at most `countMax` of them.
    static func literalPrefix(_ pattern: [UInt8], countMax: Int) -> [UInt8] {
        var literal: [UInt8] = []
        var p = 0
        while p < pattern.count, literal.count < countMax {
            switch pattern[p] {
            case star, questionMark, openBracket:
                return literal
            case backslash where p + 1 < pattern.count:
                p += 1
            default:
                break
            }
            literal.append(pattern[p])
            p += 1
        }
        return literal
    }

    /// The bytes that every match ends with, in reverse, at most `countMax` of them.
    static func reversedLiteralSuffix(_ pattern: [UInt8], countMax: Int) -> [UInt8] {
        // Escapes and classes can only be told from the front, so the run of literal bytes that is
        // still open at the end is the suffix.
        var literal: [UInt8] = []
        var p = 0
        while p < pattern.count {
            switch pattern[p] {
            case star, questionMark:
                literal.removeAll(keepingCapacity: true)
            case openBracket:
                literal.removeAll(keepingCapacity: true)
                p = matchClass(pattern.span, p, pattern.count, 0).next
                continue
            case backslash where p + 1 < pattern.count:
                p += 1
                literal.append(pattern[p])
            default:
                literal.append(pattern[p])
            }
            p += 1
        }
        return Array(literal.reversed().prefix(countMax))
    }

    private static let star = UInt8(ascii: "*")
    private static let questionMark = UInt8(ascii: "?")
    private static let openBracket = UInt8(ascii: "[")
    private static let closeBracket = UInt8(ascii: "]")
    private static let backslash = UInt8(ascii: "\\")
    private static let caret = UInt8(ascii: "^")
    private static let dash = UInt8(ascii: "-")
}
