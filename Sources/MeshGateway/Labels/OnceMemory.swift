import MeshCore

/// The ids of messages that their senders may send again (`ONCE`): what has one of them has come already.
///
/// It forgets after two minutes, or when as many as there is room for have come after.
struct OnceMemory {
    private var known: Set<UInt64> = []
    /// The same in the order in which they came.
    private var order = FIFO<(id: UInt64, at: Instant)>()

    /// Longer than a client waits that sends again. A guess.
    static let duration: Delay = .seconds(120)
    /// Some 50 bytes each.
    static let usualMax = 131_072

    var count: Int { known.count }

    /// Remembers an id.
    ///
    /// - Parameter most: so many are remembered.
    /// - Returns: whether it is new, and whether another has been forgotten before its time.
    mutating func note(
        _ id: UInt64, most: Int, at now: Instant
    ) -> (isNew: Bool, forgetsEarly: Bool) {
        while let first = order.first, first.at + Self.duration <= now { forget() }
        guard known.insert(id).inserted else { return (false, false) }
        order.append((id, now))
        guard known.count > most else { return (true, false) }
        forget()
        return (true, true)
    }

    private mutating func forget() {
        if let first = order.popFirst() { known.remove(first.id) }
    }
}
