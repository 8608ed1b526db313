import MeshCore

/// Every timer of a node that is set is due for something, and everything that is due has a timer
/// (`Node.wrongTimers`).
///
/// Whatever the state of a node says is looked at, so nodes are looked at in turn: each
/// `Scenario.timerLooks` times a second, some in each round of samples.
struct TimerChecker {
    /// Looks that are still to be made, less than one between rounds.
    private var owed = 0.0
    /// The place of the next node among those that are up.
    private var turn = 0

    /// The faults of the timers of those whose turn it is, after `period`.
    mutating func look(
        _ world: borrowing World, _ live: [Int], perSecond rate: Double, over period: Delay
    ) -> [Violation] {
        guard rate > 0, !live.isEmpty else { return [] }
        owed += rate * Double(live.count) * Double(period.nanoseconds) / 1e9
        var violations: [Violation] = []
        while owed >= 1 {
            owed -= 1
            turn = (turn + 1) % live.count
            let host = live[turn]
            violations += world.wrongTimers(host).map {
                Violation(checker: .timers, time: world.now, host: host, text: $0)
            }
        }
        return violations
    }
}
