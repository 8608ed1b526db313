import MeshWire
import Testing

@Suite struct AddressRangeTests {
    private static let four = Endpoint(ipv4: 0xC0A8_0180, port: 9)
    private static let six = Endpoint(
        ipv6High: 0x2001_0DB8_0000_0000, low: 0x8000_0000_0000_0001, port: 9)

    @Test(
        arguments: [
            (32, [0xC0A8_0180]), (25, [0xC0A8_0180, 0xC0A8_01FF]),
            (24, [0xC0A8_0100, 0xC0A8_01FF]),
            (1, [0x8000_0000, 0xFFFF_FFFF]), (0, [0, 0xFFFF_FFFF]),
        ] as [(Int, [UInt32])])
    func `an IPv4 range has those that begin alike, and no other`(
        _ bits: Int, _ ends: [UInt32]
    ) throws {
        let range = try #require(AddressRange(Self.four, bits: bits))
        for end in ends { #expect(range.contains(Endpoint(ipv4: end, port: 1))) }
        if let last = ends.last, last < .max {
            #expect(!range.contains(Endpoint(ipv4: last + 1, port: 1)))
        }
        if let first = ends.first, first > 0 {
            #expect(!range.contains(Endpoint(ipv4: first - 1, port: 1)))
        }
        #expect(!range.contains(Self.six))
    }

    @Test(
        arguments: [
            (128, 0x2001_0DB8_0000_0000, 0x8000_0000_0000_0001, true),
            (128, 0x2001_0DB8_0000_0000, 0x8000_0000_0000_0002, false),
            (65, 0x2001_0DB8_0000_0000, UInt64.max, true),
            (65, 0x2001_0DB8_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, false),
            (64, 0x2001_0DB8_0000_0000, 0, true), (64, 0x2001_0DB8_0000_0001, 0, false),
            (32, 0x2001_0DB8_FFFF_FFFF, 0, true), (32, 0x2001_0DB9_0000_0000, 0, false),
            (0, 0, 0, true),
        ] as [(Int, UInt64, UInt64, Bool)])
    func `an IPv6 range has those that begin alike, and no other`(
        _ bits: Int, _ high: UInt64, _ low: UInt64, _ isWithin: Bool
    ) throws {
        let range = try #require(AddressRange(Self.six, bits: bits))
        #expect(range.contains(Endpoint(ipv6High: high, low: low, port: 1)) == isWithin)
        #expect(!range.contains(Endpoint(ipv4: 0, port: 1)))
    }

    @Test func `an address has no more bits than it has`() {
        #expect(
            AddressRange(Self.four, bits: 33) == nil && AddressRange(Self.four, bits: -1) == nil)
        #expect(AddressRange(Self.six, bits: 129) == nil)
    }
}
