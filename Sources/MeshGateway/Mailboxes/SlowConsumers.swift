import MeshCore
import MeshWire

// Clients that may lose messages, or must not lose them with their connection. Their messages pass
// their mailbox once more than `aheadBytes` wait in their output:
//
//     message ─▶ output, if little waits in it ─────────────┐
//        └─────▶ mailbox, by the policy ─▶ (flush: refill) ─▶ output ─▶ socket
//
// Replies go straight to the output: they may overtake messages that wait. Where that would
// confuse (a message of a channel after the confirmation that it was left), the mailbox is emptied
// into the output first.

extension Hub {
    /// Output that is filled with messages ahead of the socket. Less would cost system calls; more
    /// could not be dropped any more. A guess, not yet measured.
    public static let aheadBytes = 128 * 1024
    /// The shortest time between two rounds of gap notices to one client that stays behind.
    static let gapNoticePause: Delay = .milliseconds(100)

    // MARK: In

    /// The message at hand comes to a client whose messages are kept apart from its output.
    @inline(never)
    mutating func receive(_ client: ClientIndex) {
        let slot = client.slot
        if clients[slot].flags.contains(.settling), label.title.kind == .user, isTwin(client) {
            return
        }
        guard clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else {
            if clients[slot].flags.contains(.session), label.title.kind == .user {
                // It waits for the next connection. A turn of the driver brings so much at most.
                let message = storeMessage()
                clients[slot].mailbox.waiting.append(message, size: stored[message].size)
            } else {
                counters[.droppedClientCopies] += 1
            }
            return
        }
        counters[.clientCopies] += 1
        let isAhead =
            clients[slot].flags.isDisjoint(with: [.holding, .gapPending])
            && clients[slot].mailbox.waiting.isEmpty
            && outputCount(client) < Self.aheadBytes
        if isAhead {
            let start = clients[slot].output.count
            writeFrame(client)
            if let (session, number) = countMessage(client, label.title.group) {
                keep(storeMessage(), at: start, session, number, client)
            }
            wrote(client, .frame)
            return
        }
        let bound = Mailbox.Bound(bytes: configuration.slowBytesMax)
        let losses = clients[slot].mailbox.admit(storeMessage(), bound, stored)
        for loss in losses { noteLoss(loss, client) }
        if clients[slot].mailbox.policy == .disconnect { checkMailboxLimit(client) }
        wrote(client)
    }

    /// A message of a session was written to its client's output, from `start` to the end.
    private mutating func keep(
        _ message: StoredMessageIndex, at start: Int, _ session: UserSessionIndex,
        _ number: UInt64, _ client: ClientIndex
    ) {
        let slot = client.slot
        let base = clients[slot].outputBase
        clients[slot].mailbox.given.append(
            GivenMessage(
                message: message, start: base &+ UInt64(start),
                end: base &+ UInt64(clients[slot].output.count), session: session,
                life: sessions[session].life, number: number))
    }

    private mutating func checkMailboxLimit(_ client: ClientIndex) {
        let slot = client.slot
        let waiting = clients[slot].mailbox.waiting.byteCount + outputCount(client)
        if waiting > configuration.pubsubOutputLimit.bound { cut(client, .frame) }
    }

    // MARK: Losses

    mutating func noteLoss(_ loss: Mailbox.Loss, _ client: ClientIndex) {
        let slot = client.slot
        clients[slot].droppedCount += 1
        switch clients[slot].mailbox.policy {
        case .disconnect, .dropOldest: noteTrouble(.droppedOldest, of: client)
        case .dropNewest: noteTrouble(.droppedNewest, of: client)
        // It is what the client has asked for.
        case .latest: counters[.droppedSuperseded] += 1
        }
        if clients[slot].flags.contains(.gaps) {
            noteGap(
                client, stored[loss.message].title.kind, stored[loss.message].name, 1,
                isOldest: loss.isOldest)
        }
        stored.release(loss.message)
    }

    /// The client has missed messages, and will be told once it takes what it is sent.
    mutating func noteGap(
        _ client: ClientIndex, _ kind: MessageKind, _ name: [UInt8], _ count: Int,
        isOldest: Bool = false
    ) {
        let slot = client.slot
        clients[slot].flags.insert(.gapPending)
        // With `drop-newest` what waits came before what is missing: it is sent first.
        let position =
            clients[slot].mailbox.policy == .dropNewest && !isOldest
            ? clients[slot].mailbox.waiting.nextNumber : 0
        clients[slot].mailbox.gaps.note(
            Gap(kind: kind, name: name, count: count, since: now), before: position)
    }

    /// A flow from another node has a gap (`Effect.gap`): whoever asked is told that messages are
    /// missing; of which channels, nobody knows.
    public mutating func missed(count: Int) {
        for slot in clients.slots
        where clients[slot].flags.contains([.open, .gaps])
            && clients[slot].flags.isDisjoint(with: [.doomed, .ending])
        {
            noteGap(ClientIndex(slot), .node, [], count)
            wrote(ClientIndex(slot))
        }
    }

    // MARK: Out

    /// Offers everything that waits for the client, in pieces.
    @inline(never)
    mutating func flushTracked(_ client: ClientIndex, _ body: (UnsafeRawBufferPointer) -> Int) {
        let slot = client.slot
        while true {
            refill(client)
            let offered = leavingCount(client)
            guard offered > 0 else { return }
            let sent = unsafe clients[slot].output.withBytes {
                unsafe body(UnsafeRawBufferPointer(rebasing: $0[..<offered]))
            }
            precondition(sent >= 0 && sent <= offered)
            clients[slot].output.drop(sent)
            clients[slot].outputBase &+= UInt64(sent)
            forgetGiven(client)
            guard sent == offered, !clients[slot].mailbox.waiting.isEmpty else { break }
        }
        if clients[slot].mailbox.policy == .disconnect,
            clients[slot].flags.isDisjoint(with: .session)
        {
            chooseTracking(client)
        }
    }

    /// The kernel has the output before `outputBase`. A message of a session is kept as long as a part
    /// of it has not left, one of a counted session until it is acknowledged, or too many are kept: if
    /// the connection breaks, they wait again.
    private mutating func forgetGiven(_ client: ClientIndex) {
        let slot = client.slot
        let end = clients[slot].outputBase
        clients[slot].mailbox.given.pass(end)
        while clients[slot].mailbox.given.passedCount > 0,
            let first = clients[slot].mailbox.given.first
        {
            if isAwaited(first), end &- first.start <= UInt64(configuration.sessionBytesMax),
                clients[slot].mailbox.given.passedCount <= configuration.sessionCountMax
            {
                break
            }
            if first.number == 0, isOwned(first) { noteUnproven(first.session, upTo: first.end) }
            clients[slot].mailbox.given.removeFirst()
            stored.release(first.message)
        }
    }

    /// Moves messages from the mailbox to the output, gap notices before what came after the gap.
    mutating func refill(_ client: ClientIndex, all: Bool = false) {
        let slot = client.slot
        guard clients[slot].flags.isDisjoint(with: [.holding, .doomed, .ending]) else { return }
        while all || outputCount(client) < Self.aheadBytes {
            announceGaps(client)
            guard !clients[slot].mailbox.waiting.isEmpty else { return }
            let message = clients[slot].mailbox.waiting.takeFirst(stored)
            let start = clients[slot].output.count
            let isRESP3 = clients[slot].isRESP3
            let showsDetails = clients[slot].flags.contains(.details)
            clients[slot].output.append(
                stored[message], showsDetails: showsDetails, isRESP3: isRESP3)
            if let (session, number) = countMessage(client, stored[message].title.group) {
                keep(message, at: start, session, number, client)
            } else {
                stored.release(message)
            }
        }
    }

    private mutating func announceGaps(_ client: ClientIndex) {
        let slot = client.slot
        guard clients[slot].flags.contains(.gapPending),
            clients[slot].mailbox.waiting.firstNumber >= clients[slot].mailbox.gaps.after
        else { return }
        if !clients[slot].mailbox.waiting.isEmpty, let last = clients[slot].mailbox.gaps.toldAt,
            now - last < Self.gapNoticePause
        {
            return
        }
        clients[slot].mailbox.gaps.toldAt = now
        let isRESP3 = clients[slot].isRESP3
        let gaps = clients[slot].mailbox.gaps.list
        for gap in gaps {
            let push = Push.gap(
                gap.kind, name: gap.name, count: gap.count, age: now - gap.since)
            clients[slot].output.append(push, isRESP3: isRESP3)
            if gap.kind == .user, let index = session(of: gap.name, at: client) {
                // The notice itself may be lost with its connection.
                let end = clients[slot].outputBase &+ UInt64(clients[slot].output.count)
                noteTold(index, gap.count, since: gap.since, upTo: end)
            }
        }
        counters[.gapNotices] += UInt64(gaps.count)
        clients[slot].mailbox.gaps.removeAll()
        clients[slot].flags.remove(.gapPending)
    }

    /// Puts all that waits into the output, ahead of a reply that must not overtake it. The mailbox's
    /// bound still bounds it: commands wait while much output does (the driver's throttle).
    mutating func releaseMailbox(_ client: ClientIndex) {
        let slot = client.slot
        if clients[slot].flags.isDisjoint(with: [.tracked, .gapPending]) { return }
        refill(client, all: true)
    }

    // MARK: Choices

    mutating func setPolicy(_ policy: SlowConsumerPolicy, _ client: ClientIndex) {
        clients[client.slot].mailbox.policy = policy
        chooseTracking(client)
    }

    /// Decides whether the client's messages pass its mailbox.
    mutating func chooseTracking(_ client: ClientIndex) {
        let slot = client.slot
        let needsIt =
            clients[slot].mailbox.policy != .disconnect || clients[slot].flags.contains(.session)
        if needsIt {
            clients[slot].flags.insert(.tracked)
            return
        }
        refill(client, all: true)
        // A gap notice or a transaction may still hold something back, and what was given may be of a
        // session that has ended: then the next flush decides.
        if clients[slot].mailbox.waiting.isEmpty, clients[slot].mailbox.given.first == nil {
            clients[slot].flags.remove(.tracked)
        }
    }

    /// The client wants to be told of its gaps, or no more.
    mutating func setGapNotices(_ isWanted: Bool, _ client: ClientIndex) {
        let slot = client.slot
        if isWanted {
            clients[slot].flags.insert(.gaps)
        } else {
            clients[slot].mailbox.gaps.removeAll()
            clients[slot].flags.subtract([.gaps, .gapPending])
        }
    }
}
