import MeshWire
import Testing

@testable import MeshCore

/// A scan of the table has the keys of its range and no others, wherever the range begins and ends.
@Suite struct RangeTests {
    @Test(arguments: [0, 1, 5, 40, 700]) func `any range of positions can be asked for`(count: Int)
    {
        var random = RandomSource(seed: UInt64(count))
        var table = DirectoryTable()
        var held: [[Key]] = [[], [], []]
        for _ in 0..<count {
            let key = Key(random.next())
            let node = random.next(below: 3)
            table.insert(key, node: UInt16(node))
            held[node].append(key)
        }
        held = held.map { $0.sorted { $0.position < $1.position } }
        for _ in 0..<200 {
            let ends = [random.next() >> 16, random.next() >> 16].sorted()
            let (lists, last) = table.keys(of: [0, 2], from: ends[0], through: ends[1])
            #expect(last == ends[1])
            let expected = [held[0], held[2]].map { keys in
                keys.filter { $0.position >= ends[0] && $0.position <= ends[1] }
            }
            #expect(lists == expected)
        }
    }

    /// The table of who asks may have other buckets than that of who answers.
    @Test func `a walk that begins anywhere and goes on in steps meets each key once`() {
        var random = RandomSource(seed: 3)
        var table = DirectoryTable()
        var keys: [Key] = []
        for _ in 0..<900 {
            let key = Key(random.next())
            table.insert(key, node: 4)
            keys.append(key)
        }
        for _ in 0..<20 {
            let start = random.next() >> 16
            var met: [Key] = []
            var position = start
            while true {
                let (lists, last) = table.keys(of: [4], from: position, bucketCountMax: 3)
                met += lists[0]
                if last == SnapshotPart.lastPosition { break }
                position = last + 1
            }
            let expected = keys.filter { $0.position >= start }.sorted { $0.position < $1.position }
            #expect(met == expected)
        }
    }

    @Test(arguments: [1, 2, 7, 64])
    func `recent changes are the latest ones, as many as there is room for`(capacity: Int) {
        var recent = RecentRecords(capacity: capacity)
        let origin = NodeID(5)
        for sequence in 1...UInt64(capacity * 3 + 2) {
            recent.append(
                DirectoryRecord(.addKey, Key(sequence)), origin: origin, sequence: sequence)
            for count in 1...UInt64(capacity + 2) where count <= sequence {
                let found = recent.records(
                    of: origin, after: sequence - count, through: sequence)
                guard count <= UInt64(capacity) else {
                    #expect(found == nil, "\(count) at \(sequence)")
                    continue
                }
                #expect(
                    found?.map { $0.sequence } == Array(sequence - count + 1...sequence),
                    "\(count) at \(sequence)")
            }
        }
    }
}
