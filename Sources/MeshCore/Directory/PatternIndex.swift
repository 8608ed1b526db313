import MeshWire

/// The number of a pattern in its `PatternIndex`.
public struct PatternNumber: TableIndex {
    public var rawValue: Int32

    @inlinable @inline(__always)
    public init(rawValue: Int32) { self.rawValue = rawValue }
}

/// A set of glob patterns that finds those that match a name without trying each.
///
/// A pattern is filed under the bytes that all its matches start with, or, where that is longer,
/// under those they end with; only patterns with neither (`*`, `*part*`) are tried for every name.
///
///     news.*     ─▶ prefixes["news."]          a name's own prefixes and suffixes are hashed as
///     *.error    ─▶ suffixes["rorre."]         they grow, byte by byte; one lookup for each
///     *part*     ─▶ unanchored                 length under which patterns are filed
///
/// Of those that are tried most are ruled out without a look at their text: each pattern has a shortest
/// name, and a word with a bit for each pair of plain bytes that stand side by side in it. A name has
/// a bit for each of its pairs; one that lacks a bit of the pattern's does not match.
///
/// Patterns are numbered with small integers, which are used again, so that the owner keeps what
/// belongs to a pattern in an array.
///
/// Cost of `matches`: the name's length (up to `affixCountMax`, at both ends; once in full where any
/// are tried), and for each pattern filed under the same bytes a visit and mostly no match. It is
/// bounded in units of work. A name that costs more is matched in steps (`PatternSearch`). Insert
/// and remove are O(1) expected.
public struct PatternIndex: ~Copyable {
    /// Longer prefixes and suffixes are filed under this many bytes: it bounds what a name costs.
    public static let affixCountMax = 128
    /// The cost of a visit to a pattern, in units of work: a byte compared is one.
    static let visitUnits = 8
    /// A longer name has nearly all pairs that a word can tell apart: they are not looked at.
    private static let pairedNameMax = 256

    private let hasher: KeyHasher
    private var entries: [Entry] = []
    private var freeEntry = PatternNumber.none
    private var prefixes: AffixTable
    private var suffixes: AffixTable
    private var unanchoredFirst = PatternNumber.none
    /// Entries by key.
    private var map = IndexMap()
    private let spread: KeySpread
    /// The text of all patterns; entries hold places in it.
    private var text: [UInt8] = []
    private var deadTextCount = 0
    /// Patterns in the set.
    public private(set) var count = 0
    /// How many patterns have been inserted so far; numbers those in the set by their age.
    private(set) var lastBirth: UInt64 = 0
    /// The places of the name at hand, for patterns that are hard to match.
    private var places = BytePlaces()

    fileprivate struct Entry {
        var key = Key(0)
        var textStart = 0
        var textCount: Int32 = 0
        var filing = Filing.free
        /// Neighbours in the chain of patterns that are filed alike; `next` also in the free list.
        var next = PatternNumber.none
        var previous = PatternNumber.none
        var affixHash: UInt64 = 0
        var affixCount: Int32 = 0
        /// Bytes of the shortest name that matches.
        var nameCountMin: Int32 = 0
        /// The pairs that every name that matches has.
        var pairs: UInt64 = 0
        /// `lastBirth` when it was inserted.
        var birth: UInt64 = 0
    }

    fileprivate enum Filing: UInt8 { case free, prefix, suffix, unanchored }

    /// - Parameters:
    ///   - hasher: the cluster's.
    ///   - secret: this node's own; it keeps clients from choosing patterns that collide.
    public init(hasher: KeyHasher, secret: UInt64) {
        self.hasher = hasher
        spread = KeySpread(secret: secret)
        let base = RandomSource.mix(secret)
        prefixes = AffixTable(base: base)
        suffixes = AffixTable(base: base)
    }

    /// The bytes of memory that the set holds on to.
    public var byteCapacity: Int {
        entries.capacity * MemoryLayout<Entry>.stride + map.byteCapacity + text.capacity
            + prefixes.byteCapacity + suffixes.byteCapacity
    }

    /// The bytes of the patterns in the set.
    public var textBytes: Int { text.count - deadTextCount }

    /// The bytes of one.
    func textCount(_ id: PatternNumber) -> Int { Int(entries[id.slot].textCount) }

    /// The text of a pattern in the set.
    public func pattern(_ id: PatternNumber) -> [UInt8] {
        let entry = entries[id.slot]
        precondition(entry.filing != .free, "no pattern \(id)")
        return Array(text[entry.textStart..<entry.textStart + Int(entry.textCount)])
    }

    /// The number of this pattern, nil when it is not in the set.
    public func id(of pattern: [UInt8]) -> PatternNumber? {
        find(pattern, hasher.key(.pattern, pattern)).map { PatternNumber($0) }
    }

    private func find(_ pattern: [UInt8], _ key: Key) -> Int? {
        map.find(spread.hash(key)) { entries[$0].key == key && holds(entries[$0], pattern) }
    }

    private func holds(_ entry: Entry, _ pattern: [UInt8]) -> Bool {
        guard Int(entry.textCount) == pattern.count else { return false }
        for index in pattern.indices where text[entry.textStart + index] != pattern[index] {
            return false
        }
        return true
    }

    /// The numbers of all patterns with this key, ascending.
    public func ids(of key: Key) -> [PatternNumber] {
        var found: [PatternNumber] = []
        map.forEach(spread.hash(key)) {
            if entries[$0].key == key { found.append(PatternNumber($0)) }
        }
        return found.sorted()
    }

    /// Adds a pattern of at most `Frame.nameLengthMax` bytes; one that is there keeps its number.
    @discardableResult
    public mutating func insert(_ pattern: [UInt8]) -> PatternNumber {
        precondition(pattern.count <= Frame.nameLengthMax)
        let key = hasher.key(.pattern, pattern)
        if let known = find(pattern, key) { return PatternNumber(known) }
        let id = takeEntry()
        map.insert(id.slot, spread.hash(key)) { spread.hash(entries[$0].key) }
        count += 1

        var entry = Entry()
        entry.key = key
        entry.textStart = text.count
        entry.textCount = Int32(pattern.count)
        (entry.nameCountMin, entry.pairs) = Glob.demands(of: pattern)
        lastBirth += 1
        entry.birth = lastBirth
        text.append(contentsOf: pattern)
        let prefix = Glob.literalPrefix(pattern, countMax: Self.affixCountMax)
        let suffix = Glob.reversedLiteralSuffix(pattern, countMax: Self.affixCountMax)
        let next: PatternNumber
        if prefix.isEmpty, suffix.isEmpty {
            entry.filing = .unanchored
            next = unanchoredFirst
            unanchoredFirst = id
        } else if prefix.count >= suffix.count {
            entry.filing = .prefix
            entry.affixCount = Int32(prefix.count)
            entry.affixHash = prefixes.hash(prefix)
            next = prefixes.exchangeFirst(entry.affixHash, prefix.count, with: id, entries)
        } else {
            entry.filing = .suffix
            entry.affixCount = Int32(suffix.count)
            entry.affixHash = suffixes.hash(suffix)
            next = suffixes.exchangeFirst(entry.affixHash, suffix.count, with: id, entries)
        }
        entry.next = next
        entries[id.slot] = entry
        if !next.isNone { entries[next.slot].previous = id }
        return id
    }

    /// Takes a pattern out; its number is free for another.
    public mutating func remove(_ id: PatternNumber) {
        let entry = entries[id.slot]
        precondition(entry.filing != .free, "no pattern \(id)")
        if !entry.next.isNone { entries[entry.next.slot].previous = entry.previous }
        if !entry.previous.isNone {
            entries[entry.previous.slot].next = entry.next
        } else {
            switch entry.filing {
            case .prefix:
                prefixes.setFirst(
                    entry.affixHash, Int(entry.affixCount), to: entry.next, entries)
            case .suffix:
                suffixes.setFirst(
                    entry.affixHash, Int(entry.affixCount), to: entry.next, entries)
            case .unanchored, .free:
                unanchoredFirst = entry.next
            }
        }
        map.remove(
            spread.hash(entry.key), rehash: { spread.hash(entries[$0].key) },
            where: { $0 == id.slot })
        entries[id.slot] = Entry()
        entries[id.slot].next = freeEntry
        freeEntry = id
        count -= 1
        deadTextCount += Int(entry.textCount)
        if deadTextCount > 4096, deadTextCount > text.count / 2 { compactText() }
    }

    /// Appends the numbers of the patterns that match `name[start ..< start + count]` to `ids`,
    /// each once, in an order that depends on the history of the set alone.
    public mutating func matches(
        _ name: Span<UInt8>, _ start: Int, _ count: Int, into ids: inout [PatternNumber]
    ) {
        var units = Int.max
        _ = matches(name, start, count, into: &ids, &units)
    }

    /// The same with a bound.
    ///
    /// - Parameter units: the work that it may cost; what it costs is taken off.
    /// - Returns: false if that was not enough: not all are in `ids`.
    public mutating func matches(
        _ name: Span<UInt8>, _ start: Int, _ count: Int, into ids: inout [PatternNumber],
        _ units: inout Int
    ) -> Bool {
        if self.count == 0 { return true }
        // Only patterns that are tried ask for the pairs.
        var pairs: UInt64 = 0
        units -= 2 * min(count, Self.affixCountMax)
        // Taken out for the time of the call: the text cannot be read while another part is written.
        var places = BytePlaces()
        swap(&places, &self.places)
        appendMatches(unanchoredFirst, name, start, count, &pairs, &places, into: &ids, &units)
        var hash: UInt64 = 0
        for length in 0..<min(count, prefixes.longest) {
            hash = prefixes.extend(hash, name[start + length])
            if prefixes.isUsed(length + 1) {
                let first = prefixes.first(hash, entries)
                appendMatches(first, name, start, count, &pairs, &places, into: &ids, &units)
            }
        }
        hash = 0
        for length in 0..<min(count, suffixes.longest) {
            hash = suffixes.extend(hash, name[start + count - 1 - length])
            if suffixes.isUsed(length + 1) {
                let first = suffixes.first(hash, entries)
                appendMatches(first, name, start, count, &pairs, &places, into: &ids, &units)
            }
        }
        if places.isBuilt { places.clear() }
        swap(&places, &self.places)
        return units >= 0
    }

    /// - Parameter pairs: those of the name; 0: nobody has asked for them yet, or there are none.
    @inline(never)
    private func appendMatches(
        _ first: PatternNumber, _ name: Span<UInt8>, _ start: Int, _ count: Int,
        _ pairs: inout UInt64, _ places: inout BytePlaces, into ids: inout [PatternNumber],
        _ units: inout Int
    ) {
        if first.isNone || units < 0 { return }
        if pairs == 0 { pairs = Self.pairs(of: name, start, count) }
        var id = first
        while !id.isNone, units >= 0 {
            let entry = entries[id.slot]
            units -= Self.visitUnits
            if entry.nameCountMin <= count, entry.pairs & ~pairs == 0 {
                let outcome = Glob.match(
                    text.span, entry.textStart, Int(entry.textCount), name: name, start, count,
                    &places, &units)
                switch outcome {
                case .matches: ids.append(id)
                case .differs: break
                case .pending: units = -1
                }
            }
            id = entry.next
        }
    }

    /// The pairs of bytes of a name, as `Entry.pairs` has those of a pattern.
    private static func pairs(of name: Span<UInt8>, _ start: Int, _ count: Int) -> UInt64 {
        if count > pairedNameMax { return .max }
        var pairs: UInt64 = 0
        var place = start + 1
        while place < start + count {
            pairs |= Glob.pair(name[place - 1], name[place])
            place += 1
        }
        return pairs
    }

    // MARK: In steps

    /// Goes on with a search; see `PatternSearch`.
    ///
    /// - Parameter units: what this step may cost; its cost is taken off.
    /// - Returns: whether all patterns have been tried.
    public mutating func advance(
        _ search: inout PatternSearch, _ name: inout SearchedName, _ units: inout Int
    ) -> Bool {
        let bytes = name.bytes
        let count = bytes.count
        while search.next < entries.count {
            if units <= 0 { return false }
            units -= Self.visitUnits
            let entry = entries[search.next]
            if entry.filing != .free, entry.birth <= search.birthMax,
                entry.nameCountMin <= count
            {
                let (start, length) = (entry.textStart, Int(entry.textCount))
                let outcome: Glob.Outcome
                if let place = search.place, search.birth == entry.birth {
                    outcome = Glob.resume(
                        place, text.span, start, length, name: bytes.span, 0, count,
                        &name.places, &units)
                } else {
                    outcome = Glob.match(
                        text.span, start, length, name: bytes.span, 0, count,
                        &name.places, &units)
                }
                switch outcome {
                case .matches: search.found.append((PatternNumber(search.next), entry.birth))
                case .differs: break
                case .pending(let place):
                    search.place = place
                    search.birth = entry.birth
                    return false
                }
            }
            search.place = nil
            search.next += 1
        }
        return true
    }

    /// Appends what a search has found, but for patterns that have been taken out since.
    public func found(by search: PatternSearch, into ids: inout [PatternNumber]) {
        for (id, birth) in search.found
        where entries[id.slot].filing != .free && entries[id.slot].birth == birth {
            ids.append(id)
        }
    }

    private mutating func takeEntry() -> PatternNumber {
        if !freeEntry.isNone {
            let id = freeEntry
            freeEntry = entries[id.slot].next
            return id
        }
        entries.append(Entry())
        return PatternNumber(entries.count - 1)
    }

    private mutating func compactText() {
        var kept: [UInt8] = []
        kept.reserveCapacity((text.count - deadTextCount) * 2)
        for index in entries.indices where entries[index].filing != .free {
            let start = entries[index].textStart
            let end = start + Int(entries[index].textCount)
            entries[index].textStart = kept.count
            kept.append(contentsOf: text[start..<end])
        }
        text = kept
        deadTextCount = 0
    }
}

/// The first pattern of each chain, by the hash of the bytes it is filed under.
///
/// The hash is a polynomial over the field of 2^61 - 1 at a secret point, which can be extended by
/// a byte; two different texts of n bytes collide with probability n / 2^61, and a collision costs
/// a needless match.
private struct AffixTable {
    typealias Entry = PatternIndex.Entry

    private static let prime: UInt64 = (1 << 61) - 1

    private let base: UInt64
    private var map = IndexMap()
    /// Chains by the number of bytes they are filed under, as far as there have been any: a set of no
    /// patterns takes no memory for it.
    private var chainCounts: [Int32] = []
    /// The longest bytes that a chain is filed under.
    private(set) var longest = 0

    init(base: UInt64) {
        self.base = base % (Self.prime - 512) + 256
    }

    var byteCapacity: Int { map.byteCapacity + chainCounts.capacity * 4 }

    @inline(__always)
    func isUsed(_ length: Int) -> Bool { chainCounts[length] > 0 }

    @inline(__always)
    func extend(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
        let product = hash.multipliedFullWidth(by: base)
        let folded = (product.low & Self.prime) + (product.high << 3 | product.low >> 61)
        let sum = folded + UInt64(byte) + 1
        return sum >= Self.prime ? (sum & Self.prime) + (sum >> 61) : sum
    }

    func hash(_ bytes: [UInt8]) -> UInt64 {
        var hash: UInt64 = 0
        for byte in bytes { hash = extend(hash, byte) }
        return hash
    }

    /// Of short texts the polynomial is small.
    @inline(__always)
    private static func spread(_ hash: UInt64) -> UInt64 { RandomSource.mix(hash) }

    /// The first of the chain under this hash; none: it is empty.
    @inline(__always)
    func first(_ hash: UInt64, _ entries: [Entry]) -> PatternNumber {
        PatternNumber(found: map.find(Self.spread(hash)) { entries[$0].affixHash == hash })
    }

    /// Makes `id` the first of its chain and returns the former; none: the chain is new.
    mutating func exchangeFirst(
        _ hash: UInt64, _ length: Int, with id: PatternNumber, _ entries: [Entry]
    ) -> PatternNumber {
        if let former = replaceFirst(hash, with: id, entries) { return PatternNumber(former) }
        map.insert(id.slot, Self.spread(hash)) { Self.spread(entries[$0].affixHash) }
        if length >= chainCounts.count {
            chainCounts += repeatElement(0, count: length + 1 - chainCounts.count)
        }
        chainCounts[length] += 1
        longest = max(longest, length)
        return .none
    }

    /// The chain goes on with `id`; none: it has ended.
    mutating func setFirst(_ hash: UInt64, _ length: Int, to id: PatternNumber, _ entries: [Entry])
    {
        guard id.isNone else {
            _ = replaceFirst(hash, with: id, entries)
            return
        }
        map.remove(
            Self.spread(hash), rehash: { Self.spread(entries[$0].affixHash) },
            where: { entries[$0].affixHash == hash })
        chainCounts[length] -= 1
        while longest > 0, chainCounts[longest] == 0 { longest -= 1 }
    }

    private mutating func replaceFirst(
        _ hash: UInt64, with id: PatternNumber, _ entries: [Entry]
    ) -> Int? {
        map.replace(
            Self.spread(hash), with: id.slot, rehash: { Self.spread(entries[$0].affixHash) },
            where: { entries[$0].affixHash == hash })
    }
}
