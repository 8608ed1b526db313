import MeshWire

/// What a `Node` wants done after one event: a list of trivial effects, and the bytes they name.
///
/// Allocated once and reused; it grows to the largest event ever seen (about the degree for a
/// flood, a few more for a change of links) and then allocates no more. Its own memory instead of
/// an array, whose every append asks whether it is shared: two such questions a message.
@safe public struct EffectBuffer: ~Copyable {
    @usableFromInline var base: UnsafeMutablePointer<Effect>
    @usableFromInline var capacity: Int
    @usableFromInline var used = 0
    /// The bytes that `head` slices of effects point into.
    public var bytes = ByteQueue()
    /// After `.publish`: to how many other nodes the message goes.
    public var remoteNodeCount = 0
    /// After `.publish`: the fullest of the flows that the message belongs to whose windows are full,
    /// or `allFlows`; -1: none is. The message is taken. An `.uncongested` will come after which
    /// `Node.isCongested` says no.
    public var congestedFlow: Int32 = -1
    public var isCongested: Bool { congestedFlow != -1 }
    /// All flows together keep too much.
    public static let allFlows = Int32.max
    /// After `.publish` to a user: the user is nowhere, but was somewhere a moment ago; the message
    /// waits for it.
    public var isHeld = false

    /// What is sent again can be large; memory beyond this is given back.
    @usableFromInline static var bytesKept: Int { 4 * 1024 * 1024 }

    public init() {
        capacity = 256
        unsafe base = .allocate(capacity: capacity)
    }

    deinit {
        unsafe base.deallocate()
    }

    @inlinable public var isEmpty: Bool { used == 0 }
    @inlinable public var count: Int { used }

    @inlinable @inline(__always)
    public subscript(index: Int) -> Effect {
        precondition(index >= 0 && index < used)
        return unsafe base[index]
    }

    @inlinable @inline(__always)
    public mutating func append(_ effect: Effect) {
        if used == capacity { grow() }
        unsafe (base + used).initialize(to: effect)
        used += 1
    }

    @inline(never)
    @usableFromInline mutating func grow() {
        let larger = UnsafeMutablePointer<Effect>.allocate(capacity: capacity * 2)
        unsafe larger.moveInitialize(from: base, count: used)
        unsafe base.deallocate()
        unsafe base = larger
        capacity *= 2
    }

    /// Forgets everything, keeps the memory; the driver calls it once all is performed.
    @inlinable @inline(__always)
    public mutating func removeAll() {
        used = 0
        if bytes.byteCapacity > Self.bytesKept { bytes = ByteQueue() } else { bytes.removeAll() }
        remoteNodeCount = 0
        congestedFlow = -1
        isHeld = false
    }
}
