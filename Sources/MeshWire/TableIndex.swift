/// A place in one table, as a type of its own: a link's cannot be taken for a client's, and none is a
/// word instead of a number.
///
/// It is as large as its number, so that what is kept by the thousand does not grow as it would by an
/// `Optional`.
public protocol TableIndex: Strideable, Hashable, BitwiseCopyable, Sendable, CustomStringConvertible
where Stride == Int {
    /// The place; negative: none.
    var rawValue: Int32 { get }

    init(rawValue: Int32)
}

extension TableIndex {
    /// - Parameter place: 0 … `Int32.max`.
    @inlinable @inline(__always)
    public init(_ place: Int) { self.init(rawValue: Int32(place)) }

    /// The place that a map has found, or `none`.
    @inlinable @inline(__always)
    public init(found place: Int?) {
        self.init(rawValue: Int32(truncatingIfNeeded: place ?? -1))
    }

    /// No place of the table.
    @inlinable public static var none: Self {
        @inline(__always) get { Self(rawValue: -1) }
    }

    @inlinable public var isNone: Bool {
        @inline(__always) get { rawValue < 0 }
    }

    /// The place, for the table itself.
    @inlinable public var place: Int {
        @inline(__always) get { Int(rawValue) }
    }

    @inlinable @inline(__always)
    public static func == (left: Self, right: Self) -> Bool { left.rawValue == right.rawValue }

    @inlinable @inline(__always)
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// With `advanced(by:)` the places of a table can be gone through in order.
    @inlinable @inline(__always)
    public func distance(to other: Self) -> Int { other.place - place }

    @inlinable @inline(__always)
    public func advanced(by count: Int) -> Self { Self(place + count) }

    public var description: String { "\(rawValue)" }
}
