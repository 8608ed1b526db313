import MeshWire

/// The present members sorted by position, in 64 parts by their ids' upper six bits: a change moves
/// the bytes of one part, which are few when ids are random, as they are.
struct Ring: RandomAccessCollection {
    // Two arrays a part, because padding would make ten bytes sixteen.
    private var ids = [[NodeID]](repeating: [], count: 64)
    private var indices = [[UInt16]](repeating: [], count: 64)
    /// Members in the parts before each; the last: all.
    private var before = [Int32](repeating: 0, count: 65)
    private(set) var count = 0
    /// Another one after each change.
    private(set) var version: UInt64 = 1

    @inline(__always) var startIndex: Int { 0 }
    @inline(__always) var endIndex: Int { count }

    subscript(rank: Int) -> MemberTable.RingEntry {
        precondition(rank >= 0 && rank < count)
        // Ids are spread evenly: the part is near its share.
        var part = rank * 64 / count
        while Int(before[part]) > rank { part -= 1 }
        while Int(before[part + 1]) <= rank { part += 1 }
        let position = rank - Int(before[part])
        return MemberTable.RingEntry(
            id: ids[part][position], index: MemberIndex(rawValue: Int32(indices[part][position])))
    }

    @inline(__always)
    private func position(of id: NodeID, in part: Int) -> Int {
        id.lowerBound(in: ids[part], equalBits: 6)
    }

    /// Where `id` is, or would be inserted.
    func rank(of id: NodeID) -> Int {
        let part = MemberTable.part(of: id)
        return Int(before[part]) + position(of: id, in: part)
    }

    func makeIterator() -> Iterator { Iterator(self, mask: ~0) }

    /// The entries of the parts that `mask` names.
    func entries(in mask: UInt64) -> IteratorSequence<Iterator> {
        IteratorSequence(Iterator(self, mask: mask))
    }

    /// How many those are.
    func count(in mask: UInt64) -> Int {
        var count = 0
        for part in 0..<64 where mask & (1 << UInt64(part)) != 0 { count += ids[part].count }
        return count
    }

    /// Walks from part to part, so that no rank has to be looked for.
    struct Iterator: IteratorProtocol {
        private let ring: Ring
        /// The parts still to be walked.
        private var mask: UInt64
        private var ids: [NodeID] = []
        private var indices: [UInt16] = []
        private var position = 0

        fileprivate init(_ ring: Ring, mask: UInt64) {
            self.ring = ring
            self.mask = mask
        }

        @inline(__always)
        mutating func next() -> MemberTable.RingEntry? {
            while position == ids.count {
                if mask == 0 { return nil }
                let part = mask.trailingZeroBitCount
                mask &= mask - 1
                ids = ring.ids[part]
                indices = ring.indices[part]
                position = 0
            }
            defer { position += 1 }
            return MemberTable.RingEntry(
                id: ids[position], index: MemberIndex(rawValue: Int32(indices[position])))
        }
    }

    mutating func insert(_ id: NodeID, _ index: MemberIndex) {
        let part = MemberTable.part(of: id)
        let position = position(of: id, in: part)
        if ids[part].count == ids[part].capacity {
            let larger = ids[part].count * 5 / 4 + 4
            ids[part].reserveCapacity(larger)
            indices[part].reserveCapacity(larger)
        }
        ids[part].insert(id, at: position)
        indices[part].insert(UInt16(index.slot), at: position)
        for later in (part + 1)...64 { before[later] += 1 }
        count += 1
        version += 1
    }

    mutating func remove(_ id: NodeID) {
        let part = MemberTable.part(of: id)
        let position = position(of: id, in: part)
        precondition(ids[part][position] == id)
        ids[part].remove(at: position)
        indices[part].remove(at: position)
        for later in (part + 1)...64 { before[later] -= 1 }
        count -= 1
        version += 1
    }
}

extension NodeID {
    /// The place of the first of `ids`, which are in order, that is this or behind it.
    ///
    /// Ids are random, so it is near its share of them: a search from there outwards takes two or three
    /// lines of the cache, where halving takes one a step.
    ///
    /// - Parameter equalBits: so many upper bits are the same in all of them.
    @inline(__always)
    func lowerBound(in ids: [NodeID], equalBits: UInt64 = 0) -> Int {
        let count = ids.count
        if count == 0 { return 0 }
        let share = (rawValue << equalBits).multipliedFullWidth(by: UInt64(count)).high
        var low = Int(share)
        var high = low
        var step = 1
        if ids[low] < self {
            low += 1
            high = low
            while high < count, ids[high] < self {
                low = high + 1
                high += step
                step *= 2
            }
            high = min(high, count)
        } else {
            while low > 0, !(ids[low - 1] < self) {
                high = low - 1
                low -= step
                step *= 2
            }
            low = max(low, 0)
        }
        return partitionPoint(low, high) { ids[$0] < self }
    }
}
