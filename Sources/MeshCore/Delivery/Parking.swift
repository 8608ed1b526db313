import MeshWire

/// A message to a user who is nowhere at the moment.
struct ParkedMessage {
    var sender: UInt64
    var number: UInt32
    var nameCount: Int
    /// The payload begins with a label.
    var isLabelled: Bool
    /// The name, then the payload.
    var bytes: [UInt8]

    /// Its cost in the bounds: its bytes and the bookkeeping.
    var cost: Int { bytes.count + 48 }
}

/// Messages for users whose node has just died or left: their clients look for another node, and
/// what is sent to them meanwhile waits here, at its origin.
struct ParkedMessages {
    struct User {
        var key: Key
        /// Until when it is waited for.
        var due: Instant
        /// In the order in which they were published.
        var messages: [ParkedMessage] = []
        var byteCount = 0
        /// Nothing is sent while one of these stands.
        var barriers: [ReturnBarrier] = []
    }

    /// The keys that were withdrawn with their last holder, and until when they are waited for.
    private var expected: [Key: Instant] = [:]
    /// The same in the order of time; `first` is where it begins.
    private var order: [(key: Key, due: Instant)] = []
    private var first = 0

    private var users: [User] = []
    private var positions: [Key: Int] = [:]
    private(set) var count = 0
    private(set) var byteCount = 0
    /// Users with a barrier.
    private(set) var heldCount = 0

    var isEmpty: Bool { users.isEmpty }
    var expectsAnybody: Bool { first < order.count }

    /// Remembers a key; the oldest is forgotten when there are too many.
    mutating func expect(_ key: Key, until due: Instant, limit: Int) {
        if order.count - first >= limit { forgetFirst() }
        expected[key] = due
        order.append((key, due))
    }

    /// The key is held again: when its holder leaves in order, nobody waits for it.
    mutating func forget(_ key: Key) { expected[key] = nil }

    private mutating func forgetFirst() {
        let oldest = order[first]
        if expected[oldest.key] == oldest.due { expected[oldest.key] = nil }
        first += 1
        if first >= 4_096, first * 2 >= order.count {
            order.removeFirst(first)
            first = 0
        } else if first == order.count {
            order = []
            first = 0
        }
    }

    /// Forgets the keys whose time is over. Returns when the next one's is.
    mutating func forgetExpired(at now: Instant) -> Instant? {
        while first < order.count, order[first].due <= now { forgetFirst() }
        return first < order.count ? order[first].due : nil
    }

    /// Until when this key is waited for; nil: it is not.
    func due(_ key: Key, at now: Instant) -> Instant? {
        guard let due = expected[key], due > now else { return nil }
        return due
    }

    /// Whether what waits for the key has to wait although the user may be somewhere.
    func isHeld(_ key: Key) -> Bool {
        positions[key].map { !users[$0].barriers.isEmpty } ?? false
    }

    /// The users with a barrier.
    var held: [(key: Key, barriers: [ReturnBarrier])] {
        users.filter { !$0.barriers.isEmpty }.map { ($0.key, $0.barriers) }
    }

    /// Until when what waits for the key does; nil: nothing does.
    func end(of key: Key) -> Instant? { positions[key].map { users[$0].due } }

    /// Messages for the key, of which there are some, wait for this too, and so do those that come.
    mutating func hold(_ key: Key, behind barrier: ReturnBarrier) {
        let position = positions[key]!
        if users[position].barriers.isEmpty { heldCount += 1 }
        if let known = users[position].barriers.firstIndex(where: { $0.node == barrier.node }) {
            users[position].barriers[known] = barrier
        } else {
            users[position].barriers.append(barrier)
        }
    }

    /// Of the barriers of a user who has some these are left.
    mutating func leave(_ barriers: [ReturnBarrier], before key: Key) {
        let position = positions[key]!
        users[position].barriers = barriers
        if barriers.isEmpty { heldCount -= 1 }
    }

    /// Keeps a message for a key that is waited for, before those that were published after it.
    /// Returns false when there is no room.
    mutating func add(
        _ message: ParkedMessage, to key: Key, due: Instant, _ limits: FlowLimits
    ) -> Bool {
        guard byteCount + message.cost <= limits.parkedTotalBytes else { return false }
        let position: Int
        if let known = positions[key] {
            position = known
        } else {
            position = users.count
            users.append(User(key: key, due: due))
            positions[key] = position
        }
        guard users[position].messages.count < limits.parkedCount,
            users[position].byteCount + message.cost <= limits.parkedBytes
        else { return false }
        var place = users[position].messages.count
        while place > 0,
            Int32(bitPattern: users[position].messages[place - 1].number &- message.number) > 0
        {
            place -= 1
        }
        users[position].messages.insert(message, at: place)
        users[position].byteCount += message.cost
        count += 1
        byteCount += message.cost
        return true
    }

    /// All messages for a key, which is there again.
    mutating func take(_ key: Key) -> [ParkedMessage] {
        guard let position = positions[key] else { return [] }
        return remove(position).messages
    }

    /// The users whose time is over, with their messages; the order is that of their first ones, but
    /// for those that others have made room for.
    mutating func takeExpired(at now: Instant) -> [User] {
        var expired: [User] = []
        var position = 0
        while position < users.count {
            if users[position].due <= now {
                expired.append(remove(position))
            } else {
                position += 1
            }
        }
        return expired
    }

    /// When the time of somebody is over who is waited for, or for whom messages wait; nil: of nobody.
    /// Looks at all, for checks.
    var earliestDue: Instant? {
        [expected.values.min(), nextDue].compactMap { $0 }.min()
    }

    /// When the first user's time is over.
    var nextDue: Instant? { users.map { $0.due }.min() }

    private mutating func remove(_ position: Int) -> User {
        let user = users[position]
        positions[user.key] = nil
        let last = users.removeLast()
        if position < users.count {
            users[position] = last
            positions[last.key] = position
        }
        count -= user.messages.count
        byteCount -= user.byteCount
        if !user.barriers.isEmpty { heldCount -= 1 }
        return user
    }
}

extension Node {
    /// A key has lost its last holder with the node that held it.
    mutating func expectBack(_ key: Key) {
        let due = now + configuration.timing.reattachGrace
        parked.expect(key, until: due, limit: configuration.flows.rememberedUserCount)
        timers.schedule(.grace, at: due)
    }

    /// A message to a user who is nowhere: it waits if the user's node has just gone.
    ///
    /// - Parameter end: until when, for a user who is known to have been somewhere; nil: as far as
    ///   that is remembered.
    @inline(never)
    mutating func park(
        _ message: OutgoingMessage, until end: Instant?, _ bytes: Span<UInt8>,
        _ outcome: inout PublishOutcome, _ effects: inout EffectBuffer
    ) {
        guard let due = parked.due(message.key, at: now) ?? end else { return }
        let waiting = ParkedMessage(
            sender: message.sender, number: outcome.number, nameCount: Int(message.name.count),
            isLabelled: message.isLabelled,
            bytes: bytes.array(message.name) + bytes.array(message.payload))
        if parked.add(waiting, to: message.key, due: due, configuration.flows) {
            outcome.verdict = .parked
            counters[.parked] &+= 1
        } else {
            outcome.verdict = .refused
            report(
                .user, message.key, message.name, message.sender, to: NodeID(0), bytes, &effects)
        }
    }

    /// A message to a user to whom others are on their way back. Returns whether it waits behind them.
    @inline(never)
    mutating func parkedBehindOthers(
        _ message: OutgoingMessage, _ bytes: Span<UInt8>, _ outcome: inout PublishOutcome,
        _ effects: inout EffectBuffer
    ) -> Bool {
        guard message.body.isParked, !message.isVolatile, parked.isHeld(message.key) else {
            return false
        }
        park(message, until: parked.end(of: message.key), bytes, &outcome, &effects)
        // The user may be somewhere all the same: then it goes there in a moment.
        if outcome.verdict == .parked {
            outcome.nodeCount = holderIndices(of: message.key).count { $0 != .oneself }
        }
        return true
    }

    /// A message to a user whose node has gone so lately that its entries are still being taken out
    /// of the table.
    @inline(never)
    mutating func parkWithdrawn(
        _ message: OutgoingMessage, _ bytes: Span<UInt8>, _ outcome: inout PublishOutcome,
        _ effects: inout EffectBuffer
    ) {
        guard message.body.isParked, !message.isVolatile, !directory.withdrawals.isEmpty else {
            return
        }
        let due = now + configuration.timing.reattachGrace
        timers.schedule(.grace, at: due)
        park(message, until: due, bytes, &outcome, &effects)
    }

    /// Whether this node is among the holders of a key.
    func isHeldHere(_ holders: DirectoryTable.Holders) -> Bool {
        switch holders {
        case .none: return false
        case .one(let node): return MemberIndex(node: node) == .oneself
        case .many(let set):
            return (0..<set.count).contains {
                MemberIndex(node: directory.table.node(in: set, at: $0)) == .oneself
            }
        }
    }

    /// The user is somewhere again, perhaps here.
    @inline(never)
    mutating func sendParked(_ key: Key, _ effects: inout EffectBuffer) {
        let nodes = holderIndices(of: key)
        if nodes.isEmpty || parked.isHeld(key) { return }
        for message in parked.take(key) {
            let holders = nodes.filter { !isWrongName(message, key, at: $0) }
            for node in holders {
                if node == .oneself {
                    deliverKept(
                        .user, number: 0, key, message.bytes, nameCount: message.nameCount,
                        id: MessageID(origin: id, number: message.number),
                        isLabelled: message.isLabelled, &effects)
                } else {
                    sendLate(message, key, to: node, copyCount: holders.count, &effects)
                }
            }
            if holders.isEmpty { giveUp(message, key, &effects) }
        }
    }

    /// Whether a holder of the key is known to have another name of it than the message is for.
    private func isWrongName(_ message: ParkedMessage, _ key: Key, at index: MemberIndex) -> Bool {
        guard index != .oneself, directory.collisions.mayHave(key) else { return false }
        let hash = nameHash(
            .user, Slice(start: 0, count: message.nameCount), message.bytes.span)
        return directory.collisions.contains(key, name: hash, at: members.id(of: index))
    }

    private mutating func giveUp(
        _ message: ParkedMessage, _ key: Key, _ effects: inout EffectBuffer
    ) {
        report(
            .user, key, Slice(start: 0, count: message.nameCount), message.sender,
            to: NodeID(0), message.bytes.span, &effects)
    }

    /// Users who did not come back: their messages are given up.
    mutating func expireParked(_ effects: inout EffectBuffer) {
        liftBarriers(&effects)
        if let next = parked.forgetExpired(at: now) { timers.schedule(.grace, at: next) }
        report(parked.takeExpired(at: now), &effects)
        if let next = parked.nextDue { timers.schedule(.grace, at: next) }
    }

    mutating func giveUpParked(_ effects: inout EffectBuffer) {
        report(parked.takeExpired(at: Instant(nanoseconds: .max)), &effects)
    }

    private mutating func report(
        _ users: [ParkedMessages.User], _ effects: inout EffectBuffer
    ) {
        for user in users {
            for message in user.messages { giveUp(message, user.key, &effects) }
        }
    }

    /// Keeps a message that waited for its user in the flow to the node that has it now, and sends
    /// it.
    mutating func sendLate(
        _ message: ParkedMessage, _ key: Key, to index: MemberIndex, copyCount: Int,
        _ effects: inout EffectBuffer
    ) {
        let flow = outgoingFlow(to: index)
        var outgoing = OutgoingMessage(
            .user, key, name: Slice(start: 0, count: message.nameCount),
            payload: Slice(
                start: message.nameCount, count: message.bytes.count - message.nameCount),
            sender: message.sender)
        outgoing.isLabelled = message.isLabelled
        let cost = RetransmissionBuffer.headerSize + message.bytes.count
        let bytes = message.bytes.span
        // Its publisher has been told already that it waits.
        var outcome = PublishOutcome(number: message.number)
        if outgoing.isLabelled, !understandsLabel(of: outgoing, bytes, at: index) {
            report(
                .user, key, outgoing.name, outgoing.sender, to: members.id(of: index), bytes,
                &effects)
            return
        }
        if isBulky(outgoing, to: index) {
            var whole = ParcelIndex.none
            let isKept = publishBulky(
                outgoing, to: index, copyCount: copyCount, &whole, bytes, &outcome, &effects)
            if isKept { counters[.messagesOriginated] &+= 1 }
            return
        }
        guard mayKeep(cost, flow) else {
            refuse(outgoing, to: index, bytes, &outcome, &effects)
            return
        }
        if flows.outgoing[flow].mustSkip { tellSkip(flow, &effects) }
        let offset = flows.outgoing[flow].queue.count
        let parcel = flows.retransmission.parcel(
            name: outgoing.name, payload: outgoing.payload, bytes)
        keep(
            outgoing, number: message.number, cost: cost, parcel: parcel, copyCount: copyCount,
            bytes, flow, &outcome)
        counters[.messagesOriginated] &+= 1
        if flows.outgoing[flow].isRecovering { return }
        if sendKept(flow, flows.outgoing[flow].last, at: offset, &effects) == nil {
            stranded(flow)
        } else {
            counters[.retransmitted] &-= 1
        }
    }
}
