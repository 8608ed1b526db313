/// The counters of one part of a server. Each is declared here and nowhere else: its case is its
/// name, its raw value says what it counts.
///
/// `messagesForwarded` is `messagesForwarded` in `MESH.STATUS`, and in `/metrics` it is
/// `smallworld_messages_forwarded_total` with the raw value as its help. Both have the order of the
/// cases. The name of a case is therefore known outside: who renames one breaks dashboards.
public protocol CounterName: CaseIterable, RawRepresentable, Sendable where RawValue == String {}

extension CounterName {
    /// `/metrics` and `MESH.STATUS` have it under its name: its raw value does not begin with
    /// `(unshown) `.
    public var isShown: Bool { !rawValue.hasPrefix("(unshown) ") }

    /// Its place among the cases. The compiler numbers cases that carry nothing in the order in
    /// which they are declared; a single case has no bits. With a `switch` or a search instead, to
    /// count would take more than an addition in memory where the case is not known beforehand.
    @inlinable var ordinal: Int {
        MemoryLayout<Self>.size == 0 ? 0 : Int(unsafe unsafeBitCast(self, to: UInt8.self))
    }
}

/// The counts since the start, a number for each case of `Name`; monotonic.
public struct Counters<Name: CounterName, let count: Int>: Sendable {
    @usableFromInline var values = InlineArray<count, UInt64>(repeating: 0)

    public init() {
        precondition(
            count == Name.allCases.count,
            "\(Name.self) has \(Name.allCases.count) cases, room is for \(count)")
    }

    @inlinable public subscript(name: Name) -> UInt64 {
        get { values[name.ordinal] }
        _modify { yield &values[name.ordinal] }
    }
}
