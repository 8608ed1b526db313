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
/// Adding and removing are O(log n).
private struct TimerHeap {
    private struct Entry {
        var timer: SessionTimer
        /// The number of timers that were added before.
        var number: UInt64

        static func < (one: Entry, other: Entry) -> Bool {
            one.timer.due < other.timer.due
                || one.timer.due == other.timer.due && one.number < other.number
        }
    }

    /// None stands before its parent, which is at half its place.
    private var entries: [Entry] = []
    private var addedCount: UInt64 = 0

    var first: SessionTimer? { entries.first?.timer }

    mutating func insert(_ timer: SessionTimer) {
        var place = entries.count
        entries.append(Entry(timer: timer, number: addedCount))
        addedCount += 1
        while place > 0, entries[place] < entries[(place - 1) / 2] {
            entries.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    /// There must be one.
    mutating func removeFirst() -> SessionTimer {
        entries.swapAt(0, entries.count - 1)
        let first = entries.removeLast()
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < entries.count && entries[child] < entries[least] {
                least = child
            }
            if least == place { return first.timer }
            entries.swapAt(place, least)
            place = least
        }
    }
}
