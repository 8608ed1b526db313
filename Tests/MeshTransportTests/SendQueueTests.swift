import MeshCore
import MeshWire
import Testing

@testable import MeshTransport

/// A frame of this size whose bytes after the prefix all are `mark`.
private func frame(_ size: Int, _ mark: UInt8) -> [UInt8] {
    var bytes = [UInt8](repeating: mark, count: size)
    for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: size >> (8 * index)) }
    bytes[4] = FrameKind.link.rawValue
    return bytes
}

extension SendQueue {
    fileprivate mutating func add(_ bytes: [UInt8], isControl: Bool) {
        append(
            ByteQueue(), .empty, bytes.span, Slice(start: 0, count: bytes.count),
            isControl: isControl)
    }

    /// The next `size` bytes in the order of the wire.
    fileprivate mutating func take(_ size: Int) -> [UInt8] {
        let messages = self.messages.withBytes { Array($0) }
        let control = self.control.withBytes { Array($0) }
        let all = messages[..<interrupted] + control + messages[interrupted...]
        advance(size)
        return Array(all.prefix(size))
    }
}

@Suite struct SendQueueTests {
    @Test func `control frames leave before messages that have waited longer`() {
        var queue = SendQueue()
        queue.add(frame(20, 1), isControl: false)
        queue.add(frame(10, 2), isControl: true)
        let sent = queue.take(30)
        #expect(sent == frame(10, 2) + frame(20, 1))
        let isEmpty = queue.isEmpty
        #expect(isEmpty)
    }

    @Test func `a message frame that was cut ends before control begins`() {
        var queue = SendQueue()
        queue.add(frame(20, 1), isControl: false)
        queue.add(frame(20, 3), isControl: false)
        var sent = queue.take(5)
        queue.add(frame(10, 2), isControl: true)
        sent += queue.take(45)
        #expect(sent == frame(20, 1) + frame(10, 2) + frame(20, 3))
    }

    @Test func `the head of a frame comes from the effects and its body from the event`() {
        var heads = ByteQueue()
        heads.append([9, 1, 2, 3])
        var queue = SendQueue()
        let body: [UInt8] = [7, 4, 5, 7]
        queue.append(
            heads, Slice(start: 1, count: 3), body.span, Slice(start: 1, count: 2),
            isControl: true)
        let sent = queue.take(5)
        #expect(sent == [1, 2, 3, 4, 5])
    }

    @Test(arguments: 1...64) func `frames stay whole however the socket cuts them`(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        var queue = SendQueue()
        var wire: [UInt8] = []
        var queued: [Bool: [[UInt8]]] = [true: [], false: []]
        for step in 0..<200 {
            if step < 150 {
                let isControl = random.next(below: 3) == 0
                var bytes = frame(9 + random.next(below: 60), UInt8(truncatingIfNeeded: step))
                bytes[5] = isControl ? 1 : 0
                queued[isControl]!.append(bytes)
                queue.add(bytes, isControl: isControl)
            }
            let count = queue.count
            wire += queue.take(random.next(below: min(count, 90) + 1))
        }
        let rest = queue.count
        wire += queue.take(rest)

        var arrived: [Bool: [[UInt8]]] = [true: [], false: []]
        var at = 0
        while at + 9 <= wire.count {
            let size = Int(wire.span.load(UInt32.self, at: at))
            guard size >= 9, at + size <= wire.count else { break }
            let bytes = Array(wire[at..<(at + size)])
            arrived[bytes[5] == 1]!.append(bytes)
            at += size
        }
        #expect(at == wire.count)
        #expect(arrived == queued)
    }
}

extension SendQueue {
    fileprivate mutating func addBulk(_ bytes: [UInt8]) {
        appendBulk(ByteQueue(), .empty, bytes.span, Slice(start: 0, count: bytes.count))
    }
}

/// Bulk goes behind messages, and goes on all the same.
@Suite struct BulkOrderTests {
    /// The marks of the next frames, `size` bytes of them.
    private func take(_ size: Int, from queue: inout SendQueue) -> [UInt8] {
        queue.admitBulk()
        return queue.take(min(size, queue.count - queue.bulk.count))
    }

    @Test func `a message passes bulk that waits, but not a frame that has begun`() {
        var queue = SendQueue()
        for _ in 0..<10 { queue.addBulk(frame(30_000, 3)) }
        queue.admitBulk()
        let joined = queue.messages.count
        #expect(joined == 90_000)
        queue.add(frame(100, 1), isControl: false)
        queue.add(frame(50, 2), isControl: true)
        let sent = queue.take(90_150)
        #expect(
            sent == frame(50, 2) + frame(30_000, 3) + frame(30_000, 3) + frame(30_000, 3)
                + frame(100, 1))
    }

    @Test func `a steady stream of messages still lets a bulk frame pass now and then`() {
        var queue = SendQueue()
        for _ in 0..<4 { queue.add(frame(50_000, 1), isControl: false) }
        for _ in 0..<4 { queue.addBulk(frame(30_000, 3)) }
        var bulk = 0
        for _ in 0..<40 {
            queue.add(frame(50_000, 1), isControl: false)
            let sent = take(50_000, from: &queue)
            bulk += sent.count { $0 == 3 }
        }
        // 2 MB have left, and one frame joins for each 256 KiB of them.
        #expect(bulk >= 60_000)
        let isEmpty = queue.bulk.isEmpty
        #expect(isEmpty)
    }
}
