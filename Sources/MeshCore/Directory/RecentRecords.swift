import MeshWire

/// A bounded ring of the latest changes of all origins, for gap repair. At the bound the oldest is
/// overwritten; who misses more than this gets the origin's whole set.
struct RecentRecords {
    struct Entry {
        var origin: NodeID
        var sequence: UInt64
        /// The key in the upper 48 bits, the operation in the lower.
        var packed: UInt64

        var key: Key { Key(packed >> 16) }
        var operation: DirectoryRecord.Operation {
            DirectoryRecord.Operation(rawValue: UInt8(truncatingIfNeeded: packed))
        }
    }

    private let capacity: Int
    private var entries: [Entry] = []
    /// Where the next entry goes once the ring is full.
    private var next = 0

    init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    mutating func append(_ record: DirectoryRecord, origin: NodeID, sequence: UInt64) {
        let entry = Entry(
            origin: origin, sequence: sequence,
            packed: record.key.rawValue << 16 | UInt64(record.operation.rawValue))
        if entries.count < capacity {
            entries.append(entry)
        } else {
            entries[next] = entry
            next = (next + 1) % capacity
        }
    }

    /// The origin's records after `sequence` up to `last`, oldest first; nil if one is missing.
    /// O(ring).
    func records(of origin: NodeID, after sequence: UInt64, through last: UInt64) -> [Entry]? {
        guard sequence < last, last - sequence <= UInt64(entries.count) else { return nil }
        var found: [Entry] = []
        found.reserveCapacity(Int(last - sequence))
        // From the newest backwards, until all are found.
        for offset in 1...entries.count {
            let position = (next - offset + 2 * entries.count) % entries.count
            let entry = entries[position]
            guard entry.origin == origin else { continue }
            if entry.sequence <= sequence { break }
            if entry.sequence <= last { found.append(entry) }
            if entry.sequence == sequence + 1 { break }
        }
        guard found.count == Int(last - sequence) else { return nil }
        found.reverse()
        for (position, entry) in found.enumerated()
        where entry.sequence != sequence + 1 + UInt64(position) {
            return nil
        }
        return found
    }
}
