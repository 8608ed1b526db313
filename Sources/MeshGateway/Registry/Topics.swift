import MeshWire

/// A topic's place in the gateway's table; reused after `remove`.
public struct TopicIndex: TableIndex {
    public var rawValue: Int32

    @inlinable @inline(__always)
    public init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The topics that somebody here has, by key, kind and name; numbered with small integers.
///
/// The hash is the key, spread by a secret of the node: keys can be computed by whoever knows the cluster's
/// name.
///
///     map:  key ─▶ topic: key, kind, name, its list of subscriptions
///
/// A topic costs 32 bytes, its name rounded up by malloc, and about 7 in the map.
@safe struct Topics: ~Copyable {
    @safe struct Topic {
        var key = Key(0)
        /// Owned by the table; not nil while the topic exists.
        var name: UnsafeMutableRawPointer?
        /// The kind in the upper byte, the name's length below.
        fileprivate var kindAndNameCount: UInt32 = 0
        /// The oldest and the latest subscription; `first` is `nextFree` too.
        var first = SubscriptionIndex.none
        var last = SubscriptionIndex.none
        /// Subscribers.
        var count: Int32 = 0

        init() {
            unsafe name = nil
        }

        /// Free: the next of the free topics. It lies in `first`, so that a topic costs 32 bytes.
        fileprivate var nextFree: TopicIndex {
            get { TopicIndex(rawValue: first.rawValue) }
            set { first = SubscriptionIndex(rawValue: newValue.rawValue) }
        }

        @inline(__always) var nameCount: Int { Int(kindAndNameCount & 0xFF_FFFF) }
        @inline(__always) var kind: TopicKind {
            guard let kind = TopicKind(rawValue: UInt8(kindAndNameCount >> 24)) else {
                preconditionFailure("a free topic was used")
            }
            return kind
        }

        @inline(__always)
        fileprivate static func join(_ kind: TopicKind, _ nameCount: Int) -> UInt32 {
            UInt32(kind.rawValue) << 24 | UInt32(truncatingIfNeeded: nameCount)
        }
    }

    private(set) var topics = Slab<Topic>()
    private var map = IndexMap()
    private let spread: KeySpread
    /// The first of the free topics.
    private var freeTopic = TopicIndex.none
    private var counts = InlineArray<8, Int>(repeating: 0)
    /// The bytes of all names.
    private(set) var nameBytes = 0

    /// - Parameter spread: so that nobody can choose names that collide.
    init(spread: KeySpread) { self.spread = spread }

    deinit {
        for index in 0..<topics.count { unsafe topics[index].name?.deallocate() }
    }

    /// Topics of this kind.
    func count(_ kind: TopicKind) -> Int { counts[kind.place] }

    /// The places of all topics, and some free ones.
    var indices: Range<TopicIndex> { TopicIndex(0)..<TopicIndex(topics.count) }

    func isLive(_ index: TopicIndex) -> Bool { topics[index.slot].kindAndNameCount != 0 }

    subscript(index: TopicIndex) -> Topic {
        @inline(__always) _read { yield topics[index.slot] }
        @inline(__always) _modify { yield &topics[index.slot] }
    }

    /// The topic of this key, kind and name; none when nobody here has it.
    @inline(__always)
    func find(
        _ kind: TopicKind, _ key: Key, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
    ) -> TopicIndex {
        let found = map.find(spread.hash(key)) { matches($0, kind, key, bytes, start, count) }
        guard let found else { return .none }
        return TopicIndex(rawValue: Int32(truncatingIfNeeded: found))
    }

    @inline(__always)
    private func matches(
        _ index: Int, _ kind: TopicKind, _ key: Key, _ bytes: Span<UInt8>, _ start: Int,
        _ count: Int
    ) -> Bool {
        guard topics[index].key == key,
            topics[index].kindAndNameCount == Topic.join(kind, count)
        else { return false }
        return unsafe isEqual(topics[index].name.unsafelyUnwrapped, bytes, start, count)
    }

    /// Calls `body` with each topic of this kind and key: several when names collide.
    func forEach(_ kind: TopicKind, _ key: Key, _ body: (TopicIndex) -> Void) {
        map.forEach(spread.hash(key)) {
            if topics[$0].key == key, topics[$0].kind == kind { body(TopicIndex($0)) }
        }
    }

    /// Whether another topic stands for the same entry of the directory: one of the same key, the
    /// watched apart from the others. Only names whose 48 bits collide do.
    func hasTwin(_ topic: TopicIndex) -> Bool {
        let key = topics[topic.slot].key
        let kind = topics[topic.slot].kind
        var found = false
        for other in TopicKind.allCases where (other == .watch) == (kind == .watch) {
            forEach(other, key) { found = found || $0 != topic }
        }
        return found
    }

    /// Adds a topic that `find` has not found.
    mutating func insert(
        _ kind: TopicKind, _ key: Key, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
    ) -> TopicIndex {
        precondition(count >= 0 && count <= Frame.nameLengthMax)
        let index: TopicIndex
        if !freeTopic.isNone {
            index = freeTopic
            freeTopic = topics[index.slot].nextFree
        } else {
            index = TopicIndex(topics.count)
            topics.append(Topic())
        }
        let name = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: 1)
        unsafe bytes.withUnsafeBufferPointer {
            if count > 0 { unsafe name.copyMemory(from: $0.baseAddress! + start, byteCount: count) }
        }
        var topic = Topic()
        topic.key = key
        unsafe topic.name = name
        topic.kindAndNameCount = Topic.join(kind, count)
        topics[index.slot] = topic
        map.insert(index.slot, spread.hash(key)) { topics.read($0) { spread.hash($0.key) } }
        counts[kind.place] += 1
        nameBytes += count
        return index
    }

    /// Takes out a topic that has no subscribers any more.
    mutating func remove(_ index: TopicIndex) {
        let key = topics[index.slot].key
        let kind = topics[index.slot].kind
        map.remove(
            spread.hash(key), rehash: { topics.read($0) { spread.hash($0.key) } },
            where: { $0 == index.slot })
        nameBytes -= topics[index.slot].nameCount
        unsafe topics[index.slot].name?.deallocate()
        topics[index.slot] = Topic()
        topics[index.slot].nextFree = freeTopic
        freeTopic = index
        counts[kind.place] -= 1
    }

    /// The topic's name, for the length of the call.
    @inline(__always)
    func withName<Result>(_ index: TopicIndex, _ body: (Span<UInt8>) -> Result) -> Result {
        let topic = topics[index.slot]
        let raw = unsafe UnsafeRawBufferPointer(start: topic.name, count: topic.nameCount)
        return unsafe body(raw.bindMemory(to: UInt8.self).span)
    }

    func name(_ index: TopicIndex) -> [UInt8] {
        withName(index) { span in
            var bytes: [UInt8] = []
            bytes.reserveCapacity(span.count)
            for slot in span.indices { bytes.append(span[slot]) }
            return bytes
        }
    }

    /// Bytes of memory besides the names.
    var byteCapacity: Int {
        map.byteCapacity + topics.count * MemoryLayout<Topic>.stride
    }
}

/// Compares in words; the standard library has no comparison of memory. Not inlined: searches have
/// too few registers for it, and it is called once in most of them.
@inline(never)
private func isEqual(
    _ name: UnsafeMutableRawPointer, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
) -> Bool {
    unsafe bytes.withUnsafeBufferPointer { buffer in
        guard count > 0 else { return true }
        let other = unsafe UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped + start)
        var at = 0
        while at + 8 < count {
            let left = unsafe name.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let right = unsafe other.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            if left != right { return false }
            at += 8
        }
        if count >= 8 {
            // The last word overlaps the one before it.
            let left = unsafe name.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self)
            let right = unsafe other.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self)
            return left == right
        }
        while at < count {
            let left = unsafe name.load(fromByteOffset: at, as: UInt8.self)
            let right = unsafe other.load(fromByteOffset: at, as: UInt8.self)
            if left != right { return false }
            at += 1
        }
        return true
    }
}
