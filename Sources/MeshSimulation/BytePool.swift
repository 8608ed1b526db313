import MeshWire

/// Bytes on their way between two nodes, in memory of a `BytePool`.
///
///     base ──▶ [ frames … count │ hosts on the way so far, 4 bytes each … pathCount ]
///
/// A trivial value: whoever holds it last gives it back to the pool.
@safe struct Parcel: BitwiseCopyable {
    fileprivate var base: UnsafeMutableRawPointer?
    private(set) var count: Int32
    /// Hosts that a routed message has come through, its first among them.
    private(set) var pathCount: Int32

    static var none: Parcel { unsafe Parcel(base: nil, count: 0, pathCount: 0) }

    fileprivate var byteCount: Int { Int(count) + 4 * Int(pathCount) }

    /// The host at one place of the path.
    @inline(__always)
    func host(at position: Int) -> Int {
        precondition(position >= 0 && position < Int(pathCount))
        return unsafe Int(
            base!.loadUnaligned(fromByteOffset: Int(count) + 4 * position, as: UInt32.self))
    }

    @inline(__always)
    func setHost(_ host: Int, at position: Int) {
        precondition(position >= 0 && position < Int(pathCount))
        unsafe base!.storeBytes(
            of: UInt32(truncatingIfNeeded: host), toByteOffset: Int(count) + 4 * position,
            as: UInt32.self)
    }

    /// Copies `source[start ..< start + size]` to `offset`.
    @inline(__always)
    func write(_ source: Span<UInt8>, _ start: Int, _ size: Int, at offset: Int) {
        if size == 0 { return }
        precondition(start >= 0 && size >= 0 && start + size <= source.count)
        precondition(offset >= 0 && offset + size <= Int(count))
        unsafe source.withUnsafeBufferPointer {
            unsafe (base! + offset).copyMemory(from: $0.baseAddress! + start, byteCount: size)
        }
    }

    /// The frames, for the length of the call.
    @inline(__always)
    func withSpan<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        let raw = unsafe UnsafeRawBufferPointer(start: base, count: Int(count))
        let typed = unsafe raw.bindMemory(to: UInt8.self)
        return unsafe body(typed.span)
    }
}

/// Memory for parcels: free lists of powers of two, cut from large chunks that never move. One
/// allocation for thousands of messages; the one unsafe file of the simulation, `Parcel` included.
@safe struct BytePool: ~Copyable {
    private var chunks: [UnsafeMutableRawPointer]
    /// The first free block of each size; a free block starts with the address of the next.
    private var free = unsafe InlineArray<19, UnsafeMutableRawPointer?>(repeating: nil)
    private var chunkEnd = 0
    private var chunkAt = 0

    /// Blocks of 64 bytes and up.
    private static var leastShift: Int { 6 }
    private static var chunkSize: Int { 1 << 20 }
    /// Larger parcels are allocated for themselves.
    private static var greatestShift: Int { 18 }

    init() {
        unsafe chunks = []
    }

    deinit {
        // Not `for unsafe … in`, which swift-format 6.3 takes apart.
        var index = 0
        while unsafe index < chunks.count {
            unsafe chunks[index].deallocate()
            index += 1
        }
    }

    @inline(__always)
    private static func shift(_ size: Int) -> Int {
        size <= 1 << leastShift ? leastShift : Int.bitWidth - (size - 1).leadingZeroBitCount
    }

    /// A parcel whose bytes the caller fills.
    @inline(__always)
    mutating func parcel(count: Int, pathCount: Int) -> Parcel {
        let size = count + 4 * pathCount
        let shift = Self.shift(size)
        let base: UnsafeMutableRawPointer
        if shift > Self.greatestShift {
            unsafe base = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        } else if let block = unsafe free[shift] {
            unsafe free[shift] = block.load(as: UnsafeMutableRawPointer?.self)
            unsafe base = block
        } else {
            if chunkAt + 1 << shift > chunkEnd {
                unsafe chunks.append(
                    UnsafeMutableRawPointer.allocate(
                        byteCount: Self.chunkSize, alignment: 64))
                chunkAt = 0
                chunkEnd = Self.chunkSize
            }
            unsafe base = chunks[chunks.count - 1] + chunkAt
            chunkAt += 1 << shift
        }
        return unsafe Parcel(
            base: base, count: Int32(truncatingIfNeeded: count),
            pathCount: Int32(truncatingIfNeeded: pathCount))
    }

    /// Takes a parcel's memory back.
    @inline(__always)
    mutating func release(_ parcel: Parcel) {
        guard let base = unsafe parcel.base else { return }
        let shift = Self.shift(parcel.byteCount)
        if shift > Self.greatestShift {
            unsafe base.deallocate()
        } else {
            unsafe base.storeBytes(of: free[shift], as: UnsafeMutableRawPointer?.self)
            unsafe free[shift] = base
        }
    }
}
