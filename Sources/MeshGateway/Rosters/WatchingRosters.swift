import MeshCore
import MeshWire

// A node whose clients watch rooms: what other nodes tell it, and what it tells its clients.

extension Hub {
    /// Of a turn's work, for one watcher.
    private static var unitsPerWatcher: Int { 32 }

    // MARK: What other nodes tell

    mutating func receiveRoster(
        _ name: Slice, _ payload: Slice, _ input: Span<UInt8>, from node: NodeID
    ) {
        guard (1...Self.userNameLengthMax).contains(Int(name.count)) else {
            counters[.postsMalformed] += 1
            return
        }
        let room = input.array(name)
        guard let message = RosterMessage(input, payload) else {
            counters[.postsMalformed] += 1
            resync(room, with: node, after: RosterView.askInterval)
            return
        }
        if case .question(let question) = message {
            return answer(question, about: room, from: node)
        }
        guard let slot = rosters.views.slot(of: room) else { return }
        switch message {
        case .question: break
        case .batch(let header, let changes):
            if !rosters.views[slot]!.apply(header, changes, of: node) { resync(room, with: node) }
        case .page(let number, let header, let changes):
            let taken = rosters.views[slot]!.take(number, header, changes, from: node)
            if !taken.fits { resync(room, with: node) }
            if let place = taken.place {
                ask(node, slot, behind: place)
                rosters.views[slot]!.noteStages()
            }
        }
        settleView(slot)
    }

    /// Something of a node's members is missing: it is asked for all of them.
    private mutating func resync(_ room: [UInt8], with node: NodeID, after delay: Delay = .zero) {
        guard let slot = rosters.views.slot(of: room),
            rosters.views[slot]!.rows[node] != nil
        else { return }
        counters[.rosterResyncs] += 1
        rosters.views[slot]!.askAgain(node, at: now, after: delay)
        settleView(slot)
    }

    /// Messages of a node will never come.
    public mutating func rosterGap(from node: NodeID) {
        for slot in rosters.views.slots where rosters.views[slot]?.rows[node] != nil {
            resync(rosters.views[slot]!.room, with: node)
        }
    }

    /// A node is dead, or has left.
    mutating func loseRosters(of node: NodeID) {
        for slot in rosters.views.slots {
            if rosters.views[slot]?.lose(node, at: now) == true { settleView(slot) }
        }
        for slot in rosters.owners.slots where rosters.owners[slot] != nil {
            rosters.owners[slot]!.forget(node)
            settleOwner(slot)
        }
    }

    // MARK: Views

    private mutating func ask(_ node: NodeID, _ slot: Int, behind place: MemberPlace? = nil) {
        let number = rosters.takeNumber()
        let question = rosters.views[slot]!.ask(node, number: number, behind: place, at: now)
        post(.question(question), rosters.views[slot]!.room, to: [node])
    }

    /// To be called after a view has changed.
    mutating func settleView(_ slot: Int) {
        let share = configuration.memory.rosters
        let room = rosters.views[slot]!.room
        let isCounting = rosters.views[slot]!.isCounting
        let growth = isCounting ? rosters.views[slot]!.costOfAll + share / 8 : 0
        let isShort = memory.rosters + growth > share
        if rosters.views[slot]!.reconsider(isShort: isShort, here: nodeID, at: now) {
            fill(slot, with: room)
        }
        let cost = rosters.views[slot]!.cost
        memory.rosters += cost - rosters.views[slot]!.charged
        rosters.views[slot]!.charged = cost
        rosters.scheduleView(slot, at: now)
    }

    /// Enters this node's own members.
    mutating func fill(_ slot: Int, with room: [UInt8]) {
        // As it is: those whose connections have gone are being struck from it, perhaps in this moment.
        let topic = registry.topics.find(.room, hasher.key(.room, room), room.span, 0, room.count)
        let roll = topic.isNone ? nil : registry.members[roll: topic]
        let list = roll?.members ?? OrderedList()
        let isCounted = isCounted(list.count, rosters.views[slot]!.isCountedHere(nodeID))
        rosters.views[slot]!.setHere(count: list.count, isCounted: isCounted, nodeID)
        if isCounted { return }
        var position = list.position { _ in false }
        while let index = list[position] {
            let member = shown(index)
            rosters.views[slot]!.applyHere(
                RosterChange(id: member.id, user: member.user, metadata: member.metadata),
                count: list.count, isCounted: false, nodeID)
            position = list.position(after: position)
        }
    }

    mutating func advanceView(_ slot: Int, _ units: inout Int) {
        if rosters.views[slot]!.removeEnded(at: now) {
            // One of them may have come back meanwhile.
            rosters.seek(rosters.views[slot]!.roomKey)
            outbox.hasWork = true
        }
        let unasked = rosters.views[slot]!.unasked(at: now)
        for node in unasked { ask(node, slot) }
        if !unasked.isEmpty { rosters.views[slot]!.noteStages() }
        settleView(slot)
        rosters.views[slot]!.beginPass(at: now)
        goOnTelling(slot, &units)
        rosters.scheduleView(slot, at: now)
    }

    // MARK: Watchers

    /// The client has begun to watch the roster of the topic's room.
    mutating func beginWatching(_ client: ClientIndex, _ topic: TopicIndex) {
        let room = registry.topics.name(topic)
        let slot: Int
        if let known = rosters.views.slot(of: room) {
            slot = known
        } else {
            let view = RosterView(room: room, roomKey: hasher.key(.room, room), here: nodeID)
            slot = rosters.views.insert(view, of: room)
            follow(room, isView: true)
            fill(slot, with: room)
        }
        var watcher = RosterWatcher()
        watcher.client = client
        watcher.view = slot
        let index = WatcherIndex(rosters.watchers.insert(watcher))
        rosters.watchers[index].place = rosters.views[slot]!.watchers.add(index)
        rosters.views[slot]!.watchers.fullCount += 1
        registry.setDetail(registry.find(Receiver(client), topic), index)
    }

    /// A client that watches is told all that there is; members, or their number alone.
    mutating func tellRoster(
        of room: Slice, _ input: Span<UInt8>, countsAlone: Bool, _ client: ClientIndex
    ) {
        let (start, count) = (Int(room.start), Int(room.count))
        let topic = registry.topics.find(
            .roomWatch, hasher.key(.roomWatch, input, start, count), input, start, count)
        if topic.isNone { return }
        let index = registry.watcher(of: registry.find(Receiver(client), topic))
        let slot = rosters.watchers[index].view
        if rosters.watchers[index].wantsCounts != countsAlone {
            rosters.watchers[index].wantsCounts = countsAlone
            rosters.views[slot]!.watchers.fullCount += countsAlone ? -1 : 1
        }
        rosters.watchers[index].stage = .nothing
        rosters.views[slot]!.watchers.beginWait(at: now)
        settleView(slot)
    }

    /// The client's watch ends.
    mutating func endWatching(_ subscription: SubscriptionIndex) {
        let index = registry.watcher(of: subscription)
        let watcher = rosters.watchers[index]
        if !watcher.wantsCounts { rosters.views[watcher.view]!.watchers.fullCount -= 1 }
        let moved = rosters.views[watcher.view]!.watchers.remove(at: watcher.place)
        if let moved { rosters.watchers[moved].place = watcher.place }
        rosters.watchers.vacate(index.slot, leaving: RosterWatcher())
        guard rosters.views[watcher.view]!.watchers.places.isEmpty else { return }
        let room = rosters.views[watcher.view]!.room
        memory.rosters -= rosters.views[watcher.view]!.charged
        _ = rosters.views.remove(room)
        endFollowing(room, isView: true)
    }

    /// Tells as many of a view's watchers as `units` suffice for what the pass at hand has for them.
    private mutating func goOnTelling(_ slot: Int, _ units: inout Int) {
        guard var pass = rosters.views[slot]!.watchers.pass.take() else { return }
        let room = rosters.views[slot]!.room
        pass.left = min(pass.left, rosters.views[slot]!.watchers.places.count)
        while pass.left > 0 {
            guard units > 0 else {
                rosters.views[slot]!.watchers.pass = pass
                return
            }
            pass.left -= 1
            units -= Self.unitsPerWatcher
            let index = rosters.views[slot]!.watchers.places[pass.left]
            if rosters.watchers[index].pass == pass.number { continue }
            rosters.watchers[index].pass = pass.number
            tell(index, of: room, &pass, &units)
        }
    }

    /// Output that a client may have unread when it is told changes.
    private static var unreadMax: Int { 64 * 1024 }

    private mutating func tell(
        _ index: WatcherIndex, of room: [UInt8], _ pass: inout RosterPass, _ units: inout Int
    ) {
        let client = rosters.watchers[index].client
        let slot = client.slot
        guard clients[slot].flags.contains(.open),
            clients[slot].flags.isDisjoint(with: [.doomed, .ending])
        else { return }
        let stage = rosters.watchers[index].stage
        guard let part = pass.part(for: stage, wantsCounts: rosters.watchers[index].wantsCounts)
        else { return }
        if part != .count, clients[slot].output.count + clients[slot].held.count > Self.unreadMax {
            // It gets all when it has read this.
            rosters.watchers[index].stage = .nothing
            rosters.views[rosters.watchers[index].view]!.watchers.retry(at: now)
            return
        }
        rosters.watchers[index].stage = part == .count ? .count : .all(era: pass.era)
        let isRESP3 = clients[slot].isRESP3
        if pass.make(part, of: room, isRESP3: isRESP3) { units -= pass.cost(of: part) }
        let frame = pass.frame(part, isRESP3: isRESP3)
        units -= frame.count / 64
        write(frame, to: client)
    }

    /// Writes pushes for a client; while the answers to a transaction are written they follow them.
    private mutating func write(_ frame: [UInt8], to client: ClientIndex) {
        let slot = client.slot
        if clients[slot].flags.contains(.holding) {
            clients[slot].held.append(frame)
            heldBack(client, .unknown)
        } else {
            clients[slot].output.append(frame)
        }
        wrote(client)
    }
}
