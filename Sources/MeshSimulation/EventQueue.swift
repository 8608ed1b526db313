import MeshCore
import MeshWire

/// The events to come in virtual time, ordered by (time, order of scheduling).
///
/// Wheels within wheels, as of a clock (Varghese and Lauck, SOSP 1987): a place of the finest wheel
/// is 33 µs, one of the next a whole turn of the finest. Whatever falls into the place that is being
/// served waits in a heap, which is small: so an event costs about the same however many wait.
///
///     time:    12 bits: wheel 3 │ 12: wheel 2 │ 12: wheel 1 │ 12: wheel 0 │ 15: within a place
///     heads:   [ first entry of each place of each wheel ]
///     entries: [ time, order of scheduling, action │ next of its place ] …
///     heap:    [ time │ sequence 40 · slot 24 ] of those in the place of `cursor`, or before it
struct EventQueue<Action: BitwiseCopyable>: ~Copyable {
    // Not private: a generic type that is, in a slab, is more than the compiler's debug build can do
    // (Swift 6.3.1, a broken module).
    struct Key {
        var time: Int64
        /// The order of scheduling in the upper 40 bits, the entry's slot in the lower 24.
        var order: UInt64

        @inline(__always)
        func precedes(_ other: Key) -> Bool {
            time != other.time ? time < other.time : order < other.order
        }

        @inline(__always)
        var slot: Int { Int(order & (1 << EventQueue.slotBits - 1)) }
    }

    struct Entry {
        var key: Key
        var action: Action
        /// The next entry in the same place, or the next free one; -1: none.
        var next: Int32
    }

    private static var slotBits: UInt64 { 24 }
    /// Events that can wait at once: 16 million, of a node each in a mesh of ten thousand 1,600.
    static var countMax: Int { 1 << 24 }
    /// The finest place is 2^15 ns. A thousand idle nodes have two events in that time.
    private static var placeBits: Int64 { 15 }
    /// A wheel has 4,096 places: two levels of bits tell which are taken.
    private static var wheelBits: Int64 { 12 }
    private static var wheelSize: Int { 1 << 12 }
    /// Four wheels and a place are the 63 bits of a time.
    private static var wheelCount: Int { 4 }

    private var entries = Slab<Entry>()
    private var free: Int32 = -1
    private var heads = Slab<Int32>(capacity: 4 * 4_096)
    /// Of each wheel: 64 words of a bit for each place, and a word of a bit for each of these.
    private var taken = Slab<UInt64>(capacity: 4 * 65)
    private var heap = Slab<Key>()
    private var heapCount = 0
    /// All that waits in wheels is due after the place of this time.
    private var cursor: Int64 = 0
    private var nextSequence: UInt64 = 0
    private(set) var count = 0

    init() {
        for _ in 0..<(Self.wheelCount * Self.wheelSize) { heads.append(-1) }
        for _ in 0..<(Self.wheelCount * 65) { taken.append(0) }
    }

    var isEmpty: Bool { count == 0 }

    /// When the next event is due; nil: none waits.
    var nextTime: Instant? {
        @inline(__always) mutating get {
            if heapCount == 0 {
                if count == 0 { return nil }
                turn()
            }
            return Instant(nanoseconds: heap[0].time)
        }
    }

    /// The action that is taken next, unless something is scheduled before it.
    var next: Action? {
        @inline(__always) mutating get {
            nextTime == nil ? nil : entries[heap[0].slot].action
        }
    }

    @inline(__always)
    mutating func schedule(_ action: Action, at time: Instant) {
        let slot: Int32
        let time = time.nanoseconds
        if free >= 0 {
            slot = free
            free = entries[Int(slot)].next
        } else {
            precondition(entries.count < Self.countMax, "too many events wait")
            slot = Int32(entries.count)
            entries.append(
                Entry(key: Key(time: 0, order: 0), action: action, next: -1))
        }
        let key = Key(time: time, order: nextSequence << Self.slotBits | UInt64(slot))
        nextSequence += 1
        count += 1
        entries[Int(slot)].key = key
        entries[Int(slot)].action = action
        insert(key)
    }

    @inline(__always)
    mutating func take() -> (time: Instant, action: Action)? {
        if heapCount == 0 {
            if count == 0 { return nil }
            turn()
        }
        let first = heap[0]
        heapCount -= 1
        if heapCount > 0 { settle(heap[heapCount]) }
        count -= 1
        let slot = first.slot
        entries[slot].next = free
        free = Int32(slot)
        return (Instant(nanoseconds: first.time), entries[slot].action)
    }

    // MARK: Wheels

    /// Puts an entry where it belongs by the distance of its time from the cursor.
    @inline(__always)
    private mutating func insert(_ key: Key) {
        let (due, served) = (key.time &>> Self.placeBits, cursor &>> Self.placeBits)
        guard due > served else { return push(key) }
        // The highest bit that differs tells the wheel: all above it is the same.
        let highest = Int64(Int64.bitWidth - 1 - (due ^ served).leadingZeroBitCount)
        let wheel = highest / Self.wheelBits
        let position = Int(due &>> (wheel * Self.wheelBits)) & (Self.wheelSize - 1)
        let head = Int(wheel) * Self.wheelSize + position
        entries[key.slot].next = heads[head]
        heads[head] = Int32(key.slot)
        let words = Int(wheel) * 65
        taken[words + position >> 6] |= 1 &<< UInt64(position & 63)
        taken[words + 64] |= 1 &<< UInt64(position >> 6)
    }

    /// Goes on to the next place in which something waits, until something is in the heap.
    @inline(never)
    private mutating func turn() {
        var wheel = 0
        while heapCount == 0 {
            let shift = Self.placeBits + Int64(wheel) * Self.wheelBits
            let served = Int(cursor &>> shift) & (Self.wheelSize - 1)
            guard let position = nextPlace(after: served, wheel) else {
                wheel += 1
                precondition(wheel < Self.wheelCount, "an event waits in no wheel")
                continue
            }
            let above = (cursor &>> (shift + Self.wheelBits)) &<< Self.wheelBits
            cursor = (above | Int64(position)) &<< shift
            let head = wheel * Self.wheelSize + position
            var slot = heads[head]
            heads[head] = -1
            taken[wheel * 65 + position >> 6] &= ~(1 &<< UInt64(position & 63))
            if taken[wheel * 65 + position >> 6] == 0 {
                taken[wheel * 65 + 64] &= ~(1 &<< UInt64(position >> 6))
            }
            // An entry that is not due in the cursor's own place of the finest wheel goes to a finer one.
            while slot >= 0 {
                let next = entries[Int(slot)].next
                self.insert(entries[Int(slot)].key)
                slot = next
            }
            wheel = 0
        }
    }

    /// The first place of a wheel that is taken, past the one that is being served.
    private func nextPlace(after served: Int, _ wheel: Int) -> Int? {
        let words = wheel * 65
        let word = served >> 6
        // Shifted twice, since a shift by all 64 bits is none.
        let rest = taken[words + word] & ((~0 &<< UInt64(served & 63)) &<< 1)
        if rest != 0 { return word << 6 + rest.trailingZeroBitCount }
        let later = taken[words + 64] & ((~0 &<< UInt64(word)) &<< 1)
        if later == 0 { return nil }
        let next = later.trailingZeroBitCount
        return next << 6 + taken[words + next].trailingZeroBitCount
    }

    // MARK: The heap, of four children a node

    @inline(__always)
    private mutating func push(_ key: Key) {
        var hole = heapCount
        if hole == heap.count { heap.append(key) }
        heapCount += 1
        while hole > 0 {
            let parent = (hole - 1) >> 2
            guard key.precedes(heap[parent]) else { break }
            heap[hole] = heap[parent]
            hole = parent
        }
        heap[hole] = key
    }

    /// Puts `key` in the place of the first, and lets it sink to where it belongs.
    @inline(__always)
    private mutating func settle(_ key: Key) {
        let count = heapCount
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
