import Testing

@testable import MeshWire

/// SipHash-1-3 as the paper has it, byte by byte, with the prefix in v0 (`KeyHasher.digest`).
private func reference(_ k0: UInt64, _ k1: UInt64, prefix: UInt8, _ input: [UInt8]) -> UInt64 {
    var v: [UInt64] = [
        k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573,
    ]
    v[0] ^= UInt64(prefix) << 56
    func rotate(_ value: UInt64, _ bits: UInt64) -> UInt64 { value << bits | value >> (64 - bits) }
    func round() {
        v[0] &+= v[1]
        v[2] &+= v[3]
        v[1] = rotate(v[1], 13) ^ v[0]
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = rotate(v[0], 32)
        v[2] &+= v[1]
        v[0] &+= v[3]
        v[1] = rotate(v[1], 17) ^ v[2]
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = rotate(v[2], 32)
    }
    var padded = input
    while padded.count % 8 != 7 { padded.append(0) }
    padded.append(UInt8(truncatingIfNeeded: input.count))
    for start in stride(from: 0, to: padded.count, by: 8) {
        var word: UInt64 = 0
        for index in 0..<8 { word |= UInt64(padded[start + index]) << UInt64(index * 8) }
        v[3] ^= word
        round()
        v[0] ^= word
    }
    v[2] ^= 0xFF
    for _ in 0..<3 { round() }
    return v[0] ^ v[1] ^ v[2] ^ v[3]
}

@Suite struct `Key hash` {
    @Test func `every length agrees with the byte-wise reference`() {
        var random = Generator(state: 1)
        for count in 0..<300 {
            let (k0, k1) = (random.next(), random.next())
            let input = random.bytes(count)
            let prefix = UInt8(truncatingIfNeeded: random.next())
            let hasher = KeyHasher(k0, k1)
            let digest = hasher.digest(prefix: prefix, input.span, 0, count)
            #expect(digest == reference(k0, k1, prefix: prefix, input))
        }
    }

    @Test func `a name inside other bytes has the key of the name alone`() {
        let hasher = KeyHasher(cluster: "c")
        for count in 0..<40 {
            let name = (0..<count).map { UInt8($0 + 1) }
            for before in 0..<9 {
                let bytes = [UInt8](repeating: 0xEE, count: before) + name + [0xDD, 0xDD]
                let key = hasher.key(.user, bytes.span, before, count)
                #expect(key == hasher.key(.user, name))
            }
        }
    }

    /// Nodes of different versions must agree: a change here splits every cluster.
    @Test func `keys of given names never change`() {
        let plain = KeyHasher(0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908)
        let cluster = KeyHasher(cluster: "smallworld")
        let name = Array("user:4711".utf8)
        let keys = KeyKind.allCases.map { plain.key($0, name).rawValue }
        let pinned: [UInt64] = [
            0xB66E_9C78_602B, 0xEDF2_02E8_6738, 0xEBAE_EC24_6FA3, 0x2D12_9673_8340,
            0x9E1A_EE5A_C02C, 0xF143_C283_8ED8, 0x04CF_9E8F_DEF0,
        ]
        #expect(keys == pinned)
        #expect(plain.key(.user, []).rawValue == 0xA21D_0E76_5DC9)
        #expect(cluster.key(.channel, name).rawValue == 0x107B_5850_400E)
    }

    @Test func `the same name of another kind, cluster or hash key has another key`() {
        let name = Array("lobby".utf8)
        var keys: [Key] = []
        for hasher in [
            KeyHasher(cluster: "a"), KeyHasher(cluster: "b"), KeyHasher(cluster: ""),
            KeyHasher(1, 0), KeyHasher(0, 1),
        ] {
            keys += KeyKind.allCases.map { hasher.key($0, name) }
        }
        #expect(Set(keys).count == keys.count)
    }

    @Test func `zero bytes at the end of a name change its key`() {
        let hasher = KeyHasher(5, 6)
        let keys = (0..<64).map { hasher.key(.room, [UInt8](repeating: 0, count: $0)) }
        #expect(Set(keys).count == 64)
    }

    /// Each flipped bit of the input flips each bit of the key in half of the cases: 4,000 names
    /// give 2,000 ± 32 (one standard deviation); six of them are allowed.
    @Test func `each bit of the name or kind changes half of the key's bits`() {
        let hasher = KeyHasher(cluster: "avalanche")
        var random = Generator(state: 7)
        let names = (0..<4_000).map { _ in random.bytes(12) }
        for bit in stride(from: 0, to: 96, by: 5) {
            var flips = [Int](repeating: 0, count: 48)
            for name in names {
                var other = name
                other[bit / 8] ^= 1 << (bit % 8)
                var difference =
                    hasher.key(.user, name).rawValue ^ hasher.key(.user, other).rawValue
                while difference != 0 {
                    flips[difference.trailingZeroBitCount] += 1
                    difference &= difference - 1
                }
            }
            #expect(flips.allSatisfy { abs($0 - 2_000) < 190 })
        }
        var turned = 0
        for name in names {
            let difference =
                hasher.key(.user, name).rawValue ^ hasher.key(.shardChannel, name).rawValue
            turned += difference.nonzeroBitCount
        }
        #expect(abs(turned - 4_000 * 24) < 1_300 * 2)
    }

    /// The directory's buckets take the low bits: 65,536 counted names in 4,096 buckets, chi-squared
    /// 4,095 ± 90.
    @Test func `counted names spread evenly over buckets`() {
        let hasher = KeyHasher(cluster: "smallworld")
        var buckets = [Int](repeating: 0, count: 4_096)
        for number in 0..<65_536 {
            buckets[Int(hasher.key(.user, Array("u\(number)".utf8)).rawValue & 0xFFF)] += 1
        }
        let chiSquared = buckets.reduce(0.0) { $0 + Double(($1 - 16) * ($1 - 16)) / 16 }
        #expect(chiSquared > 3_650 && chiSquared < 4_550)
    }
}
