import MeshCore
import MeshWire

// A node with members of a room tells the nodes that watch it.

extension Hub {
    /// The sender's tag of what rosters send, in the node: no client or request has it, so that it stays in
    /// order with nothing else.
    private static var rosterSender: UInt64 { 1 << 62 }

    // MARK: Owners

    /// The nodes that watch a room with members here.
    mutating func found(watchers: [NodeID], of room: [UInt8]) {
        let others = watchers.filter { $0 != nodeID }
        if rosters.owners.slot(of: room) == nil, others.isEmpty { return }
        guard let slot = owner(of: room) else { return }
        let new = rosters.owners[slot]!.setWatchers(others)
        // One that was taken for dead has missed batches.
        let beacon = rosters.owners[slot]!.beacon(count: memberCount(of: room))
        post(beacon, room, to: new)
        settleOwner(slot)
    }

    /// The owner of a room's roster here; nil: nobody is in it.
    mutating func owner(of room: [UInt8]) -> Int? {
        if let slot = rosters.owners.slot(of: room) { return slot }
        let topic = registry.topics.find(
            .room, hasher.key(.room, room), room.span, 0, room.count)
        if topic.isNone { return nil }
        var owner = RosterOwner(
            room: room, watchKey: hasher.key(.roomWatch, room), epoch: rosters.takeNumber(),
            at: now)
        owner.isCounted = isCounted(memberCount(of: room), false)
        return rosters.owners.insert(owner, of: room)
    }

    mutating func removeOwner(_ slot: Int) {
        guard let owner = rosters.owners[slot] else { return }
        memory.rosters -= owner.charged
        _ = rosters.owners.remove(owner.room)
    }

    mutating func settleOwner(_ slot: Int) {
        if rosters.owners[slot]!.isIdle(at: now) { return removeOwner(slot) }
        let cost = rosters.owners[slot]!.cost
        memory.rosters += cost - rosters.owners[slot]!.charged
        rosters.owners[slot]!.charged = cost
        rosters.scheduleOwner(slot)
    }

    mutating func advanceOwner(_ slot: Int) {
        if let due = rosters.owners[slot]!.due, due <= now { closeBatch(slot) }
        rosters.owners[slot]!.forgetAskers(at: now)
        settleOwner(slot)
    }

    /// Sends the open batch, if there is one.
    mutating func closeBatch(_ slot: Int) {
        guard rosters.owners[slot]!.due != nil else { return }
        let room = rosters.owners[slot]!.room
        let nodes = rosters.owners[slot]!.told(at: now)
        let batch = rosters.owners[slot]!.close(count: memberCount(of: room))
        counters[.rosterBatches] += UInt64(nodes.count)
        post(batch, room, to: nodes)
    }

    mutating func post(_ message: RosterMessage, _ room: [UInt8], to nodes: [NodeID]) {
        if nodes.isEmpty { return }
        let bytes = room + message.payload
        let key = hasher.key(.roomWatch, room)
        for node in nodes {
            outbox.posts.append(
                Post(
                    destination: node, body: .roster, key: key, nameCount: room.count,
                    bytes: bytes, sender: Self.rosterSender))
        }
        outbox.hasWork = true
    }

    /// A batch or question was not taken for a node, or given up on its way there.
    mutating func rosterLost(_ room: [UInt8], to node: NodeID) {
        if let slot = rosters.owners.slot(of: room) {
            // The nodes that lack a batch see that by the next one.
            rosters.owners[slot]!.open(by: now + RosterOwner.repeatDelay)
            settleOwner(slot)
        }
        if let slot = rosters.views.slot(of: room) {
            rosters.views[slot]!.questionLost(node, at: now)
            settleView(slot)
        }
    }

    /// Another node asks for the members here.
    mutating func answer(
        _ question: RosterQuestion, about room: [UInt8], from node: NodeID
    ) {
        // Those whose connections have gone are not told of.
        _ = roll(of: room)
        guard let slot = owner(of: room) else {
            let none = RosterHeader(epoch: 0, version: 0, count: 0)
            return post(.page(question.number, none, []), room, to: [node])
        }
        // The page is of the version that it names.
        closeBatch(slot)
        rosters.owners[slot]!.note(asker: node, at: now)
        var header = rosters.owners[slot]!.header(count: memberCount(of: room))
        var changes: [RosterChange] = []
        if question.limit > 0, !header.flags.contains(.counted) {
            tellMembers(
                of: room, after: question.after, limit: question.limit,
                bytesMax: RosterMessage.bytesMax
            ) {
                changes.append(RosterChange(id: $0.id, user: $0.user, metadata: $0.metadata))
            } more: { _ in
                header.flags.insert(.continues)
            }
        }
        post(.page(question.number, header, changes), room, to: [node])
        settleOwner(slot)
    }
}
