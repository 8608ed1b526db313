import MeshWire

/// The place of a large message in `RetransmissionBuffer.parcels`.
struct ParcelIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// Messages that are kept until they are acknowledged: a queue for each flow, and what is too large
/// to be moved about, once for all flows.
///
///     entry:  number 4 │ payload 4 │ name 2 │ body 1 │ fate 1 │ parcel 4 │ key 8 │ sender 8 │ bytes
///     body:   labelled 1 bit │ number 7 bits
///     fate:   taken back 1 bit │ copies 7 bits
///
/// Acknowledgements are cumulative, so a flow's messages leave in the order in which they came: a
/// byte queue that is written at the back and drained at the front allocates nothing once it has
/// grown. A message to several nodes stands in the queue of each; from `parcelLeast` bytes on it is
/// stored once and counted (`Parcel`).
struct RetransmissionBuffer {
    /// The bytes that an entry has in front of its message.
    static let headerSize = 32
    /// Messages of this size are stored by themselves: an allocation and a copy cost less than to
    /// move it when its queue grows, and several flows share it.
    static let parcelLeast = 4 * 1024

    /// A message's fields, without its bytes.
    struct Header {
        var number: UInt32
        var payloadCount: Int
        var nameCount: Int
        var body: RoutedBody
        /// The payload begins with a label.
        var isLabelled: Bool
        /// None: the bytes follow.
        var parcel: ParcelIndex
        var key: Key
        var sender: UInt64
        /// The nodes that the message has gone to, the origin among them if clients of it were meant;
        /// 127 for more.
        var copyCount: Int
        /// It has found its user gone, and has gone another way.
        var isTakenBack: Bool

        /// Bytes in the queue.
        @inline(__always) var entrySize: Int {
            RetransmissionBuffer.headerSize + (parcel.isNone ? nameCount + payloadCount : 0)
        }
        /// Its cost in its flow's window.
        @inline(__always) var cost: Int {
            RetransmissionBuffer.headerSize + nameCount + payloadCount
        }
    }

    /// A large message.
    struct Parcel {
        var bytes: [UInt8] = []
        var references = 0
        var lane = Lane.messages
    }

    private(set) var parcels: [Parcel] = []
    private var free: [ParcelIndex] = []
    /// The cost of all messages that are kept, each as often as it is stored.
    private(set) var byteCount = 0
    /// The same of the bulk lane.
    private(set) var bulkByteCount = 0

    /// Stores a large message, to be referred to by at least one entry right away; none for one
    /// that is stored in the queues.
    @inline(__always)
    mutating func parcel(
        name: Slice, payload: Slice, _ bytes: Span<UInt8>, _ lane: Lane = .messages
    ) -> ParcelIndex {
        guard Int(name.count) + Int(payload.count) >= Self.parcelLeast else { return .none }
        return makeParcel(name, payload, bytes, lane)
    }

    @inline(never)
    private mutating func makeParcel(
        _ name: Slice, _ payload: Slice, _ bytes: Span<UInt8>, _ lane: Lane
    ) -> ParcelIndex {
        store(Parcel(bytes: bytes.array(name) + bytes.array(payload), lane: lane))
    }

    /// Stores the whole of a large message (`Part`), to be retained by each of its flows. It counts as one
    /// of the messages' lane: what publishers may keep is one sum.
    mutating func makeParcel(_ bytes: [UInt8]) -> ParcelIndex {
        store(Parcel(bytes: bytes, lane: .messages))
    }

    private mutating func store(_ parcel: Parcel) -> ParcelIndex {
        noteBytes(parcel.bytes.count, parcel.lane)
        if let index = free.popLast() {
            parcels[index.slot] = parcel
            return index
        }
        parcels.append(parcel)
        return ParcelIndex(parcels.count - 1)
    }

    /// A flow keeps the parcel, until it releases it.
    mutating func retain(_ parcel: ParcelIndex) { parcels[parcel.slot].references += 1 }

    func bytes(of parcel: ParcelIndex) -> [UInt8] { parcels[parcel.slot].bytes }

    /// Forgets a parcel that nobody has come to refer to.
    mutating func releaseUnused(_ parcel: ParcelIndex) {
        guard !parcel.isNone, parcels[parcel.slot].references == 0 else { return }
        discard(parcel)
    }

    @inline(__always)
    private mutating func noteBytes(_ bytes: Int, _ lane: Lane) {
        switch lane {
        case .messages: byteCount += bytes
        case .bulk: bulkByteCount += bytes
        }
    }

    private mutating func discard(_ parcel: ParcelIndex) {
        noteBytes(-parcels[parcel.slot].bytes.count, parcels[parcel.slot].lane)
        parcels[parcel.slot] = Parcel()
        free.append(parcel)
    }

    /// Appends an entry to a flow's queue.
    @inline(__always)
    mutating func append(
        _ body: RoutedBody, _ key: Key, number: UInt32, name: Slice, payload: Slice,
        sender: UInt64, parcel: ParcelIndex, copyCount: Int, isLabelled: Bool = false,
        _ bytes: Span<UInt8>, _ lane: Lane = .messages, to queue: inout ByteQueue
    ) {
        let size = Int(name.count) + Int(payload.count)
        let inlineCount = parcel.isNone ? size : 0
        let target = unsafe queue.reserve(Self.headerSize)
        let numbered =
            UInt64(number)
            | UInt64(UInt32(bitPattern: payload.count)) << 32
        let rest =
            UInt64(UInt16(truncatingIfNeeded: name.count)) | UInt64(body.rawValue) << 16
            | (isLabelled ? Self.labelBit : 0)
            | UInt64(truncatingIfNeeded: min(copyCount, 127)) << 24
            | UInt64(UInt32(bitPattern: parcel.rawValue)) << 32
        unsafe target.storeBytes(of: numbered.littleEndian, as: UInt64.self)
        unsafe (target + 8).storeBytes(of: rest.littleEndian, as: UInt64.self)
        unsafe (target + 16).storeBytes(of: key.rawValue.littleEndian, as: UInt64.self)
        unsafe (target + 24).storeBytes(of: sender.littleEndian, as: UInt64.self)
        noteBytes(Self.headerSize + inlineCount, lane)
        if parcel.isNone {
            queue.append(bytes, Int(name.start), Int(name.count))
            queue.append(bytes, Int(payload.start), Int(payload.count))
        } else {
            parcels[parcel.slot].references += 1
        }
    }

    /// Appends the entry of a part, a piece of `count` bytes of a parcel. Where the piece begins stands in
    /// place of a key, the size of the whole in place of a number.
    mutating func appendPart(
        _ part: Part, count: Int, parcel: ParcelIndex, to queue: inout ByteQueue
    ) {
        // Of a message with a parcel no bytes are read.
        let none: [UInt8] = []
        append(
            .part, Key(UInt64(part.start)), number: UInt32(part.size), name: .empty,
            payload: Slice(start: 0, count: count), sender: 0, parcel: parcel, copyCount: 1,
            none.span, .bulk, to: &queue)
    }

    /// Appends the payload of a part's frame.
    func copyPart(_ header: Header, to target: inout ByteQueue) {
        let start = Int(header.key.rawValue)
        target.append(Part(start: start, size: Int(header.number)))
        let bytes = parcels[header.parcel.slot].bytes
        target.append(bytes.span, start, header.payloadCount)
    }

    /// The entry that starts at `offset` of a flow's queue.
    @inline(__always)
    static func header(_ queue: borrowing ByteQueue, at offset: Int) -> Header {
        queue.withSpan { span in
            let (numbered, rest, key, sender) = span.loadFourWords(at: offset)
            return Header(
                number: UInt32(truncatingIfNeeded: numbered), payloadCount: Int(numbered >> 32),
                nameCount: Int(rest & 0xFFFF),
                body: RoutedBody(number: UInt8(truncatingIfNeeded: rest >> 16 & 0x7F)) ?? .channel,
                isLabelled: rest & labelBit != 0,
                parcel: ParcelIndex(
                    rawValue: Int32(bitPattern: UInt32(truncatingIfNeeded: rest >> 32))),
                key: Key(key), sender: sender, copyCount: Int(rest >> 24 & 0x7F),
                isTakenBack: rest & fateBit != 0)
        }
    }

    /// Of the eight bytes at 8: the message has been taken back.
    private static var fateBit: UInt64 { 1 << 31 }
    /// The same: its payload begins with a label.
    private static var labelBit: UInt64 { 1 << 23 }

    /// The entry stays until it is acknowledged, but nobody is told of its end.
    static func markTakenBack(_ queue: inout ByteQueue, at offset: Int) {
        let rest = queue.withSpan { $0.load(UInt64.self, at: offset + 8) }
        queue.overwrite(integer: rest | fateBit, at: offset + 8)
    }

    /// An entry refers to a parcel no more.
    mutating func release(_ parcel: ParcelIndex) {
        parcels[parcel.slot].references -= 1
        if parcels[parcel.slot].references == 0 { discard(parcel) }
    }

    /// Entries of so many bytes have been dropped by their flow, which has released their parcels.
    mutating func noteDropped(_ bytes: Int, _ lane: Lane) { noteBytes(-bytes, lane) }

    /// Appends `count` of an entry's bytes (its name, then its payload) to `target`.
    func copyBytes(
        _ header: Header, of queue: borrowing ByteQueue, at offset: Int, count: Int,
        to target: inout ByteQueue
    ) {
        if !header.parcel.isNone {
            let bytes = parcels[header.parcel.slot].bytes
            target.append(bytes.span, 0, count)
        } else {
            queue.withSpan { target.append($0, offset + Self.headerSize, count) }
        }
    }
}
