import MeshCore
import MeshWire

/// The rosters that this node tells others of, and those that its clients watch.
struct Rosters: ~Copyable {
    var owners = RosterTable<RosterOwner>()
    var views = RosterTable<RosterView>()
    var watchers = SlotTable<RosterWatcher>()
    private var timers = Heap<RosterTimer>()
    private var serial: UInt64 = 0
    /// Rooms by the keys whose holders they follow.
    private var followers: [Key: [RosterLookup]] = [:]
    /// Keys whose holders are to be looked up, each once.
    private var soughtKeys: Set<Key> = []
    private var lookups = FIFO<RosterLookup>()
    private var random: RandomSource

    init(seed: UInt64) { random = RandomSource(seed: seed) }

    /// No change of a room's members interests anybody.
    var isQuiet: Bool { owners.isEmpty && views.isEmpty }

    var hasLookups: Bool { !lookups.isEmpty }

    /// The number of an epoch or a question.
    mutating func takeNumber() -> UInt32 { UInt32(truncatingIfNeeded: random.next()) }

    // MARK: Holders

    mutating func follow(_ lookup: RosterLookup) {
        followers[lookup.holders.key, default: []].append(lookup)
    }

    mutating func endFollowing(_ key: Key, _ room: [UInt8]) {
        followers[key]?.removeAll { $0.room == room }
        if followers[key]?.isEmpty == true { followers[key] = nil }
    }

    /// The holders of a key are to be looked up.
    mutating func seek(_ key: Key) {
        guard let all = followers[key], soughtKeys.insert(key).inserted else { return }
        for lookup in all { lookups.append(lookup) }
    }

    mutating func nextLookup() -> RosterLookup? {
        guard let next = lookups.popFirst() else { return nil }
        soughtKeys.remove(next.holders.key)
        return next
    }

    // MARK: Time

    /// When something is due; nil: nothing is.
    var next: Instant? { timers.first?.due }

    private mutating func makeTimer(_ due: Instant, _ slot: Int, isView: Bool) -> RosterTimer {
        serial += 1
        let timer = RosterTimer(due: due, serial: serial, slot: slot, isView: isView)
        timers.insert(timer)
        return timer
    }

    /// The view in this slot is looked at when something is due for it.
    mutating func scheduleView(_ slot: Int, at now: Instant) {
        guard let due = views[slot]?.next(at: now) else { return }
        if let timer = views[slot]!.timer, timer.due <= due { return }
        views[slot]!.timer = makeTimer(due, slot, isView: true)
    }

    mutating func scheduleOwner(_ slot: Int) {
        guard let due = owners[slot]?.next else { return }
        if let timer = owners[slot]!.timer, timer.due <= due { return }
        owners[slot]!.timer = makeTimer(due, slot, isView: false)
    }

    /// The next one for which something is due.
    mutating func takeDue(by now: Instant) -> (slot: Int, isView: Bool)? {
        while let first = timers.first, first.due <= now {
            _ = timers.removeFirst()
            if first.isView, views.slots.contains(first.slot), views[first.slot]?.timer == first {
                views[first.slot]!.timer = nil
                return (first.slot, true)
            }
            if !first.isView, owners.slots.contains(first.slot),
                owners[first.slot]?.timer == first
            {
                owners[first.slot]!.timer = nil
                return (first.slot, false)
            }
        }
        return nil
    }
}

/// A question to the driver: the nodes that have members of a room, or watch it.
public struct RosterLookup: Sendable {
    let room: [UInt8]
    let isView: Bool
    public let holders: AskedUser
}

extension Hub {
    /// Of a turn's work: to look at a roster.
    private static var unitsPerRoster: Int { 128 }

    /// Rosters that clients of this node watch.
    public var rosterViewCount: Int { rosters.views.count }

    // MARK: Holders

    /// The holders of a followed key have changed, or are to be known for the first time.
    public mutating func holdersChanged(_ key: Key) { rosters.seek(key) }

    /// `hasRosterLookups` or `hasRequestWork`: asked once for both, often.
    public var hasWorkForMesh: Bool {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get {
            rosters.hasLookups || !openRequests.seekers.isEmpty || !outbox.posts.isEmpty
        }
    }

    /// There are keys for `nextRosterLookup`.
    public var hasRosterLookups: Bool {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { rosters.hasLookups }
    }

    /// A key whose holders the driver is to look up, for `found`.
    public mutating func nextRosterLookup() -> RosterLookup? { rosters.nextLookup() }

    public mutating func found(_ lookup: RosterLookup, _ holders: [NodeID]) {
        if !lookup.isView { return found(watchers: holders, of: lookup.room) }
        guard let slot = rosters.views.slot(of: lookup.room) else { return }
        rosters.views[slot]!.found(holders, here: nodeID, at: now)
        settleView(slot)
    }

    private func lookup(_ room: [UInt8], isView: Bool) -> RosterLookup {
        let body: RoutedBody = isView ? .room : .roster
        return RosterLookup(
            room: room, isView: isView,
            holders: AskedUser(
                key: hasher.key(isView ? .room : .roomWatch, room),
                name: hasher.nameDigest(body, room.span, 0, room.count), isHere: false))
    }

    mutating func follow(_ room: [UInt8], isView: Bool) {
        let lookup = lookup(room, isView: isView)
        rosters.follow(lookup)
        outbox.changes.append(
            InterestChange(subject: .holders, key: lookup.holders.key, change: .add))
    }

    mutating func endFollowing(_ room: [UInt8], isView: Bool) {
        let key = hasher.key(isView ? .room : .roomWatch, room)
        rosters.endFollowing(key, room)
        outbox.changes.append(InterestChange(subject: .holders, key: key, change: .remove))
    }

    // MARK: Time

    mutating func tickRosters() {
        var units = Work.perEvent
        while units > 0, let (slot, isView) = rosters.takeDue(by: now) {
            units -= Self.unitsPerRoster
            if isView { advanceView(slot, &units) } else { advanceOwner(slot) }
        }
    }

    // MARK: Members here

    /// A room has its first connection here, or has lost its last.
    mutating func roomBegan(_ topic: TopicIndex) {
        follow(registry.topics.name(topic), isView: false)
    }

    mutating func roomEnded(_ topic: TopicIndex) {
        let room = registry.topics.name(topic)
        endFollowing(room, isView: false)
        guard let slot = rosters.owners.slot(of: room) else { return }
        // At once: others forget the members soon after they hear that the room is not here.
        closeBatch(slot)
        removeOwner(slot)
    }

    /// A member has come, or other metadata of it are shown.
    mutating func noteMember(_ index: MemberIndex, isNew: Bool) {
        if rosters.isQuiet || registry.members[index].attachment.isNone { return }
        let room = registry.subscription(registry.members[index].subscription).topic
        let member = shown(index)
        note(
            RosterChange(id: member.id, user: member.user, metadata: member.metadata), room,
            isNew: isNew)
    }

    /// The metadata of an attachment have changed: they are shown in rooms where it has none of its own.
    mutating func noteMetadata(of attachment: AttachmentIndex) {
        if rosters.isQuiet { return }
        var units = 0
        var member = registry.members[attachment].firstMember
        while !member.isNone {
            if registry.members[member].metadata == nil { noteMember(member, isNew: false) }
            units += Self.unitsPerMember
            member = registry.members.next(ofAttachment: member)
        }
        charge(units)
    }

    /// A member has been struck from the room's roll.
    mutating func noteDeparture(
        of place: MemberPlace, from room: TopicIndex, _ reason: RosterReason
    ) {
        if rosters.isQuiet { return }
        if let list = registry.members[roll: room]?.members,
            let twin = list.element(before: position(in: room, behind: place)),
            compare(twin, with: place) == 0
        {
            // The session goes on with another connection, which is in the room.
            return noteMember(twin, isNew: false)
        }
        note(RosterChange(id: place.id, user: place.user, reason: reason), room, isNew: false)
    }

    private mutating func note(_ change: RosterChange, _ topic: TopicIndex, isNew: Bool) {
        let room = registry.topics.name(topic)
        let count = registry.members[roll: topic]?.members.count ?? 0
        if let slot = rosters.views.slot(of: room) {
            let isCounted = isCounted(count, rosters.views[slot]!.isCountedHere(nodeID))
            rosters.views[slot]!.applyHere(change, count: count, isCounted: isCounted, nodeID)
            settleView(slot)
        }
        guard let slot = rosters.owners.slot(of: room) else { return }
        let isCounted = isCounted(count, rosters.owners[slot]!.isCounted)
        rosters.owners[slot]!.isCounted = isCounted
        rosters.owners[slot]!.note(change, isNew: isNew, at: now)
        if rosters.owners[slot]!.isFull || memory.rosters > configuration.memory.rosters {
            closeBatch(slot)
        }
        settleOwner(slot)
    }

    /// Whether a node's members of a room are too many to be told. At the bound it does not change to and fro.
    func isCounted(_ count: Int, _ wasCounted: Bool) -> Bool {
        let most = configuration.rosterMax
        return count > (wasCounted ? most - most / 8 : most)
    }

    func memberCount(of room: [UInt8]) -> Int {
        let topic = registry.topics.find(
            .room, hasher.key(.room, room), room.span, 0, room.count)
        return topic.isNone ? 0 : registry.members[roll: topic]?.members.count ?? 0
    }
}
