import MeshCore

/// No live node is declared dead while its watchers can reach it.
///
/// A node that is isolated, parted from others or slow may be taken for dead while that lasts and for
/// the time that hearsay of it needs to die down; one that was frozen until it has had the time to
/// refute what was said of it meanwhile. A cut or reset of single links is no excuse.
struct RemovalChecker {
    /// From the thaw: to hear that one is suspected, and for the refutation to reach all.
    static let refutation = Delay.seconds(1)

    func check(
        subject: Int, by host: Int, at time: Instant, isUp: Bool, _ truth: Truth
    ) -> Violation? {
        guard isUp, truth.harmedUntil[subject] < time, truth.hurtUntil[host] < time,
            truth.thawsAt[subject] + Self.refutation < time
        else {
            return nil
        }
        return Violation(
            checker: .removal, time: time, host: host,
            text: "declared host \(subject) dead, which is up and can be reached")
    }
}
