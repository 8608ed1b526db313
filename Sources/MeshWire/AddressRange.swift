/// The part of an address by which one party is told from another: all of an IPv4 address, and the first 64
/// bits of an IPv6 one, for behind those a host has as many as it likes.
public struct HostAddress: Hashable, Sendable {
    private let word: UInt64
    private let isIPv6: Bool

    public init(_ endpoint: Endpoint) {
        word = endpoint.isIPv6 ? endpoint.high : endpoint.low
        isIPv6 = endpoint.isIPv6
    }
}

/// Addresses that begin with the same bits: `10.0.0.0/8`, or one alone.
public struct AddressRange: Equatable, Sendable {
    private let high: UInt64
    private let low: UInt64
    private let isIPv6: Bool
    /// Of the two words; those of IPv4 lie in the last 32 of `low`.
    private let highMask: UInt64
    private let lowMask: UInt64

    /// - Parameters:
    ///   - first: an address of the range; its port does not matter.
    ///   - bits: those that all have in common, 0 … 32 or 0 … 128; nil for any other number.
    public init?(_ first: Endpoint, bits: Int) {
        guard bits >= 0, bits <= (first.isIPv6 ? 128 : 32) else { return nil }
        isIPv6 = first.isIPv6
        // Shifts by 64 and more give 0.
        highMask = first.isIPv6 ? ~(UInt64.max >> min(bits, 64)) : 0
        let lowBits = first.isIPv6 ? max(0, bits - 64) : bits
        lowMask =
            first.isIPv6 ? ~(UInt64.max >> lowBits) : ~(UInt64(UInt32.max) >> lowBits) & 0xFFFF_FFFF
        high = first.high & highMask
        low = first.low & lowMask
    }

    public func contains(_ endpoint: Endpoint) -> Bool {
        endpoint.isIPv6 == isIPv6 && endpoint.high & highMask == high
            && endpoint.low & lowMask == low
    }
}
