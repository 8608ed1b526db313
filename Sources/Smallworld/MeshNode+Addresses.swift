import MeshWire

extension MeshNode {
    /// Addresses that begin with the same bits, for `GatewayConfiguration.trustedProxies`.
    ///
    /// - Parameter text: `10.0.0.5`, `10.0.0.0/8`, `2001:db8::1`, `2001:db8::/32`; nil for anything else.
    public static func addressRange(_ text: String) -> AddressRange? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = Resolver.numeric(String(parts[0])) else { return nil }
        let all = first.isIPv6 ? 128 : 32
        guard parts.count == 2 else { return AddressRange(first, bits: all) }
        guard !parts[1].isEmpty, parts[1].utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            let bits = Int(parts[1])
        else { return nil }
        return AddressRange(first, bits: bits)
    }
}
