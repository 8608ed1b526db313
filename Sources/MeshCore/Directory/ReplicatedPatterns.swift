import MeshWire

/// Every pattern subscribed anywhere in the mesh, with the nodes that hold it. Patterns are few, so
/// they are replicated in full (<doc:Directory>).
///
/// Two patterns can share a key (`Key`). A node that removes one of them removes both, and adds the
/// other again.
struct ReplicatedPatterns: ~Copyable {
    private var index: PatternIndex
    /// The nodes of each pattern number, ascending.
    private var holders: [[UInt16]] = []
    /// The numbers of each node's patterns. Sorted before their order matters.
    private var numbers: [UInt16: Set<PatternNumber>] = [:]
    /// The bytes of each node's patterns.
    private var textBytes: [UInt16: Int] = [:]
    /// The numbers that match the name at hand.
    private var matched: [PatternNumber] = []
    /// `matched` is known before the message is published: `match` has only to be told so.
    private var isMatched = false

    init(hasher: KeyHasher, secret: UInt64) {
        index = PatternIndex(hasher: hasher, secret: secret)
    }

    var isEmpty: Bool { index.count == 0 }
    var count: Int { index.count }

    /// The bytes of all patterns, each counted once.
    var byteCount: Int { index.textBytes }

    /// How many patterns a node holds: at most `Frame.patternCountMax`.
    func count(of node: UInt16) -> Int { numbers[node]?.count ?? 0 }

    /// The outcome for a pattern: it is new, the node holds it already, or has as many as it may.
    enum Insertion { case added, present, refused }

    mutating func insert(_ text: [UInt8], node: UInt16) -> Insertion {
        if let known = index.id(of: text), numbers[node]?.contains(known) ?? false {
            return .present
        }
        guard count(of: node) < Frame.patternCountMax,
            textBytes[node, default: 0] + text.count <= Frame.patternBytesMax
        else { return .refused }
        textBytes[node, default: 0] += text.count
        let number = index.insert(text)
        while holders.count <= number.slot { holders.append([]) }
        let position = holders[number.slot].firstIndex { $0 > node } ?? holders[number.slot].count
        holders[number.slot].insert(node, at: position)
        numbers[node, default: []].insert(number)
        return .added
    }

    /// Removes the node's patterns of this key, and returns how many they were.
    mutating func remove(_ key: Key, node: UInt16) -> Int {
        let held = self.held(key, by: node)
        for number in held { release(number, by: node) }
        return held.count
    }

    /// Removes all patterns of a node; the cost is theirs alone.
    mutating func removeAll(of node: UInt16) {
        for number in numbers[node]?.sorted() ?? [] { release(number, by: node) }
    }

    private mutating func release(_ number: PatternNumber, by node: UInt16) {
        holders[number.slot].removeAll { $0 == node }
        numbers[node]?.remove(number)
        textBytes[node]? -= index.textCount(number)
        if numbers[node]?.isEmpty ?? false {
            numbers[node] = nil
            textBytes[node] = nil
        }
        if holders[number.slot].isEmpty { index.remove(number) }
    }

    private func held(_ key: Key, by node: UInt16) -> [PatternNumber] {
        index.ids(of: key).filter { numbers[node]?.contains($0) ?? false }
    }

    /// The texts of the node's patterns of this key: hardly ever more than one.
    func texts(_ key: Key, of node: UInt16) -> [[UInt8]] {
        held(key, by: node).map { index.pattern($0) }
    }

    /// The texts of one node's patterns, in the order of their numbers.
    func texts(of node: UInt16) -> [[UInt8]] {
        (numbers[node]?.sorted() ?? []).map { index.pattern($0) }
    }

    /// Finds the patterns that match a name, if they are not known; see `matchCount` and
    /// `matchedHolders`.
    mutating func match(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) {
        if isMatched {
            isMatched = false
            return
        }
        matched.removeAll(keepingCapacity: true)
        index.matches(bytes, start, count, into: &matched)
    }

    /// Finds them ahead, for the next `match`.
    ///
    /// - Parameter units: see `PatternIndex.matches`.
    /// - Returns: false if that was not enough.
    mutating func matchAhead(
        _ bytes: Span<UInt8>, _ start: Int, _ count: Int, _ units: inout Int
    ) -> Bool {
        matched.removeAll(keepingCapacity: true)
        isMatched = index.matches(bytes, start, count, into: &matched, &units)
        return isMatched
    }

    /// The next `match` looks for itself.
    mutating func forgetMatch() { isMatched = false }

    /// The next `match` is about the name of this search, which is complete.
    mutating func use(_ search: PatternSearch) {
        matched.removeAll(keepingCapacity: true)
        index.found(by: search, into: &matched)
        isMatched = true
    }

    /// A search that is to begin.
    func search() -> PatternSearch { PatternSearch(of: index) }

    /// See `PatternIndex.advance`.
    mutating func advance(
        _ search: inout PatternSearch, _ name: inout SearchedName, _ units: inout Int
    ) -> Bool {
        index.advance(&search, &name, &units)
    }

    var matchCount: Int { matched.count }
    func matchedHolders(_ position: Int) -> [UInt16] { holders[matched[position].slot] }
}

// For drivers that let no event cost more than it may: names are matched before they are published.

extension Node {
    /// Somebody in the mesh has a pattern.
    @inline(__always)
    public var hasPatterns: Bool { !directory.patterns.isEmpty }

    /// The bytes of all patterns in the mesh, each counted once.
    public var patternBytes: Int { directory.patterns.byteCount }

    /// Finds the patterns in the mesh that match the name of the next message to be published.
    ///
    /// - Parameter units: the work that it may cost (`Work`); its cost is taken off.
    /// - Returns: false if that was not enough, and nothing is known then.
    public mutating func match(_ name: Slice, _ bytes: Span<UInt8>, _ units: inout Int) -> Bool {
        directory.patterns.matchAhead(bytes, Int(name.start), Int(name.count), &units)
    }

    /// The next message is another than the one that `match` was about.
    public mutating func forgetMatch() { directory.patterns.forgetMatch() }

    /// A search for the patterns in the mesh that match a name, before its first step.
    public func patternSearch() -> PatternSearch { directory.patterns.search() }

    /// See `PatternIndex.advance`.
    public mutating func advance(
        _ search: inout PatternSearch, _ name: inout SearchedName, _ units: inout Int
    ) -> Bool {
        directory.patterns.advance(&search, &name, &units)
    }

    /// In place of `match`: the next message has the name of this search, which is complete.
    public mutating func use(_ search: PatternSearch) { directory.patterns.use(search) }
}
