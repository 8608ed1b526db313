import MeshWire

@testable import MeshCore

/// A line of a script cannot be carried out.
struct ScriptError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

extension Words {
    /// A message in the words in which it is told: `statuses(D suspect 3.0, E alive 4.1)`.
    ///
    /// - Parameters:
    ///   - speaker: who says it.
    ///   - listener: who hears it; sums and digests are said to be the same, or others than its own.
    func message(
        _ text: Substring, from speaker: MemberRecord, to listener: Actor
    ) throws(ScriptError) -> Message {
        let parts = text.split(separator: "(", maxSplits: 1)
        guard let kind = parts.first, parts.count == 1 || text.hasSuffix(")") else {
            throw ScriptError("no message: \(text)")
        }
        let inside = parts.count == 2 ? parts[1].dropLast() : ""
        let items = inside.split(separator: ",").map { $0.split(separator: " ") }
        switch kind {
        case "bye": return .bye
        case "members", "known":
            return .members(try items.map(record), isRepair: kind == "known")
        case "statuses": return .statuses(try items.map(record).map { StatusChange($0) })
        case "hello", "welcome", "refuse": return try handshake(kind, items, speaker)
        case "accuse", "vouch", "probe": return try doubt(kind, items[0])
        case "entries", "reply":
            var entries: [OriginEntry] = []
            for item in items { entries.append(try entry(item, listener)) }
            return .origins(
                entries, mask: kind == "entries" ? .max : 0, isReply: kind == "reply")
        case "summaries":
            var summaries: [LogSummary] = []
            for item in items { summaries.append(try summary(item, listener)) }
            return .logSummaries(summaries, mask: .max)
        case "heartbeat":
            let own = listener.node.members.digest
            return .heartbeat(
                Heartbeat(
                    digest: inside == "same" ? own : ~own, sentAt: 1, echo: 0, echoDelay: 0))
        case "digests":
            // `digests(other D)`: all are the listener's but that of the part in which D is.
            var told = listener.node.members.digests
            for name in items[0].dropFirst() {
                told[MemberTable.part(of: try known(name).id)] ^= 1
            }
            return .digests(told)
        case "lists": return .linkLists(try items.map(list))
        case "repair":
            return .repair(
                try items.map { item throws(ScriptError) in
                    let member = try known(item[0])
                    return RepairRequest(
                        origin: member.id, life: member.incarnation.life,
                        after: UInt64(item[2]) ?? 0)
                })
        case "cannot-repair": return .cannotRepair(try known(items[0][0]).id)
        default: throw ScriptError("no message: \(text)")
        }
    }

    private func known(_ name: Substring) throws(ScriptError) -> MemberRecord {
        guard let record = record(String(name)) else { throw ScriptError("who is \(name)?") }
        return record
    }

    private func incarnation(_ text: Substring) throws(ScriptError) -> Incarnation {
        let parts = text.split(separator: ".").compactMap { UInt64($0) }
        guard parts.count == 2 else { throw ScriptError("no incarnation: \(text)") }
        return Self.incarnation(parts[0], parts[1])
    }

    /// `D suspect 3.0`
    private func record(_ item: [Substring]) throws(ScriptError) -> MemberRecord {
        guard item.count >= 3 else { throw ScriptError("no record: \(item)") }
        var record = try known(item[0])
        switch item[1] {
        case "alive": record.status = .alive
        case "suspect": record.status = .suspect
        case "dead": record.status = .dead
        case "left": record.status = .left
        default: throw ScriptError("no status: \(item[1])")
        }
        record.incarnation = try incarnation(item[2])
        return record
    }

    /// `D alive 3.0 log 5`, `D alive 3.0 log 5 other`
    private func entry(_ item: [Substring], _ listener: Actor) throws(ScriptError) -> OriginEntry {
        let record = try record(item)
        let sum = listener.keySum(of: record.id)
        return OriginEntry(
            member: record, sequence: item.count >= 5 ? UInt64(item[4]) ?? 0 : 0, keyCount: 0,
            keySum: item.last == "other" ? ~sum : sum)
    }

    /// The same in short.
    private func summary(_ item: [Substring], _ listener: Actor) throws(ScriptError) -> LogSummary {
        let entry = try entry(item, listener)
        let id = entry.member.id.rawValue
        let life = RandomSource.mix(entry.member.incarnation.rawValue)
        return LogSummary(
            prefix: UInt32(id >> 32),
            membership: UInt16(truncatingIfNeeded: RandomSource.mix(id ^ life)),
            sequence: UInt32(entry.sequence),
            sum: UInt16(truncatingIfNeeded: RandomSource.mix(entry.keySum)))
    }

    /// `B v1: A C D`
    private func list(_ item: [Substring]) throws(ScriptError) -> LinkList {
        let owner = try known(item[0])
        var links: [NodeID] = []
        for name in item.dropFirst(2) { links.append(try known(name).id) }
        return LinkList(
            owner: owner.id, incarnation: owner.incarnation,
            version: UInt32(item[1].dropFirst().dropLast()) ?? 1, hopsLeft: 1, links: links)
    }

    /// `hello(neighbour, B alive 1.0)`, `refuse(dead, knows 1.0)`
    private func handshake(
        _ kind: Substring, _ items: [[Substring]], _ speaker: MemberRecord
    ) throws(ScriptError) -> Message {
        if kind == "refuse" {
            guard let reason = RefusalReason.allCases.first(where: { "\($0)" == items[0][0] })
            else { throw ScriptError("no reason: \(items[0][0])") }
            let known = items.count > 1 ? try incarnation(items[1][1]) : Incarnation(0)
            return .refuse(reason, holder: NodeID(0), known)
        }
        let purpose: Greeting.Purpose =
            switch items[0][0] {
            case "introduce": .introduce
            case "probe": .probe
            default: .neighbour
            }
        let greeting = greeting(purpose, items.count > 1 ? try record(items[1]) : speaker)
        return kind == "hello" ? .hello(greeting) : .welcome(greeting)
    }

    func greeting(_ purpose: Greeting.Purpose, _ record: MemberRecord) -> Greeting {
        Greeting(
            cluster: "smallworld",
            clusterID: KeyHasher(cluster: "transcript").key(.room, Array("smallworld".utf8))
                .rawValue, purpose: purpose, stratum: 0, member: record)
    }

    /// `accuse(D 3.0 silence)`, `vouch(D 3.0)`, `probe(D 3.0)`
    private func doubt(_ kind: Substring, _ item: [Substring]) throws(ScriptError) -> Message {
        let subject = try known(item[0])
        let claim = try incarnation(item[1])
        if kind == "vouch" { return .vouch(subject: subject.id, claim) }
        if kind == "probe" { return .indirectProbe(subject: subject.id, claim) }
        return .accuse(subject: subject.id, claim, item[2] == "refused" ? .refused : .silence)
    }

    // MARK: Frames

    /// The frame in which a message goes from a part that is played to a node.
    func frame(_ message: Message, from origin: NodeID, to target: NodeID) -> [UInt8] {
        var queue = ByteQueue()
        if message.scope == .mesh {
            queue.appendRoutedHeader(
                length: 0, [], hopsLeft: 3, body: RoutedBody.control.rawValue, origin: origin,
                key: Key(0), destinationCount: 1, number: 0, nameLength: 0, hopsTaken: 0)
            queue.append(Destination(id: target, sequence: 0, potential: .max))
            queue.append(message)
            queue.overwrite(integer: UInt32(queue.count), at: 0)
        } else {
            _ = queue.appendLinkFrame(message)
        }
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    /// The frame that tells all nodes up to `end` of changes in a log.
    func frame(_ records: DirectoryRecords, end: NodeID) -> [UInt8] {
        var body = ByteQueue()
        body.append(Message.records(records))
        var queue = ByteQueue()
        queue.appendArcHeader(
            length: Frame.arcHeaderSize + body.count, hopsLeft: Frame.hopLimit,
            origin: records.origin, end: end)
        body.withSpan { queue.append($0, 0, $0.count) }
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }
}
