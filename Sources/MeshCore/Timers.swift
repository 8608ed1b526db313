/// What a node waits for; a slot each, nil when it does not.
enum Timer: Int, CaseIterable {
    /// Idle links get a heartbeat.
    case heartbeat
    /// The earliest time at which a link can have been silent too long.
    case silence
    /// Handshakes that take too long are given up.
    case handshake
    /// A suspicion turns into death.
    case suspicion
    /// An accusation is decided.
    case accusation
    /// Changes of membership are told.
    case gossip
    /// This node's link list is told.
    case linkList
    /// This node's directory changes are spread.
    case records
    /// The set of links is looked at.
    case maintenance
    /// A node that leaves has forwarded what was under way through it.
    case departure
    /// Seeds are tried again.
    case seeds
    /// One of the dead is tried.
    case redial
    /// A question runs out.
    case query
    /// A watched user's absence is announced.
    case presence
    /// A repair that did not come is asked for again.
    case repair
    /// Flows have something to acknowledge.
    case acknowledgement
    /// What is not acknowledged may have to be sent again.
    case retransmission
    /// Users that were waited for have not come back.
    case grace
}

/// The earliest deadline of a table with a slot for each timer. A stale timer cannot exist:
/// cancelling sets the slot to nil.
struct Timers {
    private var slots = [Instant?](repeating: nil, count: Timer.allCases.count)

    subscript(timer: Timer) -> Instant? {
        get { slots[timer.rawValue] }
        set { slots[timer.rawValue] = newValue }
    }

    /// Sets a timer unless it is already due earlier.
    mutating func schedule(_ timer: Timer, at instant: Instant) {
        if let due = slots[timer.rawValue], due <= instant { return }
        slots[timer.rawValue] = instant
    }

    /// Clears the timer and returns true if it is due.
    mutating func take(_ timer: Timer, at now: Instant) -> Bool {
        guard let due = slots[timer.rawValue], due <= now else { return false }
        slots[timer.rawValue] = nil
        return true
    }

    var earliest: Instant? {
        var earliest: Instant?
        for slot in slots {
            if let slot, earliest.map({ slot < $0 }) ?? true { earliest = slot }
        }
        return earliest
    }
}
