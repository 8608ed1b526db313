/// A point on a monotonic clock, in nanoseconds from an arbitrary start that is the driver's.
public struct Instant: Hashable, Comparable, Sendable {
    public var nanoseconds: Int64

    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    @inlinable public static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    @inlinable public static func + (left: Instant, right: Delay) -> Instant {
        Instant(nanoseconds: left.nanoseconds &+ right.nanoseconds)
    }

    @inlinable public static func - (left: Instant, right: Instant) -> Delay {
        Delay(nanoseconds: left.nanoseconds &- right.nanoseconds)
    }

    @inlinable public static func - (left: Instant, right: Delay) -> Instant {
        Instant(nanoseconds: left.nanoseconds &- right.nanoseconds)
    }
}

/// A length of time in nanoseconds. `Swift.Duration` is 128 bits of attoseconds; this is a word.
public struct Delay: Hashable, Comparable, Sendable {
    public var nanoseconds: Int64

    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    @inlinable public static func microseconds(_ count: Int64) -> Delay {
        Delay(nanoseconds: count * 1_000)
    }
    @inlinable public static func milliseconds(_ count: Int64) -> Delay {
        Delay(nanoseconds: count * 1_000_000)
    }
    @inlinable public static func seconds(_ count: Int64) -> Delay {
        Delay(nanoseconds: count * 1_000_000_000)
    }
    @inlinable public static var zero: Delay { Delay(nanoseconds: 0) }

    @inlinable public var microseconds: Int64 { nanoseconds / 1_000 }
    @inlinable public var milliseconds: Int64 { nanoseconds / 1_000_000 }

    @inlinable public static func < (left: Delay, right: Delay) -> Bool {
        left.nanoseconds < right.nanoseconds
    }
    @inlinable public static func * (left: Delay, right: Int64) -> Delay {
        Delay(nanoseconds: left.nanoseconds * right)
    }
    @inlinable public static func + (left: Delay, right: Delay) -> Delay {
        Delay(nanoseconds: left.nanoseconds + right.nanoseconds)
    }
    @inlinable public static func - (left: Delay, right: Delay) -> Delay {
        Delay(nanoseconds: left.nanoseconds - right.nanoseconds)
    }
}
