/// Sets of keys on the wire: differences of positions (`Key.position`) in groups of seven bits.
///
/// A set travels in parts. Each says which range of positions it covers, so that it can be applied
/// by itself: keys of the range that it does not list are not in the set. The encoding of a part
/// with range `first ... last`:
///
///     count, 2 bytes │ position 0 − first │ position 1 − position 0 │ …
///
/// Each difference is a little-endian number in groups of seven bits, the upper bit set on all but
/// its last byte, in as few bytes as possible (LEB128, DWARF 5 §7.6): 1 … 7 bytes, 5 for 100,000
/// random keys, 4 for a million. Only the first difference may be 0.
public enum KeySet {
    /// Bounds the encoded keys of one part: what a link sends between two heartbeats without
    /// delaying them, at 1 MB/s in 33 ms. Guess, not yet measured.
    public static let partBytesMax = 32 * 1024

    /// One part of a set: which of its keys, and the range that they cover.
    public struct Part: Equatable, Sendable {
        /// Indices into the sorted keys.
        public var indices: Range<Int>
        public var first: UInt64
        public var last: UInt64
        /// False for the part that takes the last of the keys.
        public var continues: Bool
    }

    /// The part of a set that starts at position `first` and takes at most `partBytesMax` bytes and
    /// `SnapshotPart.keyCountMax` keys. The next one, if it `continues`, starts at its `last + 1`.
    ///
    /// - Parameters:
    ///   - keys: sorted by position, and different.
    ///   - last: the position up to which `keys` are all of the set; none lies behind it.
    public static func part(
        of keys: [Key], from first: UInt64, through last: UInt64 = SnapshotPart.lastPosition
    ) -> Part {
        precondition(first <= last && last <= SnapshotPart.lastPosition)
        let start = firstIndex(in: keys, from: first)
        var end = start
        var bytes = 2
        var previous = first
        while end < keys.count, end - start < SnapshotPart.keyCountMax {
            bytes += byteCount(ofDifference: keys[end].position - previous)
            if bytes > partBytesMax { break }
            previous = keys[end].position
            end += 1
        }
        let continues = end < keys.count
        return Part(
            indices: start..<end, first: first,
            last: continues ? keys[end].position - 1 : last, continues: continues)
    }

    /// The index of the first key that does not lie before `position`.
    private static func firstIndex(in keys: [Key], from position: UInt64) -> Int {
        partitionPoint(keys.count) { keys[$0].position < position }
    }

    private static func byteCount(ofDifference difference: UInt64) -> Int {
        max(1, (70 - difference.leadingZeroBitCount) / 7)
    }
}

extension ByteQueue {
    /// Appends a part of a set: different keys sorted by position, none before `first`.
    public mutating func append(keys: ArraySlice<Key>, from first: UInt64) {
        precondition(keys.count <= SnapshotPart.keyCountMax)
        append(integer: UInt16(keys.count))
        var previous = first
        for key in keys {
            let position = key.position
            var difference = position - previous
            previous = position
            while difference >= 0x80 {
                append(UInt8(truncatingIfNeeded: difference) | 0x80)
                difference >>= 7
            }
            append(UInt8(difference))
        }
    }
}

extension ByteReader {
    /// A part of a set: different keys sorted by position, within `first ... last`.
    ///
    /// - Throws: `.tooMany` above `SnapshotPart.keyCountMax` keys, `.lengthsDisagree` when the bytes
    ///   end too early, `.invalidValue` for a difference that is not in its shortest form, is 0, or
    ///   leads out of the range.
    public mutating func keys(
        from first: UInt64, through last: UInt64, _ bytes: Span<UInt8>
    ) throws(WireError) -> [Key] {
        precondition(first <= last && last <= SnapshotPart.lastPosition)
        let count = try count(least: 1, max: SnapshotPart.keyCountMax, bytes)
        var keys: [Key] = []
        keys.reserveCapacity(count)
        var previous = first
        for index in 0..<count {
            let difference = try keyDifference(bytes)
            guard difference <= last - previous, index == 0 || difference > 0 else {
                throw .invalidValue(field: "key order")
            }
            previous += difference
            keys.append(Key(position: previous))
        }
        return keys
    }

    private mutating func keyDifference(_ bytes: Span<UInt8>) throws(WireError) -> UInt64 {
        var difference: UInt64 = 0
        // Seven groups hold 49 bits; more than 48 are caught by the range.
        for shift in stride(from: UInt64(0), to: 49, by: 7) {
            let byte = try byte(bytes)
            difference |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 {
                guard byte > 0 || shift == 0 else { break }
                return difference
            }
        }
        throw .invalidValue(field: "key difference")
    }
}
