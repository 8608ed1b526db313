import MeshCore
import MeshWire

/// A stored message's place in `StoredMessages`; reused after the last that held it has let go.
struct StoredMessageIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The kind and the origin of a message for clients, whatever their protocol.
struct MessageTitle {
    var kind = MessageKind.channel
    /// Messages of one group are of one channel or user: of them `latest` keeps the newest.
    var group: UInt64 = 0
    var key = Key(0)
    /// The message that it is a copy of.
    var id = MessageID.none

    init() {}

    init(_ kind: MessageKind, _ key: Key, id: MessageID = .none) {
        self.kind = kind
        self.key = key
        self.id = id
        group = key.rawValue | UInt64(kind.rawValue) << 56
    }

    /// A channel's message for the subscribers of a pattern.
    ///
    /// - Parameter topic: the pattern's.
    init(_ channel: Key, under topic: TopicIndex, id: MessageID) {
        self.init(.pattern, channel, id: id)
        // The key has 48 bits. A pattern's number may meet other bits of it; that two channels of
        // one client share a group is as rare as that their keys are equal.
        group ^= (UInt64(UInt32(bitPattern: topic.rawValue)) &* 0x9E37_79B9_7F4A_7C15) >> 8
    }

    /// The key of the user whose messages have this group; nil: they are no user's.
    @inline(__always)
    static func userKey(of group: UInt64) -> Key? {
        group >> 56 == UInt64(MessageKind.user.rawValue) ? Key(group & 0xFF_FFFF_FFFF_FFFF) : nil
    }
}

/// Where the parts of a message stand in some bytes. Only a message of a pattern has a pattern.
struct MessageSlices {
    var pattern = Slice(start: 0, count: 0)
    var name = Slice(start: 0, count: 0)
    var payload = Slice(start: 0, count: 0)
}

/// A message that waits for at least one receiver.
struct StoredMessage {
    var title = MessageTitle()
    var slices = MessageSlices()
    /// Pattern, name and payload; never empty.
    var bytes: [UInt8] = []
    /// See `Hub.details`.
    var details: [UInt8] = []
    /// The bytes that it takes in a client's output, and that bounds count.
    var size = 0
    /// The mailboxes, and places in them, that have it; 0: the place is free.
    fileprivate(set) var holders: Int32 = 0
    /// No other message has had it, in this place or another; 0: the place is free.
    fileprivate var life: UInt64 = 0

    /// The memory that it takes.
    fileprivate var byteCount: Int {
        bytes.count + details.count + MemoryLayout<StoredMessage>.stride
    }

    var name: [UInt8] { Array(bytes[Int(slices.name.start)..<slices.name.end]) }
}

/// The messages that wait in mailboxes, each once for however many receivers. Nothing but mailboxes holds
/// them: whoever takes one out of a mailbox moves it to another or releases it.
struct StoredMessages: ~Copyable {
    /// A message that may be gone.
    struct Reference {
        fileprivate var index = StoredMessageIndex.none
        fileprivate var life: UInt64 = 0

        static let none = Reference()
    }

    private var places = SlotTable<StoredMessage>()
    private var lastLife: UInt64 = 0
    /// The memory of all stored messages, with some for the account of each.
    private(set) var byteCount = 0
    /// So many places are kept when nothing is stored; some 100 bytes each.
    private static let spareCount = 1_024

    /// Different messages that are stored.
    var count: Int { places.usedCount }

    subscript(index: StoredMessageIndex) -> StoredMessage {
        @inline(__always) _read { yield places[index] }
    }

    /// Stores a message with one holder, whose parts stand in `frame`.
    ///
    /// - Parameter size: the bytes that it takes in a client's output.
    mutating func insert(
        _ title: MessageTitle, _ parts: MessageSlices, details: [UInt8] = [], size: Int,
        of frame: Span<UInt8>
    ) -> StoredMessageIndex {
        let count = Int(parts.pattern.count) + Int(parts.name.count) + Int(parts.payload.count)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(max(count, 1))
        let slices = MessageSlices(
            pattern: bytes.append(parts.pattern, of: frame),
            name: bytes.append(parts.name, of: frame),
            payload: bytes.append(parts.payload, of: frame))
        if bytes.isEmpty { bytes.append(0) }
        var message = StoredMessage()
        message.title = title
        message.slices = slices
        message.bytes = bytes
        message.details = details
        message.size = size
        message.holders = 1
        byteCount += message.byteCount
        lastLife += 1
        message.life = lastLife
        return StoredMessageIndex(places.insert(message))
    }

    /// A reference that finds the message again as long as it is stored.
    func reference(to index: StoredMessageIndex) -> Reference {
        Reference(index: index, life: places[index].life)
    }

    /// The message with one holder more; nil: it is gone.
    mutating func retain(_ reference: Reference) -> StoredMessageIndex? {
        let index = reference.index
        guard !index.isNone, places.slots.contains(index.slot), places[index].life == reference.life
        else { return nil }
        places[index].holders += 1
        return index
    }

    mutating func retain(_ index: StoredMessageIndex) {
        precondition(places[index].holders > 0, "message \(index) is not stored")
        places[index].holders += 1
    }

    /// One holder less: with the last the message goes.
    mutating func release(_ index: StoredMessageIndex) {
        precondition(places[index].holders > 0, "message \(index) is not stored")
        places[index].holders -= 1
        guard places[index].holders == 0 else { return }
        byteCount -= places[index].byteCount
        places.vacate(index.slot, leaving: StoredMessage())
        places.trim(above: Self.spareCount)
    }

    /// Places for messages, used and free.
    var capacity: Int { places.slots.count }
}

extension [UInt8] {
    /// Appends a part of other bytes; returns where it stands now.
    fileprivate mutating func append(_ slice: Slice, of bytes: Span<UInt8>) -> Slice {
        let start = count
        let part = bytes.extracting(Int(slice.start)..<slice.end)
        unsafe part.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
        return Slice(start: start, count: Int(slice.count))
    }
}
