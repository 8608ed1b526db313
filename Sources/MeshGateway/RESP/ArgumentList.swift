import MeshWire

/// The arguments of one command, as slices relative to the command's first byte.
///
/// Reused from command to command: a command costs no allocation.
@safe struct ArgumentList: ~Copyable {
    private var base: UnsafeMutablePointer<Slice>?
    private var capacity = 0
    private(set) var count = 0

    init() {
        unsafe base = nil
    }

    deinit {
        unsafe base?.deallocate()
    }

    @inline(__always)
    subscript(index: Int) -> Slice {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
        return unsafe base.unsafelyUnwrapped[index]
    }

    @inline(__always)
    mutating func append(_ slice: Slice) {
        if count == capacity { grow() }
        unsafe base.unsafelyUnwrapped[count] = slice
        count += 1
    }

    @inline(__always)
    mutating func removeAll() { count = 0 }

    @inline(never)
    private mutating func grow() {
        let larger = max(16, capacity * 2)
        let fresh = UnsafeMutablePointer<Slice>.allocate(capacity: larger)
        if let old = unsafe base {
            unsafe fresh.update(from: old, count: count)
            unsafe old.deallocate()
        }
        unsafe base = fresh
        capacity = larger
    }
}
