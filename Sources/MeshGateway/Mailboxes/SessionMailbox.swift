import MeshCore
import MeshWire

/// The place of a mailbox that is no client's in the gateway's table; reused after `closeMailbox`.
struct MailboxIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The receiver of a subscription's messages: a client, or the mailbox of a session.
struct Receiver: TableIndex {
    /// The place of a client; or -2 and less: those of mailboxes downwards.
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }

    @inline(__always)
    init(_ client: ClientIndex) { rawValue = client.rawValue }

    @inline(__always)
    init(_ mailbox: MailboxIndex) { rawValue = -2 - mailbox.rawValue }

    @inline(__always) var isNone: Bool { rawValue == -1 }
    @inline(__always) var isClient: Bool { rawValue >= 0 }
    /// Only of a client.
    @inline(__always) var client: ClientIndex { ClientIndex(rawValue: rawValue) }
    /// Only of a mailbox.
    @inline(__always) var mailbox: MailboxIndex { MailboxIndex(rawValue: -2 - rawValue) }
}

/// A mailbox for a session that no connection has, or not yet. It is subscribed to the session's user
/// as a client is: so the directory's entry stays, and messages find it on the usual way.
struct SessionMailbox: ~Copyable {
    enum Purpose {
        /// The messages wait for the next connection.
        case waits
        /// They pass to the client, or mailbox, that has the session: bounded in bytes alone.
        case passes
        /// They pass to another node, which has the session.
        case forwards
    }

    var session: UserSessionIndex
    var purpose = Purpose.waits
    var messages = Mailbox()
    var lists = SubscriptionLists()
    /// Messages that were lost, and when the first of them was.
    var lostCount = 0
    var lostSince = Instant(nanoseconds: 0)
    /// The losses of a counted session's mailbox are seen from the numbers.
    var isNumbered = false
}

extension Hub {
    /// Sessions' mailboxes that are open.
    public var waitingSessionCount: Int { mailboxes.usedCount }

    /// A mailbox for a session, subscribed to its user.
    mutating func openMailbox(
        _ session: UserSessionIndex, _ policy: SlowConsumerPolicy = .dropOldest,
        purpose: SessionMailbox.Purpose = .waits, isSubscribed: Bool = true
    ) -> MailboxIndex {
        var fresh = SessionMailbox(session: session, purpose: purpose)
        fresh.messages.policy = policy
        let box = MailboxIndex(mailboxes.insert(fresh))
        if isSubscribed { subscribe(box) }
        return box
    }

    /// From now on the mailbox receives what is sent to its session's user.
    mutating func subscribe(_ box: MailboxIndex) {
        let index = mailboxes[box].session
        let (user, key) = (sessions[index].user, sessions[index].key)
        let outcome = registry.join(
            Receiver(box), &mailboxes[box].lists, .user, key, user.span, 0, user.count)
        if outcome.isEdge { firstJoined(outcome.topic) }
    }

    mutating func unsubscribe(_ box: MailboxIndex, _ departure: DirectoryChange = .remove) {
        let subscription = mailboxes[box].lists[first: .user]
        guard !subscription.isNone else { return }
        let outcome = registry.leave(subscription, &mailboxes[box].lists)
        if outcome.isEdge { lastLeft(outcome.topic, departure) }
    }

    /// Takes a mailbox away, with what waits in it. Not a departure of its own: the session goes on
    /// elsewhere, or has ended.
    mutating func closeMailbox(_ box: MailboxIndex, _ departure: DirectoryChange = .remove) {
        precondition(!mailboxes[box].session.isNone, "mailbox \(box) is not open")
        unsubscribe(box, departure)
        mailboxes[box].messages.empty(&stored)
        mailboxes.vacate(box.slot, leaving: SessionMailbox(session: .none))
        mailboxes.trim(above: Self.spareMailboxes)
    }

    /// So many places are kept when no mailbox is open; some 300 bytes each.
    private static var spareMailboxes: Int { 1_024 }

    /// The message at hand comes to a session that no client has.
    mutating func receive(_ box: MailboxIndex) {
        let index = mailboxes[box].session
        if sessions[index].arrival != nil, isTwin(index) { return }
        admit(storeMessage(), to: box)
    }

    /// A message for a mailbox, whatever its session has had already.
    mutating func admit(_ message: StoredMessageIndex, to box: MailboxIndex) {
        let bound = Mailbox.Bound(
            bytes: configuration.sessionBytesMax,
            count: mailboxes[box].purpose == .waits ? configuration.sessionCountMax : .max)
        let size = stored[message].size
        let losses = mailboxes[box].messages.admit(message, bound, stored)
        for loss in losses { lose(loss, from: box) }
        chargeSessions(size)
        if mailboxes[box].purpose == .forwards { queueDeparture(mailboxes[box].session) }
    }

    /// The oldest message that waits goes, for want of room.
    mutating func loseOldest(of box: MailboxIndex) {
        let message = mailboxes[box].messages.waiting.takeFirst(stored)
        lose(Mailbox.Loss(message: message, isOldest: true), from: box)
    }

    private mutating func lose(_ loss: Mailbox.Loss, from box: MailboxIndex) {
        noteLoss(box, isOldest: loss.isOldest)
        let index = mailboxes[box].session
        if sessions[index].arrival?.direct == box {
            // It may still come by the session's former node, ahead of these.
            _ = sessions[index].arrival?.dropped.insert(stored[loss.message].title.id)
        }
        stored.release(loss.message)
    }

    private mutating func noteLoss(_ box: MailboxIndex, isOldest: Bool) {
        noteTrouble(.sessionMessagesDropped, of: mailboxes[box].session)
        if mailboxes[box].lostCount == 0 { mailboxes[box].lostSince = now }
        // The oldest of a counted session may have been seen.
        if isOldest, mailboxes[box].isNumbered { return }
        // A message that comes here for another node's session may have come there too: nobody knows.
        addLost(mailboxes[box].purpose == .forwards ? Self.unknownCount : 1, to: box)
    }

    /// So many messages are lost to the mailbox.
    mutating func addLost(_ count: Int, to box: MailboxIndex) {
        mailboxes[box].lostCount = Self.sumOfLost(mailboxes[box].lostCount, count)
    }

    /// So many messages are lost to the mailbox, the first of them then.
    mutating func missed(_ count: Int, since: Instant, by box: MailboxIndex) {
        let isFirst = mailboxes[box].lostCount == 0
        mailboxes[box].lostSince = isFirst ? since : min(mailboxes[box].lostSince, since)
        addLost(count, to: box)
    }

    /// Moves all that waits in a mailbox to the back of a client's, whatever its bound.
    mutating func pour(from box: MailboxIndex, to client: ClientIndex) {
        let all = mailboxes[box].messages.waiting.takeAll()
        guard !all.isEmpty else { return }
        for message in all {
            clients[client.slot].mailbox.waiting.append(message, size: stored[message].size)
            counters[.clientCopies] += 1
        }
        wrote(client)
    }

    /// The same, to the back of another session mailbox.
    mutating func pour(from box: MailboxIndex, to other: MailboxIndex) {
        for message in mailboxes[box].messages.waiting.takeAll() {
            mailboxes[other].messages.waiting.append(message, size: stored[message].size)
        }
    }
}
