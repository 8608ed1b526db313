import MeshWire

/// What members say of themselves, each version kept once however many tables name it.
///
/// A node has a book of its own unless it is given one. Nodes of one thread that are given the same
/// book share what is equal: 10,000 simulated nodes with 10,000 members each hold 10,000 records,
/// not 100 million. It holds immutable values and counts of references: what one node does with
/// them, no other can see.
@safe public final class MemberBook {
    /// One version of a member's word.
    struct Facts {
        var id: NodeID
        var incarnation: Incarnation
        var endpoint: Endpoint
        var name: String
        var zone: String
        /// The part of `Member.digest` that no log changes.
        var digest: UInt64
        /// How many table slots name it; 0: the entry is free.
        var references: UInt32
    }

    /// Facts that a slot names. Good until the slot that holds it releases it.
    @safe struct Reference {
        fileprivate let facts: UnsafeMutablePointer<Facts>

        @inline(__always) var id: NodeID { unsafe facts.pointee.id }
        @inline(__always) var incarnation: Incarnation { unsafe facts.pointee.incarnation }
        @inline(__always) var endpoint: Endpoint { unsafe facts.pointee.endpoint }
        @inline(__always) var name: String { unsafe facts.pointee.name }
        @inline(__always) var zone: String { unsafe facts.pointee.zone }
        @inline(__always) var digest: UInt64 { unsafe facts.pointee.digest }

        fileprivate func holds(_ record: MemberRecord) -> Bool {
            id == record.id && incarnation == record.incarnation && endpoint == record.endpoint
                && name == record.name && zone == record.zone
        }
    }

    /// Entries never move; segments of `segmentCount` of them are never given back.
    private var segments: [UnsafeMutablePointer<Facts>]
    private var free: [UnsafeMutablePointer<Facts>]
    /// By id and incarnation: open addressing, linear probing, at most half full.
    private var table: [UnsafeMutablePointer<Facts>?]
    private(set) var count = 0
    private static let segmentCount = 64

    /// The latest link list of some owners, one place for each value of some bits of their ids.
    private var lists: [LinkList?]

    private let secret: UInt64

    /// - Parameters:
    ///   - isShared: several nodes use it. One node alone has nothing to share its neighbours' link
    ///     lists with.
    ///   - secret: see `MemberTable.init`.
    public init(isShared: Bool = false, secret: UInt64 = 0) {
        self.secret = secret
        unsafe segments = []
        unsafe free = []
        unsafe table = [UnsafeMutablePointer<Facts>?](repeating: nil, count: 64)
        lists = isShared ? [LinkList?](repeating: nil, count: 1 << 15) : []
    }

    deinit {
        // Not `for unsafe … in`, which swift-format 6.3 takes apart.
        var index = 0
        while unsafe index < table.count {
            if let facts = unsafe table[index] { unsafe facts.deinitialize(count: 1) }
            index += 1
        }
        index = 0
        while unsafe index < segments.count {
            unsafe segments[index].deallocate()
            index += 1
        }
    }

    // MARK: Members

    /// A reference to what `record` says but for its standing, to be released once.
    func intern(_ record: MemberRecord) -> Reference {
        if unsafe (count + 1) * 2 > table.count { grow() }
        let mask = unsafe table.count - 1
        var at = home(record.id, record.incarnation) & mask
        while let known = unsafe table[at] {
            let reference = unsafe Reference(facts: known)
            if reference.holds(record) {
                unsafe known.pointee.references += 1
                return reference
            }
            at = (at + 1) & mask
        }
        let fresh = unsafe entry()
        unsafe fresh.initialize(
            to: Facts(
                id: record.id, incarnation: record.incarnation, endpoint: record.endpoint,
                name: record.name, zone: record.zone,
                digest: Member.digest(record.id, record.incarnation), references: 1))
        unsafe table[at] = fresh
        count += 1
        return unsafe Reference(facts: fresh)
    }

    func release(_ reference: Reference) {
        let facts = unsafe reference.facts
        unsafe facts.pointee.references -= 1
        guard unsafe facts.pointee.references == 0 else { return }
        remove(reference)
        unsafe facts.deinitialize(count: 1)
        unsafe free.append(facts)
    }

    private func home(_ id: NodeID, _ incarnation: Incarnation) -> Int {
        let mixed = RandomSource.mix(id.rawValue ^ secret)
        return Int(truncatingIfNeeded: RandomSource.mix(mixed ^ incarnation.rawValue))
    }

    private func entry() -> UnsafeMutablePointer<Facts> {
        if unsafe free.isEmpty {
            let segment = UnsafeMutablePointer<Facts>.allocate(capacity: Self.segmentCount)
            unsafe segments.append(segment)
            for index in (0..<Self.segmentCount).reversed() {
                unsafe free.append(segment + index)
            }
        }
        return unsafe free.removeLast()
    }

    private func remove(_ reference: Reference) {
        let mask = unsafe table.count - 1
        var hole = home(reference.id, reference.incarnation) & mask
        while unsafe table[hole] != reference.facts { hole = (hole + 1) & mask }
        // Pull back what probed past the hole (Knuth 6.4, algorithm R).
        var at = (hole + 1) & mask
        while let other = unsafe table[at] {
            let home = unsafe self.home(other.pointee.id, other.pointee.incarnation)
            if (at - home) & mask >= (at - hole) & mask {
                unsafe table[hole] = other
                hole = at
            }
            at = (at + 1) & mask
        }
        unsafe table[hole] = nil
        count -= 1
    }

    private func grow() {
        let old = unsafe table
        let mask = unsafe old.count * 2 - 1
        unsafe table = [UnsafeMutablePointer<Facts>?](repeating: nil, count: mask + 1)
        var index = 0
        while unsafe index < old.count {
            if let facts = unsafe old[index] {
                var at = unsafe home(facts.pointee.id, facts.pointee.incarnation) & mask
                while unsafe table[at] != nil { at = (at + 1) & mask }
                unsafe table[at] = facts
            }
            index += 1
        }
    }

    // MARK: Link lists

    /// The links of `list`, in the memory of whoever brought an equal list here before.
    func shared(_ list: LinkList) -> [NodeID] {
        if lists.isEmpty { return list.links }
        let place = Int(truncatingIfNeeded: list.owner.rawValue) & (lists.count - 1)
        if let known = lists[place], known.owner == list.owner, known.version == list.version,
            known.incarnation == list.incarnation, known.links == list.links
        {
            return known.links
        }
        lists[place] = list
        return list.links
    }
}
