import MeshCore
import MeshWire

// A session goes from one node to another, because its client does or because its node leaves.
//
//     new node                        old node
//        │  take: token, user            │
//        │ ─────────────────────────────▶│  waiting ─▶ moved
//        │   granted: gap, messages      │
//        │ ◀─────────────────────────────│
//        │  (the user's key here too)    │  what still comes here …
//        │      forward: messages        │
//        │ ◀─────────────────────────────│
//        │  what comes here directly waits 250 ms, so that these are ahead of it
//        │                               │  after 2 s the key is given up
//
// While both nodes have the key a message comes to both. Each way keeps the order of each origin, and
// the new node gives out what comes first of the two and drops the other, so the order stays. They
// are known by their origin and its number for them (`MessageID`), which every copy carries.
//
//     take:     3, token 24, seen 8, user  answer: 0 unknown │ 1, grant │ 2, node 8: it has moved
//                                                  there │ 3: it is counted otherwise
//               seen 2^64 - 1: the client does not count
//     grant:    missed 4, for ms 4, from 8, sent 8, messages
//               from: the first message's number; 0: nobody counts. sent: of the last that was sent
//     forward:  4, token 24, number 4, missed 4, messages          answer: 1; 0: unknown
//               number 0xFFFF_FFFF: no messages, and nothing more will come
//     hand over: 5, token 24, former token 24, user length 2, user, grant
//                                                                   answer: 1; 0: refused
//     address:  6                          answer: where its clients connect, as text; empty: nowhere
//     location: 7, user                    answer: 1; 0: the user has moved from there
//     message:  length of the payload 4, origin 8, number 4, payload
//
// All integers are little-endian. Of 0xFFFF_FFFF missed messages nobody knows how many they were.

enum SessionTag {
    static let take: UInt8 = 3
    static let forward: UInt8 = 4
    static let handOver: UInt8 = 5
    static let address: UInt8 = 6
    static let location: UInt8 = 7
}

extension Gateway {
    /// The old node has the key, and forwards, for this long.
    static let movedTime: Delay = .seconds(2)
    /// How often a question after a session may be sent on to where it has moved.
    static let redirectionMax = 4
    /// A count of lost messages that nobody knows.
    static let unknownCount = Int(UInt32.max)
    /// A message on its way between nodes has so many bytes in front of its payload.
    private static let messageHeaderSize = 16
    /// The most bytes of messages in a grant, unless one alone has more: it must fit into a frame
    /// with room to spare. What is beyond is forwarded.
    static let grantBytesMax = 32 * 1024 * 1024

    // MARK: Taking

    mutating func askForSession(
        _ user: [UInt8], _ token: SessionToken, seen: UInt64?, _ client: ClientIndex,
        at holder: NodeID
    ) -> Request {
        questionBytes.removeAll()
        Self.appendTake(user, token, seen: seen, to: &questionBytes)
        let subject = Slice(start: 0, count: questionBytes.count)
        let id = openQuestion(
            .resume(user: user, token: token, seen: seen), client, target: holder)
        clients[client.slot].flags.insert(.asking)
        return .ask(id, .node(holder, subject: subject))
    }

    private static func appendTake(
        _ user: [UInt8], _ token: SessionToken, seen: UInt64?, to queue: inout ByteQueue
    ) {
        queue.append(SessionTag.take)
        token.append(to: &queue)
        queue.append(integer: seen ?? .max)
        queue.append(user)
    }

    mutating func openQuestion(
        _ subject: Question.Subject, _ client: ClientIndex, target: NodeID?
    ) -> QueryID {
        let id = nextQuestion
        nextQuestion = id.next
        var question = Question(
            client: client, clientID: client.isNone ? 0 : clients[client.slot].id, subject: subject
        )
        question.target = target
        questions[id] = question
        counters[.questions] += 1
        return id
    }

    /// A question that no command waits for in the driver's hands.
    mutating func send(
        _ subject: Question.Subject, _ client: ClientIndex, to target: NodeID?, _ bytes: [UInt8],
        redirections: Int = 0
    ) {
        let id = openQuestion(subject, client, target: target)
        questions[id]?.redirections = redirections
        ask(id, to: target, bytes)
    }

    /// All that know something of the session have answered. Returns the client to go on with.
    mutating func finishResume(
        _ question: Question, _ user: [UInt8], _ token: SessionToken, seen: UInt64?,
        isTargetPresent: Bool
    ) -> ClientIndex? {
        let slot = question.client.slot
        let isThere = isAwaited(question)
        let isWanted = isThere && clients[slot].flags.isDisjoint(with: [.doomed, .ending])
        if let index = sessionOfToken[token], sessions[index].user == user, !isMoved(index) {
            // It has come meanwhile: the client broke off as it asked, and asks for the second time.
            guard isThere else { return nil }
            clients[slot].flags.remove(.asking)
            if isWanted { resumeHere(index, token, seen: seen, question.client) }
            return question.client
        }
        if let grant = question.grant {
            // The old node has let go of it: it is taken even if the client has not waited.
            _ = adopt(user, token, grant, isWanted ? question.client : nil)
            if isThere { clients[slot].flags.remove(.asking) }
            return isThere ? question.client : nil
        }
        guard isThere else { return nil }
        var bytes = ByteQueue()
        Self.appendTake(user, token, seen: seen, to: &bytes)
        let subject = bytes.array
        if let next = question.redirection, question.redirections < Self.redirectionMax,
            next != nodeID
        {
            send(
                question.subject, question.client, to: next, subject,
                redirections: question.redirections + 1)
            return nil
        }
        let isTargetGone = question.target != nil && !question.isAnswered && !isTargetPresent
        if isTargetGone, question.redirections < Self.redirectionMax {
            // A node that leaves gives its sessions to others first. Some may still name it: they are
            // believed as often as any.
            send(
                question.subject, question.client, to: nil, subject,
                redirections: question.redirections + 1)
            return nil
        }
        clients[slot].flags.remove(.asking)
        let client = question.client
        guard clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else { return client }
        if question.isMiscounted {
            fail(client, .session(.miscounted))
            return client
        }
        if let target = question.target, !isTargetGone {
            if question.isAnswered {
                refuseToken(client)
            } else {
                fail(client, .session(.silentNode(target)))
            }
            return client
        }
        // It died with its node. What was sent to it since is with those who sent it (flows), what
        // was in its memory is lost, and nobody knows how much that was.
        counters[.sessionsLost] += 1
        if let index = openSession(user, client, isCounted: seen != nil) {
            answerToken(index, client)
            tellSessionGap(client, user, Self.unknownCount, since: now)
        }
        return client
    }

    // MARK: Giving

    /// Another node wants a session for its client, or tells of one.
    mutating func answerSession(
        _ subject: Slice, _ input: Span<UInt8>, from asker: NodeID, into answer: inout ByteQueue
    ) {
        let start = Int(subject.start)
        let tag = input[start]
        if tag == SessionTag.address {
            // A node that leaves itself is no place to go.
            if drain == nil { answer.append(Array(clientAddress.utf8)) }
            return
        }
        if tag == SessionTag.location {
            let user = input.array(Slice(start: start + 1, count: Int(subject.count) - 1))
            answer.append(UInt8(isDeparted(user, hasher.key(.user, user)) ? 0 : 1))
            return
        }
        guard Int(subject.count) > SessionToken.size + 8, asker != nodeID else {
            counters[.answersMalformed] += 1
            return
        }
        let token = SessionToken(input, at: start + 1)
        let rest = Slice(
            start: start + 1 + SessionToken.size,
            count: Int(subject.count) - 1 - SessionToken.size)
        switch tag {
        case SessionTag.take:
            let seen = input.load(UInt64.self, at: Int(rest.start))
            let user = Slice(start: Int(rest.start) + 8, count: Int(rest.count) - 8)
            give(
                token, input.array(user), seen: seen == .max ? nil : seen, to: asker,
                into: &answer)
        case SessionTag.forward:
            answer.append(UInt8(receiveBatch(token, input, rest) ? 1 : 0))
        case SessionTag.handOver:
            answer.append(UInt8(receiveHandover(token, input, rest) ? 1 : 0))
        default:
            counters[.answersMalformed] += 1
        }
    }

    private mutating func give(
        _ token: SessionToken, _ user: [UInt8], seen: UInt64?, to asker: NodeID,
        into answer: inout ByteQueue
    ) {
        guard let index = sessionOfToken[token], sessions[index].user == user else {
            if let node = movedTokens[token], node != nodeID {
                answer.append(UInt8(2))
                answer.append(integer: node.rawValue)
                return
            }
            counters[.sessionTokensRefused] += 1
            answer.append(UInt8(0))
            return
        }
        if objection(to: seen, token, index) != nil {
            answer.append(UInt8(3))
            return
        }
        finishArrival(index)
        if case .attached(let client) = sessions[index].state {
            keepSessions(client)
            doom(client)
        }
        switch sessions[index].state {
        case .waiting(let box, _):
            // It may have been offered to a node that has not answered yet.
            if !sessions[index].handover.isEmpty { takeBack(index, box) }
            answer.append(UInt8(1))
            if let seen { skip(index, box, seen: seen, token) }
            settle(index, on: token)
            let grant = grant(of: index, box)
            answer.append(grant)
            move(index, box, to: asker, handover: grant)
        case .moved(_, let node, _) where node == asker:
            // The answer was lost on its way: the same again.
            answer.append(UInt8(1))
            answer.append(sessions[index].handover)
        case .moved(_, let node, _):
            answer.append(UInt8(2))
            answer.append(integer: node.rawValue)
        case .attached, .arriving:
            answer.append(UInt8(0))
        }
    }

    /// The messages that wait in a session's mailbox, taken out of it, with the gap.
    private mutating func grant(of index: UserSessionIndex, _ box: MailboxIndex) -> [UInt8] {
        // The other node is not told where in the count those notices stood.
        if !sessions[index].told.losses.isEmpty {
            missed(Self.unknownCount, since: now, by: box)
            sessions[index].told.removeAll()
        }
        var grant = ByteQueue()
        let missed = mailboxes[box].lostCount
        let age = missed == 0 ? 0 : (now - mailboxes[box].lostSince).milliseconds
        grant.append(integer: UInt32(clamping: missed))
        grant.append(integer: UInt32(clamping: age))
        let isCounted = sessions[index].isCounted
        let from = isCounted ? min(firstWaiting(index, box), Self.countMax) : 0
        grant.append(integer: UInt64(clamping: from))
        grant.append(integer: min(sessions[index].sentCount, UInt64(Self.countMax)))
        mailboxes[box].lostCount = 0
        mailboxes[box].isNumbered = false
        takeMessages(box, &grant, bytesMax: Self.grantBytesMax)
        return grant.array
    }

    /// Moves messages out of a mailbox, each with its header: as many as `bytesMax` has room for,
    /// and at least one.
    mutating func takeMessages(_ box: MailboxIndex, _ queue: inout ByteQueue, bytesMax: Int) {
        let start = queue.count
        while let first = mailboxes[box].messages.waiting.first {
            let payload = stored[first].slices.payload
            let size = Self.messageHeaderSize + Int(payload.count)
            if queue.count > start, queue.count - start + size > bytesMax { break }
            let message = mailboxes[box].messages.waiting.takeFirst(stored)
            let id = stored[message].title.id
            queue.append(integer: UInt32(payload.count))
            queue.append(id.origin)
            queue.append(integer: id.number)
            queue.append(stored[message].bytes.span, Int(payload.start), Int(payload.count))
            stored.release(message)
        }
    }

    /// The session is another node's from now on; what comes for it here is forwarded.
    private mutating func move(
        _ index: UserSessionIndex, _ box: MailboxIndex, to node: NodeID, handover: [UInt8]
    ) {
        counters[.sessionsMovedOut] += 1
        mailboxes[box].purpose = .forwards
        mailboxes[box].messages.policy = .dropOldest
        sessions[index].handover = handover
        change(index, .moved(box, to: node, until: now + Self.movedTime))
        if !mailboxes[box].messages.waiting.isEmpty || mailboxes[box].lostCount > 0 {
            forwarding.insert(index)
        }
    }

    /// Has each message for a session at hand in turn and calls `body`; stops at what is malformed.
    mutating func readMessages(
        _ input: Span<UInt8>, _ start: Int, _ end: Int, _ index: UserSessionIndex,
        _ body: (inout Gateway) -> Void
    ) {
        let user = sessions[index].user
        var at = start
        while at + Self.messageHeaderSize <= end {
            let length = Int(input.load(UInt32.self, at: at))
            let id = MessageID(
                origin: NodeID(input.load(UInt64.self, at: at + 4)),
                number: input.load(UInt32.self, at: at + 12))
            at += Self.messageHeaderSize
            guard length <= end - at else {
                counters[.answersMalformed] += 1
                return
            }
            label = FrameLabel(MessageTitle(.user, sessions[index].key, id: id))
            frame.removeAll()
            frame.append("*3\r\n$4\r\nuser\r\n")
            frame.appendBulk(user)
            label.parts.name = frame.lastBulk(user.count)
            frame.appendBulk(input, at, length)
            label.parts.payload = frame.lastBulk(length)
            body(&self)
            at += length
        }
    }

    // MARK: Taking in

    /// Makes a session of another node this one's: for a client, or to wait for it.
    private mutating func adopt(
        _ user: [UInt8], _ token: SessionToken, former: SessionToken? = nil, _ grant: [UInt8],
        _ client: ClientIndex?
    ) -> Bool {
        guard let header = Grant(grant.span), sessionCount < configuration.sessionsMax else {
            counters[.sessionsRefused] += 1
            if let client { fail(client, .limit(.sessions)) }
            return false
        }
        counters[.sessionsMovedIn] += 1
        let span = grant.span
        let since = now - header.age
        let index = makeSession(user, .attached(client ?? .none))
        if client == nil {
            // The client knows the old tokens alone.
            settle(index, on: token)
            sessions[index].former = former
        } else {
            sessions[index].former = token
        }
        sessionOfToken[token] = index
        if let former { sessionOfToken[former] = index }
        sessions[index].isCounted = header.from > 0
        sessions[index].origin = token
        sessions[index].batchSeen = 0
        sessions[index].twinsUntil = now + Self.twinTime
        arrivals[token] = index
        let holder: UserSession.Holder
        if let client {
            holder = .client(client)
            hold(index, at: client)
            clients[client.slot].arriving.append(index)
            answerToken(index, client)
            tellSessionGap(client, user, header.missed, since: since)
        } else {
            let box = openMailbox(index, isSubscribed: false)
            holder = .mailbox(box)
            mailboxes[box].lostCount = header.missed
            mailboxes[box].lostSince = since
            sessions[index].sentCount = UInt64(header.sent)
            beginWaiting(index, box, from: header.from)
        }
        let direct = openMailbox(index, purpose: .passes)
        change(index, .arriving(holder, direct: direct, until: now + Self.arrivalTime))
        readMessages(span, Grant.size, span.count, index) { gateway in
            gateway.append(gateway.storeMessage(), to: holder)
            // The user may have been here a moment ago: then what waited elsewhere comes here too.
            _ = gateway.sessions[index].seen.insert(gateway.label.title.id)
        }
        if let client { wrote(client) }
        return true
    }

    /// A message that comes whatever the bound is.
    private mutating func append(_ message: StoredMessageIndex, to holder: UserSession.Holder) {
        let size = stored[message].size
        switch holder {
        case .client(let client):
            clients[client.slot].mailbox.waiting.append(message, size: size)
        case .mailbox(let box): mailboxes[box].messages.waiting.append(message, size: size)
        }
    }

    // MARK: Handing over

    /// Offers a session that waits here to another node, under the token that its client has. Returns
    /// how many bytes that takes.
    mutating func offer(_ index: UserSessionIndex, to node: NodeID) -> Int {
        guard case .waiting(let box, _) = sessions[index].state else {
            preconditionFailure("a session that does not wait is offered")
        }
        let grant = grant(of: index, box)
        sessions[index].handover = grant
        var bytes = ByteQueue()
        bytes.append(SessionTag.handOver)
        sessions[index].token.append(to: &bytes)
        (sessions[index].former ?? sessions[index].token).append(to: &bytes)
        bytes.append(integer: UInt16(sessions[index].user.count))
        bytes.append(sessions[index].user)
        bytes.append(grant)
        let subject = bytes.array
        send(.handOver(index, sessions[index].token, subject.count), .none, to: node, subject)
        return subject.count
    }

    mutating func finishHandover(
        _ index: UserSessionIndex, _ token: SessionToken, to node: NodeID, isTaken: Bool
    ) {
        guard sessions[index].token == token, !sessions[index].handover.isEmpty,
            case .waiting(let box, _) = sessions[index].state
        else { return }
        if isTaken {
            move(index, box, to: node, handover: sessions[index].handover)
            return
        }
        takeBack(index, box)
    }

    /// What was offered goes back to where it was, ahead of what has come since: the next node may
    /// take it.
    private mutating func takeBack(_ index: UserSessionIndex, _ box: MailboxIndex) {
        let grant = sessions[index].handover
        sessions[index].handover = []
        let later = mailboxes[box].messages.waiting.takeAll()
        let span = grant.span
        guard let header = Grant(span) else { preconditionFailure("a grant of our own") }
        if header.missed > 0 { missed(header.missed, since: now - header.age, by: box) }
        beginWaiting(index, box, from: header.from)
        readMessages(span, Grant.size, span.count, index) { gateway in
            gateway.append(gateway.storeMessage(), to: .mailbox(box))
        }
        for message in later { append(message, to: .mailbox(box)) }
    }

    private mutating func receiveHandover(
        _ token: SessionToken, _ input: Span<UInt8>, _ rest: Slice
    ) -> Bool {
        let header = SessionToken.size + 2
        guard drain == nil, rest.count >= header else { return false }
        let former = SessionToken(input, at: Int(rest.start))
        let count = Int(input.load(UInt16.self, at: Int(rest.start) + SessionToken.size))
        guard count > 0, count <= Self.userNameLengthMax,
            Int(rest.count) >= header + count + Grant.size
        else {
            counters[.answersMalformed] += 1
            return false
        }
        // The offer comes again when its answer was lost.
        if arrivals[token] != nil || sessionOfToken[token] != nil { return true }
        let start = Int(rest.start) + header
        let user = input.array(Slice(start: start, count: count))
        let grant = input.array(
            Slice(start: start + count, count: rest.end - start - count))
        guard Grant(grant.span) != nil else {
            counters[.answersMalformed] += 1
            return false
        }
        return adopt(user, token, former: former == token ? nil : former, grant, nil)
    }
}

/// The header in front of the messages of a session that goes to another node.
struct Grant {
    /// Messages that were lost before.
    var missed: Int
    /// Since when.
    var age: Delay
    /// The number of the first message; 0: nobody counts.
    var from: Int
    /// The number of the last message that was sent.
    var sent: Int

    static let size = 24

    /// Nil when there are fewer bytes, or when the numbers are more than any session has
    /// (`Gateway.countMax`).
    init?(_ bytes: Span<UInt8>) {
        guard bytes.count >= Self.size,
            let from = Int(exactly: bytes.load(UInt64.self, at: 8)), from <= Gateway.countMax,
            let sent = Int(exactly: bytes.load(UInt64.self, at: 16)), sent <= Gateway.countMax
        else { return nil }
        missed = Int(bytes.load(UInt32.self, at: 0))
        age = .milliseconds(Int64(bytes.load(UInt32.self, at: 4)))
        self.from = from
        self.sent = sent
    }
}
