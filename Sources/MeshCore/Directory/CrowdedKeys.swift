import MeshWire

/// The keys of buckets that hold far more than random keys would, sorted by position.
///
///     runs:  [ first position, count, ● ] ─▶ [ position … │ slot … ]      1 … 256 entries
///            [ first position, count, ● ] ─▶ [ position … │ slot … ]
///
/// To find a key takes O(log n), whatever keys were chosen; to insert or remove one also moves half a
/// run, 2 KB, on average. A full run is halved; two neighbours that would fill half a run become one.
/// An entry takes 16 to 32 bytes, or up to 64 while keys go.
///
/// A cell's address holds until the next `insert` or `remove`.
@safe struct CrowdedKeys: ~Copyable {
    @safe private struct Run {
        var first: UInt64
        var count: Int
        /// `runMax` positions, and as many slots behind them.
        let positions: UnsafeMutablePointer<UInt64>

        @inline(__always) var slots: UnsafeMutablePointer<UInt64> {
            unsafe positions + CrowdedKeys.runMax
        }

        init() {
            first = 0
            count = 0
            unsafe positions = .allocate(capacity: CrowdedKeys.runMax * 2)
        }

        /// The offset of the first entry at `position` or behind it.
        func offset(of position: UInt64) -> Int {
            partitionPoint(count) { unsafe positions[$0] < position }
        }

        /// Moves the entries from `offset` on by so many places.
        func move(from offset: Int, by distance: Int) {
            let moved = count - offset
            unsafe (positions + offset + distance).update(from: positions + offset, count: moved)
            unsafe (slots + offset + distance).update(from: slots + offset, count: moved)
        }

        /// Appends the entries of another run from `offset` on.
        mutating func append(_ other: Run, from offset: Int) {
            let added = other.count - offset
            unsafe (positions + count).update(from: other.positions + offset, count: added)
            unsafe (slots + count).update(from: other.slots + offset, count: added)
            count += added
            unsafe first = positions[0]
        }
    }

    /// A key and who holds it.
    struct Entry {
        var position: UInt64
        var slot: TableSlot
    }

    /// Where an entry is, until the next `insert` or `remove`.
    struct Place {
        fileprivate var run: Int
        fileprivate var offset: Int
    }

    private var runs: [Run] = []
    private(set) var count = 0

    static var runMax: Int { 256 }

    deinit {
        for run in runs { unsafe run.positions.deallocate() }
    }

    var byteCount: Int {
        runs.count * Self.runMax * 16 + runs.capacity * MemoryLayout<Run>.stride
    }

    /// The run in which the entry of this position is, or would be inserted; at least 0.
    private func run(of position: UInt64) -> Int {
        max(0, partitionPoint(runs.count) { runs[$0].first <= position } - 1)
    }

    /// Where the slot of the key at this position lies; nil: the key is not here.
    @inline(never)
    func cell(at position: UInt64) -> UnsafeMutablePointer<UInt64>? {
        if runs.isEmpty { return nil }
        let run = runs[run(of: position)]
        let offset = run.offset(of: position)
        guard unsafe offset < run.count && run.positions[offset] == position else { return nil }
        return unsafe run.slots + offset
    }

    /// Adds a key that is not here.
    mutating func insert(_ slot: TableSlot, at position: UInt64) {
        if runs.isEmpty { runs.append(Run()) }
        var index = run(of: position)
        if runs[index].count == Self.runMax {
            var upper = Run()
            upper.append(runs[index], from: Self.runMax / 2)
            runs[index].count = Self.runMax / 2
            runs.insert(upper, at: index + 1)
            if upper.first <= position { index += 1 }
        }
        let offset = runs[index].offset(of: position)
        runs[index].move(from: offset, by: 1)
        unsafe runs[index].positions[offset] = position
        unsafe runs[index].slots[offset] = slot.rawValue
        runs[index].count += 1
        unsafe runs[index].first = runs[index].positions[0]
        count += 1
    }

    /// Takes out the key at this position, which is here.
    mutating func remove(at position: UInt64) {
        let index = run(of: position)
        let offset = runs[index].offset(of: position)
        precondition(unsafe offset < runs[index].count && runs[index].positions[offset] == position)
        runs[index].move(from: offset + 1, by: -1)
        runs[index].count -= 1
        count -= 1
        if runs[index].count == 0 {
            unsafe runs.remove(at: index).positions.deallocate()
            return
        }
        unsafe runs[index].first = runs[index].positions[0]
        join(index)
        if index > 0 { join(index - 1) }
    }

    /// Makes one run of this and the next if they are short.
    private mutating func join(_ index: Int) {
        guard index + 1 < runs.count,
            runs[index].count + runs[index + 1].count <= Self.runMax / 2
        else { return }
        runs[index].append(runs[index + 1], from: 0)
        unsafe runs.remove(at: index + 1).positions.deallocate()
    }

    // MARK: Walks

    /// The first place at `position` or behind it.
    func place(from position: UInt64) -> Place {
        if runs.isEmpty { return Place(run: 0, offset: 0) }
        let index = run(of: position)
        return settled(Place(run: index, offset: runs[index].offset(of: position)))
    }

    /// The place so many entries further on.
    func place(_ distance: Int, after place: Place) -> Place {
        settled(Place(run: place.run, offset: place.offset + distance))
    }

    /// Goes on to the run that an offset beyond a run's end leads to.
    private func settled(_ place: Place) -> Place {
        var place = place
        while place.run < runs.count, place.offset >= runs[place.run].count {
            place.offset -= runs[place.run].count
            place.run += 1
        }
        return place
    }

    /// The entry of a place, unless it lies behind `last`; nil: there are no more.
    func entry(_ place: Place, through last: UInt64) -> Entry? {
        guard place.run < runs.count else { return nil }
        let run = runs[place.run]
        guard unsafe run.positions[place.offset] <= last else { return nil }
        return unsafe Entry(
            position: run.positions[place.offset],
            slot: TableSlot(rawValue: run.slots[place.offset]))
    }

    /// Stops the program if the runs contradict themselves. O(count).
    func checkInvariants() {
        var sum = 0
        var last: UInt64?
        for run in runs {
            precondition(run.count > 0 && run.count <= Self.runMax)
            precondition(unsafe run.first == run.positions[0], "a run begins elsewhere")
            for offset in 0..<run.count {
                let position = unsafe run.positions[offset]
                precondition(last.map { $0 < position } ?? true, "entries out of order")
                last = position
            }
            sum += run.count
        }
        precondition(sum == count)
    }
}

/// Buckets that are crowded: all their keys are in `crowded`, and their last slot says so.
extension DirectoryTable {
    /// A crowded bucket that is left with so many keys gets its chain again: half of what made it
    /// crowded, so that keys do not go to and fro.
    static var returningMax: Int { 25 }

    @inline(__always)
    func isCrowded(_ bucket: Int) -> Bool {
        unsafe TableSlot(rawValue: self.bucket(bucket)[Self.bucketSlots - 1]).isCrowd
    }

    private func mark(_ bucket: Int) {
        unsafe self.bucket(bucket)[Self.bucketSlots - 1] = TableSlot.crowd.rawValue
    }

    /// Takes all keys of a bucket out of its chain.
    mutating func crowd(_ bucket: Int) {
        while let cell = unsafe slot(0, of: bucket) {
            let slot = unsafe TableSlot(rawValue: cell.pointee)
            unsafe removeSlot(cell, of: bucket)
            crowded.insert(slot, at: key(of: slot).position)
        }
        mark(bucket)
    }

    /// A crowded bucket has few keys left.
    func isUncrowded(_ bucket: Int) -> Bool {
        let interval = interval(of: bucket)
        let place = crowded.place(
            Self.returningMax, after: crowded.place(from: interval.lowerBound))
        return crowded.entry(place, through: interval.upperBound) == nil
    }

    /// Gives a bucket without a chain its keys: in a chain if they are few.
    mutating func settle(_ bucket: Int) {
        clear(bucket)
        guard isUncrowded(bucket) else { return mark(bucket) }
        let interval = interval(of: bucket)
        while let entry = crowded.entry(
            crowded.place(from: interval.lowerBound), through: interval.upperBound)
        {
            crowded.remove(at: entry.position)
            append(entry.slot, to: bucket)
        }
    }

    /// The positions of the keys that a bucket holds.
    func interval(of bucket: Int) -> ClosedRange<UInt64> {
        let first = Key(UInt64(bucket)).position
        return first...interval(at: first).last
    }
}
