import MeshWire
import Testing

@Suite struct `A slot table` {
    @Test func `reuses the slot that was vacated last`() {
        var table = SlotTable<Int>()
        let slots = (0..<4).map { table.insert($0) }
        #expect(slots == [0, 1, 2, 3])
        table.vacate(1, leaving: -1)
        table.vacate(3, leaving: -1)
        let (count, left) = (table.usedCount, table[1])
        #expect(count == 2)
        #expect(left == -1)
        let reused = (0..<3).map { table.insert(10 + $0) }
        #expect(reused == [3, 1, 4])
        let all = table.slots.map { table[$0] }
        #expect(all == [0, 11, 2, 10, 12])
    }

    @Test func `gives its memory back only when nothing is in use`() {
        var table = SlotTable<Int>()
        for number in 0..<10 { _ = table.insert(number) }
        for slot in 1..<10 { table.vacate(slot, leaving: 0) }
        table.trim(above: 5)
        var slots = table.slots
        #expect(slots == 0..<10)
        table.vacate(0, leaving: 0)
        table.trim(above: 10)
        slots = table.slots
        #expect(slots == 0..<10)
        table.trim(above: 9)
        slots = table.slots
        #expect(slots.isEmpty)
        let first = table.insert(7)
        #expect(first == 0)
    }
}
