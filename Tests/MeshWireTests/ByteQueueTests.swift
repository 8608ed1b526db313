import Testing

@testable import MeshWire

private func contents(_ queue: borrowing ByteQueue) -> [UInt8] {
    queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
}

@Suite struct `Byte queue` {
    @Test(arguments: 0..<16)
    func `random operations agree with an array`(seed: Int) {
        var random = Generator(state: UInt64(seed))
        let largest = [8, 100, 5_000][seed % 3]
        var queue = ByteQueue()
        var model: [UInt8] = []
        for _ in 0..<500 {
            switch random.next(below: 8) {
            case 0...2:
                let bytes = random.bytes(random.next(below: largest))
                queue.append(bytes)
                model += bytes
            case 3:
                let bytes = random.bytes(20)
                queue.append(bytes.span, 3, 11)
                model += bytes[3..<14]
            case 4:
                let value = UInt32(truncatingIfNeeded: random.next())
                queue.append(integer: value)
                model += (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
            case 5:
                let size = random.next(below: model.count + 1)
                queue.drop(size, retaining: 64)
                model.removeFirst(size)
            case 6:
                let size = model.count - random.next(below: model.count / 4 + 1)
                queue.truncate(to: size)
                model.removeLast(model.count - size)
            default:
                guard model.count >= 2 else { continue }
                let at = random.next(below: model.count - 1)
                queue.overwrite(integer: UInt16(0xA1B2), at: at)
                model[at] = 0xB2
                model[at + 1] = 0xA1
            }
            let count = queue.count
            #expect(count == model.count)
        }
        #expect(contents(queue) == model)
    }

    @Test func `a new queue has no memory and gives no bytes`() {
        let queue = ByteQueue()
        let (capacity, isEmpty) = (queue.byteCapacity, queue.isEmpty)
        #expect(capacity == 0 && isEmpty)
        #expect(contents(queue) == [])
    }

    @Test func `a drained queue gives its memory back when it has been idle`() {
        var queue = ByteQueue()
        queue.append([UInt8](repeating: 1, count: 1_000_000))
        queue.drop(999_999)
        let before = queue.byteCapacity
        #expect(before >= 1_000_000)
        queue.drop(1)
        queue.trim()
        let busy = queue.byteCapacity
        #expect(busy == before)
        queue.trim()
        let after = queue.byteCapacity
        #expect(after == 0)
        queue.append("on it goes")
        #expect(contents(queue) == Array("on it goes".utf8))
    }

    @Test func `a small queue that is drained keeps its memory`() {
        var queue = ByteQueue()
        queue.append([1, 2, 3])
        let before = queue.byteCapacity
        queue.drop(3)
        let after = queue.byteCapacity
        #expect(before == after && after > 0)
    }

    /// The bytes that wait are moved to the front instead of the memory growing without end.
    @Test func `a queue that is never empty does not grow for ever`() {
        var queue = ByteQueue()
        var random = Generator(state: 2)
        queue.append(random.bytes(100))
        for _ in 0..<10_000 {
            queue.append(random.bytes(100))
            queue.drop(100)
        }
        let capacity = queue.byteCapacity
        #expect(capacity < 2_000)
    }

    @Test func `removing all keeps the memory`() {
        var queue = ByteQueue()
        queue.append([UInt8](repeating: 7, count: 300_000))
        let before = queue.byteCapacity
        queue.removeAll()
        let (after, count) = (queue.byteCapacity, queue.count)
        #expect(after == before && count == 0)
    }

    @Test func `integers are little-endian`() {
        var queue = ByteQueue()
        queue.append(integer: UInt64(0x0102_0304_0506_0708))
        queue.append(integer: UInt16(0x0A0B))
        queue.append(0xCC)
        #expect(contents(queue) == [8, 7, 6, 5, 4, 3, 2, 1, 0x0B, 0x0A, 0xCC])
    }

    @Test func `short text is cut at a character`() {
        var queue = ByteQueue()
        queue.append(shortText: String(repeating: "a", count: 63) + "é")
        #expect(contents(queue) == [63] + [UInt8](repeating: 0x61, count: 63))
    }
}
