import MeshCore
import MeshWire

// The new node of a session that moves: what has come of it, and what comes to both nodes.

/// More of a session may come from the node where it was.
struct Arrival {
    var stream: SessionStream
    /// The mailbox of what comes here directly, subscribed in place of the session's holder, so that what
    /// the other node has is ahead; nil: that is over.
    var direct: MailboxIndex?
    /// It waits for at least so long: what is on its way to the other node gets there.
    var holdsUntil: Instant
    /// All that waited at the other node has come.
    var hasCaughtUp = false
    /// So many of the messages that are still to come have been seen by the client.
    var seenAheadCount = 0
    /// The first bytes of a message, with its header.
    var partial: [UInt8] = []
    /// Nothing more comes from there; the rest is kept for some time, because what found nobody there any
    /// more has gone back to its sender, who sends it here.
    var hasEnded = false
    var twinsUntil: Instant
    /// The messages that have come here, or from there: one that comes both ways is given out once.
    var seen = SeenMessages()
    /// Those of them that came here, and for which there was no room.
    var dropped = SeenMessages()
}

/// All that moves between this node and others.
struct SessionMoves {
    /// Sessions of which something may still come.
    var arrivals: [SessionStream: UserSessionIndex] = [:]
    /// The last stream that each node has begun.
    var newestStreams: [NodeID: UInt64] = [:]
    /// Clients that wait for sessions which are on their way here.
    var coming = ComingSessions()
    /// The parts that go to other nodes.
    var outboxes = SessionOutboxes()
    var lastStream: UInt64 = 0
}

extension Hub {
    /// Messages that come directly to the new node wait for so long, if not longer: others still send to
    /// the old one alone.
    static let holdingTime: Delay = .milliseconds(250)
    /// Twins are told apart for at least so long after a session has begun to come.
    private static let twinTime: Delay = .seconds(6)
    /// And so long after its end.
    private static let lateTwinTime: Delay = .seconds(4)

    /// A part of a session that another node sends (`BulkNews.session`).
    package mutating func receivePart(
        _ part: Slice, _ input: Span<UInt8>, from giver: NodeID
    ) {
        let start = Int(part.start)
        guard part.count >= SessionPartKind.headerSize,
            let kind = SessionPartKind(rawValue: input[start])
        else {
            counters[.answersMalformed] += 1
            return
        }
        let stream = SessionStream(
            giver: giver, number: input.load(UInt64.self, at: start + 1))
        let rest = start + SessionPartKind.headerSize
        if kind == .beginning {
            receiveBeginning(stream, input, rest, part.end)
            return
        }
        // Its client may have ended it.
        guard let index = sessions.moves.arrivals[stream] else { return }
        switch kind {
        case .beginning: break
        case .messages: receiveMessages(index, input, Slice(start: rest, count: part.end - rest))
        case .missed:
            guard part.end - rest == 4 else {
                breakOff(index)
                return
            }
            sessions[index].arrival?.partial = []
            noteMissed(index, Int(input.load(UInt32.self, at: rest)))
        case .caughtUp:
            sessions[index].arrival?.hasCaughtUp = true
            endHoldingIfDue(index)
        case .end:
            if sessions[index].arrival?.partial.isEmpty == false { announceUnknownLoss(index) }
            receiveEnd(index)
        }
    }

    /// The stream is not what a gateway sends.
    private mutating func breakOff(_ index: UserSessionIndex) {
        counters[.answersMalformed] += 1
        announceUnknownLoss(index)
        endArrival(index)
    }

    // MARK: The beginning

    private mutating func receiveBeginning(
        _ stream: SessionStream, _ input: Span<UInt8>, _ start: Int, _ end: Int
    ) {
        guard let beginning = SessionBeginning(input, start, end),
            sessions.moves.arrivals[stream] == nil,
            sessions.ofToken[beginning.token].map({ isMoved($0) }) ?? true
        else {
            counters[.answersMalformed] += 1
            return
        }
        sessions.moves.newestStreams[stream.giver] = stream.number
        // Those that were offered at the same time may be more than there is room for: some are taken.
        guard sessionCount < 2 * configuration.sessionsMax else {
            counters[.sessionsRefused] += 1
            return
        }
        let index = adopt(beginning, stream)
        for coming in sessions.moves.coming.take(beginning.token) where isAwaited(coming.question) {
            let client = coming.question.client
            if coming.user == beginning.user {
                endWaitingForSession(client, index, coming.token, seen: coming.seen)
            } else {
                clients[client.slot].flags.remove(.asking)
                let refusal = refusedToken(client)
                answer(client, refusal)
            }
            outbox.resumable.append(client)
        }
    }

    /// Makes a session of another node this one's: it waits for its client.
    private mutating func adopt(
        _ beginning: SessionBeginning, _ stream: SessionStream
    ) -> UserSessionIndex {
        counters[.sessionsMovedIn] += 1
        let (token, former) = (beginning.token, beginning.former)
        // The client knows the old tokens alone.
        let index = makeSession(beginning.user, .attached(.none), token)
        if former != token {
            sessions[index].former = former
            sessions.ofToken[former] = index
        }
        sessions[index].isCounted = beginning.from > 0
        sessions[index].sentCount = UInt64(beginning.sent)
        let box = openMailbox(index, isSubscribed: false)
        mailboxes[box].lostCount = beginning.missed
        mailboxes[box].lostSince = now - beginning.age
        beginWaiting(index, box, from: beginning.from)
        sessions[index].arrival = Arrival(
            stream: stream, direct: openMailbox(index, purpose: .passes),
            holdsUntil: now + Self.holdingTime, twinsUntil: now + Self.twinTime)
        sessions.moves.arrivals[stream] = index
        change(index, .waiting(box, until: now + configuration.sessionGrace))
        return index
    }

    // MARK: Messages

    private mutating func receiveMessages(
        _ index: UserSessionIndex, _ input: Span<UInt8>, _ bytes: Slice
    ) {
        guard var partial = sessions[index].arrival?.partial else { return }
        sessions[index].arrival?.partial = []
        var readCount: Int?
        if partial.isEmpty {
            readCount = readMessages(input, Int(bytes.start), bytes.end, index)
            if let count = readCount, count < Int(bytes.count) {
                partial = input.array(
                    Slice(start: Int(bytes.start) + count, count: Int(bytes.count) - count))
            }
        } else {
            let part = input.extracting(Int(bytes.start)..<bytes.end)
            unsafe part.withUnsafeBufferPointer { unsafe partial.append(contentsOf: $0) }
            readCount = readMessages(partial.span, 0, partial.count, index)
            if let count = readCount, count > 0 { partial.removeFirst(count) }
        }
        guard readCount != nil else {
            breakOff(index)
            return
        }
        sessions[index].arrival?.partial = partial
        switch sessions[index].state {
        case .attached(let client): wrote(client)
        case .moved: queueDeparture(index)
        case .waiting: break
        }
    }

    /// Gives each whole message out. Returns how many bytes these had; nil: something is no message.
    private mutating func readMessages(
        _ input: Span<UInt8>, _ start: Int, _ end: Int, _ index: UserSessionIndex
    ) -> Int? {
        let user = sessions[index].user
        sessions.isForwarded = true
        defer { sessions.isForwarded = false }
        var at = start
        while let header = SessionMessageHeader(input, at, end) {
            guard header.payloadCount <= Frame.payloadMax else { return nil }
            let payload = at + SessionMessageHeader.size
            guard header.payloadCount <= end - payload else { break }
            label = FrameLabel(MessageTitle(.user, sessions[index].key, id: header.id))
            encodeUserMessage(user, Slice(start: payload, count: header.payloadCount), input)
            receiveForwarded(index)
            at = payload + header.payloadCount
        }
        return at - start
    }

    /// The message at hand has come by the node where the session was.
    private mutating func receiveForwarded(_ index: UserSessionIndex) {
        let holder = holder(of: index)
        if sessions[index].arrival?.hasCaughtUp == true {
            // It comes as to any other, late.
            switch holder {
            case .client(let client): receive(client)
            case .mailbox(let box): receive(box)
            }
            return
        }
        let isTwin = isTwin(index)
        if let count = sessions[index].arrival?.seenAheadCount, count > 0 {
            sessions[index].arrival?.seenAheadCount = count - 1
            return
        }
        if isTwin { return }
        // It has waited there: it comes whatever the bound is here.
        let message = storeMessage()
        let size = stored[message].size
        switch holder {
        case .client(let client):
            clients[client.slot].mailbox.waiting.append(message, size: size)
            counters[.clientCopies] += 1
        case .mailbox(let box): mailboxes[box].messages.waiting.append(message, size: size)
        }
    }

    // MARK: What comes directly

    /// Messages that come here directly wait for what the session's former node has.
    func isHolding(_ index: UserSessionIndex) -> Bool { sessions[index].arrival?.direct != nil }

    mutating func endHoldingIfDue(_ index: UserSessionIndex) {
        guard let arrival = sessions[index].arrival, arrival.hasCaughtUp, arrival.holdsUntil <= now
        else { return }
        endHolding(index)
    }

    /// Messages that came directly follow those by the former node; from now on they come as to any other.
    mutating func endHolding(_ index: UserSessionIndex) {
        guard let direct = sessions[index].arrival?.direct else { return }
        sessions[index].arrival?.direct = nil
        // First here, then away from there: the directory sees no change.
        switch sessions[index].state {
        case .attached(let client): join(client, sessions[index].user)
        case .waiting(let box, _): subscribe(box)
        case .moved(let box, _, let until):
            if until.map({ now < $0 }) ?? true { subscribe(box) }
        }
        let holder = holder(of: index)
        tellMissed(
            holder, sessions[index].user, mailboxes[direct].lostCount,
            since: mailboxes[direct].lostSince)
        switch holder {
        case .client(let client): pour(from: direct, to: client)
        case .mailbox(let box): pour(from: direct, to: box)
        }
        closeMailbox(direct)
        queueDeparture(index)
    }

    /// Before a client itself lets go of a user: what it has then is a subscription as any other.
    mutating func endHolding(at client: ClientIndex, of user: [UInt8]) {
        guard clients[client.slot].flags.contains(.settling) else { return }
        // Two, if it has taken another session of the same user from another connection.
        var indices: [UserSessionIndex] = []
        _ = clients[client.slot].sessions.first(hasher.key(.user, user)) { index in
            if isHolding(index), sessions[index].user == user { indices.append(index) }
            return false
        }
        for index in indices { endHolding(index) }
    }

    /// The same before it lets go of all users: of the sessions from this place on, as many as `units` suffice
    /// for.
    ///
    /// - Returns: whether none is left.
    mutating func endHolding(
        at client: ClientIndex, from place: inout Int, _ units: inout Int
    ) -> Bool {
        let slot = client.slot
        guard clients[slot].flags.contains(.settling) else { return true }
        while place < clients[slot].sessions.entries.count {
            guard units > 0 else { return false }
            let index = clients[slot].sessions.entries[place].session
            place += 1
            units -= 8
            guard isHolding(index) else { continue }
            units -= Self.unitsPerSubscription
            endHolding(index)
        }
        return true
    }

    /// True when the message at hand, for a client whose session has just come from another node, was given
    /// out already (below).
    mutating func isTwin(_ client: ClientIndex) -> Bool {
        let index = clients[client.slot].sessions.first(
            label.title.key, where: { sessions[$0].arrival != nil })
        return index.map { isTwin($0) } ?? false
    }

    /// True when the message at hand, for a session that has just come from another node, was given out
    /// already: it came here directly and by that node.
    mutating func isTwin(_ index: UserSessionIndex) -> Bool {
        let id = label.title.id
        if sessions[index].arrival?.seen.insert(id) ?? true { return false }
        counters[.sessionTwins] += 1
        guard sessions.isForwarded, let direct = sessions[index].arrival?.direct else {
            return true
        }
        // One that still waits for the forwarded ones to be ahead of it leaves with them; of one for which
        // there was no room nobody has been told yet.
        if let waiting = mailboxes[direct].messages.waiting.remove(id, stored) {
            stored.release(waiting)
            return false
        }
        guard sessions[index].arrival?.dropped.remove(id) == true else { return true }
        if mailboxes[direct].lostCount < Self.unknownCount { mailboxes[direct].lostCount -= 1 }
        return false
    }

    // MARK: Ends and losses

    /// Nothing of the session comes from its former node any more.
    private mutating func receiveEnd(_ index: UserSessionIndex) {
        endHolding(index)
        guard let arrival = sessions[index].arrival else { return }
        sessions.moves.arrivals[arrival.stream] = nil
        let until = max(arrival.twinsUntil, now + Self.lateTwinTime)
        sessions[index].arrival?.twinsUntil = until
        sessions[index].arrival?.hasEnded = true
        sessions[index].arrival?.partial = []
        setShortTimer(index, until)
        queueDeparture(index)
    }

    mutating func endTwinsIfDue(_ index: UserSessionIndex) {
        guard let arrival = sessions[index].arrival, arrival.hasEnded, arrival.twinsUntil <= now
        else { return }
        endArrival(index)
    }

    /// Nothing of the session can come twice any more, or it does not matter.
    mutating func endArrival(_ index: UserSessionIndex) {
        guard sessions[index].arrival != nil else { return }
        endHolding(index)
        if let stream = sessions[index].arrival?.stream { sessions.moves.arrivals[stream] = nil }
        sessions[index].arrival = nil
        switch sessions[index].state {
        case .attached(let client): endSettling(at: client)
        case .moved: queueDeparture(index)
        case .waiting: break
        }
    }

    /// Something of sessions is awaited from other nodes.
    package var awaitsSessions: Bool {
        !sessions.moves.arrivals.isEmpty || !sessions.moves.coming.isEmpty
    }

    /// Those nodes, in no order; each may stand there several times.
    package var givers: [NodeID] {
        sessions.moves.arrivals.keys.map(\.giver) + sessions.moves.coming.givers
    }

    /// A node is dead, or has gone. What it had of the sessions that it was giving to this one, or that
    /// had come to it for them and was not passed on yet, is lost with it: their clients are told, and
    /// nobody knows how much it was.
    package mutating func nodeDied(_ node: NodeID) {
        loseRequests(at: node)
        loseRosters(of: node)
        forgetRequests(of: node)
        partsMissed(from: node)
        sessions.moves.newestStreams[node] = nil
        partsGivenUp(by: node)
        for coming in sessions.moves.coming.take(from: node) {
            var question = coming.question
            question.stream = nil
            question.isAnswered = false
            let client = finishResume(
                question, coming.user, coming.token, seen: coming.seen, isTargetPresent: false)
            if let client { outbox.resumable.append(client) }
        }
    }

    /// Parts of that node's will never come: it has given them up.
    package mutating func partsMissed(from node: NodeID) {
        // In the order of the sessions' places: that of a dictionary differs from run to run.
        let orphans = sessions.moves.arrivals.filter { $0.key.giver == node }.map(\.value).sorted()
        for index in orphans {
            announceUnknownLoss(index)
            endArrival(index)
        }
    }

    /// Sessions that do not begin to come are waited for no longer.
    mutating func giveUpComing() {
        for coming in sessions.moves.coming.take(endingBy: now) where isAwaited(coming.question) {
            let client = coming.question.client
            clients[client.slot].flags.remove(.asking)
            if clients[client.slot].flags.isDisjoint(with: [.doomed, .ending]) {
                refuse(client, .session(.silentNode(coming.giver)))
            }
            outbox.resumable.append(client)
        }
    }

    /// Messages of a session are lost, and nobody knows how many: its client is told, at once or when
    /// it comes back, here or at the node that has the session by now.
    mutating func announceUnknownLoss(_ index: UserSessionIndex) {
        noteMissed(index, Self.unknownCount)
    }

    private mutating func noteMissed(_ index: UserSessionIndex, _ count: Int) {
        tellMissed(holder(of: index), sessions[index].user, count, since: now)
        queueDeparture(index)
    }

    func isMoved(_ index: UserSessionIndex) -> Bool {
        if case .moved = sessions[index].state { true } else { false }
    }

    private func holder(of index: UserSessionIndex) -> UserSession.Holder {
        switch sessions[index].state {
        case .attached(let client): .client(client)
        case .waiting(let box, _), .moved(let box, _, _): .mailbox(box)
        }
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
