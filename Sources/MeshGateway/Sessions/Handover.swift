import MeshCore
import MeshWire

// A session goes from one node to another, because its client does or because its node leaves.
//
//     new node                        old node
//        │  take: token, user            │                    hand over: token, size
//        │ ─────────────────────────────▶│  waiting ─▶ moved  ◀── or so, by the old node; taken ──
//        │   yes, as stream 7            │
//        │ ◀─────────────────────────────│
//        │ ══ 7: beginning, gap ════════ │  in the bulk lane (Node.sendSession):
//        │ ══ 7: messages ══════════════ │  once, in order, as fast as they are acknowledged
//        │  (the user's key here too)    │
//        │ ══ 7: caught up ═════════════ │  nothing waits here any more
//        │  what has come here directly until now, and for at least 250 ms, follows
//        │ ══ 7: messages ══════════════ │  what still comes here …
//        │                               │  after 2 s the key is given up
//        │ ══ 7: end ═══════════════════ │
//
// While both nodes have the key a message comes to both. Each way keeps the order of each origin, and
// the new node gives out what comes first of the two and drops the other, so the order stays. They
// are known by their origin and its number for them (`MessageID`), which every copy carries.
//
// Questions, and what is answered to them:
//
//     take:      3, token 24, seen 8, user  answer: 0 unknown │ 1, stream 8: it comes │ 2, node 8: it
//                                                  has moved there │ 3: it is counted otherwise
//                seen 2^64 - 1: the client does not count
//     hand over: 5, token 24, messages 4, bytes 8      answer: 1; 0: refused
//     address:   6                          answer: where its clients connect, as text; empty: nowhere
//     location:  7, user                    answer: 1; 0: the user has moved from there
//
// The lane's part of it is in SessionParts.swift; the old node's side in Departures.swift, the
// new one's in Arrivals.swift. All integers are little-endian.

enum SessionTag {
    static let take: UInt8 = 3
    static let handOver: UInt8 = 5
    static let address: UInt8 = 6
    static let location: UInt8 = 7
}

extension Hub {
    /// How often a question after a session may be sent on to where it has moved.
    static let redirectionMax = 4
    /// A count of lost messages that nobody knows.
    static let unknownCount = Int(UInt32.max)
    /// A session that its node has given, and that has not begun to come for so long, is taken for late:
    /// the client may ask again.
    static let comingTime: Delay = .seconds(10)

    // MARK: Taking

    mutating func askForSession(
        _ user: [UInt8], _ token: SessionToken, seen: UInt64?, _ client: ClientIndex,
        at holder: NodeID
    ) -> Outcome {
        questions.bytes.removeAll()
        Self.appendTake(user, token, seen: seen, to: &questions.bytes)
        let subject = Slice(start: 0, count: questions.bytes.count)
        let id = openQuestion(
            .resume(user: user, token: token, seen: seen), client, target: holder)
        clients[client.slot].flags.insert(.asking)
        return .asks(id, .node(holder, subject: subject))
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
        let id = questions.takeID()
        var question = Question(
            client: client, clientID: client.isNone ? 0 : clients[client.slot].identity.id,
            subject: subject
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
        // A session that is on its way here waits here then.
        guard isAwaited(question) else { return nil }
        let client = question.client
        let slot = client.slot
        var next = question.redirection
        if let index = sessions.ofToken[token], sessions[index].user == user {
            guard case .moved(_, let node, _) = sessions[index].state else {
                endWaitingForSession(client, index, token, seen: seen)
                return client
            }
            // It has come and gone on.
            if question.stream != nil { next = node }
        } else if let stream = question.stream {
            if stream.number > sessions.moves.newestStreams[stream.giver] ?? 0 {
                sessions.moves.coming.add(
                    ComingSession(
                        question: question, giver: stream.giver, user: user, token: token,
                        seen: seen, until: now + Self.comingTime))
                return nil
            }
            next = sessions.movedTokens[token]?.node
        }
        let isTargetGone = question.target != nil && !question.isAnswered && !isTargetPresent
        // A node that leaves gives its sessions to others first. Some may still name it: they are
        // believed as often as any.
        if isTargetGone || next.map({ $0 != nodeID }) ?? false,
            question.redirections < Self.redirectionMax
        {
            var bytes = ByteQueue()
            Self.appendTake(user, token, seen: seen, to: &bytes)
            send(
                question.subject, client, to: isTargetGone ? nil : next, bytes.array,
                redirections: question.redirections + 1)
            return nil
        }
        clients[slot].flags.remove(.asking)
        guard clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else { return client }
        if question.isMiscounted {
            refuse(client, .session(.miscounted))
        } else if let target = question.target, !isTargetGone {
            if question.isAnswered {
                let refusal = refusedToken(client)
                answer(client, refusal)
            } else {
                refuse(client, .session(.silentNode(target)))
            }
        } else {
            beginLostSession(user, client, isCounted: seen != nil)
        }
        return client
    }

    /// The session that a client has asked for is here.
    mutating func endWaitingForSession(
        _ client: ClientIndex, _ index: UserSessionIndex, _ token: SessionToken, seen: UInt64?
    ) {
        clients[client.slot].flags.remove(.asking)
        if clients[client.slot].flags.isDisjoint(with: [.doomed, .ending]) {
            resumeHere(index, token, seen: seen, client)
        }
    }

    /// The session died with its node. What was sent to it since is with those who sent it (flows), what
    /// was in its memory is lost, and nobody knows how much that was.
    private mutating func beginLostSession(
        _ user: [UInt8], _ client: ClientIndex, isCounted: Bool
    ) {
        noteTrouble(.sessionsLost, of: client)
        if let refusal = lackOfRoom(for: user, client) {
            refuse(client, refusal)
            return
        }
        switch openSession(user, client, isCounted: isCounted) {
        case .refused(let refusal): refuse(client, refusal)
        case .opened(let index):
            answerToken(index, client)
            tellSessionGap(client, user, Self.unknownCount, since: now)
        }
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
            if drain == nil { ClientAddress.append(clientAddress, to: &answer) }
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
        let rest = start + 1 + SessionToken.size
        switch tag {
        case SessionTag.take:
            let seen = input.load(UInt64.self, at: rest)
            let user = Slice(start: rest + 8, count: subject.end - rest - 8)
            give(
                token, input.array(user), seen: seen == .max ? nil : seen, to: asker,
                into: &answer)
        case SessionTag.handOver:
            // Of its size nothing is known that would be too much. One that leaves takes none.
            let isTaken = drain == nil && sessionCount < configuration.sessionsMax
            answer.append(UInt8(isTaken ? 1 : 0))
        default:
            counters[.answersMalformed] += 1
        }
    }

    private mutating func give(
        _ token: SessionToken, _ user: [UInt8], seen: UInt64?, to asker: NodeID,
        into answer: inout ByteQueue
    ) {
        guard let index = sessions.ofToken[token], sessions[index].user == user else {
            if let place = sessions.movedTokens[token], place.node != nodeID {
                appendPlace(place.node, place.stream, asker, to: &answer)
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
        if case .attached(let client) = sessions[index].state {
            keepSessions(client)
            doom(client)
        }
        if case .waiting(let box, _) = sessions[index].state {
            if let seen { skip(index, box, seen: seen, token) }
            settle(index, on: token)
            move(index, box, to: asker)
        }
        guard case .moved(_, let node, _) = sessions[index].state,
            let stream = sessions[index].departure?.stream
        else { preconditionFailure("a session that was given has not moved") }
        appendPlace(node, stream, asker, to: &answer)
    }

    /// The place of a session that has moved. Its new node may not have got the answer, or the session, yet.
    private func appendPlace(
        _ node: NodeID, _ stream: UInt64, _ asker: NodeID, to answer: inout ByteQueue
    ) {
        let isOnItsWay = node == asker && stream > 0
        answer.append(UInt8(isOnItsWay ? 1 : 2))
        answer.append(integer: isOnItsWay ? stream : node.rawValue)
    }

    // MARK: Handing over

    /// Offers a session that waits here to another node.
    mutating func offer(_ index: UserSessionIndex, _ box: MailboxIndex, to node: NodeID) {
        sessions[index].isOffered = true
        var bytes = ByteQueue()
        bytes.append(SessionTag.handOver)
        sessions[index].token.append(to: &bytes)
        bytes.append(integer: UInt32(clamping: mailboxes[box].messages.waiting.count))
        bytes.append(integer: UInt64(mailboxes[box].messages.waiting.byteCount))
        send(.handOver(index, life: sessions[index].life), .none, to: node, bytes.array)
    }

    /// The node takes it, or does not. Meanwhile it may have gone elsewhere, or found its client.
    mutating func finishOffer(
        _ index: UserSessionIndex, life: UInt32, to node: NodeID, isTaken: Bool
    ) {
        noteOffer(isTaken: isTaken)
        guard sessions[index].life == life else { return }
        sessions[index].isOffered = false
        if isTaken, case .waiting(let box, _) = sessions[index].state {
            move(index, box, to: node)
        }
    }
}

/// A client that waits for a session which is on its way here.
struct ComingSession {
    var question: Question
    var giver: NodeID
    var user: [UInt8]
    var token: SessionToken
    var seen: UInt64?
    var until: Instant
}

/// Those who wait for sessions that are on their way, in the order in which their times end.
struct ComingSessions {
    private var waiting: [SessionToken: [ComingSession]] = [:]
    private var ends = FIFO<(token: SessionToken, at: Instant)>()

    var isEmpty: Bool { waiting.isEmpty }

    /// When the first of their times ends, at the earliest; nil: nobody waits.
    var nextEnd: Instant? { ends.first?.at }

    /// All nodes that they wait for.
    var givers: [NodeID] { waiting.values.joined().map(\.giver) }

    mutating func add(_ coming: ComingSession) {
        waiting[coming.token, default: []].append(coming)
        ends.append((coming.token, coming.until))
    }

    /// Takes those who wait for the session of this token.
    mutating func take(_ token: SessionToken) -> [ComingSession] {
        waiting.removeValue(forKey: token) ?? []
    }

    /// Takes those whose time is over.
    mutating func take(endingBy now: Instant) -> [ComingSession] {
        var over: [ComingSession] = []
        while let end = ends.first, end.at <= now {
            _ = ends.popFirst()
            over += take(of: end.token) { $0.until <= now }
        }
        return over
    }

    /// Takes those who wait for something of a node, in the order of their clients.
    mutating func take(from node: NodeID) -> [ComingSession] {
        let concerned = waiting.values.joined().filter { $0.giver == node }
        for token in Set(concerned.map(\.token)) { _ = take(of: token) { $0.giver == node } }
        return concerned.sorted { $0.question.client < $1.question.client }
    }

    private mutating func take(
        of token: SessionToken, where isWanted: (ComingSession) -> Bool
    ) -> [ComingSession] {
        guard let all = waiting[token] else { return [] }
        let kept = all.filter { !isWanted($0) }
        waiting[token] = kept.isEmpty ? nil : kept
        return all.filter(isWanted)
    }
}
