import MeshWire

/// A node's copy of the directory, with its own changes on their way to others and others' on their
/// way to it.
struct Directory: ~Copyable {
    var table = DirectoryTable()
    var patterns: ReplicatedPatterns
    var recent: RecentRecords
    /// This node's own changes that are not spread yet; the last has the sequence of its log.
    var unsent: [DirectoryRecord] = []
    /// Not before this, so that many changes travel together.
    var unsentAfter: Instant
    /// By when this node would have spread its changes at the usual pace of broadcasts.
    var pacedUntil: Instant
    var confirmations = Confirmations()
    /// This node compares with a neighbour before it goes on; nil: it does not.
    var catchingUp: CatchingUp?
    var comparisonCount: UInt32 = 0
    /// No comparison begins for the sake of a lost link before this.
    var comparesAgainAt: Instant
    /// The last comparison has found nobody who knew more: the next link brings another.
    var isUncompared = false
    /// This node stood still lately: whoever becomes a neighbour is asked until then.
    var asksNewLinksUntil: Instant
    /// The neighbour that the next comparison asks first; none: the one that was heard last.
    var askedFirst = LinkIndex.none
    /// Whole sets that are arriving.
    var arriving: [MemberIndex: ArrivingSet] = [:]
    var withdrawals = Withdrawals()
    var watched = WatchedKeys()
    var collisions = KeyCollisions()

    /// The part that has come of another node's whole set.
    struct ArrivingSet {
        var position: UInt64
        /// The origin had keys here before, which the set may not have any more.
        var hadKeys: Bool
    }

    /// - Parameter secret: see `PatternIndex.init`.
    init(hasher: KeyHasher, secret: UInt64, recentCapacity: Int, at now: Instant) {
        patterns = ReplicatedPatterns(hasher: hasher, secret: secret)
        recent = RecentRecords(capacity: recentCapacity)
        unsentAfter = now
        pacedUntil = now
        comparesAgainAt = now
        asksNewLinksUntil = now
    }
}
