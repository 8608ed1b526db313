import Testing

@testable import MeshWire

/// Messages at their bounds, and beyond.
@Suite struct BoundTests {
    private func decoded(_ message: Message) throws -> Message {
        var queue = ByteQueue()
        queue.append(message)
        let bytes = queue.withBytes { unsafe Array($0) }
        return try Message.decode(bytes.span, from: 0, to: bytes.count)
    }

    private static func record(_ incarnation: Incarnation) -> MemberRecord {
        MemberRecord(
            id: NodeID(1), incarnation: incarnation, status: .alive,
            endpoint: Endpoint(ipv4: 1, port: 1), name: "", zone: "")
    }

    /// Every message that says when somebody was born.
    private static func messages(_ incarnation: Incarnation) -> [Message] {
        let record = record(incarnation)
        let greeting = Greeting(
            cluster: "c", clusterID: 1, purpose: .neighbour, stratum: 0, member: record)
        return [
            .hello(greeting), .welcome(greeting),
            .refuse(.dead, holder: NodeID(0), incarnation), .members([record], isRepair: false),
            .linkLists([
                LinkList(
                    owner: NodeID(1), incarnation: incarnation, version: 1, hopsLeft: 0, links: [])
            ]),
            .accuse(subject: NodeID(1), incarnation, .silence),
            .vouch(subject: NodeID(1), incarnation),
            .indirectProbe(subject: NodeID(1), incarnation),
            .origins(
                [OriginEntry(member: record, sequence: 1, keyCount: 0, keySum: 0)], mask: 1,
                isReply: false),
            .records(
                DirectoryRecords(
                    origin: NodeID(1), life: incarnation.life, firstSequence: 1, isRepair: false,
                    records: [DirectoryRecord(.addKey, Key(5))])),
            .repair([
                RepairRequest(
                    origin: NodeID(1), life: incarnation.life, after: 0, fromPosition: 0,
                    wantsSnapshot: false)
            ]),
        ]
    }

    @Test
    func `every message with a birth takes births up to the bound`()
        throws
    {
        let last = Incarnation(bootMilliseconds: Incarnation.lifeMax)
        for message in Self.messages(last) { #expect(try decoded(message) == message) }
        let beyond = Incarnation(bootMilliseconds: Incarnation.lifeMax + 1)
        for message in Self.messages(beyond) {
            #expect(throws: WireError.self, "\(message)") { try decoded(message) }
        }
    }

    /// The items of all parts, one after the other, are those of the whole.
    private func expectParts<Item: Equatable>(
        _ items: [Item], _ most: Int, _ make: ([Item]) -> Message, _ read: (Message) -> [Item]?
    ) {
        for count in [0, 1, most - 1, most] {
            #expect(make(Array(items.prefix(count))).parts == nil)
        }
        for count in [most + 1, most * 2, items.count] {
            let whole = Array(items.prefix(count))
            let parts = make(whole).parts ?? []
            #expect(parts.allSatisfy { $0.parts == nil })
            #expect(parts.count == (count + most - 1) / most)
            #expect(parts.compactMap(read).flatMap { $0 } == whole)
        }
    }

    @Test func `a list that is too long travels in parts, which together have each item once`() {
        let ids = (0..<9_000).map { NodeID($0) }
        expectParts(ids, Message.linkListCountMax, { .linksWanted($0) }) {
            if case .linksWanted(let items) = $0 { items } else { nil }
        }
        let coordinates = ids.map { MemberCoordinate(id: $0, coordinate: .origin) }
        expectParts(coordinates, MemberCoordinate.countMax, { .coordinates($0) }) {
            if case .coordinates(let items) = $0 { items } else { nil }
        }
        let statuses = (0..<140_000).map {
            StatusChange(id: NodeID($0), incarnation: 1, status: .alive)
        }
        expectParts(statuses, Message.memberCountMax, { .statuses($0) }) {
            if case .statuses(let items) = $0 { items } else { nil }
        }
    }

    @Test func `the distance of two nodes is the shorter way round, from either of them`() {
        let places =
            [0, 1, 2, 1 << 62, 1 << 63 - 1, 1 << 63, 1 << 63 + 1, .max - 1, .max] as [UInt64]
        for one in places.map({ NodeID($0) }) {
            for other in places.map({ NodeID($0) }) {
                let distance = one.distance(to: other)
                #expect(distance == other.distance(to: one))
                #expect(distance <= 1 << 63)
                #expect(distance == min(one.clockwise(to: other), other.clockwise(to: one)))
            }
        }
    }
}
