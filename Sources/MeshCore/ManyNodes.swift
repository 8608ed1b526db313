import MeshWire

// For drivers of thousands of nodes on one thread, as the simulator is: they share what is equal, and
// read ahead what the next event will need. What is read has to be put somewhere, or the compiler reads
// nothing. A node alone needs none of it.

// MARK: Interning

/// The records of members about themselves, each version kept once however many tables name it.
///
/// A node has an interner of its own unless it is given one. Nodes of one thread that are given the same
/// interner share what is equal: 10,000 simulated nodes with 10,000 members each hold 10,000 records,
/// not 100 million. It holds immutable values and counts of references: what one node does with
/// them, no other can see.
@safe public final class RecordInterner {
    /// One version of a member's word.
    struct Facts {
        var id: NodeID
        var incarnation: Incarnation
        var endpoint: Endpoint
        var name: String
        var zone: String
        var capabilities: Capabilities
        /// The part of `Member.digest` that no log changes.
        var digest: UInt64
        /// How many table slots name it; 0: the entry is free.
        var references: UInt32

        static var none: Facts {
            Facts(
                id: NodeID(0), incarnation: Incarnation(0), endpoint: Endpoint(ipv4: 0, port: 0),
                name: "", zone: "", capabilities: .current, digest: 0, references: 0)
        }
    }

    /// Facts that a slot names. Good until the slot that holds it releases it.
    @safe struct Reference {
        fileprivate let facts: UnsafeMutablePointer<Facts>

        @inline(__always) var id: NodeID { unsafe facts.pointee.id }
        @inline(__always) var incarnation: Incarnation { unsafe facts.pointee.incarnation }
        @inline(__always) var endpoint: Endpoint { unsafe facts.pointee.endpoint }
        @inline(__always) var name: String { unsafe facts.pointee.name }
        @inline(__always) var zone: String { unsafe facts.pointee.zone }
        @inline(__always) var capabilities: Capabilities { unsafe facts.pointee.capabilities }
        @inline(__always) var digest: UInt64 { unsafe facts.pointee.digest }

        fileprivate func holds(_ record: MemberRecord) -> Bool {
            id == record.id && incarnation == record.incarnation && endpoint == record.endpoint
                && name == record.name && zone == record.zone
                && capabilities == record.capabilities
        }
    }

    /// Entries, in segments of `segmentCount` that never grow: entries do not move. None is given
    /// back.
    private var segments = Slab<Slab<Facts>>()
    private var free: [Int32] = []
    /// Entries by id and incarnation.
    private var map = IndexMap()
    private static let segmentCount = 64

    /// The latest link list of some owners, one place for each value of some bits of their ids.
    private var sharedLists: [LinkList?]

    private let secret: UInt64

    /// - Parameters:
    ///   - isShared: several nodes use it. One node alone has nothing to share its neighbours' link
    ///     lists with.
    ///   - secret: see `MemberTable.init`.
    public init(isShared: Bool = false, secret: UInt64 = 0) {
        self.secret = secret
        sharedLists = isShared ? [LinkList?](repeating: nil, count: 1 << 15) : []
    }

    var count: Int { map.count }

    // MARK: Members

    /// A reference to what `record` says but for its status, to be released once.
    func intern(_ record: MemberRecord) -> Reference {
        let hash = Self.hash(record.id, record.incarnation, secret)
        if let known = map.find(hash, where: { reference($0).holds(record) }) {
            let reference = reference(known)
            unsafe reference.facts.pointee.references += 1
            return reference
        }
        let index = entry()
        let fresh = reference(index)
        unsafe fresh.facts.pointee = Facts(
            id: record.id, incarnation: record.incarnation, endpoint: record.endpoint,
            name: record.name, zone: record.zone, capabilities: record.capabilities,
            digest: Member.digest(record.id, record.incarnation), references: 1)
        map.insert(index, hash) { self.hash($0) }
        return fresh
    }

    func release(_ released: Reference) {
        let facts = unsafe released.facts
        unsafe facts.pointee.references -= 1
        guard unsafe facts.pointee.references == 0 else { return }
        let index = map.remove(
            Self.hash(released.id, released.incarnation, secret), rehash: { hash($0) },
            where: { unsafe reference($0).facts == facts })
        guard let index else { preconditionFailure("released facts are not in the interner") }
        unsafe facts.pointee = .none
        free.append(Int32(index))
    }

    @inline(__always)
    private func reference(_ index: Int) -> Reference {
        let (segment, position) = (index / Self.segmentCount, index % Self.segmentCount)
        return unsafe Reference(facts: segments[segment].pointer(to: position))
    }

    private func hash(_ index: Int) -> UInt64 {
        Self.hash(reference(index).id, reference(index).incarnation, secret)
    }

    private static func hash(
        _ id: NodeID, _ incarnation: Incarnation, _ secret: UInt64
    ) -> UInt64 {
        RandomSource.mix(id.hash(secret) ^ incarnation.rawValue)
    }

    /// An entry that is free.
    private func entry() -> Int {
        if let reused = free.popLast() { return Int(reused) }
        let last = segments.count - 1
        if last < 0 || segments[last].count == Self.segmentCount {
            segments.append(Slab(capacity: Self.segmentCount))
        }
        let segment = segments.count - 1
        segments[segment].append(.none)
        return segment * Self.segmentCount + segments[segment].count - 1
    }

    // MARK: Link lists

    /// The links of `list`, in the memory of whoever brought an equal list here before.
    func shared(_ list: LinkList) -> [NodeID] {
        if sharedLists.isEmpty { return list.links }
        let position = Int(truncatingIfNeeded: list.owner.rawValue) & (sharedLists.count - 1)
        if let known = sharedLists[position], known.owner == list.owner,
            known.version == list.version,
            known.incarnation == list.incarnation, known.links == list.links
        {
            return known.links
        }
        sharedLists[position] = list
        return list.links
    }
}

// MARK: Touching

extension Node {
    /// Reads what every event on this link will, and says nothing of use: for a driver of many nodes
    /// that knows which is next, so that its memory comes while another is at work.
    @inline(__always)
    public func touch(_ link: LinkIndex) -> Int64 {
        now.nanoseconds &+ Int64(truncatingIfNeeded: coordinates.x.bitPattern)
            &+ links.touch(link)
    }
}

extension LinkTable {
    /// See `Node.touch`.
    @inline(__always)
    func touch(_ index: LinkIndex) -> Int64 {
        guard isValid(index) else { return 0 }
        return self[index].heardAt.nanoseconds &+ self[index].beatAt.nanoseconds
    }
}

// MARK: Anticipating

extension MemberTable {
    /// How many members are best anticipated at a time.
    static var anticipatedCount: Int { 16 }

    /// Reads what finding these members by their ids will read: first the cells of all, then the
    /// slots that they name, then what these hold. In a mesh of thousands that is three waits for
    /// memory; found one after the other each member takes three.
    @inline(__always)
    mutating func anticipate<Items: Collection>(
        _ items: Items, _ id: (Items.Element) -> NodeID,
        endpoint: (Items.Element) -> Endpoint? = { _ in nil }
    ) {
        if slots.count < 128 || items.count < 2 { return }
        var sum: UInt64 = 0
        for item in items { sum &+= UInt64(byID.firstIndex(id(item).hash(secret)) ?? 0) }
        for item in items {
            if let slot = slots[byID.firstIndex(id(item).hash(secret)) ?? 0] {
                sum &+= UInt64(slot.status.rawValue)
            }
        }
        for item in items {
            if let slot = slots[byID.firstIndex(id(item).hash(secret)) ?? 0] {
                sum &+= slot.facts.id.rawValue
                // A newcomer is looked for by its address too.
                if slot.facts.id != id(item), let endpoint = endpoint(item) {
                    sum &+= UInt64(byEndpoint.firstIndex(endpoint.hash(secret)) ?? 0)
                }
            }
        }
        anticipated = sum
    }
}

extension LinkLists {
    /// Reads what taking these lists will read, for all of them at once (`MemberTable.anticipate`).
    @inline(__always)
    mutating func anticipate(_ received: [LinkList]) {
        guard owners.count >= 32, received.count > 1 else { return }
        var sum: UInt64 = 0
        for list in received.prefix(64) {
            let share = list.owner.rawValue.multipliedFullWidth(by: UInt64(owners.count)).high
            sum &+= owners[Int(share)].rawValue
        }
        for list in received.prefix(64) {
            let position = list.owner.lowerBound(in: owners)
            if position < entries.count { sum &+= UInt64(entries[position].version) }
        }
        anticipated = sum
    }
}
