import MeshWire

/// Bounds for dials that the words of others lead to: members that somebody tells of, watchers that are
/// asked for their word, addresses that refuse. A liar says them faster than anybody connects, and would make
/// scanners and a flood of honest nodes, at addresses of its choice.
///
/// This node's own seeds are asked without a bound: nobody else has named them.
///
///     0 ≤ left ≤ burst      refusals.count ≤ refusalCountMax
struct DialLimits {
    /// Guesses: a node that is cut off dials sixty others within seconds, one next to a hundred that crash
    /// together about two hundred.
    static var burst: Int { 512 }
    /// One more each.
    static var pause: Delay { .milliseconds(8) }
    private static var refusalPause: Delay { .seconds(1) }
    private static var refusalCountMax: Int { 16 }

    private var left = burst
    /// When `left` was last counted up.
    private var countedAt: Instant
    /// Addresses that have said that this node is dead to them, since when.
    private var refusals: [(endpoint: Endpoint, at: Instant)] = []

    init(at now: Instant) {
        countedAt = now
    }

    /// Takes one dial; false: there is none now.
    mutating func take(at now: Instant) -> Bool {
        let earned = (now - countedAt).nanoseconds / Self.pause.nanoseconds
        if earned >= Int64(Self.burst - left) {
            left = Self.burst
            countedAt = now
        } else {
            left += Int(earned)
            countedAt = countedAt + Self.pause * earned
        }
        guard left > 0 else { return false }
        left -= 1
        return true
    }

    /// Whether an address that has said that this node is dead to it is dialled again at once, with a later
    /// incarnation: once a second. One that goes on saying so would be dialled without end.
    mutating func mayRepeat(_ endpoint: Endpoint, at now: Instant) -> Bool {
        refusals.removeAll { now - $0.at >= Self.refusalPause }
        if refusals.count >= Self.refusalCountMax
            || refusals.contains(where: { $0.endpoint == endpoint })
        {
            return false
        }
        refusals.append((endpoint, now))
        return true
    }
}
