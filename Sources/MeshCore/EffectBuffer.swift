import MeshWire

/// What a `Node` wants done after one event: a list of trivial effects, and the bytes they name.
///
/// Allocated once and reused; it grows to the largest event ever seen (about the degree for a
/// flood, a few more for a change of links) and then allocates no more.
public struct EffectBuffer: ~Copyable {
    private var effects: [Effect] = []
    /// The bytes that `head` slices of effects point into.
    public var bytes = ByteQueue()
    /// After `.publish`: to how many other nodes the message goes.
    public var remoteNodeCount = 0

    public init() {
        effects.reserveCapacity(256)
    }

    @inlinable public var isEmpty: Bool { count == 0 }
    public var count: Int { effects.count }

    @inline(__always)
    public subscript(index: Int) -> Effect { effects[index] }

    @inline(__always)
    public mutating func append(_ effect: Effect) {
        effects.append(effect)
    }

    /// Forgets everything, keeps the memory; the driver calls it once all is performed.
    @inline(__always)
    public mutating func removeAll() {
        effects.removeAll(keepingCapacity: true)
        bytes.removeAll()
        remoteNodeCount = 0
    }
}
