import MeshCore
import MeshWire

/// The patterns that clients of this node are subscribed to, and those of them that match the name of the
/// message at hand.
struct SubscribedPatterns: ~Copyable {
    private(set) var index: PatternIndex
    /// The bytes of the patterns in the mesh.
    var meshBytes = 0
    /// The topic of each pattern, by the pattern's number.
    private var topics: [TopicIndex] = []
    /// Those that match the name at hand; reused.
    private(set) var matched: [PatternNumber] = []
    /// `matched` is that of the next message already.
    private(set) var isMatched = false

    /// - Parameter secret: of this node; the index is spread by it.
    init(hasher: KeyHasher, secret: UInt64) {
        index = PatternIndex(hasher: hasher, secret: secret)
    }

    var count: Int { index.count }

    /// The topic of one of `matched`.
    func topic(of number: PatternNumber) -> TopicIndex { topics[number.slot] }

    mutating func insert(_ pattern: [UInt8], _ topic: TopicIndex) {
        let number = index.insert(pattern).slot
        while topics.count <= number { topics.append(.none) }
        topics[number] = topic
    }

    mutating func remove(_ pattern: [UInt8]) {
        guard let number = index.id(of: pattern) else { return }
        index.remove(number)
        topics[number.slot] = .none
    }

    // MARK: Matching

    /// Finds the patterns that match the name of the next message.
    ///
    /// - Returns: false if it would cost more than `units`, from which the cost is taken off.
    mutating func match(_ name: Slice, _ input: Span<UInt8>, _ units: inout Int) -> Bool {
        matched.removeAll(keepingCapacity: true)
        isMatched = index.matches(
            input, Int(name.start), Int(name.count), into: &matched, &units)
        return isMatched
    }

    /// See `PatternIndex.advance`.
    mutating func advance(
        _ search: inout PatternSearch, _ name: inout SearchedName, _ units: inout Int
    ) -> Bool {
        index.advance(&search, &name, &units)
    }

    /// In place of `match`: the next message has the name of this search. Nil: no pattern matches it.
    mutating func use(_ search: PatternSearch?) {
        matched.removeAll(keepingCapacity: true)
        if let search { index.found(by: search, into: &matched) }
        isMatched = true
    }

    /// The message at hand has been counted: the next is another.
    mutating func endMatch() { isMatched = false }
}
