import MeshWire

/// The form of a payload, by the word of its sender: nobody looks.
enum PayloadForm: UInt8, Sendable {
    case text = 1
    case json = 2
}

/// One that a message is not for.
enum Excepted: Equatable {
    case attachment(AttachmentID)
    case user([UInt8])
}

/// The things that a message says besides its payload. On the wire they stand in front of it, as far as there
/// are any (`LabelPrefix`):
///
///     sender   user length 2, user, sid 12 (node 8, number 4; all zero: none), at 8
///     once     8
///     only     count 1, sids of 12
///     except   count 1, each: 0, sid 12 │ 1, length 2, user
///     rooms    count 1, each: length 2, name
///     form     1
struct MessageLabel: Equatable {
    struct Sender: Equatable {
        var user: [UInt8]
        /// The user's attachment that has sent it; nil: a client that is not attached so.
        var id: AttachmentID?
        /// When the sender's node took it, in milliseconds since 1970 by the clock of that node's machine.
        var at: Int64
    }

    /// The most attachments that a message is for, and attachments and users that it is not for.
    static let namesMax = 16
    /// The most rooms besides the first.
    static let roomsMax = 15

    var sender: Sender?
    /// The number by which receivers know it again; nil: it is not looked for.
    var once: UInt64?
    var only: [AttachmentID] = []
    var except: [Excepted] = []
    /// Rooms besides the one that the message names.
    var rooms: [[UInt8]] = []
    var form: PayloadForm?

    /// It says nothing: then there is none.
    var isEmpty: Bool { self == MessageLabel() }

    /// It chooses among those who have the name that it is for.
    var isChoosy: Bool { !only.isEmpty || !except.isEmpty }

    init() {}

    /// Reads a label.
    ///
    /// - Parameters:
    ///   - labelled: label and payload.
    ///   - length: of the label, if there is one.
    /// - Returns: nil: it is malformed.
    init?(_ input: Span<UInt8>, _ labelled: Slice, length: inout Int) {
        guard let prefix = LabelPrefix(input, labelled) else { return nil }
        length = prefix.length
        let end = Int(labelled.start) + prefix.length
        var at = Int(labelled.start) + LabelPrefix.size
        if prefix.parts.contains(.sender) {
            guard let user = Self.name(input, &at, end), let id = Hub.id(input, &at, end),
                at + 8 <= end
            else { return nil }
            sender = Sender(
                user: user, id: id.node == NodeID(0) && id.number == 0 ? nil : id,
                at: input.load(Int64.self, at: at))
            at += 8
        }
        if prefix.parts.contains(.once) {
            guard at + 8 <= end else { return nil }
            once = input.load(UInt64.self, at: at)
            at += 8
        }
        if prefix.parts.contains(.only) {
            guard let count = Self.count(input, &at, end, most: Self.namesMax) else { return nil }
            for _ in 0..<count {
                guard let id = Hub.id(input, &at, end) else { return nil }
                only.append(id)
            }
        }
        guard readTargets(prefix.parts, input, &at, end) else { return nil }
        if prefix.parts.contains(.form) {
            guard at < end, let form = PayloadForm(rawValue: input[at]) else { return nil }
            self.form = form
            at += 1
        }
        guard at == end else { return nil }
    }

    /// The parts `except` and `rooms`.
    private mutating func readTargets(
        _ parts: LabelParts, _ input: Span<UInt8>, _ at: inout Int, _ end: Int
    ) -> Bool {
        if parts.contains(.except) {
            guard let count = Self.count(input, &at, end, most: Self.namesMax) else { return false }
            for _ in 0..<count {
                guard at < end else { return false }
                at += 1
                switch input[at - 1] {
                case 0:
                    guard let id = Hub.id(input, &at, end) else { return false }
                    except.append(.attachment(id))
                case 1:
                    guard let user = Self.name(input, &at, end) else { return false }
                    except.append(.user(user))
                default: return false
                }
            }
        }
        if parts.contains(.rooms) {
            guard let count = Self.count(input, &at, end, most: Self.roomsMax) else { return false }
            for _ in 0..<count {
                guard let room = Self.name(input, &at, end) else { return false }
                rooms.append(room)
            }
        }
        return true
    }

    private static func count(
        _ input: Span<UInt8>, _ at: inout Int, _ end: Int, most: Int
    ) -> Int? {
        guard at < end, (1...most).contains(Int(input[at])) else { return nil }
        defer { at += 1 }
        return Int(input[at])
    }

    private static func name(_ input: Span<UInt8>, _ at: inout Int, _ end: Int) -> [UInt8]? {
        guard let slice = Hub.name(input, &at, end), slice.count > 0,
            Int(slice.count) <= Hub.userNameLengthMax
        else { return nil }
        return input.array(slice)
    }

    /// The label's bytes; its names have at most `Hub.userNameLengthMax` bytes, its lists as many elements as
    /// they may.
    var bytes: [UInt8] {
        var parts: LabelParts = []
        var body = ByteQueue()
        if let sender {
            parts.insert(.sender)
            Hub.append(sender.user, to: &body)
            body.append(sender.id ?? AttachmentID(node: NodeID(0), number: 0))
            body.append(integer: sender.at)
        }
        if let once {
            parts.insert(.once)
            body.append(integer: once)
        }
        if !only.isEmpty {
            parts.insert(.only)
            body.append(UInt8(only.count))
            for id in only { body.append(id) }
        }
        if !except.isEmpty {
            parts.insert(.except)
            body.append(UInt8(except.count))
            for one in except {
                switch one {
                case .attachment(let id):
                    body.append(UInt8(0))
                    body.append(id)
                case .user(let user):
                    body.append(UInt8(1))
                    Hub.append(user, to: &body)
                }
            }
        }
        if !rooms.isEmpty {
            parts.insert(.rooms)
            body.append(UInt8(rooms.count))
            for room in rooms { Hub.append(room, to: &body) }
        }
        if let form {
            parts.insert(.form)
            body.append(form.rawValue)
        }
        var label = ByteQueue()
        label.append(integer: UInt16(LabelPrefix.size + body.count))
        label.append(parts.rawValue)
        label.append(body.array)
        return label.array
    }
}
