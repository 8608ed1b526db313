import MeshWire

/// Names, each once, in the order in which they came. Millions of them cost little more than their bytes.
struct NameSet {
    private var bytes: [UInt8] = []
    /// Where each name ends in `bytes`.
    private var ends: [Int] = []
    private var hashes: [UInt64] = []
    private var map = IndexMap()

    var count: Int { ends.count }

    /// About the bytes of memory that the names take.
    var cost: Int { bytes.count + ends.count * 24 }

    /// The place of a name's bytes.
    private static func place(_ index: Int, _ ends: [Int]) -> Range<Int> {
        (index == 0 ? 0 : ends[index - 1])..<ends[index]
    }

    /// Adds the name `input[start ..< start + count]`, unless it is there.
    ///
    /// - Parameter hasher: the same each time, under a secret of this node.
    mutating func insert(
        _ input: Span<UInt8>, _ start: Int, _ count: Int, _ hasher: KeyHasher
    ) {
        let hash = hasher.digest(prefix: 0, input, start, count)
        let found = map.find(hash) { index in
            let known = Self.place(index, ends)
            guard known.count == count else { return false }
            for offset in 0..<count where bytes[known.lowerBound + offset] != input[start + offset]
            {
                return false
            }
            return true
        }
        if found != nil { return }
        map.insert(ends.count, hash) { hashes[$0] }
        hashes.append(hash)
        for offset in 0..<count { bytes.append(input[start + offset]) }
        ends.append(bytes.count)
    }

    /// Calls `body` with the bytes of all names, and with the place of each one.
    func forEach(_ body: (Span<UInt8>, _ start: Int, _ count: Int) -> Void) {
        for index in ends.indices {
            let place = Self.place(index, ends)
            body(bytes.span, place.lowerBound, place.count)
        }
    }
}

/// Names in their order, some of them more than once perhaps. Each takes four bytes beside its own.
struct NameList {
    private(set) var bytes: [UInt8] = []
    /// Where each name ends in `bytes`: at 2 GiB at most.
    private var ends: [Int32] = []

    var count: Int { ends.count }
    var isEmpty: Bool { ends.isEmpty }

    /// A name as a slice of `bytes`.
    subscript(index: Int) -> Slice {
        let start = index == 0 ? 0 : Int(ends[index - 1])
        return Slice(start: start, count: Int(ends[index]) - start)
    }

    mutating func reserve(_ count: Int, bytes size: Int) {
        ends.reserveCapacity(count)
        bytes.reserveCapacity(size)
    }

    mutating func append(_ name: Slice, _ input: Span<UInt8>) {
        for offset in 0..<Int(name.count) { bytes.append(input[Int(name.start) + offset]) }
        ends.append(Int32(bytes.count))
    }
}
