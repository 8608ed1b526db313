import MeshCore

/// In calm, changes of the directory come to all nodes by themselves; to ask for them is for what was
/// lost on its way.
struct SpreadChecker {
    /// Calm is what has lasted so long without a fault.
    static let calm = Delay.seconds(5)
    /// Fewer changes than this prove nothing: a link that is replaced may take some with it.
    static let countMin = 20

    private(set) var live = 0
    private(set) var repaired = 0
    private var culprit: Int?

    mutating func take(_ arrival: Observations.ChangeArrival, _ truth: Truth) {
        guard !truth.isTroubled(from: arrival.made - Self.calm, to: arrival.time) else { return }
        if arrival.isRepair {
            repaired += Int(arrival.count)
            culprit = Int(arrival.host)
        } else {
            live += Int(arrival.count)
        }
    }

    func finish(at now: Instant) -> Violation? {
        guard repaired >= Self.countMin, repaired > live else { return nil }
        return Violation(
            checker: .spread, time: now, host: culprit,
            text: "\(repaired) changes had to be asked for in calm, \(live) came by themselves")
    }
}
