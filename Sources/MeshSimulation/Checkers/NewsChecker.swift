import JSON5
import MeshCore
import MeshWire

/// When one node knows of another's coming or going, all know soon after: the news is flooded, and does
/// not wait for neighbours to compare what they know.
///
/// Judged where nothing else goes wrong at the time.
struct NewsChecker {
    /// From the first node that knows to the last.
    static let limit = Delay.milliseconds(600)
    /// Calm is what has lasted so long without a fault before it.
    static let calm = Delay.seconds(5)

    /// When the first node knew, by host: that it is up, and that it is gone.
    private var knownUp: [Instant?] = []
    private var knownGone: [Instant?] = []
    /// The longest that anybody took.
    private(set) var slowest = Delay.zero

    /// The node whose coming or going an event tells; nil: none.
    static func subject(of event: LogEvent) -> NodeID? {
        switch event {
        case .memberUp(let id), .memberDead(let id, _), .memberLeft(let id): id
        default: nil
        }
    }

    /// A node has said that `subject` is up or gone.
    mutating func take(
        _ news: Observations.News, of subject: Int, _ truth: Truth
    ) -> Violation? {
        let isUp = if case .memberUp = news.event { true } else { false }
        while knownUp.count <= subject {
            knownUp.append(nil)
            knownGone.append(nil)
        }
        let first = isUp ? knownUp[subject] : knownGone[subject]
        let cause = isUp ? truth.startedAt[subject] : truth.departedAt[subject]
        // News from before it happened was a false death, which it has refuted since.
        guard let first, cause.map({ $0 <= first }) ?? true else {
            if isUp { knownUp[subject] = news.time } else { knownGone[subject] = news.time }
            return nil
        }
        let knower = Int(news.host)
        // A node that starts itself learns of all the others.
        guard let cause, truth.startedAt[knower] + Self.calm < cause else { return nil }
        let instant = Delay(nanoseconds: 1)
        guard !truth.isTroubled(from: cause - Self.calm, to: cause - instant),
            !truth.isTroubled(from: cause + instant, to: news.time)
        else { return nil }
        let took = news.time - first
        slowest = max(slowest, took)
        guard took > Self.limit else { return nil }
        return Violation(
            checker: .news, time: news.time, host: knower,
            text: "knows of host \(subject) "
                + "\(decimal(Double(took.nanoseconds) / 1e9, places: 3)) s after the first")
    }
}
