import MeshWire

/// Each node is the only writer of its own entries: a log of changes, spread live and repaired from
/// any neighbour (<doc:Directory>).
extension Node {
    // MARK: This node's own changes

    mutating func changeDirectory(
        _ key: Key, _ change: DirectoryChange, _ effects: inout EffectBuffer
    ) {
        let operation: DirectoryRecord.Operation
        switch change {
        case .add: operation = .addKey
        case .remove: operation = .removeKey
        case .lose: operation = .loseKey
        case .kick: operation = .kickKey
        }
        record(DirectoryRecord(operation, key), &effects)
    }

    mutating func changePattern(
        _ key: Key, _ text: [UInt8], _ change: DirectoryChange, _ effects: inout EffectBuffer
    ) {
        switch change {
        case .add: record(DirectoryRecord(.addPattern, key, text: text), &effects)
        case .remove, .lose, .kick:
            // Others take out all that this node has of the key.
            let twins = directory.patterns.texts(key, of: 0).filter { $0 != text }
            record(DirectoryRecord(.removePattern, key), &effects)
            for twin in twins { record(DirectoryRecord(.addPattern, key, text: twin), &effects) }
        }
    }

    private mutating func record(_ record: DirectoryRecord, _ effects: inout EffectBuffer) {
        let sequence = members[.oneself].log.sequence + 1
        apply(record, sequence: sequence, origin: .oneself, &effects)
        if directory.unsent.isEmpty {
            timers.schedule(.records, at: max(now, directory.unsentAfter))
        }
        directory.unsent.append(record)
        if directory.unsent.count >= DirectoryRecords.countMax { spreadRecords(&effects) }
    }

    /// Spreads what has gathered; the next changes then gather until all have these, or for
    /// `Timing.batch`.
    mutating func spreadRecords(_ effects: inout EffectBuffer) {
        guard !directory.unsent.isEmpty else { return }
        timers[.records] = nil
        directory.unsentAfter = now + configuration.timing.batch
        directory.pacedUntil = max(directory.pacedUntil, now) + Self.broadcastPace
        let first = members[.oneself].log.sequence - UInt64(directory.unsent.count) + 1
        let records = DirectoryRecords(
            origin: id, life: incarnation.life, firstSequence: first, isRepair: false,
            records: directory.unsent)
        directory.unsent.removeAll(keepingCapacity: true)
        let arcs = spread(.records(records), &effects)
        awaitKnown(records, over: arcs, &effects)
    }

    // MARK: Applying

    /// Enters one change of `origin` into the table, the sums and the recent records.
    private mutating func apply(
        _ record: DirectoryRecord, sequence: UInt64, origin: MemberIndex,
        _ effects: inout EffectBuffer
    ) {
        let change: (count: Int, sum: UInt64)
        if !directory.collisions.isEmpty {
            directory.collisions.forget(record.key, at: members.id(of: origin))
        }
        switch record.operation {
        case .addKey: change = add(record.key, of: origin, &effects)
        case .removeKey: change = remove(record.key, of: origin, .quit, &effects)
        case .loseKey: change = remove(record.key, of: origin, .lost, &effects)
        case .kickKey: change = remove(record.key, of: origin, .kicked, &effects)
        case .addPattern:
            change = add(pattern: record.text, record.key, of: origin)
        case .removePattern:
            let removed = directory.patterns.remove(record.key, node: origin.node)
            change = (-removed, 0 &- UInt64(removed) &* Self.weight(record.key))
        case .unknown:
            // It has its place in the log, and is passed on to whoever asks for what this node has.
            counters[.unknownRecords] &+= 1
            change = (0, 0)
        }
        members.updateLog(origin) {
            $0.sequence = sequence
            $0.target = max($0.target, sequence)
            $0.keyCount = UInt32(Int($0.keyCount) + change.count)
            $0.keySum &+= change.sum
        }
        gossip.changedAt = now
        directory.recent.append(record, origin: members.id(of: origin), sequence: sequence)
    }

    /// A key's share of its origin's sum.
    private static func weight(_ key: Key) -> UInt64 { RandomSource.mix(key.rawValue) }

    private mutating func add(
        _ key: Key, of origin: MemberIndex, _ effects: inout EffectBuffer
    ) -> (count: Int, sum: UInt64) {
        switch directory.table.insert(key, node: origin.node) {
        case .present: return (0, 0)
        case .first: arrived(key, &effects)
        case .another:
            // Perhaps only those held it who are gone and still in the table.
            if !directory.withdrawals.isEmpty { arrived(key, &effects) }
        }
        if directory.watched.follows(key) { effects.append(.holders(key)) }
        return (1, Self.weight(key))
    }

    private mutating func remove(
        _ key: Key, of origin: MemberIndex, _ absence: Absence, _ effects: inout EffectBuffer
    ) -> (count: Int, sum: UInt64) {
        switch directory.table.remove(key, node: origin.node) {
        case .absent: return (0, 0)
        case .last: departed(key, absence, &effects)
        case .one: break
        }
        if directory.watched.follows(key) { effects.append(.holders(key)) }
        return (-1, 0 &- Self.weight(key))
    }

    private mutating func add(
        pattern text: [UInt8], _ key: Key, of origin: MemberIndex
    ) -> (count: Int, sum: UInt64) {
        switch directory.patterns.insert(text, node: origin.node) {
        case .added: return (1, Self.weight(key))
        case .present: return (0, 0)
        case .refused:
            // Its own clients get an error before it comes to this.
            counters[.protocolErrors] &+= 1
            return (0, 0)
        }
    }

    /// Checks that another node tells each pattern under the key that this node computes for it, so
    /// that no pattern stands under the key of another.
    ///
    /// - Throws: `.invalidValue` for a pattern under another key. It costs the link that it came over:
    ///   no node of this protocol passes such records on.
    func checkPatterns(_ records: [DirectoryRecord]) throws(WireError) {
        for record in records where record.operation == .addPattern {
            guard record.key == hasher.key(.pattern, record.text) else {
                throw .invalidValue(field: "key of a pattern")
            }
        }
    }

    /// Changes of another origin: live, or in answer to a repair.
    mutating func applyRecords(
        _ received: DirectoryRecords, from link: LinkIndex, isLive: Bool,
        _ effects: inout EffectBuffer
    ) {
        guard let origin = members.index(of: received.origin), origin != .oneself,
            members.status(of: origin).isPresent,
            members[origin].incarnation.life == received.life
        else { return }
        members.adjust(origin) { $0.log.target = max($0.log.target, received.last) }
        let log = members[origin].log
        if log.snapshotSequence != nil || isWithdrawn(origin) { return }
        if !isLive { links[link].repairedAt = now }
        guard received.firstSequence <= log.sequence + 1 else {
            if let request = repairRequest(origin, over: link) {
                requestRepairs([request], over: link, &effects)
            } else if isAskedInVain(log) {
                // A node that brings later ones lives.
                requestRepairs([request(origin, over: link)], over: link, &effects)
            }
            return
        }
        var sequence = received.firstSequence
        for record in received.records {
            if sequence > members[origin].log.sequence {
                apply(record, sequence: sequence, origin: origin, &effects)
                if isLive {
                    counters[.recordsLive] &+= 1
                } else {
                    counters[.recordsRepaired] &+= 1
                }
            } else {
                counters[.recordsDuplicate] &+= 1
            }
            sequence += 1
        }
        noteEntered(of: origin, &effects)
        finishRepair(origin, &effects)
    }

    // MARK: Asking for repair

    /// The request that completes a member's log; nil when it is under way or nothing lacks.
    mutating func repairRequest(_ index: MemberIndex, over link: LinkIndex) -> RepairRequest? {
        let log = members[index].log
        guard !log.isComplete, !isWithdrawn(index), log.repairDue.map({ $0 <= now }) ?? true
        else { return nil }
        return request(index, over: link)
    }

    /// The neighbour who was asked for what lacks of this log has sent nothing for a while.
    private func isAskedInVain(_ log: OriginLog) -> Bool {
        guard let due = log.repairDue else { return false }
        if log.repairLink.isNone { return true }
        let asked = due - Self.repairPatience
        return now - max(asked, links[log.repairLink].repairedAt) >= .milliseconds(50)
    }

    /// The same, whatever is under way: from the sequence, or the part of a set, that came last.
    private mutating func request(_ index: MemberIndex, over link: LinkIndex) -> RepairRequest {
        let log = members[index].log
        let due = now + Self.repairPatience
        members.adjust(index) {
            $0.log.repairDue = due
            $0.log.repairLink = link
        }
        timers.schedule(.repair, at: due)
        let position = log.snapshotSequence == nil ? nil : directory.arriving[index]?.position
        return RepairRequest(
            origin: members[index].id, life: members[index].incarnation.life,
            after: log.snapshotSequence ?? log.sequence, fromPosition: position ?? 0,
            wantsSnapshot: position != nil)
    }

    /// An answer, or the next part of one, is waited for this long. A guess, not yet measured.
    static var repairPatience: Delay { .milliseconds(500) }

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
        for (offset, helper) in usable.enumerated() {
            let share = requests.enumerated().filter { $0.offset % usable.count == offset }
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
        for entry in members.ring where entry.index != .oneself {
            let log = members[entry.index].log
            guard let due = log.repairDue else { continue }
            if log.isComplete {
                members.adjust(entry.index) { $0.log.repairDue = nil }
                continue
            }
            if isWithdrawn(entry.index) { continue }
            // A neighbour that is sending other origins' records will come to this one's, but not
            // for ever.
            var expected = due
            if !log.repairLink.isNone, links[log.repairLink].isUsable {
                let heard = links[log.repairLink].repairedAt + Self.repairPatience
                expected = min(max(due, heard), due + Self.repairPatience * 20)
            }
            if expected > now {
                next = min(next ?? expected, expected)
                continue
            }
            guard !usable.isEmpty else { continue }
            members.adjust(entry.index) { $0.log.repairDue = nil }
            let other = linkToAsk(entry.index, among: usable, not: log.repairLink)
            if let request = repairRequest(entry.index, over: other) {
                requests[other, default: []].append(request)
                let again = now + Self.repairPatience
                next = min(next ?? again, again)
            }
        }
        for link in usable {
            if let list = requests[link] { send(.repair(list), over: link, &effects) }
        }
        if let next { timers.schedule(.repair, at: next) }
    }

    /// The link to this member, if it is a neighbour and not the one that failed; or any of these.
    mutating func linkToAsk(
        _ index: MemberIndex?, among usable: [LinkIndex], not failed: LinkIndex = .none
    ) -> LinkIndex {
        let direct = index.map { members[$0].link } ?? .none
        return !direct.isNone && links[direct].isUsable && direct != failed
            ? direct : usable[random.next(below: usable.count)]
    }

    /// The neighbour asked has not got it either.
    mutating func repairFailed(
        _ origin: NodeID, on link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: origin), members[index].log.repairDue != nil,
            members[index].log.repairLink == link
        else { return }
        // It may have fallen behind what an interrupted set began with: begin again.
        let due = now + .milliseconds(50)
        members.adjust(index) {
            $0.log.repairDue = due
            $0.log.repairLink = .none
            $0.log.snapshotSequence = nil
        }
        directory.arriving[index] = nil
        timers.schedule(.repair, at: due)
    }

    private mutating func finishRepair(_ index: MemberIndex, _ effects: inout EffectBuffer) {
        if members[index].log.isComplete {
            if members[index].log.repairDue != nil {
                members.adjust(index) { $0.log.repairDue = nil }
            }
            checkReady(&effects)
            checkCaughtUp(&effects)
        }
    }

    // MARK: Serving repair

    /// Answers what is in the ring of recent changes, and whole sets in bounded parts: of all that
    /// one message asks for, about `answerKeyCountMax` keys, found in `Configuration.bucketsPerStep`
    /// buckets of the table. The rest is sent when it is asked for.
    mutating func serveRepairs(
        _ requests: [RepairRequest], on link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        var wanted: [WantedSet] = []
        // An origin that one message asks for twice is sent once.
        var isWanted = [Bool](repeating: false, count: members.slotCount)
        for request in requests {
            if let index = members.index(of: request.origin), isWanted[index.slot] { continue }
            guard let index = members.index(of: request.origin),
                members.status(of: index).isPresent,
                members[index].incarnation.life == request.life,
                members[index].log.snapshotSequence == nil, !isWithdrawn(index),
                members[index].log.sequence > request.after
                    || request.wantsSnapshot && members[index].log.sequence == request.after
            else {
                send(.cannotRepair(request.origin), over: link, &effects)
                continue
            }
            let log = members[index].log
            if !request.wantsSnapshot,
                let entries = directory.recent.records(
                    of: request.origin, after: request.after, through: log.sequence),
                // A record costs seven bytes, a key of a whole set five.
                entries.count <= max(1_024, Int(log.keyCount) / 2)
            {
                isWanted[index.slot] = true
                sendRecords(entries, of: index, request, over: link, &effects)
            } else {
                isWanted[index.slot] = true
                wanted.append(
                    WantedSet(
                        index: index,
                        position: min(request.fromPosition, SnapshotPart.lastPosition)))
            }
        }
        sendSets(wanted, over: link, &effects)
    }

    /// An origin's set that a neighbour asks for, from a position on.
    private struct WantedSet {
        var index: MemberIndex
        var position: UInt64
    }

    /// About 250 KB, five bytes each: what a link of 100 Mbit/s takes in 20 ms.
    private static var answerKeyCountMax: Int { 50_000 }
    /// Patterns of one answer together, beyond those of the first origin.
    private static var answerPatternBytesMax: Int { 1 << 20 }
    /// Walks of the table for one answer. A neighbour that asks in the rhythm of the answers needs
    /// one: all its sets end at the same position.
    private static var answerWalkCountMax: Int { 16 }

    private mutating func sendRecords(
        _ entries: [RecentRecords.Entry], of index: MemberIndex, _ request: RepairRequest,
        over link: LinkIndex,
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
                guard let text = directory.patterns.texts(entry.key, of: index.node).first else {
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

    /// The next parts of these sets: one walk of the table for all that go on at the same position.
    private mutating func sendSets(
        _ wanted: [WantedSet], over link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard !wanted.isEmpty else { return }
        let groups = Dictionary(grouping: wanted) { $0.position }.sorted { $0.key < $1.key }
        let walkCount = min(groups.count, Self.answerWalkCountMax)
        var parts: [SnapshotPart] = []
        var patternBytes = 0
        for (walk, (position, group)) in groups.enumerated() {
            if walk >= walkCount {
                for item in group {
                    send(.cannotRepair(members.id(of: item.index)), over: link, &effects)
                }
                continue
            }
            let found = directory.table.keys(
                of: group.map { $0.index.node }, from: position,
                bucketCountMax: max(1, configuration.bucketsPerStep / walkCount),
                keyCountMax: Self.answerKeyCountMax / walkCount)
            for (offset, item) in group.enumerated() {
                let texts = position == 0 ? directory.patterns.texts(of: item.index.node) : []
                let size = texts.reduce(0) { $0 + $1.count }
                if patternBytes > 0, patternBytes + size > Self.answerPatternBytesMax {
                    send(.cannotRepair(members.id(of: item.index)), over: link, &effects)
                    continue
                }
                patternBytes += size
                if position == 0 { counters[.snapshotsSent] &+= 1 }
                appendParts(
                    of: item.index, found.lists[offset], from: position, through: found.last,
                    texts, to: &parts)
            }
        }
        guard !parts.isEmpty else { return }
        parts[parts.count - 1].endsAnswer = true
        for part in parts { send(.snapshot(part), over: link, &effects) }
    }

    private func appendParts(
        of index: MemberIndex, _ keys: [Key], from position: UInt64, through last: UInt64,
        _ texts: [[UInt8]], to parts: inout [SnapshotPart]
    ) {
        let member = members[index]
        var first = position
        while true {
            let part = KeySet.part(of: keys, from: first, through: last)
            parts.append(
                SnapshotPart(
                    origin: member.id, life: member.incarnation.life,
                    sequence: member.log.sequence, first: first, last: part.last,
                    endsAnswer: false, keys: Array(keys[part.indices]),
                    patterns: first == 0 ? texts : []))
            guard part.continues else { return }
            first = part.last + 1
        }
    }

    // MARK: Receiving a whole set

    mutating func applySnapshot(
        _ part: SnapshotPart, from link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        links[link].repairedAt = now
        if let origin = members.index(of: part.origin), origin != .oneself,
            members.status(of: origin).isPresent, !isWithdrawn(origin),
            members[origin].incarnation.life == part.life,
            members[origin].log.repairLink == link || members[origin].log.repairDue == nil
        {
            enter(part, of: origin, from: link, &effects)
        }
        if part.endsAnswer { askOn(link, &effects) }
    }

    private mutating func enter(
        _ part: SnapshotPart, of origin: MemberIndex, from link: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        let log = members[origin].log
        let begun = log.snapshotSequence == nil ? nil : directory.arriving[origin]
        guard part.first == begun?.position ?? 0,
            part.sequence >= log.snapshotSequence ?? log.sequence
        else { return }
        if begun == nil {
            counters[.snapshotsReceived] &+= 1
            replacePatterns(of: origin, with: part.patterns)
        }
        let hadKeys = begun?.hadKeys ?? (log.keyCount > 0)
        replaceKeys(of: origin, with: part, hadKeys: hadKeys, &effects)
        // Parts may differ in sequence. What came after the first one's is entered once more, which
        // changes nothing that is there.
        let sequence = log.snapshotSequence ?? part.sequence
        let due = now + Self.repairPatience
        members.updateLog(origin) {
            $0.target = max($0.target, part.sequence)
            $0.repairLink = link
            if part.continues {
                $0.snapshotSequence = sequence
                $0.repairDue = due
            } else {
                $0.snapshotSequence = nil
                $0.sequence = sequence
                $0.repairDue = nil
            }
        }
        gossip.changedAt = now
        if part.continues {
            directory.arriving[origin] = Directory.ArrivingSet(
                position: part.last + 1, hadKeys: hadKeys)
            timers.schedule(.repair, at: due)
            return
        }
        directory.arriving[origin] = nil
        // Changes that were made while the set was on its way.
        if let request = repairRequest(origin, over: link) {
            requestRepairs([request], over: link, &effects)
        }
        noteEntered(of: origin, &effects)
        finishRepair(origin, &effects)
    }

    /// A neighbour has sent all that it was asked for: asks it for what follows.
    private mutating func askOn(_ link: LinkIndex, _ effects: inout EffectBuffer) {
        guard !directory.arriving.isEmpty, links[link].state == .established else { return }
        var requests: [RepairRequest] = []
        for entry in members.ring where directory.arriving[entry.index] != nil {
            if members[entry.index].log.repairLink == link {
                requests.append(request(entry.index, over: link))
            }
        }
        if !requests.isEmpty { send(.repair(requests), over: link, &effects) }
    }

    private mutating func replacePatterns(of origin: MemberIndex, with texts: [[UInt8]]) {
        var change: (count: Int, sum: UInt64) = (0, 0)
        for text in directory.patterns.texts(of: origin.node) {
            change.count -= 1
            change.sum &-= Self.weight(hasher.key(.pattern, text))
        }
        directory.patterns.removeAll(of: origin.node)
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
        if hadKeys {
            // Strike what the part's range does not have any more; both lists are sorted.
            let former = directory.table.keys(
                of: [origin.node], from: part.first, through: part.last
            ).lists[0]
            var offset = 0
            for key in former {
                while offset < part.keys.count, part.keys[offset].position < key.position {
                    offset += 1
                }
                if offset < part.keys.count, part.keys[offset] == key { continue }
                // A set does not tell why something is not in it.
                let removed = remove(key, of: origin, .quit, &effects)
                change.count += removed.count
                change.sum &+= removed.sum
            }
        }
        for key in part.keys {
            let added = add(key, of: origin, &effects)
            change.count += added.count
            change.sum &+= added.sum
        }
        counters[.recordsRepaired] &+= UInt64(part.keys.count)
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
