import MeshWire
import Testing

@testable import MeshCore

@Suite struct MemberTableTests {
    private func record(_ id: UInt64, _ port: UInt16) -> MemberRecord {
        MemberRecord(
            id: NodeID(id), incarnation: Incarnation(id), standing: .alive,
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
        one.update(index) { $0.standing = .dead }
        #expect(one.ring.count == 199)
        #expect(one.digest != other.digest)
    }

    @Test func `the map of ids agrees with a dictionary`() {
        var random = RandomSource(seed: 8)
        var map = IDMap()
        var model: [UInt64: UInt32] = [:]
        for round in 0..<20_000 {
            let id = UInt64(random.next(below: 500))
            if random.next(below: 3) == 0 {
                map.remove(id)
                model[id] = nil
            } else {
                map.insert(id, UInt32(round))
                model[id] = UInt32(round)
            }
            let probe = UInt64(random.next(below: 500))
            #expect(map.find(probe) == model[probe].map { Int32($0) } ?? -1)
        }
    }
}
