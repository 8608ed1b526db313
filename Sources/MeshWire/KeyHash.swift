/// A directory key: the low 48 bits of SipHash-1-3 of kind and name under the cluster's key.
///
/// 48 bits are what a directory slot holds beside the node (MeshCore.docc/Directory.md). Among 10
/// million keys one pair collides with probability 0.16; a collision costs a needless copy to a node
/// that does not have the name, until that says so (`Message.wrongName`), never a wrong delivery,
/// because messages carry names in full.
public struct Key: Hashable, Comparable, Sendable {
    public var rawValue: UInt64

    /// The bits of a key.
    @inlinable static var mask: UInt64 { 0xFFFF_FFFF_FFFF }

    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue & Key.mask }

    @inlinable public static func < (left: Key, right: Key) -> Bool {
        left.rawValue < right.rawValue
    }

    /// The key with its 48 bits reversed: its place in the order in which sets travel.
    ///
    /// A directory's bucket is named by a key's low bits; reversed they are the upper ones, so that
    /// a bucket holds the keys of one interval of positions, however many buckets there are. Two
    /// tables of different sizes can be walked in the same order, and a walk that was interrupted
    /// goes on where it stopped though the table has grown or shrunk meanwhile (Redis calls it
    /// reverse binary iteration).
    @inlinable public var position: UInt64 { Key.reversed(rawValue) }

    @inlinable public init(position: UInt64) {
        self.init(Key.reversed(position & Key.mask))
    }

    @inlinable static func reversed(_ value: UInt64) -> UInt64 {
        var bits = value.byteSwapped
        bits = (bits & 0x0F0F_0F0F_0F0F_0F0F) << 4 | bits >> 4 & 0x0F0F_0F0F_0F0F_0F0F
        bits = (bits & 0x3333_3333_3333_3333) << 2 | bits >> 2 & 0x3333_3333_3333_3333
        bits = (bits & 0x5555_5555_5555_5555) << 1 | bits >> 1 & 0x5555_5555_5555_5555
        return bits >> 16
    }
}

/// SipHash-1-3 (Aumasson and Bernstein 2012) over a kind and a name; about 10 ns for 12 bytes.
public struct KeyHasher: Sendable {
    private let k0: UInt64
    private let k1: UInt64
    /// The bits of a digest that a key has. It stands here in place of a constant of the code, which
    /// takes an instruction of its own to load.
    @usableFromInline let keyMask: UInt64

    /// The cluster's 128-bit hash key. Every node of a cluster must use the same.
    public init(_ k0: UInt64, _ k1: UInt64) {
        self.init(k0, k1, keyMask: Key.mask)
    }

    private init(_ k0: UInt64, _ k1: UInt64, keyMask: UInt64) {
        self.k0 = k0
        self.k1 = k1
        self.keyMask = keyMask
    }

    /// The same with keys of so many bits, so that names share keys: for simulations and tests. All
    /// nodes of a mesh must use the same. Digests of names stay whole.
    public func cut(to bits: Int) -> KeyHasher {
        precondition(bits >= 1 && bits <= 64, "\(bits) bits")
        return KeyHasher(k0, k1, keyMask: Key.mask & UInt64.max >> UInt64(64 - bits))
    }

    /// A key derived from the cluster's name, for clusters without a secret.
    public init(cluster name: String) {
        let derive = KeyHasher(0x736d_616c_6c77_6f72, 0x6c64_2063_6c75_7374)
        let bytes = Array(name.utf8)
        let low = derive.digest(prefix: 1, bytes.span, 0, bytes.count)
        let high = derive.digest(prefix: 2, bytes.span, 0, bytes.count)
        self.init(low, high)
    }

    /// The key of `bytes[start ..< start + count]`, of this kind.
    @inlinable @inline(__always)
    public func key(_ kind: KeyKind, _ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Key {
        var key = Key(0)
        key.rawValue = digest(prefix: kind.rawValue, bytes, start, count) & keyMask
        return key
    }

    public func key(_ kind: KeyKind, _ name: [UInt8]) -> Key {
        key(kind, name.span, 0, name.count)
    }

    /// 64 bits of a name, which tell names of one key apart; independent of its key.
    public func nameDigest(
        _ body: RoutedBody, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
    ) -> UInt64 {
        digest(prefix: 0x80 | body.rawValue, bytes, start, count)
    }

    /// The 64-bit SipHash-1-3 of `bytes[start ..< start + count]`, under `prefix`.
    ///
    /// Differences from the paper: the prefix is mixed into v0 before the first block instead of
    /// being hashed as a byte, so that the input is still read in whole words.
    public func digest(
        prefix: UInt8, _ bytes: Span<UInt8>, _ start: Int, _ count: Int
    ) -> UInt64 {
        precondition(start >= 0 && count >= 0 && start + count <= bytes.count)
        var v0 = k0 ^ 0x736f_6d65_7073_6575 ^ (UInt64(prefix) << 56)
        var v1 = k1 ^ 0x646f_7261_6e64_6f6d
        var v2 = k0 ^ 0x6c79_6765_6e65_7261
        var v3 = k1 ^ 0x7465_6462_7974_6573

        @inline(__always) func round() {
            v0 = v0 &+ v1
            v1 = (v1 << 13 | v1 >> 51) ^ v0
            v0 = v0 << 32 | v0 >> 32
            v2 = v2 &+ v3
            v3 = (v3 << 16 | v3 >> 48) ^ v2
            v0 = v0 &+ v3
            v3 = (v3 << 21 | v3 >> 43) ^ v0
            v2 = v2 &+ v1
            v1 = (v1 << 17 | v1 >> 47) ^ v2
            v2 = v2 << 32 | v2 >> 32
        }

        let raw = unsafe bytes.bytes
        var at = start
        let end = start + count
        while at + 8 <= end {
            let word = unsafe UInt64(
                littleEndian: raw.unsafeLoadUnaligned(
                    fromUncheckedByteOffset: at, as: UInt64.self))
            v3 ^= word
            round()
            v0 ^= word
            at += 8
        }
        // The rest, at most seven bytes, in one word: of a longer name by its last word, part of which is
        // hashed already.
        var last = UInt64(truncatingIfNeeded: count) << 56
        let rest = end - at
        if rest > 0, count >= 8 {
            let word = unsafe UInt64(
                littleEndian: raw.unsafeLoadUnaligned(
                    fromUncheckedByteOffset: end - 8, as: UInt64.self))
            last |= word &>> UInt64(truncatingIfNeeded: 64 - rest * 8)
        } else {
            var shift: UInt64 = 0
            while at < end {
                last |= UInt64(bytes[at]) &<< shift
                shift += 8
                at += 1
            }
        }
        v3 ^= last
        round()
        v0 ^= last
        v2 ^= 0xFF
        round()
        round()
        round()
        return v0 ^ v1 ^ v2 ^ v3
    }
}
