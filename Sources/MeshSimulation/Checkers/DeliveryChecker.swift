import MeshCore
import MeshWire

/// Each message is delivered to each destination exactly once, and the messages of one origin to one
/// destination in their order, whatever happens to the nodes and links between; or its sender is told
/// that it may not have been. Only who is gone is told nothing.
struct DeliveryChecker {
    struct Sent {
        var origin: Int32
        /// Destination nodes; each of them must come to something.
        var copies: UInt32
        var delivered: UInt32 = 0
        /// Copies that its sender was told are given up, and those of them for nobody in particular.
        var reported: UInt32 = 0
        var reportedForNobody: UInt32 = 0
        /// A bit for each of the first 64 hosts: it was delivered there, it was reported for there.
        var deliveredAt: UInt64 = 0
        var reportedAt: UInt64 = 0
        var time: Instant
        /// It waits for a user who is nowhere, and so is overtaken by others.
        var isHeld = false
        /// Its order is that of the large ones alone: they go another way than small ones of others.
        var isLarge = false
    }

    private(set) var sent: [Sent] = []
    /// By (origin, destination, large): the number of the last message, plus one.
    private var last = PairTable()
    private var judged = 0
    /// Messages that were not delivered in the usual time, while something was wrong.
    private var late: [Int] = []

    /// A host beyond the 64th has been a destination: a copy that was reported and arrived all the
    /// same counts as two from now on.
    private var hasManyHosts = false

    /// Copies of all messages, those that were refused included.
    private(set) var copies = 0
    private(set) var refused = 0
    /// Copies that were under way when their origin died, and were not delivered.
    private(set) var orphaned = 0
    private(set) var delivered = 0
    /// Copies of messages to channels, to nodes that subscribe.
    private(set) var channelCopies = 0
    private(set) var duplicated = 0
    private(set) var reordered = 0
    private(set) var undelivered = 0
    /// Neither delivered nor reported, though its origin is there to do so.
    private(set) var lost = 0
    /// Lost with nothing wrong anywhere near in time.
    private(set) var lostInCalm = 0
    private(set) var hops: [Int] = [Int](repeating: 0, count: 128)
    /// From sending to delivery.
    private(set) var latency = LatencyHistogram()
    /// The same of large messages.
    private(set) var largeLatency = LatencyHistogram()

    var latencies: (Distribution, large: Distribution) {
        (latency.distribution, largeLatency.distribution)
    }

    /// Numbers a message; its payload starts with the number.
    var nextNumber: UInt32 { UInt32(truncatingIfNeeded: sent.count) }

    mutating func publish(from origin: Int, at now: Instant, isLarge: Bool = false) {
        sent.append(Sent(origin: Int32(origin), copies: 0, time: now, isLarge: isLarge))
    }

    /// How many copies of the last message the node has taken and how many it has refused, or that
    /// it waits for its user.
    mutating func publish(
        copies: Int, refused: Int = 0, isToChannel: Bool = false, isHeld: Bool = false
    ) {
        if isToChannel { channelCopies += copies }
        let count = isHeld ? 1 : copies + refused
        self.copies += count
        self.refused += refused
        sent[sent.count - 1].copies = UInt32(count)
        sent[sent.count - 1].isHeld = isHeld
    }

    mutating func arrive(_ arrival: Observations.Arrival) -> Violation? {
        let number = Int(arrival.message)
        guard number < sent.count else { return nil }
        let origin = sent[number].origin
        let isLarge = sent[number].isLarge
        let pair =
            UInt64(UInt32(bitPattern: origin)) << 32 | UInt64(UInt32(arrival.host))
            | (isLarge ? 1 << 63 : 0)
        let before = last[pair]
        // The first host beyond the 64th shares its bit with another: it is one of many from here on.
        let bit = bit(arrival.host)
        let isSpare = sent[number].delivered >= sent[number].copies && !sent[number].isHeld
        let isAgain =
            before == arrival.message + 1
            || !hasManyHosts && sent[number].deliveredAt & bit != 0
        if isSpare || isAgain {
            duplicated += 1
            return Violation(
                checker: .once, time: arrival.time, host: Int(arrival.host),
                text: "message \(number) of host \(origin) was delivered again")
        }
        sent[number].delivered += 1
        sent[number].deliveredAt |= bit
        delivered += 1
        hops[min(Int(arrival.hops), hops.count - 1)] += 1
        let delay = arrival.time - sent[number].time
        if isLarge { largeLatency.add(delay) } else { latency.add(delay) }
        if sent[number].isHeld { return nil }
        if before > arrival.message + 1 {
            reordered += 1
            return Violation(
                checker: .order, time: arrival.time, host: Int(arrival.host),
                text: "message \(number) of host \(origin) came after \(before - 1)")
        }
        last[pair] = arrival.message + 1
        return nil
    }

    /// A copy has found its user gone: it goes on to wherever the user is by then, and so is overtaken
    /// by messages to others. Of several copies one alone goes on, when all have come back.
    mutating func goBack(_ number: Int) {
        sent[number].isHeld = true
        if sent[number].copies > 1 { sent[number].copies -= 1 }
    }

    @inline(__always)
    private mutating func bit(_ host: Int32) -> UInt64 {
        if host >= 64 { hasManyHosts = true }
        return 1 << UInt64(host & 63)
    }

    /// Copies of a message of which nobody knows what has become.
    private func openCopies(_ message: Sent) -> Int {
        let settled =
            hasManyHosts
            ? message.delivered + message.reported
            : UInt32((message.deliveredAt | message.reportedAt).nonzeroBitCount)
                + message.reportedForNobody
        return max(0, Int(message.copies) - Int(settled))
    }

    private func isOpen(_ message: Sent) -> Bool { openCopies(message) > 0 }

    /// Whether a message that is given up has waited for its user.
    func isHeld(_ report: Observations.Report) -> Bool {
        guard let number = report.message else { return false }
        return sent[number].isHeld
    }

    /// Somebody was told that a message is given up.
    ///
    /// - Parameters:
    ///   - host: its destination; nil: a user who was nowhere.
    ///   - isReachable: its destination is up, and nothing has happened to it or the origin.
    mutating func report(
        _ report: Observations.Report, to host: Int?, isReachable: Bool
    ) -> Violation? {
        guard let number = report.message else {
            guard isReachable else { return nil }
            return Violation(
                checker: .loss, time: report.time, host: Int(report.host),
                text: "a client's message was given up, and its destination could be reached")
        }
        if let host {
            sent[number].reportedAt |= bit(Int32(host))
        } else {
            sent[number].reportedForNobody += UInt32(report.count)
        }
        sent[number].reported += UInt32(report.count)
        undelivered += Int(report.count)
        guard isReachable else { return nil }
        return Violation(
            checker: .loss, time: report.time, host: Int(report.host),
            text: "message \(number) was given up, and its destination could be reached")
    }

    /// Looks at messages that were sent before `limit`: what should have arrived long ago has, unless
    /// something was wrong then.
    mutating func judge(sentBefore limit: Instant, _ truth: Truth, calm: Delay) -> Violation? {
        var violation: Violation?
        while judged < sent.count, sent[judged].time < limit {
            let message = sent[judged]
            if isOpen(message) {
                late.append(judged)
                let isTroubled = truth.isTroubled(
                    from: message.time - calm, to: message.time + .seconds(5))
                if !isTroubled, !message.isHeld {
                    lostInCalm += 1
                    violation = violation ?? loss(of: judged)
                }
            }
            judged += 1
        }
        return violation
    }

    /// Whether messages of origins that are there are still on their way.
    func isWaiting(_ isThere: (Int) -> Bool) -> Bool {
        late.contains { isOpen(sent[$0]) && isThere(Int(sent[$0].origin)) }
            || sent[judged...].contains { isOpen($0) && isThere(Int($0.origin)) }
    }

    /// The end: what is neither delivered nor reported is lost, unless its origin is gone.
    mutating func finish(
        _ truth: Truth, calm: Delay, _ isThere: (Int) -> Bool
    ) -> Violation? {
        var violation = judge(sentBefore: Instant(nanoseconds: .max), truth, calm: calm)
        for number in late {
            let count = openCopies(sent[number])
            guard isThere(Int(sent[number].origin)) else {
                orphaned += count
                continue
            }
            lost += count
            if count > 0 { violation = violation ?? loss(of: number) }
        }
        return violation
    }

    private func loss(of number: Int) -> Violation {
        let message = sent[number]
        return Violation(
            checker: .loss, time: message.time, host: Int(message.origin),
            text: "message \(number) reached \(message.delivered) of \(message.copies) nodes, and "
                + "its sender was not told")
    }
}

/// 64-bit keys to 32-bit values that start at 0 and are never taken out.
struct PairTable {
    private var entries: [(key: UInt64, value: UInt32)] = []
    private var map = IndexMap()

    private func find(_ key: UInt64) -> Int? {
        map.find(RandomSource.mix(key)) { entries[$0].key == key }
    }

    subscript(key: UInt64) -> UInt32 {
        get { find(key).map { entries[$0].value } ?? 0 }
        set {
            if let known = find(key) {
                entries[known].value = newValue
                return
            }
            map.insert(entries.count, RandomSource.mix(key)) { RandomSource.mix(entries[$0].key) }
            entries.append((key, newValue))
        }
    }
}
