/// Elements that cannot be copied, side by side in one allocation, named by their index.
///
/// An array of structs would do but for two things: it cannot hold what cannot be copied, and it
/// checks at each change whether somebody shares it. Memory grows by doubling and is kept.
@safe struct Slab<Element: ~Copyable>: ~Copyable {
    private var base: UnsafeMutablePointer<Element>
    private var capacity: Int
    /// Elements `0 ..< count` exist.
    private(set) var count = 0

    /// Allocates nothing until the first element comes.
    init() {
        capacity = 0
        unsafe base = .allocate(capacity: 0)
    }

    deinit {
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }

    mutating func append(_ element: consuming Element) {
        if count == capacity {
            let larger = max(4, capacity * 2)
            let fresh = UnsafeMutablePointer<Element>.allocate(capacity: larger)
            unsafe fresh.moveInitialize(from: base, count: count)
            unsafe base.deallocate()
            unsafe base = fresh
            capacity = larger
        }
        unsafe (base + count).initialize(to: element)
        count += 1
    }

    subscript(index: Int) -> Element {
        @inline(__always) _read {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            yield unsafe base[index]
        }
        @inline(__always) _modify {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            yield unsafe &base[index]
        }
    }
}
