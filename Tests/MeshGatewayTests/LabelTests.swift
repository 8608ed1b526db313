import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// Labels as they stand in front of payloads, and the memory of ids.
@Suite struct LabelTests {
    private static let ids = (1...16).map {
        AttachmentID(node: NodeID(0x1234_5678_9ABC_DEF0 &+ UInt64($0)), number: UInt32($0) << 24)
    }

    private static var samples: [MessageLabel] {
        var samples: [MessageLabel] = []
        var label = MessageLabel()
        label.form = .json
        samples.append(label)
        label.sender = MessageLabel.Sender(user: Array("ann".utf8), id: nil, at: -1)
        samples.append(label)
        label.sender?.id = ids[0]
        label.once = .max
        samples.append(label)
        label.only = ids
        samples.append(label)
        label.except = ids.map { .attachment($0) }
        samples.append(label)
        label.except = (0..<16).map { .user([UInt8](repeating: UInt8($0), count: 512)) }
        label.rooms = (0..<15).map { [UInt8](repeating: UInt8($0), count: 512) }
        samples.append(label)
        label = MessageLabel()
        label.rooms = [[0]]
        samples.append(label)
        return samples
    }

    private static func read(_ bytes: [UInt8]) -> (label: MessageLabel, length: Int)? {
        var length = 0
        let whole = Slice(start: 0, count: bytes.count)
        return MessageLabel(bytes.span, whole, length: &length).map { ($0, length) }
    }

    @Test func `a label is read as it was written, and ends where its payload begins`() throws {
        for label in Self.samples {
            let bytes = label.bytes
            let read = try #require(Self.read(bytes + Array("payload".utf8)))
            #expect(read.label == label)
            #expect(read.length == bytes.count)
        }
    }

    @Test func `no label that is cut, longer than it says, or empty where it may not be is read`() {
        for label in Self.samples {
            let bytes = label.bytes
            for count in Swift.stride(from: 0, to: bytes.count, by: max(1, bytes.count / 97)) {
                #expect(Self.read(Array(bytes[..<count])) == nil)
                // The label says that it is so short, and its parts say otherwise.
                var short = Array(bytes[..<count])
                guard count >= 3 else { continue }
                short[0] = UInt8(count & 0xFF)
                short[1] = UInt8(count >> 8)
                #expect(Self.read(short) == nil, "\(label) cut to \(count)")
            }
            var long = bytes + [7]
            long[0] = UInt8(long.count & 0xFF)
            long[1] = UInt8(long.count >> 8)
            #expect(Self.read(long) == nil)
        }
        let odd: [[UInt8]] = [
            // No attachments, too many, a kind of exception that nobody knows, a form likewise, no user.
            [4, 0, 4, 0], [4, 0, 4, 17], [5, 0, 8, 1, 2], [4, 0, 64, 3], [4, 0, 64, 0],
            [25, 0, 1] + [UInt8](repeating: 0, count: 22), [6, 0, 16, 1, 0, 0],
        ]
        for bytes in odd { #expect(Self.read(bytes) == nil, "\(bytes)") }
    }

    @Test func `an id is known for two minutes, or until so many others have come`() {
        var memory = OnceMemory()
        let start = Instant(nanoseconds: 0)
        for id in 0..<UInt64(4) {
            let note = memory.note(id, most: 4, at: start + .seconds(Int64(id)))
            #expect(note.isNew && !note.forgetsEarly)
        }
        let known = memory.note(0, most: 4, at: start + .seconds(100))
        #expect(!known.isNew && !known.forgetsEarly)
        let fifth = memory.note(4, most: 4, at: start + .seconds(100))
        #expect(fifth.isNew && fifth.forgetsEarly)
        let first = memory.note(0, most: 8, at: start + .seconds(100))
        #expect(first.isNew)
        // The id that was noted after one second is forgotten after 121, and not before.
        let early = memory.note(1, most: 8, at: start + .seconds(120))
        #expect(!early.isNew)
        let late = memory.note(1, most: 8, at: start + .seconds(121))
        #expect(late.isNew && !late.forgetsEarly)
    }
}
