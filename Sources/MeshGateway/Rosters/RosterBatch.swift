import MeshWire

// Rosters between nodes. A node with members of a room tells the nodes that watch it; all of it goes in flows,
// so that it comes in order.
//
//     batch:     1 · epoch 4 · version 4 · count 4 · flags 1 · changes
//     question:  2 · number 4 · limit 2 · 0, or 1 and a sid 12 and a user 2+
//     page:      3 · number 4 · epoch 4 · version 4 · count 4 · flags 1 · changes
//
//     flags:     1 the count alone · 2 there are more members behind these
//     change:    1 (is there) · sid 12 · user 2+ · metadata 2+     or     2 (has gone) · reason 1 · sid 12

/// The reason why a member is not in a room any more.
enum RosterReason: UInt8, Sendable {
    /// It has left, or was ordered to.
    case quit = 1
    /// Its connection has ended.
    case lost = 2
    case kicked = 3
    /// Its node is dead, or has left. Nobody tells another node so.
    case node = 4

    var word: StaticString {
        switch self {
        case .quit: "quit"
        case .lost: "lost"
        case .kicked: "kicked"
        case .node: "node"
        }
    }
}

/// A change of one member of a room.
struct RosterChange: Equatable {
    var id: AttachmentID
    var user: [UInt8] = []
    var metadata: [UInt8]?
    /// Nil: it is there, newly or with other metadata.
    var reason: RosterReason?

    /// Its bytes in a batch; nobody needs the user of one that has gone.
    var size: Int {
        reason == nil ? 17 + user.count + (metadata?.count ?? 0) : 14
    }
}

/// The fields before the changes of a batch or page.
struct RosterHeader: Equatable {
    struct Flags: OptionSet {
        var rawValue: UInt8
        /// The members are too many to be told.
        static let counted = Flags(rawValue: 1)
        static let continues = Flags(rawValue: 2)
    }

    /// Versions of different epochs cannot be compared.
    var epoch: UInt32
    /// How many batches there were.
    var version: UInt32
    /// Members of the node.
    var count: Int
    var flags: Flags = []
}

/// A question for a node's members of a room.
struct RosterQuestion: Equatable {
    var number: UInt32
    /// 0: for their number alone.
    var limit: Int
    var after: MemberPlace?
}

/// Something that a node tells another of a room.
enum RosterMessage: Equatable {
    case batch(RosterHeader, [RosterChange])
    case question(RosterQuestion)
    case page(UInt32, RosterHeader, [RosterChange])

    /// Bytes at which a batch or page is full. With one change more and the name it is still no large message
    /// of the mesh: those go another way, and not in order with the others.
    static let bytesMax = 48 * 1024
    /// No message is longer: one change more may be in it than fits.
    static let payloadMax = bytesMax + 4 * 1024
    /// The most members of one page.
    static let pageMax = 1_000

    private enum Kind: UInt8 { case batch = 1, question, page }

    var payload: [UInt8] {
        var bytes = ByteQueue()
        switch self {
        case .batch(let header, let changes):
            bytes.append(Kind.batch.rawValue)
            bytes.append(header)
            for change in changes { bytes.append(change) }
        case .question(let question):
            bytes.append(Kind.question.rawValue)
            bytes.append(integer: question.number)
            bytes.append(integer: UInt16(question.limit))
            bytes.append(UInt8(question.after == nil ? 0 : 1))
            if let place = question.after { bytes.append(place) }
        case .page(let number, let header, let changes):
            bytes.append(Kind.page.rawValue)
            bytes.append(integer: number)
            bytes.append(header)
            for change in changes { bytes.append(change) }
        }
        return bytes.array
    }

    /// Nil: the payload is malformed.
    init?(_ input: Span<UInt8>, _ payload: Slice) {
        var at = Int(payload.start)
        let end = payload.end
        guard (1...Self.payloadMax).contains(Int(payload.count)),
            let kind = Kind(rawValue: input[at])
        else { return nil }
        at += 1
        switch kind {
        case .batch:
            guard let header = Self.header(input, &at, end), !header.flags.contains(.continues),
                let changes = Self.changes(input, &at, end, isPage: false)
            else { return nil }
            self = .batch(header, changes)
        case .question:
            guard at + 7 <= end else { return nil }
            var question = RosterQuestion(
                number: input.load(UInt32.self, at: at),
                limit: Int(input.load(UInt16.self, at: at + 4)))
            let hasPlace = input[at + 6]
            at += 7
            guard question.limit <= Self.pageMax, hasPlace <= 1 else { return nil }
            if hasPlace == 1 {
                guard let place = Hub.place(input, &at, end) else { return nil }
                question.after = place
            }
            guard at == end else { return nil }
            self = .question(question)
        case .page:
            guard at + 4 <= end else { return nil }
            let number = input.load(UInt32.self, at: at)
            at += 4
            guard let header = Self.header(input, &at, end),
                let changes = Self.changes(input, &at, end, isPage: true),
                !changes.isEmpty || !header.flags.contains(.continues)
            else { return nil }
            self = .page(number, header, changes)
        }
    }

    private static func header(
        _ input: Span<UInt8>, _ at: inout Int, _ end: Int
    ) -> RosterHeader? {
        guard at + 13 <= end, input[at + 12] <= 3 else { return nil }
        defer { at += 13 }
        return RosterHeader(
            epoch: input.load(UInt32.self, at: at), version: input.load(UInt32.self, at: at + 4),
            count: Int(input.load(UInt32.self, at: at + 8)),
            flags: RosterHeader.Flags(rawValue: input[at + 12]))
    }

    /// - Parameter isPage: all are there, each behind the one before.
    private static func changes(
        _ input: Span<UInt8>, _ at: inout Int, _ end: Int, isPage: Bool
    ) -> [RosterChange]? {
        var changes: [RosterChange] = []
        var last: MemberPlace?
        while at < end {
            let operation = input[at]
            at += 1
            if operation == 2, !isPage, at < end {
                guard let reason = RosterReason(rawValue: input[at]), reason != .node else {
                    return nil
                }
                at += 1
                guard let id = Hub.id(input, &at, end) else { return nil }
                changes.append(RosterChange(id: id, reason: reason))
                continue
            }
            guard operation == 1, let place = Hub.place(input, &at, end),
                (1...Hub.userNameLengthMax).contains(place.user.count),
                let metadata = Hub.metadata(input, &at, end)
            else { return nil }
            if isPage, let last, !(last < place) { return nil }
            last = place
            changes.append(RosterChange(id: place.id, user: place.user, metadata: metadata))
        }
        return changes
    }
}

extension ByteQueue {
    fileprivate mutating func append(_ header: RosterHeader) {
        append(integer: header.epoch)
        append(integer: header.version)
        append(integer: UInt32(clamping: header.count))
        append(header.flags.rawValue)
    }

    fileprivate mutating func append(_ change: RosterChange) {
        if let reason = change.reason {
            append(UInt8(2))
            append(reason.rawValue)
            append(change.id)
            return
        }
        append(UInt8(1))
        append(MemberPlace(user: change.user, id: change.id))
        append(metadata: change.metadata)
    }
}
