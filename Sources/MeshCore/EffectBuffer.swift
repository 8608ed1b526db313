import MeshWire

/// The things that a `Node` wants done after one event: a list of trivial effects, and the bytes they name.
///
/// Allocated once and reused; it grows to the largest event ever seen (about the degree for a
/// flood, a few more for a change of links) and then allocates no more. Its own memory instead of
/// an array, whose every append asks whether it is shared: two such questions a message.
@safe public struct EffectBuffer: ~Copyable {
    @usableFromInline var base: UnsafeMutablePointer<Effect>
    @usableFromInline var capacity: Int
    @usableFromInline var used = 0
    /// Nothing but `.send`, as after most events.
    @usableFromInline var sendsAlone = true
    /// The bytes that `head` slices of effects point into.
    public var bytes = ByteQueue()

    /// Messages that are sent again can be large; memory beyond this is given back.
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

    /// Whether all that is wanted is to send something.
    @inlinable public var hasSendsAlone: Bool { sendsAlone }

    @inlinable @inline(__always)
    public mutating func append(_ effect: Effect) {
        sendsAlone = false
        store(effect)
    }

    /// Appends a `.send`.
    @inlinable @inline(__always)
    public mutating func appendSend(
        _ link: LinkIndex, head: Slice, body: Slice, _ sendClass: SendClass
    ) {
        store(.send(link, head: head, body: body, sendClass))
    }

    @usableFromInline @inline(__always)
    mutating func store(_ effect: Effect) {
        if used == capacity { grow() }
        unsafe (base + used).initialize(to: effect)
        // Below the capacity.
        used &+= 1
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
        sendsAlone = true
        if bytes.byteCapacity > Self.bytesKept { bytes = ByteQueue() } else { bytes.removeAll() }
    }
}
