import MeshWire

/// Each node is the only writer of its own entries: a log of changes, spread live and repaired from
/// any neighbour (DESIGN §4).
extension Node {
    // MARK: This node's own changes

    mutating func changeDirectory(
        _ key: Key, _ change: DirectoryChange, _ effects: inout EffectBuffer
    ) {
        record(DirectoryRecord(change == .add ? .addKey : .removeKey, key), &effects)
    }

    mutating func changePattern(
        _ key: Key, _ text: [UInt8], _ change: DirectoryChange, _ effects: inout EffectBuffer
    ) {
        switch change {
        case .add: record(DirectoryRecord(.addPattern, key, text: text), &effects)
        case .remove: record(DirectoryRecord(.removePattern, key), &effects)
        }
    }

    private mutating func record(_ record: DirectoryRecord, _ effects: inout EffectBuffer) {
        let sequence = members[0].log.sequence + 1
        apply(record, sequence: sequence, origin: 0, &effects)
        if unsent.isEmpty { timers.schedule(.records, at: max(now, unsentAfter)) }
        unsent.append(record)
        if unsent.count >= DirectoryRecords.countMax { spreadRecords(&effects) }
    }

    /// Spreads what has gathered; the next changes then gather for `Timing.batch`.
    mutating func spreadRecords(_ effects: inout EffectBuffer) {
        guard !unsent.isEmpty else { return }
        timers[.records] = nil
        unsentAfter = now + configuration.timing.batch
        let first = members[0].log.sequence - UInt64(unsent.count) + 1
        let records = DirectoryRecords(
            origin: id, life: incarnation.life, firstSequence: first, isRepair: false,
            records: unsent)
        unsent.removeAll(keepingCapacity: true)
        spread(.records(records), &effects)
    }

    // MARK: Applying

    /// Enters one change of `origin` into the table, the sums and the recent records.
    private mutating func apply(
        _ record: DirectoryRecord, sequence: UInt64, origin: MemberIndex,
        _ effects: inout EffectBuffer
    ) {
        let change: (count: Int, sum: UInt64)
        switch record.operation {
        case .addKey: change = add(record.key, of: origin, &effects)
        case .removeKey: change = remove(record.key, of: origin, &effects)
        case .addPattern:
            change = add(pattern: record.text, record.key, of: origin)
        case .removePattern:
            let wasHeld = patterns.remove(record.key, node: UInt16(origin))
            change = wasHeld ? (-1, 0 &- Self.weight(record.key)) : (0, 0)
        }
        members.updateLog(origin) {
            $0.sequence = sequence
            $0.target = max($0.target, sequence)
            $0.keyCount = UInt32(Int($0.keyCount) + change.count)
            $0.keySum &+= change.sum
        }
        changedAt = now
        recent.append(record, origin: members.id(of: origin), sequence: sequence)
    }

    /// A key's share of its origin's sum.
    private static func weight(_ key: Key) -> UInt64 { RandomSource.mix(key.rawValue) }

    private mutating func add(
        _ key: Key, of origin: MemberIndex, _ effects: inout EffectBuffer
    ) -> (count: Int, sum: UInt64) {
        switch directory.insert(key, node: UInt16(origin)) {
        case .present: return (0, 0)
        case .first: arrived(key, &effects)
        case .another: break
        }
        return (1, Self.weight(key))
    }

    private mutating func remove(
        _ key: Key, of origin: MemberIndex, _ effects: inout EffectBuffer
    ) -> (count: Int, sum: UInt64) {
        switch directory.remove(key, node: UInt16(origin)) {
        case .absent: return (0, 0)
        case .last: departed(key, &effects)
        case .one: break
        }
        return (-1, 0 &- Self.weight(key))
    }

    private mutating func add(
        pattern text: [UInt8], _ key: Key, of origin: MemberIndex
    ) -> (count: Int, sum: UInt64) {
        patterns.insert(text, key, node: UInt16(origin)) ? (1, Self.weight(key)) : (0, 0)
    }

    /// Everything a member held is gone, with the member or its former life.
    mutating func withdrawKeys(of index: MemberIndex, _ effects: inout EffectBuffer) {
        var lost: [Key] = []
        directory.removeAll(of: UInt16(index)) { key, isLast in
            if isLast { lost.append(key) }
        }
        for key in lost {
            departed(key, &effects)
            expectBack(key)
        }
        patterns.removeAll(of: UInt16(index))
        formerKeys[index] = nil
        members.updateLog(index) { $0 = OriginLog() }
    }

    /// Changes of another origin: live, or in answer to a repair.
    mutating func applyRecords(
        _ received: DirectoryRecords, from link: LinkIndex, isLive: Bool,
        _ effects: inout EffectBuffer
    ) {
        guard let origin = members.index(of: received.origin), origin != 0,
            members.standing(of: origin).isPresent,
            members[origin].incarnation.life == received.life
        else { return }
        let last = received.firstSequence + UInt64(received.records.count) - 1
        members.adjust(origin) { $0.log.target = max($0.log.target, last) }
        let log = members[origin].log
        if log.snapshotSequence != nil { return }
        guard received.firstSequence <= log.sequence + 1 else {
            if let request = repairRequest(origin, over: link) {
                requestRepairs([request], over: link, &effects)
            }
            return
        }
        var sequence = received.firstSequence
        for record in received.records {
            if sequence > members[origin].log.sequence {
                apply(record, sequence: sequence, origin: origin, &effects)
                if isLive {
                    counters.recordsLive &+= 1
                } else {
                    counters.recordsRepaired &+= 1
                }
            } else {
                counters.recordsDuplicate &+= 1
            }
            sequence += 1
        }
        finishRepair(origin, &effects)
    }

    // MARK: Asking for repair

    /// What to ask for to complete a member's log; nil when that is under way or nothing lacks.
    mutating func repairRequest(_ index: MemberIndex, over link: LinkIndex) -> RepairRequest? {
        let log = members[index].log
        guard log.sequence < log.target, log.repairDue.map({ $0 <= now }) ?? true else {
            return nil
        }
        let due = now + .milliseconds(500)
        members.adjust(index) {
            $0.log.repairDue = due
            $0.log.repairLink = link
        }
        timers.schedule(.repair, at: due)
        return RepairRequest(
            origin: members[index].id, life: members[index].incarnation.life,
            after: log.sequence)
    }

    /// Sends requests, spread over the neighbours so that a joining node gets the table in shares.
    mutating func requestRepairs(
        _ requests: [RepairRequest], over link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard !requests.isEmpty, links[link].state == .established else { return }
        let usable = links.established.filter { links[$0].isUsable }
        if isReady || usable.count < 2 || requests.count < 2 {
            send(.repair(requests), over: link, &effects)
            return
        }
        for (place, helper) in usable.enumerated() {
            let share = requests.enumerated().filter { $0.offset % usable.count == place }
                .map { $0.element }
            if share.isEmpty { continue }
            for request in share {
                if let index = members.index(of: request.origin) {
                    members.adjust(index) { $0.log.repairLink = helper }
                }
            }
            send(.repair(share), over: helper, &effects)
        }
    }

    /// Repairs that have not come in time are asked of another neighbour.
    mutating func repeatRepairs(_ effects: inout EffectBuffer) {
        var next: Instant?
        var requests: [LinkIndex: [RepairRequest]] = [:]
        let usable = links.established.filter { links[$0].isUsable }
        for entry in members.ring where entry.index != 0 {
            let log = members[entry.index].log
            guard let due = log.repairDue else { continue }
            if log.isComplete {
                members.adjust(entry.index) { $0.log.repairDue = nil }
                continue
            }
            if due > now {
                next = min(next ?? due, due)
                continue
            }
            guard !usable.isEmpty else { continue }
            members.adjust(entry.index) {
                $0.log.snapshotSequence = nil
                $0.log.repairDue = nil
            }
            // The origin itself, if it is a neighbour and was not the one that failed.
            let direct = members[entry.index].link
            let other =
                direct >= 0 && links[direct].isUsable && direct != log.repairLink
                ? direct : usable[random.next(below: usable.count)]
            if let request = repairRequest(entry.index, over: other) {
                requests[other, default: []].append(request)
                let again = now + .milliseconds(500)
                next = min(next ?? again, again)
            }
        }
        for link in usable {
            if let list = requests[link] { send(.repair(list), over: link, &effects) }
        }
        if let next { timers.schedule(.repair, at: next) }
    }

    /// The neighbour asked has not got it either.
    mutating func repairFailed(
        _ origin: NodeID, on link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: origin), members[index].log.repairDue != nil,
            members[index].log.repairLink == link
        else { return }
        let due = now + .milliseconds(50)
        members.adjust(index) { $0.log.repairDue = due }
        timers.schedule(.repair, at: due)
    }

    private mutating func finishRepair(_ index: MemberIndex, _ effects: inout EffectBuffer) {
        if members[index].log.isComplete {
            if members[index].log.repairDue != nil {
                members.adjust(index) { $0.log.repairDue = nil }
            }
            checkReady(&effects)
        }
    }

    // MARK: Serving repair

    mutating func serveRepairs(
        _ requests: [RepairRequest], on link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        var snapshots: [(index: MemberIndex, request: RepairRequest)] = []
        for request in requests {
            guard let index = members.index(of: request.origin),
                members.standing(of: index).isPresent,
                members[index].incarnation.life == request.life,
                members[index].log.snapshotSequence == nil,
                members[index].log.sequence > request.after || request.wantsSnapshot
            else {
                send(.cannotRepair(request.origin), over: link, &effects)
                continue
            }
            let log = members[index].log
            if !request.wantsSnapshot,
                let entries = recent.records(
                    of: request.origin, after: request.after, through: log.sequence),
                // A record costs seven bytes, a key of a whole set five.
                entries.count <= max(1_024, Int(log.keyCount) / 2)
            {
                sendRecords(entries, request, over: link, &effects)
            } else if !snapshots.contains(where: { $0.index == index }) {
                snapshots.append((index, request))
            }
        }
        sendSnapshots(snapshots, over: link, &effects)
    }

    private mutating func sendRecords(
        _ entries: [RecentRecords.Entry], _ request: RepairRequest, over link: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        var start = 0
        while start < entries.count {
            let end = min(start + DirectoryRecords.countMax, entries.count)
            let records = entries[start..<end].map { entry -> DirectoryRecord in
                guard entry.operation == .addPattern else {
                    return DirectoryRecord(entry.operation, entry.key)
                }
                // A pattern that has gone since is removed by a later record of the same repair.
                guard let text = patterns.text(entry.key) else {
                    return DirectoryRecord(.removePattern, entry.key)
                }
                return DirectoryRecord(.addPattern, entry.key, text: text)
            }
            send(
                .records(
                    DirectoryRecords(
                        origin: request.origin, life: request.life,
                        firstSequence: entries[start].sequence, isRepair: true,
                        records: records)), over: link, &effects)
            start = end
        }
    }

    /// Whole sets, all of them found in one scan of the table.
    private mutating func sendSnapshots(
        _ wanted: [(index: MemberIndex, request: RepairRequest)], over link: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        guard !wanted.isEmpty else { return }
        let sets = directory.keys(of: wanted.map { UInt16($0.index) })
        for (place, item) in wanted.enumerated() {
            counters.snapshotsSent &+= 1
            let keys = sets[place]
            let texts = patterns.texts(of: UInt16(item.index))
            let member = members[item.index]
            var firstKey: UInt64 = 0
            while true {
                let part = KeySet.part(of: keys, from: firstKey)
                send(
                    .snapshot(
                        SnapshotPart(
                            origin: member.id, life: member.incarnation.life,
                            sequence: member.log.sequence, firstKey: firstKey,
                            lastKey: part.lastKey, continues: part.continues,
                            keys: Array(keys[part.indices]),
                            patterns: firstKey == 0 ? texts : [])), over: link, &effects)
                guard part.continues else { break }
                firstKey = part.lastKey + 1
            }
        }
    }

    // MARK: Receiving a whole set

    mutating func applySnapshot(
        _ part: SnapshotPart, from link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard let origin = members.index(of: part.origin), origin != 0,
            members.standing(of: origin).isPresent,
            members[origin].incarnation.life == part.life,
            members[origin].log.repairLink == link || members[origin].log.repairDue == nil
        else { return }
        let log = members[origin].log
        if part.firstKey == 0 {
            guard part.sequence >= log.sequence else { return }
            counters.snapshotsReceived &+= 1
            replacePatterns(of: origin, with: part.patterns)
        } else {
            guard log.snapshotSequence == part.sequence else { return }
        }
        replaceKeys(of: origin, with: part, hadKeys: log.keyCount > 0, &effects)
        let due = now + .milliseconds(500)
        members.updateLog(origin) {
            $0.target = max($0.target, part.sequence)
            if part.continues {
                $0.snapshotSequence = part.sequence
                $0.repairDue = due
            } else {
                $0.snapshotSequence = nil
                $0.sequence = part.sequence
                $0.repairDue = nil
            }
        }
        if part.continues {
            timers.schedule(.repair, at: due)
            return
        }
        // What changed while the set was on its way.
        if let request = repairRequest(origin, over: link) {
            requestRepairs([request], over: link, &effects)
        }
        finishRepair(origin, &effects)
    }

    private mutating func replacePatterns(of origin: MemberIndex, with texts: [[UInt8]]) {
        var change: (count: Int, sum: UInt64) = (0, 0)
        for text in patterns.texts(of: UInt16(origin)) {
            change.count -= 1
            change.sum &-= Self.weight(hasher.key(.pattern, text))
        }
        patterns.removeAll(of: UInt16(origin))
        for text in texts {
            let added = add(pattern: text, hasher.key(.pattern, text), of: origin)
            change.count += added.count
            change.sum &+= added.sum
        }
        changeSums(of: origin, change)
    }

    private mutating func replaceKeys(
        of origin: MemberIndex, with part: SnapshotPart, hadKeys: Bool,
        _ effects: inout EffectBuffer
    ) {
        var change: (count: Int, sum: UInt64) = (0, 0)
        if part.firstKey == 0 {
            // One scan of the table for all the parts.
            formerKeys[origin] = hadKeys ? directory.keys(of: [UInt16(origin)])[0] : []
        }
        // Strike what the part's range does not have any more; both lists are sorted.
        var place = 0
        for key in formerKeys[origin] ?? []
        where key.rawValue >= part.firstKey && key.rawValue <= part.lastKey {
            while place < part.keys.count, part.keys[place] < key { place += 1 }
            if place < part.keys.count, part.keys[place] == key { continue }
            let removed = remove(key, of: origin, &effects)
            change.count += removed.count
            change.sum &+= removed.sum
        }
        if !part.continues { formerKeys[origin] = nil }
        for key in part.keys {
            let added = add(key, of: origin, &effects)
            change.count += added.count
            change.sum &+= added.sum
        }
        counters.recordsRepaired &+= UInt64(part.keys.count)
        changeSums(of: origin, change)
    }

    private mutating func changeSums(
        of origin: MemberIndex, _ change: (count: Int, sum: UInt64)
    ) {
        members.updateLog(origin) {
            $0.keyCount = UInt32(Int($0.keyCount) + change.count)
            $0.keySum &+= change.sum
        }
    }
}
