import MeshCore
import MeshWire

/// Times at which something is due for requests, the first one at hand. Some are of requests that have
/// ended; they are taken out when they are most.
struct RequestTimers {
    private struct Entry: Comparable {
        let due: Instant
        let number: UInt32

        static func < (one: Entry, other: Entry) -> Bool {
            one.due < other.due || one.due == other.due && one.number < other.number
        }
    }

    private var entries = Heap<Entry>()

    var next: Instant? { entries.first?.due }

    /// Whether most are of requests that have ended.
    func isCrowded(_ live: Int) -> Bool { entries.count > 4 * live + 1_024 }

    mutating func keep(_ isLive: (UInt32) -> Bool) {
        entries.keep { isLive($0.number) }
    }

    mutating func insert(_ due: Instant, _ number: UInt32) {
        entries.insert(Entry(due: due, number: number))
    }

    /// Takes the first that is due by then.
    mutating func take(by now: Instant) -> UInt32? {
        guard let first = entries.first, first.due <= now else { return nil }
        return entries.removeFirst().number
    }
}
