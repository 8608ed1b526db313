import MeshWire

/// A member's place in `MemberTable`: dense, reused only when the member is forgotten. It is also
/// the node field of a directory slot.
typealias MemberIndex = Int

/// A member with everything that this node keeps about it.
struct Member {
    var id: NodeID
    var incarnation: Incarnation
    var standing: Standing
    var endpoint: Endpoint
    var name: String
    var zone: String
    /// When `standing` last changed here.
    var since: Instant
    /// When a suspicion turns into death, unless refuted; only while suspect.
    var deathDue: Instant?
    /// The established link to it, -1: none.
    var link: LinkIndex = -1

    /// How far its directory log has been applied here, and what came of it.
    var log = OriginLog()

    /// No attempt to dial it before this; grows with each failure.
    var dialNotBefore: Instant?
    var dialFailures = 0
    /// Since when this node wants a link to it that it has not got.
    var wantedSince: Instant?

    /// It stands in the list of changes to be told to the neighbours.
    var isPending = false
    /// The link that the change came over, to which it is not told again.
    var pendingFrom: LinkIndex = -1

    init(_ record: MemberRecord, at now: Instant) {
        id = record.id
        incarnation = record.incarnation
        standing = record.standing
        endpoint = record.endpoint
        name = record.name
        zone = record.zone
        since = now
    }

    var record: MemberRecord {
        MemberRecord(
            id: id, incarnation: incarnation, standing: standing, endpoint: endpoint, name: name,
            zone: zone)
    }

    /// This member's share of the digest; nothing for those who are not present.
    var digest: UInt64 {
        guard standing.isPresent else { return 0 }
        var value = RandomSource.mix(id.rawValue ^ 0x6d65_6d62_6572)
        value = RandomSource.mix(value ^ incarnation.rawValue)
        value = RandomSource.mix(value ^ log.sequence)
        return RandomSource.mix(value ^ log.keySum)
    }
}

/// How far an origin's log is known, and the sums that tell whether two nodes have the same set.
struct OriginLog {
    /// The last record that is applied; 0: none.
    var sequence: UInt64 = 0
    var keyCount: UInt32 = 0
    /// Sum of `mix(key)` over its keys and patterns, modulo 2^64.
    var keySum: UInt64 = 0
    /// The highest sequence that anybody told of.
    var target: UInt64 = 0
    /// A repair is under way until then; asking again before would double it.
    var repairDue: Instant?
    /// The link asked for the repair.
    var repairLink: LinkIndex = -1
    /// The sequence at which the snapshot that is arriving began; nil: none is arriving.
    var snapshotSequence: UInt64?

    var isComplete: Bool { sequence >= target && snapshotSequence == nil }
}
