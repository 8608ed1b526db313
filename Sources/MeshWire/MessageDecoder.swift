extension Message {
    /// Decodes the message in `bytes[start ..< end]`, all of it.
    ///
    /// Slices of the result point into `bytes`. Lists are bounded by what is really there before
    /// anything is allocated for them.
    public static func decode(
        _ bytes: Span<UInt8>, from start: Int, to end: Int
    ) throws(WireError) -> Message {
        var reader = ByteReader(bytes, from: start, to: end)
        let raw = try reader.byte(bytes)
        guard let number = Number(rawValue: raw) else { throw .unknownMessage(raw) }
        let message = try decode(number, &reader, bytes)
        try reader.finish()
        return message
    }

    private static func decode(
        _ number: Number, _ reader: inout ByteReader, _ bytes: Span<UInt8>
    ) throws(WireError) -> Message {
        switch number {
        case .hello: return .hello(try reader.greeting(bytes))
        case .welcome: return .welcome(try reader.greeting(bytes))
        case .refuse:
            guard let reason = RefusalReason(rawValue: try reader.byte(bytes)) else {
                throw .invalidValue(field: "refusal reason")
            }
            let holder = try reader.id(bytes)
            return .refuse(reason, holder: holder, try reader.incarnation(bytes))
        case .heartbeat:
            return .heartbeat(
                Heartbeat(
                    digest: try reader.integer(UInt64.self, bytes),
                    sentAt: try reader.integer(UInt32.self, bytes),
                    echo: try reader.integer(UInt32.self, bytes),
                    echoDelay: try reader.integer(UInt32.self, bytes)))
        case .members:
            let isRepair = try reader.flag(bytes)
            let count = try reader.count(
                least: MemberRecord.sizeMin, max: Message.memberCountMax, bytes)
            var records: [MemberRecord] = []
            records.reserveCapacity(count)
            for _ in 0..<count { records.append(try reader.member(bytes)) }
            return .members(records, isRepair: isRepair)
        case .statuses:
            let count = try reader.count(least: 13, max: Message.memberCountMax, bytes)
            var changes: [StatusChange] = []
            for _ in 0..<count { changes.append(try reader.statusChange(bytes)) }
            return .statuses(changes)
        case .linkLists:
            let count = try reader.count(least: 23, max: Message.linkListCountMax, bytes)
            var lists: [LinkList] = []
            lists.reserveCapacity(count)
            for _ in 0..<count { lists.append(try reader.linkList(bytes)) }
            return .linkLists(lists)
        case .linkChanges:
            let count = try reader.count(least: 19, max: Message.linkListCountMax, bytes)
            var changes: [LinkListChange] = []
            for _ in 0..<count { changes.append(try reader.linkListChange(bytes)) }
            return .linkChanges(changes)
        case .linksWanted:
            let count = try reader.count(least: 8, max: Message.linkListCountMax, bytes)
            var owners: [NodeID] = []
            for _ in 0..<count { owners.append(try reader.id(bytes)) }
            return .linksWanted(owners)
        case .role: return .role(LinkRole(rawValue: try reader.byte(bytes)))
        case .bye: return .bye
        case .accuse:
            let subject = try reader.id(bytes)
            let incarnation = try reader.incarnation(bytes)
            guard let evidence = Evidence(rawValue: try reader.byte(bytes)) else {
                throw .invalidValue(field: "evidence")
            }
            return .accuse(subject: subject, incarnation, evidence)
        case .vouch:
            return .vouch(subject: try reader.id(bytes), try reader.incarnation(bytes))
        case .indirectProbe:
            return .indirectProbe(
                subject: try reader.id(bytes), try reader.incarnation(bytes))
        case .records: return .records(try reader.directoryRecords(bytes))
        case .digests: return .digests(try reader.digests(bytes))
        case .compare:
            return .compare(
                number: try reader.integer(UInt32.self, bytes), try reader.digests(bytes))
        case .compared:
            return .compared(
                number: try reader.integer(UInt32.self, bytes), isBehind: try reader.flag(bytes))
        case .origins:
            let isReply = try reader.flag(bytes)
            let mask = try reader.integer(UInt64.self, bytes)
            let count = try reader.count(
                least: MemberRecord.sizeMin + 20, max: Message.memberCountMax, bytes)
            var entries: [OriginEntry] = []
            for _ in 0..<count {
                entries.append(
                    OriginEntry(
                        member: try reader.member(bytes),
                        sequence: try reader.sequence(bytes),
                        keyCount: try reader.integer(UInt32.self, bytes),
                        keySum: try reader.integer(UInt64.self, bytes)))
            }
            return .origins(entries, mask: mask, isReply: isReply)
        case .logSummaries:
            let mask = try reader.integer(UInt64.self, bytes)
            let count = try reader.count(least: 12, max: Message.memberCountMax, bytes)
            var summaries: [LogSummary] = []
            for _ in 0..<count {
                summaries.append(
                    LogSummary(
                        prefix: try reader.integer(UInt32.self, bytes),
                        membership: try reader.integer(UInt16.self, bytes),
                        sequence: try reader.integer(UInt32.self, bytes),
                        sum: try reader.integer(UInt16.self, bytes)))
            }
            return .logSummaries(summaries, mask: mask)
        case .repair:
            let count = try reader.count(least: 33, max: Message.memberCountMax, bytes)
            var requests: [RepairRequest] = []
            for _ in 0..<count {
                requests.append(
                    RepairRequest(
                        origin: try reader.id(bytes),
                        life: try reader.life(bytes),
                        after: try reader.sequence(bytes),
                        fromPosition: try reader.position(bytes),
                        wantsSnapshot: try reader.flag(bytes)))
            }
            return .repair(requests)
        case .snapshot: return .snapshot(try reader.snapshotPart(bytes))
        case .cannotRepair: return .cannotRepair(try reader.id(bytes))
        case .recordsKnown:
            return .recordsKnown(
                origin: try reader.id(bytes), life: try reader.life(bytes),
                sequence: try reader.sequence(bytes))
        case .query:
            let query = try reader.integer(UInt32.self, bytes)
            let isTrace = try reader.flag(bytes)
            return .query(query, isTrace: isTrace, subject: try reader.rest())
        case .answer:
            return .answer(try reader.integer(UInt32.self, bytes), try reader.rest())
        case .traceAnswer:
            return .traceAnswer(try reader.integer(UInt32.self, bytes), path: try reader.rest())
        case .coordinates:
            let count = try reader.count(least: 17, max: MemberCoordinate.countMax, bytes)
            var items: [MemberCoordinate] = []
            for _ in 0..<count { items.append(try reader.coordinate(bytes)) }
            return .coordinates(items)
        case .acknowledge:
            return .acknowledge(
                Acknowledgement(
                    cumulative: try reader.integer(UInt32.self, bytes),
                    missing: try reader.integer(UInt32.self, bytes)))
        case .wrongName:
            let key = try reader.integer(UInt64.self, bytes)
            guard key >> 48 == 0 else { throw .invalidValue(field: "key") }
            return .wrongName(
                Key(key), name: try reader.integer(UInt64.self, bytes),
                sequence: try reader.sequence(bytes))
        case .skip: return .skip(through: try reader.integer(UInt32.self, bytes))
        case .nobody:
            let sequence = try reader.sequence(bytes)
            return .nobody(try reader.ascendingNumbers(bytes), sequence: sequence)
        case .takenBack:
            let range = FlowRange(
                first: try reader.integer(UInt32.self, bytes),
                last: try reader.integer(UInt32.self, bytes))
            guard range.last &- range.first < 1 << 31 else {
                throw .invalidValue(field: "range of numbers")
            }
            return .takenBack(range, last: try reader.integer(UInt32.self, bytes))
        case .unsupported:
            return .unsupported(
                Unsupported(
                    sequence: try reader.integer(UInt32.self, bytes),
                    body: try reader.byte(bytes),
                    flags: FrameFlags(rawValue: try reader.byte(bytes))))
        }
    }
}

extension ByteReader {
    mutating func incarnation(_ bytes: Span<UInt8>) throws(WireError) -> Incarnation {
        let incarnation = Incarnation(try integer(UInt64.self, bytes))
        guard incarnation.life <= Incarnation.lifeMax else {
            throw .invalidValue(field: "incarnation")
        }
        return incarnation
    }

    mutating func flag(_ bytes: Span<UInt8>) throws(WireError) -> Bool {
        let value = try byte(bytes)
        guard value <= 1 else { throw .invalidValue(field: "flag") }
        return value == 1
    }

    mutating func rest() throws(WireError) -> Slice {
        try slice(remaining)
    }

    /// Numbers of a flow, modulo 2^32, each behind the one before it; at least one.
    mutating func ascendingNumbers(_ bytes: Span<UInt8>) throws(WireError) -> [UInt32] {
        let count = try count(least: 4, max: Message.returnedCountMax, bytes)
        var numbers: [UInt32] = []
        for _ in 0..<count {
            let number = try integer(UInt32.self, bytes)
            if let last = numbers.last, Int32(bitPattern: number &- last) <= 0 {
                throw .invalidValue(field: "order of numbers")
            }
            numbers.append(number)
        }
        guard !numbers.isEmpty else { throw .invalidValue(field: "count of numbers") }
        return numbers
    }

    mutating func key(_ bytes: Span<UInt8>) throws(WireError) -> Key {
        let low = UInt64(try integer(UInt32.self, bytes))
        return Key(UInt64(try integer(UInt16.self, bytes)) << 32 | low)
    }

    mutating func pattern(_ bytes: Span<UInt8>) throws(WireError) -> [UInt8] {
        let count = Int(try integer(UInt16.self, bytes))
        guard count <= Frame.patternLengthMax else { throw .tooMany(count) }
        return bytes.array(try slice(count))
    }

    mutating func greeting(_ bytes: Span<UInt8>) throws(WireError) -> Greeting {
        let versionMin = try integer(UInt16.self, bytes)
        let versionMax = try integer(UInt16.self, bytes)
        guard versionMin <= versionMax else { throw .invalidValue(field: "version range") }
        // The rest of a greeting of another version is not known, not even its length.
        guard versionMin <= Greeting.currentVersion, versionMax >= Greeting.earliestVersion else {
            throw .otherVersion(min: versionMin, max: versionMax)
        }
        let features = try integer(UInt64.self, bytes)
        let cluster = try shortText(bytes)
        let clusterID = try integer(UInt64.self, bytes)
        guard let purpose = Greeting.Purpose(rawValue: try byte(bytes)) else {
            throw .invalidValue(field: "purpose")
        }
        let stratum = try byte(bytes)
        var greeting = Greeting(
            cluster: cluster, clusterID: clusterID, purpose: purpose, stratum: stratum,
            member: try member(bytes))
        greeting.versionMin = versionMin
        greeting.versionMax = versionMax
        greeting.features = features
        return greeting
    }

    mutating func member(_ bytes: Span<UInt8>) throws(WireError) -> MemberRecord {
        let id = try id(bytes)
        let incarnation = try incarnation(bytes)
        let status = try status(bytes)
        return MemberRecord(
            id: id, incarnation: incarnation, status: status, endpoint: try endpoint(bytes),
            name: try shortText(bytes), zone: try shortText(bytes),
            capabilities: try capabilities(bytes))
    }

    mutating func status(_ bytes: Span<UInt8>) throws(WireError) -> MemberStatus {
        guard let status = MemberStatus(rawValue: try byte(bytes)) else {
            throw .invalidValue(field: "status")
        }
        return status
    }

    mutating func statusChange(_ bytes: Span<UInt8>) throws(WireError) -> StatusChange {
        StatusChange(
            id: try id(bytes), incarnation: try integer(UInt32.self, bytes),
            status: try status(bytes))
    }

    mutating func coordinate(_ bytes: Span<UInt8>) throws(WireError) -> MemberCoordinate {
        let id = try id(bytes)
        let coordinate = Coordinate(
            x: try integer(Int16.self, bytes), y: try integer(Int16.self, bytes),
            z: try integer(Int16.self, bytes), height: try integer(UInt16.self, bytes),
            error: try byte(bytes))
        guard (1...100).contains(coordinate.error) else {
            throw .invalidValue(field: "error of a coordinate")
        }
        return MemberCoordinate(id: id, coordinate: coordinate)
    }

    mutating func linkList(_ bytes: Span<UInt8>) throws(WireError) -> LinkList {
        let owner = try id(bytes)
        let incarnation = try incarnation(bytes)
        let version = try integer(UInt32.self, bytes)
        let hopsLeft = try byte(bytes)
        guard hopsLeft <= 1 else { throw .invalidValue(field: "hops left of a link list") }
        let count = try count(least: 8, max: 256, bytes)
        var links: [NodeID] = []
        links.reserveCapacity(count)
        for _ in 0..<count { links.append(try id(bytes)) }
        return LinkList(
            owner: owner, incarnation: incarnation, version: version, hopsLeft: hopsLeft,
            links: links)
    }

    mutating func linkListChange(_ bytes: Span<UInt8>) throws(WireError) -> LinkListChange {
        let owner = try id(bytes)
        let version = try integer(UInt32.self, bytes)
        let hopsLeft = try byte(bytes)
        guard hopsLeft <= 1 else { throw .invalidValue(field: "hops left of a link list") }
        let check = try integer(UInt32.self, bytes)
        let removedCount = try byte(bytes)
        let addedCount = try byte(bytes)
        var removed: [UInt32] = []
        for _ in 0..<removedCount { removed.append(try integer(UInt32.self, bytes)) }
        var added: [NodeID] = []
        for _ in 0..<addedCount { added.append(try id(bytes)) }
        return LinkListChange(
            owner: owner, version: version, hopsLeft: hopsLeft, check: check, removed: removed,
            added: added)
    }

    mutating func digests(_ bytes: Span<UInt8>) throws(WireError) -> [UInt64] {
        let count = try count(least: 8, max: 64, bytes)
        var digests: [UInt64] = []
        for _ in 0..<count { digests.append(try integer(UInt64.self, bytes)) }
        return digests
    }

    mutating func directoryRecords(_ bytes: Span<UInt8>) throws(WireError) -> DirectoryRecords {
        let origin = try id(bytes)
        let life = try life(bytes)
        let firstSequence = try sequence(bytes)
        let isRepair = try flag(bytes)
        let count = try count(least: 7, max: DirectoryRecords.countMax, bytes)
        guard firstSequence >= 1,
            UInt64(count) <= DirectoryRecords.sequenceMax - firstSequence + 1
        else { throw .invalidValue(field: "sequence") }
        var records: [DirectoryRecord] = []
        records.reserveCapacity(count)
        for _ in 0..<count {
            let operation = DirectoryRecord.Operation(rawValue: try byte(bytes))
            let key = try key(bytes)
            records.append(
                DirectoryRecord(
                    operation, key, text: operation == .addPattern ? try pattern(bytes) : []))
        }
        return DirectoryRecords(
            origin: origin, life: life, firstSequence: firstSequence, isRepair: isRepair,
            records: records)
    }

    mutating func snapshotPart(_ bytes: Span<UInt8>) throws(WireError) -> SnapshotPart {
        let origin = try id(bytes)
        let life = try life(bytes)
        let sequence = try sequence(bytes)
        let first = try position(bytes)
        let last = try position(bytes)
        guard first <= last else { throw .invalidValue(field: "key range") }
        let endsAnswer = try flag(bytes)
        let keys = try keys(from: first, through: last, bytes)
        let patternCount = try count(least: 2, max: Frame.patternCountMax, bytes)
        var patterns: [[UInt8]] = []
        for _ in 0..<patternCount { patterns.append(try pattern(bytes)) }
        return SnapshotPart(
            origin: origin, life: life, sequence: sequence, first: first, last: last,
            endsAnswer: endsAnswer, keys: keys, patterns: patterns)
    }
}
