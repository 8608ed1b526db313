import MeshCore

/// What happens next in virtual time, ordered by (time, order of scheduling).
///
/// A heap of four children a node: the keys are 16 bytes, so that one node's children share a cache
/// line, and the actions stay where they are in a slab.
///
///     heap:    [ time │ sequence 40 · slot 24 ] …
///     actions: [ slot ] …
struct EventQueue<Action: BitwiseCopyable> {
    private struct Key {
        var time: Int64
        /// The order of scheduling in the upper 40 bits, the action's slot in the lower 24.
        var order: UInt64

        @inline(__always)
        func precedes(_ other: Key) -> Bool {
            time != other.time ? time < other.time : order < other.order
        }
    }

    private static var slotBits: UInt64 { 24 }
    /// Events that can wait at once: 16 million, of a node each in a mesh of ten thousand 1,600.
    static var countMax: Int { 1 << 24 }

    private var heap: [Key] = []
    private var actions: [Action] = []
    private var free: [UInt32] = []
    private var nextSequence: UInt64 = 0

    var isEmpty: Bool { heap.isEmpty }
    var count: Int { heap.count }

    @inline(__always)
    var nextTime: Instant? {
        heap.isEmpty ? nil : Instant(nanoseconds: heap[0].time)
    }

    /// What is taken next, unless something is scheduled before it.
    @inline(__always)
    var next: Action? {
        heap.isEmpty ? nil : actions[Int(heap[0].order & (1 << Self.slotBits - 1))]
    }

    mutating func schedule(_ action: Action, at time: Instant) {
        let slot: UInt64
        if let reused = free.popLast() {
            actions[Int(reused)] = action
            slot = UInt64(reused)
        } else {
            precondition(actions.count < Self.countMax, "too many events wait")
            slot = UInt64(actions.count)
            actions.append(action)
        }
        let key = Key(time: time.nanoseconds, order: nextSequence << Self.slotBits | slot)
        nextSequence += 1
        var hole = heap.count
        heap.append(key)
        while hole > 0 {
            let parent = (hole - 1) >> 2
            guard key.precedes(heap[parent]) else { break }
            heap[hole] = heap[parent]
            hole = parent
        }
        heap[hole] = key
    }

    mutating func take() -> (time: Instant, action: Action)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if !heap.isEmpty { settle(last) }
        let slot = UInt32(truncatingIfNeeded: first.order & (1 << Self.slotBits - 1))
        free.append(slot)
        return (Instant(nanoseconds: first.time), actions[Int(slot)])
    }

    /// Puts `key` in the place of the first, and lets it sink to where it belongs.
    private mutating func settle(_ key: Key) {
        let count = heap.count
        var hole = 0
        while true {
            let child = hole << 2 + 1
            guard child < count else { break }
            var least = child
            let end = min(child + 4, count)
            var other = child + 1
            while other < end {
                if heap[other].precedes(heap[least]) { least = other }
                other += 1
            }
            guard heap[least].precedes(key) else { break }
            heap[hole] = heap[least]
            hole = least
        }
        heap[hole] = key
    }
}
