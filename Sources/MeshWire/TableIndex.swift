/// A slot of one table, as a type of its own: a link's cannot be taken for a client's, and none is a
/// word instead of a number.
///
/// It is as large as its number, so that what is kept by the thousand does not grow as it would by an
/// `Optional`.
public protocol TableIndex: Strideable, Hashable, BitwiseCopyable, Sendable, CustomStringConvertible
where Stride == Int {
    /// The slot; negative: none.
    var rawValue: Int32 { get }

    init(rawValue: Int32)
}

extension TableIndex {
    /// - Parameter slot: 0 … `Int32.max`.
    @inlinable @inline(__always)
    public init(_ slot: Int) { self.init(rawValue: Int32(slot)) }

    /// The slot that a map has found, or `none`.
    @inlinable @inline(__always)
    public init(found slot: Int?) {
        self.init(rawValue: Int32(truncatingIfNeeded: slot ?? -1))
    }

    /// No slot of the table.
    @inlinable public static var none: Self {
        @inline(__always) get { Self(rawValue: -1) }
    }

    @inlinable public var isNone: Bool {
        @inline(__always) get { rawValue < 0 }
    }

    /// The slot, for the table itself.
    @inlinable public var slot: Int {
        @inline(__always) get { Int(rawValue) }
    }

    @inlinable @inline(__always)
    public static func == (left: Self, right: Self) -> Bool { left.rawValue == right.rawValue }

    @inlinable @inline(__always)
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// With `advanced(by:)` the slots of a table can be gone through in order.
    @inlinable @inline(__always)
    public func distance(to other: Self) -> Int { other.slot - slot }

    @inlinable @inline(__always)
    public func advanced(by count: Int) -> Self { Self(slot + count) }

    public var description: String { "\(rawValue)" }
}
