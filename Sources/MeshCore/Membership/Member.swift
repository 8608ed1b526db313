import MeshWire

/// A member's place in `MemberTable`: dense, reused only when the member is forgotten. It is also
/// the node field of a directory slot.
struct MemberIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }

    @inline(__always)
    init(node: UInt16) { rawValue = Int32(node) }

    /// The node field of a directory slot. There is none for `none`.
    @inline(__always) var node: UInt16 { UInt16(rawValue) }

    /// This node itself is the first in its table.
    static var oneself: MemberIndex {
        @inline(__always) get { MemberIndex(rawValue: 0) }
    }
}

/// A member with everything that this node keeps about it: a copy, as `MemberTable` holds it in
/// pieces.
struct Member {
    var id: NodeID
    var incarnation: Incarnation
    var status: MemberStatus
    var endpoint: Endpoint
    var name: String
    var zone: String
    var capabilities: Capabilities
    /// The established link to it.
    var link = LinkIndex.none

    var rare = RareState()

    init(_ record: MemberRecord, at now: Instant) {
        id = record.id
        incarnation = record.incarnation
        status = record.status
        endpoint = record.endpoint
        name = record.name
        zone = record.zone
        capabilities = record.capabilities
        if !status.isPresent { rare.since = now }
    }

    @inline(__always)
    init(_ slot: MemberTable.Slot) {
        id = slot.facts.id
        incarnation = slot.facts.incarnation
        status = slot.status
        endpoint = slot.facts.endpoint
        name = slot.facts.name
        zone = slot.facts.zone
        capabilities = slot.facts.capabilities
        link = slot.link
        rare = slot.rare
    }

    var record: MemberRecord {
        MemberRecord(
            id: id, incarnation: incarnation, status: status, endpoint: endpoint, name: name,
            zone: zone, capabilities: capabilities)
    }

    var log: OriginLog { rare.log }
    var since: Instant { rare.since ?? Instant(nanoseconds: 0) }
    var deathDue: Instant? { rare.deathDue }
    var dialNotBefore: Instant? { rare.dialNotBefore }
    var dialFailures: Int { Int(rare.dialFailures) }
    var wantedSince: Instant? { rare.wantedSince }

    /// The part of a present member's digest that its log does not change.
    static func digest(_ id: NodeID, _ incarnation: Incarnation) -> UInt64 {
        let value = RandomSource.mix(id.rawValue ^ 0x6d65_6d62_6572)
        return RandomSource.mix(value ^ incarnation.rawValue)
    }

    /// A present member's share of the digest, from the part above and its log.
    static func digest(_ part: UInt64, _ log: OriginLog) -> UInt64 {
        RandomSource.mix(RandomSource.mix(part ^ log.sequence) ^ log.keySum)
    }
}

/// Facts about few members at a time: those that have entries in the directory, are about to be
/// linked, or are in trouble.
struct RareState: Equatable {
    /// How far the member's directory log has been applied here, and what came of it.
    var log = OriginLog()
    /// When a suspicion turns into death, unless refuted; only while suspect.
    var deathDue: Instant?
    /// No attempt to dial it before this; grows with each failure.
    var dialNotBefore: Instant?
    /// Since when this node wants a link to it that it has not got.
    var wantedSince: Instant?
    /// When it went; only of those who are not present.
    var since: Instant?
    var dialFailures: Int32 = 0

    /// Nothing is known that a member without any has not got.
    @inline(__always)
    var isEmpty: Bool {
        log.sequence == 0 && self == RareState()
    }
}

/// How far an origin's log is known, and the sums that tell whether two nodes have the same set.
struct OriginLog: Equatable {
    /// The last record that is applied; 0: none.
    var sequence: UInt64 = 0
    /// Sum of `mix(key)` over its keys and patterns, modulo 2^64.
    var keySum: UInt64 = 0
    var keyCount: UInt32 = 0
    /// The link asked for the repair.
    var repairLink = LinkIndex.none
    /// The highest sequence that anybody told of.
    var target: UInt64 = 0
    /// A repair is under way until then; asking again before would double it.
    var repairDue: Instant?
    /// The sequence at which the snapshot that is arriving began; nil: none is arriving.
    var snapshotSequence: UInt64?

    var isComplete: Bool { sequence >= target && snapshotSequence == nil }
}
