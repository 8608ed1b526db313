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

    @Test func `a pattern made to be slow ends at the bound`() {
        let name = [UInt8](repeating: 0x61, count: 65_535)
        let stars = (0..<20_000).flatMap { _ in bytes("*a") } + bytes("b")
        let longTail = bytes("*") + [UInt8](repeating: 0x61, count: 30_000) + bytes("b")
        let bigClass = bytes("*[") + [UInt8](repeating: 0x62, count: 60_000) + bytes("]")
        let clock = ContinuousClock()
        let taken = clock.measure {
            #expect(!Glob.matches(stars, name))
            #expect(!Glob.matches(longTail, name))
            #expect(!Glob.matches(bigClass, name))
        }
        #expect(taken < .seconds(5))
        #expect(Glob.matches(bytes("*a*a*a*a*a"), name))
    }
}

@Suite struct PatternIndexTests {
    private let hasher = KeyHasher(1, 2)

    @Test func `a pattern has one number however often it is inserted`() {
        var index = PatternIndex(hasher: hasher)
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
        var index = PatternIndex(hasher: hasher)
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
        var index = PatternIndex(hasher: hasher)
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
        var index = PatternIndex(hasher: hasher)
        let id = index.insert(bytes("b*d"))
        let text = bytes("abcde")
        var found: [PatternNumber] = []
        index.matches(text.span, 1, 3, into: &found)
        #expect(found == [id])
    }

    @Test func `affixes beyond the bound still tell patterns apart`() {
        var index = PatternIndex(hasher: hasher)
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

    @Test func `a publish among 100,000 patterns tries few of them`() {
        var index = PatternIndex(hasher: hasher)
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
        var index = PatternIndex(hasher: hasher)
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
