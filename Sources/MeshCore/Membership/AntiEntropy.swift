import MeshWire

/// Neighbours compare the digests of their heartbeats and repair what differs.
///
///     heartbeat(digest) → differs → digests(64 parts) → origins(of the parts that differ)
///     → what the other lacks of them, and requests for repair of logs
///
/// Where the parts that differ have many members, summaries come before the origins (`LogSummaries`).
extension Node {
    /// This node has just compared with the neighbour; or, where that is dear, with another, from whom
    /// it learns all that this one knows besides: after a partition each link that crossed the cut has
    /// all to tell, and one of them is enough.
    func isComparing(_ index: LinkIndex, isLarge: Bool) -> Bool {
        if hasCompared(index) { return true }
        guard isLarge, isReady, links[index].isCompared, let comparedAt = gossip.comparedAt
        else { return false }
        return now - comparedAt < .milliseconds(100)
    }

    private func hasCompared(_ index: LinkIndex) -> Bool {
        links[index].comparedAt.map { now - $0 < .milliseconds(400) } ?? false
    }

    mutating func receivedDigests(
        _ digests: [UInt64], on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard let mask = differingParts(digests) else { return }
        // Both have asked: one answer tells both, and it is the higher id's.
        if hasCompared(index), links[index].isCompared, id < links[index].peer { return }
        gossip.comparedAt = now
        sendDifferences(mask, over: index, &effects)
    }

    /// The parts of the member list in which a neighbour's digests are not this node's; nil: there are not
    /// as many.
    func differingParts(_ digests: [UInt64]) -> UInt64? {
        guard digests.count == members.digests.count else { return nil }
        var mask: UInt64 = 0
        for part in digests.indices where digests[part] != members.digests[part] {
            mask |= 1 << UInt64(part)
        }
        return mask
    }

    /// Tells a neighbour all that this node knows of the parts that `mask` names.
    mutating func sendDifferences(
        _ mask: UInt64, over index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        if memberCount(in: mask) < Self.summarizedCountMin {
            sendEntries(mask, over: index, &effects)
        } else {
            sendSummaries(mask, over: index, &effects)
        }
    }

    /// The whole entries of the parts that `mask` names.
    mutating func sendEntries(
        _ mask: UInt64, over index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        send(.origins(entries(in: mask), mask: mask, isReply: false), over: index, &effects)
    }

    private func entry(_ index: MemberIndex) -> OriginEntry {
        let member = members[index]
        return OriginEntry(
            member: member.record, sequence: member.log.sequence, keyCount: member.log.keyCount,
            keySum: member.log.keySum)
    }

    private func entries(in mask: UInt64) -> [OriginEntry] {
        var entries: [OriginEntry] = []
        for member in members.ring.entries(in: mask) { entries.append(entry(member.index)) }
        return entries
    }

    mutating func receivedOrigins(
        _ received: [OriginEntry], mask: UInt64, isReply: Bool, on index: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        var named: Set<NodeID> = []
        // An entry can ask for one in return: named a thousand times, it would be answered as often.
        for entry in received where !named.insert(entry.member.id).inserted {
            breach(.invalidValue(field: "entries: one is named twice"), on: index, &effects)
            return
        }
        var ours: [OriginEntry] = []
        var requests: [RepairRequest] = []
        for entry in received {
            if entry.member.id == id {
                merge([entry.member], from: index, isRepair: true, &effects)
                // A node that leaves does not refute: the peer would tell it again that it has left, and
                // so on, as fast as the line carries it.
                if entry.sequence < members[.oneself].log.sequence, !departure.hasBegun {
                    ours.append(self.entry(.oneself))
                }
                continue
            }
            let isNewer =
                members.index(of: entry.member.id).map {
                    members[$0].incarnation > entry.member.incarnation
                        || members[$0].incarnation == entry.member.incarnation
                            && members[$0].status > entry.member.status
                } ?? false
            merge([entry.member], from: index, isRepair: true, &effects)
            guard links[index].state == .established,
                let member = members.index(of: entry.member.id)
            else { continue }
            if isNewer { ours.append(self.entry(member)) }
            // A member that is dead to the peer has no log there: this node's log of it is no news. The peer
            // would tell of the death again, which is no more than a suspicion here, and so on.
            guard entry.member.status.isPresent, members.status(of: member).isPresent,
                members[member].incarnation.life == entry.member.incarnation.life
            else { continue }
            let log = members[member].log
            if entry.sequence > log.sequence {
                members.adjust(member) { $0.log.target = max($0.log.target, entry.sequence) }
                if let request = repairRequest(member, over: index) { requests.append(request) }
            } else if entry.sequence < log.sequence {
                // The peer has seen this node's number before it replied.
                if !isNewer, !isReply { ours.append(self.entry(member)) }
            } else if entry.sequence == log.sequence, entry.keySum != log.keySum,
                log.repairDue == nil, log.snapshotSequence == nil,
                entry.member.id.distance(to: links[index].peer) < entry.member.id.distance(to: id)
            {
                // The same log and another set: whoever is nearer to the origin is asked for all.
                requests.append(
                    RepairRequest(
                        origin: entry.member.id, life: entry.member.incarnation.life,
                        after: log.sequence, wantsSnapshot: true))
            }
        }
        if !isReply {
            for member in members.ring.entries(in: mask) where !named.contains(member.id) {
                ours.append(entry(member.index))
            }
            // Those that are dead to us and present to them are among `ours` by rank already.
        }
        if !ours.isEmpty, links[index].state == .established {
            send(.origins(ours, mask: 0, isReply: true), over: index, &effects)
        }
        requestRepairs(requests, over: index, &effects)
        compared(index, &effects)
    }

    /// The peer's knowledge has been compared; what this node lacks of it is asked for.
    mutating func compared(_ index: LinkIndex, _ effects: inout EffectBuffer) {
        links[index].isCompared = true
        checkReady(&effects)
    }
}
