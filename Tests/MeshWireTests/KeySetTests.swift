import Testing

@testable import MeshWire

private func encode(_ keys: [Key], from first: UInt64 = 0) -> [UInt8] {
    var queue = ByteQueue()
    queue.append(keys: keys[...], from: first)
    return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
}

/// Decodes all of `bytes` as one part.
private func decode(
    _ bytes: [UInt8], from first: UInt64 = 0, through last: UInt64 = SnapshotPart.lastPosition
) throws(WireError) -> [Key] {
    var reader = ByteReader(bytes.span, from: 0, to: bytes.count)
    let keys = try reader.keys(from: first, through: last, bytes.span)
    try reader.finish()
    return keys
}

private func randomKeys(_ count: Int, seed: UInt64) -> [Key] {
    var random = Generator(state: seed)
    return Set((0..<count).map { _ in Key(random.next()) })
        .sorted { $0.position < $1.position }
}

private let edges: [[UInt64]] = [
    [], [0], [0, 1], [0xFFFF_FFFF_FFFF], [0, 0xFFFF_FFFF_FFFF],
    [127, 128, 255, 256, 16_639, 33_022],
    (0..<49).map { UInt64(1) << $0 - 1 },
]

/// A list of bytes that no node writes, and the error that it deserves.
private struct Malformed: Sendable, CustomTestStringConvertible {
    var bytes: [UInt8]
    var error: WireError

    init(_ bytes: [UInt8], _ error: WireError) {
        self.bytes = bytes
        self.error = error
    }

    var testDescription: String { "\(bytes.prefix(12))" }
}

private let malformed = [
    // A difference of 0 after the first key, and one that leads past the last key of all.
    Malformed([2, 0, 5, 0], .invalidValue(field: "key order")),
    Malformed(
        [1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40], .invalidValue(field: "key order")),
    // Eight groups, a last group of zeros, and only continued ones.
    Malformed(
        [1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        .invalidValue(field: "key difference")),
    Malformed([1, 0, 0x81, 0], .invalidValue(field: "key difference")),
    Malformed(
        [1, 0] + [UInt8](repeating: 0xFF, count: 30), .invalidValue(field: "key difference")),
    // More keys than a part has, and more than there are bytes.
    Malformed([0x01, 0x20] + [UInt8](repeating: 1, count: 0x2001), .tooMany(0x2001)),
    Malformed([0x00, 0x20, 1], .lengthsDisagree),
]

@Suite struct `Key set` {
    @Test(arguments: edges)
    func `sets with extreme keys survive the wire`(raw: [UInt64]) throws {
        let keys = raw.map { Key(position: $0) }
        #expect(try decode(encode(keys)) == keys)
    }

    @Test(arguments: [1, 2, 100, 5_000])
    func `random sets survive the wire`(count: Int) throws {
        let keys = randomKeys(count, seed: UInt64(count))
        #expect(try decode(encode(keys)) == keys)
        let first = keys[0].position
        let last = keys[keys.count - 1].position
        #expect(try decode(encode(keys, from: first), from: first, through: last) == keys)
    }

    @Test func `a snapshot travels in parts that cover all keys and fit their bound`() throws {
        for count in [0, 1, 6_000, 100_000] {
            let keys = randomKeys(count, seed: 9)
            var next: UInt64 = 0
            var received: [Key] = []
            var bytes = 0
            var partCount = 0
            while true {
                let part = KeySet.part(of: keys, from: next)
                #expect(part.first == next && part.last >= next)
                let encoded = encode(Array(keys[part.indices]), from: part.first)
                #expect(encoded.count <= KeySet.partBytesMax)
                received += try decode(encoded, from: part.first, through: part.last)
                bytes += encoded.count
                partCount += 1
                if !part.continues {
                    #expect(part.last == SnapshotPart.lastPosition)
                    break
                }
                next = part.last + 1
            }
            #expect(received == keys)
            // Differences of 100,000 random keys are below 2^35 nearly always: five bytes.
            if count == 100_000 { #expect(bytes < 500_500 && partCount <= 16) }
        }
    }

    @Test func `dense keys are bounded by number`() {
        let keys = (0..<20_000).map { Key(position: UInt64($0)) }
        let part = KeySet.part(of: keys, from: 0)
        #expect(part.indices.count == SnapshotPart.keyCountMax)
        #expect(part.last == UInt64(SnapshotPart.keyCountMax) - 1)
    }

    @Test func `a part may start in the middle and after the end`() {
        let keys = [10, 20, 30].map { Key(position: $0) }
        let middle = KeySet.part(of: keys, from: 15)
        #expect(middle.indices == 1..<3)
        let after = KeySet.part(of: keys, from: 31)
        #expect(after.indices.isEmpty && !after.continues)
        #expect(after.last == SnapshotPart.lastPosition)
    }

    @Test func `every truncation is refused`() {
        let bytes = encode(randomKeys(50, seed: 3))
        for count in 0..<bytes.count {
            #expect(throws: WireError.lengthsDisagree) { try decode(Array(bytes[..<count])) }
        }
    }

    @Test func `a byte too many is refused`() {
        #expect(throws: WireError.trailingBytes(1)) {
            try decode(encode(randomKeys(9, seed: 4)) + [0])
        }
    }

    /// The rest of the bytes decides: whatever is accepted is encoded in exactly one way.
    @Test func `corrupt bytes are refused or mean something else`() throws {
        let bytes = encode(randomKeys(40, seed: 5))
        var accepted = 0
        for at in bytes.indices {
            for bit in 0..<8 {
                var corrupt = bytes
                corrupt[at] ^= 1 << bit
                guard let keys = try? decode(corrupt) else { continue }
                accepted += 1
                #expect(encode(keys) == corrupt)
                #expect(zip(keys, keys.dropFirst()).allSatisfy { $0.position < $1.position })
            }
        }
        #expect(accepted > 0)
    }

    @Test func `random bytes never decode to an unsorted or ambiguous set`() {
        var random = Generator(state: 6)
        for _ in 0..<20_000 {
            let count = random.next(below: 4)
            let bytes = [UInt8(count), 0] + random.bytes(random.next(below: 20))
            guard let keys = try? decode(bytes) else { continue }
            #expect(encode(keys) == bytes)
            #expect(keys.count == count)
        }
    }

    @Test(arguments: malformed)
    private func `a list that no encoder writes is refused`(list: Malformed) {
        #expect(throws: list.error) { try decode(list.bytes) }
    }

    @Test func `a key outside the part's range is refused`() throws {
        let bytes = encode([Key(position: 100), Key(position: 200)], from: 100)
        #expect(try decode(bytes, from: 100, through: 200).count == 2)
        #expect(throws: WireError.invalidValue(field: "key order")) {
            try decode(bytes, from: 100, through: 199)
        }
    }
}
