import MeshWire
import Testing

@testable import MeshCore

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The definition of a glob as Redis has it, by recursion and without care for time.
private func naive(_ pattern: ArraySlice<UInt8>, _ name: ArraySlice<UInt8>) -> Bool {
    guard let first = pattern.first else { return name.isEmpty }
    if name.isEmpty { return pattern.allSatisfy { $0 == UInt8(ascii: "*") } }
    let rest = pattern.dropFirst()
    switch first {
    case UInt8(ascii: "*"):
        return naive(rest, name) || naive(pattern, name.dropFirst())
    case UInt8(ascii: "?"):
        return naive(rest, name.dropFirst())
    case UInt8(ascii: "\\"):
        let literal = rest.first ?? first
        return literal == name.first! && naive(rest.dropFirst(), name.dropFirst())
    case UInt8(ascii: "["):
        var body = rest
        let isNegated = body.first == UInt8(ascii: "^")
        if isNegated { body = body.dropFirst() }
        var isMember = false
        while let member = body.first {
            let byte = name.first!
            let tail = Array(body.prefix(3))
            if member == UInt8(ascii: "\\"), tail.count >= 2 {
                isMember = isMember || tail[1] == byte
                body = body.dropFirst(2)
            } else if member == UInt8(ascii: "]") {
                body = body.dropFirst()
                break
            } else if tail.count == 3, tail[1] == UInt8(ascii: "-") {
                isMember = isMember || (min(member, tail[2])...max(member, tail[2])) ~= byte
                body = body.dropFirst(3)
            } else {
                isMember = isMember || member == byte
                body = body.dropFirst()
            }
        }
        return isMember != isNegated && naive(body, name.dropFirst())
    default:
        return first == name.first! && naive(rest, name.dropFirst())
    }
}

/// A small generator with a fixed seed (SplitMix64), so that each run tests the same.
struct Dice {
    var state: UInt64
    mutating func roll(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((word ^ (word >> 31)) % UInt64(bound))
    }
    mutating func text(_ alphabet: String, _ countMax: Int) -> [UInt8] {
        let letters = bytes(alphabet)
        return (0..<roll(countMax + 1)).map { _ in letters[roll(letters.count)] }
    }
}

@Suite struct GlobTests {
    /// Each row was put to redis-server 7.0.15 with PSUBSCRIBE and PUBLISH.
    @Test(arguments: [
        ("*", "a", true), ("*", "", false), ("", "", true), ("**", "", false), ("?", "", false),
        ("a*", "a", true), ("*a", "a", true), ("*a*", "bab", true), ("a**b", "ab", true),
        ("h?llo", "hello", true), ("h?llo", "hllo", false), ("h[ae]llo", "hallo", true),
        ("h[^e]llo", "hello", false), ("h[a-b]llo", "hbllo", true), ("h[b-a]llo", "hallo", true),
        ("\\*", "*", true), ("\\*", "a", false), ("a\\", "a\\", true), ("[", "a", false),
        ("[^", "a", true), ("[a", "a", true), ("[]", "a", false), ("[^]", "a", true),
        ("[a-]", "b", false), ("[a-]", "]", true), ("[a-]", "_", true), ("[\\]]", "]", true),
        ("[\\a-z]", "-", true), ("[\\a-z]", "m", false), ("A", "a", false), ("a/*", "a/b/c", true),
        ("[a\\", "\\", true), ("a", "ab", false), ("ab", "a", false), ("a?*", "a", false),
    ])
    func `a pattern matches what it matches in Redis`(_ row: (String, String, Bool)) {
        #expect(Glob.matches(bytes(row.0), bytes(row.1)) == row.2)
    }

    @Test func `random patterns match as the definition says`() {
        var dice = Dice(state: 1)
        var matchCount = 0
        for _ in 0..<20_000 {
            let pattern = dice.text("ab*?[]^-\\", 8)
            let name = dice.text("abc-]\\", 7)
            let expected = name.isEmpty ? pattern.isEmpty : naive(pattern[...], name[...])
            let found = Glob.matches(pattern, name)
            if found != expected {
                Issue.record("\(String(decoding: pattern, as: UTF8.self)) on \(name)")
                return
            }
            if found { matchCount += 1 }
        }
        #expect(matchCount > 700)
    }

    @Test func `bytes that are no text are compared as unsigned bytes`() {
        #expect(Glob.matches([0x5B, 0x00, 0x2D, 0xFF, 0x5D], [0x80]))
        #expect(Glob.matches([0xFF, 0x2A], [0xFF, 0x00, 0xFE]))
        #expect(!Glob.matches([0xFF, 0x2A], [0xFE]))
    }

    /// The definition again, row by row over the name: for names that recursion would be too slow for.
    private func defined(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
        if name.isEmpty { return pattern.isEmpty }
        // matched[n]: the pattern so far matches the first n bytes.
        var matched = [true] + [Bool](repeating: false, count: name.count)
        var rest = pattern[...]
        while let first = rest.first {
            var end = rest.index(after: rest.startIndex)
            if first == UInt8(ascii: "[") {
                // The shortest start of the rest that is one element: it matches what it does alone.
                let whole = Array(rest)
                end = rest.startIndex + Glob.matchClass(whole.span, 0, whole.count, 0).next
            } else if first == UInt8(ascii: "\\"), end < rest.endIndex {
                end += 1
            }
            let element = rest[..<end]
            rest = rest[end...]
            var next = [Bool](repeating: false, count: name.count + 1)
            if first == UInt8(ascii: "*") {
                for n in 0...name.count { next[n] = matched[n] || n > 0 && next[n - 1] }
            } else {
                for n in 1...name.count where matched[n - 1] {
                    next[n] = naive(element, name[(n - 1)..<n])
                }
            }
            matched = next
        }
        return matched[name.count]
    }

    @Test func `64 places at once match as the definition says, in whatever steps`() {
        var dice = Dice(state: 3)
        var matchCount = 0
        for round in 0..<20_000 {
            let isLong = round % 10 == 0
            let pattern = bytes("*") + dice.text("ab*?[]^-\\", isLong ? 12 : 7)
            let name = dice.text("abc-]\\", isLong ? 200 : 7) + bytes("a")
            let expected = isLong ? defined(pattern, name) : naive(pattern[...], name[...])
            var places = BytePlaces()
            var outcome = Glob.Outcome.pending(Glob.Place(pattern: 0, name: 0))
            var steps = 0
            while case .pending(let place) = outcome {
                var units = 1 + dice.roll(4)
                if steps == 0 { units += BytePlaces.cost(name.count) }
                outcome = Glob.resume(
                    place, pattern.span, 0, pattern.count, name: name.span, 0, name.count,
                    &places, &units)
                steps += 1
            }
            if (outcome == .matches) != expected {
                Issue.record("\(String(decoding: pattern, as: UTF8.self)) on \(name)")
                return
            }
            if expected { matchCount += 1 }
        }
        #expect(matchCount > 2_000)
    }

    @Test func `long names match as the definition says`() {
        var dice = Dice(state: 4)
        var matchCount = 0
        for _ in 0..<1_000 {
            // Hard: two letters, many stars, and names that nearly match.
            let pattern = dice.text("aab**?", 60)
            let name = dice.text("aaab", 400)
            let expected = defined(pattern, name)
            if Glob.matches(pattern, name) != expected {
                Issue.record("\(String(decoding: pattern, as: UTF8.self)) on \(name)")
                return
            }
            if expected { matchCount += 1 }
        }
        #expect(matchCount > 100)
    }

    @Test(arguments: [
        String(repeating: "*a", count: 500) + "b", "*" + String(repeating: "a", count: 1_000) + "b",
        "*[" + String(repeating: "b", count: 1_000) + "]*c",
        "*" + String(repeating: "?", count: 1_000) + "b*",
        "*" + String(repeating: "[^b]", count: 250) + "b*",
        "*" + String(repeating: "[-z]", count: 250) + "b*",
    ])
    func `the slowest pattern costs the name's bytes times its words`(_ pattern: String) {
        let count = 65_535
        var name = [UInt8](repeating: 0x61, count: count)
        for place in stride(from: 0, to: count, by: 999) { name[place] = 0x62 }
        let pattern = bytes(pattern)
        var places = BytePlaces()
        let most = 4 * count * (pattern.count + 63) / 64 + 4 * count
        var units = most
        let outcome = Glob.match(
            pattern.span, 0, pattern.count, name: name.span, 0, count, &places, &units)
        #expect(outcome != .pending(Glob.Place(pattern: 0, name: 0)))
        #expect(units > 0)
    }
}

@Suite struct PatternIndexTests {
    private let hasher = KeyHasher(1, 2)

    @Test func `a pattern has one number however often it is inserted`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        let first = index.insert(bytes("news.*"))
        let again = index.insert(bytes("news.*"))
        let other = index.insert(bytes("*.error"))
        #expect(first == again)
        #expect(first != other)
        let count = index.count
        #expect(count == 2)
        let text = index.pattern(other)
        #expect(text == bytes("*.error"))
        index.remove(first)
        let found = index.id(of: bytes("news.*"))
        #expect(found == nil)
    }

    @Test func `prefixes, suffixes and what has neither are all found`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        let texts = ["news.*", "*.error", "*part*", "*", "exact", "new?.x", "\\*star", "*\\?", ""]
        for text in texts { index.insert(bytes(text)) }
        func found(_ name: String) -> Set<String> {
            let name = bytes(name)
            var ids: [PatternNumber] = []
            index.matches(name.span, 0, name.count, into: &ids)
            return Set(ids.map { String(decoding: index.pattern($0), as: UTF8.self) })
        }
        #expect(found("news.x") == ["news.*", "new?.x", "*"])
        #expect(found("a.error") == ["*.error", "*"])
        #expect(found("news.part.error") == ["news.*", "*.error", "*part*", "*"])
        #expect(found("exact") == ["exact", "*"])
        #expect(found("*star") == ["\\*star", "*"])
        #expect(found("who?") == ["*\\?", "*"])
        #expect(found("") == [""])
    }

    @Test func `random inserts, removals and lookups agree with trying every pattern`() {
        var dice = Dice(state: 7)
        var index = PatternIndex(hasher: hasher, secret: 7)
        var model: [[UInt8]: PatternNumber] = [:]
        for step in 0..<6_000 {
            let pattern = dice.text(step % 3 == 0 ? "ab*" : "abc*?[]\\.", 7)
            if dice.roll(5) < 3 {
                let id = index.insert(pattern)
                if let known = model[pattern] { #expect(known == id) }
                model[pattern] = id
            } else if let id = model.removeValue(forKey: pattern) {
                index.remove(id)
            }
            let count = index.count
            #expect(count == model.count)
            guard step % 4 == 0 else { continue }
            let name = dice.text("abc.", 6)
            var found: [PatternNumber] = []
            index.matches(name.span, 0, name.count, into: &found)
            let expected = model.filter { Glob.matches($0.key, name) }.map(\.value).sorted()
            #expect(found.sorted() == expected)
        }
        for id in model.values { index.remove(id) }
        let count = index.count
        #expect(count == 0)
    }

    @Test func `a slice of a longer text is matched, not the text`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        let id = index.insert(bytes("b*d"))
        let text = bytes("abcde")
        var found: [PatternNumber] = []
        index.matches(text.span, 1, 3, into: &found)
        #expect(found == [id])
    }

    @Test func `affixes beyond the bound still tell patterns apart`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        let long = [UInt8](repeating: 0x61, count: 1_000)
        let one = index.insert(long + bytes("1*"))
        let two = index.insert(long + bytes("2*"))
        var found: [PatternNumber] = []
        let name = long + bytes("2x")
        index.matches(name.span, 0, name.count, into: &found)
        #expect(found == [two])
        index.remove(two)
        found = []
        index.matches(name.span, 0, name.count, into: &found)
        #expect(found.isEmpty)
        #expect(one != two)
    }

    /// Patterns that are tried for each name, and nearly match `hardName`.
    private func hardPatterns(_ count: Int) -> [[UInt8]] {
        (0..<count).map { number in
            let digits = String(100_000 + number).dropFirst()
            return bytes("*" + String(repeating: "a*", count: 8))
                + [UInt8](repeating: 0x61, count: 40) + bytes(digits + "*")
        }
    }

    private let hardName = bytes("0123456789") + [UInt8](repeating: 0x61, count: 20_000)

    @Test func `a search in steps finds what a match does, and no step costs more than it may`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        for pattern in hardPatterns(200) { index.insert(pattern) }
        for text in ["*", "0*", "*a", "*9aaa*", "a*", "*b*", "0123*aaa"] {
            index.insert(bytes(text))
        }
        let name = hardName
        var whole: [PatternNumber] = []
        index.matches(name.span, 0, name.count, into: &whole)
        var units = Work.perEvent
        var part: [PatternNumber] = []
        let isWhole = index.matches(name.span, 0, name.count, into: &part, &units)
        #expect(!isWhole && part.count < whole.count)

        var search = PatternSearch(of: index)
        var searched = SearchedName(name)
        var (steps, isDone) = (0, false)
        while !isDone {
            var units = 1_000
            isDone = index.advance(&search, &searched, &units)
            // The tables of the name are made in one go, after some bytes; else no more than a block.
            #expect(units > (steps == 0 ? -BytePlaces.cost(name.count) - 10_000 : -200))
            steps += 1
        }
        var found: [PatternNumber] = []
        index.found(by: search, into: &found)
        #expect(found.sorted() == whole.sorted() && found.count == 5)
        #expect(steps > 50)
    }

    @Test func `patterns come and go between the steps of a search`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        for pattern in hardPatterns(50) { index.insert(pattern) }
        let ids = ["*a", "0*", "*9aaa*", "*"].map { index.insert(bytes($0)) }
        for pattern in hardPatterns(70).dropFirst(50) { index.insert(pattern) }
        var search = PatternSearch(of: index)
        var searched = SearchedName(hardName)
        var steps = 0
        while true {
            var units = 500
            if index.advance(&search, &searched, &units) { break }
            steps += 1
            if steps == 2 {
                // One that is still to be tried and one that is another under the same number.
                index.remove(ids[1])
                index.remove(ids[2])
                index.insert(bytes("*aa*"))
            }
        }
        #expect(steps > 10)
        index.remove(ids[0])
        index.insert(bytes("*aaa"))
        var found: [PatternNumber] = []
        index.found(by: search, into: &found)
        #expect(found == [ids[3]])
    }

    @Test func `most patterns that are tried are ruled out without a look at their text`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        for number in 0..<10_000 { index.insert(bytes("*user\(100_000 + number)*")) }
        var found: [PatternNumber] = []
        let name = bytes("room.12.user104711.typing")
        var units = Work.perEvent
        let isWhole = index.matches(name.span, 0, name.count, into: &found, &units)
        #expect(isWhole && found.count == 1)
        #expect(units > Work.perEvent / 10)
    }

    @Test func `a publish among 100,000 patterns tries few of them`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        for number in 0..<50_000 {
            index.insert(bytes("user:\(number):*"))
            index.insert(bytes("room:*:member:\(number)"))
        }
        var found: [PatternNumber] = []
        let name = bytes("user:4711:typing")
        let clock = ContinuousClock()
        let taken = clock.measure {
            for _ in 0..<1_000 {
                found.removeAll(keepingCapacity: true)
                index.matches(name.span, 0, name.count, into: &found)
            }
        }
        #expect(found.count == 1)
        #expect(taken < .seconds(2))
    }

    @Test func `the text of removed patterns is given back`() {
        var index = PatternIndex(hasher: hasher, secret: 7)
        for round in 0..<200 {
            let ids = (0..<50).map { index.insert(bytes("pattern \(round) \($0) with some text*")) }
            for id in ids.dropFirst() { index.remove(id) }
        }
        let capacity = index.byteCapacity
        #expect(capacity < 200_000)
        let count = index.count
        #expect(count == 200)
    }
}
