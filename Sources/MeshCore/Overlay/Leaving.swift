import MeshWire

/// The end of a node that leaves.
struct Departure {
    /// It has said so, and no longer links with others.
    private(set) var hasBegun = false
    private(set) var begunAt = Instant(nanoseconds: 0)

    mutating func begin(at now: Instant) {
        hasBegun = true
        begunAt = now
    }
}

/// A node that goes, in order.
extension Node {
    /// This node is going: it says so, and everybody strikes it from the ring at once. What is under
    /// way through it is still forwarded, for a moment.
    mutating func leave(_ effects: inout EffectBuffer) {
        guard !departure.hasBegun else { return }
        spreadRecords(&effects)
        departure.begin(at: now)
        var record = members[.oneself].record
        record.status = .left
        send(.members([record], isRepair: false), over: links.established, &effects)
        timers[.departure] = links.established.isEmpty ? now : now + configuration.timing.departure
    }

    /// The moment is over: ends all links in order, once what this node has sent is acknowledged.
    mutating func depart(_ effects: inout EffectBuffer) {
        acknowledgeAll(&effects)
        if !flows.active.isEmpty || flows.givesBack, !links.established.isEmpty,
            now < departure.begunAt + configuration.timing.drain
        {
            timers[.departure] = now + .milliseconds(10)
            return
        }
        giveUpAll(&effects)
        for index in links.established { closeInOrder(index, .leaving, &effects) }
        for index in links.indices where links[index].state != .free { forget(index, &effects) }
        effects.append(.left)
    }
}
