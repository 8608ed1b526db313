import MeshCore

/// Each message is delivered to each destination at most once, and the messages of one origin to
/// one destination in their order. What is lost in calm is a violation; else it is counted.
struct DeliveryChecker {
    struct Sent {
        var origin: Int32
        /// Copies to other nodes that the origin's node sent.
        var copies: UInt32
        var delivered: UInt32 = 0
        var time: Instant
    }

    private(set) var sent: [Sent] = []
    /// By (origin, destination): the number of the last message, plus one.
    private var last = PairTable()
    private var judged = 0

    private(set) var delivered = 0
    /// Copies of messages to channels, to nodes that subscribe.
    private(set) var channelCopies = 0
    private(set) var duplicated = 0
    private(set) var reordered = 0
    private(set) var lost = 0
    /// Lost with nothing wrong anywhere near in time.
    private(set) var lostInCalm = 0
    private(set) var hops: [Int] = [Int](repeating: 0, count: 128)
    /// Nanoseconds from sending to delivery, added up.
    private(set) var latencySum: Int64 = 0

    /// Numbers a message; its payload starts with the number.
    var nextNumber: UInt32 { UInt32(truncatingIfNeeded: sent.count) }

    mutating func publish(from origin: Int, at now: Instant) {
        sent.append(Sent(origin: Int32(origin), copies: 0, time: now))
    }

    /// How many copies of the last message went to other nodes.
    mutating func publish(copies: Int, isToChannel: Bool) {
        if isToChannel { channelCopies += copies }
        sent[sent.count - 1].copies = UInt32(copies)
    }

    mutating func arrive(_ arrival: Journal.Arrival) -> Violation? {
        let number = Int(arrival.message)
        guard number < sent.count else { return nil }
        let origin = sent[number].origin
        let pair = UInt64(UInt32(bitPattern: origin)) << 32 | UInt64(UInt32(arrival.host))
        let before = last[pair]
        let isSpare = sent[number].delivered >= sent[number].copies
        if isSpare || before == arrival.message + 1 {
            duplicated += 1
            return Violation(
                checker: .once, time: arrival.time, host: Int(arrival.host),
                text: "message \(number) of host \(origin) was delivered again")
        }
        sent[number].delivered += 1
        delivered += 1
        hops[min(Int(arrival.hops), hops.count - 1)] += 1
        latencySum += (arrival.time - sent[number].time).nanoseconds
        if before > arrival.message + 1 {
            reordered += 1
            return Violation(
                checker: .order, time: arrival.time, host: Int(arrival.host),
                text: "message \(number) of host \(origin) came after \(before - 1)")
        }
        last[pair] = arrival.message + 1
        return nil
    }

    /// Gives up waiting for messages that were sent before `limit`.
    mutating func judge(
        sentBefore limit: Instant, _ truth: Truth, calm: Delay, at now: Instant
    ) -> Violation? {
        var violation: Violation?
        while judged < sent.count, sent[judged].time < limit {
            let message = sent[judged]
            if message.delivered < message.copies {
                let missing = Int(message.copies - message.delivered)
                lost += missing
                if !truth.isTroubled(
                    from: message.time - calm, to: message.time + .seconds(2))
                {
                    lostInCalm += missing
                    violation =
                        violation
                        ?? Violation(
                            checker: .loss, time: message.time, host: Int(message.origin),
                            text: "message \(judged) reached \(message.delivered) of "
                                + "\(message.copies) nodes, and its sender was not told")
                }
            }
            judged += 1
        }
        return violation
    }
}

/// 64-bit keys to 32-bit values that start at 0: open addressing, linear probing, never removed.
struct PairTable {
    private var keys = [UInt64](repeating: .max, count: 1024)
    private var values = [UInt32](repeating: 0, count: 1024)
    private var count = 0

    private func place(of key: UInt64) -> Int {
        let mask = keys.count - 1
        var at = Int(truncatingIfNeeded: RandomSource.mix(key)) & mask
        while keys[at] != key, keys[at] != .max { at = (at + 1) & mask }
        return at
    }

    subscript(key: UInt64) -> UInt32 {
        get { values[place(of: key)] }
        set {
            if count * 2 >= keys.count { grow() }
            let at = place(of: key)
            if keys[at] == .max { count += 1 }
            keys[at] = key
            values[at] = newValue
        }
    }

    private mutating func grow() {
        let old = (keys, values)
        keys = [UInt64](repeating: .max, count: old.0.count * 2)
        values = [UInt32](repeating: 0, count: old.0.count * 2)
        for (key, value) in zip(old.0, old.1) where key != .max {
            let at = place(of: key)
            keys[at] = key
            values[at] = value
        }
    }
}
