/// A node's identity and its position on the ring: 64 random bits, drawn anew at each start.
public struct NodeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var rawValue: UInt64

    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable public static func < (left: NodeID, right: NodeID) -> Bool {
        left.rawValue < right.rawValue
    }

    /// The way from this node to `other` along increasing positions, modulo 2^64.
    @inlinable public func clockwise(to other: NodeID) -> UInt64 {
        other.rawValue &- rawValue
    }

    /// The shorter way round the ring; at most 2^63.
    @inlinable public func distance(to other: NodeID) -> UInt64 {
        let clockwise = other.rawValue &- rawValue
        return min(clockwise, 0 &- clockwise)
    }

    /// Sixteen hexadecimal digits.
    public var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Which life of a node, and how often it has refuted its death in that life; only its owner raises it.
///
/// The upper 48 bits are the wall clock at the node's start, in milliseconds since 1970, so that a
/// node restarted at the same address outranks its former self; the lower 16 bits count refutations.
public struct Incarnation: Hashable, Comparable, Sendable {
    public var rawValue: UInt64

    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable public init(bootMilliseconds: UInt64) {
        rawValue = bootMilliseconds << 16
    }

    /// The latest birth that is taken from another node, in milliseconds since 1970: in the year 6429.
    /// Sums of a birth and a span of time then fit 64 bits, and so does a life that is outbid.
    public static let lifeMax: UInt64 = 1 << 47 - 1

    /// The boot time alone: it names the life, whose directory log survives refutations.
    @inlinable public var life: UInt64 { rawValue >> 16 }

    @inlinable public static func < (left: Incarnation, right: Incarnation) -> Bool {
        left.rawValue < right.rawValue
    }

    @inlinable public func next() -> Incarnation { Incarnation(rawValue &+ 1) }
}
