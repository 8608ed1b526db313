import MeshCore
import MeshWire

// A session on its way, as the bulk lane carries it: a stream of parts of at most 64 KiB, and of some
// bytes more with a long name.
//
//     beginning: 1, stream 8, token 24, former token 24, missed 4, for ms 4, from 8, sent 8, user
//                from: the first message's number; 0: nobody counts. sent: of the last that was sent
//     messages:  2, stream 8, bytes         they go on where those of the part before it ended
//     missed:    3, stream 8, count 4       a message of which only the first bytes have come begins anew
//     caught up: 4, stream 8                all that waited has come
//     end:       5, stream 8                nothing more will come
//
//     message:   length of the payload 4, origin 8, number 4, payload
//
// A node numbers its streams from 1 on. Of 0xFFFF_FFFF missed messages nobody knows how many they were.

enum SessionPartKind: UInt8 {
    case beginning = 1
    case messages = 2
    case missed = 3
    case caughtUp = 4
    case end = 5

    /// The kind and the stream.
    static let headerSize = 9
}

/// A part for the driver to send (`Node.sendSession`).
package struct SessionPart {
    package var destination: NodeID
    package var bytes: [UInt8]
    /// The session whose first part it is.
    var beginning: UserSessionIndex?
}

/// A stream of parts, of one node's.
struct SessionStream: Hashable {
    var giver: NodeID
    var number: UInt64
}

/// The first part of a session.
struct SessionBeginning {
    /// The last token that the client was told, and the one before.
    var token: SessionToken
    var former: SessionToken
    /// Messages that were lost before.
    var missed: Int
    /// Since when.
    var age: Delay
    /// The number of the first message; 0: nobody counts.
    var from: Int
    /// The number of the last message that was sent.
    var sent: Int
    var user: [UInt8]

    private static let size = 2 * SessionToken.size + 24

    /// Nil when there are fewer bytes, when the numbers are more than any session has
    /// (`Hub.countMax`), or when no user has such a name.
    init?(_ input: Span<UInt8>, _ start: Int, _ end: Int) {
        let counts = start + 2 * SessionToken.size
        let length = end - start - Self.size
        guard length > 0, length <= Hub.userNameLengthMax,
            let from = Int(exactly: input.load(UInt64.self, at: counts + 8)),
            let sent = Int(exactly: input.load(UInt64.self, at: counts + 16)),
            from <= Hub.countMax, sent <= Hub.countMax
        else { return nil }
        token = SessionToken(input, at: start)
        former = SessionToken(input, at: start + SessionToken.size)
        missed = Int(input.load(UInt32.self, at: counts))
        age = .milliseconds(Int64(input.load(UInt32.self, at: counts + 4)))
        self.from = from
        self.sent = sent
        user = input.array(Slice(start: start + Self.size, count: length))
    }

    init(_ session: UserSession, missed: Int, age: Delay, from: Int) {
        token = session.token
        former = session.former ?? session.token
        self.missed = missed
        self.age = age
        self.from = from
        sent = Int(min(session.sentCount, UInt64(Hub.countMax)))
        user = session.user
    }

    func append(to part: inout ByteQueue) {
        token.append(to: &part)
        former.append(to: &part)
        part.append(integer: UInt32(clamping: missed))
        part.append(integer: UInt32(clamping: age.milliseconds))
        part.append(integer: UInt64(from))
        part.append(integer: UInt64(sent))
        part.append(user)
    }
}

/// The header of a message on its way.
struct SessionMessageHeader {
    var payloadCount: Int
    var id: MessageID

    static let size = 16

    /// Nil: fewer bytes are there.
    init?(_ input: Span<UInt8>, _ start: Int, _ end: Int) {
        guard end - start >= Self.size else { return nil }
        payloadCount = Int(input.load(UInt32.self, at: start))
        id = MessageID(
            origin: NodeID(input.load(UInt64.self, at: start + 4)),
            number: input.load(UInt32.self, at: start + 12))
    }

    init(_ message: StoredMessage) {
        payloadCount = Int(message.slices.payload.count)
        id = message.title.id
    }

    func append(to part: inout ByteQueue) {
        part.append(integer: UInt32(payloadCount))
        part.append(id.origin)
        part.append(integer: id.number)
    }
}

extension ByteQueue {
    /// Begins a part of a session.
    mutating func append(_ kind: SessionPartKind, _ stream: UInt64) {
        append(kind.rawValue)
        append(integer: stream)
    }
}
