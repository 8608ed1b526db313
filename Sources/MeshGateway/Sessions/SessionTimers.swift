import MeshCore

/// When something is due for a session that has not changed since.
struct SessionTimer {
    var due: Instant
    var session: UserSessionIndex
    var serial: UInt32
}

/// When something is due for sessions.
struct SessionTimers {
    /// The ends of graces: all are as long, so that this list is in order by itself.
    private var graces = FIFO<SessionTimer>()
    /// All others: there are few, and none is long.
    private var short: [SessionTimer] = []

    /// The first one's time; nil: there is none.
    var next: Instant? {
        var earliest = graces.first?.due
        for timer in short { earliest = min(earliest ?? timer.due, timer.due) }
        return earliest
    }

    mutating func addGrace(_ timer: SessionTimer) { graces.append(timer) }

    mutating func add(_ timer: SessionTimer) { short.append(timer) }

    /// Takes the first grace that is over by then.
    mutating func takeGrace(by now: Instant) -> SessionTimer? {
        guard let first = graces.first, first.due <= now else { return nil }
        return graces.popFirst()
    }

    /// Takes all others that are due by then.
    mutating func takeDue(by now: Instant) -> [SessionTimer] {
        guard short.contains(where: { $0.due <= now }) else { return [] }
        let due = short.filter { $0.due <= now }
        short.removeAll { $0.due <= now }
        return due
    }
}
