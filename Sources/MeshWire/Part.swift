/// A piece of a large message for clients, as the payload of a routed frame of the bulk lane:
///
///     offset size
///          0    4  where the piece begins in the whole
///          4    4  size of the whole, up to Part.wholeMax
///          8    …  the piece, at least one byte
///
/// The pieces of a whole follow one another in their flow. The whole is:
///
///          0    1  body: of a message for clients (RoutedBody); 128 more: a label stands before its payload
///          1    4  number of the message among all that its origin has published
///          5    6  key
///         11    2  length of the name
///         13    …  name, then payload
public struct Part: Equatable, Sendable {
    /// Bytes in front of the piece.
    public static let headerSize = 8
    /// Bytes of a whole in front of the name.
    public static let wholeHeaderSize = 13
    fileprivate static let labelBit: UInt8 = 128
    /// The largest whole: of a payload of the greatest size with the longest name.
    public static let wholeMax = wholeHeaderSize + Frame.nameLengthMax + Frame.payloadMax

    public var start: Int
    public var size: Int

    public init(start: Int, size: Int) {
        self.start = start
        self.size = size
    }

    /// Reads the fields in front of the piece; nil: no part has such.
    public init?(_ bytes: Span<UInt8>, _ payload: Slice) {
        guard payload.count > Part.headerSize else { return nil }
        start = Int(bytes.load(UInt32.self, at: Int(payload.start)))
        size = Int(bytes.load(UInt32.self, at: Int(payload.start) + 4))
        let end = start + Int(payload.count) - Part.headerSize
        guard size >= Part.wholeHeaderSize, size <= Part.wholeMax, end <= size else { return nil }
    }

    /// The fields of a whole in front of its name.
    public struct Whole: Equatable, Sendable {
        public var body: RoutedBody
        public var isLabelled: Bool
        public var number: UInt32
        public var key: Key
        public var nameCount: Int

        /// Nil: it is no message for clients, or shorter than it says.
        public init?(_ bytes: Span<UInt8>) {
            guard bytes.count >= Part.wholeHeaderSize,
                let body = RoutedBody(rawValue: bytes[0] & ~Part.labelBit), body.isForClients
            else { return nil }
            self.body = body
            isLabelled = bytes[0] & Part.labelBit != 0
            number = bytes.load(UInt32.self, at: 1)
            key = Key(
                UInt64(bytes.load(UInt32.self, at: 5))
                    | UInt64(bytes.load(UInt16.self, at: 9)) << 32)
            nameCount = Int(bytes.load(UInt16.self, at: 11))
            guard nameCount <= bytes.count - Part.wholeHeaderSize else { return nil }
            let start = Part.wholeHeaderSize + nameCount
            guard isLabelled else { return }
            let payload = Slice(start: start, count: bytes.count - start)
            guard body.takesLabel, LabelPrefix(bytes, payload) != nil else { return nil }
        }
    }
}

extension ByteQueue {
    public mutating func append(_ part: Part) {
        append(integer: UInt32(part.start))
        append(integer: UInt32(part.size))
    }
}

extension Part {
    /// The whole of a message, in memory of its own that is written once: it may be large.
    ///
    /// - Parameter isLabelled: `payload` begins with a label.
    public static func whole(
        _ body: RoutedBody, isLabelled: Bool = false, number: UInt32, _ key: Key, name: Slice,
        payload: Slice, _ bytes: Span<UInt8>
    ) -> [UInt8] {
        var head = ByteQueue()
        head.append(integer: body.rawValue | (isLabelled ? labelBit : 0))
        head.append(integer: number)
        head.append(integer: UInt32(truncatingIfNeeded: key.rawValue))
        head.append(integer: UInt16(truncatingIfNeeded: key.rawValue >> 32))
        head.append(integer: UInt16(truncatingIfNeeded: name.count))
        head.append(bytes, Int(name.start), Int(name.count))
        let count = head.count + Int(payload.count)
        return unsafe [UInt8](unsafeUninitializedCapacity: count) { target, written in
            var place = 0
            unsafe head.withBytes { head in
                for index in head.indices {
                    unsafe target.initializeElement(at: index, to: head[index])
                }
                place = head.count
            }
            unsafe bytes.extracting(Int(payload.start)..<payload.end).withUnsafeBufferPointer {
                _ = unsafe target[place...].initialize(fromContentsOf: $0)
            }
            written = count
        }
    }
}
