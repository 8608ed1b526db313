import MeshWire

/// Everybody this node knows of, and the ring of those who are present.
///
/// - `slots[index]` is a member or free. Index 0 is this node itself.
/// - `ring` holds the present ones sorted by position.
/// - `digests[part]` is the sum of the present members' digests with those upper six bits.
struct MemberTable {
    struct RingEntry {
        var id: NodeID
        var index: MemberIndex
    }

    private(set) var slots: [Member?] = []
    private var free: [MemberIndex] = []
    private var indices = IDMap()
    private var byEndpoint: [Endpoint: MemberIndex] = [:]
    private(set) var ring: [RingEntry] = []
    private(set) var digests = [UInt64](repeating: 0, count: 64)
    private(set) var digest: UInt64 = 0

    /// Index 0 … 65,000: what a directory slot can name.
    static let countMax = 65_000

    init(oneself: MemberRecord, at now: Instant) {
        _ = insert(Member(oneself, at: now))
    }

    /// The member at `index`, which must be in use.
    @inline(__always)
    subscript(index: MemberIndex) -> Member { slots[index]! }

    @inline(__always)
    func index(of id: NodeID) -> MemberIndex? {
        let found = indices.find(id.rawValue)
        return found >= 0 ? Int(found) : nil
    }

    @inline(__always)
    func standing(of index: MemberIndex) -> Standing { slots[index]!.standing }

    @inline(__always)
    func id(of index: MemberIndex) -> NodeID { slots[index]!.id }

    func index(at endpoint: Endpoint) -> MemberIndex? { byEndpoint[endpoint] }

    /// Nil when the table is full.
    mutating func insert(_ member: Member) -> MemberIndex? {
        let index: MemberIndex
        if let reused = free.popLast() {
            index = reused
            slots[index] = member
        } else {
            guard slots.count < Self.countMax else { return nil }
            index = slots.count
            slots.append(member)
        }
        indices.insert(member.id.rawValue, UInt32(index))
        if member.standing.isPresent {
            byEndpoint[member.endpoint] = index
            enterRing(member.id, index)
        }
        add(digest: member.digest, of: member.id)
        return index
    }

    /// Changes a member and keeps ring and digests in step.
    mutating func update(_ index: MemberIndex, _ change: (inout Member) -> Void) {
        let before = slots[index]!
        change(&slots[index]!)
        let after = slots[index]!
        add(digest: after.digest &- before.digest, of: after.id)
        if before.standing.isPresent != after.standing.isPresent {
            if after.standing.isPresent {
                enterRing(after.id, index)
            } else {
                leaveRing(after.id)
            }
        }
        if before.standing.isPresent, byEndpoint[before.endpoint] == index {
            byEndpoint[before.endpoint] = nil
        }
        if after.standing.isPresent { byEndpoint[after.endpoint] = index }
    }

    /// Changes fields that neither ring nor digest depend on; the cheap way.
    @inline(__always)
    mutating func adjust<Result>(_ index: MemberIndex, _ change: (inout Member) -> Result) -> Result
    {
        change(&slots[index]!)
    }

    /// Changes what is known of a member's log.
    mutating func updateLog(_ index: MemberIndex, _ change: (inout OriginLog) -> Void) {
        let before = slots[index]!.digest
        change(&slots[index]!.log)
        add(digest: slots[index]!.digest &- before, of: slots[index]!.id)
    }

    mutating func forget(_ index: MemberIndex) {
        let member = slots[index]!
        precondition(!member.standing.isPresent && index != 0)
        indices.remove(member.id.rawValue)
        slots[index] = nil
        free.append(index)
    }

    static func part(of id: NodeID) -> Int { Int(id.rawValue >> 58) }

    private mutating func add(digest change: UInt64, of id: NodeID) {
        digests[Self.part(of: id)] &+= change
        digest &+= change
    }

    // MARK: The ring

    /// Where `id` is, or would be inserted.
    func rank(of id: NodeID) -> Int {
        var low = 0
        var high = ring.count
        while low < high {
            let middle = (low + high) / 2
            if ring[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private mutating func enterRing(_ id: NodeID, _ index: MemberIndex) {
        ring.insert(RingEntry(id: id, index: index), at: rank(of: id))
    }

    private mutating func leaveRing(_ id: NodeID) {
        ring.remove(at: rank(of: id))
    }

    /// The member `steps` places clockwise from `id`, which is on the ring.
    func clockwise(from id: NodeID, steps: Int) -> MemberIndex {
        let count = ring.count
        let place = (rank(of: id) + steps % count + count) % count
        return ring[place].index
    }
}

/// 64-bit ids to 32-bit values: open addressing, linear probing, at most half full.
struct IDMap {
    private var keys: [UInt64] = []
    private var values: [UInt32] = []
    private var count = 0
    private static let none = UInt32.max

    @inline(__always)
    private func home(_ key: UInt64) -> Int {
        Int(truncatingIfNeeded: RandomSource.mix(key)) & (keys.count - 1)
    }

    /// The value, -1 if the key is not there.
    @inline(__always)
    func find(_ key: UInt64) -> Int32 {
        if keys.isEmpty { return -1 }
        var at = home(key)
        while values[at] != Self.none {
            if keys[at] == key { return Int32(bitPattern: values[at]) }
            at = (at + 1) & (keys.count - 1)
        }
        return -1
    }

    mutating func insert(_ key: UInt64, _ value: UInt32) {
        if (count + 1) * 2 > keys.count { grow() }
        var at = home(key)
        while values[at] != Self.none, keys[at] != key { at = (at + 1) & (keys.count - 1) }
        if values[at] == Self.none { count += 1 }
        keys[at] = key
        values[at] = value
    }

    mutating func remove(_ key: UInt64) {
        guard find(key) >= 0 else { return }
        var hole = home(key)
        while keys[hole] != key || values[hole] == Self.none {
            hole = (hole + 1) & (keys.count - 1)
        }
        // Pull back what probed past the hole (Knuth 6.4, algorithm R).
        var at = hole
        while true {
            at = (at + 1) & (keys.count - 1)
            if values[at] == Self.none { break }
            let distance = (at - home(keys[at])) & (keys.count - 1)
            if distance >= (at - hole) & (keys.count - 1) {
                keys[hole] = keys[at]
                values[hole] = values[at]
                hole = at
            }
        }
        values[hole] = Self.none
        count -= 1
    }

    private mutating func grow() {
        let oldKeys = keys
        let oldValues = values
        let capacity = max(16, keys.count * 2)
        keys = [UInt64](repeating: 0, count: capacity)
        values = [UInt32](repeating: Self.none, count: capacity)
        count = 0
        for index in oldKeys.indices where oldValues[index] != Self.none {
            insert(oldKeys[index], oldValues[index])
        }
    }
}
