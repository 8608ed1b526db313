/// Elements that cannot be copied, side by side in one allocation, named by their index.
///
/// An array of structs would do but for two things: it cannot hold what cannot be copied, and it
/// checks at each change whether somebody shares it. Memory grows by doubling and is kept.
///
/// Elements move when the slab grows, and only then: up to the capacity that it began with they stay
/// where they are.
@safe public struct Slab<Element: ~Copyable>: ~Copyable {
    @usableFromInline var base: UnsafeMutablePointer<Element>?
    @usableFromInline var capacity = 0
    @usableFromInline var used = 0

    /// - Parameters:
    ///   - capacity: of elements, at first; nothing is allocated for none, and memory that is not
    ///     used is not touched.
    ///   - alignment: of each element until the slab grows, a power of two. An element's stride must
    ///     be a multiple of it.
    public init(capacity: Int = 0, alignment: Int = 1) {
        precondition(MemoryLayout<Element>.stride % alignment == 0, "\(alignment)")
        unsafe base = nil
        if capacity > 0 { reallocate(capacity, alignment) }
    }

    deinit {
        unsafe base?.deinitialize(count: used)
        unsafe base?.deallocate()
    }

    /// Elements `0 ..< count` exist.
    @inlinable public var count: Int { used }

    @inlinable @inline(__always)
    public mutating func append(_ element: consuming Element) {
        if used == capacity { reallocate(max(4, capacity * 2), 1) }
        unsafe (base.unsafelyUnwrapped + used).initialize(to: element)
        used += 1
    }

    /// Takes all elements out and keeps the memory.
    @inlinable @inline(__always)
    public mutating func removeAll() {
        unsafe base?.deinitialize(count: used)
        used = 0
    }

    /// By address: nothing is copied, and an element can be changed in place.
    @inlinable public subscript(index: Int) -> Element {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(pointer(to: index)) }
        @inline(__always) unsafeMutableAddress { unsafe pointer(to: index) }
    }

    /// The same by the type of the index that belongs to this table.
    @inlinable public subscript<Index: TableIndex>(index: Index) -> Element {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(pointer(to: index.slot)) }
        @inline(__always) unsafeMutableAddress { unsafe pointer(to: index.slot) }
    }

    /// Looks at an element. The subscript is shorter, but a closure that uses it counts as an access
    /// to all of the slab's owner, which nobody may change meanwhile (Swift 6.3.1).
    @inlinable @inline(__always)
    public func read<Result>(_ index: Int, _ body: (borrowing Element) -> Result) -> Result {
        body(self[index])
    }

    /// The address of an element, which is good until it moves; for addressors of those who wrap a
    /// slab, and for those who keep addresses.
    @unsafe @inlinable @inline(__always)
    public func pointer(to index: Int) -> UnsafeMutablePointer<Element> {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: used))
        return unsafe base.unsafelyUnwrapped + index
    }

    @inline(never)
    @usableFromInline mutating func reallocate(_ larger: Int, _ alignment: Int) {
        let fresh = unsafe UnsafeMutableRawPointer.allocate(
            byteCount: larger * MemoryLayout<Element>.stride,
            alignment: max(alignment, MemoryLayout<Element>.alignment)
        ).bindMemory(to: Element.self, capacity: larger)
        if let old = unsafe base {
            unsafe fresh.moveInitialize(from: old, count: used)
            unsafe old.deallocate()
        }
        unsafe base = fresh
        capacity = larger
    }
}
