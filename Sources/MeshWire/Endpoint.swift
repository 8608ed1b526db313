/// An IP address and a TCP port; 18 bytes, without a pointer, so that effects stay trivial.
public struct Endpoint: Hashable, Sendable {
    /// The address in network order, read as two big-endian halves. IPv4 lies in the low 32 bits.
    public var high: UInt64
    public var low: UInt64
    public var port: UInt16
    public var isIPv6: Bool

    @inlinable public init(ipv4 address: UInt32, port: UInt16) {
        high = 0
        low = UInt64(address)
        self.port = port
        isIPv6 = false
    }

    @inlinable public init(ipv6High high: UInt64, low: UInt64, port: UInt16) {
        self.high = high
        self.low = low
        self.port = port
        isIPv6 = true
    }

    /// True for 127.0.0.0/8 and ::1: addresses that nobody outside this machine can reach.
    public var isLoopback: Bool {
        isIPv6 ? high == 0 && low == 1 : low >> 24 == 127
    }

    /// True for 0.0.0.0 and ::, which can be listened on but not dialled.
    public var isUnspecified: Bool { high == 0 && low == 0 }
}

extension Endpoint: CustomStringConvertible {
    /// `127.0.0.1:7400` or `[2001:db8:0:0:0:0:0:1]:7400`.
    public var description: String {
        if isIPv6 {
            let groups = (0..<8).map { index -> String in
                let half = index < 4 ? high : low
                return String((half >> UInt64(48 - 16 * (index & 3))) & 0xFFFF, radix: 16)
            }
            return "[" + groups.joined(separator: ":") + "]:\(port)"
        }
        let bytes = (0..<4).map { String((low >> UInt64(24 - 8 * $0)) & 0xFF) }
        return bytes.joined(separator: ".") + ":\(port)"
    }
}
