/// The events that a node waits for; a slot each, nil when it does not.
package enum Timer: Int, CaseIterable {
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
    /// This node's link list is told, and those of neighbours are passed on.
    case linkList
    /// This node's directory changes are spread.
    case records
    /// Changes that not all have acknowledged are sent again, or not waited for any more.
    case confirmation
    /// A node that compares asks another neighbour, or goes on as it is.
    case catchingUp
    /// The set of links is looked at.
    case maintenance
    /// A node that leaves has forwarded what was under way through it.
    case departure
    /// Seeds are tried again.
    case seeds
    /// One of the dead is tried.
    case redial
    /// A query runs out.
    case query
    /// A watched user's absence is announced.
    case presence
    /// A repair that did not come is asked for again.
    case repair
    /// Members are dialled, because no link is heard.
    case probe
    /// Flows have something to acknowledge.
    case acknowledgement
    /// Messages that are not acknowledged may have to be sent again.
    case retransmission
    /// Users that were waited for have not come back.
    case grace
    /// The walk that takes out what members held who are gone goes on.
    case withdrawal
}

/// The earliest deadline of a table with a slot for each timer. A stale timer cannot exist:
/// cancelling sets the slot to nil.
///
/// Drivers ask for the earliest after every event, so it is kept rather than searched for.
struct Timers {
    /// Nanoseconds, `.max`: the timer is not set. Room for a few more cases.
    private var slots = InlineArray<24, Int64>(repeating: .max)
    /// The least of `slots`; while due timers are taken, no more than that.
    private var least = Int64.max

    /// A number and not `allCases.count`, which makes an array to count it.
    @inline(__always) static var count: Int { 22 }

    init() {
        precondition(Self.count == Timer.allCases.count && Self.count <= slots.count)
    }

    subscript(timer: Timer) -> Instant? {
        get {
            let due = slots[timer.rawValue]
            return due == .max ? nil : Instant(nanoseconds: due)
        }
        set { set(timer, newValue?.nanoseconds ?? .max) }
    }

    private mutating func set(_ timer: Timer, _ due: Int64) {
        let former = slots[timer.rawValue]
        slots[timer.rawValue] = due
        if due <= least {
            least = due
        } else if former == least {
            findEarliest()
        }
    }

    /// Sets a timer unless it is already due earlier.
    mutating func schedule(_ timer: Timer, at instant: Instant) {
        if slots[timer.rawValue] > instant.nanoseconds { set(timer, instant.nanoseconds) }
    }

    /// Clears the timer of this number and returns true if it is due. `findEarliest` must follow,
    /// once after all that are taken.
    @inline(__always)
    mutating func take(_ number: Int, at now: Instant) -> Bool {
        guard slots[number] <= now.nanoseconds else { return false }
        slots[number] = .max
        return true
    }

    mutating func findEarliest() {
        var found = Int64.max
        for index in slots.indices { found = min(found, slots[index]) }
        least = found
    }

    @inline(__always)
    var earliest: Instant? {
        least == .max ? nil : Instant(nanoseconds: least)
    }
}
