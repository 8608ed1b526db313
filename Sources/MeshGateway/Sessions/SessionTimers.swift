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
    /// All others, of which none is long: of a node that leaves they are as many as its sessions.
    private var short = TimerHeap()

    /// The first one's time; nil: there is none.
    var next: Instant? {
        guard let grace = graces.first?.due, let other = short.first?.due else {
            return graces.first?.due ?? short.first?.due
        }
        return min(grace, other)
    }

    mutating func addGrace(_ timer: SessionTimer) { graces.append(timer) }

    mutating func add(_ timer: SessionTimer) { short.insert(timer) }

    /// Takes the first grace that is over by then.
    mutating func takeGrace(by now: Instant) -> SessionTimer? {
        guard let first = graces.first, first.due <= now else { return nil }
        return graces.popFirst()
    }

    /// Takes the first of the others that is due by then.
    mutating func takeShort(by now: Instant) -> SessionTimer? {
        guard let first = short.first, first.due <= now else { return nil }
        return short.removeFirst()
    }
}

/// Timers of which the first one is at hand; of those that are due together the first that was added.
private struct TimerHeap {
    private struct Entry: Comparable {
        var timer: SessionTimer
        /// The number of timers that were added before.
        var number: UInt64

        static func < (one: Entry, other: Entry) -> Bool {
            one.timer.due < other.timer.due
                || one.timer.due == other.timer.due && one.number < other.number
        }

        static func == (one: Entry, other: Entry) -> Bool { one.number == other.number }
    }

    private var entries = Heap<Entry>()
    private var addedCount: UInt64 = 0

    var first: SessionTimer? { entries.first?.timer }

    mutating func insert(_ timer: SessionTimer) {
        entries.insert(Entry(timer: timer, number: addedCount))
        addedCount += 1
    }

    /// There must be one.
    mutating func removeFirst() -> SessionTimer { entries.removeFirst().timer }
}
