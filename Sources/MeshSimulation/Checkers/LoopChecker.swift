import MeshCore
import MeshWire

/// No message comes to a node where it has been, and none goes over more links than the hop limit.
struct LoopChecker {
    func check(_ detour: Journal.Detour) -> Violation {
        Violation(
            checker: .loops, time: detour.time, host: Int(detour.host),
            text: detour.isLoop
                ? "a message came back after \(detour.hops) hops"
                : "a message has gone over \(detour.hops) links")
    }

    /// The limit also catches what a loop of many nodes leaves to it.
    func check(_ counters: Counters, _ host: Int, at now: Instant) -> Violation? {
        guard counters.droppedHopLimit > 0 else { return nil }
        return Violation(
            checker: .loops, time: now, host: host,
            text: "\(counters.droppedHopLimit) messages were dropped at the hop limit")
    }
}
