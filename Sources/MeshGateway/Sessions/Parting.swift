import MeshCore

// Messages that a client had been sent, and may not have read when its connection ended.
//
//     all that was written for the client
//     ──── acknowledged ────┬── unacknowledged ──┬── not given to the kernel ──
//         read, unless the  │  lost, perhaps     │  kept: it waits for the next
//         connection broke  │                    │  connection (keepSessions)
//
// A kernel that still has bytes for its application when that closes, or is killed, sends a reset
// instead of an end. So an end in order, with nothing unacknowledged, says that all was read; all
// else leaves it open, and a loss that nobody can exclude is announced: `gap user ann 0 0`. A reset
// may follow right behind an end, from clients that shut a connection down before they close it. And
// where this node ends a connection, because another has shown the token, or because it leaves, it
// is seen later whether the client reads on. Therefore the driver asks a second time
// (`SessionDoubt`).
//
// None of this concerns messages of counted sessions: their clients say what has come.

/// How a client's connection has ended, or has come to be ended, as the kernel tells.
public struct Parting: Equatable, Sendable {
    /// Of the bytes that `flush` has handed out, the last ones that the client's machine has not
    /// acknowledged; `.max` when nobody knows.
    public var unacknowledgedBytes: Int
    /// It was reset, or has timed out.
    public var wasBroken: Bool

    public init(unacknowledgedBytes: Int, wasBroken: Bool) {
        self.unacknowledgedBytes = unacknowledgedBytes
        self.wasBroken = wasBroken
    }

    /// For connections that need not be asked about (`hasUnproven`), and for those that this node
    /// ends, as long as their clients may read what they were sent to its end.
    public static let inOrder = Parting(unacknowledgedBytes: 0, wasBroken: false)
}

/// A session of a connection that has ended, as long as that may still turn out to be broken.
public struct SessionDoubt: Sendable {
    var session: UserSessionIndex
    var life: UInt32
    /// Bytes that the kernel was given behind the session's last message; negative: it was not given
    /// all up to there.
    var bytesBehind: Int
}

/// A session that a connection had until it ended, or until somebody else showed its token.
struct PartedSession {
    var session: UserSessionIndex
    var life: UInt32
    /// `UserSession.unprovenEnd`
    var end: UInt64
}

extension Hub {
    /// Whether `close` depends on how this client's connection ends: it had messages of a session
    /// of which nobody says that they have come. Of all others the kernel need not be asked.
    public mutating func hasUnproven(_ client: ClientIndex) -> Bool {
        let slot = client.slot
        if !clients[slot].parted.isEmpty { return true }
        guard clients[slot].flags.contains(.session) else { return false }
        return clients[slot].sessions.entries.contains { isUnproven($0.session) }
    }

    /// The session's messages up to its `unprovenEnd` are not known to have come. A message that is
    /// counted after them says so.
    private func isUnproven(_ index: UserSessionIndex) -> Bool {
        sessions[index].unprovenEnd != nil
            && (!sessions[index].isCounted || sessions[index].sentCount == 0)
    }

    /// Up to this position in all that was written to its client, a session's messages, and notices,
    /// are such that nobody says that they have come.
    mutating func noteUnproven(_ index: UserSessionIndex, upTo end: UInt64) {
        sessions[index].unprovenEnd = max(sessions[index].unprovenEnd ?? 0, end)
    }

    /// The session leaves this client, whose connection is asked about later.
    mutating func part(_ index: UserSessionIndex, from client: ClientIndex) {
        let slot = client.slot
        if isUnproven(index), let end = sessions[index].unprovenEnd {
            clients[slot].parted.append(
                PartedSession(session: index, life: sessions[index].life, end: end))
        }
        sessions[index].unprovenEnd = nil
    }

    /// Announces what has been lost with a connection; returns the sessions of which it is still
    /// open.
    mutating func judge(_ client: ClientIndex, _ parting: Parting) -> [SessionDoubt] {
        let slot = client.slot
        let given = clients[slot].outputBase
        let doubts = clients[slot].parted.map { parted in
            SessionDoubt(
                session: parted.session, life: parted.life,
                bytesBehind: Int(truncatingIfNeeded: given &- parted.end))
        }
        return conclude(doubts, parting)
    }

    /// More is known of a connection that has ended, and that may have been closed since: sessions
    /// that have lost something are told, wherever they are by now.
    ///
    /// - Returns: those of which nothing is lost so far.
    public mutating func conclude(
        _ doubts: [SessionDoubt], _ parting: Parting
    ) -> [SessionDoubt] {
        var open: [SessionDoubt] = []
        for doubt in doubts where sessions[doubt.session].life == doubt.life {
            if parting.wasBroken || doubt.bytesBehind < parting.unacknowledgedBytes {
                counters[.sessionPartingsLost] += 1
                announceUnknownLoss(doubt.session)
            } else {
                open.append(doubt)
            }
        }
        return open
    }
}
