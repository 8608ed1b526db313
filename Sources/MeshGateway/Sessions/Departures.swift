import MeshCore
import MeshWire

// The old node of a session that moves: what has gone to the new one, and what goes next.

/// How far a session has gone to its new node.
struct Departure {
    var stream: UInt64
    var hasBegun = false
    var hasCaughtUp = false
    /// It stands among those of its node (`SessionOutboxes`).
    var isQueued = false
    /// The number of the message at the front of its mailbox, and the bytes of its payload that have gone;
    /// nil: it begins with the next part.
    var cut: (number: UInt64, sentCount: Int)?
    /// The losses that the beginning tells of.
    var told: (count: Int, since: Instant)?
}

/// Sessions with something to send, by the nodes that they have moved to: each node in its turn, and of one
/// node's sessions first those whose clients wait to hear of them, then those that get what has just come,
/// then what has waited, one session after the other: if the node dies, most are wholly here or there.
struct SessionOutboxes {
    struct Entry {
        var session: UserSessionIndex
        var life: UInt32
    }

    enum Stage {
        case beginning
        case waiting
        case caughtUp
    }

    private struct Outbox {
        var beginning = FIFO<Entry>()
        var caughtUp = FIFO<Entry>()
        var waiting = FIFO<Entry>()
        /// The one of those with waiting messages whose turn it is.
        var current: Entry?
        /// A part that the lane has had no room for.
        var postponed: SessionPart?
        var isFull = false
        /// It stands in `turns`.
        var hasTurn = false

        var isEmpty: Bool {
            beginning.isEmpty && caughtUp.isEmpty && waiting.isEmpty && current == nil
                && postponed == nil
        }

        mutating func next() -> Entry? {
            if let first = beginning.popFirst() ?? caughtUp.popFirst() { return first }
            defer { current = nil }
            return current ?? waiting.popFirst()
        }
    }

    private var outboxes: [NodeID: Outbox] = [:]
    private var turns = FIFO<NodeID>()

    var isEmpty: Bool { outboxes.isEmpty }

    /// Some node has its turn.
    var hasTurn: Bool { !turns.isEmpty }

    mutating func append(_ entry: Entry, _ stage: Stage, to node: NodeID) {
        var outbox = outboxes.removeValue(forKey: node) ?? Outbox()
        switch stage {
        case .beginning: outbox.beginning.append(entry)
        case .waiting: outbox.waiting.append(entry)
        case .caughtUp: outbox.caughtUp.append(entry)
        }
        outboxes[node] = outbox
        giveTurn(node)
    }

    /// The session whose waiting messages are being sent has more.
    mutating func goOn(_ entry: Entry, to node: NodeID) {
        outboxes[node]?.current = entry
    }

    /// The next part, or the session that has one, and the node that it is for; nil: nothing can be sent now.
    mutating func next() -> (node: NodeID, postponed: SessionPart?, entry: Entry?)? {
        while let node = turns.first {
            if outboxes[node]?.isFull == false {
                if let postponed = outboxes[node]?.postponed {
                    outboxes[node]?.postponed = nil
                    return (node, postponed, nil)
                }
                if let entry = outboxes[node]?.next() { return (node, nil, entry) }
            }
            endTurn(node)
        }
        return nil
    }

    /// A part for the node was sent: the others are next.
    mutating func sent(to node: NodeID) {
        guard turns.first == node else { return }
        endTurn(node)
        giveTurn(node)
    }

    /// The lane to the node has no room for this part.
    mutating func postpone(_ part: SessionPart) {
        outboxes[part.destination]?.postponed = part
        outboxes[part.destination]?.isFull = true
    }

    /// It has room again.
    mutating func hasRoom(to node: NodeID) {
        outboxes[node]?.isFull = false
        giveTurn(node)
    }

    /// Nothing goes there any more. Returns the part that was to be next.
    mutating func remove(_ node: NodeID) -> SessionPart? {
        outboxes.removeValue(forKey: node)?.postponed
    }

    private mutating func giveTurn(_ node: NodeID) {
        guard outboxes[node]?.hasTurn == false, outboxes[node]?.isFull == false else { return }
        outboxes[node]?.hasTurn = true
        turns.append(node)
    }

    private mutating func endTurn(_ node: NodeID) {
        _ = turns.popFirst()
        outboxes[node]?.hasTurn = false
        if outboxes[node]?.isEmpty == true, outboxes[node]?.isFull == false { outboxes[node] = nil }
    }
}

extension Hub {
    /// The old node has the key for so long after the session has begun to go.
    static let movedTime: Delay = .seconds(2)
    /// The most bytes of messages in one part: between two parts others have their turns.
    private static let partBytesMax = 64 * 1024

    /// The session is another node's from now on.
    mutating func move(_ index: UserSessionIndex, _ box: MailboxIndex, to node: NodeID) {
        counters[.sessionsMovedOut] += 1
        mailboxes[box].purpose = .forwards
        mailboxes[box].messages.policy = .dropOldest
        if let direct = sessions[index].arrival?.direct { mailboxes[direct].purpose = .forwards }
        sessions.moves.lastStream += 1
        sessions[index].departure = Departure(stream: sessions.moves.lastStream)
        change(index, .moved(box, to: node, until: nil))
        queueDeparture(index)
    }

    /// The session has something to send to its new node, perhaps.
    mutating func queueDeparture(_ index: UserSessionIndex) {
        guard case .moved(_, let node, _) = sessions[index].state,
            sessions[index].departure?.isQueued == false, hasPart(index)
        else { return }
        sessions.moves.outboxes.append(queuedEntry(index), stage(index), to: node)
        outbox.hasWork = true
    }

    private mutating func queuedEntry(_ index: UserSessionIndex) -> SessionOutboxes.Entry {
        sessions[index].departure?.isQueued = true
        return SessionOutboxes.Entry(session: index, life: sessions[index].life)
    }

    private func stage(_ index: UserSessionIndex) -> SessionOutboxes.Stage {
        guard let departure = sessions[index].departure, departure.hasBegun else {
            return .beginning
        }
        return departure.hasCaughtUp ? .caughtUp : .waiting
    }

    private func hasPart(_ index: UserSessionIndex) -> Bool {
        guard case .moved(let box, _, let until) = sessions[index].state,
            let departure = sessions[index].departure
        else { return false }
        return !departure.hasBegun || mailboxes[box].lostCount > 0
            || !mailboxes[box].messages.waiting.isEmpty
            || !departure.hasCaughtUp && !isHolding(index)
            || isOver(index, until)
    }

    /// Nothing more can come for the session that has moved.
    private func isOver(_ index: UserSessionIndex, _ until: Instant?) -> Bool {
        sessions[index].arrival?.hasEnded ?? true && until.map { $0 <= now } ?? false
    }

    // MARK: The driver's side

    /// The next part to be sent; nil: there is none, or no room for one. The driver calls
    /// `partWas` with what has become of it before it asks for another.
    package mutating func nextPart() -> SessionPart? {
        while let next = sessions.moves.outboxes.next() {
            if let postponed = next.postponed { return postponed }
            guard let entry = next.entry, sessions[entry.session].life == entry.life,
                sessions[entry.session].departure?.isQueued == true,
                case .moved(let box, next.node, let until) = sessions[entry.session].state
            else { continue }
            sessions[entry.session].departure?.isQueued = false
            if hasPart(entry.session) { return makePart(entry.session, box, to: next.node, until) }
        }
        return nil
    }

    /// The fate of the part that `nextPart` has given.
    package mutating func partWas(_ outcome: BulkOutcome, _ part: SessionPart) {
        switch outcome {
        case .sent:
            sessions.moves.outboxes.sent(to: part.destination)
            drain?.lastMoveAt = now
        case .full: sessions.moves.outboxes.postpone(part)
        case .unreachable:
            if let index = part.beginning { takeBackBeginning(index) }
            endDepartures(to: part.destination)
        case .tooLarge: preconditionFailure("a part of a session that no frame holds")
        }
    }

    /// The lane to a node has room again.
    package mutating func hasRoomForParts(to node: NodeID) {
        sessions.moves.outboxes.hasRoom(to: node)
        outbox.hasWork = true
    }

    /// The parts on their way to a node have been given up.
    package mutating func partsGivenUp(by node: NodeID) { endDepartures(to: node) }

    // MARK: Parts

    private mutating func makePart(
        _ index: UserSessionIndex, _ box: MailboxIndex, to node: NodeID, _ until: Instant?
    ) -> SessionPart {
        let departure = sessions[index].departure!
        var bytes = ByteQueue()
        var part = SessionPart(destination: node, bytes: [])
        if !departure.hasBegun {
            bytes.append(.beginning, departure.stream)
            beginning(of: index, box).append(to: &bytes)
            part.beginning = index
            change(index, .moved(box, to: node, until: now + Self.movedTime))
        } else if mailboxes[box].lostCount > 0 {
            bytes.append(.missed, departure.stream)
            bytes.append(integer: UInt32(clamping: mailboxes[box].lostCount))
            mailboxes[box].lostCount = 0
            sessions[index].departure?.cut = nil
        } else if !mailboxes[box].messages.waiting.isEmpty {
            bytes.append(.messages, departure.stream)
            appendMessages(of: index, box, to: &bytes)
        } else if !departure.hasCaughtUp, !isHolding(index) {
            bytes.append(.caughtUp, departure.stream)
            sessions[index].departure?.hasCaughtUp = true
        } else {
            bytes.append(.end, departure.stream)
            endDeparture(index, box, to: node)
        }
        part.bytes = bytes.array
        if stage(index) == .waiting, part.beginning == nil, hasPart(index) {
            sessions.moves.outboxes.goOn(queuedEntry(index), to: node)
        } else {
            queueDeparture(index)
        }
        return part
    }

    private mutating func beginning(
        of index: UserSessionIndex, _ box: MailboxIndex
    ) -> SessionBeginning {
        // The other node is not told where in the count those notices stood.
        if !sessions[index].told.losses.isEmpty {
            missed(Self.unknownCount, since: now, by: box)
            sessions[index].told.removeAll()
        }
        let count = mailboxes[box].lostCount
        let since = mailboxes[box].lostSince
        sessions[index].departure?.told = (count, since)
        sessions[index].departure?.hasBegun = true
        mailboxes[box].lostCount = 0
        mailboxes[box].isNumbered = false
        let isCounted = sessions[index].isCounted
        return SessionBeginning(
            sessions[index], missed: count, age: count == 0 ? .zero : now - since,
            from: isCounted ? max(0, min(firstWaiting(index, box), Self.countMax)) : 0)
    }

    /// The first part of a session has not gone.
    private mutating func takeBackBeginning(_ index: UserSessionIndex) {
        guard case .moved(let box, _, _) = sessions[index].state,
            let told = sessions[index].departure?.told
        else { return }
        if told.count > 0 { missed(told.count, since: told.since, by: box) }
        sessions[index].departure?.hasBegun = false
    }

    private mutating func appendMessages(
        of index: UserSessionIndex, _ box: MailboxIndex, to part: inout ByteQueue
    ) {
        let most = part.count + Self.partBytesMax
        while let message = mailboxes[box].messages.waiting.first,
            part.count + SessionMessageHeader.size < most
        {
            let number = mailboxes[box].messages.waiting.firstNumber
            var sentCount = 0
            if let cut = sessions[index].departure?.cut, cut.number == number {
                sentCount = cut.sentCount
            } else {
                SessionMessageHeader(stored[message]).append(to: &part)
            }
            let payload = stored[message].slices.payload
            let count = min(Int(payload.count) - sentCount, most - part.count)
            part.append(stored[message].bytes.span, Int(payload.start) + sentCount, count)
            sentCount += count
            guard sentCount == Int(payload.count) else {
                sessions[index].departure?.cut = (number, sentCount)
                return
            }
            sessions[index].departure?.cut = nil
            stored.release(mailboxes[box].messages.waiting.takeFirst(stored))
        }
    }

    // MARK: Ends

    /// The key of a session that has moved is given up; what is under way is still sent on.
    mutating func giveUpKey(_ index: UserSessionIndex, _ box: MailboxIndex) {
        unsubscribe(box)
        queueDeparture(index)
    }

    /// All that came for a session is with its new node.
    private mutating func endDeparture(
        _ index: UserSessionIndex, _ box: MailboxIndex, to node: NodeID
    ) {
        let stream = sessions[index].departure?.stream ?? 0
        for token in sessions[index].tokens { remember(token, isAt: node, stream: stream) }
        closeMailbox(box)
        forget(index)
    }

    /// A node takes nothing any more. Sessions that have not begun to go there wait here as before; what
    /// has not reached it of the others is lost with it.
    private mutating func endDepartures(to node: NodeID) {
        if let part = sessions.moves.outboxes.remove(node), let index = part.beginning {
            takeBackBeginning(index)
        }
        for index in sessions.indices where sessions.isUsed(index) {
            guard case .moved(let box, node, _) = sessions[index].state,
                let departure = sessions[index].departure
            else { continue }
            if departure.hasBegun {
                if !departure.hasCaughtUp || !mailboxes[box].messages.waiting.isEmpty
                    || mailboxes[box].lostCount > 0
                {
                    noteTrouble(.sessionDeparturesLost, of: index)
                }
                endDeparture(index, box, to: node)
                continue
            }
            counters[.sessionsMovedOut] -= 1
            sessions[index].departure = nil
            mailboxes[box].purpose = .waits
            mailboxes[box].isNumbered = sessions[index].isCounted
            if let direct = sessions[index].arrival?.direct { mailboxes[direct].purpose = .passes }
            change(index, .waiting(box, until: now + configuration.sessionGrace))
        }
    }

    /// Ends all moves at once: this node leaves, and all that waited is under way. What comes later for those
    /// sessions goes to their new nodes alone.
    package mutating func endMoves() {
        for index in sessions.indices where sessions.isUsed(index) {
            guard case .moved(let box, let node, let until?) = sessions[index].state, now < until
            else { continue }
            sessions[index].state = .moved(box, to: node, until: now)
            giveUpKey(index, box)
        }
    }
}
