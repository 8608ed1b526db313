import MeshCore
import MeshWire

// A node that leaves sends its clients elsewhere first.
//
//     0 ────────────── half ────────────────── the drain time ─── … until all sessions are elsewhere
//     MOVED, client by client │ connections are ended, one by one; their sessions and those that
//                             │ wait are handed to other nodes under the tokens that clients have
//
// Clients that have gone by themselves by then have noticed nothing but a reconnect. A second before the
// end the messages of the sessions that are still here are thrown away: the sessions go with their
// number, as a gap.

/// A drain that goes on.
struct Drain {
    var startedAt: Instant
    var duration: Delay
    /// Other nodes that take sessions, and where clients reach them; empty until they have answered. A node
    /// without an address takes sessions all the same: their clients find it, or another node, by themselves.
    var destinations: [(node: NodeID, address: String?)] = []
    /// The addresses among them.
    var addresses: [String] = []
    var isAsking = true
    /// The clients up to this one have been told, or ended.
    var told = 0
    var ended = 0
    /// Of these, those that stay until their requests have ended.
    var spared: [ClientIndex] = []
    var nextStepAt: Instant
    /// It goes on for at most so long, as long as other nodes take what is here.
    var longest: Delay
    /// When another node has last taken a session, or a part of one.
    var lastMoveAt: Instant?
    /// When messages were thrown away for want of time.
    var strippedAt: Instant?
    /// Sessions that are being offered.
    var offeredCount = 0
    /// Offers in a row that were not taken.
    var refusedCount = 0
    /// Until then no session is offered.
    var restsUntil: Instant?
    /// The session that is looked at next.
    var nextSession = UserSessionIndex(0)

    /// A drain that makes progress goes on for this long.
    private static let progressTime: Delay = .seconds(1)
    /// Sessions without their messages move within this time.
    private static let strippedTime: Delay = .seconds(1)

    private var planned: Instant { startedAt + duration + duration }

    /// When messages are thrown away; nil: nobody has taken anything so far.
    var stripsAt: Instant? {
        let time = longest.nanoseconds - Self.strippedTime.nanoseconds
        let latest = startedAt + Delay(nanoseconds: time)
        return lastMoveAt.map { max(planned, min($0 + Self.progressTime, latest)) }
    }

    /// When it ends though not all have moved.
    var endsAt: Instant { (strippedAt ?? stripsAt ?? planned) + Self.strippedTime }

    /// Where clients shall go; empty: to another node, and none has said where clients reach it; nil: nobody
    /// can take them, or it is not known yet.
    var destination: String? {
        isAsking || destinations.isEmpty ? nil : addresses.first ?? ""
    }

    /// A node that takes the session of this number.
    func destination(_ number: Int) -> NodeID { destinations[number % destinations.count].node }

    /// Where the client of this number shall go; empty: nobody can say.
    func address(_ number: Int) -> String {
        addresses.isEmpty ? "" : addresses[number % addresses.count]
    }
}

extension Hub {
    /// Sessions that are offered to other nodes at once: a link has room for some questions only.
    private static let offersMax = 256
    /// A pause after as many refusals in a row as there are other nodes.
    private static let refusedPause: Delay = .milliseconds(100)
    /// Between two steps of a drain.
    private static let drainStep: Delay = .milliseconds(10)
    /// Messages to a session's user from nodes that do not know yet where it went are forwarded
    /// for at least this long.
    private static let afterMove: Delay = .milliseconds(300)

    /// The node is about to leave: its clients shall go elsewhere within `duration`, and what waits for them
    /// within `longest`, as long as other nodes take it. Afterwards `tick` names in `outbox.farewells` the
    /// connections to end.
    public mutating func beginDrain(_ duration: Delay, longest: Delay, at now: Instant) {
        guard drain == nil else { return }
        self.now = max(now, self.now)
        withdrawServices()
        drain = Drain(
            startedAt: self.now, duration: duration, nextStepAt: self.now, longest: longest)
        send(.addresses, .none, to: nil, [SessionTag.address])
    }

    /// There is nobody left to wait for. What has gone to other nodes may not have arrived yet.
    public var isDrained: Bool {
        guard let drain, !drain.isAsking, clients.usedCount == 0 else { return false }
        return drain.destinations.isEmpty || sessions.count == 0 && sessions.moves.outboxes.isEmpty
    }

    /// When the drain ends though not all have gone; nil: nothing is drained.
    public var drainEnd: Instant? { drain?.endsAt }

    /// All that waits has gone to other nodes, and nothing more has come for a while: the moves can end.
    package var hasMovedAll: Bool {
        guard let drain, !drain.isAsking, clients.usedCount == 0, sessions.moves.outboxes.isEmpty
        else {
            return false
        }
        if let last = drain.lastMoveAt, now - last < Self.afterMove { return false }
        return sessions.indices.allSatisfy { !sessions.isUsed($0) || isMoved($0) }
    }

    /// New connections are of no use any more: from now on connections are ended.
    public var isEndingClients: Bool {
        guard let drain else { return false }
        return !drain.isAsking
            && !(now - drain.startedAt < Delay(nanoseconds: drain.duration.nanoseconds / 2))
    }

    mutating func noteAddress(of node: NodeID, _ bytes: [UInt8]) {
        guard
            let address = ClientAddress.read(bytes, sharesMachine: configuration.sharesMachine)
        else { return }
        drain?.destinations.append((node, address))
    }

    mutating func finishAddresses() {
        drain?.isAsking = false
        // The order of answers is chance; sorted, the clients are spread the same way each time.
        drain?.destinations.sort { $0.node < $1.node }
        let addresses = drain?.destinations.compactMap(\.address) ?? []
        drain?.addresses = addresses
    }

    mutating func drainStep() {
        guard let progress = drain, !progress.isAsking, progress.nextStepAt <= now else { return }
        drain?.nextStepAt = now + Self.drainStep
        let elapsed = (now - progress.startedAt).nanoseconds
        if progress.destinations.isEmpty {
            // There is nowhere to go, and so nothing to be gained by going slowly.
            for slot in clients.slots { endUnlessBusy(ClientIndex(slot)) }
            return
        }
        let half = max(1, progress.duration.nanoseconds / 2)
        let count = clients.slots.count
        tellDestinations(upTo: elapsed >= half ? count : Int(Int64(count) * elapsed / half) + 1)
        guard elapsed >= half else { return }
        let due = elapsed >= 2 * half ? count : Int(Int64(count) * (elapsed - half) / half) + 1
        endClients(upTo: min(due, count))
        if progress.strippedAt == nil, let due = progress.stripsAt, due <= now { stripSessions() }
        offerSessions()
    }

    private mutating func tellDestinations(upTo count: Int) {
        while let progress = drain, progress.told < min(count, clients.slots.count) {
            let slot = progress.told
            drain?.told += 1
            guard clients[slot].flags.contains(.open),
                !clients[slot].flags.isDisjoint(with: [.moves, .session]),
                clients[slot].flags.isDisjoint(with: [.doomed, .ending])
            else { continue }
            counters[.movedNotices] += 1
            let left = progress.startedAt + progress.duration - now
            tell(ClientIndex(slot), .moved(address: progress.address(slot), within: left))
        }
    }

    private mutating func endClients(upTo count: Int) {
        while let progress = drain, progress.ended < count {
            let slot = progress.ended
            drain?.ended += 1
            endUnlessBusy(ClientIndex(slot))
        }
        let spared = drain?.spared ?? []
        for client in spared where !isBusy(client) { end(client) }
        let stillBusy = spared.filter { isBusy($0) }
        drain?.spared = stillBusy
        // A client that has come since is ended at once.
        guard let progress = drain, progress.ended == clients.slots.count,
            !(now - progress.startedAt < progress.duration)
        else { return }
        for slot in clients.slots { end(ClientIndex(slot)) }
    }

    /// A client with requests under way, its own or others', stays within the drain time.
    private mutating func endUnlessBusy(_ client: ClientIndex) {
        guard let progress = drain else { return }
        if isBusy(client), now - progress.startedAt < progress.duration {
            if !progress.destinations.isEmpty { drain?.spared.append(client) }
        } else {
            end(client)
        }
    }

    private func isBusy(_ client: ClientIndex) -> Bool {
        services.hasGiven(to: client) || openRequests.count(of: client) > 0
    }

    private mutating func end(_ client: ClientIndex) {
        let slot = client.slot
        guard clients[slot].flags.contains(.open), !clients[slot].flags.contains(.ending) else {
            return
        }
        clients[slot].flags.insert(.ending)
        outbox.hasWork = true
        outbox.farewells.append(client)
    }

    /// Hands the sessions that wait to other nodes, as many at once as there may be.
    private mutating func offerSessions() {
        if let until = drain?.restsUntil, now < until { return }
        for _ in 0..<sessions.indices.count {
            guard let progress = drain, progress.offeredCount < Self.offersMax else { return }
            let index =
                sessions.indices.contains(progress.nextSession)
                ? progress.nextSession : UserSessionIndex(0)
            drain?.nextSession = index.advanced(by: 1)
            guard sessions.isUsed(index), !sessions[index].isOffered,
                case .waiting(let box, _) = sessions[index].state
            else { continue }
            let number = index.slot + Int(sessions[index].offers)
            sessions[index].offers += 1
            drain?.offeredCount += 1
            offer(index, box, to: progress.destination(number))
        }
    }

    /// A node has taken a session that it was offered, or it has not.
    mutating func noteOffer(isTaken: Bool) {
        guard var progress = drain else { return }
        progress.offeredCount -= 1
        if isTaken {
            progress.refusedCount = 0
            progress.lastMoveAt = now
            // The next one is due at once.
            progress.nextStepAt = min(progress.nextStepAt, now)
        } else {
            progress.refusedCount += 1
            if progress.refusedCount >= progress.destinations.count {
                progress.refusedCount = 0
                progress.restsUntil = now + Self.refusedPause
            }
        }
        drain = progress
    }

    /// There is no time left for the messages that wait here: each session goes with their number.
    private mutating func stripSessions() {
        drain?.strippedAt = now
        for index in sessions.indices where sessions.isUsed(index) {
            switch sessions[index].state {
            case .attached: break
            case .waiting(let box, _), .moved(let box, _, _):
                let count = mailboxes[box].messages.waiting.count
                guard count > 0 else { continue }
                noteTrouble(.sessionMessagesDropped, by: UInt64(count), of: index)
                missed(count, since: now, by: box)
                mailboxes[box].messages.empty(&stored)
                queueDeparture(index)
            }
        }
    }

    /// When the next step of a drain is due; nil: nothing is drained.
    var drainDeadline: Instant? {
        guard let drain, !drain.isAsking else { return nil }
        return drain.nextStepAt
    }
}
