import MeshWire

/// Everybody this node knows of, and the ring of those who are present.
///
/// - `slots[index.slot]` is a member or free. Index 0 is this node itself.
/// - `ring` holds the present ones sorted by position.
/// - `digests[part]` is the sum of the present members' digests with those upper six bits.
///
/// A member costs 24 bytes and a place in each of two maps and the ring, about 50 bytes together;
/// what it says of itself stands in an interner that tables can share, and what few members have at a
/// time in memory of its own (`RareState`).
struct MemberTable: ~Copyable {
    struct RingEntry {
        var id: NodeID
        var index: MemberIndex
    }

    /// One member. It owns its reference and its rare state: the table gives both back.
    @safe struct Slot {
        fileprivate(set) var facts: RecordInterner.Reference
        private var rarity: UnsafeMutablePointer<RareState>?
        fileprivate(set) var rawLink: Int16 = -1
        private var rawPendingPlace = UInt16.max
        fileprivate(set) var status: MemberStatus

        fileprivate init(_ facts: RecordInterner.Reference, _ status: MemberStatus) {
            self.facts = facts
            self.status = status
            unsafe rarity = nil
        }

        /// The established link to it.
        @inline(__always) var link: LinkIndex {
            get { LinkIndex(rawValue: Int32(rawLink)) }
            set { rawLink = Int16(newValue.rawValue) }
        }
        /// Its place in the list of changes to be told to the neighbours; nil: it has none.
        @inline(__always) var pendingPlace: Int? {
            get { rawPendingPlace == .max ? nil : Int(rawPendingPlace) }
            set { rawPendingPlace = newValue.map { UInt16($0) } ?? .max }
        }

        @inline(__always) var rare: RareState {
            unsafe rarity?.pointee ?? RareState()
        }

        @inline(__always)
        fileprivate mutating func setRare(_ change: (inout RareState) -> Void) {
            if unsafe rarity == nil {
                var fresh = RareState()
                change(&fresh)
                if fresh.isEmpty { return }
                unsafe rarity = .allocate(capacity: 1)
                unsafe rarity!.initialize(to: fresh)
                return
            }
            unsafe change(&rarity!.pointee)
            if unsafe rarity!.pointee.isEmpty { clearRare() }
        }

        fileprivate mutating func clearRare() {
            unsafe rarity?.deallocate()
            unsafe rarity = nil
        }

        var log: OriginLog {
            @inline(__always) get { rare.log }
            set { setRare { $0.log = newValue } }
        }
        var since: Instant? {
            get { rare.since }
            set { setRare { $0.since = newValue } }
        }
        var deathDue: Instant? {
            get { rare.deathDue }
            set { setRare { $0.deathDue = newValue } }
        }
        var dialNotBefore: Instant? {
            get { rare.dialNotBefore }
            set { setRare { $0.dialNotBefore = newValue } }
        }
        var dialFailures: Int {
            get { Int(rare.dialFailures) }
            set { setRare { $0.dialFailures = Int32(clamping: newValue) } }
        }
        var wantedSince: Instant? {
            get { rare.wantedSince }
            set { setRare { $0.wantedSince = newValue } }
        }

        @inline(__always)
        fileprivate var digest: UInt64 {
            guard status.isPresent else { return 0 }
            if unsafe rarity == nil { return Member.digest(facts.digest, OriginLog()) }
            return unsafe Member.digest(facts.digest, rarity!.pointee.log)
        }
    }

    private(set) var digest: UInt64 = 0
    private let interner: RecordInterner
    private(set) var slots: [Slot?] = []
    private var free: [MemberIndex] = []
    /// Indices of slots; by address those who are present, each address one.
    private(set) var byID = IndexMap()
    private(set) var byEndpoint = IndexMap()
    let secret: UInt64
    private(set) var ring = Ring()
    private(set) var digests = [UInt64](repeating: 0, count: 64)
    /// The members next to this node in this version of the ring: first clockwise, then the other way.
    private var near = InlineArray<14, UInt16>(repeating: 0)
    private var nearVersion: UInt64 = 0
    static var nearCount: Int { 7 }
    /// See `anticipate`.
    var anticipated: UInt64 = 0

    /// Index 0 … 65,000: what a directory slot can name.
    static let countMax = 65_000

    /// - Parameter secret: unknown to others, so that nobody can choose ids or addresses that fall on
    ///   one place of a table. The order of nothing depends on it.
    init(
        oneself: MemberRecord, at now: Instant, interner: RecordInterner = RecordInterner(),
        secret: UInt64 = 0
    ) {
        self.interner = interner
        self.secret = secret
        _ = insert(Member(oneself, at: now))
    }

    deinit {
        for position in slots.indices where slots[position] != nil {
            var slot = slots[position]!
            slot.clearRare()
            interner.release(slot.facts)
        }
    }

    /// Places for members, in use or free: all indices are below it.
    var slotCount: Int { slots.count }

    /// Whether `index` is in use.
    func contains(_ index: MemberIndex) -> Bool { slots[index.slot] != nil }

    /// The member at `index`, which must be in use.
    @inline(__always)
    subscript(index: MemberIndex) -> Member { Member(slots[index.slot]!) }

    @inline(__always)
    func index(of id: NodeID) -> MemberIndex? {
        // A place is below `countMax`: it need not be checked for each message.
        byID.find(id.hash(secret)) { slots[$0]!.facts.id == id }
            .map { MemberIndex(rawValue: Int32(truncatingIfNeeded: $0)) }
    }

    @inline(__always)
    func status(of index: MemberIndex) -> MemberStatus { slots[index.slot]!.status }

    @inline(__always)
    func id(of index: MemberIndex) -> NodeID { slots[index.slot]!.facts.id }

    @inline(__always)
    func incarnation(of index: MemberIndex) -> Incarnation { slots[index.slot]!.facts.incarnation }

    /// The established link to a member.
    @inline(__always)
    func link(of index: MemberIndex) -> LinkIndex { slots[index.slot]!.link }

    /// A member's place among the changes to be told; nil: it has none.
    @inline(__always)
    func pendingPlace(of index: MemberIndex) -> Int? { slots[index.slot]!.pendingPlace }

    /// When a suspicion turns into death, unless refuted.
    @inline(__always)
    func deathDue(of index: MemberIndex) -> Instant? { slots[index.slot]!.deathDue }

    @inline(__always)
    func endpoint(of index: MemberIndex) -> Endpoint { slots[index.slot]!.facts.endpoint }

    @inline(__always)
    func isLogComplete(of index: MemberIndex) -> Bool { slots[index.slot]!.log.isComplete }

    /// No attempt to dial a member before this.
    @inline(__always)
    func dialNotBefore(of index: MemberIndex) -> Instant? { slots[index.slot]!.dialNotBefore }

    func index(at endpoint: Endpoint) -> MemberIndex? {
        byEndpoint.find(endpoint.hash(secret)) { slots[$0]!.facts.endpoint == endpoint }
            .map { MemberIndex($0) }
    }

    /// Nil when the table is full.
    mutating func insert(_ member: Member) -> MemberIndex? {
        let index: MemberIndex
        if let reused = free.popLast() {
            index = reused
        } else {
            guard slots.count < Self.countMax else { return nil }
            index = MemberIndex(slots.count)
            // A quarter more each time: in a large mesh twice as much would be a gigabyte or two.
            if slots.count == slots.capacity { slots.reserveCapacity(slots.count * 5 / 4 + 8) }
            slots.append(nil)
        }
        var slot = Slot(interner.intern(member.record), member.status)
        if !member.rare.isEmpty { slot.setRare { $0 = member.rare } }
        slots[index.slot] = slot
        byID.insert(index.slot, member.id.hash(secret)) { slots[$0]!.facts.id.hash(secret) }
        if member.status.isPresent {
            enterEndpoint(index)
            ring.insert(member.id, index)
        }
        add(digest: slot.digest, of: member.id)
        return index
    }

    /// Takes a later word of a member, with its status; a suspicion is over, or begins anew.
    ///
    /// The log of a former life stays while the member is present: by it `withdrawKeys` knows that
    /// there is something to take out. This node itself keeps its log, also when it outbids a liar
    /// and takes the claimed life for its own.
    mutating func replace(_ index: MemberIndex, with record: MemberRecord, at now: Instant) {
        precondition(slots[index.slot]!.facts.id == record.id)
        leaveEndpoint(index)
        let before = slots[index.slot]!.digest
        let former = slots[index.slot]!.facts
        let isReborn = record.incarnation.life != former.incarnation.life
        slots[index.slot]!.facts = interner.intern(record)
        interner.release(former)
        if isReborn && !slots[index.slot]!.status.isPresent {
            slots[index.slot]!.log = OriginLog()
        }
        stand(index, record.status, before, at: now)
        if record.status.isPresent { enterEndpoint(index) }
    }

    /// Changes a member's status. A suspicion is over, or begins anew.
    mutating func update(_ index: MemberIndex, to status: MemberStatus, at now: Instant) {
        let before = slots[index.slot]!.digest
        leaveEndpoint(index)
        stand(index, status, before, at: now)
        if status.isPresent { enterEndpoint(index) }
    }

    private mutating func stand(
        _ index: MemberIndex, _ status: MemberStatus, _ before: UInt64, at now: Instant
    ) {
        let former = slots[index.slot]!.status
        let id = slots[index.slot]!.facts.id
        slots[index.slot]!.status = status
        if status.isPresent {
            slots[index.slot]!.since = nil
        } else if former != status {
            slots[index.slot]!.since = now
        }
        slots[index.slot]!.deathDue = nil
        add(digest: slots[index.slot]!.digest &- before, of: id)
        if former.isPresent != status.isPresent {
            if status.isPresent { ring.insert(id, index) } else { ring.remove(id) }
        }
    }

    /// The member's address leads to it from now on, whoever was there before; but this node's own.
    private mutating func enterEndpoint(_ index: MemberIndex) {
        let endpoint = slots[index.slot]!.facts.endpoint
        if index != .oneself, endpoint == slots[0]!.facts.endpoint { return }
        let former = byEndpoint.replace(
            endpoint.hash(secret), with: index.slot,
            rehash: { slots[$0]!.facts.endpoint.hash(secret) },
            where: { slots[$0]!.facts.endpoint == endpoint })
        if former != nil { return }
        byEndpoint.insert(index.slot, endpoint.hash(secret)) {
            slots[$0]!.facts.endpoint.hash(secret)
        }
    }

    /// The address leads to a member no more, if it was this one.
    private mutating func leaveEndpoint(_ index: MemberIndex) {
        guard slots[index.slot]!.status.isPresent else { return }
        byEndpoint.remove(
            slots[index.slot]!.facts.endpoint.hash(secret),
            rehash: { slots[$0]!.facts.endpoint.hash(secret) }, where: { $0 == index.slot })
    }

    /// Changes fields that neither ring nor digest depend on; the cheap way.
    @inline(__always)
    mutating func adjust<Result>(_ index: MemberIndex, _ change: (inout Slot) -> Result) -> Result {
        change(&slots[index.slot]!)
    }

    /// Changes what is known of a member's log.
    @inline(__always)
    mutating func updateLog(_ index: MemberIndex, _ change: (inout OriginLog) -> Void) {
        let before = slots[index.slot]!.digest
        slots[index.slot]!.setRare { change(&$0.log) }
        add(digest: slots[index.slot]!.digest &- before, of: slots[index.slot]!.facts.id)
    }

    mutating func forget(_ index: MemberIndex) {
        var slot = slots[index.slot]!
        precondition(!slot.status.isPresent && index != .oneself)
        byID.remove(
            slot.facts.id.hash(secret), rehash: { slots[$0]!.facts.id.hash(secret) },
            where: { $0 == index.slot })
        slot.clearRare()
        slots[index.slot] = nil
        interner.release(slot.facts)
        free.append(index)
    }

    static func part(of id: NodeID) -> Int { Int(id.rawValue >> 58) }

    private mutating func add(digest change: UInt64, of id: NodeID) {
        digests[Self.part(of: id)] &+= change
        digest &+= change
    }

    /// The links of `list`, in memory that nodes with the same interner share.
    func shared(_ list: LinkList) -> [NodeID] { interner.shared(list) }

    // MARK: The ring

    /// Where `id` is, or would be inserted.
    func rank(of id: NodeID) -> Int { ring.rank(of: id) }

    /// The member `steps` places clockwise from this node, at most `nearCount` on either side; a
    /// lookup while the ring is the same.
    mutating func neighbour(_ steps: Int) -> MemberIndex {
        if nearVersion != ring.version {
            let size = ring.count
            let own = ring.rank(of: slots[0]!.facts.id)
            for step in 1...Self.nearCount {
                let (after, before) = (own + step % size, own - step % size)
                near[step - 1] = UInt16(ring[after < size ? after : after - size].index.slot)
                near[Self.nearCount + step - 1] =
                    UInt16(ring[before >= 0 ? before : before + size].index.slot)
            }
            nearVersion = ring.version
        }
        return MemberIndex(
            rawValue: Int32(near[steps > 0 ? steps - 1 : Self.nearCount - steps - 1]))
    }

    /// The member `steps` places clockwise from `id`, which is on the ring.
    func clockwise(from id: NodeID, steps: Int) -> MemberIndex {
        let count = ring.count
        return ring[(rank(of: id) + steps % count + count) % count].index
    }
}

extension NodeID {
    /// All bits are well spread, in a way that only those who know the secret can foresee.
    @inline(__always)
    func hash(_ secret: UInt64) -> UInt64 { RandomSource.mix(rawValue ^ secret) }
}

extension Endpoint {
    /// See `NodeID.hash`.
    @inline(__always)
    func hash(_ secret: UInt64) -> UInt64 {
        RandomSource.mix(RandomSource.mix(high ^ UInt64(port) ^ secret) ^ low)
    }
}
