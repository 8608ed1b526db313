import MeshWire
import Testing

@testable import MeshCore

@Suite struct MemberTableTests {
    private func record(_ id: UInt64, _ port: UInt16) -> MemberRecord {
        MemberRecord(
            id: NodeID(id), incarnation: Incarnation(id), status: .alive,
            endpoint: Endpoint(ipv4: 1, port: port), name: "", zone: "")
    }

    @Test func `the ring is sorted and its neighbours wrap`() {
        var table = MemberTable(oneself: record(500, 1), at: Instant(nanoseconds: 0))
        for (place, id) in [900, 100, 700, 300].enumerated() {
            _ = table.insert(
                Member(record(UInt64(id), UInt16(place + 2)), at: Instant(nanoseconds: 0)))
        }
        #expect(table.ring.map { $0.id.rawValue } == [100, 300, 500, 700, 900])
        let id = NodeID(500)
        #expect(table[table.clockwise(from: id, steps: 1)].id == NodeID(700))
        #expect(table[table.clockwise(from: id, steps: 3)].id == NodeID(100))
        #expect(table[table.clockwise(from: id, steps: -3)].id == NodeID(900))
    }

    @Test func `equal sets have equal digests whatever the order they came in`() {
        var random = RandomSource(seed: 4)
        let records = (0..<200).map { record(random.next(), UInt16($0 + 2)) }
        var one = MemberTable(oneself: records[0], at: Instant(nanoseconds: 0))
        var other = MemberTable(oneself: records[199], at: Instant(nanoseconds: 9))
        for member in records.dropFirst() {
            _ = one.insert(Member(member, at: Instant(nanoseconds: 1)))
        }
        for member in records.dropLast().reversed() {
            _ = other.insert(Member(member, at: Instant(nanoseconds: 2)))
        }
        #expect(one.digest == other.digest)
        #expect(one.digests == other.digests)
        let index = one.index(of: records[50].id)!
        one.updateLog(index) { $0.sequence = 1 }
        #expect(one.digest != other.digest)
        other.updateLog(other.index(of: records[50].id)!) { $0.sequence = 1 }
        #expect(one.digest == other.digest)
        one.update(index, to: .dead, at: Instant(nanoseconds: 3))
        #expect(one.ring.count == 199)
        #expect(one.digest != other.digest)
    }

    @Test func `the table agrees with a model whatever comes and goes`() {
        var random = RandomSource(seed: 8)
        let interner = RecordInterner(isShared: true)
        var table = MemberTable(
            oneself: record(0, 60_000), at: Instant(nanoseconds: 0), interner: interner)
        // A second table with the same interner: what it lets go of is still the first one's.
        var other = MemberTable(
            oneself: record(0, 60_000), at: Instant(nanoseconds: 0), interner: interner)
        var model: [UInt64: (index: MemberIndex, record: MemberRecord)] = [:]
        for round in 0..<4_000 {
            let number = UInt64(1 + random.next(below: 300))
            let id = RandomSource.mix(number)
            let now = Instant(nanoseconds: Int64(round))
            if let known = model[id] {
                switch random.next(below: 3) {
                case 0:
                    table.update(known.index, to: .dead, at: now)
                    table.forget(known.index)
                    model[id] = nil
                case 1:
                    var later = known.record
                    later.incarnation = later.incarnation.next()
                    // Nobody else's: whom an address leads to that two claim is another matter.
                    later.endpoint.port = UInt16(number) + 300 * UInt16(random.next(below: 100))
                    later.name = "node \(round) with a long name"
                    later.status = random.next(below: 2) == 0 ? .alive : .dead
                    table.replace(known.index, with: later, at: now)
                    model[id] = (known.index, later)
                default:
                    table.adjust(known.index) { $0.dialFailures += 1 }
                    table.adjust(known.index) { $0.dialFailures = 0 }
                }
            } else {
                var fresh = record(number, UInt16(number))
                fresh.id = NodeID(id)
                let index = table.insert(Member(fresh, at: now))!
                model[id] = (index, fresh)
                if other.index(of: fresh.id) == nil,
                    let twin = other.insert(Member(fresh, at: now)), random.next(below: 2) == 0
                {
                    other.update(twin, to: .left, at: now)
                    other.forget(twin)
                }
            }
            let probe = NodeID(RandomSource.mix(UInt64(1 + random.next(below: 300))))
            let found = table.index(of: probe)
            #expect(found == model[probe.rawValue]?.index)
            if let found, let wanted = model[probe.rawValue]?.record {
                let record = table[found].record
                #expect(record == wanted)
                let atEndpoint = table.index(at: wanted.endpoint)
                if wanted.status.isPresent { #expect(atEndpoint == found) }
            }
        }
        let present = model.values.filter { $0.record.status.isPresent }
        let expected = (present.map(\.record.id) + [NodeID(0)]).sorted()
        #expect(table.ring.map { $0.id } == expected)
        for (rank, id) in expected.enumerated() { #expect(table.rank(of: id) == rank) }
    }
}
