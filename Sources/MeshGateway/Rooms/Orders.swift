import MeshCore
import MeshWire

// Orders: what a node is told to do with a user's attachments (MESH.ORDER, MESH.KICK).
//
//     asker ── 20, what, 0 or 1 and a sid, length 2, room or reason, user ──▶ each node that has the user
//     asker ◀─ attachments that did it 4 ──────────────────────────────────── when all others know of it
//
// A node that has made members answers when all other nodes know that it has the room. So whatever anybody says
// in the room after the order has been answered reaches those that the answer counts.

/// The things that can be ordered of a user's attachments.
enum Order: UInt8 {
    case join = 1
    case leave = 2
    /// They end.
    case kick = 3

    var word: StaticString {
        switch self {
        case .join: "JOIN"
        case .leave: "LEAVE"
        case .kick: "KICK"
        }
    }
}

/// The answer to another node's order.
public struct OrderAnswer: Sendable {
    public var asker: NodeID
    public var query: QueryID
    /// Attachments that have done it.
    public var count: Int
}

/// Answers to orders of other nodes.
struct OrderAnswers {
    /// Those of this moment, of which nobody has said yet what they wait for.
    var fresh: [OrderAnswer] = []
    var waiting = FIFO<(answer: OrderAnswer, batch: UInt64)>()
    /// In no order: no node waits for two of them one after the other.
    var ready: [OrderAnswer] = []

    /// Bytes of a room's name, or of a reason.
    static let textMax = 512

    mutating func awaitKnown(_ batch: UInt64) {
        for answer in fresh { waiting.append((answer, batch)) }
        fresh.removeAll(keepingCapacity: true)
    }

    mutating func confirmAtOnce() {
        for answer in fresh { ready.append(answer) }
        fresh.removeAll(keepingCapacity: true)
    }

    mutating func confirm(through batch: UInt64) {
        while let first = waiting.first, first.batch <= batch {
            ready.append(first.answer)
            _ = waiting.popFirst()
        }
    }
}

extension Hub {
    static let orderTag: UInt8 = 20

    // MARK: Asking

    /// Has every node do something with the attachments of a user.
    ///
    /// - Parameters:
    ///   - text: the room; of a kick its reason, for the client that is kicked.
    ///   - id: that attachment alone; nil: all.
    mutating func order(
        _ order: Order, _ text: [UInt8], ofUser user: [UInt8], only id: AttachmentID?,
        _ client: ClientIndex
    ) -> Outcome {
        var question = RoomQuestion(kind: .order, name: askedName(user, .user, .user))
        question.memberCount = carryOut(order, text, user, id)
        question.joinsHere = order == .join && question.memberCount > 0
        return ask(question, client) {
            $0.append(Self.orderTag)
            $0.append(order.rawValue)
            $0.append(UInt8(id == nil ? 0 : 1))
            if let id { $0.append(id) }
            Self.append(text, to: &$0)
            $0.append(user)
        }
    }

    // MARK: Carrying out

    /// Does with the user's attachments here what is ordered.
    ///
    /// - Returns: how many have done it.
    private mutating func carryOut(
        _ order: Order, _ text: [UInt8], _ user: [UInt8], _ id: AttachmentID?
    ) -> Int {
        let topic = registry.topics.find(.user, hasher.key(.user, user), user.span, 0, user.count)
        if topic.isNone { return 0 }
        // Gathered first: what is done changes the list.
        var receivers: [Receiver] = []
        var index = registry.topics[topic].first
        while !index.isNone {
            receivers.append(registry.subscription(index).receiver)
            index = registry.subscription(index).nextInTopic
        }
        var count = 0
        for receiver in receivers {
            let isDone =
                receiver.isClient
                ? carryOut(order, text, user, id, receiver.client)
                : order == .kick && endWaiting(receiver.mailbox, id)
            count += isDone ? 1 : 0
        }
        counters[.ordersCarriedOut] += UInt64(count)
        return count
    }

    private mutating func carryOut(
        _ order: Order, _ text: [UInt8], _ user: [UInt8], _ id: AttachmentID?,
        _ client: ClientIndex
    ) -> Bool {
        guard clients[client.slot].flags.contains(.open) else { return false }
        let attachment = attachment(of: client, to: user)
        guard !attachment.isNone, id == nil || registry.members[attachment].id == id else {
            return false
        }
        let room = Slice(start: 0, count: text.count)
        switch order {
        case .join:
            guard
                case .count = enter(room, text.span, attachment, metadata: nil, client)
            else { return false }
        case .leave:
            guard leaveRoom(room, text.span, as: user, client) else { return false }
        case .kick: break
        }
        tell(client, .order(order, user: user, text: text))
        if order == .kick {
            var units = Int.max
            _ = leaveRooms(attachment, &units, .kicked)
            isKicking = true
            _ = detach(user, client)
            isKicking = false
        }
        return true
    }

    /// Ends a session that waits for its client.
    private mutating func endWaiting(_ box: MailboxIndex, _ id: AttachmentID?) -> Bool {
        let index = mailboxes[box].session
        guard case .waiting = sessions[index].state,
            id == nil || sessions[index].attachmentID == id
        else { return false }
        closeMailbox(box, .kick)
        forget(index)
        counters[.sessionsEnded] += 1
        return true
    }

    // MARK: Answering others

    /// Another node gives an order (`Effect.queried`): carries it out, and answers later (`nextOrderAnswer`).
    ///
    /// - Returns: false: it is no order, or malformed.
    public mutating func takeOrder(
        _ subject: Slice, _ input: Span<UInt8>, from asker: NodeID, _ query: QueryID
    ) -> Bool {
        let start = Int(subject.start)
        guard subject.count >= 3, start >= 0, subject.end <= input.count,
            input[start] == Self.orderTag, let order = Order(rawValue: input[start + 1]),
            input[start + 2] <= 1
        else { return false }
        var at = start + 3
        var id: AttachmentID?
        if input[start + 2] == 1 {
            id = Self.id(input, &at, subject.end)
            if id == nil { return false }
        }
        guard let text = Self.name(input, &at, subject.end), text.count <= OrderAnswers.textMax,
            order == .kick || text.count > 0
        else { return false }
        let user = input.array(Slice(start: at, count: subject.end - at))
        let count = carryOut(order, input.array(text), user, id)
        let answer = OrderAnswer(asker: asker, query: query, count: count)
        if order == .join, count > 0 {
            confirmations.orders.fresh.append(answer)
        } else {
            confirmations.orders.ready.append(answer)
        }
        return true
    }

    /// There are answers to orders that are to leave now.
    public var hasOrderAnswers: Bool {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        @inline(__always) mutating get { !confirmations.orders.ready.isEmpty }
    }

    /// An answer to an order, which is to leave now.
    public mutating func nextOrderAnswer(into bytes: inout ByteQueue) -> OrderAnswer? {
        guard let answer = confirmations.orders.ready.popLast() else { return nil }
        bytes.append(integer: UInt32(clamping: answer.count))
        return answer
    }

    // MARK: Gathering answers

    func gatherOrder(
        _ answer: Slice, _ input: Span<UInt8>, in room: inout RoomQuestion
    ) -> Bool {
        guard answer.count == 4 else { return false }
        room.memberCount += Int(input.load(UInt32.self, at: Int(answer.start)))
        return true
    }
}
