import MeshWire

/// Messages that an incoming flow gives back: to users whose last attachment here has ended.
///
///     origin ── message 7 ──▶ nobody here
///     origin ◀─ nobody [7] ── not acknowledged until the origin has it
///     origin ── taken back 7 … 7, last 9 ──▶ and of that user's, 8 and 9 go back too
///
/// A message behind one that has gone back goes back as well if it is to the same user, though the
/// user may be here again: else it would overtake. It is so up to the last one that the origin had sent
/// when it heard of it, for from then on the origin holds that user's messages back.
struct ReturnedMessages {
    /// The numbers of what has found nobody and is not the origin's again, ascending.
    private(set) var numbers: [UInt32] = []
    /// How many of them the origin has been told of since `toldAt`.
    private(set) var toldCount = 0
    private(set) var toldAt = Instant(nanoseconds: 0)
    /// Users of whom the origin does not know yet, and the numbers of their first messages.
    private var unknown: [(key: Key, first: UInt32)] = []
    /// Users whose messages go back up to a last one.
    private var ending = FIFO<(key: Key, last: UInt32)>()
    private var keys: Set<Key> = []

    /// Numbers that an origin keeps for one flow; more than that is no honest origin's.
    static let countMax = 131_072

    var isEmpty: Bool { numbers.isEmpty && keys.isEmpty }

    /// Whether a message to this user goes back because an earlier one has.
    func contains(_ key: Key) -> Bool { keys.contains(key) }

    mutating func append(_ number: UInt32, to key: Key) {
        if numbers.count >= Self.countMax {
            numbers.removeFirst()
            toldCount = max(0, toldCount - 1)
        }
        // Of what one event has passed some is known to go back before the clients are asked for the rest.
        var place = numbers.count
        while place > toldCount, Int32(bitPattern: numbers[place - 1] &- number) > 0 { place -= 1 }
        numbers.insert(number, at: place)
        if keys.insert(key).inserted { unknown.append((key, number)) }
    }

    /// The numbers that the origin is to be told now; after `wait` without an answer from the first on.
    mutating func take(at now: Instant, repeatedAfter wait: Delay) -> [UInt32] {
        if now - toldAt >= wait { toldCount = 0 }
        let end = min(numbers.count, toldCount + Message.returnedCountMax)
        let batch = Array(numbers[toldCount..<end])
        if toldCount == 0 || !batch.isEmpty { toldAt = now }
        toldCount = end
        return batch
    }

    /// The origin has what has found nobody among `range`; `last` is what it had sent by then.
    mutating func takenBack(_ range: FlowRange, last: UInt32) {
        let toldTaken = numbers.prefix(toldCount).count { range.contains($0) }
        numbers.removeAll { range.contains($0) }
        toldCount -= toldTaken
        for user in unknown where range.contains(user.first) { ending.append((user.key, last)) }
        unknown.removeAll { range.contains($0.first) }
    }

    /// The flow has come to `expected`: users whose last message is passed are served again.
    mutating func forgetPassed(_ expected: UInt32) {
        while let user = ending.first, Int32(bitPattern: expected &- user.last) > 0 {
            _ = ending.popFirst()
            keys.remove(user.key)
        }
    }
}

/// A user's messages wait at their origin until all that was on its way to a node where the user is
/// no more has come back or arrived.
struct ReturnBarrier: Equatable {
    let node: NodeID
    let lane: Lane
    /// The last message of the flow to the node in this lane when the first one came back.
    var through: UInt32
    /// The place in the node's log at which it said that the user is not there.
    var sequence: UInt64
}

/// Messages with several copies, for clients of the origin itself or for nodes: one goes on only when
/// each has found nobody.
struct CopiesReturned {
    private var items = FIFO<(number: UInt32, left: Int)>()
    /// The oldest is forgotten: the message stays where it has arrived.
    static let countMax = 1_024

    /// One of `copyCount` copies has come back. Returns whether it was the last.
    mutating func note(_ number: UInt32, of copyCount: Int) -> Bool {
        if copyCount <= 1 { return true }
        let known = items.waiting.first { $0.number == number }
        let left = (known?.left ?? copyCount) - 1
        if known != nil { items.removeAll { $0.number == number } }
        if left == 0 { return true }
        if items.count >= Self.countMax { _ = items.popFirst() }
        items.append((number, left))
        return false
    }
}

// The destination.

extension Node {
    /// A message has found nobody among this node's clients.
    ///
    /// - Parameters:
    ///   - number: of its flow; 0: it is in none, and nothing follows.
    ///   - sharesKey: another name of the key is here.
    mutating func foundNobody(
        _ body: RoutedBody, _ key: Key, number: UInt32, from origin: NodeID, sharesKey: Bool
    ) {
        // A driver that has entered the key without a client looks after its messages as well.
        if !sharesKey, isHeldHere(directory.table.holders(of: key)) { return }
        counters[.messagesDelivered] &-= 1
        guard body.isParked else {
            counters[.foundNoSubscriber] &+= 1
            return
        }
        counters[.foundNobody] &+= 1
        let flow = flows.flow(from: origin)
        guard number != 0, !flow.isNone, flows.incoming[flow].distance(to: number) < 0 else {
            return
        }
        giveBack(number, to: key, flow)
    }

    /// The message is not acknowledged before its origin has said that it is its own again.
    mutating func giveBack(_ number: UInt32, to key: Key, _ flow: IncomingFlowIndex) {
        flows.incoming[flow].returned.append(number, to: key)
        flows.incoming[flow].givesBack = true
        tellSoon(flow, at: now)
    }

    /// The next message of a flow that gives messages back. Returns true if it is one of those.
    mutating func givesBack(
        _ body: RoutedBody, _ key: Key, number: UInt32, _ flow: IncomingFlowIndex
    ) -> Bool {
        guard flows.incoming[flow].givesBack else { return false }
        flows.incoming[flow].returned.forgetPassed(number)
        if body.isParked, flows.incoming[flow].returned.contains(key) {
            counters[.foundNobody] &+= 1
            giveBack(number, to: key, flow)
            return true
        }
        flows.incoming[flow].givesBack = !flows.incoming[flow].returned.isEmpty
        return false
    }

    /// Tells the origin what of its messages has found nobody.
    mutating func tellReturned(
        _ flow: IncomingFlowIndex, to member: MemberIndex, _ effects: inout EffectBuffer
    ) {
        let numbers = flows.incoming[flow].returned.take(
            at: now, repeatedAfter: configuration.timing.gapRepeat)
        if !numbers.isEmpty {
            sendControl(
                .nobody(numbers, sequence: members[.oneself].log.sequence), to: member,
                in: flows.incoming[flow].lane, &effects)
        }
    }

    mutating func receivedTakenBack(
        _ range: FlowRange, last: UInt32, from origin: NodeID, _ lane: Lane
    ) {
        let flow = flows.flow(from: origin, lane)
        guard !flow.isNone, flows.incoming[flow].givesBack else { return }
        guard flows.incoming[flow].distance(to: range.last) < 0 else {
            counters[.protocolErrors] &+= 1
            return
        }
        flows.incoming[flow].returned.takenBack(range, last: last)
        flows.incoming[flow].returned.forgetPassed(flows.incoming[flow].expected)
        flows.incoming[flow].givesBack = !flows.incoming[flow].returned.isEmpty
        flows.incoming[flow].unacknowledged += 1
        tellSoon(flow, at: now)
    }
}

// The origin.

extension Node {
    /// A destination has said which messages have found nobody: they are this node's again, and go on
    /// to where their users are, or wait for them.
    mutating func receivedNobody(
        _ numbers: [UInt32], sequence: UInt64, from destination: NodeID, _ lane: Lane,
        _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: destination), index != .oneself,
            let lowest = numbers.first, let highest = numbers.last
        else { return }
        let flow = flows.flow(to: index, lane)
        if flow.isNone {
            // All was given up when the destination was forgotten.
            let range = FlowRange(first: lowest, last: highest)
            sendControl(.takenBack(range, last: highest), to: index, in: lane, &effects)
            return
        }
        guard flows.outgoing[flow].advance(to: highest) <= flows.outgoing[flow].count else {
            counters[.protocolErrors] &+= 1
            return
        }
        let barrier = ReturnBarrier(
            node: destination, lane: lane, through: flows.outgoing[flow].last, sequence: sequence)
        var offset = 0
        var next = flows.outgoing[flow].acknowledged &+ 1
        var through: UInt32?
        for number in numbers {
            let advance = flows.outgoing[flow].advance(to: number)
            // The rest is told again when the flow has been acknowledged up to here.
            if advance > Self.returnReach { break }
            through = number
            // A message that is not kept any more was given up, and its sender told.
            if advance <= 0 { continue }
            while next != number {
                offset +=
                    RetransmissionBuffer.header(flows.outgoing[flow].queue, at: offset).entrySize
                next &+= 1
            }
            if lane == .bulk {
                takeBackLarge(number, flow, barrier, &effects)
            } else {
                takeBack(flow, at: offset, barrier, &effects)
            }
        }
        guard let through else { return }
        sendControl(
            .takenBack(
                FlowRange(first: lowest, last: through), last: flows.outgoing[flow].last),
            to: index, in: lane, &effects)
    }

    /// So many messages of a flow are looked at for one `.nobody`: whoever returns some acknowledges
    /// everything before them.
    static var returnReach: Int { 8_192 }

    private mutating func takeBack(
        _ flow: FlowIndex, at offset: Int, _ barrier: ReturnBarrier, _ effects: inout EffectBuffer
    ) {
        let header = RetransmissionBuffer.header(flows.outgoing[flow].queue, at: offset)
        guard header.body.isParked, !header.isTakenBack else { return }
        RetransmissionBuffer.markTakenBack(&flows.outgoing[flow].queue, at: offset)
        guard goesOn(header.number, header.sender, copyCount: header.copyCount, &effects) else {
            return
        }
        var bytes = ByteQueue()
        flows.retransmission.copyBytes(
            header, of: flows.outgoing[flow].queue, at: offset,
            count: header.nameCount + header.payloadCount, to: &bytes)
        let message = ParkedMessage(
            sender: header.sender, number: header.number, nameCount: header.nameCount,
            isLabelled: header.isLabelled, bytes: bytes.array)
        park(message, to: header.key, behind: barrier, &effects)
    }

    /// A copy of a message has come back. Returns whether the message goes on now.
    mutating func goesOn(
        _ number: UInt32, _ sender: UInt64, copyCount: Int, _ effects: inout EffectBuffer
    ) -> Bool {
        counters[.takenBack] &+= 1
        effects.append(.takenBack(sender: sender))
        return flows.copiesReturned.note(number, of: copyCount)
    }

    /// A message that has come back waits until what was sent before it has come back or arrived.
    mutating func park(
        _ message: ParkedMessage, to key: Key, behind barrier: ReturnBarrier,
        _ effects: inout EffectBuffer
    ) {
        let due = now + configuration.timing.reattachGrace
        // A user who is nowhere by then is waited for: later messages wait behind these.
        if parked.due(key, at: now) == nil {
            parked.expect(key, until: due, limit: configuration.flows.rememberedUserCount)
        }
        if parked.add(message, to: key, due: due, configuration.flows) {
            parked.hold(key, behind: barrier)
            timers.schedule(.grace, at: now + Self.barrierGrain)
        } else {
            report(
                .user, key, Slice(start: 0, count: message.nameCount), message.sender,
                to: barrier.node, message.bytes.span, &effects)
        }
    }

    /// Barriers are looked at no more rarely while there are any.
    static var barrierGrain: Delay { .milliseconds(10) }

    /// Users whose barriers are gone get what has waited for them.
    mutating func liftBarriers(_ effects: inout EffectBuffer) {
        if parked.heldCount == 0 { return }
        for held in parked.held {
            let left = held.barriers.filter { stands($0) }
            parked.leave(left, before: held.key)
            if left.isEmpty { sendParked(held.key, &effects) }
        }
        if parked.heldCount > 0 { timers.schedule(.grace, at: now + Self.barrierGrain) }
    }

    /// Whether messages to a node where the user is no more may still come back, or be sent there for
    /// want of its news.
    private func stands(_ barrier: ReturnBarrier) -> Bool {
        guard let index = members.index(of: barrier.node) else { return false }
        let flow = flows.flow(to: index, barrier.lane)
        if !flow.isNone, flows.outgoing[flow].advance(to: barrier.through) > 0 { return true }
        return members.status(of: index).isPresent && !isWithdrawn(index)
            && members[index].log.sequence < barrier.sequence
    }
}
