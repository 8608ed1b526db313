/// The part of a pattern behind its first star, looked for at 64 places of the name at once.
extension Glob {
    /// The bytes between two stars, or behind the last.
    private struct Segment {
        var start: Int
        var end: Int
        /// Bytes of the name that it matches.
        var length = 0
        /// Of its plain bytes the one that the name has least of, and how far in it stands. Where it is
        /// not, the rest need not be looked at.
        var rarest: (byte: UInt8, offset: Int)?
        /// It has a byte that the name has not.
        var isImpossible = false
    }

    /// Goes on with a match at `place`; see `match`.
    static func resume(
        _ place: Place, _ pattern: Span<UInt8>, _ patternStart: Int, _ patternCount: Int,
        name: Span<UInt8>, _ start: Int, _ count: Int, _ places: inout BytePlaces,
        _ units: inout Int
    ) -> Outcome {
        if !places.isBuilt {
            units -= BytePlaces.cost(count)
            places.build(name, start, count)
        }
        let patternEnd = patternStart + patternCount
        var at = place
        while true {
            var p = patternStart + at.pattern
            while p < patternEnd, pattern[p] == star { p += 1 }
            if p == patternEnd { return .matches }
            let segment = segment(pattern, p, patternEnd, places)
            units -= segment.end - p
            if segment.isImpossible || segment.length > count - at.name { return .differs }
            if segment.end == patternEnd {
                // Nothing is behind it but the end of the name.
                units -= segment.end - p
                return isEqual(pattern, segment, name, start + count - segment.length)
                    ? .matches : .differs
            }
            switch find(segment, in: pattern, places, from: at.name, count, &units) {
            case .differs: return .differs
            case .pending(let from):
                return .pending(Place(pattern: at.pattern, name: from))
            case .found(let found):
                at = Place(
                    pattern: segment.end - patternStart, name: found + segment.length)
                if units <= 0 { return .pending(at) }
            }
        }
    }

    private static func segment(
        _ pattern: Span<UInt8>, _ start: Int, _ patternEnd: Int, _ places: borrowing BytePlaces
    ) -> Segment {
        var segment = Segment(start: start, end: start)
        var fewest = Int.max
        while segment.end < patternEnd {
            var byte = pattern[segment.end]
            var next = segment.end + 1
            switch byte {
            case star: return segment
            case questionMark: break
            case openBracket: next = matchClass(pattern, segment.end, patternEnd, 0).next
            default:
                if byte == backslash, next < patternEnd {
                    byte = pattern[next]
                    next += 1
                }
                let count = places.count(of: byte)
                if count == 0 { segment.isImpossible = true }
                if count < fewest {
                    fewest = count
                    segment.rarest = (byte, segment.length)
                }
            }
            segment.length += 1
            segment.end = next
        }
        return segment
    }

    /// Whether a segment matches the bytes of the name from `n` on.
    private static func isEqual(
        _ pattern: Span<UInt8>, _ segment: Segment, _ name: Span<UInt8>, _ start: Int
    ) -> Bool {
        var p = segment.start
        var n = start
        while p < segment.end {
            switch pattern[p] {
            case questionMark: p += 1
            case openBracket:
                let (isMember, next) = matchClass(pattern, p, segment.end, name[n])
                if !isMember { return false }
                p = next
            case backslash where p + 1 < segment.end:
                if pattern[p + 1] != name[n] { return false }
                p += 2
            case let byte:
                if byte != name[n] { return false }
                p += 1
            }
            n += 1
        }
        return true
    }

    private enum Finding {
        case found(Int)
        case differs
        /// There is none before this place; behind it the work was used up.
        case pending(Int)
    }

    /// The leftmost place, not before `from`, at which a segment matches.
    private static func find(
        _ segment: Segment, in pattern: Span<UInt8>, _ places: borrowing BytePlaces, from: Int,
        _ count: Int, _ units: inout Int
    ) -> Finding {
        let last = count - segment.length
        var block = from
        while block <= last {
            // Each call gets on by a block at least.
            if units <= 0, block > from { return .pending(block) }
            units -= 1
            var bits = last - block >= 63 ? UInt64.max : (2 << UInt64(last - block)) - 1
            if let rarest = segment.rarest {
                bits &= places.window(rarest.byte, at: block + rarest.offset)
            }
            var p = segment.start
            var place = block
            while bits != 0, p < segment.end {
                units -= 1
                switch pattern[p] {
                case questionMark: p += 1
                case openBracket:
                    let found = classWindow(pattern, p, segment.end, places, place)
                    bits &= found.bits
                    units -= found.next - p
                    p = found.next
                case backslash where p + 1 < segment.end:
                    bits &= places.window(pattern[p + 1], at: place)
                    p += 2
                case let byte:
                    bits &= places.window(byte, at: place)
                    p += 1
                }
                place += 1
            }
            if bits != 0 { return .found(block + bits.trailingZeroBitCount) }
            block += 64
        }
        return .differs
    }

    /// Which of 64 places have a byte of the class that opens at `open`; see `matchClass`.
    private static func classWindow(
        _ pattern: Span<UInt8>, _ open: Int, _ end: Int, _ places: borrowing BytePlaces,
        _ place: Int
    ) -> (bits: UInt64, next: Int) {
        var p = open + 1
        let isNegated = p < end && pattern[p] == caret
        if isNegated { p += 1 }
        var bits: UInt64 = 0
        while p < end {
            let first = pattern[p]
            if first == backslash, p + 1 < end {
                bits |= places.window(pattern[p + 1], at: place)
                p += 2
            } else if first == closeBracket {
                return (isNegated ? ~bits : bits, p + 1)
            } else if p + 2 < end, pattern[p + 1] == dash {
                let last = pattern[p + 2]
                bits |= places.window(min(first, last)...max(first, last), at: place)
                p += 3
            } else {
                bits |= places.window(first, at: place)
                p += 1
            }
        }
        return (isNegated ? ~bits : bits, end)
    }
}
