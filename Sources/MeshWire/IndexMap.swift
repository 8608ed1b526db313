/// Finds an owner's elements by what is in them: a hash table of indices, which holds no keys.
///
/// The elements stand in storage of the owner's own, and each operation is told the hash of the
/// element that is meant and, by closures, how to look at the one of an index. Operations and
/// closures are inlined where they are called: nothing is allocated, and nothing escapes.
///
///     cells:     hash ─▶ │ tag · index │ tag · index │    free     │ …      probed to the right
///     elements:            index ─▶ key and whatever else, in a slab or an array
///
/// Open addressing with linear probing from the hash's low bits. A cell has four bytes: as many low
/// bits as indices need, and above them a tag, so that a search seldom looks at another element than
/// the one that it finds: the hash's bits 16 to 47, but for the lowest of them. A hash needs 48 bits.
///
/// At most three quarters of the cells are used; a map begins without memory, then has 16 cells,
/// doubles, and never shrinks. At three quarters a search looks at 2.5 cells on average to find and
/// at 8.5 to find nothing (Knuth, The Art of Computer Programming 3, 6.4, theorem K). `find` is O(1)
/// expected, `insert` too, amortised, and `remove` also. A peer that can choose what is in elements can
/// make many collide, unless the hash has a secret of this process in it (`KeySpread`).
///
/// Indices are below 2^31, or `insert` traps: owners have bounds of their own far below.
///
/// The order of `forEach` depends on the history of the map. Nothing else has an order.
public struct IndexMap: Sendable {
    @usableFromInline var cells: [UInt32] = []
    @usableFromInline var used = 0
    /// The bits of a cell that are the index. All indices are smaller: no cell in use is `free`.
    @usableFromInline var indexMask: UInt32 = 0

    @usableFromInline static var free: UInt32 { .max }

    public init() {}

    /// Indices in the map.
    @inlinable public var count: Int { used }

    /// The bytes of memory that the map holds on to.
    @inlinable public var byteCapacity: Int { cells.count * MemoryLayout<UInt32>.stride }

    /// The index whose element has this hash and matches; nil: there is none.
    @inlinable @inline(__always)
    public func find(_ hash: UInt64, where matches: (Int) -> Bool) -> Int? {
        search(hash, matches)?.index
    }

    /// Calls `body` with each index whose element may have this hash.
    @inlinable @inline(__always)
    public func forEach(_ hash: UInt64, _ body: (Int) -> Void) {
        _ = search(hash) {
            body($0)
            return false
        }
    }

    /// The index in the cell at which a search begins, whosesoever it is; for reading ahead what many
    /// searches will read.
    @inlinable @inline(__always)
    public func firstIndex(_ hash: UInt64) -> Int? {
        if cells.isEmpty { return nil }
        let cell = cells[Int(truncatingIfNeeded: hash) & (cells.count - 1)]
        return cell == Self.free ? nil : Int(cell & indexMask)
    }

    /// Adds the index of an element that is not in the map.
    ///
    /// - Parameter rehash: the hash of an element that is in the map.
    @inlinable
    public mutating func insert(_ index: Int, _ hash: UInt64, rehash: (Int) -> UInt64) {
        if (used + 1) * 4 > cells.count * 3 {
            rebuild(cellCount: max(16, cells.count * 2), for: index, rehash)
        } else if index >= indexMask {
            rebuild(cellCount: cells.count, for: index, rehash)
        }
        put(index, hash)
        used += 1
    }

    /// Puts an index in the place of the one whose element has this hash and matches; the element of
    /// the new one has the same hash.
    ///
    /// - Parameter rehash: the hash of an element that is in the map.
    /// - Returns: the former index; nil: there was none, and nothing has changed.
    @inlinable
    public mutating func replace(
        _ hash: UInt64, with index: Int, rehash: (Int) -> UInt64, where matches: (Int) -> Bool
    ) -> Int? {
        if index >= indexMask { rebuild(cellCount: cells.count, for: index, rehash) }
        guard let found = search(hash, matches) else { return nil }
        cells[found.slot] = cells[found.slot] & ~indexMask | UInt32(index)
        return found.index
    }

    /// Takes out the index whose element has this hash and matches, and returns it; nil: there is none.
    ///
    /// - Parameter rehash: the hash of an element that is in the map.
    @inlinable @discardableResult
    public mutating func remove(
        _ hash: UInt64, rehash: (Int) -> UInt64, where matches: (Int) -> Bool
    ) -> Int? {
        guard let found = search(hash, matches) else { return nil }
        let mask = cells.count - 1
        var hole = found.slot
        // Pull back what probed past the hole, or searches would end there (Knuth 6.4, algorithm R).
        var slot = (hole + 1) & mask
        while cells[slot] != Self.free {
            let home = Int(truncatingIfNeeded: rehash(Int(cells[slot] & indexMask)))
            if (slot &- home) & mask >= (slot &- hole) & mask {
                cells[hole] = cells[slot]
                hole = slot
            }
            slot = (slot + 1) & mask
        }
        cells[hole] = Self.free
        used -= 1
        return found.index
    }

    @inlinable @inline(__always)
    func search(_ hash: UInt64, _ matches: (Int) -> Bool) -> (slot: Int, index: Int)? {
        if cells.isEmpty { return nil }
        let mask = cells.count - 1
        let tag = UInt32(truncatingIfNeeded: hash >> 16)
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let cell = cells[slot]
            if cell == Self.free { return nil }
            // Equal above the index.
            if cell ^ tag <= indexMask {
                let index = Int(cell & indexMask)
                if matches(index) { return (slot, index) }
            }
            slot = (slot + 1) & mask
        }
    }

    @inlinable
    mutating func put(_ index: Int, _ hash: UInt64) {
        let mask = cells.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while cells[slot] != Self.free { slot = (slot + 1) & mask }
        cells[slot] = UInt32(truncatingIfNeeded: hash >> 16) & ~indexMask | UInt32(index)
    }

    /// Makes cells that have room for `index` beside a tag, and fills them anew.
    @inlinable @inline(never)
    mutating func rebuild(cellCount: Int, for index: Int, _ rehash: (Int) -> UInt64) {
        precondition(index >= 0 && index < Int32.max, "index \(index)")
        let (old, oldMask) = (cells, indexMask)
        cells = [UInt32](repeating: Self.free, count: cellCount)
        // As a rule indices are below the number of cells, and the tags as long as can be.
        let bound = UInt32(max(index + 1, cellCount * 2 - 1))
        indexMask = max(oldMask, .max >> UInt32(bound.leadingZeroBitCount))
        for cell in old where cell != Self.free {
            let index = Int(cell & oldMask)
            put(index, rehash(index))
        }
    }
}
