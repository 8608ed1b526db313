import MeshCore
import MeshWire

/// A mistake that one node of a run makes on purpose, so that the checkers are checked themselves.
///
/// It stands between the nodes and the network, so `Node` carries no switches: what a node sends is
/// dropped, altered or doubled as a node with that mistake would.
public enum Mistake: String, CaseIterable, Sendable {
    /// Passes nothing on for others.
    case swallowsTransit
    /// Loses one message in eight that it sends or passes on, and sends none again.
    case forgetsToRetransmit
    /// Says that it has one message more than it has.
    case acknowledgesTooMuch
    /// Hands each message to its clients twice.
    case deliversTwice
    /// Answers no request for repair.
    case dropsRepairs
    /// Never spreads its directory changes.
    case keepsRecords
    /// Its removals never leave it, neither live nor in repairs.
    case ignoresRemovals
    /// Tells everybody that a neighbour is dead.
    case slanders
    /// Never refutes what is said of it: its own record leaves it in greetings alone, and with the
    /// incarnation of its birth when neighbours compare what they know.
    case neverRefutes
    /// Sends no heartbeats.
    case omitsHeartbeats
    /// Tells no news of members on.
    case hushesNews
    /// Takes more links than its degree allows.
    case exceedsDegree
    /// Tells the members it knows, at first and in repairs, without the last one of each list: an
    /// off-by-one in the ring.
    case offByOne
    /// Hears a peer only when a whole frame has come.
    case hearsWholeFrames
    /// Takes each connection of a client for read to its end.
    case asksNoKernel
    /// Tells no client that it has missed messages.
    case hidesNotices
    /// Tells clients of one message more than they have missed.
    case miscountsNotices
    /// Tells watchers that users have gone who are there.
    case saysGone
    /// Takes a token that was exchanged.
    case takesSpentTokens
    /// Sends one message in 64 to the client of a session twice.
    case repeatsToSessions
    /// Loses one message in 64 to the client of a session.
    case losesToSessions
    /// Says of sessions that move that all their messages have gone, in place of sending them.
    case losesParts
    /// Numbers the messages of counted sessions that move from one too high on.
    case miscountsParts
    /// Forgets when a link will have been silent too long, as if whoever is heard again were not timed
    /// anew.
    case forgetsSilence
    /// Leaves the timer of its link list set when there is nothing to tell.
    case keepsTimers
    /// Says that an address refuses as soon as somebody else says so, though it hears the node.
    case believesOneWitness
    /// Takes messages of its clients before it has compared with another.
    case takesUncompared
    /// Dials nobody whom it has forgotten.
    case forgetsTheLost
    /// Sends control behind everything else that waits.
    case sendsControlLast
    /// Takes what waits for a slow line for sent.
    case forgetsBacklog
    /// Gives a connection up whose greeting takes more than half a second.
    case hurriesGreetings
    /// Takes a link that stands for one that carries what is sent over it.
    case trustsHollowLinks
    /// Gives one word in 16 of a room to its client twice.
    case repeatsInRooms
    /// Loses one change in four of a roster on its way to a watcher.
    case losesRosters

    /// Random scenarios can show it. Thin lines, on which frames take long, satellites and paths that drop
    /// large packets they do not have, and they end long before the dead are forgotten.
    public var showsAtRandom: Bool {
        switch self {
        case .hearsWholeFrames, .forgetsTheLost, .sendsControlLast, .forgetsBacklog,
            .hurriesGreetings, .trustsHollowLinks, .repeatsInRooms, .losesRosters:
            false
        default: true
        }
    }

    /// It shows where there are sessions alone.
    var isTowardsClients: Bool {
        switch self {
        case .asksNoKernel, .hidesNotices, .miscountsNotices, .saysGone, .takesSpentTokens,
            .repeatsToSessions, .losesToSessions, .losesParts, .miscountsParts:
            true
        default: false
        }
    }
}

struct Mutant {
    let mistake: Mistake
    /// The hosts that make it.
    let hosts: [Int]
    /// It begins then: a mesh that never forms would prove little.
    let from: Instant
    var counter = 0
    /// The highest number that each host has sent to each destination.
    var sent = PairTable()

    func isActive(_ host: Int, _ now: Instant) -> Bool { now >= from && hosts.contains(host) }

    /// How often a delivery is handed out.
    func copies(_ host: Int) -> Int {
        mistake == .deliversTwice && hosts.contains(host) ? 2 : 1
    }
}

extension World {
    /// The parcel that really leaves in place of `parcel`; nil: none does.
    mutating func sabotage(_ parcel: Parcel, from number: Int) -> Parcel? {
        guard let mutant, mutant.isActive(number, now) else { return parcel }
        let kind = parcel.withSpan { $0[4] }
        let isMessage =
            kind == FrameKind.routed.rawValue
            && parcel.withSpan { $0[7] } != RoutedBody.control.rawValue
        let isTransit = parcel.pathCount > 1
        switch mutant.mistake {
        case .swallowsTransit:
            return kind == FrameKind.routed.rawValue && isTransit ? drop(parcel) : parcel
        case .forgetsToRetransmit:
            guard isMessage else { return parcel }
            self.mutant!.counter += 1
            let isForgotten = isAgain(parcel, number) || mutant.counter % 8 == 0
            return isForgotten ? drop(parcel) : parcel
        case .acknowledgesTooMuch:
            let offset = Frame.routedHeaderSize + Frame.destinationSize
            guard kind == FrameKind.routed.rawValue, !isMessage, !isTransit,
                case .acknowledge(var told) = decode(parcel, from: offset)
            else { return parcel }
            told.cumulative &+= 1
            return rewrite(parcel, from: offset, .acknowledge(told))
        case .believesOneWitness:
            let offset = Frame.routedHeaderSize + Frame.destinationSize
            guard kind == FrameKind.routed.rawValue, !isMessage, !isTransit,
                case .vouch(let subject, let incarnation) = decode(parcel, from: offset)
            else { return parcel }
            return rewrite(parcel, from: offset, .accuse(subject: subject, incarnation, .refused))
        case .keepsRecords:
            let offset = Frame.routedHeaderSize + Frame.destinationSize
            let isDirect =
                kind == FrameKind.routed.rawValue && !isMessage
                && parcel.withSpan { $0[offset] } == Message.Number.records.rawValue
            let isSpread = kind == FrameKind.arc.rawValue || isDirect
            return isSpread && !isTransit ? drop(parcel) : parcel
        case .ignoresRemovals where kind == FrameKind.arc.rawValue:
            guard !isTransit else { return parcel }
            let message = decode(parcel, from: Frame.arcHeaderSize)
            return rewrite(parcel, from: Frame.arcHeaderSize, message.map(Self.withoutRemovals))
        case .ignoresRemovals where kind == FrameKind.link.rawValue,
            .dropsRepairs, .slanders, .neverRefutes, .omitsHeartbeats, .hushesNews, .offByOne:
            guard kind == FrameKind.link.rawValue else { return parcel }
            let message = decode(parcel, from: Frame.prefixSize)
            return rewrite(
                parcel, from: Frame.prefixSize, message.flatMap { alter($0, of: number) })
        case .losesParts, .miscountsParts:
            guard isMessage, !isTransit,
                parcel.withSpan({ $0[7] }) == RoutedBody.session.rawValue
            else { return parcel }
            return alterPart(parcel)
        case .deliversTwice, .exceedsDegree, .ignoresRemovals, .hearsWholeFrames, .takesUncompared,
            .asksNoKernel,
            .hidesNotices, .miscountsNotices, .saysGone, .takesSpentTokens, .repeatsToSessions,
            .losesToSessions, .forgetsSilence, .keepsTimers, .forgetsTheLost, .sendsControlLast,
            .forgetsBacklog, .hurriesGreetings, .trustsHollowLinks, .repeatsInRooms,
            .losesRosters:
            return parcel
        }
    }

    /// Whether a host with the mistake does not know any more that there is somebody to dial.
    func isForgotten(_ endpoint: Endpoint, _ number: Int, _ host: Host) -> Bool {
        guard let mutant, mutant.mistake == .forgetsTheLost, mutant.isActive(number, now)
        else { return false }
        return !host.server.node.memberReports(includingDeparted: true).contains {
            $0.endpoint == endpoint
        }
    }

    /// Does to the timers of a node with the mistake what that makes of them after an event.
    func misset(_ number: Int, _ host: Host) {
        guard let mutant, mutant.isActive(number, now) else { return }
        switch mutant.mistake {
        case .forgetsSilence: host.server.misset(.silence, nil)
        case .trustsHollowLinks: host.server.forgetHoles()
        case .keepsTimers:
            // As late as is no trouble, so that nothing but the timer is wrong.
            host.server.misset(
                .linkList, host.localTime(now) + .seconds(1), onlyIfUnset: true)
        default: break
        }
    }

    /// Whether a message of this host's own has been sent before.
    private mutating func isAgain(_ parcel: Parcel, _ number: Int) -> Bool {
        guard parcel.pathCount == 1 else { return false }
        let count = Int(parcel.withSpan { $0.load(UInt16.self, at: 22) })
        var isAgain = false
        for position in 0..<count {
            let destination = parcel.withSpan { Destination.read($0, frame: 0, index: position) }
            // Each lane has numbers of its own.
            let lane = FrameFlags(rawValue: parcel.withSpan { $0[5] }).lane == .bulk ? 1 << 32 : 0
            let pair = RandomSource.mix(destination.id.rawValue &+ UInt64(number | lane))
            if destination.sequence <= mutant!.sent[pair] { isAgain = true }
            mutant!.sent[pair] = max(mutant!.sent[pair], destination.sequence)
        }
        return isAgain
    }

    /// A part of a session as a node with the mistake sends it.
    private mutating func alterPart(_ parcel: Parcel) -> Parcel {
        let start = Frame.routedHeaderSize + Frame.destinationSize
        // The kind, the stream, two tokens, a count and a time are in front of the first number.
        let number = start + 9 + 2 * 24 + 8
        let (kind, first) = parcel.withSpan { ($0[start], $0.count > number ? $0[number] : 0) }
        switch (mutant!.mistake, kind) {
        case (.losesParts, 2): parcel.write([4].span, 0, 1, at: start)
        case (.miscountsParts, 1) where 1..<255 ~= first:
            parcel.write([first + 1].span, 0, 1, at: number)
        default: break
        }
        return parcel
    }

    private mutating func drop(_ parcel: Parcel) -> Parcel? {
        pool.release(parcel)
        return nil
    }

    /// A control message as a node with the mistake sends it; nil: not at all.
    private func alter(_ message: Message, of number: Int) -> Message? {
        switch (mutant!.mistake, message) {
        case (.dropsRepairs, .records), (.dropsRepairs, .snapshot), (.omitsHeartbeats, .heartbeat):
            return nil
        case (.hushesNews, .members(_, isRepair: false)), (.hushesNews, .statuses): return nil
        case (.neverRefutes, .members(let records, let isRepair)):
            let others = records.filter { $0.id != ids[number] }
            return others.isEmpty ? nil : .members(others, isRepair: isRepair)
        case (.neverRefutes, .statuses(let changes)):
            let others = changes.filter { $0.id != ids[number] }
            return others.isEmpty ? nil : .statuses(others)
        case (.neverRefutes, .origins(var entries, let mask, let isReply)):
            for position in entries.indices where entries[position].member.id == ids[number] {
                let life = entries[position].member.incarnation.life
                entries[position].member.incarnation = Incarnation(bootMilliseconds: life)
            }
            return .origins(entries, mask: mask, isReply: isReply)
        case (.offByOne, .members(let records, isRepair: true)):
            return .members(Array(records.dropLast()), isRepair: true)
        case (.offByOne, .origins(let entries, let mask, let isReply)):
            return .origins(Array(entries.dropLast()), mask: mask, isReply: isReply)
        case (.ignoresRemovals, .records(let records)) where records.origin == ids[number]:
            return Self.withoutRemovals(message)
        case (.ignoresRemovals, .snapshot(let part)) where part.origin == ids[number]:
            return nil
        case (.slanders, .heartbeat):
            let node = hosts[number]!.server.node.memberReports().first { !$0.isSelf }
            guard let victim = node else { return message }
            let record = MemberRecord(
                id: victim.id, incarnation: victim.incarnation, status: .dead,
                endpoint: victim.endpoint, name: victim.name, zone: victim.zone)
            return .members([record], isRepair: false)
        default: return message
        }
    }

    private static func withoutRemovals(_ message: Message) -> Message {
        guard case .records(var records) = message else { return message }
        for position in records.records.indices
        where records.records[position].operation == .removeKey {
            records.records[position].operation = .addKey
        }
        return .records(records)
    }

    private func decode(_ parcel: Parcel, from offset: Int) -> Message? {
        parcel.withSpan { try? Message.decode($0, from: offset, to: $0.count) }
    }

    /// The parcel with another message in it; nil: nothing is sent.
    private mutating func rewrite(
        _ parcel: Parcel, from offset: Int, _ message: Message?
    ) -> Parcel? {
        guard let message else { return drop(parcel) }
        var bytes = ByteQueue()
        parcel.withSpan { bytes.append($0, 0, offset) }
        bytes.append(message)
        bytes.overwrite(integer: UInt32(bytes.count), at: 0)
        let result = pool.parcel(count: bytes.count, pathCount: Int(parcel.pathCount))
        bytes.withSpan { result.write($0, 0, $0.count, at: 0) }
        for position in 0..<Int(parcel.pathCount) {
            result.setHost(parcel.host(at: position), at: position)
        }
        pool.release(parcel)
        return result
    }
}
