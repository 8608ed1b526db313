import MeshCore

/// No live node is declared dead while its watchers can reach it.
///
/// A node that is frozen, isolated, parted from others or slow may be taken for dead while that
/// lasts and for the time that hearsay of it needs to die down. A cut or reset of single links is no
/// excuse.
struct RemovalChecker {
    func check(
        subject: Int, by host: Int, at time: Instant, isUp: Bool, _ truth: Truth
    ) -> Violation? {
        guard isUp, truth.hurtUntil[subject] < time, truth.hurtUntil[host] < time else {
            return nil
        }
        return Violation(
            checker: .removal, time: time, host: host,
            text: "declared host \(subject) dead, which is up and can be reached")
    }
}
