import MeshWire

/// Members that are gone, or begin a new life, while their entries are still in the table.
///
/// Taking a member's entries out means walking the whole table: 130 ms at ten million keys, in which
/// nobody would hear a heartbeat. So the walk is made in steps of `Configuration.bucketsPerStep`,
/// one walk for all members that are to be withdrawn, round and round (`Key.position`); one that
/// comes late is done when the walk is back where it came. Until then lookups pass over the
/// entries, and nothing is entered for the member: a log that lives on is repaired afterwards.
struct Withdrawals {
    private struct Item {
        var index: MemberIndex
        /// Where the walk stood when the member came in.
        var start: UInt64
        /// The walk has been at the end since.
        var hasWrapped = false
    }
    private var items: [Item] = []
    /// By member index, for the scan of the table.
    private(set) var marks: [Bool] = []
    private(set) var position: UInt64 = 0
    /// A member has come in since the last step.
    private(set) var isFresh = false

    @inline(__always) var isEmpty: Bool { items.isEmpty }

    @inline(__always)
    func contains(_ index: MemberIndex) -> Bool {
        !items.isEmpty && index.slot < marks.count && marks[index.slot]
    }

    mutating func begin(_ index: MemberIndex) {
        while marks.count <= index.slot { marks.append(false) }
        // Nothing has been entered for it since it came in: the walk need not begin again.
        if marks[index.slot] { return }
        marks[index.slot] = true
        items.append(Item(index: index, start: position))
        isFresh = true
    }

    /// A step has come to `last`. Returns the members whose walk is over.
    mutating func advance(to last: UInt64) -> [MemberIndex] {
        isFresh = false
        let isEnd = last == SnapshotPart.lastPosition
        var done: [MemberIndex] = []
        var offset = 0
        while offset < items.count {
            let item = items[offset]
            let isDone =
                isEnd && (item.start == 0 || item.hasWrapped)
                || item.hasWrapped && last >= item.start - 1
            if isDone {
                done.append(item.index)
                marks[item.index.slot] = false
                items.remove(at: offset)
                continue
            }
            if isEnd { items[offset].hasWrapped = true }
            offset += 1
        }
        if items.isEmpty { marks = [] }
        position = isEnd || items.isEmpty ? 0 : last + 1
        return done
    }
}

extension Node {
    /// Everything a member held is gone, with the member or its former life; at once for lookups,
    /// in steps for the table.
    mutating func withdrawKeys(of index: MemberIndex, _ effects: inout EffectBuffer) {
        directory.patterns.removeAll(of: index.node)
        directory.collisions.forget(at: members.id(of: index))
        directory.arriving[index] = nil
        let hadKeys = members[index].log.sequence > 0 || members[index].log.keyCount > 0
        members.updateLog(index) { $0 = OriginLog() }
        if hadKeys { directory.withdrawals.begin(index) }
    }

    /// One step of the walk that takes out what withdrawn members held.
    mutating func stepWithdrawals(_ effects: inout EffectBuffer) {
        guard !directory.withdrawals.isEmpty else { return }
        var lost: [Key] = []
        var followed: [Key] = []
        let last = directory.table.removeAll(
            of: directory.withdrawals.marks, from: directory.withdrawals.position,
            bucketCountMax: configuration.bucketsPerStep
        ) { key, _, isLast in
            if isLast { lost.append(key) }
            if directory.watched.follows(key) { followed.append(key) }
        }
        for key in followed { effects.append(.holders(key)) }
        for key in lost {
            departed(key, .node, &effects)
            expectBack(key)
        }
        for index in directory.withdrawals.advance(to: last) {
            guard members.contains(index), members.status(of: index).isPresent,
                !members[index].log.isComplete
            else { continue }
            // It has begun a new life, or come back, and was told of meanwhile.
            members.updateLog(index) { $0.repairDue = now }
            timers.schedule(.repair, at: now)
        }
        if !directory.withdrawals.isEmpty { timers.schedule(.withdrawal, at: now) }
    }

    /// The member's entries are being taken out: to a lookup they are not there.
    @inline(__always)
    func isWithdrawn(_ index: MemberIndex) -> Bool {
        !directory.withdrawals.isEmpty && directory.withdrawals.contains(index)
    }
}
