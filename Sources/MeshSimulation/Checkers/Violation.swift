import MeshCore

/// Something that must never happen, and did.
public struct Violation: Sendable, Equatable {
    public var checker: CheckerName
    public var time: Instant
    /// -1: the mesh as a whole.
    public var host: Int
    public var text: String

    public var description: String {
        let place = host < 0 ? "" : ", host \(host)"
        return
            "\(checker.rawValue) at \(decimal(Double(time.nanoseconds) / 1e9)) s\(place): \(text)"
    }
}

/// What all checkers know: the faults as they were made.
struct Truth {
    /// A host is not to be blamed, nor its treatment by others, before this.
    private(set) var hurtUntil: [Instant] = []
    /// Times in which messages may be lost and members differ: (from, to).
    private(set) var troubles: [(from: Instant, to: Instant)] = []
    private(set) var lastTrouble = Instant(nanoseconds: 0)
    /// The last change of the directory by a client.
    var lastDirectoryChange = Instant(nanoseconds: 0)
    /// When each host started.
    private(set) var startedAt: [Instant] = []

    mutating func started(_ host: Int, at now: Instant) {
        precondition(host == startedAt.count)
        startedAt.append(now)
        hurtUntil.append(now)
        trouble(from: now, to: now)
    }

    mutating func trouble(from: Instant, to: Instant) {
        troubles.append((from, to))
        lastTrouble = max(lastTrouble, to)
    }

    mutating func hurt(_ host: Int, until: Instant) {
        hurtUntil[host] = max(hurtUntil[host], until)
    }

    /// Whether anything was wrong between two moments.
    func isTroubled(from: Instant, to: Instant) -> Bool {
        if lastTrouble < from { return false }
        return troubles.contains { $0.from <= to && $0.to >= from }
    }
}
