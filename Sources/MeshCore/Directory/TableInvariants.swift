import MeshWire

extension DirectoryTable {
    /// Stops the program if the table contradicts itself. O(table).
    public func checkInvariants() {
        precondition(addressMask == 0 || UInt64(buckets.count - 1) > addressMask >> 1)
        precondition(UInt64(buckets.count - 1) <= addressMask)
        var pageSeen = [Bool](repeating: false, count: pages.count)
        var setSeen: [[Bool]] = []
        for sizeClass in 0..<HolderSets.classCount {
            setSeen.append([Bool](repeating: false, count: sets.count(sizeClass: sizeClass)))
        }
        var keys = 0
        var pairs = 0
        var crowdedKeys = 0
        for bucket in 0..<buckets.count {
            var chain: [Key] = []
            if isCrowded(bucket) {
                for index in 0..<(Self.bucketSlots - 1) {
                    precondition(unsafe self.bucket(bucket)[index] == TableSlot.free.rawValue)
                }
                let interval = interval(of: bucket)
                var place = crowded.place(from: interval.lowerBound)
                while let entry = crowded.entry(place, through: interval.upperBound) {
                    precondition(key(of: entry.slot).position == entry.position)
                    pairs += count(entry.slot, &setSeen)
                    chain.append(Key(position: entry.position))
                    place = crowded.place(1, after: place)
                }
                precondition(chain.count > Self.returningMax, "a crowded bucket of few keys")
                crowdedKeys += chain.count
            }
            var page = unsafe self.bucket(bucket)
            var slots = Self.bucketSlots
            var pageCount = 0
            while true {
                let isLinked = unsafe TableSlot(rawValue: page[slots - 1]).isLink
                var used = 0
                for index in 0..<(isLinked ? slots - 1 : slots) {
                    let slot = unsafe TableSlot(rawValue: page[index])
                    if slot == .free || slot.isCrowd { continue }
                    precondition(used == index, "a gap before slot \(index) of bucket \(bucket)")
                    used += 1
                    chain.append(key(of: slot))
                    pairs += count(slot, &setSeen)
                }
                guard isLinked else {
                    precondition(slots == Self.bucketSlots || used >= 2, "a page that could go")
                    break
                }
                precondition(used == slots - 1)
                pageCount += 1
                precondition(pageCount <= Self.chainPageMax, "a crowded bucket with a chain")
                let next = unsafe TableSlot(rawValue: page[slots - 1]).page
                precondition(!pageSeen[next], "a page in two chains")
                pageSeen[next] = true
                unsafe page = self.page(next)
                slots = Self.pageSlots
            }
            for key in chain { precondition(address(key) == bucket, "a key in the wrong bucket") }
            precondition(Set(chain).count == chain.count, "a key twice in bucket \(bucket)")
            keys += chain.count
        }
        precondition(pageSeen.allSatisfy { $0 } && setSeen.allSatisfy { $0.allSatisfy { $0 } })
        precondition(keys == keyCount && pairs == count)
        precondition(crowdedKeys == crowded.count, "crowded keys of a bucket that is not")
        crowded.checkInvariants()
    }

    /// The pairs of one slot.
    private func count(_ slot: TableSlot, _ setSeen: inout [[Bool]]) -> Int {
        guard slot.isMany else {
            precondition(slot.node <= Self.nodeMax && !slot.isLink)
            return 1
        }
        let set = slot.set
        precondition(slot.rawValue >> 48 == key(of: slot).rawValue >> 32)
        precondition(!setSeen[set.sizeClass][set.index], "a set with two keys")
        setSeen[set.sizeClass][set.index] = true
        let count = sets.count(set)
        precondition(count >= 2)
        for index in 1..<count {
            precondition(sets.node(set, at: index - 1) < sets.node(set, at: index))
        }
        return count
    }
}
