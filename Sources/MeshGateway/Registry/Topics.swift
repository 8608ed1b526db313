import MeshWire

/// The topics that somebody here has, by key, kind and name; numbered with small integers.
///
/// Open addressing with linear probing. A slot holds the upper 32 bits of the key beside the
/// topic's number, so that a search looks into a topic's own memory only to say yes.
///
///     slot:  key bits 16…47 │ topic ─▶ topic: key, kind, name, its list of subscriptions
///
/// At most three quarters of the slots are used. A topic costs 32 bytes, its name rounded up by
/// malloc, and 8 bytes for each slot.
@safe struct Topics: ~Copyable {
    @safe struct Topic {
        var key = Key(0)
        /// Owned by the table; not nil while the topic exists.
        var name: UnsafeMutableRawPointer?
        /// The kind in the upper byte, the name's length below.
        fileprivate var kindAndNameCount: UInt32 = 0
        /// The oldest and the latest subscription; `first` also chains the free topics.
        var first: Int32 = -1
        var last: Int32 = -1
        /// Subscribers.
        var count: Int32 = 0

        init() {
            unsafe name = nil
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

    private struct Slot {
        var fingerprint: UInt32 = 0
        /// -1: the slot is free.
        var topic: Int32 = -1
    }

    private(set) var topics = Slab<Topic>(capacity: 16)
    private var slots = [Slot](repeating: Slot(), count: 32)
    private var freeTopic: Int32 = -1
    private var counts = InlineArray<6, Int>(repeating: 0)
    /// The bytes of all names.
    private(set) var nameBytes = 0

    init() {}

    deinit {
        for index in 0..<topics.count { unsafe topics[index].name?.deallocate() }
    }

    /// Topics of this kind.
    func count(_ kind: TopicKind) -> Int { counts[Int(kind.rawValue) - 1] }

    /// Topics of any number below this may exist.
    var indexBound: Int { topics.count }

    func isLive(_ index: Int) -> Bool { topics[index].kindAndNameCount != 0 }

    subscript(index: Int32) -> Topic {
        @inline(__always) _read { yield topics[Int(index)] }
        @inline(__always) _modify { yield &topics[Int(index)] }
    }

    /// The topic of this key, kind and name; -1 when nobody here has it.
    @inline(__always)
    func find(
        _ kind: TopicKind, _ key: Key, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
    ) -> Int32 {
        let mask = slots.count - 1
        let fingerprint = UInt32(truncatingIfNeeded: key.rawValue >> 16)
        var place = Int(truncatingIfNeeded: key.rawValue) & mask
        while true {
            let slot = slots[place]
            if slot.topic < 0 { return -1 }
            if slot.fingerprint == fingerprint,
                matches(slot.topic, kind, key, bytes, start, count)
            {
                return slot.topic
            }
            place = (place + 1) & mask
        }
    }

    @inline(__always)
    private func matches(
        _ topic: Int32, _ kind: TopicKind, _ key: Key, _ bytes: Span<UInt8>, _ start: Int,
        _ count: Int
    ) -> Bool {
        let index = Int(topic)
        guard topics[index].key == key,
            topics[index].kindAndNameCount == Topic.join(kind, count)
        else { return false }
        return unsafe isEqual(topics[index].name.unsafelyUnwrapped, bytes, start, count)
    }

    /// Calls `body` with each topic of this kind and key: several when names collide.
    func forEach(_ kind: TopicKind, _ key: Key, _ body: (Int32) -> Void) {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: key.rawValue) & mask
        while slots[place].topic >= 0 {
            let topic = slots[place].topic
            if topics[Int(topic)].key == key, topics[Int(topic)].kind == kind { body(topic) }
            place = (place + 1) & mask
        }
    }

    /// Whether another topic stands for the same entry of the directory: one of the same key, the
    /// watched apart from the others. Only names whose 48 bits collide do.
    func hasTwin(_ topic: Int32) -> Bool {
        let key = topics[Int(topic)].key
        let kind = topics[Int(topic)].kind
        var found = false
        for other in TopicKind.allCases where (other == .watch) == (kind == .watch) {
            forEach(other, key) { found = found || $0 != topic }
        }
        return found
    }

    /// Adds a topic that `find` has not found.
    mutating func insert(
        _ kind: TopicKind, _ key: Key, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
    ) -> Int32 {
        precondition(count >= 0 && count <= Frame.nameLengthMax)
        if (totalCount + 1) * 4 > slots.count * 3 { growSlots() }
        let index: Int32
        if freeTopic >= 0 {
            index = freeTopic
            freeTopic = topics[Int(index)].first
        } else {
            index = Int32(topics.count)
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
        topics[Int(index)] = topic
        place(index, key)
        counts[Int(kind.rawValue) - 1] += 1
        nameBytes += count
        return index
    }

    /// Takes out a topic that has no subscribers any more.
    mutating func remove(_ index: Int32) {
        let key = topics[Int(index)].key
        let kind = topics[Int(index)].kind
        let mask = slots.count - 1
        var hole = Int(truncatingIfNeeded: key.rawValue) & mask
        while slots[hole].topic != index { hole = (hole + 1) & mask }
        // Later entries of the run move back, so that no search ends early at the hole.
        var next = (hole + 1) & mask
        while slots[next].topic >= 0 {
            let home =
                Int(truncatingIfNeeded: topics[Int(slots[next].topic)].key.rawValue) & mask
            if (next &- home) & mask >= (next &- hole) & mask {
                slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        slots[hole] = Slot()
        nameBytes -= topics[Int(index)].nameCount
        unsafe topics[Int(index)].name?.deallocate()
        topics[Int(index)] = Topic()
        topics[Int(index)].first = freeTopic
        freeTopic = index
        counts[Int(kind.rawValue) - 1] -= 1
    }

    /// The topic's name, for the length of the call.
    @inline(__always)
    func withName<Result>(_ index: Int32, _ body: (Span<UInt8>) -> Result) -> Result {
        let topic = topics[Int(index)]
        let raw = unsafe UnsafeRawBufferPointer(start: topic.name, count: topic.nameCount)
        return unsafe body(raw.bindMemory(to: UInt8.self).span)
    }

    func name(_ index: Int32) -> [UInt8] {
        withName(index) { span in
            var bytes: [UInt8] = []
            bytes.reserveCapacity(span.count)
            for place in span.indices { bytes.append(span[place]) }
            return bytes
        }
    }

    private var totalCount: Int {
        var sum = 0
        for index in counts.indices { sum += counts[index] }
        return sum
    }

    private mutating func place(_ index: Int32, _ key: Key) {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: key.rawValue) & mask
        while slots[place].topic >= 0 { place = (place + 1) & mask }
        slots[place] = Slot(
            fingerprint: UInt32(truncatingIfNeeded: key.rawValue >> 16), topic: index)
    }

    private mutating func growSlots() {
        let old = slots
        slots = [Slot](repeating: Slot(), count: old.count * 2)
        for slot in old where slot.topic >= 0 { place(slot.topic, topics[Int(slot.topic)].key) }
    }

    /// Bytes of memory besides the names.
    var byteCapacity: Int {
        slots.count * MemoryLayout<Slot>.stride + topics.count * MemoryLayout<Topic>.stride
    }
}

/// Compares in words; the standard library has no comparison of memory.
@inline(__always)
private func isEqual(
    _ name: UnsafeMutableRawPointer, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
) -> Bool {
    unsafe bytes.withUnsafeBufferPointer { buffer in
        guard count > 0 else { return true }
        let other = unsafe UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped + start)
        var at = 0
        while at + 8 <= count {
            let left = unsafe name.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let right = unsafe other.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            if left != right { return false }
            at += 8
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
