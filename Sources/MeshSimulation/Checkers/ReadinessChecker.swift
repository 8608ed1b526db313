import JSON5
import MeshCore

/// No node stays unready: it is ready a stated time after its start and after the last fault.
struct ReadinessChecker {
    func check(
        isReady: Bool, _ host: Int, at now: Instant, _ truth: Truth, settle: Delay
    ) -> Violation? {
        guard !isReady, now > truth.lastTrouble + settle,
            now > truth.hurtUntil[host] + settle
        else { return nil }
        return Violation(
            checker: .readiness, time: now, host: host,
            text: "started \(decimal(Double((now - truth.startedAt[host]).nanoseconds) / 1e9)) s "
                + "ago and is not ready")
    }
}
