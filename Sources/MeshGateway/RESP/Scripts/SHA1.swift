/// The name that Redis gives a script: SHA-1 of its text (RFC 3174). It names, and protects nothing.
struct SHA1: Hashable, Sendable {
    /// Five words of the digest.
    private var words: (UInt32, UInt32, UInt32, UInt32, UInt32)

    /// O(n), without a copy of the text.
    init(of text: Span<UInt8>) {
        words = (0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0)
        var schedule = [UInt32](repeating: 0, count: 80)
        // The text, a bit that is set, zeros up to eight bytes before a block's end, the bit count.
        let blockCount = (text.count + 8) / 64 + 1
        let bitCount = UInt64(text.count) &* 8
        for block in 0..<blockCount {
            for word in 0..<16 {
                var value: UInt32 = 0
                for byte in 0..<4 {
                    let at = block * 64 + word * 4 + byte
                    let next: UInt8 =
                        at < text.count ? text[at] : at == text.count ? 0x80 : 0
                    value = value << 8 | UInt32(next)
                }
                schedule[word] = value
            }
            if block == blockCount - 1 {
                schedule[14] = UInt32(truncatingIfNeeded: bitCount >> 32)
                schedule[15] = UInt32(truncatingIfNeeded: bitCount)
            }
            mix(&schedule)
        }
    }

    /// Reads 40 hexadecimal digits of either case; nil for anything else.
    init?(hexadecimal text: [UInt8]) {
        guard text.count == 40 else { return nil }
        words = (0, 0, 0, 0, 0)
        var values: [UInt32] = [0, 0, 0, 0, 0]
        for (place, byte) in text.enumerated() {
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: return nil
            }
            values[place / 8] = values[place / 8] << 4 | UInt32(digit)
        }
        words = (values[0], values[1], values[2], values[3], values[4])
    }

    /// 40 hexadecimal digits, in lower case.
    var text: String {
        let digits = Array("0123456789abcdef".utf8)
        var bytes: [UInt8] = []
        for word in [words.0, words.1, words.2, words.3, words.4] {
            for shift in stride(from: 28, through: 0, by: -4) {
                bytes.append(digits[Int(word >> UInt32(shift)) & 15])
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func == (left: SHA1, right: SHA1) -> Bool { left.words == right.words }

    func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
    }

    /// One block of the text, whose words are the first 16 of the schedule (RFC 3174, 6.1).
    private mutating func mix(_ schedule: inout [UInt32]) {
        for at in 16..<80 {
            let word = schedule[at - 3] ^ schedule[at - 8] ^ schedule[at - 14] ^ schedule[at - 16]
            schedule[at] = word << 1 | word >> 31
        }
        var (a, b, c, d, e) = words
        for at in 0..<80 {
            let (chosen, constant): (UInt32, UInt32) =
                switch at / 20 {
                case 0: (b & c | ~b & d, 0x5A82_7999)
                case 1: (b ^ c ^ d, 0x6ED9_EBA1)
                case 2: (b & c | b & d | c & d, 0x8F1B_BCDC)
                default: (b ^ c ^ d, 0xCA62_C1D6)
                }
            let next = (a << 5 | a >> 27) &+ chosen &+ e &+ schedule[at] &+ constant
            (a, b, c, d, e) = (next, a, b << 30 | b >> 2, c, d)
        }
        words.0 &+= a
        words.1 &+= b
        words.2 &+= c
        words.3 &+= d
        words.4 &+= e
    }
}
