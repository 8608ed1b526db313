import MeshWire

/// Addresses of members that were lost, kept for ever: the dead themselves are forgotten after
/// `Timing.forget`, and a partition that lasts longer would have no way back.
///
/// Members that are lost within 10 s of the first of them are a group: the other side of a partition,
/// or what crashed together. Of a group `groupCount` addresses are kept, chosen evenly over the ring, so
/// that not all of them are of one machine or zone by chance. They are asked in turn (`nextToAsk`).
///
///     0 ≤ entries.count ≤ countMax      0 ≤ turn ≤ entries.count
///     entries[n].begun ≤ entries[n + 1].begun
struct LostMembers {
    struct Entry {
        var endpoint: Endpoint
        /// Its place on the ring.
        var position: NodeID
        /// When the first of its group was lost.
        var begun: Instant
    }

    /// Guesses: a side of a partition is found by one address that answers.
    static var groupCount: Int { 8 }
    static var countMax: Int { 1_024 }
    private static var groupDuration: Delay { .seconds(10) }
    /// Together with a look every 2.25 s one is asked every 10 s at the latest, and each in 10 minutes.
    private static var pauseMax: Delay { .milliseconds(7_500) }
    private static var roundMax: Delay { .seconds(560) }

    /// In the order in which they were lost.
    private(set) var entries: [Entry] = []
    /// The place of the next one to ask.
    private var turn = 0
    private var nextDue: Instant

    init(at now: Instant) {
        nextDue = now
    }

    /// A member has been lost.
    mutating func insert(_ endpoint: Endpoint, at position: NodeID, _ now: Instant) {
        remove(endpoint)
        var begun = now
        if let last = entries.last, now - last.begun <= Self.groupDuration { begun = last.begun }
        if entries.isEmpty { nextDue = now + Self.pauseMax }
        entries.append(Entry(endpoint: endpoint, position: position, begun: begun))
        if lastGroup.count > Self.groupCount { remove(at: mostCrowded(lastGroup)) }
        if entries.count > Self.countMax { remove(at: leastAlone()) }
    }

    /// An address that this node remembers of a former life.
    mutating func recall(_ endpoint: Endpoint, _ now: Instant) {
        guard entries.count < Self.countMax else { return }
        // Older than whoever is lost from now on, so that it is in no group with them.
        entries.append(
            Entry(endpoint: endpoint, position: NodeID(0), begun: now - Self.groupDuration * 2))
    }

    /// The member at this address is present again.
    mutating func remove(_ endpoint: Endpoint) {
        if let place = entries.firstIndex(where: { $0.endpoint == endpoint }) { remove(at: place) }
    }

    /// The address to ask now; nil: none, or not yet. After a pause of the process, when many are
    /// overdue, the caller bounds how many it takes at a time.
    mutating func nextToAsk(at now: Instant) -> Endpoint? {
        guard !entries.isEmpty, nextDue <= now else { return nil }
        let pause = min(
            Self.pauseMax,
            Delay(nanoseconds: Self.roundMax.nanoseconds / Int64(entries.count)))
        nextDue = max(nextDue + pause, now - Self.pauseMax)
        if turn >= entries.count { turn = 0 }
        turn += 1
        return entries[turn - 1].endpoint
    }

    private mutating func remove(at place: Int) {
        entries.remove(at: place)
        if place < turn { turn -= 1 }
    }

    /// The places of those that were lost last.
    private var lastGroup: Range<Int> {
        guard let begun = entries.last?.begun else { return 0..<0 }
        var first = entries.count
        while first > 0, entries[first - 1].begun == begun { first -= 1 }
        return first..<entries.count
    }

    /// The place of the one whose two neighbours on the ring are nearest to each other: without it the
    /// others are the most even.
    private func mostCrowded(_ group: Range<Int>) -> Int {
        let order = group.sorted { entries[$0].position.rawValue < entries[$1].position.rawValue }
        var best = order[0]
        var least = UInt64.max
        for place in order.indices {
            let before = entries[order[(place + order.count - 1) % order.count]].position.rawValue
            let after = entries[order[(place + 1) % order.count]].position.rawValue
            if after &- before < least {
                least = after &- before
                best = order[place]
            }
        }
        return best
    }

    /// The place of the one whose neighbours in time are nearest to each other, but for the last group:
    /// so large groups shrink first, and a while full of losses does not flush a single old one.
    private func leastAlone() -> Int {
        var best = 0
        var least = Delay(nanoseconds: .max)
        for place in 0..<lastGroup.lowerBound {
            let before = place > 0 ? entries[place - 1].begun : entries[place].begun
            let gap = entries[place + 1].begun - before
            if gap < least || place == 0 {
                least = gap
                best = place
            }
        }
        return best
    }
}
