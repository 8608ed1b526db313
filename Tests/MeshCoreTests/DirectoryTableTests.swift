import MeshWire
import Testing

@testable import MeshCore

/// A generator of its own, so that each seed gives the same test on every machine.
private struct Generator {
    var state: UInt64

    /// SplitMix64 (Steele, Lea and Flood 2014).
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    mutating func next(below bound: Int) -> Int { Int(next() % UInt64(bound)) }
}

/// The model of the table: a dictionary of sorted lists.
private struct Model {
    var nodes: [Key: [UInt16]] = [:]
    var count: Int { nodes.values.reduce(0) { $0 + $1.count } }

    mutating func insert(_ key: Key, _ node: UInt16) -> DirectoryTable.Insertion {
        var list = nodes[key] ?? []
        if list.contains(node) { return .present }
        list.append(node)
        list.sort()
        nodes[key] = list
        return list.count == 1 ? .first : .another
    }

    mutating func remove(_ key: Key, _ node: UInt16) -> DirectoryTable.Removal {
        guard var list = nodes[key], let place = list.firstIndex(of: node) else { return .absent }
        list.remove(at: place)
        nodes[key] = list.isEmpty ? nil : list
        return list.isEmpty ? .last : .one
    }
}

private func nodes(_ table: borrowing DirectoryTable, _ key: Key) -> [UInt16] {
    switch table.holders(of: key) {
    case .none: return []
    case .one(let node): return [node]
    case .many(let set): return (0..<set.count).map { table.node(in: set, at: $0) }
    }
}

private func expectEqual(_ table: borrowing DirectoryTable, _ model: Model) {
    table.checkInvariants()
    let pairs = table.count
    let keys = table.keyCount
    #expect(pairs == model.count)
    #expect(keys == model.nodes.count)
    var wrong = 0
    for (key, list) in model.nodes where nodes(table, key) != list { wrong += 1 }
    #expect(wrong == 0)
}

@Suite struct `Directory table` {
    /// Keys drawn from few values in few buckets make long chains; many make many buckets.
    @Test(arguments: 0..<24)
    func `random operations agree with a dictionary`(seed: Int) {
        var random = Generator(state: UInt64(seed))
        let keyCount = [3, 40, 400, 4_000][seed % 4]
        let nodeCount = [2, 5, 300][seed % 3]
        let lowBits = seed % 5 == 4 ? 6 : 0
        let keys = (0..<keyCount).map { _ in Key(random.next() << UInt64(lowBits)) }
        var table = DirectoryTable()
        var model = Model()
        // First mostly insertions, then as many of both, then mostly removals.
        for phase in 0..<3 {
            for _ in 0..<3_000 {
                let key = keys[random.next(below: keyCount)]
                let node = UInt16(random.next(below: nodeCount))
                change(&table, &model, key, node, inserts: random.next(below: 4) > phase)
            }
            expectEqual(table, model)
        }
    }

    @Test func `an empty table holds nothing and is small`() {
        var table = DirectoryTable()
        #expect(nodes(table, Key(0)) == [])
        #expect(nodes(table, Key(.max)) == [])
        let isHeld = table.contains(Key(1), node: 0)
        #expect(!isHeld)
        let removal = table.remove(Key(1), node: 0)
        #expect(removal == .absent)
        let bytes = table.byteCount
        #expect(bytes < 2_500)
        table.checkInvariants()
    }

    /// All ones look like free slots, small keys like links, and a set's slot like a key.
    @Test func `keys that look like the table's own marks are keys like others`() {
        var table = DirectoryTable()
        var model = Model()
        let odd: [UInt64] = [
            0, 1, 2, 3, 0xFFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFE, 0xFFFF_0000_0000, 0x1_0000, 0xFFFD,
            0x0000_0000_FFFF,
        ]
        for raw in odd + (0..<64).map({ $0 << 40 }) {
            for node: UInt16 in [0, 65_000, 7] {
                let result = table.insert(Key(raw), node: node)
                #expect(result == model.insert(Key(raw), node))
            }
        }
        expectEqual(table, model)
        for raw in odd {
            let result = table.remove(Key(raw), node: 65_000)
            #expect(result == model.remove(Key(raw), 65_000))
        }
        expectEqual(table, model)
    }

    @Test func `a hundred keys take a few kilobytes`() {
        var random = Generator(state: 1)
        var table = DirectoryTable()
        for _ in 0..<100 { table.insert(Key(random.next()), node: 1) }
        let bytes = table.byteCount
        #expect(bytes < 5_000)
    }

    @Test func `memory follows the number of keys up and down`() {
        var random = Generator(state: 2)
        var table = DirectoryTable()
        let keys = (0..<200_000).map { _ in Key(random.next()) }
        for key in keys { table.insert(key, node: 3) }
        table.checkInvariants()
        let full = table.byteCount
        #expect(full < 200_000 * 12 + 200_000)
        for key in keys.dropFirst(1_000) { table.remove(key, node: 3) }
        table.checkInvariants()
        let little = table.byteCount
        #expect(little < 200_000)
        for key in keys.prefix(1_000) {
            let removal = table.remove(key, node: 3)
            #expect(removal == .last)
        }
        let left = (table.count, table.keyCount, table.byteCount)
        #expect(left.0 == 0 && left.1 == 0 && left.2 < 4_000)
        table.checkInvariants()
    }

    /// At 1 M the table is early in a round of splits, at 1.1 M … 1.6 M in its middle.
    @Test func `a million keys take at most 12 bytes each, at any stage of growth`() {
        var random = Generator(state: 3)
        var table = DirectoryTable()
        var worst = 0.0
        for count in 1...1_000_000 {
            table.insert(Key(random.next()), node: UInt16(count % 1_000))
            if count > 500_000, count % 10_000 == 0 {
                worst = max(worst, Double(table.byteCount) / Double(table.count))
            }
        }
        let each = Double(table.byteCount) / Double(table.count)
        #expect(each <= 12)
        #expect(worst <= 12)
    }

    @Test func `a key goes to a thousand nodes and back`() {
        var random = Generator(state: 4)
        var table = DirectoryTable()
        var model = Model()
        // Others of the same size classes come and go, so that sets move.
        let keys = (0..<7).map { _ in Key(random.next()) }
        for step in 0..<1_000 {
            for (place, key) in keys.enumerated() {
                let node = UInt16((step * 37 + place) % 1_009)
                let result = table.insert(key, node: node)
                #expect(result == model.insert(key, node))
            }
            if step % 100 == 99 { expectEqual(table, model) }
        }
        let top = table.byteCount
        for step in 0..<1_000 {
            for (place, key) in keys.enumerated() {
                let node = UInt16((step * 101 + place) % 1_009)
                let result = table.remove(key, node: node)
                #expect(result == model.remove(key, node))
            }
            if step % 100 == 99 { expectEqual(table, model) }
        }
        let bottom = table.byteCount
        #expect(bottom < top / 2)
    }

    @Test func `every node at once may hold a key`() {
        var table = DirectoryTable()
        for node in (0...DirectoryTable.nodeMax).reversed() {
            table.insert(Key(99), node: node)
        }
        table.checkInvariants()
        #expect(nodes(table, Key(99)) == Array(0...DirectoryTable.nodeMax))
    }

    @Test(arguments: 0..<4)
    func `a node that is gone takes its keys with it`(seed: Int) {
        var random = Generator(state: UInt64(100 + seed))
        var table = DirectoryTable()
        var model = Model()
        for _ in 0..<20_000 {
            let key = Key(UInt64(random.next(below: 9_000)) &* 0x9E37_79B9_7F4A_7C15)
            let node = UInt16(random.next(below: 4))
            table.insert(key, node: node)
            _ = model.insert(key, node)
        }
        for node: UInt16 in [2, 0, 3, 1] {
            var expected: [Key: Bool] = [:]
            for (key, list) in model.nodes where list.contains(node) {
                expected[key] = list.count == 1
            }
            var reported: [Key: Bool] = [:]
            var doubles = 0
            table.removeAll(of: node) { key, isLast in
                if reported.updateValue(isLast, forKey: key) != nil { doubles += 1 }
            }
            #expect(reported == expected)
            #expect(doubles == 0)
            for key in expected.keys { _ = model.remove(key, node) }
            expectEqual(table, model)
        }
        let (pairs, bytes) = (table.count, table.byteCount)
        #expect(pairs == 0)
        #expect(bytes < 4_000)
    }

    @Test func `one scan gives the sorted keys of several nodes`() {
        var random = Generator(state: 5)
        var table = DirectoryTable()
        var expected: [[Key]] = [[], [], []]
        let wanted: [UInt16] = [900, 4, 77]
        for index in 0..<10_000 {
            let key = Key(random.next())
            for node in [UInt16(900), 4, 5] where (index + Int(node)) % 3 > 0 {
                table.insert(key, node: node)
                if let place = wanted.firstIndex(of: node) { expected[place].append(key) }
            }
        }
        let lists = table.keys(of: wanted).lists
        let sorted = expected.map { $0.sorted { $0.position < $1.position } }
        #expect(lists == sorted)
        let nobody = table.keys(of: []).lists
        #expect(nobody == [])
    }

    /// The table has doubled or halved between the steps, so that their buckets differ.
    @Test(arguments: [3_000, 40_000])
    func `a walk in steps meets every key once, however the table changes between`(count: Int) {
        var random = Generator(state: UInt64(count))
        var table = DirectoryTable()
        let stable = (0..<20_000).map { _ in Key(random.next()) }
        let others = (0..<60_000).map { _ in Key(random.next()) }
        for key in stable { table.insert(key, node: 7) }
        for key in others.prefix(60_000 - count) { table.insert(key, node: 8) }
        var met: [Key] = []
        var next: UInt64? = 0
        var step = 0
        while let position = next {
            let (lists, last) = table.keys(
                of: [7], from: position, bucketCountMax: 100, keyCountMax: 400)
            #expect(lists[0].count < 420)
            let inside = lists[0].allSatisfy { $0.position >= position && $0.position <= last }
            #expect(inside)
            met += lists[0]
            next = last == SnapshotPart.lastPosition ? nil : last + 1
            for place in 0..<1_500 {
                let key = others[(step * 1_500 + place) % others.count]
                if count < 30_000 {
                    table.remove(key, node: 8)
                } else {
                    table.insert(key, node: 8)
                }
            }
            step += 1
        }
        #expect(step > 40)
        #expect(met == stable.sorted { $0.position < $1.position })
    }

    @Test func `several nodes are removed in steps, and what comes and goes meanwhile stays right`()
    {
        var random = Generator(state: 9)
        var table = DirectoryTable()
        var model = Model()
        for _ in 0..<30_000 {
            let key = Key(UInt64(random.next(below: 14_000)) &* 0x9E37_79B9_7F4A_7C15)
            let node = UInt16(random.next(below: 6))
            table.insert(key, node: node)
            _ = model.insert(key, node)
        }
        let gone = [false, true, false, false, true]
        var next: UInt64? = 0
        var steps = 0
        while let position = next {
            let last = table.removeAll(of: gone, from: position, bucketCountMax: 64) {
                key, node, isLast in
                #expect(model.remove(key, node) == (isLast ? .last : .one))
            }
            next = last == SnapshotPart.lastPosition ? nil : last + 1
            steps += 1
            for _ in 0..<200 {
                let key = Key(random.next())
                let node = UInt16(random.next(below: 2) * 5)
                let result = table.insert(key, node: node)
                #expect(result == model.insert(key, node))
            }
            if steps % 5 == 0 { expectEqual(table, model) }
        }
        expectEqual(table, model)
        #expect(steps > 20)
        let left = model.nodes.values.contains { $0.contains(1) || $0.contains(4) }
        #expect(!left)
    }

    @Test func `the same calls give the same order of scans`() {
        func scan() -> [UInt64] {
            var random = Generator(state: 6)
            var table = DirectoryTable()
            for _ in 0..<5_000 {
                let key = Key(random.next() & 0xFFF)
                if random.next(below: 3) > 0 {
                    table.insert(key, node: UInt16(random.next(below: 9)))
                } else {
                    table.remove(key, node: UInt16(random.next(below: 9)))
                }
            }
            var order: [UInt64] = []
            table.forEach { order.append($0.rawValue << 16 | UInt64($1)) }
            return order
        }
        let first = scan()
        #expect(first == scan())
        #expect(first.count > 1_000)
    }

    @Test func `a thousand keys in one bucket work, and go again`() {
        var table = DirectoryTable()
        var model = Model()
        for index in 0..<1_000 {
            let key = Key(UInt64(index) << 24 | 5)
            let result = table.insert(key, node: UInt16(index % 3))
            #expect(result == model.insert(key, UInt16(index % 3)))
        }
        expectEqual(table, model)
        for index in 0..<1_000 {
            let key = Key(UInt64((index * 7) % 1_000) << 24 | 5)
            let node = UInt16(((index * 7) % 1_000) % 3)
            let result = table.remove(key, node: node)
            #expect(result == model.remove(key, node))
        }
        expectEqual(table, model)
    }

    // MARK: Chosen keys

    /// Names can be found whose keys agree in the bits that name a bucket.
    @Test func `keys chosen to share a bucket do not lengthen its chain`() {
        var random = Generator(state: 4)
        var table = DirectoryTable()
        var keys: [Key] = []
        for count in 1...40_000 {
            let key = Key(random.next() << 13)
            keys.append(key)
            table.insert(key, node: 1)
            if count % 8_000 == 0 { table.checkInvariants() }
        }
        let crowded = table.crowded.count
        let pages = table.pages.count
        let bytes = table.byteCount
        #expect(crowded == 40_000)
        #expect(pages == 0)
        #expect(bytes < 40_000 * 50)
        for key in keys {
            let isHeld = table.contains(key, node: 1)
            #expect(isHeld)
        }
        for key in keys.dropLast(20) { table.remove(key, node: 1) }
        table.checkInvariants()
        let left = table.crowded.count
        #expect(left == 0)
    }

    /// A step of a walk costs the same, however crowded the buckets are.
    @Test func `walks stop in the middle of a crowded bucket`() {
        var random = Generator(state: 5)
        var table = DirectoryTable()
        var keys: [Key] = []
        for _ in 0..<5_000 {
            keys.append(Key(random.next() << 20 | 5))
            table.insert(keys[keys.count - 1], node: UInt16(random.next(below: 2)))
            table.insert(Key(random.next()), node: 2)
        }
        var met: [Key] = []
        var position: UInt64 = 0
        var steps = 0
        while true {
            let (lists, last) = table.keys(of: [0, 1], from: position, bucketCountMax: 10)
            let found = (lists[0] + lists[1]).sorted { $0.position < $1.position }
            #expect(found.count <= 80)
            met += found
            steps += 1
            if last == SnapshotPart.lastPosition { break }
            position = last + 1
        }
        #expect(met == keys.sorted { $0.position < $1.position })
        #expect(steps >= 5_000 / 80)

        let few = table.keys(of: [0, 1], keyCountMax: 100).lists
        #expect(few[0].count + few[1].count == 100)

        // Node 0 goes.
        var gone: [Key] = []
        position = 0
        while true {
            var taken = 0
            let last = table.removeAll(
                of: [true], from: position, bucketCountMax: 10
            ) { key, _, _ in
                gone.append(key)
                taken += 1
            }
            #expect(taken <= 80)
            table.checkInvariants()
            if last == SnapshotPart.lastPosition { break }
            position = last + 1
        }
        let rest = table.keys(of: [0, 1]).lists
        #expect(rest[0].isEmpty)
        #expect(Set(gone).union(rest[1]) == Set(keys))
        #expect(gone.count + rest[1].count == keys.count)
    }

    /// Several crowds at once, of keys that one or many nodes hold, while the table grows and shrinks.
    /// Adds a holder of a key to both, or takes it away.
    private func change(
        _ table: inout DirectoryTable, _ model: inout Model, _ key: Key, _ node: UInt16,
        inserts: Bool
    ) {
        if inserts {
            let result = table.insert(key, node: node)
            #expect(result == model.insert(key, node))
        } else {
            let result = table.remove(key, node: node)
            #expect(result == model.remove(key, node))
        }
    }

    @Test(arguments: 0..<12)
    func `random operations on crowds agree with a dictionary`(seed: Int) {
        var random = Generator(state: UInt64(seed))
        let nodeCount = [1, 3, 40][seed % 3]
        let crowdCount = [1, 3, 30, 200][seed % 4]
        let keys = (0..<2_500).map { _ in
            Key(random.next() << 12 | UInt64(random.next(below: crowdCount)))
        }
        var table = DirectoryTable()
        var model = Model()
        for phase in 0..<4 {
            for step in 0..<6_000 {
                let isOther = step % 4 == 0
                let key = isOther ? Key(random.next()) : keys[random.next(below: keys.count)]
                let node = UInt16(random.next(below: nodeCount))
                change(&table, &model, key, node, inserts: random.next(below: 5) > phase)
            }
            expectEqual(table, model)
        }
        let lists = table.keys(of: [0]).lists
        #expect(lists[0] == lists[0].sorted { $0.position < $1.position })
        #expect(Set(lists[0]) == Set(model.nodes.filter { $0.value.contains(0) }.keys))
        table.removeAll(of: 0) { key, isLast in
            #expect(model.remove(key, 0) == (isLast ? .last : .one))
        }
        expectEqual(table, model)
        for (key, list) in model.nodes.sorted(by: { $0.key < $1.key }) {
            for node in list { table.remove(key, node: node) }
        }
        let pairs = table.count
        #expect(pairs == 0)
        table.checkInvariants()
    }
}
