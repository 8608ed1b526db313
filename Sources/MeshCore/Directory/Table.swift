import MeshWire

/// Which nodes hold which key: the directory's table (<doc:Directory>).
///
/// A key is one slot of 8 bytes in a bucket of 8, one cache line. The low bits of the key, which is
/// a uniformly random hash, name the bucket:
///
///     slot:    key, 48 bits │ node, 16 bits          one node holds the key
///              tag, 16 bits │ set, 32 │ 0xFFFD       several do: see `HolderSets`; tag = key >> 32
///              overflow page, 48      │ 0xFFFE       in the last slot: more slots over there
///              zeros                  │ 0xFFFC       in the last slot: all keys are in `CrowdedKeys`
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
///
/// **Chosen keys**: anybody who knows the cluster's name can compute keys, and find names by the ten
/// thousand whose keys share a bucket. No secret of the node's own can spread them: the order of the
/// buckets is the order in which sets travel. So a chain has at most `chainPageMax` pages; the keys of
/// a bucket with more move to `CrowdedKeys`, where each costs O(log n), and back when they are few.
@safe public struct DirectoryTable: ~Copyable {
    private(set) var buckets = RecordPool(recordShift: 6)
    private(set) var pages = RecordPool(recordShift: 5)
    private(set) var sets = HolderSets()
    /// The keys of the buckets that are crowded.
    var crowded = CrowdedKeys()
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
    /// A bucket with more pages than these, 50 keys, is crowded. A bucket whose turn to be split comes
    /// last in a round has 14.4 random keys on average: one in 10^13 has so many (Poisson).
    static var chainPageMax: Int { 14 }

    public init() {
        clear(buckets.append())
    }

    /// The bytes of memory that the table holds on to.
    public var byteCount: Int {
        buckets.byteCount + pages.byteCount + sets.byteCount + crowded.byteCount
            + MemoryLayout<DirectoryTable>.size
    }

    // MARK: Lookup

    /// The holders of a key.
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
    func find(_ key: Key) -> UnsafeMutablePointer<UInt64>? {
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
            guard last.isLink else {
                return last.isCrowd ? unsafe crowded.cell(at: key.position) : nil
            }
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

    mutating func remove(
        _ key: Key, node: UInt16, at cell: UnsafeMutablePointer<UInt64>, in bucket: Int
    ) -> Removal {
        let slot = unsafe TableSlot(rawValue: cell.pointee)
        guard slot.isMany else {
            guard slot.node == node else { return .absent }
            count -= 1
            keyCount -= 1
            if isCrowded(bucket) {
                crowded.remove(at: key.position)
                if isUncrowded(bucket) { settle(bucket) }
            } else {
                unsafe removeSlot(cell, of: bucket)
            }
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

    // MARK: Growth

    /// Moves the keys of one bucket that belong to its new other half there.
    private mutating func split() {
        let fresh = buckets.append()
        clear(fresh)
        if UInt64(fresh) > addressMask { addressMask = addressMask << 1 | 1 }
        let old = sibling(of: fresh)
        if isCrowded(old) {
            settle(old)
            settle(fresh)
            return
        }
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
    mutating func mergeIfSparse() -> Bool {
        guard buckets.count > 1,
            keyCount * 100 < buckets.count * Self.bucketSlots * Self.mergeLoad
        else { return false }
        let last = buckets.count - 1
        let old = sibling(of: last)
        if isCrowded(last), !isCrowded(old) { crowd(old) }
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

    func clear(_ bucket: Int) {
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
    func slot(_ position: Int, of bucket: Int) -> UnsafeMutablePointer<UInt64>? {
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

    /// Adds a slot at the end of a bucket's chain, or to the crowded keys.
    mutating func append(_ slot: TableSlot, to bucket: Int) {
        if isCrowded(bucket) {
            crowded.insert(slot, at: key(of: slot).position)
            return
        }
        var page = unsafe self.bucket(bucket)
        var slots = Self.bucketSlots
        var pageIndex: Int? = nil
        var pageCount = 0
        while unsafe TableSlot(rawValue: page[slots - 1]).isLink {
            let index = unsafe TableSlot(rawValue: page[slots - 1]).page
            unsafe page = self.page(index)
            slots = Self.pageSlots
            pageIndex = index
            pageCount += 1
        }
        for index in 0..<slots where unsafe page[index] == TableSlot.free.rawValue {
            unsafe page[index] = slot.rawValue
            return
        }
        if pageCount == Self.chainPageMax {
            crowd(bucket)
            crowded.insert(slot, at: key(of: slot).position)
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
    mutating func removeSlot(_ cell: UnsafeMutablePointer<UInt64>, of bucket: Int) {
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
