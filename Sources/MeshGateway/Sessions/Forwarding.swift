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
            guard case .moved(let ghost, let node, _) = sessions[index].state,
                sessions[index].batch == nil,
                !clients[ghost.slot].backlog.isEmpty || clients[ghost.slot].droppedCount > 0
            else { continue }
            var batch = ByteQueue()
            batch.append(SessionTag.forward)
            sessions[index].token.append(to: &batch)
            sessions[index].batchNumber += 1
            batch.append(integer: sessions[index].batchNumber)
            batch.append(integer: UInt32(clamping: clients[ghost.slot].droppedCount))
            clients[ghost.slot].droppedCount = 0
            takeFrames(ghost, &batch, bytesMax: Self.batchBytesMax)
            let bytes = batch.withSpan { Self.bytes($0, Slice(start: 0, count: $0.count)) }
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
            case .moved(let ghost, let node, let until) = sessions[index].state,
            sessions[index].batch != nil
        else { return }
        if !isAnswered, now < until + Self.forwardTime {
            // To a node that is only suspected the question ends at once: asked again at once, it
            // would be asked without end.
            batchRetries.append(
                BatchRetry(due: now + Self.retryPause, session: index, number: number))
            return
        }
        if !isTaken {
            counters[.sessionBatchesLost] += 1
            // The next batch says so.
            addLost(Self.unknownCount, to: ghost)
        }
        sessions[index].batch = nil
        // One that was not taken is announced with what comes next, or at the end: alone it would
        // be refused for ever.
        if !clients[ghost.slot].backlog.isEmpty
            || isTaken && clients[ghost.slot].droppedCount > 0
        {
            forwarding.insert(index)
        } else if now >= until {
            endForwarding(index, ghost, to: node)
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
        _ index: UserSessionIndex, _ ghost: ClientIndex, to node: NodeID
    ) {
        var batch = ByteQueue()
        batch.append(SessionTag.forward)
        sessions[index].token.append(to: &batch)
        batch.append(integer: Self.lastBatch)
        batch.append(integer: UInt32(clamping: clients[ghost.slot].droppedCount))
        let bytes = batch.withSpan { Self.bytes($0, Slice(start: 0, count: $0.count)) }
        // If it is lost, the new node believes for some seconds more that something could come.
        send(.forward(index, Self.lastBatch, sessions[index].token), .none, to: node, bytes)
        for token in sessions[index].tokens { remember(token, isAt: node) }
        closeGhost(ghost)
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

    /// The client that has the session, or the ghost that waits for one.
    private func holder(of index: UserSessionIndex) -> ClientIndex {
        switch sessions[index].state {
        case .attached(let client), .arriving(let client, _, _): client
        case .waiting(let ghost, _), .moved(let ghost, _, _): ghost
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
        readFrames(input, Int(rest.start) + 8, rest.end, sessions[index].key) { gateway in
            gateway.enqueue(holder)
        }
        return true
    }

    // MARK: Where it is

    /// What came directly follows what was forwarded; from now on it comes as to any other.
    mutating func finishArrival(_ index: UserSessionIndex) {
        guard case .arriving(let client, let ghost, _) = sessions[index].state else { return }
        join(client, sessions[index].user)
        release(index, from: ghost)
        tellMissed(
            client, sessions[index].user, clients[ghost.slot].droppedCount,
            since: clients[ghost.slot].droppedSince)
        pour(from: ghost, to: client, sessions[index].key)
        closeGhost(ghost)
        if clients[client.slot].flags.contains(.ghost) {
            change(index, .waiting(client, until: now + configuration.sessionGrace))
        } else {
            change(index, .attached(client))
        }
    }

    /// Before the client itself changes what it is attached to.
    mutating func finishArrivals(_ client: ClientIndex) {
        guard !clients[client.slot].arriving.isEmpty else { return }
        let indices = clients[client.slot].arriving
        clients[client.slot].arriving = []
        for index in indices {
            // It may have ended meanwhile, and its place may be another client's session.
            guard case .arriving(client, _, _) = sessions[index].state else { continue }
            finishArrival(index)
        }
    }

    mutating func shortTimerFired(_ index: UserSessionIndex) {
        switch sessions[index].state {
        case .arriving:
            finishArrival(index)
        case .moved(let ghost, let node, let until):
            // The key is given up; what is under way is still forwarded.
            if clients[ghost.slot].backlog.isEmpty, sessions[index].batch == nil {
                endForwarding(index, ghost, to: node)
            } else {
                // Not the client's own departure: that would end the session.
                clients[ghost.slot].flags.remove(.session)
                leave(ghost, named: sessions[index].user)
                change(index, .moved(ghost, to: node, until: until))
                shortTimers.removeLast()
            }
        case .attached(let client), .waiting(let client, _):
            endTwins(index, client)
        }
    }

    private mutating func endTwins(_ index: UserSessionIndex, _ client: ClientIndex) {
        guard let until = sessions[index].twinsUntil, until <= now else { return }
        sessions[index].twinsUntil = nil
        sessions[index].seen = SeenMessages()
        if let origin = sessions[index].origin, arrivals[origin] == index {
            arrivals[origin] = nil
        }
        sessions[index].origin = nil
        endSettling(at: client)
    }

    /// True when `frame`, for a session that has just come from another node, was given out already:
    /// it came here directly and by that node.
    mutating func isTwin(_ client: ClientIndex) -> Bool {
        let slot = client.slot
        guard
            let index = clients[slot].sessions.first(
                label.key, where: { sessions[$0].twinsUntil != nil })
        else { return false }
        if sessions[index].seen.insert(label.id) { return false }
        counters[.sessionTwins] += 1
        // One that still waits for the forwarded ones to be ahead of it leaves with them.
        if isForwarded, case .arriving(_, let ghost, _) = sessions[index].state,
            clients[ghost.slot].backlog.remove(label.id)
        {
            return false
        }
        return true
    }

    /// The sum of two counts of lost messages: from `unknownCount` on nobody knows how many they were.
    static func sumOfLost(_ count: Int, _ other: Int) -> Int {
        min(min(count, unknownCount) + min(other, unknownCount), unknownCount)
    }

    /// So many messages are lost to the client, or ghost.
    mutating func addLost(_ count: Int, to client: ClientIndex) {
        let slot = client.slot
        clients[slot].droppedCount = Self.sumOfLost(clients[slot].droppedCount, count)
    }

    /// So many messages are lost to the ghost, the first of them then.
    mutating func missed(_ count: Int, since: Instant, by ghost: ClientIndex) {
        let slot = ghost.slot
        let isFirst = clients[slot].droppedCount == 0
        clients[slot].droppedSince = isFirst ? since : min(clients[slot].droppedSince, since)
        addLost(count, to: ghost)
    }

    /// So many messages of a session are lost: its client is told, at once or when it comes back.
    private mutating func tellMissed(
        _ client: ClientIndex, _ user: [UInt8], _ count: Int, since: Instant
    ) {
        let slot = client.slot
        if count == 0 { return }
        if clients[slot].flags.contains(.ghost) {
            missed(count, since: since, by: client)
        } else {
            tellSessionGap(client, user, count, since: since)
        }
    }
}

/// A batch for a session that has moved, to be sent again.
struct BatchRetry {
    var due: Instant
    var session: UserSessionIndex
    var number: UInt32
}
