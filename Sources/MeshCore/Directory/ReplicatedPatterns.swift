import MeshWire

/// Every pattern subscribed anywhere in the mesh, with the nodes that hold it. Patterns are few, so
/// they are replicated in full (DESIGN §4).
struct ReplicatedPatterns: ~Copyable {
    private var index: PatternIndex
    /// The nodes of each pattern number, ascending.
    private var holders: [[UInt16]] = []
    private var numbers: [Key: Int32] = [:]
    /// The numbers that the last `match` found.
    private var matched: [Int32] = []

    init(hasher: KeyHasher) {
        index = PatternIndex(hasher: hasher)
    }

    var isEmpty: Bool { index.count == 0 }
    var count: Int { index.count }

    /// Returns whether the node did not hold it before.
    mutating func insert(_ text: [UInt8], _ key: Key, node: UInt16) -> Bool {
        let number = index.insert(text)
        numbers[key] = number
        while holders.count <= Int(number) { holders.append([]) }
        guard !holders[Int(number)].contains(node) else { return false }
        let place = holders[Int(number)].firstIndex { $0 > node } ?? holders[Int(number)].count
        holders[Int(number)].insert(node, at: place)
        return true
    }

    /// Returns whether the node held it.
    mutating func remove(_ key: Key, node: UInt16) -> Bool {
        guard let number = numbers[key],
            let place = holders[Int(number)].firstIndex(of: node)
        else { return false }
        holders[Int(number)].remove(at: place)
        if holders[Int(number)].isEmpty {
            index.remove(number)
            numbers[key] = nil
        }
        return true
    }

    mutating func removeAll(of node: UInt16) {
        for number in holders.indices where holders[number].contains(node) {
            holders[number].removeAll { $0 == node }
            if holders[number].isEmpty {
                numbers[key(of: number)] = nil
                index.remove(Int32(number))
            }
        }
    }

    private func key(of number: Int) -> Key {
        numbers.first { $0.value == Int32(number) }!.key
    }

    func text(_ key: Key) -> [UInt8]? {
        numbers[key].map { index.pattern($0) }
    }

    /// The texts of one node's patterns, in the order of their numbers.
    func texts(of node: UInt16) -> [[UInt8]] {
        holders.indices.filter { holders[$0].contains(node) }.map { index.pattern(Int32($0)) }
    }

    /// Finds the patterns that match a name; see `matchCount` and `matchedHolders`.
    mutating func match(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) {
        matched.removeAll(keepingCapacity: true)
        index.matches(bytes, start, count, into: &matched)
    }

    var matchCount: Int { matched.count }
    func matchedHolders(_ place: Int) -> [UInt16] { holders[Int(matched[place])] }
}
