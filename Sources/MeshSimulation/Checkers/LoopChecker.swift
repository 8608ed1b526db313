import MeshCore
import MeshWire

/// No message goes round in a loop, and none goes over more links than the hop limit.
///
/// While links come and go two nodes may for a moment know different things, and one send back what
/// it got from the other: the potential that the message carries has fallen then, so it happens once,
/// and once more after the message has turned. In calm a message never comes back, and at no time
/// does it come back more often than that: from its way, on turning, and from its way after that.
struct LoopChecker {
    private static var returnCountMax: Int32 { 3 }
    private static var hopCountMax: Int32 { Int32(Frame.hopLimit) + 1 }

    func check(_ detour: Observations.Detour, _ truth: Truth, settle: Delay) -> Violation? {
        let isCalm = !truth.isTroubled(from: detour.time - settle, to: detour.time)
        guard isCalm || detour.returns > Self.returnCountMax || detour.hops > Self.hopCountMax
        else { return nil }
        return Violation(
            checker: .loops, time: detour.time, host: Int(detour.host),
            text: detour.returns > 0
                ? "a message came back, \(detour.returns) times, after \(detour.hops) hops"
                : "a message has gone over \(detour.hops) links")
    }

    /// The limit also catches what a loop of many nodes leaves to it.
    func check(_ counters: NodeCounters, _ host: Int, at now: Instant) -> Violation? {
        guard counters[.droppedHopLimit] > 0 else { return nil }
        return Violation(
            checker: .loops, time: now, host: host,
            text: "\(counters[.droppedHopLimit]) messages were dropped at the hop limit")
    }
}
