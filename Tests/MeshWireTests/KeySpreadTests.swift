import MeshWire
import Testing

@Suite struct `Keys that were chosen to collide` {
    /// An attacker who can compute keys finds names whose keys agree wherever a table might look.
    @Test(arguments: [0x1FFF, 0xFFFF_FFFF, 0xFFFF_E000_0000, 0xFFF_F000_0000] as [UInt64])
    func `lie as far apart as random keys in a table with a secret`(equal: UInt64) {
        var state: UInt64 = 1
        var keys: Set<Key> = []
        let freeBits = 48 - equal.nonzeroBitCount
        while keys.count < min(40_000, 1 << (freeBits - 2)) {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            keys.insert(Key((state >> 16) & ~equal | 0x1234_5678_9ABC & equal))
        }
        for secret: UInt64 in [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03] {
            let spread = KeySpread(secret: secret)
            var homes = [Int](repeating: 0, count: 65_536)
            for key in keys { homes[Int(spread.hash(key) & 0xFFFF)] += 1 }
            // Of 40,000 thrown at random the fullest of 65,536 has 7 or 8.
            #expect(homes.max()! <= 16)
        }
    }
}
