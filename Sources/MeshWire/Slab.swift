/// Elements that cannot be copied, side by side in one allocation, named by their index.
///
/// An array of structs would do but for two things: it cannot hold what cannot be copied, and it
/// checks at each change whether somebody shares it. Memory grows by doubling and is kept.
@safe public struct Slab<Element: ~Copyable>: ~Copyable {
    @usableFromInline var base: UnsafeMutablePointer<Element>
    @usableFromInline var capacity: Int
    /// Elements `0 ..< count` exist.
    public private(set) var count: Int

    /// - Parameter capacity: of elements, at first; nothing is allocated for none.
    public init(capacity: Int = 0) {
        self.capacity = capacity
        count = 0
        unsafe base = .allocate(capacity: capacity)
    }

    deinit {
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }

    public mutating func append(_ element: consuming Element) {
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

    /// By address: nothing is copied, and an element can be changed in place.
    @inlinable public subscript(index: Int) -> Element {
        @inline(__always) unsafeAddress {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            return unsafe UnsafePointer(base + index)
        }
        @inline(__always) unsafeMutableAddress {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            return unsafe base + index
        }
    }
}
