import Testing

@testable import MeshWire

private let ann = MemberRecord(
    id: NodeID(0xA11A), incarnation: Incarnation(bootMilliseconds: 77).next(), status: .suspect,
    endpoint: Endpoint(ipv4: 0x7F00_0001, port: 7400), name: "ann", zone: "north")
private let bob = MemberRecord(
    id: NodeID(.max), incarnation: Incarnation(3), status: .alive,
    endpoint: Endpoint(ipv6High: 0x2001_0DB8_0000_0000, low: 1, port: 1), name: "", zone: "ö")

private func draining(_ record: MemberRecord) -> MemberRecord {
    var changed = record
    changed.capabilities.features |= Capabilities.draining
    return changed
}

/// Every message that is written by `append(_: Message)`.
private let messages: [Message] = [
    .hello(
        Greeting(
            cluster: "c", clusterID: 9, purpose: .longRange, stratum: 5, member: ann)),
    .welcome(
        Greeting(
            cluster: "", clusterID: 0, purpose: .introduce, stratum: 0, member: bob)),
    .refuse(.stratumTaken, holder: NodeID(8), Incarnation(1)),
    .heartbeat(Heartbeat(digest: 1, sentAt: 2, echo: 3, echoDelay: 4)),
    .members([ann, bob], isRepair: true), .members([], isRepair: false),
    .members([draining(bob)], isRepair: false),
    .linkLists([
        LinkList(
            owner: NodeID(1), incarnation: Incarnation(2), version: 3, hopsLeft: 1,
            links: [NodeID(4), NodeID(5)])
    ]),
    .linkChanges([
        LinkListChange(
            owner: NodeID(1), version: 3, hopsLeft: 1, check: 9, removed: [4, .max],
            added: [NodeID(5)]),
        LinkListChange(
            owner: NodeID(.max), version: .max, hopsLeft: 0, check: 0, removed: [], added: []),
    ]),
    .linksWanted([NodeID(1), NodeID(.max)]),
    .statuses([StatusChange(ann), StatusChange(bob)]),
    .role([.successor, .longRange]), .bye,
    .accuse(subject: NodeID(1), Incarnation(2), .refused),
    .vouch(subject: NodeID(1), Incarnation(2)),
    .indirectProbe(subject: NodeID(1), Incarnation(2)),
    .records(
        DirectoryRecords(
            origin: NodeID(1), life: 2, firstSequence: 3, isRepair: false,
            records: [
                DirectoryRecord(.addKey, Key(5)), DirectoryRecord(.removeKey, Key(.max)),
                DirectoryRecord(.addPattern, Key(6), text: Array("a*".utf8)),
                DirectoryRecord(.removePattern, Key(6)),
            ])),
    .digests([UInt64](repeating: 7, count: 64)),
    .origins(
        [OriginEntry(member: ann, sequence: 1, keyCount: 2, keySum: 3)], mask: 0xF0, isReply: true),
    .logSummaries([LogSummary(prefix: 1, membership: 2, sequence: 3, sum: 4)], mask: 0xF0),
    .logSummaries([], mask: 0),
    .repair([
        RepairRequest(origin: NodeID(1), life: 2, after: 3, fromPosition: 4, wantsSnapshot: true)
    ]),
    .snapshot(
        SnapshotPart(
            origin: NodeID(1), life: 2, sequence: 3, first: 10, last: 1_000_000,
            endsAnswer: true, keys: [10, 11, 999_999].map { Key(position: $0) },
            patterns: [Array("x?".utf8), []])),
    .cannotRepair(NodeID(4)),
    .compare(number: 7, [UInt64](repeating: 3, count: 64)),
    .compared(number: 7, isBehind: true), .compared(number: 8, isBehind: false),
    .recordsKnown(origin: NodeID(4), life: 1_700_000_000_000, sequence: 1 << 40),
    .coordinates([
        MemberCoordinate(id: NodeID(1), coordinate: .origin),
        MemberCoordinate(
            id: NodeID(2),
            coordinate: Coordinate(x: -3, y: .max, z: .min, height: 7, error: 1)),
    ]),
    .acknowledge(Acknowledgement(cumulative: 7, missing: .max)), .skip(through: 0x0102_0304),
    .wrongName(Key(0xFFFF_0000_0001), name: .max, sequence: 9),
    .nobody([1], sequence: 0), .nobody([.max - 1, 0, 7], sequence: 1 << 61),
    .takenBack(FlowRange(first: .max - 1, last: 2), last: 3),
    .unsupported(Unsupported(sequence: .max, body: 255, flags: [.labelled, .volatile])),
]

@Suite struct MessageTests {
    private func encoded(_ message: Message) -> [UInt8] {
        var queue = ByteQueue()
        queue.append(message)
        return queue.withBytes { unsafe Array($0) }
    }

    @Test(arguments: messages)
    func `a message survives the wire`(message: Message) throws {
        let bytes = encoded(message)
        let decoded = try Message.decode(bytes.span, from: 0, to: bytes.count)
        #expect(decoded == message)
    }

    @Test(arguments: messages)
    func `a message cut short or too long is refused`(message: Message) {
        let bytes = encoded(message)
        for end in 0..<bytes.count {
            #expect(throws: WireError.self) {
                try Message.decode(bytes.span, from: 0, to: end)
            }
        }
        let longer = bytes + [0]
        #expect(throws: WireError.self) {
            try Message.decode(longer.span, from: 0, to: longer.count)
        }
    }

    @Test(arguments: messages)
    func `a message with any byte changed is refused or is another message of the same length`(
        message: Message
    ) throws {
        let bytes = encoded(message)
        for place in bytes.indices {
            for change in [1, 0x80, 0xFF] as [UInt8] {
                var corrupt = bytes
                corrupt[place] ^= change
                guard
                    let decoded = try? Message.decode(
                        corrupt.span, from: 0, to: corrupt.count)
                else { continue }
                switch decoded {
                case .query, .answer, .traceAnswer: break
                default:
                    // A message that was understood can be said again.
                    #expect(encoded(decoded).count <= corrupt.count)
                }
            }
        }
    }

    @Test func `a member that drains has feature 31, and speaks no later version for that`() {
        #expect(!bob.capabilities.isDraining && !bob.capabilities.areLater)
        let leaving = draining(bob).capabilities
        #expect(leaving.isDraining && !leaving.areLater)
        #expect(leaving.features == 0x8000_0000)
        var later = leaving
        later.features |= 1 << 30
        #expect(later.isDraining && later.areLater)
        // A record ends with features and largest payload.
        let bytes = encoded(.members([draining(bob)], isRepair: false))
        #expect(Array(bytes.suffix(8).prefix(4)) == [0, 0, 0, 0x80])
    }

    @Test func `a heartbeat written in one step makes the same frame and is read back`() {
        let heartbeat = Heartbeat(
            digest: 0x0102_0304_0506_0708, sentAt: 0x1122_3344, echo: 0x5566_7788,
            echoDelay: 0x99AA_BBCC)
        var fast = ByteQueue()
        var slow = ByteQueue()
        fast.append(UInt8(0))
        slow.append(UInt8(0))
        let frame = fast.appendLinkFrame(heartbeat)
        #expect(slow.appendLinkFrame(.heartbeat(heartbeat)) == frame)
        let bytes = fast.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        #expect(slow.withSpan { $0.array(Slice(start: 0, count: $0.count)) } == bytes)

        var needed = 0
        let prefix = try! FramePrefix.read(bytes.span, at: 1, needed: &needed)!
        #expect(Heartbeat(frame: bytes.span, at: 1, prefix) == heartbeat)
        // Another message of this length, and a heartbeat with a byte too many.
        var other = bytes
        other[9] = Message.Number.vouch.rawValue
        #expect(Heartbeat(frame: other.span, at: 1, prefix) == nil)
        var longer = prefix
        longer.length += 1
        #expect(Heartbeat(frame: (bytes + [0]).span, at: 1, longer) == nil)
    }

    @Test func `a count that the bytes cannot hold is refused before anything is allocated`() {
        let lie: [UInt8] = [5, 0, 0xFF, 0xFF]
        #expect(throws: WireError.lengthsDisagree) {
            try Message.decode(lie.span, from: 0, to: lie.count)
        }
    }

    @Test func `a long name is cut at a character`() throws {
        var record = ann
        record.name = String(repeating: "ö", count: 40)
        let bytes = encoded(.members([record], isRepair: false))
        let decoded = try Message.decode(bytes.span, from: 0, to: bytes.count)
        record.name = String(repeating: "ö", count: 32)
        #expect(decoded == .members([record], isRepair: false))
    }

    @Test func `statuses encoded one by one make the same frame as the whole message`() {
        let changes = [StatusChange(ann), StatusChange(bob)]
        var pieces = ByteQueue()
        let start = pieces.beginMembersFrame(2, areStatuses: true)
        for change in changes { pieces.append(change) }
        let frame = pieces.endFrame(start)
        var whole = ByteQueue()
        let expected = whole.appendLinkFrame(.statuses(changes))
        let put = pieces.withSpan { $0.array(frame) }
        let wanted = whole.withSpan { $0.array(expected) }
        #expect(put == wanted)
    }

    @Test func `records encoded one by one make the same frame as the whole message`() {
        let records = (0..<40).map { number in
            MemberRecord(
                id: NodeID(UInt64(number)), incarnation: Incarnation(bootMilliseconds: 5),
                status: .alive, endpoint: Endpoint(ipv4: 1, port: 2), name: "nöde \(number)",
                zone: number % 2 == 0 ? "" : "a zone with a name of more than fifteen bytes")
        }
        var pieces = ByteQueue()
        var slices: [Slice] = []
        for record in records {
            let start = pieces.count
            pieces.append(record)
            slices.append(Slice(start: start, count: pieces.count - start))
        }
        let start = pieces.beginMembersFrame(records.count, areStatuses: false)
        for slice in slices { pieces.append(copyOf: slice) }
        let frame = pieces.endFrame(start)
        var whole = ByteQueue()
        let expected = whole.appendLinkFrame(.members(records, isRepair: false))
        let put = pieces.withSpan { $0.array(frame) }
        let wanted = whole.withSpan { $0.array(expected) }
        #expect(put == wanted)
    }
}
