import MeshWire

@testable import MeshCore

/// One node and another to which it sends.
struct FlowPair: Hashable, Comparable {
    var origin: NodeID
    var destination: NodeID

    static func < (left: FlowPair, right: FlowPair) -> Bool {
        (left.origin, left.destination) < (right.origin, right.destination)
    }
}

/// The messages that one node has sent to another, in the lives of both, as it looks from outside: the rules of
/// <doc:Flows> in the simplest words, without any of the node's own types.
final class FlowLedger {
    /// A message that is not acknowledged.
    struct Kept {
        var sequence: UInt32
        var id: MessageID
        var sender: UInt64
        var name: String
        /// Bytes of name and payload.
        var size: Int
        /// How often it was sent.
        var sentCount = 0
        /// Where its bytes are stored by themselves: equal numbers, one copy.
        var parcel: Int?

        var cost: Int { 32 + size }
    }

    let pair: FlowPair
    init(_ pair: FlowPair) { self.pair = pair }

    // At the origin.
    var kept: [Kept] = []
    var last: UInt32 = 0
    /// The message that each number stands for.
    var names: [UInt32: MessageID] = [:]
    var isCongested = false
    /// The longest that the origin has taken the way there and back for, since something is kept.
    var slowest = Delay.zero
    /// Something was given up, and the destination has not been told.
    var mustSkip = false
    /// When a message was last acknowledged, all were sent again, or the first one was kept.
    var progressAt = Instant(nanoseconds: 0)
    /// Times that all were sent again because nothing came, since a round trip was measured.
    var timeouts = 0
    /// The link is lost that was last sent over.
    var isStranded = false
    /// The last message that was given up: the destination hears of it before the next one.
    var lost: UInt32 = 0
    /// When the origin first knew that the destination had left.
    var leftAt: Instant?

    // At the destination.
    var next: UInt32 = 1
    var highest: UInt32 = 0
    var waiting: [UInt32: Int] = [:]
    /// Since when something is delivered that the origin has not been told of, and how much that is.
    var owedSince: Instant?
    var owedCount = 0
    /// The origin is to be told of the gap that there is, which began then.
    var isGapOwed = false
    var gapSince: Instant?
    /// When a gap that has been told, or is too young for that, is told again.
    var gapDue: Instant?

    var acknowledged: UInt32 { last &- UInt32(kept.count) }
    var bytes: Int { kept.reduce(0) { $0 + $1.cost } }
    var hasGap: Bool { Int32(bitPattern: highest &- next) >= 0 }

    /// The messages that the destination lacks in front of those that it has; 0: none.
    var missing: UInt32 {
        guard hasGap else { return 0 }
        let first = waiting.keys.map { $0 &- next }.min()
        return first ?? highest &+ 1 &- next
    }

    /// The messages that the destination keeps for later, with what goes along with each.
    var waitingBytes: Int { waiting.values.reduce(0) { $0 + $1 + 64 } }

    func keep(
        _ id: MessageID, sender: UInt64, name: String, size: Int, parcel: Int?
    ) {
        last &+= 1
        kept.append(
            Kept(
                sequence: last, id: id, sender: sender, name: name, size: size, parcel: parcel))
        names[last] = id
    }

    /// A message is passed over in its turn; those that wait behind it follow.
    ///
    /// - Returns: the sequences that are delivered besides.
    func pass(at now: Instant) -> [UInt32] {
        if Int32(bitPattern: next &- highest) > 0 { highest = next }
        next &+= 1
        var followers: [UInt32] = []
        let hadGap = hasGap
        while waiting.removeValue(forKey: next) != nil {
            followers.append(next)
            next &+= 1
        }
        owe(1 + followers.count, at: now)
        if hadGap, hasGap { beginGap(at: now) }
        return followers
    }

    /// Another message is missing than before.
    func beginGap(at now: Instant) {
        gapSince = now
        gapDue = now + .milliseconds(5)
        isGapOwed = true
    }

    func owe(_ count: Int, at now: Instant) {
        owedSince = owedSince ?? now
        owedCount += count
    }

    /// The gap is no mere overtaking.
    func isGapRipe(at now: Instant) -> Bool {
        hasGap && gapSince.map { $0 + .milliseconds(5) <= now } ?? false
    }

    /// When all is sent again if nothing comes: after 200 ms, or three round trips if that is longer,
    /// doubled each time up to 2 s.
    func dueTime(_ roundTrip: Delay) -> Instant {
        let least = max(.milliseconds(200), roundTrip * 3)
        return progressAt + min(least * (1 << Int64(min(timeouts, 10))), max(.seconds(2), least))
    }

    /// The origin is told how far its flow has come.
    func told(at now: Instant) {
        owedSince = nil
        owedCount = 0
        if hasGap {
            gapDue = isGapRipe(at: now) ? now + .milliseconds(100) : gapSince! + .milliseconds(5)
        }
    }

    /// When the origin is to be told next, at the latest; nil: there is nothing to tell.
    func latestWord(at now: Instant) -> Instant? {
        var latest: Instant?
        // A message that comes while a gap is to be told again is acknowledged with it, so perhaps later than
        // the 20 ms after which all else is.
        if let owedSince { latest = max(owedSince + .milliseconds(20), gapDue ?? owedSince) }
        if owedCount >= 16 { latest = now }
        if hasGap, isGapOwed, let gapDue { latest = min(latest ?? gapDue, gapDue) }
        return latest
    }

    /// The destination takes the origin for dead: what waits is forgotten, and nothing is told.
    func originDied() {
        waiting = [:]
        highest = next &- 1
        forgive()
    }

    /// The origin is owed nothing.
    func forgive() {
        owedSince = nil
        owedCount = 0
        isGapOwed = false
    }

    /// The destination has forgotten the origin.
    func originForgotten() {
        originDied()
        next = 1
        highest = 0
    }

    /// The origin has forgotten the destination; only the numbers go on.
    func destinationForgotten() {
        mustSkip = false
        timeouts = 0
        isStranded = false
    }
}
