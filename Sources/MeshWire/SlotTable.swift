/// Elements that keep their slots, each used again after its element has gone.
///
/// The caller says which slots are in use: a vacated one holds what was left in it.
@safe public struct SlotTable<Element: ~Copyable>: ~Copyable {
    @usableFromInline var elements = Slab<Element>()
    @usableFromInline var free: [Int32] = []

    public init() {}

    /// Slots in use.
    @inlinable public var usedCount: Int { elements.count - free.count }

    /// All slots, in use and free.
    @inlinable public var slots: Range<Int> { 0..<elements.count }

    /// Puts an element into the slot that was vacated last, or into a new one, and returns the slot.
    @inlinable
    public mutating func insert(_ element: consuming Element) -> Int {
        guard let slot = free.popLast() else {
            elements.append(element)
            return elements.count - 1
        }
        elements[Int(slot)] = element
        return Int(slot)
    }

    /// The slot can be used again. It must be in use.
    ///
    /// - Parameter rest: stands in it until then.
    @inlinable
    public mutating func vacate(_ slot: Int, leaving rest: consuming Element) {
        elements[slot] = rest
        free.append(Int32(slot))
    }

    /// Gives all memory back, if no slot is in use and there are more than these.
    @inlinable
    public mutating func trim(above slotCount: Int) {
        guard usedCount == 0, elements.count > slotCount else { return }
        elements = Slab()
        free = []
    }

    /// See `Slab.read`.
    @inlinable
    public func read<Result>(_ slot: Int, _ body: (borrowing Element) -> Result) -> Result {
        elements.read(slot, body)
    }

    /// By address: nothing is copied, and an element can be changed in place.
    @inlinable public subscript(slot: Int) -> Element {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(elements.pointer(to: slot)) }
        @inline(__always) unsafeMutableAddress { unsafe elements.pointer(to: slot) }
    }

    /// The same by the type of the index that belongs to this table.
    @inlinable public subscript<Index: TableIndex>(index: Index) -> Element {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(elements.pointer(to: index.slot)) }
        @inline(__always) unsafeMutableAddress { unsafe elements.pointer(to: index.slot) }
    }
}
