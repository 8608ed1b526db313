import MeshCore
import MeshWire

// Counted sessions: the client counts the messages of its user that come after the token, and says
// with an acknowledgement, or when it comes back, how many it has seen. What it has not seen comes again, so
// that not even what the kernel had taken is lost with a connection.
//
//     number      1 … acknowledged … │ sent, not acknowledged │ in the output │ waiting
//                    forgotten       └──────────── kept ──────┴───────────────┴─ ─ (no number yet)
//
// Messages that are kept stay in the client's mailbox (GivenMessages).
//
// A notice of lost messages has no number. It is known to have come when a message behind it has; until
// then its loss counts as untold, and is told again to the client's next connection.

extension Hub {
    /// The client has seen so many messages of a user since the token.
    ///
    /// - Returns: how many more were sent.
    mutating func acknowledge(
        _ user: [UInt8], seen: UInt64, _ client: ClientIndex
    ) -> Outcome {
        guard let index = session(of: user, at: client), sessions[index].isCounted else {
            return .refused(.session(.notCounted))
        }
        guard seen <= sessions[index].sentCount else {
            return .refused(.session(.seenTooMany(sentCount: sessions[index].sentCount)))
        }
        // The output gives up what it keeps with the next flush, at the latest the reply's.
        sessions[index].acknowledged = max(sessions[index].acknowledged, seen)
        sessions[index].told.forget(seen: seen)
        return .count(Int(sessions[index].sentCount - seen))
    }

    /// Why a client that shows this token and says that it has seen so many messages (nil: it says
    /// nothing) cannot have the session; nil: it can.
    func objection(
        to seen: UInt64?, _ token: SessionToken, _ index: UserSessionIndex
    ) -> ClientRefusal? {
        if sessions[index].isCounted != (seen != nil) { return .session(.miscounted) }
        // How many had come before the former token was shown is not known any more.
        let countMax =
            token == sessions[index].token ? sessions[index].sentCount : UInt64(Self.countMax)
        return seen.map { $0 > countMax } ?? false ? .session(.miscounted) : nil
    }

    /// More messages than any session has. Counts that clients and other nodes tell are compared
    /// with it where they are read (`objection`, `Grant`), so that sums of a few stay in range.
    static var countMax: Int { 1 << 60 }

    /// The next message of a session that is written to its client's output: its number, 0 where
    /// nobody counts, and the session; nil: the message is of none.
    mutating func countMessage(
        _ client: ClientIndex, _ group: UInt64
    ) -> (session: UserSessionIndex, number: UInt64)? {
        let slot = client.slot
        guard let key = MessageTitle.userKey(of: group),
            let index = clients[slot].sessions.first(key)
        else { return nil }
        guard sessions[index].isCounted else { return (index, 0) }
        sessions[index].sentCount += 1
        return (index, sessions[index].sentCount)
    }

    /// The message's session is still the one that it was written for.
    func isOwned(_ given: GivenMessage) -> Bool { sessions[given.session].life == given.life }

    /// Whether a message that the kernel has may be asked for again.
    func isAwaited(_ given: GivenMessage) -> Bool {
        given.number > 0 && isOwned(given)
            && given.number > sessions[given.session].acknowledged
    }

    /// A new connection has the session: counting begins anew.
    mutating func restartCount(_ index: UserSessionIndex) {
        sessions[index].sentCount = 0
        sessions[index].acknowledged = 0
        sessions[index].waitingFrom = 0
        sessions[index].unprovenEnd = nil
        sessions[index].told.removeAll()
    }

    /// The client is being told of lost messages of a session: the notice ends at this position in all that
    /// was ever written for it.
    mutating func noteTold(
        _ index: UserSessionIndex, _ count: Int, since: Instant, upTo end: UInt64
    ) {
        noteUnproven(index, upTo: end)
        guard sessions[index].isCounted else { return }
        sessions[index].told.add(count, since: since, after: sessions[index].sentCount)
    }

    /// Losses that the session's client may not have heard of count as missed again.
    mutating func addUntold(_ index: UserSessionIndex, to box: MailboxIndex) {
        for loss in sessions[index].told.losses { missed(loss.count, since: loss.since, by: box) }
        sessions[index].told.removeAll()
    }

    /// A mailbox waits with a session's messages, of which the first that it is given has this number.
    mutating func beginWaiting(_ index: UserSessionIndex, _ box: MailboxIndex, from number: Int) {
        let first = Int(mailboxes[box].messages.waiting.firstNumber)
        sessions[index].waitingFrom = number - (first - 1)
        if sessions[index].isCounted { mailboxes[box].isNumbered = true }
    }

    /// The number of the first message that waits in the mailbox of a counted session.
    func firstWaiting(_ index: UserSessionIndex, _ box: MailboxIndex) -> Int {
        sessions[index].waitingFrom + Int(mailboxes[box].messages.waiting.firstNumber) - 1
    }

    /// Messages that the client has seen leave the mailbox; those that it has not and are no longer there
    /// are missed.
    ///
    /// With the former token it says what it had seen on the connection before: of the one that broke
    /// before it heard of the new token it has seen nothing.
    mutating func skip(
        _ index: UserSessionIndex, _ box: MailboxIndex, seen: UInt64, _ token: SessionToken
    ) {
        let isFormer = token != sessions[index].token
        let next = isFormer ? 1 : Int(seen) + 1
        var first = firstWaiting(index, box)
        addLost(max(0, first - next), to: box)
        // All that stood behind a token which the client has not heard of is untold.
        if !isFormer { sessions[index].told.forget(seen: seen) }
        addUntold(index, to: box)
        while first < next, !mailboxes[box].messages.waiting.isEmpty {
            stored.release(mailboxes[box].messages.waiting.takeFirst(stored))
            first += 1
        }
        // The rest of them is still on its way here.
        if first < next, sessions[index].arrival?.hasCaughtUp == false {
            sessions[index].arrival?.seenAheadCount = next - first
        }
        // Of those that wait the first had been sent. What another node says of that may be wrong.
        let repeated = Int(sessions[index].sentCount) + 1 - first
        counters[.sessionMessagesRepeated] += UInt64(
            max(0, min(repeated, mailboxes[box].messages.waiting.count)))
        // From here on it is as if the first that waits came next; and who asks again, because the
        // answer was lost, has seen as many.
        if isFormer {
            sessions[index].sentCount = min(
                sessions[index].sentCount + seen, UInt64(Self.countMax))
        }
        beginWaiting(index, box, from: Int(seen) + 1)
        mailboxes[box].isNumbered = false
    }
}
