import MeshCore
import MeshWire

// A node that leaves sends its clients elsewhere first.
//
//     0 ────────────── half ────────────────── the drain time ─── … until all sessions are elsewhere
//     MOVED, client by client │ connections are ended, one by one; their sessions and those that
//                             │ wait are handed to other nodes under the tokens that clients have
//
// Clients that have gone by themselves by then have noticed nothing but a reconnect.

/// A drain that goes on.
struct Drain {
    var startedAt: Instant
    var duration: Delay
    /// Other nodes and where their clients connect; empty until they have answered.
    var destinations: [(node: NodeID, address: String)] = []
    var isAsking = true
    /// The clients up to this one have been told, or ended.
    var told = 0
    var ended = 0
    var nextStepAt: Instant
    /// When another node has last taken a session, or messages of one.
    var lastMoveAt: Instant?
    /// Sessions that are being offered, and the bytes of their messages.
    var offeredCount = 0
    var offeredBytes = 0
    /// Offers in a row that were not taken.
    var refusedCount = 0
    /// Until then no session is offered.
    var restsUntil: Instant?
    /// The session that is looked at next.
    var nextSession = UserSessionIndex(0)

    func destination(_ number: Int) -> (node: NodeID, address: String) {
        destinations[number % destinations.count]
    }
}

extension Gateway {
    /// Sessions that are offered to other nodes at once, and the bytes of their messages; one may have
    /// more. A node answers a question within a second, and a link has room for some questions only.
    private static let offersMax = 256
    private static let offeredBytesMax = 8 * 1024 * 1024
    /// A drain that makes progress goes on for this long.
    private static let progressTime: Delay = .seconds(1)
    /// A pause after as many refusals in a row as there are other nodes: whole sessions are sent with
    /// offers.
    private static let refusedPause: Delay = .milliseconds(100)
    /// Between two steps of a drain.
    private static let drainStep: Delay = .milliseconds(10)
    /// What is sent to a session's user by nodes that do not know yet where it went is forwarded
    /// for at least this long.
    private static let afterMove: Delay = .milliseconds(300)

    /// The node is about to leave: its clients shall go elsewhere within `duration`. Afterwards
    /// `tick` names in `farewells` the connections to end.
    public mutating func beginDrain(_ duration: Delay, at now: Instant) {
        guard drain == nil else { return }
        self.now = max(now, self.now)
        drain = Drain(startedAt: self.now, duration: duration, nextStepAt: self.now)
        send(.addresses, .none, to: nil, [SessionTag.address])
    }

    /// There is nobody left to wait for.
    public var isDrained: Bool {
        guard let drain, !drain.isAsking else { return false }
        if clientCount > 0 { return false }
        if drain.destinations.isEmpty { return true }
        if let last = drain.lastMoveAt, now - last < Self.afterMove { return false }
        for index in sessions.indices where isLive(index) {
            guard case .moved(let box, _, _) = sessions[index].state,
                sessions[index].batch == nil, mailboxes[box].messages.waiting.isEmpty,
                !forwarding.contains(index)
            else { return false }
        }
        return true
    }

    /// When a drain that was to end at `planned` ends: not as long as other nodes take sessions, but at most
    /// `most` after it began.
    public func drainEnd(_ planned: Instant, most: Delay) -> Instant {
        guard let drain, let last = drain.lastMoveAt else { return planned }
        return max(planned, min(last + Self.progressTime, drain.startedAt + most))
    }

    /// New connections are of no use any more: from now on connections are ended.
    public var isEndingClients: Bool {
        guard let drain else { return false }
        return !drain.isAsking
            && !(now - drain.startedAt < Delay(nanoseconds: drain.duration.nanoseconds / 2))
    }

    mutating func noteAddress(of node: NodeID, _ bytes: [UInt8]) {
        guard !bytes.isEmpty, bytes.count <= 64,
            bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return }
        drain?.destinations.append((node, String(decoding: bytes, as: UTF8.self)))
    }

    mutating func finishAddresses() {
        drain?.isAsking = false
        // The order of answers is chance; sorted, the clients are spread the same way each time.
        drain?.destinations.sort { $0.node < $1.node }
        destination = drain?.destinations.first?.address
    }

    mutating func drainStep() {
        guard let progress = drain, !progress.isAsking, progress.nextStepAt <= now else { return }
        drain?.nextStepAt = now + Self.drainStep
        if progress.destinations.isEmpty {
            // There is nowhere to go, and so nothing to be gained by going slowly.
            for slot in 0..<clients.count { end(ClientIndex(slot)) }
            return
        }
        let elapsed = (now - progress.startedAt).nanoseconds
        let half = max(1, progress.duration.nanoseconds / 2)
        tellDestinations(
            upTo: elapsed >= half ? clients.count : Int(Int64(clients.count) * elapsed / half) + 1)
        guard elapsed >= half else { return }
        let due =
            elapsed >= 2 * half
            ? clients.count : Int(Int64(clients.count) * (elapsed - half) / half) + 1
        endClients(upTo: min(due, clients.count))
        offerSessions()
    }

    private mutating func tellDestinations(upTo count: Int) {
        while let progress = drain, progress.told < min(count, clients.count) {
            let slot = progress.told
            drain?.told += 1
            guard clients[slot].flags.contains(.open),
                !clients[slot].flags.isDisjoint(with: [.moves, .session]),
                clients[slot].flags.isDisjoint(with: [.doomed, .ending])
            else { continue }
            counters[.movedNotices] += 1
            let left = progress.startedAt + progress.duration - now
            frame.removeAll()
            // As many elements as a message has: clients take an unknown kind apart as one.
            frame.append("*3\r\n$5\r\nmoved\r\n")
            frame.appendBulk(progress.destination(slot).address)
            frame.appendInteger(Int(max(0, left.nanoseconds) / 1_000_000))
            tell(ClientIndex(slot))
        }
    }

    private mutating func endClients(upTo count: Int) {
        while let progress = drain, progress.ended < count {
            let slot = progress.ended
            drain?.ended += 1
            end(ClientIndex(slot))
        }
        // Who has come since is ended at once.
        guard let progress = drain, progress.ended == clients.count,
            !(now - progress.startedAt < progress.duration)
        else { return }
        for slot in 0..<clients.count { end(ClientIndex(slot)) }
    }

    private mutating func end(_ client: ClientIndex) {
        let slot = client.slot
        guard clients[slot].flags.contains(.open), !clients[slot].flags.contains(.ending) else {
            return
        }
        clients[slot].flags.insert(.ending)
        hasWork = true
        farewells.append(client)
    }

    /// Hands the sessions that wait to other nodes, as many at once as there may be.
    private mutating func offerSessions() {
        if let until = drain?.restsUntil, now < until { return }
        for _ in 0..<sessions.indices.count {
            guard let progress = drain, progress.offeredCount < Self.offersMax,
                progress.offeredBytes < Self.offeredBytesMax
            else { return }
            let index =
                sessions.indices.contains(progress.nextSession)
                ? progress.nextSession : UserSessionIndex(0)
            drain?.nextSession = index.advanced(by: 1)
            guard isLive(index) else { continue }
            finishArrivalIfWaiting(index)
            guard case .waiting = sessions[index].state, sessions[index].handover.isEmpty else {
                continue
            }
            let number = index.slot + Int(sessions[index].offers)
            sessions[index].offers += 1
            let bytes = offer(index, to: progress.destination(number).node)
            drain?.offeredCount += 1
            drain?.offeredBytes += bytes
        }
    }

    /// A node has taken a session of so many bytes that it was offered, or it has not.
    mutating func noteOffer(_ bytes: Int, isTaken: Bool) {
        guard var progress = drain else { return }
        progress.offeredCount -= 1
        progress.offeredBytes -= bytes
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

    /// A session that has just come and that nobody has fetched yet goes on at once.
    private mutating func finishArrivalIfWaiting(_ index: UserSessionIndex) {
        if case .arriving(.mailbox, _, _) = sessions[index].state { finishArrival(index) }
    }

    private func isLive(_ index: UserSessionIndex) -> Bool { !sessions[index].user.isEmpty }

    /// When the next step of a drain is due; nil: nothing is drained.
    var drainDeadline: Instant? {
        guard let drain, !drain.isAsking else { return nil }
        return drain.nextStepAt
    }
}
