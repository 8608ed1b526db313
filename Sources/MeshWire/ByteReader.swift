/// Reads a message's fields from a range of bytes, in order, never past its end.
///
/// Spans cannot be stored (SE-0447), so each read is given the bytes again.
public struct ByteReader: Sendable {
    public private(set) var at: Int
    public let end: Int

    public init(_ bytes: Span<UInt8>, from start: Int, to end: Int) {
        precondition(start >= 0 && start <= end && end <= bytes.count)
        at = start
        self.end = end
    }

    public var remaining: Int { end - at }

    @inline(__always)
    public mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(
        _ type: Value.Type, _ bytes: Span<UInt8>
    ) throws(WireError) -> Value {
        guard remaining >= MemoryLayout<Value>.size else { throw .lengthsDisagree }
        defer { at += MemoryLayout<Value>.size }
        return bytes.load(Value.self, at: at)
    }

    public mutating func byte(_ bytes: Span<UInt8>) throws(WireError) -> UInt8 {
        try integer(UInt8.self, bytes)
    }

    public mutating func id(_ bytes: Span<UInt8>) throws(WireError) -> NodeID {
        NodeID(try integer(UInt64.self, bytes))
    }

    /// A number in an origin's log: 0 … `DirectoryRecords.sequenceMax`; 0 stands before the first.
    public mutating func sequence(_ bytes: Span<UInt8>) throws(WireError) -> UInt64 {
        let value = try integer(UInt64.self, bytes)
        guard value <= DirectoryRecords.sequenceMax else { throw .invalidValue(field: "sequence") }
        return value
    }

    /// A birth: 0 … `Incarnation.lifeMax`.
    public mutating func life(_ bytes: Span<UInt8>) throws(WireError) -> UInt64 {
        let value = try integer(UInt64.self, bytes)
        guard value <= Incarnation.lifeMax else { throw .invalidValue(field: "life") }
        return value
    }

    /// A position in a set of keys: 0 … `SnapshotPart.lastPosition`.
    public mutating func position(_ bytes: Span<UInt8>) throws(WireError) -> UInt64 {
        let value = try integer(UInt64.self, bytes)
        guard value <= SnapshotPart.lastPosition else { throw .invalidValue(field: "position") }
        return value
    }

    /// A 16-bit count of items of at least `least` bytes each, checked against what is left.
    public mutating func count(
        least: Int, max: Int, _ bytes: Span<UInt8>
    ) throws(WireError) -> Int {
        let count = Int(try integer(UInt16.self, bytes))
        guard count <= max else { throw .tooMany(count) }
        guard count * least <= remaining else { throw .lengthsDisagree }
        return count
    }

    public mutating func slice(_ count: Int) throws(WireError) -> Slice {
        guard count >= 0, count <= remaining else { throw .lengthsDisagree }
        defer { at += count }
        return Slice(start: at, count: count)
    }

    /// Text of at most 64 bytes after one byte of length.
    public mutating func shortText(_ bytes: Span<UInt8>) throws(WireError) -> String {
        let count = Int(try byte(bytes))
        guard count <= 64 else { throw .tooMany(count) }
        let slice = try slice(count)
        // Names are nearly always ASCII, and up to 15 bytes of it are no allocation.
        if let text = bytes.asciiText(slice) { return text }
        guard let text = String(validating: bytes.array(slice), as: UTF8.self) else {
            throw .notUTF8
        }
        return text
    }

    public func finish() throws(WireError) {
        guard remaining == 0 else { throw .trailingBytes(remaining) }
    }
}

extension Span<UInt8> {
    /// The text that `slice` names if all of it is ASCII; nil if not.
    @inline(__always)
    fileprivate func asciiText(_ slice: Slice) -> String? {
        if slice.count == 0 { return "" }
        let start = Int(slice.start)
        var union: UInt8 = 0
        for index in 0..<Int(slice.count) { union |= self[start + index] }
        guard union < 0x80 else { return nil }
        return unsafe String(unsafeUninitializedCapacity: Int(slice.count)) { buffer in
            for index in 0..<Int(slice.count) {
                unsafe buffer[index] = self[start + index]
            }
            return Int(slice.count)
        }
    }

    /// A copy of the bytes that `slice` names.
    public func array(_ slice: Slice) -> [UInt8] {
        let part = extracting(Int(slice.start)..<slice.end)
        return unsafe part.withUnsafeBufferPointer { unsafe [UInt8]($0) }
    }
}

extension ByteQueue {
    /// At most 64 bytes of UTF-8, cut at a character, after one byte of length.
    public mutating func append(shortText text: String) {
        var cut = text
        while cut.utf8.count > 64 { cut.removeLast() }
        append(UInt8(cut.utf8.count))
        append(Array(cut.utf8))
    }

    public mutating func append(_ id: NodeID) {
        append(integer: id.rawValue)
    }

    mutating func append(_ endpoint: Endpoint) {
        append(endpoint.isIPv6 ? 6 : 4)
        append(integer: endpoint.port)
        if endpoint.isIPv6 {
            append(integer: endpoint.high)
            append(integer: endpoint.low)
        } else {
            append(integer: UInt32(truncatingIfNeeded: endpoint.low))
        }
    }
}

extension ByteReader {
    mutating func endpoint(_ bytes: Span<UInt8>) throws(WireError) -> Endpoint {
        let family = try byte(bytes)
        let port = try integer(UInt16.self, bytes)
        switch family {
        case 4: return Endpoint(ipv4: try integer(UInt32.self, bytes), port: port)
        case 6:
            let high = try integer(UInt64.self, bytes)
            return Endpoint(ipv6High: high, low: try integer(UInt64.self, bytes), port: port)
        default: throw .invalidValue(field: "address family")
        }
    }
}
