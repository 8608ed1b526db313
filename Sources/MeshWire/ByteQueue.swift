/// A growable queue of bytes: written at the back, drained at the front.
///
///     base ──▶ [ drained … head │ waiting … end │ free … capacity ]
///
/// `0 ≤ head ≤ end ≤ capacity`. It owns its memory and cannot be copied.
/// This is the one unsafe file of the sending path: `reserve` hands out where to write, so that a
/// message is copied once, from the bytes that arrived to the bytes that leave.
@safe public struct ByteQueue: ~Copyable {
    @usableFromInline var base: UnsafeMutableRawPointer?
    @usableFromInline var head = 0
    @usableFromInline var end = 0
    @usableFromInline var capacity = 0
    /// It was drained since the last `trim`.
    @usableFromInline var isUsed = false
    /// Bytes that wait.
    @inlinable public var count: Int { end &- head }

    public init() {
        unsafe base = nil
    }

    deinit {
        unsafe base?.deallocate()
    }

    @inlinable public var isEmpty: Bool { head == end }

    /// The bytes of memory that the queue holds on to.
    public var byteCapacity: Int { capacity }

    /// Room for `size` more bytes at the back, counted as written: the caller must fill all of it. It may
    /// write `slack` bytes behind them too, which are not counted.
    @inlinable @inline(__always)
    public mutating func reserve(_ size: Int, slack: Int = 0) -> UnsafeMutableRawPointer {
        // The difference cannot overflow, as a sum with a size from anywhere could.
        if size + slack > capacity &- end { grow(size + slack) }
        let target = unsafe base.unsafelyUnwrapped + end
        end &+= size
        return unsafe target
    }

    /// No queue is longer: offsets into one have 32 bits (`Slice`). The owner of a queue that others
    /// can fill keeps it well below.
    public static let countMax = Int(Int32.max)

    @inline(never)
    @usableFromInline mutating func grow(_ size: Int) {
        precondition(size >= 0 && size <= Self.countMax - count, "a queue beyond 2 GiB")
        let count = self.count
        if count + size <= capacity, head >= capacity / 2 {
            unsafe base!.copyMemory(from: base! + head, byteCount: count)
        } else {
            let larger = max(256, (count + size) * 2)
            let fresh = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
            if let old = unsafe base {
                unsafe fresh.copyMemory(from: old + head, byteCount: count)
                unsafe old.deallocate()
            }
            unsafe base = fresh
            capacity = larger
        }
        head = 0
        end = count
    }

    /// Appends `bytes[start ..< start + size]`.
    @inlinable @inline(__always)
    public mutating func append(_ bytes: Span<UInt8>, _ start: Int, _ size: Int) {
        precondition(start >= 0 && size >= 0 && start <= bytes.count &- size)
        if size == 0 { return }
        let target = unsafe reserve(size)
        unsafe bytes.withUnsafeBufferPointer {
            unsafe target.copyMemory(from: $0.baseAddress! + start, byteCount: size)
        }
    }

    @inlinable @inline(__always)
    public mutating func append(_ byte: UInt8) {
        unsafe reserve(1).storeBytes(of: byte, as: UInt8.self)
    }

    public mutating func append(_ bytes: [UInt8]) {
        append(bytes.span, 0, bytes.count)
    }

    @inlinable public mutating func append(_ text: StaticString) {
        let target = unsafe reserve(text.utf8CodeUnitCount)
        unsafe target.copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
    }

    /// Appends what the queue itself holds at `slice`.
    public mutating func append(copyOf slice: Slice) {
        precondition(slice.start >= 0 && slice.count >= 0 && slice.end <= count)
        if slice.count == 0 { return }
        let target = unsafe reserve(Int(slice.count))
        // Reserving may have moved the bytes.
        unsafe target.copyMemory(
            from: base! + head + Int(slice.start), byteCount: Int(slice.count))
    }

    /// Appends an integer in little-endian order.
    @inlinable @inline(__always)
    public mutating func append<Value: FixedWidthInteger>(integer value: Value) {
        unsafe reserve(MemoryLayout<Value>.size).storeBytes(
            of: value.littleEndian, as: Value.self)
    }

    /// Overwrites an integer that was written at `offset` from the front.
    public mutating func overwrite<Value: FixedWidthInteger>(integer value: Value, at offset: Int) {
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
        unsafe (base! + head + offset).storeBytes(of: value.littleEndian, as: Value.self)
    }

    /// Forgets the first `size` bytes. The memory stays, for what is written next; see `trim`.
    @inlinable @inline(__always)
    public mutating func drop(_ size: Int) {
        precondition(size >= 0 && size <= count)
        head &+= size
        if head == end {
            head = 0
            end = 0
            isUsed = true
        }
    }

    /// The same, but a queue that is drained gives its memory back if it is more than `retaining`.
    public mutating func drop(_ size: Int, retaining: Int) {
        drop(size)
        if count == 0, capacity > retaining {
            unsafe base?.deallocate()
            unsafe base = nil
            capacity = 0
        }
    }

    /// Gives the memory back if nothing has passed through since the last call, so that an idle
    /// connection costs little and a busy one does not allocate; to be called now and then.
    public mutating func trim() {
        if count == 0, !isUsed, capacity > 0 {
            unsafe base?.deallocate()
            unsafe base = nil
            capacity = 0
        }
        isUsed = false
    }

    /// Forgets the bytes from `size` on: undoes what was written last.
    public mutating func truncate(to size: Int) {
        precondition(size >= 0 && size <= count)
        end = head + size
    }

    /// Forgets everything and keeps the memory.
    @inlinable @inline(__always)
    public mutating func removeAll() {
        head = 0
        end = 0
    }

    /// The waiting bytes, for the length of the call.
    @inlinable @inline(__always)
    public func withBytes<Result: ~Copyable>(
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        unsafe body(
            UnsafeRawBufferPointer(
                start: base.map { unsafe UnsafeRawPointer($0 + head) }, count: count))
    }

    /// A copy of the waiting bytes.
    public var array: [UInt8] {
        withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    /// The waiting bytes as a span, for the length of the call.
    @inlinable @inline(__always)
    public func withSpan<Result: ~Copyable>(_ body: (Span<UInt8>) -> Result) -> Result {
        unsafe withBytes { raw in
            let typed = unsafe raw.bindMemory(to: UInt8.self)
            return unsafe body(typed.span)
        }
    }
}

/// Offsets into the bytes that an event came with, or into the bytes that an effect was written to.
public struct Slice: Hashable, Sendable {
    public var start: Int32
    public var count: Int32

    @inlinable public init(start: Int, count: Int) {
        self.start = Int32(truncatingIfNeeded: start)
        self.count = Int32(truncatingIfNeeded: count)
    }

    @inlinable public static var empty: Slice { Slice(start: 0, count: 0) }
    @inlinable public var end: Int { Int(start) + Int(count) }
}
