import MeshWire

/// The sets of nodes that hold one key together: sorted, at least two nodes each.
///
/// A set is a record of its size class; class c has `16 << c` bytes:
///
///     [ key, 48 bits │ count, 16 bits │ node │ node │ … ]      4, 12, 28, … 65,532 + nodes
///
/// A set that outgrows its class moves to the next, and to a smaller one when half of that would
/// do. Each class is dense: the last record fills the place of a removed one. So a set's number
/// changes, and the table that refers to it is told (`release`).
@safe struct HolderSets: ~Copyable {
    /// One per size class. Not an `InlineArray`: reading one of its elements in place copies the
    /// whole array (784 bytes; Swift 6.3.1).
    private let pools: UnsafeMutablePointer<RecordPool>

    static var classCount: Int { 14 }

    init() {
        unsafe pools = .allocate(capacity: Self.classCount)
        for sizeClass in 0..<Self.classCount {
            unsafe (pools + sizeClass).initialize(to: RecordPool(recordShift: 4 + sizeClass))
        }
    }

    deinit {
        unsafe pools.deinitialize(count: Self.classCount)
        unsafe pools.deallocate()
    }

    /// A set's size class in the upper 4 bits, its place in the class in the lower 28.
    struct ID: Equatable {
        var rawValue: UInt32

        @inline(__always) init(rawValue: UInt32) { self.rawValue = rawValue }

        init(sizeClass: Int, index: Int) {
            precondition(index < 1 << 28 && sizeClass < HolderSets.classCount)
            rawValue = UInt32(sizeClass) << 28 | UInt32(index)
        }

        @inline(__always) var sizeClass: Int { Int(rawValue >> 28) }
        @inline(__always) var index: Int { Int(rawValue & 0xFFF_FFFF) }
    }

    /// All sets together.
    var count: Int {
        var sum = 0
        for sizeClass in 0..<Self.classCount { sum += count(sizeClass: sizeClass) }
        return sum
    }

    var byteCount: Int {
        var sum = Self.classCount * MemoryLayout<RecordPool>.stride
        for sizeClass in 0..<Self.classCount { unsafe sum += pools[sizeClass].byteCount }
        return sum
    }

    /// How many sets one class has; for `checkInvariants`.
    func count(sizeClass: Int) -> Int { unsafe pools[sizeClass].count }

    private static func capacity(_ sizeClass: Int) -> Int { (16 << sizeClass - 8) / 2 }

    @inline(__always)
    private func record(_ set: ID) -> UnsafeMutableRawPointer {
        unsafe pools[set.sizeClass][set.index]
    }

    @inline(__always)
    private func header(_ set: ID) -> UInt64 {
        unsafe record(set).load(as: UInt64.self)
    }

    @inline(__always)
    private func nodes(_ set: ID) -> UnsafeMutablePointer<UInt16> {
        unsafe (record(set) + 8).assumingMemoryBound(to: UInt16.self)
    }

    private func setHeader(_ set: ID, key: Key, count: Int) {
        unsafe record(set).storeBytes(of: key.rawValue << 16 | UInt64(count), as: UInt64.self)
    }

    @inline(__always)
    func key(_ set: ID) -> Key { Key(header(set) >> 16) }

    @inline(__always)
    func count(_ set: ID) -> Int { Int(header(set) & 0xFFFF) }

    /// The caller knows that `index` is below the set's count.
    @inline(__always)
    func node(_ set: ID, at index: Int) -> UInt16 {
        assert(index >= 0 && index < count(set))
        return unsafe nodes(set)[index]
    }

    /// The place of the first node that is not below `node`. O(log count).
    private func position(_ set: ID, _ node: UInt16) -> Int {
        let list = unsafe nodes(set)
        return partitionPoint(count(set)) { unsafe list[$0] < node }
    }

    func contains(_ set: ID, _ node: UInt16) -> Bool {
        let position = position(set, node)
        return unsafe position < count(set) && nodes(set)[position] == node
    }

    /// A new set of two different nodes.
    mutating func create(_ key: Key, _ first: UInt16, _ second: UInt16) -> ID {
        precondition(first != second)
        let set = ID(sizeClass: 0, index: unsafe pools[0].append())
        setHeader(set, key: key, count: 2)
        unsafe nodes(set)[0] = min(first, second)
        unsafe nodes(set)[1] = max(first, second)
        return set
    }

    /// Adds a node to a set with room for it. Returns false when it was there before.
    mutating func add(_ set: ID, _ node: UInt16) -> Bool {
        let count = count(set)
        let position = position(set, node)
        let list = unsafe nodes(set)
        if unsafe position < count && list[position] == node { return false }
        precondition(hasRoom(set))
        unsafe (list + position + 1).update(from: list + position, count: count - position)
        unsafe list[position] = node
        setHeader(set, key: key(set), count: count + 1)
        return true
    }

    func hasRoom(_ set: ID) -> Bool { count(set) < Self.capacity(set.sizeClass) }

    /// Takes a node out of a set that has it.
    mutating func remove(_ set: ID, _ node: UInt16) {
        let count = count(set)
        let position = position(set, node)
        let list = unsafe nodes(set)
        precondition(unsafe position < count && list[position] == node)
        unsafe (list + position).update(from: list + position + 1, count: count - position - 1)
        setHeader(set, key: key(set), count: count - 1)
    }

    /// The smaller class that `set` should move to, if any: half of it would be enough.
    func shrunkenClass(_ set: ID) -> Int? {
        let sizeClass = set.sizeClass
        guard sizeClass > 0, count(set) <= Self.capacity(sizeClass - 1) / 2 else { return nil }
        return sizeClass - 1
    }

    /// Copies a set to another class. The caller refers to the copy, then releases the original.
    mutating func copy(_ set: ID, toClass sizeClass: Int) -> ID {
        let count = count(set)
        let copy = ID(sizeClass: sizeClass, index: unsafe pools[sizeClass].append())
        precondition(count <= Self.capacity(sizeClass))
        unsafe record(copy).copyMemory(from: record(set), byteCount: 8 + count * 2)
        return copy
    }

    /// The set that will take the place of `set` when that is released; nil: it is the last itself.
    func successor(of set: ID) -> ID? {
        let last = ID(sizeClass: set.sizeClass, index: unsafe pools[set.sizeClass].count - 1)
        return last == set ? nil : last
    }

    /// Forgets a set; its `successor` moves into its place, so whoever refers to that must be told.
    mutating func release(_ set: ID) {
        if let last = successor(of: set) {
            unsafe record(set).copyMemory(
                from: record(last), byteCount: 8 + count(last) * 2)
        }
        unsafe pools[set.sizeClass].removeLast()
    }
}
