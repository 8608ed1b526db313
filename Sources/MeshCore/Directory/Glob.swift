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
/// nothing is recursive, and no number of stars is too large.
///
/// Between two stars the leftmost match of what stands there is the best: more of the name is left for
/// the rest. It is looked for byte by byte first. Where that takes more than some steps for each byte of
/// the name, it goes on at 64 places at once (`BytePlaces`). So a match costs at most
/// O(name × ⌈pattern / 64⌉), and an ordinary one what its bytes do.
public enum Glob {
    /// As much as is known of a match.
    enum Outcome: Equatable {
        case matches
        case differs
        /// The work was used up before it was known: to be gone on with by `resume`.
        case pending(Place)
    }

    /// Where a match has come to: the pattern from `pattern` on, which stands behind a star, is to be
    /// found in the name from `name` on. Both count from the first byte.
    struct Place: Equatable {
        var pattern: Int
        var name: Int
    }

    /// True when `pattern[patternStart ..< patternStart + patternCount]` matches
    /// `name[start ..< start + count]`.
    public static func matches(
        _ pattern: Span<UInt8>, _ patternStart: Int, _ patternCount: Int,
        name: Span<UInt8>, _ start: Int, _ count: Int
    ) -> Bool {
        var places = BytePlaces()
        var units = Int.max
        return match(
            pattern, patternStart, patternCount, name: name, start, count, &places, &units)
            == .matches
    }

    public static func matches(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
        matches(pattern.span, 0, pattern.count, name: name.span, 0, name.count)
    }

    /// The same, and its cost is taken off `units` (`Work`).
    public static func matches(
        _ pattern: [UInt8], _ name: [UInt8], _ units: inout Int
    ) -> Bool {
        var places = BytePlaces()
        var left = Int.max
        let outcome = match(
            pattern.span, 0, pattern.count, name: name.span, 0, name.count, &places, &left)
        units -= Int.max - left
        return outcome == .matches
    }

    /// The same with a bound: a unit is a byte compared, or 64 places of the name.
    ///
    /// - Parameters:
    ///   - places: of this name, or cleared.
    ///   - units: what the match may cost; its cost is taken off, a little beyond zero at times. Above
    ///     zero the match is never `.pending`.
    static func match(
        _ pattern: Span<UInt8>, _ patternStart: Int, _ patternCount: Int,
        name: Span<UInt8>, _ start: Int, _ count: Int, _ places: inout BytePlaces,
        _ units: inout Int
    ) -> Outcome {
        let patternEnd = patternStart + patternCount
        let end = start + count
        precondition(patternStart >= 0 && patternCount >= 0 && patternEnd <= pattern.count)
        precondition(start >= 0 && count >= 0 && end <= name.count)
        if count == 0 { return patternCount == 0 ? .matches : .differs }

        var p = patternStart
        var n = start
        var afterStar = -1
        var starAt = 0
        var steps = 0
        var patience = min(2 * count + patternCount + 64, stepsMax)
        defer { units -= steps }
        while n < end {
            var matched = false
            var next = p + 1
            if p < patternEnd {
                let byte = pattern[p]
                switch byte {
                case star:
                    p += 1
                    while p < patternEnd, pattern[p] == star { p += 1 }
                    if p == patternEnd { return .matches }
                    afterStar = p
                    starAt = n
                    if places.isBuilt { patience = min(patience, steps + 64) }
                    continue
                case questionMark:
                    matched = true
                case openBracket:
                    (matched, next) = matchClass(pattern, p, patternEnd, name[n])
                    steps += next - p
                case backslash where p + 1 < patternEnd:
                    matched = pattern[p + 1] == name[n]
                    next = p + 2
                default:
                    matched = byte == name[n]
                }
            }
            steps += 1
            if matched {
                p = next
                n += 1
                continue
            }
            guard afterStar >= 0 else { return .differs }
            starAt += 1
            guard steps < patience else {
                return resume(
                    Place(pattern: afterStar - patternStart, name: starAt - start), pattern,
                    patternStart, patternCount, name: name, start, count, &places, &units)
            }
            n = starAt
            p = afterStar
        }
        while p < patternEnd, pattern[p] == star { p += 1 }
        return p == patternEnd ? .matches : .differs
    }

    /// Whether `byte` is in the class that opens at `open`, and where the pattern goes on after it.
    static func matchClass(
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

    /// The bit of two bytes that stand side by side.
    @inline(__always)
    static func pair(_ first: UInt8, _ second: UInt8) -> UInt64 {
        1 << ((UInt64(first) &* 37 &+ UInt64(second) &* 11) & 63)
    }

    /// The length of the shortest name that matches, and the pairs of bytes that every one has.
    static func demands(of pattern: [UInt8]) -> (nameCountMin: Int32, pairs: UInt64) {
        var (count, pairs) = (Int32(0), UInt64(0))
        var last: UInt8?
        var p = 0
        while p < pattern.count {
            var byte = pattern[p]
            p += 1
            switch byte {
            case star:
                last = nil
                continue
            case questionMark: last = nil
            case openBracket:
                last = nil
                p = matchClass(pattern.span, p - 1, pattern.count, 0).next
            default:
                if byte == backslash, p < pattern.count {
                    byte = pattern[p]
                    p += 1
                }
                if let last { pairs |= pair(last, byte) }
                last = byte
            }
            count += 1
        }
        return (count, pairs)
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

    /// The bytes that are compared one by one at the most before 64 places are looked at at once.
    private static let stepsMax = 8_192

    static let star = UInt8(ascii: "*")
    static let questionMark = UInt8(ascii: "?")
    static let openBracket = UInt8(ascii: "[")
    static let closeBracket = UInt8(ascii: "]")
    static let backslash = UInt8(ascii: "\\")
    static let caret = UInt8(ascii: "^")
    static let dash = UInt8(ascii: "-")
}
