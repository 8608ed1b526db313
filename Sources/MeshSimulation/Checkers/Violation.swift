import JSON5
import MeshCore

/// Something that must never happen, and did.
public struct Violation: Sendable, Equatable {
    public var checker: CheckerName
    public var time: Instant
    /// Nil: the mesh as a whole.
    public var host: Int?
    public var text: String

    public var description: String {
        let place = host.map { ", host \($0)" } ?? ""
        return
            "\(checker.rawValue) at \(decimal(Double(time.nanoseconds) / 1e9)) s\(place): \(text)"
    }
}

/// The knowledge of all checkers: the faults as they were made.
struct Truth {
    /// A host is not to be blamed, nor its treatment by others, before this.
    private(set) var hurtUntil: [Instant] = []
    /// The same without what freezes do: who thaws can speak for itself at once.
    private(set) var harmedUntil: [Instant] = []
    /// When each host's last freeze ends.
    private(set) var thawsAt: [Instant] = []
    /// When each host died or began to leave; nil: it has not.
    private(set) var departedAt: [Instant?] = []
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
        harmedUntil.append(now)
        thawsAt.append(now)
        departedAt.append(nil)
        trouble(from: now, to: now)
    }

    mutating func trouble(from: Instant, to: Instant) {
        troubles.append((from, to))
        lastTrouble = max(lastTrouble, to)
    }

    mutating func hurt(_ host: Int, until: Instant) {
        hurtUntil[host] = max(hurtUntil[host], until)
        harmedUntil[host] = max(harmedUntil[host], until)
    }

    /// A host stands still until `thaw`, and what others make of it dies down until `end`.
    mutating func freeze(_ host: Int, until thaw: Instant, over end: Instant) {
        thawsAt[host] = max(thawsAt[host], thaw)
        hurtUntil[host] = max(hurtUntil[host], end)
    }

    mutating func departed(_ host: Int, at now: Instant) { departedAt[host] = now }

    /// Whether anything was wrong between two moments.
    func isTroubled(from: Instant, to: Instant) -> Bool {
        if lastTrouble < from { return false }
        return troubles.contains { $0.from <= to && $0.to >= from }
    }
}
