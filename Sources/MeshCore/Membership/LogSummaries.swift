import MeshWire

/// Comparing many members in twelve bytes each.
///
/// After a partition most logs of a large mesh may differ between two neighbours, while both know the
/// same members. A whole entry names address and birth, 50 bytes and more; a summary tells who is ahead
/// (`LogSummary`). Entries are exchanged of those parts alone in which the members themselves differ.
///
///     digests(64 parts) → summaries(of the parts that differ)
///     → requests for what the peer is ahead in, summaries of what it is behind in
///     → origins(of the parts whose members differ)
extension Node {
    /// With fewer members than this in the parts that differ, whole entries cost less than another
    /// round.
    static var summarizedCountMin: Int { 24 }

    private func summary(_ id: NodeID, _ index: MemberIndex) -> LogSummary {
        let log = members[index].log
        let sum = RandomSource.mix(log.keySum)
        return LogSummary(
            prefix: UInt32(truncatingIfNeeded: id.rawValue >> 32),
            membership: membership(id, index),
            sequence: UInt32(truncatingIfNeeded: log.sequence),
            sum: UInt16(truncatingIfNeeded: sum))
    }

    /// Differs, but for one time in 65,536, if the lives do.
    private func membership(_ id: NodeID, _ index: MemberIndex) -> UInt16 {
        let incarnation = members.incarnation(of: index).rawValue
        let mixed = RandomSource.mix(id.rawValue ^ RandomSource.mix(incarnation))
        return UInt16(truncatingIfNeeded: mixed)
    }

    func memberCount(in mask: UInt64) -> Int {
        members.ring.count(in: mask)
    }

    mutating func sendSummaries(
        _ mask: UInt64, over index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        var summaries: [LogSummary] = []
        for member in members.ring.entries(in: mask) {
            summaries.append(summary(member.id, member.index))
        }
        send(.logSummaries(summaries, mask: mask), over: index, &effects)
    }

    /// Takes the peer's summaries of the members in the parts that `mask` names, sorted by prefix; or,
    /// with no part, of some in whose logs it is ahead.
    mutating func receivedSummaries(
        _ summaries: [LogSummary], mask: UInt64, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        var found = Comparison()
        if mask == 0 {
            for summary in summaries {
                let rank = members.rank(of: NodeID(UInt64(summary.prefix) << 32))
                guard rank < members.ring.count else { continue }
                let member = members.ring[rank]
                if UInt32(truncatingIfNeeded: member.id.rawValue >> 32) == summary.prefix {
                    compare(summary, member.id, member.index, over: index, &found)
                }
            }
            requestRepairs(found.requests, over: index, &effects)
            return
        }
        var position = 0
        for member in members.ring.entries(in: mask) {
            let prefix = UInt32(truncatingIfNeeded: member.id.rawValue >> 32)
            // Those that only the peer knows.
            while position < summaries.count, summaries[position].prefix < prefix {
                found.differing |= Self.part(of: NodeID(UInt64(summaries[position].prefix) << 32))
                position += 1
            }
            guard position < summaries.count, summaries[position].prefix == prefix else {
                found.differing |= Self.part(of: member.id)
                continue
            }
            compare(summaries[position], member.id, member.index, over: index, &found)
            position += 1
        }
        for summary in summaries[position...] {
            found.differing |= Self.part(of: NodeID(UInt64(summary.prefix) << 32))
        }
        // A difference that 16 bits do not show, whole entries do.
        if found.isEmpty { found.differing = mask }
        if !found.ours.isEmpty { send(.logSummaries(found.ours, mask: 0), over: index, &effects) }
        if found.differing & mask != 0 {
            sendEntries(found.differing & mask, over: index, &effects)
        }
        requestRepairs(found.requests, over: index, &effects)
        compared(index, &effects)
    }

    /// The findings of a comparison.
    private struct Comparison {
        var requests: [RepairRequest] = []
        /// Members in whose logs this node is ahead.
        var ours: [LogSummary] = []
        /// Parts in which the members differ.
        var differing: UInt64 = 0
        /// Something is known to be under way already.
        var isWaiting = false

        var isEmpty: Bool { requests.isEmpty && ours.isEmpty && differing == 0 && !isWaiting }
    }

    private mutating func compare(
        _ summary: LogSummary, _ id: NodeID, _ member: MemberIndex, over index: LinkIndex,
        _ found: inout Comparison
    ) {
        guard summary.membership == membership(id, member) else {
            found.differing |= Self.part(of: id)
            return
        }
        let log = members[member].log
        let own = self.summary(id, member)
        let ahead = Int32(bitPattern: summary.sequence &- own.sequence)
        if ahead < 0 {
            found.ours.append(own)
        } else if ahead > 0, member != .oneself {
            members.adjust(member) {
                $0.log.target = max($0.log.target, log.sequence &+ UInt64(ahead))
            }
            if let request = repairRequest(member, over: index) {
                found.requests.append(request)
            } else {
                found.isWaiting = true
            }
        } else if ahead == 0, summary.sum != own.sum {
            // The same log and another set: whole entries settle who asks for all of it.
            found.differing |= Self.part(of: id)
        }
    }

    private static func part(of id: NodeID) -> UInt64 { 1 << UInt64(MemberTable.part(of: id)) }
}
