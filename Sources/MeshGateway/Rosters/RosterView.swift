import MeshCore
import MeshWire

/// A room's members in the whole mesh, as this node knows them. All local watchers of the room share it.
///
///     row of a node:  waiting ─▶ asked ─▶ paging ─▶ following (epoch, version)
///                        ▲                              │ a batch is missing, or was malformed
///                        └──────────────────────────────┘
///
/// Members stand in it by the node that tells of them: a session that moves may be told of by two nodes for a
/// moment, and is seen as long as one of them does.
struct RosterView {
    /// The account of one node's members.
    struct Row {
        enum Stage: Equatable {
            /// It is asked then.
            case waiting(until: Instant)
            /// The question's number; it is asked again then.
            case asked(UInt32, until: Instant)
            /// The first page has come.
            case paging(UInt32, until: Instant)
            case following
        }

        var stage: Stage
        var epoch: UInt32 = 0
        var version: UInt32 = 0
        var count = 0
        /// It tells the number of its members alone.
        var isCounted = false
        /// Members that were told before the last first page have an earlier one.
        var generation: UInt32 = 0
        /// The last member of the pages that have come.
        var place: MemberPlace?
        var askedAt: Instant?
        /// The rest of it goes then, for this reason.
        var end: (at: Instant, reason: RosterReason)?
    }

    private struct Entry {
        var id: AttachmentID
        var user: [UInt8]
        var metadata: [UInt8]?
        var node: NodeID
        var generation: UInt32
        /// The same session, as another node tells of it; negative: none does.
        var next: Int32

        var cost: Int { 80 + user.count + (metadata?.count ?? 0) }
    }

    /// A member that has changed since its watchers were told last.
    struct Pending {
        var id: AttachmentID
        var user: [UInt8]
        /// They have been told of it.
        var wasThere: Bool
        var reason: RosterReason
    }

    /// A member as clients are told of it.
    struct Shown {
        var id: AttachmentID
        var user: [UInt8]
        var metadata: [UInt8]?
    }

    /// The things that decide what its watchers are told next.
    struct State {
        var count: Int
        var isCounting: Bool
        var isSettled: Bool
        var hasPending: Bool
        var hasStorm: Bool
    }

    let room: [UInt8]
    /// Of the room in the directory: the nodes with members hold it.
    let roomKey: Key
    private(set) var rows: [NodeID: Row] = [:]
    /// Those of the rows, in order.
    private(set) var nodes: [NodeID] = []
    /// The driver has said which nodes have members.
    var isFound = false

    private var entries: [Entry?] = []
    private var free: [Int32] = []
    /// The first entry of each session.
    private var places: [AttachmentID: Int32] = [:]
    private var entryBytes = 0

    /// Changes are noted, because some watcher has been told all before.
    var notesChanges = false
    private(set) var pending: [Pending] = []
    private var pendingPlaces: [AttachmentID: Int] = [:]
    private var pendingBytes = 0
    /// Changes since a count was told last.
    var changeCount = 0

    /// The rows' counts together, and those that tell nothing else.
    private var sum = 0
    private var countedRows = 0
    /// Members are counted alone: they are too many, or a node tells no more, or memory is short.
    private(set) var isCounting = false
    /// Bytes that a member took when there was no memory for all; a guess before that.
    private(set) var memberCost = 128
    var watchers = RosterWatchers()

    /// See `RosterTable`.
    var timer: RosterTimer?
    /// The bytes that it was last counted for in the node's memory.
    var charged = 0

    /// Members beyond which they are counted alone.
    static let countMax = 20_000
    static let pendingMax = 1_000
    static let pendingBytesMax = 64 * 1024
    /// The rest of a node's members goes so long after the node has none by the directory.
    static let removalDelay = Delay.milliseconds(100)
    /// A node is not asked again sooner, and one that does not answer then. Guesses.
    static let askInterval = Delay.seconds(1)
    static let askPatience = Delay.seconds(5)

    init(room: [UInt8], roomKey: Key, here: NodeID) {
        self.room = room
        self.roomKey = roomKey
        add(here)
        rows[here]!.stage = .following
    }

    /// The memory that it takes, in bytes.
    var cost: Int {
        300 + room.count + entryBytes + pendingBytes + nodes.count * 160
            + watchers.places.count * 32
    }

    /// The same for all members, while they are counted alone.
    var costOfAll: Int {
        let (bytes, isTooMuch) = sum.multipliedReportingOverflow(by: memberCost)
        return isTooMuch ? Int.max / 2 : bytes
    }

    /// Members of the mesh, as far as they are known.
    var count: Int { isCounting ? sum : places.count }

    /// All nodes have told what they have.
    private(set) var isSettled = false
    /// When something is due for a row; nil: nothing is.
    private var nextOfRows: Instant?

    var hasStorm: Bool { pending.count > Self.pendingMax || pendingBytes > Self.pendingBytesMax }

    private var state: State {
        State(
            count: count, isCounting: isCounting, isSettled: isSettled,
            hasPending: !pending.isEmpty, hasStorm: hasStorm)
    }

    // MARK: Time

    /// When something is due; nil: nothing is.
    func next(at now: Instant) -> Instant? {
        guard let due = watchers.next(state, at: now) else { return nextOfRows }
        return min(nextOfRows ?? due, due)
    }

    /// Begins to tell the watchers what there is to be told now.
    mutating func beginPass(at now: Instant) {
        guard watchers.begin(state, calm: &changeCount, at: now) || watchers.isStormy else {
            return
        }
        if watchers.isStormy {
            notesChanges = false
            forgetPending()
        }
        guard watchers.pass != nil, watchers.pass!.left == watchers.places.count else { return }
        if watchers.pass!.tellsAll, watchers.fullCount > 0 {
            forEach { watchers.pass!.members.append($0) }
            notesChanges = true
        }
        if watchers.pass!.tellsChanges {
            for change in pending {
                if let shown = self[change.id] {
                    watchers.pass!.joined.append(shown)
                } else if change.wasThere {
                    watchers.pass!.gone.append(change)
                }
            }
            forgetPending()
        }
    }

    // MARK: Rows

    private mutating func add(_ node: NodeID) {
        rows[node] = Row(stage: .waiting(until: Instant(nanoseconds: 0)))
        let place = nodes.firstIndex { node < $0 } ?? nodes.count
        nodes.insert(node, at: place)
    }

    /// These other nodes have members by the directory.
    mutating func found(_ holders: [NodeID], here: NodeID, at now: Instant) {
        isFound = true
        for node in holders where node != here {
            if rows[node] == nil { add(node) }
            guard let end = rows[node]!.end, end.reason == .quit else { continue }
            // It was without members for a moment.
            rows[node]!.end = nil
            setWaiting(node, at: now)
        }
        let present = Set(holders)
        for node in nodes where node != here && !present.contains(node) {
            if rows[node]!.end == nil {
                rows[node]!.end = (now + Self.removalDelay, .quit)
            }
        }
        noteStages()
    }

    /// A node is dead, or has left.
    ///
    /// - Returns: whether it had a row.
    mutating func lose(_ node: NodeID, at now: Instant) -> Bool {
        guard rows[node] != nil else { return false }
        rows[node]!.end = (now, .node)
        noteStages()
        return true
    }

    /// Takes out the rows whose nodes are gone.
    ///
    /// - Returns: whether there were some.
    mutating func removeEnded(at now: Instant) -> Bool {
        let countBefore = nodes.count
        for node in nodes {
            guard let end = rows[node]!.end, end.at <= now else { continue }
            removeEntries(of: node, end.reason) { _ in true }
            setCount(0, isCounted: false, of: node)
            rows[node] = nil
            nodes.removeAll { $0 == node }
        }
        guard nodes.count < countBefore else { return false }
        noteStages()
        return true
    }

    /// A node is asked for all of its members, as soon as it may be.
    mutating func askAgain(_ node: NodeID, at now: Instant, after delay: Delay = .zero) {
        setWaiting(node, at: now, after: delay)
        noteStages()
    }

    private mutating func setWaiting(
        _ node: NodeID, at now: Instant, after delay: Delay = .zero
    ) {
        guard let row = rows[node] else { return }
        let earliest = row.askedAt.map { $0 + Self.askInterval } ?? now
        rows[node]!.stage = .waiting(until: max(earliest, now + delay))
    }

    /// A question to a node was not taken.
    mutating func questionLost(_ node: NodeID, at now: Instant) {
        switch rows[node]?.stage {
        case .asked, .paging: askAgain(node, at: now, after: Self.askInterval)
        case .waiting, .following, nil: break
        }
    }

    /// The nodes that are to be asked now.
    func unasked(at now: Instant) -> [NodeID] {
        nodes.filter {
            switch rows[$0]!.stage {
            case .waiting(let until), .asked(_, let until), .paging(_, let until): until <= now
            case .following: false
            }
        }
    }

    /// The question for a node, from its first member on or behind those that have come. Call `noteStages`
    /// afterwards.
    mutating func ask(
        _ node: NodeID, number: UInt32, behind place: MemberPlace? = nil, at now: Instant
    ) -> RosterQuestion {
        let until = now + Self.askPatience
        if place == nil {
            rows[node]!.stage = .asked(number, until: until)
            rows[node]!.askedAt = now
        } else {
            rows[node]!.stage = .paging(number, until: until)
        }
        return RosterQuestion(
            number: number, limit: isCounting ? 0 : RosterMessage.pageMax, after: place)
    }

    /// To be called after the stages of rows have changed: each change of a member asks for what it finds.
    mutating func noteStages() {
        nextOfRows = nil
        isSettled = isFound
        for node in nodes {
            let row = rows[node]!
            if let end = row.end { nextOfRows = min(nextOfRows ?? end.at, end.at) }
            switch row.stage {
            case .waiting(let until), .asked(_, let until), .paging(_, let until):
                nextOfRows = min(nextOfRows ?? until, until)
                isSettled = false
            case .following: break
            }
        }
    }

    private mutating func setCount(_ count: Int, isCounted: Bool, of node: NodeID) {
        guard let row = rows[node] else { return }
        sum += count - row.count
        countedRows += (isCounted ? 1 : 0) - (row.isCounted ? 1 : 0)
        if count != row.count { changeCount += 1 }
        rows[node]!.count = count
        rows[node]!.isCounted = isCounted
    }

    // MARK: What nodes tell

    /// - Returns: false: something is missing before it.
    mutating func apply(
        _ header: RosterHeader, _ changes: [RosterChange], of node: NodeID
    ) -> Bool {
        guard let row = rows[node] else { return true }
        switch row.stage {
        // The page that is to come knows of it.
        case .waiting, .asked: return true
        case .paging, .following: break
        }
        guard header.epoch == row.epoch else { return false }
        let ahead = Int32(bitPattern: header.version &- row.version)
        if ahead <= 0 { return true }
        let isCounted = header.flags.contains(.counted)
        guard ahead == 1, isCounted || !row.isCounted else { return false }
        rows[node]!.version = header.version
        setCount(header.count, isCounted: isCounted, of: node)
        for change in changes { apply(change, of: node) }
        return true
    }

    /// A part of the answer to a question.
    ///
    /// - Returns: false: it does not fit to what came before. Nil for `place`: it was the last one, or nobody
    ///   awaits it.
    mutating func take(
        _ number: UInt32, _ header: RosterHeader, _ changes: [RosterChange], from node: NodeID
    ) -> (fits: Bool, place: MemberPlace?) {
        guard let row = rows[node] else { return (true, nil) }
        switch row.stage {
        case .asked(number, _):
            rows[node]!.epoch = header.epoch
            rows[node]!.version = header.version
            rows[node]!.generation &+= 1
            rows[node]!.place = nil
        case .paging(number, _):
            guard header.epoch == row.epoch, header.version == row.version else {
                return (false, nil)
            }
        default: return (true, nil)
        }
        if let first = changes.first, let last = row.place, rows[node]!.place != nil,
            !(last < MemberPlace(user: first.user, id: first.id))
        {
            return (false, nil)
        }
        setCount(header.count, isCounted: header.flags.contains(.counted), of: node)
        for change in changes { apply(change, of: node) }
        if header.flags.contains(.continues), !isCounting, let last = changes.last {
            let place = MemberPlace(user: last.user, id: last.id)
            rows[node]!.place = place
            return (true, place)
        }
        rows[node]!.stage = .following
        noteStages()
        let generation = rows[node]!.generation
        removeEntries(of: node, .quit) { $0 != generation }
        return (true, nil)
    }

    /// This node's own members, which are known at once.
    mutating func applyHere(_ change: RosterChange, count: Int, isCounted: Bool, _ here: NodeID) {
        setCount(count, isCounted: isCounted, of: here)
        apply(change, of: here)
    }

    mutating func setHere(count: Int, isCounted: Bool, _ here: NodeID) {
        setCount(count, isCounted: isCounted, of: here)
    }

    func isCountedHere(_ here: NodeID) -> Bool { rows[here]?.isCounted ?? false }

    // MARK: Entries

    private mutating func apply(_ change: RosterChange, of node: NodeID) {
        changeCount += 1
        if isCounting { return }
        guard let reason = change.reason else {
            set(change, of: node)
            return
        }
        var previous: Int32 = -1
        var slot = places[change.id] ?? -1
        while slot >= 0, entries[Int(slot)]!.node != node {
            previous = slot
            slot = entries[Int(slot)]!.next
        }
        if slot >= 0 { remove(slot, after: previous, reason) }
    }

    private mutating func set(_ change: RosterChange, of node: NodeID) {
        let generation = rows[node]!.generation
        let head = places[change.id] ?? -1
        var slot = head
        while slot >= 0, entries[Int(slot)]!.node != node { slot = entries[Int(slot)]!.next }
        let entry = Entry(
            id: change.id, user: change.user, metadata: change.metadata, node: node,
            generation: generation, next: slot >= 0 ? entries[Int(slot)]!.next : head)
        guard slot >= 0 else {
            note(
                change.id, head >= 0 ? entries[Int(head)]!.user : change.user, wasThere: head >= 0,
                size: change.size)
            let new = free.popLast() ?? Int32(entries.count)
            if Int(new) == entries.count { entries.append(nil) }
            entries[Int(new)] = entry
            places[change.id] = new
            entryBytes += entry.cost
            return
        }
        let former = entries[Int(slot)]!
        if slot == head, former.user != change.user || former.metadata != change.metadata {
            note(change.id, former.user, wasThere: true, size: change.size)
        }
        entryBytes += entry.cost - former.cost
        entries[Int(slot)] = entry
    }

    private mutating func remove(_ slot: Int32, after previous: Int32, _ reason: RosterReason) {
        let gone = entries[Int(slot)]!
        entries[Int(slot)] = nil
        free.append(slot)
        entryBytes -= gone.cost
        guard previous < 0 else {
            entries[Int(previous)]!.next = gone.next
            return
        }
        places[gone.id] = gone.next >= 0 ? gone.next : nil
        note(gone.id, gone.user, wasThere: true, reason, size: 0)
    }

    private mutating func removeEntries(
        of node: NodeID, _ reason: RosterReason, where isOld: (UInt32) -> Bool
    ) {
        for slot in entries.indices {
            guard let entry = entries[slot], entry.node == node, isOld(entry.generation) else {
                continue
            }
            apply(RosterChange(id: entry.id, reason: reason), of: node)
        }
    }

    /// Calls `body` with all members, in no particular order.
    func forEach(_ body: (Shown) -> Void) {
        for slot in entries.indices {
            guard let entry = entries[slot], places[entry.id] == Int32(slot) else { continue }
            body(Shown(id: entry.id, user: entry.user, metadata: entry.metadata))
        }
    }

    /// The member as it is now; nil: it is not there.
    subscript(id: AttachmentID) -> Shown? {
        guard let slot = places[id], let entry = entries[Int(slot)] else { return nil }
        return Shown(id: id, user: entry.user, metadata: entry.metadata)
    }

    // MARK: Pending changes

    private mutating func note(
        _ id: AttachmentID, _ user: [UInt8], wasThere: Bool, _ reason: RosterReason = .quit,
        size: Int
    ) {
        // Beyond its bounds they are not told one by one.
        guard notesChanges, !hasStorm else { return }
        if let place = pendingPlaces[id] {
            pending[place].reason = reason
            return
        }
        pendingPlaces[id] = pending.count
        pending.append(Pending(id: id, user: user, wasThere: wasThere, reason: reason))
        pendingBytes += 48 + user.count + size
    }

    mutating func forgetPending() {
        pending.removeAll()
        pendingPlaces.removeAll()
        pendingBytes = 0
    }

    // MARK: Counting

    /// Decides whether members are counted alone.
    ///
    /// - Parameter isShort: there is no memory for them.
    /// - Returns: whether they are all to be told again, by this node too.
    mutating func reconsider(isShort: Bool, here: NodeID, at now: Instant) -> Bool {
        if !isCounting {
            guard isShort || countedRows > 0 || sum > Self.countMax || places.count > Self.countMax
            else { return false }
            if isShort, !places.isEmpty { memberCost = max(128, entryBytes / places.count) }
            isCounting = true
            notesChanges = false
            watchers.endEra()
            entries.removeAll()
            free.removeAll()
            places.removeAll()
            entryBytes = 0
            forgetPending()
            return false
        }
        guard !isShort, countedRows == 0, sum <= Self.countMax / 8 * 7 else { return false }
        isCounting = false
        watchers.beginWait(at: now)
        for node in nodes where node != here { setWaiting(node, at: now) }
        noteStages()
        return true
    }
}
