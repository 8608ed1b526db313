/// Records of one size, a power of two, numbered densely from 0 and kept in segments.
///
///     directory ──▶ [ segment 0 │ segment 1 │ … ]      record i lies in segment i >> segmentShift
///
/// Growing adds a segment and copies nothing, but for the first segment: it starts small and
/// doubles up to its full size (at most 64 KB are copied), so that small pools are small.
/// Shrinking gives segments back, half a segment later than growing asked for them.
/// A record's address holds until the next `append` or `removeLast`.
@safe struct RecordPool: ~Copyable {
    /// Records in use: 0 ..< count.
    private(set) var count = 0
    /// Log2 of a record's bytes.
    private let recordShift: Int
    /// Log2 of the records in a whole segment.
    private let segmentShift: Int
    private var directory: UnsafeMutablePointer<UnsafeMutableRawPointer>?
    private var directoryCapacity = 0
    private var segmentCount = 0
    /// Records that segment 0 has room for; a power of two.
    private var firstCapacity = 0

    /// Records start at 64-byte boundaries when they are at least that large.
    private static var alignment: Int { 64 }
    /// Guess, not yet measured: large enough for short directories, small enough to waste little.
    private static var segmentBytes: Int { 65_536 }

    init(recordShift: Int) {
        self.recordShift = recordShift
        let wanted = Self.segmentBytes >> recordShift
        segmentShift = wanted <= 1 ? 0 : wanted.trailingZeroBitCount
        unsafe directory = nil
    }

    deinit {
        for index in 0..<segmentCount { unsafe directory![index].deallocate() }
        unsafe directory?.deallocate()
    }

    /// The bytes of memory that the pool holds on to.
    var byteCount: Int {
        guard segmentCount > 0 else { return 0 }
        let records = firstCapacity + (segmentCount - 1) << segmentShift
        return records << recordShift + directoryCapacity * MemoryLayout<Int>.size
    }

    /// Where record `index` starts.
    @inline(__always)
    subscript(index: Int) -> UnsafeMutableRawPointer {
        assert(index >= 0 && index < count)
        // Masking shifts: an ordinary one asks first whether it goes too far.
        let segment = unsafe directory.unsafelyUnwrapped[index &>> segmentShift]
        return unsafe segment + (index & (1 &<< segmentShift &- 1)) &<< recordShift
    }

    /// Adds a record whose bytes are undefined, and returns its number.
    mutating func append() -> Int {
        if count == capacity { grow() }
        count += 1
        return count - 1
    }

    /// Gives the last record back.
    mutating func removeLast() {
        precondition(count > 0)
        count -= 1
        if segmentCount > 1 {
            let whole = 1 << segmentShift
            if count <= (segmentCount - 1) << segmentShift - whole / 2 {
                segmentCount -= 1
                unsafe directory![segmentCount].deallocate()
            }
        } else if firstCapacity > firstCapacityMin, count <= firstCapacity / 4 {
            replaceFirst(capacity: firstCapacity / 2)
        }
    }

    private var capacity: Int {
        segmentCount == 0 ? 0 : firstCapacity + (segmentCount - 1) << segmentShift
    }

    /// The first segment starts with 256 bytes or one record.
    private var firstCapacityMin: Int { max(1, 256 >> recordShift) }

    @inline(never)
    private mutating func grow() {
        if segmentCount == 1, firstCapacity < 1 << segmentShift {
            replaceFirst(capacity: firstCapacity * 2)
            return
        }
        if segmentCount == directoryCapacity {
            let larger = max(1, directoryCapacity * 2)
            let fresh = UnsafeMutablePointer<UnsafeMutableRawPointer>.allocate(capacity: larger)
            if let old = unsafe directory {
                unsafe fresh.update(from: old, count: segmentCount)
                unsafe old.deallocate()
            }
            unsafe directory = fresh
            directoryCapacity = larger
        }
        let records = segmentCount == 0 ? firstCapacityMin : 1 << segmentShift
        if segmentCount == 0 { firstCapacity = records }
        unsafe directory![segmentCount] = .allocate(
            byteCount: records << recordShift, alignment: Self.alignment)
        segmentCount += 1
    }

    private mutating func replaceFirst(capacity: Int) {
        let fresh = UnsafeMutableRawPointer.allocate(
            byteCount: capacity << recordShift, alignment: Self.alignment)
        let old = unsafe directory![0]
        unsafe fresh.copyMemory(from: old, byteCount: count << recordShift)
        unsafe old.deallocate()
        unsafe directory![0] = fresh
        firstCapacity = capacity
    }
}
