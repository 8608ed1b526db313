import MeshWire

/// Walks through the table, by position (`Key.position`), that can be interrupted.
///
/// A step goes through so many buckets at most. Crowded keys are walked one by one, `bucketSlots` of them
/// for a bucket, so that a step costs no more where keys were chosen.
extension DirectoryTable {
    // MARK: Removal

    /// Takes out all pairs of a node that is gone, and calls `each` for every one. O(table):
    /// 5 ms at 1 M keys, 130 ms at 10 M; see the one below. `each` must not use the table.
    public mutating func removeAll(of node: UInt16, each: (Key, _ isLast: Bool) -> Void) {
        var gone = [Bool](repeating: false, count: Int(node) + 1)
        gone[Int(node)] = true
        _ = removeAll(of: gone, from: 0, bucketCountMax: .max) { key, _, isLast in
            each(key, isLast)
        }
    }

    /// The same for all nodes whose index `gone` marks, in a walk that can be interrupted: from
    /// `position` (`Key.position`) on and through at most so many buckets. The table may change
    /// between two steps of a walk; a pair that is there all the time is met.
    ///
    /// - Returns: the last position of this step; the next one starts behind it.
    public mutating func removeAll(
        of gone: [Bool], from position: UInt64, bucketCountMax: Int,
        each: (Key, _ node: UInt16, _ isLast: Bool) -> Void
    ) -> UInt64 {
        var last = position
        var left = bucketCountMax
        while true {
            let interval = interval(at: last)
            if isCrowded(interval.bucket) {
                last = removeCrowded(of: gone, last...interval.last, &left, each)
            } else {
                last = interval.last
                if mayConcern(gone, interval.bucket) {
                    removeAll(of: gone, in: interval.bucket, each)
                }
            }
            left -= 1
            if left <= 0 || last == SnapshotPart.lastPosition { break }
            last += 1
        }
        while mergeIfSparse() {}
        return last
    }

    private mutating func removeAll(
        of gone: [Bool], in bucket: Int,
        _ each: (Key, _ node: UInt16, _ isLast: Bool) -> Void
    ) {
        var position = 0
        while let cell = unsafe slot(position, of: bucket) {
            let slot = unsafe TableSlot(rawValue: cell.pointee)
            let key = key(of: slot)
            guard let node = node(of: slot, in: gone) else {
                position += 1
                continue
            }
            // Another slot takes the position of a removed one; a set is looked at again.
            let removal = unsafe remove(key, node: node, at: cell, in: bucket)
            each(key, node, removal == .last)
        }
    }

    /// The same for crowded keys of one bucket, as long as there are buckets left.
    ///
    /// - Returns: the last position that was looked at.
    private mutating func removeCrowded(
        of gone: [Bool], _ range: ClosedRange<UInt64>, _ left: inout Int,
        _ each: (Key, _ node: UInt16, _ isLast: Bool) -> Void
    ) -> UInt64 {
        let bucket = interval(at: range.lowerBound).bucket
        var position = range.lowerBound
        var visited = 0
        while isCrowded(bucket) {
            let place = crowded.place(from: position)
            guard let entry = crowded.entry(place, through: range.upperBound) else {
                return range.upperBound
            }
            let key = Key(position: entry.position)
            while let cell = unsafe find(key),
                let node = unsafe node(of: TableSlot(rawValue: cell.pointee), in: gone)
            {
                let removal = unsafe remove(key, node: node, at: cell, in: bucket)
                each(key, node, removal == .last)
            }
            visited += 1
            if visited % Self.bucketSlots == 0 { left -= 1 }
            if left <= 0 || entry.position == range.upperBound { return entry.position }
            position = entry.position + 1
        }
        // So many have gone that the rest is a chain again.
        removeAll(of: gone, in: bucket, each)
        return range.upperBound
    }

    /// One of a slot's nodes that is marked; nil: none is.
    private func node(of slot: TableSlot, in marks: [Bool]) -> UInt16? {
        if !slot.isMany {
            return slot.node < marks.count && marks[Int(slot.node)] ? slot.node : nil
        }
        for index in 0..<sets.count(slot.set) {
            let node = sets.node(slot.set, at: index)
            if node < marks.count, marks[Int(node)] { return node }
        }
        return nil
    }

    /// False when no slot of a bucket's chain can have to do with the marked nodes.
    private func mayConcern(_ marks: [Bool], _ bucket: Int) -> Bool {
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        while true {
            for index in 0..<slots {
                let slot = unsafe TableSlot(rawValue: page[index])
                if slot.isMany || slot.node < marks.count && marks[Int(slot.node)] { return true }
            }
            let last = unsafe TableSlot(rawValue: page[slots - 1])
            guard last.isLink else { return false }
            unsafe page = self.page(last.page)
            slots = Self.pageSlots
        }
    }

    // MARK: Scans

    /// Calls `body` for every pair, in an order that is the table's own. O(table).
    public func forEach(_ body: (Key, _ node: UInt16) -> Void) {
        for bucket in 0..<buckets.count {
            guard isCrowded(bucket) else {
                forEach(in: bucket, body)
                continue
            }
            let interval = interval(of: bucket)
            var place = crowded.place(from: interval.lowerBound)
            while let entry = crowded.entry(place, through: interval.upperBound) {
                forEach(of: entry.slot, body)
                place = crowded.place(1, after: place)
            }
        }
    }

    private func forEach(in bucket: Int, _ body: (Key, _ node: UInt16) -> Void) {
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        while true {
            for index in 0..<slots { unsafe forEach(of: TableSlot(rawValue: page[index]), body) }
            let last = unsafe TableSlot(rawValue: page[slots - 1])
            guard last.isLink else { break }
            unsafe page = self.page(last.page)
            slots = Self.pageSlots
        }
    }

    @inline(__always)
    private func forEach(of slot: TableSlot, _ body: (Key, _ node: UInt16) -> Void) {
        if slot.node <= Self.nodeMax {
            body(slot.key, slot.node)
        } else if slot.isMany {
            let set = slot.set
            let key = sets.key(set)
            for member in 0..<sets.count(set) { body(key, sets.node(set, at: member)) }
        }
    }

    /// The keys of each of these different nodes, sorted by position, in one scan: from `position`
    /// up to `end`, but at most so many buckets, and about so many keys of all together.
    ///
    /// - Returns: the lists, and the last position that they cover.
    public func keys(
        of nodes: [UInt16], from position: UInt64 = 0,
        through end: UInt64 = SnapshotPart.lastPosition, bucketCountMax: Int = .max,
        keyCountMax: Int = .max
    ) -> (lists: [[Key]], last: UInt64) {
        guard let highest = nodes.max() else { return ([], end) }
        var gathered = GatheredKeys(nodes, highest: Int(highest), through: end, keyCountMax)
        var last = position
        var bucketsLeft = bucketCountMax
        while true {
            let interval = interval(at: last)
            if isCrowded(interval.bucket) {
                last = gather(last...interval.last, &bucketsLeft, &gathered)
            } else {
                let first = last
                last = interval.last
                forEach(in: interval.bucket) { gathered.add($0, of: $1, from: first) }
            }
            bucketsLeft -= 1
            if bucketsLeft <= 0 || gathered.left <= 0 || last >= end { break }
            last += 1
        }
        return (gathered.lists, min(last, end))
    }

    /// The same for crowded keys of one bucket, as long as there are buckets and keys left.
    ///
    /// - Returns: the last position that was looked at.
    private func gather(
        _ range: ClosedRange<UInt64>, _ bucketsLeft: inout Int, _ gathered: inout GatheredKeys
    ) -> UInt64 {
        let end = min(range.upperBound, gathered.end)
        var place = crowded.place(from: range.lowerBound)
        var visited = 0
        while let entry = crowded.entry(place, through: end) {
            forEach(of: entry.slot) { gathered.add($0, of: $1, from: range.lowerBound) }
            visited += 1
            if visited % Self.bucketSlots == 0 { bucketsLeft -= 1 }
            if bucketsLeft <= 0 || gathered.left <= 0 { return entry.position }
            place = crowded.place(1, after: place)
        }
        return range.upperBound
    }

    /// The bucket in which keys of this position lie, and the last position of its interval.
    func interval(at position: UInt64) -> (bucket: Int, last: UInt64) {
        let key = Key(position: position).rawValue
        // A bucket that is not split yet has the interval of both halves.
        let half = (addressMask &+ 1) >> 1
        let isSplit = (key & addressMask) | half < UInt64(buckets.count)
        let mask = isSplit ? addressMask : addressMask >> 1
        let bits = UInt64(64 - mask.leadingZeroBitCount)
        return (Int(key & mask), position | ((1 << (48 - bits)) - 1))
    }
}

/// Keys of some nodes, which come bucket after bucket, sorted by position.
private struct GatheredKeys {
    private(set) var lists: [[Key]]
    /// The place in `lists` of each node index, or -1.
    private var indices: [Int32]
    let end: UInt64
    /// So many more keys may come.
    private(set) var left: Int

    init(_ nodes: [UInt16], highest: Int, through end: UInt64, _ keyCountMax: Int) {
        lists = [[Key]](repeating: [], count: nodes.count)
        indices = [Int32](repeating: -1, count: highest + 1)
        for (index, node) in nodes.enumerated() {
            precondition(indices[Int(node)] < 0, "the same node twice")
            indices[Int(node)] = Int32(index)
        }
        self.end = end
        left = keyCountMax
    }

    @inline(__always)
    mutating func add(_ key: Key, of node: UInt16, from first: UInt64) {
        guard node < indices.count, indices[Int(node)] >= 0 else { return }
        guard key.position >= first, key.position <= end else { return }
        let list = Int(indices[Int(node)])
        // Buckets come in order; within one a key moves past a few others at most.
        var at = lists[list].count
        lists[list].append(key)
        while at > 0, lists[list][at - 1].position > key.position {
            lists[list].swapAt(at, at - 1)
            at -= 1
        }
        left -= 1
    }
}
