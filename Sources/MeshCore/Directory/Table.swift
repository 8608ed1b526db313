import MeshWire

/// Which nodes hold which key: the directory's table (<doc:Directory>).
///
/// A key is one slot of 8 bytes in a bucket of 8, one cache line. The low bits of the key, which is
/// a uniformly random hash, name the bucket:
///
///     slot:    key, 48 bits │ node, 16 bits          one node holds the key
///              tag, 16 bits │ set, 32 │ 0xFFFD       several do: see `HolderSets`; tag = key >> 32
///              overflow page, 48      │ 0xFFFE       in the last slot: more slots over there
///              ones                                  free
///     bucket:  [ s s s s s s s s ]  or  [ s s s s s s s ▶ ] ─▶ [ s s s ▶ ] ─▶ [ s s - - ]
///
/// **Linear hashing** (Litwin 1980): whenever the load passes `splitLoad`, one bucket is split, the
/// next in turn, and merged back when it falls below `mergeLoad`. No operation rehashes the
/// table, so none delays a heartbeat; an insertion or removal touches a few cache lines.
/// A bucket that overflows goes on in pages of 4 slots, half a cache line. Slots of a chain are
/// dense, pages and sets are dense in their pools (the last one fills a gap, its owner is found
/// by its key), so memory follows the number of keys down as well as up.
///
/// Memory, measured: 10.8 bytes a key at 1 M, 11.1 at 10 M, 10.5 … 11.5 at every stage of
/// growth from 0.3 M to 10 M; 11.2 … 12.7 while the table shrinks; 2.2 KB for 100 keys, 1.2 KB for
/// none. Without the overflow pages, whose number peaks in the middle of a round of splits, they would
/// be 9.4 a key. A key of several nodes takes its slot and a set: 16 bytes up to 4 nodes, 32 up
/// to 12, and so on.
/// Time (`smallworld-bench --filter directory`), on a machine where one access to cold memory takes
/// 130 ns: a lookup 35 ns in cache, 50 … 80 at 1 M and 80 … 135 at 10 M keys; an insertion 165 and
/// 250; a scan 5 and 13 per key.
///
/// Walks that can be interrupted go by position (`Key.position`): each bucket holds one interval of
/// positions, and a split or merge only cuts or joins intervals.
///
/// Determinism: the same calls in the same order give the same table, and the same order of scans.
/// Keys are trusted to be random: a member of the cluster, which knows the hash key, can choose
/// keys that share a bucket and make it slow.
@safe public struct DirectoryTable: ~Copyable {
    private(set) var buckets = RecordPool(recordShift: 6)
    private(set) var pages = RecordPool(recordShift: 5)
    private(set) var sets = HolderSets()
    /// The smallest 2^k − 1 that is at least the highest bucket number.
    private(set) var addressMask: UInt64 = 0
    /// (key, node) pairs.
    public private(set) var count = 0
    /// Different keys; each takes one slot.
    public private(set) var keyCount = 0

    /// The highest node index.
    public static var nodeMax: UInt16 { 65_000 }

    /// A bucket is split when there are more keys per 100 slots of buckets than this. Fewer
    /// overflow pages below, less memory above.
    private static var splitLoad: Int { 90 }
    /// A bucket is merged when there are fewer keys per 100 slots than this.
    private static var mergeLoad: Int { 75 }
    static var bucketSlots: Int { 8 }
    static var pageSlots: Int { 4 }

    public init() {
        clear(buckets.append())
    }

    /// The bytes of memory that the table holds on to.
    public var byteCount: Int {
        buckets.byteCount + pages.byteCount + sets.byteCount + MemoryLayout<DirectoryTable>.size
    }

    // MARK: Lookup

    /// Who holds a key.
    public enum Holders: Equatable, Sendable {
        case none
        case one(UInt16)
        /// Two or more; see `node(in:at:)`.
        case many(HolderSet)
    }

    /// The nodes of one key; good until the table is next changed.
    public struct HolderSet: Equatable, Sendable {
        fileprivate let rawID: UInt32
        /// 2 …
        public let count: Int

        fileprivate init(_ set: HolderSets.ID, count: Int) {
            rawID = set.rawValue
            self.count = count
        }
    }

    /// The nodes that hold `key`. One cache miss or two; no allocation.
    @inline(__always)
    public func holders(of key: Key) -> Holders {
        guard let cell = unsafe find(key) else { return .none }
        let slot = unsafe TableSlot(rawValue: cell.pointee)
        guard slot.isMany else { return .one(slot.node) }
        return .many(HolderSet(slot.set, count: sets.count(slot.set)))
    }

    /// One node of a set, in ascending order; `index` in `0 ..< set.count`.
    @inline(__always)
    public func node(in set: HolderSet, at index: Int) -> UInt16 {
        precondition(index >= 0 && index < set.count)
        return sets.node(HolderSets.ID(rawValue: set.rawID), at: index)
    }

    public func contains(_ key: Key, node: UInt16) -> Bool {
        guard let cell = unsafe find(key) else { return false }
        let slot = unsafe TableSlot(rawValue: cell.pointee)
        return slot.isMany ? sets.contains(slot.set, node) : slot.node == node
    }

    /// The slot of `key`, wherever in its bucket's chain.
    @inline(__always)
    private func find(_ key: Key) -> UnsafeMutablePointer<UInt64>? {
        let wanted = key.rawValue << 16
        var page = unsafe bucket(address(key))
        var slots = Self.bucketSlots
        while true {
            for index in 0..<slots {
                // The upper 16 bits say the same of both kinds of slots, so one comparison rules
                // out nearly all others.
                let slot = unsafe page[index]
                if slot ^ wanted < 1 << 48, isSlot(TableSlot(rawValue: slot), of: key) {
                    return unsafe page + index
                }
            }
            let last = unsafe TableSlot(rawValue: page[slots - 1])
            guard last.isLink else { return nil }
            unsafe page = self.page(last.page)
            slots = Self.pageSlots
        }
    }

    @inline(__always)
    private func isSlot(_ slot: TableSlot, of key: Key) -> Bool {
        if slot.node <= Self.nodeMax { return slot.key == key }
        return slot.isMany && sets.key(slot.set) == key
    }

    // MARK: Change

    public enum Insertion: Equatable, Sendable {
        /// Nobody held the key before.
        case first
        /// Other nodes hold it too.
        case another
        /// The node held it already; nothing has changed.
        case present
    }

    public enum Removal: Equatable, Sendable {
        /// Nobody holds the key any more.
        case last
        /// Other nodes still hold it.
        case one
        /// The node did not hold it; nothing has changed.
        case absent
    }

    /// Adds a pair. `node` is at most `nodeMax`.
    @discardableResult
    public mutating func insert(_ key: Key, node: UInt16) -> Insertion {
        precondition(node <= Self.nodeMax)
        guard let cell = unsafe find(key) else {
            append(TableSlot(key, node), to: address(key))
            count += 1
            keyCount += 1
            if keyCount * 100 > buckets.count * Self.bucketSlots * Self.splitLoad { split() }
            return .first
        }
        let slot = unsafe TableSlot(rawValue: cell.pointee)
        if slot.isMany {
            var set = slot.set
            if !sets.hasRoom(set) {
                if sets.contains(set, node) { return .present }
                let larger = sets.copy(set, toClass: set.sizeClass + 1)
                unsafe cell.pointee = TableSlot(key, larger).rawValue
                release(set)
                set = larger
            }
            if !sets.add(set, node) { return .present }
        } else {
            if slot.node == node { return .present }
            let set = sets.create(key, slot.node, node)
            unsafe cell.pointee = TableSlot(key, set).rawValue
        }
        count += 1
        return .another
    }

    /// Takes a pair out.
    @discardableResult
    public mutating func remove(_ key: Key, node: UInt16) -> Removal {
        guard let cell = unsafe find(key) else { return .absent }
        let removal = unsafe remove(key, node: node, at: cell, in: address(key))
        if removal == .last { mergeIfSparse() }
        return removal
    }

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
            last = interval.last
            if mayConcern(gone, interval.bucket) {
                removeAll(of: gone, in: interval.bucket, each)
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

    private mutating func remove(
        _ key: Key, node: UInt16, at cell: UnsafeMutablePointer<UInt64>, in bucket: Int
    ) -> Removal {
        let slot = unsafe TableSlot(rawValue: cell.pointee)
        guard slot.isMany else {
            guard slot.node == node else { return .absent }
            unsafe removeSlot(cell, of: bucket)
            count -= 1
            keyCount -= 1
            return .last
        }
        let set = slot.set
        guard sets.contains(set, node) else { return .absent }
        sets.remove(set, node)
        count -= 1
        if sets.count(set) == 1 {
            unsafe cell.pointee = TableSlot(key, sets.node(set, at: 0)).rawValue
            release(set)
        } else if let sizeClass = sets.shrunkenClass(set) {
            let smaller = sets.copy(set, toClass: sizeClass)
            unsafe cell.pointee = TableSlot(key, smaller).rawValue
            release(set)
        }
        return .one
    }

    /// Forgets a set that no slot refers to any more.
    private mutating func release(_ set: HolderSets.ID) {
        if let moved = sets.successor(of: set) {
            let key = sets.key(moved)
            guard let cell = unsafe find(key) else { preconditionFailure("set without a slot") }
            unsafe cell.pointee = TableSlot(key, set).rawValue
        }
        sets.release(set)
    }

    // MARK: Scans

    /// Calls `body` for every pair, in an order that is the table's own. O(table).
    public func forEach(_ body: (Key, _ node: UInt16) -> Void) {
        for bucket in 0..<buckets.count { forEach(in: bucket, body) }
    }

    private func forEach(in bucket: Int, _ body: (Key, _ node: UInt16) -> Void) {
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        while true {
            for index in 0..<slots {
                let slot = unsafe TableSlot(rawValue: page[index])
                if slot.node <= Self.nodeMax {
                    body(slot.key, slot.node)
                } else if slot.isMany {
                    let set = slot.set
                    let key = sets.key(set)
                    for member in 0..<sets.count(set) { body(key, sets.node(set, at: member)) }
                }
            }
            let last = unsafe TableSlot(rawValue: page[slots - 1])
            guard last.isLink else { break }
            unsafe page = self.page(last.page)
            slots = Self.pageSlots
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
        var lists = [[Key]](repeating: [], count: nodes.count)
        guard let highest = nodes.max() else { return (lists, end) }
        // The place in `lists` of each node index, or -1.
        var indices = [Int32](repeating: -1, count: Int(highest) + 1)
        for (index, node) in nodes.enumerated() {
            precondition(indices[Int(node)] < 0, "the same node twice")
            indices[Int(node)] = Int32(index)
        }
        var last = position
        var bucketsLeft = bucketCountMax
        var keysLeft = keyCountMax
        while true {
            let interval = interval(at: last)
            let first = last
            last = interval.last
            forEach(in: interval.bucket) { key, node in
                guard node <= highest, indices[Int(node)] >= 0 else { return }
                guard key.position >= first, key.position <= end else { return }
                let list = Int(indices[Int(node)])
                // Buckets come in order; within one a key moves past a few others at most.
                var at = lists[list].count
                lists[list].append(key)
                while at > 0, lists[list][at - 1].position > key.position {
                    lists[list].swapAt(at, at - 1)
                    at -= 1
                }
                keysLeft -= 1
            }
            bucketsLeft -= 1
            if bucketsLeft <= 0 || keysLeft <= 0 || last >= end { break }
            last += 1
        }
        return (lists, min(last, end))
    }

    /// The bucket in which keys of this position lie, and the last position of its interval.
    private func interval(at position: UInt64) -> (bucket: Int, last: UInt64) {
        let key = Key(position: position).rawValue
        // A bucket that is not split yet has the interval of both halves.
        let half = (addressMask &+ 1) >> 1
        let isSplit = (key & addressMask) | half < UInt64(buckets.count)
        let mask = isSplit ? addressMask : addressMask >> 1
        let bits = UInt64(64 - mask.leadingZeroBitCount)
        return (Int(key & mask), position | ((1 << (48 - bits)) - 1))
    }

    // MARK: Growth

    /// Moves the keys of one bucket that belong to its new other half there.
    private mutating func split() {
        let fresh = buckets.append()
        clear(fresh)
        if UInt64(fresh) > addressMask { addressMask = addressMask << 1 | 1 }
        let old = sibling(of: fresh)
        var position = 0
        while let cell = unsafe slot(position, of: old) {
            let slot = unsafe TableSlot(rawValue: cell.pointee)
            if address(key(of: slot)) == old {
                position += 1
            } else {
                unsafe removeSlot(cell, of: old)
                append(slot, to: fresh)
            }
        }
    }

    /// Undoes the last split if the table has become sparse. Returns whether it did.
    @discardableResult
    private mutating func mergeIfSparse() -> Bool {
        guard buckets.count > 1,
            keyCount * 100 < buckets.count * Self.bucketSlots * Self.mergeLoad
        else { return false }
        let last = buckets.count - 1
        let old = sibling(of: last)
        while let cell = unsafe slot(0, of: last) {
            let slot = unsafe TableSlot(rawValue: cell.pointee)
            unsafe removeSlot(cell, of: last)
            append(slot, to: old)
        }
        buckets.removeLast()
        if UInt64(last) == (addressMask >> 1) + 1 { addressMask >>= 1 }
        return true
    }

    /// The bucket that `bucket` was split from.
    private func sibling(of bucket: Int) -> Int {
        bucket ^ 1 << (Int.bitWidth - 1 - bucket.leadingZeroBitCount)
    }

    @inline(__always)
    func address(_ key: Key) -> Int {
        let wide = key.rawValue & addressMask
        return Int(wide < UInt64(buckets.count) ? wide : wide & addressMask >> 1)
    }

    // MARK: Chains

    private func clear(_ bucket: Int) {
        unsafe self.bucket(bucket).update(
            repeating: TableSlot.free.rawValue, count: Self.bucketSlots)
    }

    @inline(__always)
    func bucket(_ index: Int) -> UnsafeMutablePointer<UInt64> {
        unsafe buckets[index].assumingMemoryBound(to: UInt64.self)
    }

    @inline(__always)
    func page(_ index: Int) -> UnsafeMutablePointer<UInt64> {
        unsafe pages[index].assumingMemoryBound(to: UInt64.self)
    }

    func key(of slot: TableSlot) -> Key {
        slot.isMany ? sets.key(slot.set) : slot.key
    }

    /// The slot at this position of a bucket's chain; nil past its end.
    @inline(__always)
    private func slot(_ position: Int, of bucket: Int) -> UnsafeMutablePointer<UInt64>? {
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        var position = position
        while position >= slots - 1 {
            let last = unsafe TableSlot(rawValue: page[slots - 1])
            guard last.isLink else { break }
            position -= slots - 1
            unsafe page = self.page(last.page)
            slots = Self.pageSlots
        }
        guard position < slots else { return nil }
        return unsafe page[position] == TableSlot.free.rawValue ? nil : page + position
    }

    /// Adds a slot at the end of a bucket's chain.
    private mutating func append(_ slot: TableSlot, to bucket: Int) {
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        var pageIndex: Int? = nil
        while unsafe TableSlot(rawValue: page[slots - 1]).isLink {
            let index = unsafe TableSlot(rawValue: page[slots - 1]).page
            unsafe page = self.page(index)
            slots = Self.pageSlots
            pageIndex = index
        }
        for index in 0..<slots where unsafe page[index] == TableSlot.free.rawValue {
            unsafe page[index] = slot.rawValue
            return
        }
        let freshIndex = pages.append()
        // The pool may have moved its first segment.
        if let pageIndex { unsafe page = self.page(pageIndex) }
        let fresh = unsafe self.page(freshIndex)
        unsafe fresh.update(repeating: TableSlot.free.rawValue, count: Self.pageSlots)
        unsafe fresh[0] = page[slots - 1]
        unsafe fresh[1] = slot.rawValue
        unsafe page[slots - 1] = TableSlot(page: freshIndex).rawValue
    }

    /// Takes a slot out of a bucket's chain; the chain's last slot takes its place. The last page
    /// of a chain has at least two slots: a single one fits where the link to it was.
    private mutating func removeSlot(_ cell: UnsafeMutablePointer<UInt64>, of bucket: Int) {
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        var link: UnsafeMutablePointer<UInt64>? = nil
        while unsafe TableSlot(rawValue: page[slots - 1]).isLink {
            unsafe link = page + (slots - 1)
            unsafe page = self.page(TableSlot(rawValue: link.unsafelyUnwrapped.pointee).page)
            slots = Self.pageSlots
        }
        var last = slots - 1
        while unsafe page[last] == TableSlot.free.rawValue { last -= 1 }
        unsafe cell.pointee = page[last]
        unsafe page[last] = TableSlot.free.rawValue
        if last == 1, let link = unsafe link {
            let index = unsafe TableSlot(rawValue: link.pointee).page
            unsafe link.pointee = page[0]
            releasePage(index)
        }
    }

    /// Gives a page back that no chain has any more; the pool's last page takes its place.
    private mutating func releasePage(_ index: Int) {
        let last = pages.count - 1
        if index != last {
            let key = unsafe key(of: TableSlot(rawValue: page(last)[0]))
            // In the middle of a split or merge the key may be in the other of the two buckets.
            let home = address(key)
            var found = unsafe link(to: last, in: home)
            if unsafe found == nil { unsafe found = link(to: last, in: sibling(of: home)) }
            guard let link = unsafe found else {
                preconditionFailure("overflow page without a bucket")
            }
            unsafe page(index).update(from: page(last), count: Self.pageSlots)
            unsafe link.pointee = TableSlot(page: index).rawValue
        }
        pages.removeLast()
    }

    private func link(to target: Int, in bucket: Int) -> UnsafeMutablePointer<UInt64>? {
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        while true {
            let last = unsafe TableSlot(rawValue: page[slots - 1])
            guard last.isLink else { return nil }
            if last.page == target { return unsafe page + (slots - 1) }
            unsafe page = self.page(last.page)
            slots = Self.pageSlots
        }
    }
}
