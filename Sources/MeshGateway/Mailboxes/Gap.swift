import MeshCore
import MeshWire

/// What a client has missed of one channel or user, until it is told.
struct Gap {
    var kind: MessageKind
    var name: [UInt8]
    var count: Int
    /// When the first of them was lost.
    var since: Instant

    /// The name by which `Session.gapIndex` finds a gap.
    static func key(_ kind: MessageKind, _ name: [UInt8]) -> [UInt8] {
        var key = name
        key.append(kind.rawValue)
        return key
    }
}

/// What a message to a client is, as gap notices and reports name it.
enum MessageKind: UInt8 {
    case channel, shard, pattern, user, presence
    /// Whatever a node sent to this one: a flow has a gap, and nobody knows what was in it.
    case node

    var name: StaticString {
        switch self {
        case .channel: "channel"
        case .shard: "shard"
        case .pattern: "pattern"
        case .user: "user"
        case .presence: "presence"
        case .node: "node"
        }
    }

    @inline(__always)
    init(_ body: RoutedBody) {
        switch body {
        case .channel, .control: self = .channel
        case .shardChannel: self = .shard
        case .user: self = .user
        }
    }
}

/// The kind and the name of a message, and where it is in a frame of RESP2.
///
///     *3 message channel payload      *4 pmessage pattern channel payload
///     *3 smessage channel payload     *3 user user payload      *3 presence user state
struct FrameTitle {
    var kind: MessageKind
    var name: Slice

    /// Reads a frame that this gateway has written.
    init(_ bytes: Span<UInt8>) {
        // `*3` and CR LF, then a word that its first two letters tell.
        var at = 4
        let word = Self.bulk(bytes, &at)
        var name = Self.bulk(bytes, &at)
        switch (bytes[Int(word.start)], bytes[Int(word.start) + 1]) {
        case (UInt8(ascii: "m"), _): kind = .channel
        case (UInt8(ascii: "s"), _): kind = .shard
        case (UInt8(ascii: "u"), _): kind = .user
        case (UInt8(ascii: "p"), UInt8(ascii: "m")):
            kind = .pattern
            name = Self.bulk(bytes, &at)
        default: kind = .presence
        }
        self.name = name
    }

    /// Whether another node's bytes are a message to a user as this gateway writes it.
    static func isUser(_ bytes: Span<UInt8>, _ start: Int, _ length: Int) -> Bool {
        let head: StaticString = "*3\r\n$4\r\nuser\r\n"
        guard length >= head.utf8CodeUnitCount else { return false }
        for index in 0..<head.utf8CodeUnitCount {
            if unsafe bytes[start + index] != head.utf8Start[index] { return false }
        }
        var at = start + head.utf8CodeUnitCount
        for _ in 0..<2 {
            guard at < start + length, bytes[at] == UInt8(ascii: "$") else { return false }
            at += 1
            var count = 0
            while at < start + length, bytes[at] &- 0x30 < 10, count <= Frame.lengthMax {
                count = count * 10 + Int(bytes[at] &- 0x30)
                at += 1
            }
            guard at + 4 + count <= start + length, bytes[at] == 0x0D, bytes[at + 1] == 0x0A,
                bytes[at + 2 + count] == 0x0D, bytes[at + 3 + count] == 0x0A
            else { return false }
            at += 4 + count
        }
        return at == start + length
    }

    /// A bulk string at `at`, which moves past it.
    static func bulk(_ bytes: Span<UInt8>, _ at: inout Int) -> Slice {
        at += 1
        var count = 0
        while bytes[at] != 0x0D {
            count = count * 10 + Int(bytes[at] - UInt8(ascii: "0"))
            at += 1
        }
        let start = at + 2
        at = start + count + 2
        return Slice(start: start, count: count)
    }
}
