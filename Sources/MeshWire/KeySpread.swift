/// Spreads keys over the cells of a table in a way that only this node knows.
///
/// Anybody who knows a cluster's name can compute keys, and find names whose keys agree in the bits that a
/// table is indexed by. A product with a secret odd number has bits of all of the key in its upper
/// bits: of any two keys, the upper k bits agree for at most two in 2^k of all secrets (Dietzfelbinger
/// et al. 1997, multiply-shift). Two instructions.
public struct KeySpread: Sendable {
    @usableFromInline let factor: UInt64

    /// - Parameter secret: drawn at the start, and unknown to others.
    public init(secret: UInt64) { factor = secret | 1 }

    /// A hash of 64 bits, the best below: what `IndexMap` takes.
    @inlinable @inline(__always)
    public func hash(_ key: Key) -> UInt64 { (key.rawValue &* factor).byteSwapped }
}
