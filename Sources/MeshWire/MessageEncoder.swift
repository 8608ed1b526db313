extension ByteQueue {
    /// Appends `message`, its number first.
    public mutating func append(_ message: Message) {
        switch message {
        case .hello(let greeting):
            append(Message.Number.hello.rawValue)
            append(greeting)
        case .welcome(let greeting):
            append(Message.Number.welcome.rawValue)
            append(greeting)
        case .refuse(let reason, let holder, let incarnation):
            append(Message.Number.refuse.rawValue)
            append(reason.rawValue)
            append(holder)
            append(integer: incarnation.rawValue)
        case .heartbeat(let heartbeat):
            append(Message.Number.heartbeat.rawValue)
            append(integer: heartbeat.digest)
            append(integer: heartbeat.sentAt)
            append(integer: heartbeat.echo)
            append(integer: heartbeat.echoDelay)
        case .members(let records, let isRepair):
            append(Message.Number.members.rawValue)
            append(isRepair ? 1 : 0)
            append(integer: UInt16(records.count))
            for record in records { append(record) }
        case .statuses(let changes):
            append(Message.Number.statuses.rawValue)
            append(integer: UInt16(changes.count))
            for change in changes { append(change) }
        case .linkLists(let lists):
            append(Message.Number.linkLists.rawValue)
            append(integer: UInt16(lists.count))
            for list in lists { append(list) }
        case .linkChanges(let changes):
            append(Message.Number.linkChanges.rawValue)
            append(integer: UInt16(changes.count))
            for change in changes { append(change) }
        case .linksWanted(let owners):
            append(Message.Number.linksWanted.rawValue)
            append(integer: UInt16(owners.count))
            for owner in owners { append(owner) }
        case .role(let role):
            append(Message.Number.role.rawValue)
            append(role.rawValue)
        case .bye:
            append(Message.Number.bye.rawValue)
        case .accuse(let subject, let incarnation, let evidence):
            append(Message.Number.accuse.rawValue)
            append(subject)
            append(integer: incarnation.rawValue)
            append(evidence.rawValue)
        case .vouch(let subject, let incarnation):
            append(Message.Number.vouch.rawValue)
            append(subject)
            append(integer: incarnation.rawValue)
        case .indirectProbe(let subject, let incarnation):
            append(Message.Number.indirectProbe.rawValue)
            append(subject)
            append(integer: incarnation.rawValue)
        case .records(let records):
            append(Message.Number.records.rawValue)
            append(records)
        case .digests(let digests):
            append(Message.Number.digests.rawValue)
            append(integer: UInt16(digests.count))
            for digest in digests { append(integer: digest) }
        case .origins(let entries, let mask, let isReply):
            append(Message.Number.origins.rawValue)
            append(isReply ? 1 : 0)
            append(integer: mask)
            append(integer: UInt16(entries.count))
            for entry in entries {
                append(entry.member)
                append(integer: entry.sequence)
                append(integer: entry.keyCount)
                append(integer: entry.keySum)
            }
        case .logSummaries(let summaries, let mask):
            append(Message.Number.logSummaries.rawValue)
            append(integer: mask)
            append(integer: UInt16(summaries.count))
            for summary in summaries {
                append(integer: summary.prefix)
                append(integer: summary.membership)
                append(integer: summary.sequence)
                append(integer: summary.sum)
            }
        case .repair(let requests):
            append(Message.Number.repair.rawValue)
            append(integer: UInt16(requests.count))
            for request in requests {
                append(request.origin)
                append(integer: request.life)
                append(integer: request.after)
                append(integer: request.fromPosition)
                append(request.wantsSnapshot ? 1 : 0)
            }
        case .snapshot(let part):
            append(Message.Number.snapshot.rawValue)
            append(part)
        case .cannotRepair(let origin):
            append(Message.Number.cannotRepair.rawValue)
            append(origin)
        case .recordsKnown(let origin, let life, let sequence):
            append(Message.Number.recordsKnown.rawValue)
            append(origin)
            append(integer: life)
            append(integer: sequence)
        case .compare(let number, let digests):
            append(Message.Number.compare.rawValue)
            append(integer: number)
            append(integer: UInt16(digests.count))
            for digest in digests { append(integer: digest) }
        case .compared(let number, let isBehind):
            append(Message.Number.compared.rawValue)
            append(integer: number)
            append(isBehind ? 1 : 0)
        case .coordinates(let items):
            append(Message.Number.coordinates.rawValue)
            append(integer: UInt16(items.count))
            for item in items {
                append(item.id)
                append(integer: item.coordinate.x)
                append(integer: item.coordinate.y)
                append(integer: item.coordinate.z)
                append(integer: item.coordinate.height)
                append(item.coordinate.error)
            }
        case .acknowledge(let acknowledgement):
            append(Message.Number.acknowledge.rawValue)
            append(acknowledgement)
        case .wrongName(let key, let name, let sequence):
            append(Message.Number.wrongName.rawValue)
            append(integer: key.rawValue)
            append(integer: name)
            append(integer: sequence)
        case .skip(let through):
            append(Message.Number.skip.rawValue)
            append(integer: through)
        case .nobody(let numbers, let sequence):
            append(Message.Number.nobody.rawValue)
            append(integer: sequence)
            append(integer: UInt16(numbers.count))
            for number in numbers { append(integer: number) }
        case .takenBack(let range, let last):
            append(Message.Number.takenBack.rawValue)
            append(integer: range.first)
            append(integer: range.last)
            append(integer: last)
        case .unsupported(let what):
            append(Message.Number.unsupported.rawValue)
            append(integer: what.sequence)
            append(what.body)
            append(what.flags.rawValue)
        case .query, .answer, .traceAnswer:
            preconditionFailure("written by append(query…), which is given the bytes")
        }
    }

    /// The eight bytes of an acknowledgement, in a message of its own or carried by another.
    @inlinable @inline(__always)
    public mutating func append(_ acknowledgement: Acknowledgement) {
        append(
            integer: UInt64(acknowledgement.cumulative) | UInt64(acknowledgement.missing) << 32)
    }

    /// Appends a query; its subject lies in `bytes`.
    public mutating func append(
        query: UInt32, isTrace: Bool, subject: Slice, _ bytes: Span<UInt8>
    ) {
        append(Message.Number.query.rawValue)
        append(integer: query)
        append(isTrace ? 1 : 0)
        append(bytes, Int(subject.start), Int(subject.count))
    }

    /// Appends an answer, or the path of a trace.
    public mutating func append(
        answer query: UInt32, isTrace: Bool, _ answer: Slice, _ bytes: Span<UInt8>
    ) {
        append(isTrace ? Message.Number.traceAnswer.rawValue : Message.Number.answer.rawValue)
        append(integer: query)
        append(bytes, Int(answer.start), Int(answer.count))
    }

    /// Begins a `.link` frame with a `.members` message of news, or a `.statuses` message, for so many
    /// records or changes, which the caller appends. Returns where it begins.
    public mutating func beginMembersFrame(_ recordCount: Int, areStatuses: Bool) -> Int {
        let start = count
        appendPrefix(length: 0, .link, [], hopsLeft: 0, body: 0)
        if areStatuses {
            append(Message.Number.statuses.rawValue)
        } else {
            append(Message.Number.members.rawValue)
            append(0)
        }
        append(integer: UInt16(recordCount))
        return start
    }

    /// Appends what a `.statuses` message says of one member.
    public mutating func append(_ change: StatusChange) {
        append(change.id)
        append(integer: change.incarnation)
        append(change.status.rawValue)
    }

    /// Ends the frame that began at `start`, and returns where it stands.
    public mutating func endFrame(_ start: Int) -> Slice {
        overwrite(integer: UInt32(truncatingIfNeeded: count - start), at: start)
        return Slice(start: start, count: count - start)
    }

    private mutating func append(_ greeting: Greeting) {
        append(integer: greeting.versionMin)
        append(integer: greeting.versionMax)
        append(integer: greeting.features)
        append(shortText: greeting.cluster)
        append(integer: greeting.clusterID)
        append(greeting.purpose.rawValue)
        append(greeting.stratum)
        append(greeting.member)
    }

    /// Appends what a `.members` message says of one member.
    public mutating func append(_ record: MemberRecord) {
        append(record.id)
        append(integer: record.incarnation.rawValue)
        append(record.status.rawValue)
        append(record.endpoint)
        append(shortText: record.name)
        append(shortText: record.zone)
        append(record.capabilities)
    }

    private mutating func append(_ list: LinkList) {
        append(list.owner)
        append(integer: list.incarnation.rawValue)
        append(integer: list.version)
        append(list.hopsLeft)
        append(integer: UInt16(list.links.count))
        for link in list.links { append(link) }
    }

    private mutating func append(_ change: LinkListChange) {
        append(change.owner)
        append(integer: change.version)
        append(change.hopsLeft)
        append(integer: change.check)
        append(UInt8(change.removed.count))
        append(UInt8(change.added.count))
        for prefix in change.removed { append(integer: prefix) }
        for link in change.added { append(link) }
    }

    private mutating func append(_ records: DirectoryRecords) {
        append(records.origin)
        append(integer: records.life)
        append(integer: records.firstSequence)
        append(records.isRepair ? 1 : 0)
        append(integer: UInt16(records.records.count))
        for record in records.records {
            append(record.operation.rawValue)
            append(key: record.key)
            if record.operation == .addPattern {
                append(integer: UInt16(record.text.count))
                append(record.text)
            }
        }
    }

    private mutating func append(key: Key) {
        append(integer: UInt32(truncatingIfNeeded: key.rawValue))
        append(integer: UInt16(truncatingIfNeeded: key.rawValue >> 32))
    }

    private mutating func append(_ part: SnapshotPart) {
        append(part.origin)
        append(integer: part.life)
        append(integer: part.sequence)
        append(integer: part.first)
        append(integer: part.last)
        append(part.endsAnswer ? 1 : 0)
        append(keys: part.keys[...], from: part.first)
        append(integer: UInt16(part.patterns.count))
        for pattern in part.patterns {
            append(integer: UInt16(pattern.count))
            append(pattern)
        }
    }
}
