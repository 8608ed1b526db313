/// The frame of the link protocol: everything that travels between two nodes is a frame.
///
/// All integers are little-endian. Every frame starts with eight bytes:
///
///     offset size
///          0    4  length: of the whole frame, these four bytes included; 8 … Frame.lengthMax
///          4    1  kind: FrameKind
///          5    1  flags: FrameFlags
///          6    1  hops left: falls by one at each forwarder; a frame with 0 is not forwarded
///          7    1  body: what the message of a `.routed` or `.arc` frame is, see RoutedBody
///
/// A `.link` frame goes one hop; the rest of it is one control message (`Message`).
/// A `.routed` frame goes to a list of nodes. A forwarder reads the next table and copies the rest:
///
///          8    8  origin: NodeID of the node that sent it first
///         16    8  key: 48 bits; in the upper 16 bits the number of destinations, 1 … 65,535
///         24    4  number of the message among all that its origin has published, modulo 2^32: with
///                  the origin it names the message, on whatever ways it travels; of control 0
///         28    2  name length
///         30    2  hops taken so far, counted up by each receiver that forwards
///         32  16n  destinations, each: NodeID (8), sequence in its flow (4), potential (4)
///          …    8  with the flag `acknowledges` alone: acknowledged (4), missing (4), of the flow
///                  from the destination to the origin, in the frame's lane (`Message.acknowledge`)
///          …       name, then payload up to the frame's end
///
/// A flow is all that one node sends to another in one lane; it numbers its messages from 1 on, modulo
/// 2^32. Control messages and those with the flag `volatile` are in no flow: their sequence is 0.
///
/// The potential is the best the forwarder has seen: (ring distance from the destination to the
/// nearest node it can reach) >> 36 in the upper 28 bits, the steps to that node in the lower 2.
/// It must fall at every hop (MeshCore.docc/Routing.md). The two bits between say from which side of
/// the ring the message comes, and the distance is measured from there alone: 1 over the nodes that
/// lie before the destination, clockwise, 2 over those that lie after it; 0 and 3 either way, the
/// shorter one.
///
/// An `.arc` frame goes to every node on an arc of the ring, clockwise from its receiver:
///
///          8    8  origin
///         16    8  arc end: NodeID; the receiver serves the positions from itself, exclusive, to
///                  this, exclusive
///         24    …  one control message
public enum Frame {
    /// Bytes that every frame has.
    public static let prefixSize = 8
    /// Where the destinations of a `.routed` frame start.
    public static let routedHeaderSize = 32
    public static let destinationSize = 16
    /// Bytes of an acknowledgement that a message carries.
    public static let acknowledgementSize = 8
    /// Where the message of an `.arc` frame starts.
    public static let arcHeaderSize = 24
    /// The longest frame: a payload of 64 MiB with its name and many destinations. Longer ones close the link.
    public static let lengthMax = 66 * 1024 * 1024
    /// The largest payload that a node says it takes. Publishers are bounded by `lengthMax` alone so far.
    public static let payloadMax = 64 * 1024 * 1024
    /// The longest frame of a peer that has not been greeted yet. A greeting has at most 272 bytes;
    /// a stranger who announces more gets no memory for it.
    public static let greetingLengthMax = 512
    /// The most bytes behind the destinations of a traced frame: a query and the ids of the nodes on
    /// its way. Each forwarder writes all of them anew for each link.
    public static let tracedBytesMax = 4_096
    /// The longest arc frame with a message of a later version, which goes to every node unread: as
    /// long as one with the most records, patterns of the greatest length among them.
    public static let unknownArcLengthMax = 4 * 1024 * 1024
    /// The longest name of a user, room or channel. Redis has no such bound; a name that
    /// travels in every message needs one (two bytes of length).
    public static let nameLengthMax = 65_535
    /// The longest pattern, and how many one node may subscribe to with how many bytes of text: all of
    /// them are replicated to every node, and together they travel in one frame, which counts them in
    /// two bytes.
    public static let patternLengthMax = 1_024
    public static let patternCountMax = 65_535
    public static let patternBytesMax = 16 * 1024 * 1024
    /// The text of all patterns in the mesh, beyond which a node takes no new ones of its clients. Nodes
    /// that do so at the same time can pass it.
    public static let meshPatternBytesMax = 64 * 1024 * 1024
    /// The ring alone, of which every second node stands still, takes a hop a node: 125 among 250. Nothing
    /// goes round in a circle without it (MeshCore.docc/Routing.md).
    public static let hopLimit: UInt8 = 240
}

public enum FrameKind: UInt8, Sendable {
    case link = 1
    case routed = 2
    case arc = 3
}

/// Computed, not stored: a stored constant of another module is reached through a call each time.
public struct FrameFlags: OptionSet, Sendable {
    public var rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// No link of some forwarder leads as far as the potential said: from here on each hop must be
    /// strictly nearer than the node that takes it, by direct links alone, which cannot loop.
    @inlinable public static var strictlyGreedy: FrameFlags { FrameFlags(rawValue: 1) }
    /// Each forwarder appends its NodeID to the payload (`MESH.TRACE`).
    @inlinable public static var traced: FrameFlags { FrameFlags(rawValue: 2) }
    /// At most once: in no flow, not sent again, the first to be dropped where too much waits.
    @inlinable public static var volatile: FrameFlags { FrameFlags(rawValue: 4) }
    /// An acknowledgement stands behind the one destination.
    @inlinable public static var acknowledges: FrameFlags { FrameFlags(rawValue: 8) }
    /// A label stands in front of the payload (`RoutedHeader.hasKnownLabel`).
    @inlinable public static var labelled: FrameFlags { FrameFlags(rawValue: 16) }

    /// The sequence is one of the bulk lane; of a control message: what it says of a flow is of that
    /// lane.
    @inlinable public static var bulk: FrameFlags { FrameFlags(rawValue: 64) }

    @inlinable public init(_ lane: Lane) { self = lane == .bulk ? .bulk : [] }

    /// The lane that the frame's sequence belongs to.
    @inlinable public var lane: Lane { contains(.bulk) ? .bulk : .messages }

    /// A destination need not look for anything beyond the flags above the label's.
    @inlinable @inline(__always)
    public var arePlain: Bool { rawValue < FrameFlags.labelled.rawValue }

    /// Without those that are not plain.
    @inlinable public var plain: FrameFlags {
        FrameFlags(rawValue: rawValue & (FrameFlags.labelled.rawValue - 1))
    }
}

/// The first eight bytes of a frame, checked.
public struct FramePrefix: Sendable {
    public var length: Int
    public var kind: FrameKind
    public var flags: FrameFlags
    public var hopsLeft: UInt8
    public var body: UInt8

    @inlinable public init(
        length: Int, kind: FrameKind, flags: FrameFlags, hopsLeft: UInt8, body: UInt8
    ) {
        self.length = length
        self.kind = kind
        self.flags = flags
        self.hopsLeft = hopsLeft
        self.body = body
    }

    /// Reads the frame that starts at `offset`.
    ///
    /// - Parameter lengthMax: of the whole frame, `Frame.greetingLengthMax` or `Frame.lengthMax`.
    /// - Returns: nil when `bytes` ends before the frame does; `needed` then says how many bytes
    ///   from `offset` on are needed to go on (at least 1 more than there are).
    /// - Throws: `WireError` when no frame can start like this.
    @inlinable @inline(__always)
    public static func read(
        _ bytes: Span<UInt8>, at offset: Int, needed: inout Int, lengthMax: Int = Frame.lengthMax
    ) throws(WireError) -> FramePrefix? {
        let available = bytes.count - offset
        guard available >= Frame.prefixSize else {
            needed = Frame.prefixSize
            return nil
        }
        let word = unsafe UInt64(littleEndian: bytes.loadWhole(UInt64.self, at: offset))
        let length = Int(word & 0xFFFF_FFFF)
        guard length >= Frame.prefixSize else { throw .frameTooShort(length) }
        guard length <= lengthMax else {
            throw length <= Frame.lengthMax ? .greetingTooLong(length) : .frameTooLong(length)
        }
        let rawKind = UInt8(truncatingIfNeeded: word >> 32)
        guard let kind = FrameKind(rawValue: rawKind) else { throw .unknownFrameKind(rawKind) }
        let least = kind == .link ? 9 : kind == .routed ? 48 : 25
        guard length >= least else { throw .frameTooShort(length) }
        guard available >= length else {
            needed = length
            return nil
        }
        return FramePrefix(
            length: length, kind: kind,
            flags: FrameFlags(rawValue: UInt8(truncatingIfNeeded: word >> 40)),
            hopsLeft: UInt8(truncatingIfNeeded: word >> 48),
            body: UInt8(truncatingIfNeeded: word >> 56))
    }
}

/// The fixed header of a `.routed` frame, its lengths checked against the frame's.
public struct RoutedHeader: Sendable {
    public var origin: NodeID
    public var key: Key
    public var destinationCount: Int
    /// The message's number among its origin's.
    public var number: UInt32
    public var nameLength: Int
    public var hopsTaken: UInt16
    /// Offset of what a forwarder copies, from the frame's start: all behind the destinations.
    public var restOffset: Int
    /// Offset of the name from the frame's start.
    public var nameOffset: Int
    public var payloadOffset: Int

    @inlinable @inline(__always)
    public var id: MessageID { MessageID(origin: origin, number: number) }

    @inlinable init(
        origin: NodeID, key: Key, destinationCount: Int, number: UInt32, nameLength: Int,
        hopsTaken: UInt16, restOffset: Int, nameOffset: Int, payloadOffset: Int
    ) {
        self.origin = origin
        self.key = key
        self.destinationCount = destinationCount
        self.number = number
        self.nameLength = nameLength
        self.hopsTaken = hopsTaken
        self.restOffset = restOffset
        self.nameOffset = nameOffset
        self.payloadOffset = payloadOffset
    }

    @inlinable @inline(__always)
    public static func read(
        _ bytes: Span<UInt8>, at offset: Int, _ prefix: FramePrefix
    ) throws(WireError) -> RoutedHeader {
        let (_, origin, word, rest) = bytes.loadFourWords(at: offset)
        let destinationCount = Int(word >> 48)
        let nameLength = Int(rest >> 32 & 0xFFFF)
        let restOffset = Frame.routedHeaderSize + destinationCount * Frame.destinationSize
        let acknowledges = prefix.flags.contains(.acknowledges)
        let nameOffset = restOffset + (acknowledges ? Frame.acknowledgementSize : 0)
        guard destinationCount > 0, nameOffset + nameLength <= prefix.length,
            !acknowledges || destinationCount == 1
        else { throw .lengthsDisagree }
        return RoutedHeader(
            origin: NodeID(origin), key: Key(word), destinationCount: destinationCount,
            number: UInt32(truncatingIfNeeded: rest), nameLength: nameLength,
            hopsTaken: UInt16(truncatingIfNeeded: rest >> 48), restOffset: restOffset,
            nameOffset: nameOffset, payloadOffset: nameOffset + nameLength)
    }

    /// Whether this version knows all that the label of a labelled frame says (`LabelPrefix`). Forwarders copy
    /// a label unread.
    public func hasKnownLabel(_ bytes: Span<UInt8>, at offset: Int, _ prefix: FramePrefix) -> Bool {
        let payload = Slice(
            start: offset + payloadOffset, count: prefix.length - payloadOffset)
        return LabelPrefix(bytes, payload) != nil
    }
}

/// The first bytes of a label, which stands in front of the payload and says what a message carries besides:
///
///     offset size
///          0    2  length of the label, these two bytes included
///          2    1  its parts, in this order: 1 sender, 2 once, 4 only, 8 except, 16 and, 64 form
///          3    …  the parts
///
/// A node of version 2 passes over a label with the sender alone, and understands no other.
public struct LabelPrefix: Sendable {
    /// Bytes in front of the parts.
    public static let size = 3

    /// Of the whole label.
    public var length: Int
    public var parts: LabelParts

    /// Nil: no label begins so, or it has parts of a later version.
    public init?(_ bytes: Span<UInt8>, _ payload: Slice) {
        guard payload.count >= LabelPrefix.size else { return nil }
        length = Int(bytes.load(UInt16.self, at: Int(payload.start)))
        parts = LabelParts(rawValue: bytes[Int(payload.start) + 2])
        guard length >= LabelPrefix.size, length <= payload.count,
            parts.isSubset(of: .known)
        else { return nil }
    }
}

/// The parts of a label.
public struct LabelParts: OptionSet, Sendable {
    public var rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The user who has sent it, by which attachment, and when the node took it that the sender is at.
    public static let sender = LabelParts(rawValue: 1)
    /// The number by which receivers know it again.
    public static let once = LabelParts(rawValue: 2)
    /// It is for these attachments alone.
    public static let only = LabelParts(rawValue: 4)
    /// It is not for these attachments and users.
    public static let except = LabelParts(rawValue: 8)
    /// It is for these rooms, too.
    public static let rooms = LabelParts(rawValue: 16)
    /// Its payload is text, or JSON.
    public static let form = LabelParts(rawValue: 64)

    static let known: LabelParts = [.sender, .once, .only, .except, .rooms, .form]
}

/// The name of one message of a client in the whole mesh: a copy has it on every way, also where it
/// comes twice because its user is just moving from one node to another.
public struct MessageID: Hashable, Sendable {
    public var origin: NodeID
    /// Counts what the origin has published, modulo 2^32.
    public var number: UInt32

    @inlinable @inline(__always)
    public init(origin: NodeID, number: UInt32) {
        self.origin = origin
        self.number = number
    }

    /// Of what is no message: a notice of the node itself.
    public static let none = MessageID(origin: NodeID(0), number: 0)
}

/// How far a flow has arrived, as its destination says.
public struct Acknowledgement: Equatable, Sendable {
    /// All messages up to this one are there.
    public var cumulative: UInt32
    /// So many after it are missing, while later ones are there; 0: none is known to be.
    public var missing: UInt32

    @inlinable public init(cumulative: UInt32, missing: UInt32) {
        self.cumulative = cumulative
        self.missing = missing
    }

    /// Reads the one that a frame with the flag `acknowledges` carries.
    @inlinable @inline(__always)
    public static func read(
        _ bytes: Span<UInt8>, frame offset: Int, _ header: RoutedHeader
    ) -> Acknowledgement {
        Acknowledgement(
            cumulative: bytes.load(UInt32.self, at: offset + header.restOffset),
            missing: bytes.load(UInt32.self, at: offset + header.restOffset + 4))
    }
}

/// One entry of a `.routed` frame's list.
public struct Destination: Sendable {
    public var id: NodeID
    public var sequence: UInt32
    public var potential: UInt32

    @inlinable public init(id: NodeID, sequence: UInt32, potential: UInt32) {
        self.id = id
        self.sequence = sequence
        self.potential = potential
    }

    @inlinable @inline(__always)
    public static func read(_ bytes: Span<UInt8>, frame offset: Int, index: Int) -> Destination {
        let at = offset + Frame.routedHeaderSize + index * Frame.destinationSize
        let (id, rest) = bytes.loadTwoWords(at: at)
        return Destination(
            id: NodeID(id), sequence: UInt32(truncatingIfNeeded: rest),
            potential: UInt32(truncatingIfNeeded: rest >> 32))
    }
}

extension Span<UInt8> {
    /// A little-endian integer at `offset`; traps outside the span.
    @inlinable @inline(__always)
    public func load<Value: FixedWidthInteger & BitwiseCopyable>(
        _ type: Value.Type, at offset: Int
    ) -> Value {
        // Callers have compared such a sum with the count: the compiler then leaves this out.
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
        return unsafe Value(
            littleEndian: bytes.unsafeLoadUnaligned(
                fromUncheckedByteOffset: offset, as: Value.self))
    }

    /// Two words from `offset` on, by one check; traps outside the span.
    @inlinable @inline(__always)
    func loadTwoWords(at offset: Int) -> (UInt64, UInt64) {
        let words = unsafe loadWhole((UInt64, UInt64).self, at: offset)
        return (UInt64(littleEndian: words.0), UInt64(littleEndian: words.1))
    }

    /// Four words in the same way.
    @inlinable @inline(__always)
    public func loadFourWords(at offset: Int) -> (UInt64, UInt64, UInt64, UInt64) {
        let words = unsafe loadWhole((UInt64, UInt64, UInt64, UInt64).self, at: offset)
        return (
            UInt64(littleEndian: words.0), UInt64(littleEndian: words.1),
            UInt64(littleEndian: words.2), UInt64(littleEndian: words.3)
        )
    }

    /// The bytes as they lie there, whatever they mean as a value of this type.
    @unsafe @inlinable @inline(__always)
    func loadWhole<Value: BitwiseCopyable>(_ type: Value.Type, at offset: Int) -> Value {
        // The difference cannot overflow, as the sum could.
        precondition(offset >= 0 && offset <= count &- MemoryLayout<Value>.size)
        return unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: type)
    }
}
