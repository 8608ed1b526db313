import MeshCore
import MeshWire

// What still comes to the node where a session was, and how the node where it is now gives out what
// comes to both (Handover).

extension Gateway {
    /// What cannot be forwarded in this time after `movedTime` is lost, and counted.
    static let forwardTime: Delay = .seconds(3)
    /// Messages that come directly to the new node wait for the forwarded ones.
    static let arrivalTime: Delay = .milliseconds(250)
    /// Twins are told apart until nothing more can come by the old node.
    static let twinTime: Delay = .seconds(6)
    /// The number of a batch that is the last, and empty.
    private static let lastBatch = UInt32.max
    private static let batchBytesMax = 1024 * 1024
    /// Before a batch that was not answered is sent again. Guess, not yet measured.
    private static let retryPause: Delay = .milliseconds(100)

    // MARK: Where it was

    /// Sends on what has come for sessions that have moved: one batch of each is under way.
    mutating func forwardAll() {
        guard !forwarding.isEmpty else { return }
        let due = forwarding.sorted()
        forwarding.removeAll(keepingCapacity: true)
        for index in due {
            guard case .moved(let box, let node, _) = sessions[index].state,
                sessions[index].batch == nil,
                !mailboxes[box].messages.waiting.isEmpty || mailboxes[box].lostCount > 0
            else { continue }
            var batch = ByteQueue()
            batch.append(SessionTag.forward)
            sessions[index].token.append(to: &batch)
            sessions[index].batchNumber += 1
            batch.append(integer: sessions[index].batchNumber)
            batch.append(integer: UInt32(clamping: mailboxes[box].lostCount))
            mailboxes[box].lostCount = 0
            takeMessages(box, &batch, bytesMax: Self.batchBytesMax)
            let bytes = batch.array
            sessions[index].batch = bytes
            send(
                .forward(index, sessions[index].batchNumber, sessions[index].token), .none,
                to: node, bytes)
        }
    }

    /// A batch was taken, or not: then it is sent again, until its time is over.
    mutating func finishForward(
        _ index: UserSessionIndex, _ number: UInt32, _ token: SessionToken, isTaken: Bool,
        isAnswered: Bool
    ) {
        guard sessions[index].token == token, sessions[index].batchNumber == number,
            case .moved(let box, let node, let until) = sessions[index].state,
            sessions[index].batch != nil
        else { return }
        if !isAnswered, now < until + Self.forwardTime {
            // To a node that is only suspected the question ends at once: asked again at once, it
            // would be asked without end.
            batchRetries.append(
                BatchRetry(due: now + Self.retryPause, session: index, number: number))
            return
        }
        if isTaken {
            drain?.lastMoveAt = now
        } else {
            counters[.sessionBatchesLost] += 1
            // The next batch says so.
            addLost(Self.unknownCount, to: box)
        }
        sessions[index].batch = nil
        // One that was not taken is announced with what comes next, or at the end: alone it would
        // be refused for ever.
        if !mailboxes[box].messages.waiting.isEmpty
            || isTaken && mailboxes[box].lostCount > 0
        {
            forwarding.insert(index)
        } else if now >= until {
            endForwarding(index, box, to: node)
        }
    }

    /// Sends the batches again that were not answered.
    mutating func retryBatches() {
        while let retry = batchRetries.first, retry.due <= now {
            _ = batchRetries.popFirst()
            guard sessions[retry.session].batchNumber == retry.number,
                case .moved(_, let node, _) = sessions[retry.session].state,
                let batch = sessions[retry.session].batch
            else { continue }
            let token = sessions[retry.session].token
            send(.forward(retry.session, retry.number, token), .none, to: node, batch)
        }
    }

    /// All that came for a session is with its new node.
    private mutating func endForwarding(
        _ index: UserSessionIndex, _ box: MailboxIndex, to node: NodeID
    ) {
        var batch = ByteQueue()
        batch.append(SessionTag.forward)
        sessions[index].token.append(to: &batch)
        batch.append(integer: Self.lastBatch)
        batch.append(integer: UInt32(clamping: mailboxes[box].lostCount))
        let bytes = batch.array
        // If it is lost, the new node believes for some seconds more that something could come.
        send(.forward(index, Self.lastBatch, sessions[index].token), .none, to: node, bytes)
        for token in sessions[index].tokens { remember(token, isAt: node) }
        closeMailbox(box)
        forget(index)
    }

    /// A node is dead. What had come to it for sessions that it gave to this one a moment ago, and was
    /// not passed on yet, is lost with it; their clients are told, and nobody knows how much it was.
    public mutating func nodeDied(_ node: NodeID) {
        // In the order of the sessions' places: that of a dictionary differs from run to run.
        let orphans = arrivals.filter { $0.key.node == node }.map { $0.value }.sorted()
        for index in orphans {
            if let origin = sessions[index].origin { arrivals[origin] = nil }
            sessions[index].origin = nil
            announceUnknownLoss(index)
        }
    }

    /// Messages of a session are lost, and nobody knows how many: its client is told, at once or when
    /// it comes back, here or at the node that has the session by now.
    mutating func announceUnknownLoss(_ index: UserSessionIndex) {
        tellMissed(holder(of: index), sessions[index].user, Self.unknownCount, since: now)
        if case .moved = sessions[index].state { forwarding.insert(index) }
    }

    func isMoved(_ index: UserSessionIndex) -> Bool {
        if case .moved = sessions[index].state { true } else { false }
    }

    private func holder(of index: UserSessionIndex) -> UserSession.Holder {
        switch sessions[index].state {
        case .attached(let client): .client(client)
        case .arriving(let holder, _, _): holder
        case .waiting(let box, _), .moved(let box, _, _): .mailbox(box)
        }
    }

    /// Messages that came to the node where the session was.
    mutating func receiveBatch(
        _ token: SessionToken, _ input: Span<UInt8>, _ rest: Slice
    ) -> Bool {
        guard let index = arrivals[token], rest.count >= 8 else { return false }
        let number = input.load(UInt32.self, at: Int(rest.start))
        // A batch whose answer was lost comes again.
        guard number > sessions[index].batchSeen else { return true }
        let holder = holder(of: index)
        let missed = Int(input.load(UInt32.self, at: Int(rest.start) + 4))
        tellMissed(holder, sessions[index].user, missed, since: now)
        if missed > 0, case .moved = sessions[index].state { forwarding.insert(index) }
        if number == Self.lastBatch {
            arrivals[token] = nil
            sessions[index].origin = nil
            return true
        }
        sessions[index].batchSeen = number
        isForwarded = true
        defer { isForwarded = false }
        readMessages(input, Int(rest.start) + 8, rest.end, index) { gateway in
            switch holder {
            case .client(let client): gateway.receive(client)
            case .mailbox(let box): gateway.receive(box)
            }
        }
        return true
    }

    // MARK: Where it is

    /// What came directly follows what was forwarded; from now on it comes as to any other.
    mutating func finishArrival(_ index: UserSessionIndex) {
        guard case .arriving(let holder, let direct, _) = sessions[index].state else { return }
        // First here, then away from there: the directory sees no change.
        switch holder {
        case .client(let client): join(client, sessions[index].user)
        case .mailbox(let box): subscribe(box)
        }
        tellMissed(
            holder, sessions[index].user, mailboxes[direct].lostCount,
            since: mailboxes[direct].lostSince)
        switch holder {
        case .client(let client):
            pour(from: direct, to: client)
            change(index, .attached(client))
        case .mailbox(let box):
            pour(from: direct, to: box)
            change(index, .waiting(box, until: now + configuration.sessionGrace))
        }
        closeMailbox(direct)
    }

    /// Before the client itself changes what it is attached to.
    mutating func finishArrivals(_ client: ClientIndex) {
        guard !clients[client.slot].arriving.isEmpty else { return }
        let indices = clients[client.slot].arriving
        clients[client.slot].arriving = []
        for index in indices {
            // It may have ended meanwhile, and its place may be another client's session.
            guard case .arriving(.client(client), _, _) = sessions[index].state else { continue }
            finishArrival(index)
        }
    }

    mutating func shortTimerFired(_ index: UserSessionIndex) {
        switch sessions[index].state {
        case .arriving:
            finishArrival(index)
        case .moved(let box, let node, let until):
            // The key is given up; what is under way is still forwarded.
            if mailboxes[box].messages.waiting.isEmpty, sessions[index].batch == nil {
                endForwarding(index, box, to: node)
            } else {
                unsubscribe(box)
                change(index, .moved(box, to: node, until: until))
                shortTimers.removeLast()
            }
        case .attached(let client):
            if endTwins(index) { endSettling(at: client) }
        case .waiting:
            _ = endTwins(index)
        }
    }

    /// Nothing of the session can come twice any more. False: it is too early for that.
    private mutating func endTwins(_ index: UserSessionIndex) -> Bool {
        guard let until = sessions[index].twinsUntil, until <= now else { return false }
        sessions[index].twinsUntil = nil
        sessions[index].seen = SeenMessages()
        if let origin = sessions[index].origin, arrivals[origin] == index {
            arrivals[origin] = nil
        }
        sessions[index].origin = nil
        return true
    }

    /// Whether the message at hand is a twin for the client (below).
    mutating func isTwin(_ client: ClientIndex) -> Bool {
        let index = clients[client.slot].sessions.first(
            label.title.key, where: { sessions[$0].twinsUntil != nil })
        return index.map { isTwin($0) } ?? false
    }

    /// True when the message at hand, for a session that has just come from another node, was given out
    /// already: it came here directly and by that node.
    mutating func isTwin(_ index: UserSessionIndex) -> Bool {
        if sessions[index].seen.insert(label.title.id) { return false }
        counters[.sessionTwins] += 1
        // One that still waits for the forwarded ones to be ahead of it leaves with them.
        if isForwarded, case .arriving(_, let direct, _) = sessions[index].state,
            let waiting = mailboxes[direct].messages.waiting.remove(label.title.id, stored)
        {
            stored.release(waiting)
            return false
        }
        return true
    }

    /// The sum of two counts of lost messages: from `unknownCount` on nobody knows how many they were.
    static func sumOfLost(_ count: Int, _ other: Int) -> Int {
        min(min(count, unknownCount) + min(other, unknownCount), unknownCount)
    }

    /// So many messages of a session are lost: its client is told, at once or when it comes back.
    private mutating func tellMissed(
        _ holder: UserSession.Holder, _ user: [UInt8], _ count: Int, since: Instant
    ) {
        if count == 0 { return }
        switch holder {
        case .client(let client): tellSessionGap(client, user, count, since: since)
        case .mailbox(let box): missed(count, since: since, by: box)
        }
    }
}

/// A batch for a session that has moved, to be sent again.
struct BatchRetry {
    var due: Instant
    var session: UserSessionIndex
    var number: UInt32
}
