import MeshCore
import MeshWire

// Sessions on one node: how they begin and go on, and what waits between two connections.
//
// Messages wait in a mailbox that is subscribed to the user as a client is (SessionMailbox).

/// Something that the gateway asks other nodes for by itself; the driver sends it as
/// `Event.query`, with these bytes.
public struct Errand: Sendable {
    public var id: QueryID
    public var query: Query
    public var bytes: [UInt8]
}

/// How far a client has let go of all its users.
struct Detachment {
    /// Of its sessions: see `Hub.endHolding`.
    var nextSession = 0
    var count = 0
}

extension Hub {
    /// When `tick` is due, at the latest; nil: never.
    public mutating func nextDeadline() -> Instant? {
        var earliest = sessions.timers.next
        if let due = openRequests.timers.next { earliest = min(earliest ?? due, due) }
        if let due = rosters.next { earliest = min(earliest ?? due, due) }
        if sessions.moves.outboxes.hasTurn { earliest = now }
        if let end = sessions.moves.coming.nextEnd { earliest = min(earliest ?? end, end) }
        if let step = drainDeadline { earliest = min(earliest ?? step, step) }
        return earliest
    }

    /// Sessions, with and without a connection.
    public var sessionCount: Int { sessions.count }

    // MARK: Attaching

    /// The longest name of a user, in bytes.
    static let userNameLengthMax = 512

    /// The client receives what is sent to the user.
    mutating func attach(_ user: [UInt8], _ client: ClientIndex) -> Outcome {
        if let refusal = objectionToAttaching(user, client) { return .refused(refusal) }
        // A message that comes directly for a session that is arriving takes its turn.
        let index = session(of: user, at: client)
        if !(index.map { isHolding($0) } ?? false) { join(client, user) }
        confirmWhenKnown(client)
        return .done
    }

    /// A new session, or the token of the one that the connection has.
    mutating func beginSession(
        _ user: [UInt8], isCounted: Bool, _ client: ClientIndex
    ) -> Outcome {
        if let refusal = objectionToAttaching(user, client) { return .refused(refusal) }
        if let index = session(of: user, at: client) {
            if isCounted { sessions[index].isCounted = true }
            return token(of: index, for: client)
        }
        switch openSession(user, client, isCounted: isCounted) {
        case .refused(let refusal): return .refused(refusal)
        case .opened(let index):
            counters[.sessionsOpened] += 1
            return token(of: index, for: client)
        }
    }

    /// Why the client cannot have the user; nil: it can.
    private mutating func objectionToAttaching(
        _ user: [UInt8], _ client: ClientIndex
    ) -> ClientRefusal? {
        if let refusal = lackOfRoom(for: user, client) { return refusal }
        return (drain?.destination).map { .state(.draining(destination: $0)) }
    }

    enum Opening {
        case opened(UserSessionIndex)
        case refused(ClientRefusal)
    }

    /// Why the user cannot have another session here; nil: it can.
    private mutating func lackOfSessions(
        for user: [UInt8], _ client: ClientIndex
    ) -> ClientRefusal? {
        if sessionCount >= configuration.sessionsMax {
            noteTrouble(.sessionsRefused, of: client)
            return .limit(.sessions)
        }
        let refusal = lackOfSession(for: user)
        if let refusal { noteLack(refusal, of: client, user: user) }
        return refusal
    }

    /// A session that this connection has, unless there are too many.
    mutating func openSession(
        _ user: [UInt8], _ client: ClientIndex, isCounted: Bool
    ) -> Opening {
        if let refusal = lackOfSessions(for: user, client) { return .refused(refusal) }
        let index = makeSession(user, .attached(client), sessions.tokens.next(of: nodeID))
        sessions[index].isCounted = isCounted
        hold(index, at: client)
        join(client, user)
        return .opened(index)
    }

    /// The client receives no more of what is sent to this user.
    ///
    /// - Returns: false if it did not before.
    mutating func detach(_ user: [UInt8], _ client: ClientIndex) -> Bool {
        endHolding(at: client, of: user)
        return leave(client, named: user)
    }

    /// The client receives no more of what is sent to any user, or to as many as `units` suffice for.
    ///
    /// - Returns: whether all is done.
    mutating func detachAll(
        _ detachment: inout Detachment, _ client: ClientIndex, _ units: inout Int
    ) -> Bool {
        let slot = client.slot
        releaseMailbox(client)
        guard endHolding(at: client, from: &detachment.nextSession, &units) else { return false }
        while !clients[slot].lists[first: .user].isNone {
            guard units > 0 else { return false }
            units -= Self.unitsPerSubscription
            let subscription = clients[slot].lists[first: .user]
            let attachment = registry.attachment(of: subscription)
            guard leaveRooms(attachment, &units) else { return false }
            leave(client, subscription)
            detachment.count += 1
        }
        return true
    }

    /// The client comes back for a session, here or where it is.
    mutating func resume(
        _ user: [UInt8], _ token: SessionToken, seen: UInt64?, _ client: ClientIndex
    ) -> Outcome {
        if let destination = drain?.destination {
            return .refused(.state(.draining(destination: destination)))
        }
        var holder = sessions.movedTokens[token]?.node ?? token.node
        if let index = sessions.ofToken[token], sessions[index].user == user {
            if case .moved(_, let node, _) = sessions[index].state {
                holder = node
            } else {
                // It has its subscription already: it is let go on at any bound.
                resumeHere(index, token, seen: seen, client)
                return .waits
            }
        } else if sessions.ofToken[token] != nil || holder == nodeID {
            return refusedToken(client)
        }
        guard isReady else { return .refused(.state(.joining)) }
        if let refusal = lackOfRoom(for: user, client) ?? lackOfSessions(for: user, client) {
            return .refused(refusal)
        }
        return askForSession(user, token, seen: seen, client, at: holder)
    }

    mutating func refusedToken(_ client: ClientIndex) -> Outcome {
        noteTrouble(.sessionTokensRefused, of: client)
        return .refused(.session(.unknownToken))
    }

    /// The session goes on with the client, which is answered, and told what was lost.
    mutating func resumeHere(
        _ index: UserSessionIndex, _ token: SessionToken, seen: UInt64?, _ client: ClientIndex
    ) {
        if let objection = objection(to: seen, token, index) {
            refuse(client, objection)
            return
        }
        let other: ClientIndex =
            if case .attached(let other) = sessions[index].state { other } else { .none }
        if other == client {
            answerToken(index, client)
            return
        }
        if let refusal = lackOfCredit(of: index, for: client, leaver: other) {
            refuse(client, refusal)
            return
        }
        if !other.isNone {
            // A connection that breaks without a word is believed to stand for minutes; the one who
            // has the token knows better.
            keepSessions(other)
            doom(other)
        }
        guard case .waiting(let box, _) = sessions[index].state else {
            let refusal = refusedToken(client)
            answer(client, refusal)
            return
        }
        counters[.sessionsResumed] += 1
        if let seen { skip(index, box, seen: seen, token) }
        restartCount(index)
        // First here, then away from there: the directory sees no change.
        if !isHolding(index) { join(client, sessions[index].user) }
        hold(index, at: client)
        change(index, .attached(client))
        renew(index, token)
        answerToken(index, client)
        tellSessionGap(
            client, sessions[index].user, mailboxes[box].lostCount,
            since: mailboxes[box].lostSince)
        pour(from: box, to: client)
        closeMailbox(box)
    }

    /// The session's token, which leaves when other nodes know of the session.
    private mutating func token(of index: UserSessionIndex, for client: ClientIndex) -> Outcome {
        if !clients[client.slot].flags.contains(.muted) { confirmWhenKnown(client) }
        return .token(sessions[index].token)
    }

    mutating func answerToken(_ index: UserSessionIndex, _ client: ClientIndex) {
        let token = token(of: index, for: client)
        answer(client, token)
    }

    /// Announces what did not fit while the session waited, or was lost with a node. `unknownCount`:
    /// nobody knows how many, and the client is told 0.
    mutating func tellSessionGap(
        _ client: ClientIndex, _ user: [UInt8], _ count: Int, since: Instant
    ) {
        let slot = client.slot
        guard count != 0 else { return }
        counters[.gapNotices] += 1
        let isKnown = count < Self.unknownCount
        tell(
            client,
            .gap(
                .user, name: user, count: isKnown ? count : 0, age: isKnown ? now - since : .zero))
        // The notice itself may be lost with its connection.
        if let index = session(of: user, at: client) {
            let end = clients[slot].output.count + clients[slot].held.count
            noteTold(index, count, since: since, upTo: clients[slot].outputBase &+ UInt64(end))
        }
    }

    // MARK: The end of a connection

    /// The connection of a client is gone, or taken from it: its sessions wait.
    ///
    /// Messages that did not wholly go to the kernel wait too: those that were given to the connection,
    /// and those that waited for it.
    ///
    /// - Parameter isClosing: the caller ends its subscriptions, step by step.
    mutating func keepSessions(_ client: ClientIndex, isClosing: Bool = false) {
        let slot = client.slot
        let indices = clients[slot].sessions.entries.map(\.session)
        guard !indices.isEmpty else { return }
        let unread = takeUnread(client)
        var firstNumbers: [UserSessionIndex: UInt64] = [:]
        for given in unread where firstNumbers[given.session] == nil && isOwned(given) {
            firstNumbers[given.session] = given.number
        }
        for index in indices {
            let isLatest =
                clients[slot].mailbox.policy == .latest && !sessions[index].isCounted
            let box = openMailbox(
                index, isLatest ? .latest : .dropOldest, isSubscribed: !isHolding(index))
            mailboxes[box].lostSince = now
            let first = firstNumbers[index] ?? sessions[index].sentCount + 1
            beginWaiting(index, box, from: Int(first))
            part(index, from: client)
            change(index, .waiting(box, until: now + configuration.sessionGrace))
            if let gap = clients[slot].mailbox.gaps.first(.user, sessions[index].user) {
                mailboxes[box].lostCount = gap.count
                mailboxes[box].lostSince = gap.since
            }
        }
        for given in unread { keep(given.message, of: client) }
        for message in clients[slot].mailbox.waiting.takeAll() { keep(message, of: client) }
        clients[slot].output.drop(clients[slot].output.count, retaining: 0)
        clients[slot].sessions.removeAll()
        clients[slot].settlingCount = 0
        clients[slot].flags.subtract([.session, .settling])
        if isClosing { return }
        for index in indices {
            leave(client, named: sessions[index].user)
        }
    }

    /// Takes what was given to a connection, and did not wholly go to the kernel or is not acknowledged
    /// by those who count.
    private mutating func takeUnread(_ client: ClientIndex) -> [GivenMessage] {
        let slot = client.slot
        let passedCount = clients[slot].mailbox.given.passedCount
        var unread: [GivenMessage] = []
        for (offset, given) in clients[slot].mailbox.given.takeAll().enumerated() {
            if offset >= passedCount || isAwaited(given) {
                unread.append(given)
            } else {
                stored.release(given.message)
            }
        }
        return unread
    }

    /// One message of a client that is gone, for the mailbox of its session if it has one.
    private mutating func keep(_ message: StoredMessageIndex, of client: ClientIndex) {
        defer { stored.release(message) }
        guard stored[message].title.kind == .user else { return }
        let user = stored[message].name
        // Two, if it has taken another session of the same user from another connection.
        var indices: [UserSessionIndex] = []
        _ = clients[client.slot].sessions.first(stored[message].title.key) { index in
            if sessions[index].user == user { indices.append(index) }
            return false
        }
        for index in indices {
            guard case .waiting(let box, _) = sessions[index].state else { continue }
            stored.retain(message)
            admit(message, to: box)
        }
    }

    /// The client has let go of a user itself: its session ends.
    mutating func endSession(_ client: ClientIndex, ofTopic topic: TopicIndex) {
        let user = registry.topics.name(topic)
        guard let index = session(of: user, at: client) else { return }
        release(index, from: client)
        forget(index)
        counters[.sessionsEnded] += 1
    }

    // MARK: Time

    /// The work of ending a session, or of one step that it takes, without its messages.
    static let unitsPerSession = 128

    /// Does what is due: sessions whose grace is over, and what is on its way to other nodes. If that is very
    /// much it is not all done, and more is due at once. Afterwards the driver performs the changes and
    /// errands of `outbox`.
    public mutating func tick(at now: Instant) {
        self.now = max(now, self.now)
        var units = Work.perEvent
        while units > 0, let timer = sessions.timers.takeGrace(by: self.now) {
            units -= Self.unitsPerSession
            if sessions[timer.session].serial == timer.serial { expire(timer.session, &units) }
        }
        while units > 0, let timer = sessions.timers.takeShort(by: self.now) {
            units -= Self.unitsPerSession
            if sessions[timer.session].serial == timer.serial { shortTimerFired(timer.session) }
        }
        sessions.movedTokens.forget(endingBy: self.now, &units)
        giveUpComing()
        tickRequests()
        tickRosters()
        drainStep()
    }

    /// Nobody has come back for the session.
    private mutating func expire(_ index: UserSessionIndex, _ units: inout Int) {
        guard case .waiting(let box, _) = sessions[index].state else { return }
        counters[.sessionsExpired] += 1
        let lost = mailboxes[box].messages.waiting.count
        units -= lost * 8
        if lost > 0 { noteTrouble(.sessionMessagesDropped, by: UInt64(lost), of: index) }
        closeMailbox(box, .lose)
        forget(index)
    }

    // MARK: The table

    /// A session's place.
    mutating func makeSession(
        _ user: [UInt8], _ state: UserSession.State, _ token: SessionToken
    ) -> UserSessionIndex {
        let session = UserSession(
            state: state, token: token, user: user, key: hasher.key(.user, user), serial: 0)
        let index = sessions.insert(session)
        sessions.ofToken[session.token] = index
        return index
    }

    /// A token was shown. The next one is made if it was the last that the client has been told; if it
    /// was the one before, the client has not heard of the last, and is told it again.
    private mutating func renew(_ index: UserSessionIndex, _ token: SessionToken) {
        guard token == sessions[index].token else { return }
        settle(index, on: token)
        sessions[index].former = token
        sessions[index].token = sessions.tokens.next(of: nodeID)
        sessions.ofToken[sessions[index].token] = index
    }

    /// The session is known by this one of its tokens alone. Its former node, which does not know whether
    /// its answer has come, would still give the session for the token that it made.
    mutating func settle(_ index: UserSessionIndex, on token: SessionToken) {
        for other in sessions[index].tokens where other != token {
            dropToken(other, of: index)
            if other.node != nodeID { remember(other, isAt: nodeID) }
        }
        sessions[index].token = token
        sessions[index].former = nil
    }

    /// A token is good for nothing any more, or at another node.
    mutating func remember(_ token: SessionToken, isAt node: NodeID, stream: UInt64 = 0) {
        sessions.movedTokens.add(
            token, MovedTokens.Place(node: node, stream: stream),
            until: now + max(configuration.sessionGrace, Self.movedTime * 2))
    }

    private mutating func dropToken(_ token: SessionToken, of index: UserSessionIndex) {
        if sessions.ofToken[token] == index { sessions.ofToken[token] = nil }
    }

    mutating func change(_ index: UserSessionIndex, _ state: UserSession.State) {
        sessions[index].state = state
        sessions[index].serial &+= 1
        let serial = sessions[index].serial
        switch state {
        case .attached: break
        case .waiting(_, let until):
            sessions.timers.addGrace(SessionTimer(due: until, session: index, serial: serial))
        case .moved(_, _, let until):
            if let until { setShortTimer(index, until) }
        }
        if let arrival = sessions[index].arrival {
            if arrival.direct != nil { setShortTimer(index, arrival.holdsUntil) }
            if arrival.hasEnded { setShortTimer(index, arrival.twinsUntil) }
        }
    }

    mutating func setShortTimer(_ index: UserSessionIndex, _ due: Instant) {
        sessions.timers.add(
            SessionTimer(due: due, session: index, serial: sessions[index].serial))
    }

    private mutating func shortTimerFired(_ index: UserSessionIndex) {
        endHoldingIfDue(index)
        endTwinsIfDue(index)
        if case .moved(let box, _, let until?) = sessions[index].state, until <= now {
            giveUpKey(index, box)
        }
    }

    mutating func forget(_ index: UserSessionIndex) {
        for token in sessions[index].tokens { dropToken(token, of: index) }
        if let arrival = sessions[index].arrival {
            sessions.moves.arrivals[arrival.stream] = nil
            if let direct = arrival.direct { closeMailbox(direct) }
        }
        sessions.remove(index)
    }

    /// The session of this user that a client has.
    func session(of user: [UInt8], at client: ClientIndex) -> UserSessionIndex? {
        let slot = client.slot
        if clients[slot].sessions.isEmpty { return nil }
        return clients[slot].sessions.first(hasher.key(.user, user)) {
            sessions[$0].user == user
        }
    }

    /// From now on the client has the session.
    mutating func hold(_ index: UserSessionIndex, at client: ClientIndex) {
        let slot = client.slot
        clients[slot].sessions.append(index, sessions[index].key)
        clients[slot].flags.formUnion([.session, .tracked])
        if sessions[index].arrival != nil {
            clients[slot].settlingCount += 1
            clients[slot].flags.insert(.settling)
        }
        identify(index, at: client)
    }

    mutating func release(_ index: UserSessionIndex, from client: ClientIndex) {
        let slot = client.slot
        clients[slot].sessions.remove(index, sessions[index].key)
        if sessions[index].arrival != nil { endSettling(at: client) }
        if clients[slot].sessions.isEmpty {
            clients[slot].flags.subtract([.session, .settling])
            if clients[slot].flags.contains(.open) { chooseTracking(client) }
        }
    }

    /// Nothing of one of the client's sessions can come twice any more, or it has gone.
    mutating func endSettling(at client: ClientIndex) {
        let slot = client.slot
        clients[slot].settlingCount -= 1
        if clients[slot].settlingCount == 0 { clients[slot].flags.remove(.settling) }
    }

    mutating func join(_ client: ClientIndex, _ user: [UInt8]) {
        join(client, .user, user.span, Slice(start: 0, count: user.count))
    }

    @discardableResult
    mutating func leave(_ client: ClientIndex, named user: [UInt8]) -> Bool {
        leave(client, .user, user.span, Slice(start: 0, count: user.count))
    }
}

extension Array<UInt8> {
    /// The bytes of a word, little-endian.
    init(littleEndian word: UInt64) {
        self = (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
    }
}
