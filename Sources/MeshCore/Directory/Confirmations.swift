import MeshWire

/// This node's changes that not all others are known to have entered, and others' changes of which this
/// node has yet to say so.
///
///     origin ──records──▶ forwarder ──records──▶ …     each enters them
///     origin ◀───known─── forwarder ◀───known─── …     each says so for its whole arc, once
///
/// The acknowledgement goes back the way that the records came, so that n − 1 messages speak for n − 1
/// nodes. A forwarder sends the records directly to those who lie in its arc and whom no link of the ring
/// leads to. Where the acknowledgement stays away for a quarter of the patience, a forwarder may have died with what it had to
/// pass on: all nodes of that arc are sent the records directly, and answer directly; those who do not in
/// another quarter are sent them over another link, and so on. A node that is suspect, or silent for all
/// of the patience, is not waited for.
struct Confirmations {
    /// Batches of which not all have been heard, oldest first.
    var batches: [Batch] = []
    /// Batches spread since the start.
    var spreadCount: UInt64 = 0
    /// The time until a batch was known everywhere, smoothed; nil: none was yet.
    var smoothed: Delay?
    var relays: [RelayKey: Relay] = [:]
    /// The keys of `relays`, and of some that have gone, with the time at which they came.
    var relayOrder = FIFO<(key: RelayKey, since: Instant)>()
    /// Those of them whose records this node itself lacks.
    var unentered: [RelayKey] = []
    /// Nodes that were not waited for any longer, the oldest first: how long they take is learnt when they
    /// answer after all.
    private var overdue: [Overdue] = []

    private struct Overdue {
        var node: NodeID
        var last: UInt64
        var sentAt: Instant
    }

    /// Changes of this node that were spread together.
    struct Batch {
        let records: DirectoryRecords
        let sentAt: Instant
        let patience: Delay
        /// When it is looked at again.
        var due: Instant
        /// Parts of the ring that have not acknowledged.
        var arcs: [Arc]
        /// Nodes that were sent the records directly and have not acknowledged.
        var silent: [Silent] = []
        /// Many were sent the records together.
        var isSentToMany = false
        /// The time until it is known says how long that takes: somebody is waited for, and to the end.
        var isSample = true

        var isKnown: Bool { arcs.isEmpty && silent.isEmpty }
    }

    struct Silent {
        var node: NodeID
        /// The links over which it was sent the records.
        var tried: [LinkIndex] = []
    }

    /// The nodes from the peer of a link clockwise to `end`, exclusive.
    struct Arc {
        var peer: NodeID
        var end: NodeID
    }

    /// Records that this node has passed on.
    struct RelayKey: Hashable {
        var origin: NodeID
        var life: UInt64
        var last: UInt64
    }

    /// The conditions under which this node acknowledges such records, and its addressees.
    struct Relay {
        var since: Instant
        var isEntered: Bool
        /// Peers who have not acknowledged for their arcs.
        var children: [NodeID] = []
        /// The node that has passed them on for an arc; nil: they came directly.
        var peer: NodeID?
        /// Nodes that have sent them directly.
        var senders: [NodeID] = []
    }

    /// The batches whose end all have entered, or are not waited for.
    var knownCount: UInt64 { spreadCount - UInt64(batches.count) }

    /// With more silent nodes than this it is no forwarder that lacks but the network: the records are sent
    /// to all of them once, in frames that they share.
    static var silentCountMax: Int { 32 }
    /// Nobody waits longer for an acknowledgement.
    static var patienceMax: Delay { .seconds(5) }
    private static var relayCountMax: Int { 4_096 }
    private static var overdueCountMax: Int { 64 }

    mutating func insert(_ key: RelayKey, _ relay: Relay) {
        while let oldest = relayOrder.first,
            relayOrder.count >= Self.relayCountMax || oldest.since + Self.patienceMax < relay.since
        {
            _ = relayOrder.popFirst()
            if relays[oldest.key]?.since == oldest.since { relays[oldest.key] = nil }
        }
        relays[key] = relay
        relayOrder.append((key, relay.since))
        if !relay.isEntered {
            unentered.removeAll { relays[$0] == nil || $0 == key }
            unentered.append(key)
        }
    }

    /// A node has entered the records up to `last`, and so have all behind it in its arc, if it has one.
    mutating func acknowledge(upTo last: UInt64, by node: NodeID, at now: Instant) {
        if let place = overdue.firstIndex(where: { $0.node == node && $0.last <= last }) {
            learn(now - overdue.remove(at: place).sentAt)
        }
        // The last sequences ascend from batch to batch.
        for place in batches.indices {
            if batches[place].records.last > last { break }
            batches[place].silent.removeAll { $0.node == node }
            if batches[place].records.last == last {
                batches[place].arcs.removeAll { $0.peer == node }
            }
        }
    }

    /// Takes the known batches from the front, and learns from how long they took; false: there are none.
    mutating func takeKnown(at now: Instant) -> Bool {
        let count = batches.firstIndex { !$0.isKnown } ?? batches.count
        for batch in batches[..<count] where batch.isSample { learn(now - batch.sentAt) }
        batches.removeFirst(count)
        return count > 0
    }

    /// An exponentially weighted mean, 1/8 a sample.
    private mutating func learn(_ sample: Delay) {
        let mean = smoothed?.nanoseconds ?? sample.nanoseconds
        smoothed = Delay(nanoseconds: mean + (sample.nanoseconds - mean) / 8)
    }

    /// Those of a batch who have not answered are not waited for.
    mutating func giveUp(_ place: Int, silent: [Silent]) {
        for one in silent {
            overdue.removeAll { $0.node == one.node }
            if overdue.count == Self.overdueCountMax { overdue.removeFirst() }
            overdue.append(
                Overdue(
                    node: one.node, last: batches[place].records.last,
                    sentAt: batches[place].sentAt))
        }
        batches[place].isSample = false
        batches[place].silent = []
    }
}

extension DirectoryRecords {
    /// The sequence of the last one.
    var last: UInt64 { firstSequence + UInt64(records.count) - 1 }
}

extension Node {
    // MARK: This node's own changes

    /// Broadcasts leave no faster than one in this time, in the long run: each costs every node 92 bytes
    /// besides its changes. A mesh of a few nodes knows of each in a tenth of it.
    static var broadcastPace: Delay { .milliseconds(1) }
    /// So much sooner than at that pace may a broadcast leave: a thousand one after another.
    static var broadcastBurst: Delay { .seconds(1) }

    /// The batch that this node's latest change is in; all others have it when `knownBatch` has come so far.
    public var latestBatch: UInt64 {
        // With nobody else there is nobody to wait for.
        if members.ring.count == 1 { return knownBatch }
        return directory.confirmations.spreadCount + (directory.unsent.isEmpty ? 0 : 1)
    }

    /// All nodes that this one holds for alive have entered its changes up to this batch, but for those
    /// that are behind: suspect, or silent about them for `confirmationPatience`.
    public var knownBatch: UInt64 { directory.confirmations.knownCount }

    /// 100 ms and three times as long as it took lately; at first eight of the longest round trips.
    private var confirmationPatience: Delay {
        let usual = directory.confirmations.smoothed ?? longestRoundTrip * 8
        return min(.milliseconds(100) + usual * 3, Confirmations.patienceMax)
    }

    private var longestRoundTrip: Delay {
        var longest = Delay.zero
        for index in links.established {
            if let measured = links[index].roundTrips.smoothed { longest = max(longest, measured) }
        }
        for entry in members.ring {
            if let milliseconds = coordinates.estimate(entry.index) {
                longest = max(longest, Delay(nanoseconds: Int64(milliseconds * 1e6)))
            }
        }
        return longest
    }

    /// Waits for all to say that they have entered these records, which went over these arcs.
    mutating func awaitKnown(
        _ records: DirectoryRecords, over arcs: [Confirmations.Arc], _ effects: inout EffectBuffer
    ) {
        let patience = confirmationPatience
        var batch = Confirmations.Batch(
            records: records, sentAt: now, patience: patience,
            due: now + Delay(nanoseconds: patience.nanoseconds / 4), arcs: arcs,
            silent: outside(arcs))
        batch.isSample = !batch.isKnown
        directory.confirmations.spreadCount += 1
        directory.confirmations.batches.append(batch)
        sendDirectly(directory.confirmations.batches.count - 1, &effects)
        settleBatches(&effects)
    }

    /// The nodes that these arcs of this node's do not reach: all, or those before the only one.
    private func outside(_ arcs: [Confirmations.Arc]) -> [Confirmations.Silent] {
        var end = UInt64.max
        if let first = arcs.first {
            if arcs.count > 1 { return [] }
            end = id.clockwise(to: first.peer)
        }
        return membersBefore(end, not: id).map {
            Confirmations.Silent(node: members.id(of: $0))
        }
    }

    /// Sends a batch to the nodes that are known not to have been reached.
    private mutating func sendDirectly(_ place: Int, _ effects: inout EffectBuffer) {
        let batch = directory.confirmations.batches[place]
        if batch.silent.count > Confirmations.silentCountMax {
            if batch.isSentToMany { return }
            directory.confirmations.batches[place].isSentToMany = true
            send(.records(batch.records), to: batch.silent.map(\.node), &effects)
            return
        }
        var silent = batch.silent
        for position in silent.indices {
            guard let index = members.index(of: silent[position].node) else { continue }
            let link = sendControl(
                .records(batch.records), to: index, over: linkToTry(silent[position].tried),
                &effects)
            silent[position].tried.append(link)
        }
        directory.confirmations.batches[place].silent = silent
    }

    /// The first try goes the best way, each further one over another neighbour: the one that was heard
    /// last, because many may stand still at once; none: the best way.
    private func linkToTry(_ tried: [LinkIndex]) -> LinkIndex {
        if tried.isEmpty { return .none }
        let others = links.established.filter { links[$0].isUsable && !tried.contains($0) }
        return others.max { links[$0].heardAt < links[$1].heardAt } ?? .none
    }

    private func isAwaited(_ index: MemberIndex) -> Bool {
        index != .oneself && members.status(of: index) == .alive
    }

    private func awaited(on arc: Confirmations.Arc) -> [Confirmations.Silent] {
        living(from: arc.peer, before: arc.peer.clockwise(to: arc.end)).map {
            Confirmations.Silent(node: members.id(of: $0))
        }
    }

    /// Batches that were not acknowledged in time are sent once more, directly; at last those who are
    /// silent are not waited for.
    mutating func checkConfirmations(_ effects: inout EffectBuffer) {
        for place in directory.confirmations.batches.indices {
            let batch = directory.confirmations.batches[place]
            if batch.due > now || batch.isKnown { continue }
            var silent = batch.silent.filter {
                members.index(of: $0.node).map { isAwaited($0) } ?? false
            }
            // Others may have lost it.
            for arc in batch.arcs { silent += awaited(on: arc) }
            directory.confirmations.batches[place].arcs = []
            let end = batch.sentAt + batch.patience
            if end <= now, !silent.isEmpty {
                counters[.confirmedEarly] &+= UInt64(silent.count)
                directory.confirmations.giveUp(place, silent: silent)
                continue
            }
            directory.confirmations.batches[place].silent = silent
            sendDirectly(place, &effects)
            directory.confirmations.batches[place].due = min(
                end, now + Delay(nanoseconds: batch.patience.nanoseconds / 4))
        }
        settleBatches(&effects)
    }

    private mutating func settleBatches(_ effects: inout EffectBuffer) {
        if directory.confirmations.takeKnown(at: now) {
            effects.append(.recordsKnown)
            if directory.confirmations.batches.isEmpty {
                // Nothing is under way: the next changes need not gather, unless there were many.
                directory.unsentAfter = max(now, directory.pacedUntil - Self.broadcastBurst)
                if !directory.unsent.isEmpty {
                    timers.schedule(.records, at: directory.unsentAfter)
                }
            }
        }
        for batch in directory.confirmations.batches where !batch.isKnown {
            timers.schedule(.confirmation, at: batch.due)
        }
    }

    // MARK: Acknowledging others'

    private func hasEntered(_ key: Confirmations.RelayKey) -> Bool {
        guard let origin = members.index(of: key.origin), members.status(of: origin).isPresent,
            members[origin].incarnation.life == key.life, !isWithdrawn(origin)
        else { return false }
        let log = members[origin].log
        return log.snapshotSequence == nil && log.sequence >= key.last
    }

    /// Acknowledges records that came over an arc, when this node and all to whom it has passed them on
    /// have entered them.
    mutating func acknowledge(
        _ records: DirectoryRecords, passedTo children: [NodeID], from link: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        let key = Confirmations.RelayKey(
            origin: records.origin, life: records.life, last: records.last)
        let isEntered = hasEntered(key)
        if isEntered, children.isEmpty {
            tellKnown(key, to: links[link].peer, &effects)
            return
        }
        directory.confirmations.insert(
            key,
            Confirmations.Relay(
                since: now, isEntered: isEntered, children: children, peer: links[link].peer))
    }

    /// Over the link, if there is one still.
    private mutating func tellKnown(
        _ key: Confirmations.RelayKey, to peer: NodeID, _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: peer), members.status(of: index).isPresent
        else { return }
        let message = Message.recordsKnown(
            origin: key.origin, life: key.life, sequence: key.last)
        let link = members[index].link
        if !link.isNone, links[link].isUsable {
            send(message, over: link, &effects)
        } else {
            sendControl(message, to: index, &effects)
        }
    }

    private mutating func passOnIfComplete(
        _ key: Confirmations.RelayKey, _ effects: inout EffectBuffer
    ) {
        guard let relay = directory.confirmations.relays[key], relay.isEntered,
            relay.children.isEmpty
        else { return }
        directory.confirmations.relays[key] = nil
        if let peer = relay.peer { tellKnown(key, to: peer, &effects) }
    }

    /// A node has entered records that this one has sent it, and so have all to whom it has passed them
    /// on.
    mutating func receivedKnown(
        _ origin: NodeID, _ life: UInt64, _ sequence: UInt64, from node: NodeID,
        _ effects: inout EffectBuffer
    ) {
        if origin == id {
            guard life == incarnation.life else { return }
            directory.confirmations.acknowledge(upTo: sequence, by: node, at: now)
            settleBatches(&effects)
            return
        }
        let key = Confirmations.RelayKey(origin: origin, life: life, last: sequence)
        guard let place = directory.confirmations.relays[key]?.children.firstIndex(of: node)
        else { return }
        directory.confirmations.relays[key]!.children.remove(at: place)
        passOnIfComplete(key, &effects)
    }

    /// Records that a node has sent to this one alone: their origin, or a forwarder that has no link
    /// to it.
    mutating func receivedDirectly(
        _ records: DirectoryRecords, from sender: NodeID, _ effects: inout EffectBuffer
    ) {
        guard records.origin != id, !records.isRepair,
            (try? checkPatterns(records.records)) != nil
        else {
            counters[.protocolErrors] &+= 1
            return
        }
        // Earlier ones that lack are asked of the sender, or of anybody.
        let usable = links.established.filter { links[$0].isUsable }
        guard !usable.isEmpty else { return }
        let link = linkToAsk(members.index(of: sender), among: usable)
        applyRecords(records, from: link, isLive: true, &effects)
        let key = Confirmations.RelayKey(
            origin: records.origin, life: records.life, last: records.last)
        if hasEntered(key) {
            tellKnown(key, to: sender, &effects)
        } else if let relay = directory.confirmations.relays[key] {
            if relay.senders.count < 8, !relay.senders.contains(sender) {
                directory.confirmations.relays[key]!.senders.append(sender)
            }
        } else {
            directory.confirmations.insert(
                key,
                Confirmations.Relay(
                    since: now, isEntered: false, senders: [sender]))
        }
    }

    /// This node has entered more of that member's changes.
    mutating func noteEntered(of origin: MemberIndex, _ effects: inout EffectBuffer) {
        if directory.confirmations.unentered.isEmpty { return }
        let id = members.id(of: origin)
        for key in directory.confirmations.unentered where key.origin == id {
            guard let relay = directory.confirmations.relays[key], hasEntered(key) else { continue }
            directory.confirmations.relays[key]!.isEntered = true
            for sender in relay.senders { tellKnown(key, to: sender, &effects) }
            passOnIfComplete(key, &effects)
        }
        directory.confirmations.unentered.removeAll { key in
            directory.confirmations.relays[key].map { $0.isEntered } ?? true
        }
    }
}
