/// The places of each byte in a name, as sets of bits: a pattern's bytes are looked for at 64 places
/// of the name at once (bit-parallel search, Baeza-Yates and Gonnet, "A new approach to text
/// searching", 1992; here the bits stand for places of the name instead of the pattern, so that all
/// patterns share what one name costs).
///
///     name     a b a c        equal   a  1010        atMost  a  1010
///                                     b  0100                b  1110     a range of bytes is the
///                                     c  0001                c  1111     difference of two rows
///
/// Nothing is allocated before `build`. For a name of n bytes, d of them different, both tables have
/// d rows of n / 8 + 16 bytes: 4 MiB at the most.
struct BytePlaces {
    /// The tables are those of the name at hand.
    private(set) var isBuilt = false
    /// Words of a row. The last is zero: a window may reach beyond the name.
    private var rowWords = 0
    /// The different bytes of the name that are smaller than each byte, and how many there are.
    private var smaller: [Int16] = []
    /// How often each byte comes.
    private var counts: [Int32] = []
    private var equal: [UInt64] = []
    private var atMost: [UInt64] = []

    /// The memory that `clear` keeps.
    private static let wordsKept = 8 * 1024

    /// The cost of `build` for a name of this length, in units of work.
    static func cost(_ count: Int) -> Int { 512 + count * 2 }

    /// Forgets the name, and memory that only long names need.
    mutating func clear() {
        isBuilt = false
        if equal.capacity > Self.wordsKept { (equal, atMost) = ([], []) }
    }

    mutating func build(_ name: Span<UInt8>, _ start: Int, _ count: Int) {
        isBuilt = true
        rowWords = count / 64 + 2
        if counts.isEmpty {
            counts = Array(repeating: 0, count: 256)
            smaller = Array(repeating: 0, count: 257)
        }
        for byte in 0..<256 { counts[byte] = 0 }
        for place in start..<start + count { counts[Int(name[place])] += 1 }
        for byte in 0..<256 { smaller[byte + 1] = smaller[byte] + (counts[byte] > 0 ? 1 : 0) }
        equal.removeAll(keepingCapacity: true)
        equal.append(contentsOf: repeatElement(0, count: Int(smaller[256]) * rowWords))
        for place in 0..<count {
            let row = Int(smaller[Int(name[start + place])]) * rowWords
            equal[row + place >> 6] |= 1 << UInt64(place & 63)
        }
        atMost.removeAll(keepingCapacity: true)
        atMost.append(contentsOf: equal)
        for word in rowWords..<max(rowWords, atMost.count) {
            atMost[word] |= atMost[word - rowWords]
        }
    }

    @inline(__always)
    func count(of byte: UInt8) -> Int { Int(counts[Int(byte)]) }

    /// Which of the 64 places from `place` on have this byte; the lowest bit is `place`.
    @inline(__always)
    func window(_ byte: UInt8, at place: Int) -> UInt64 {
        if counts[Int(byte)] == 0 { return 0 }
        return window(equal, row: Int(smaller[Int(byte)]), place)
    }

    /// Which have a byte of this range.
    @inline(__always)
    func window(_ range: ClosedRange<UInt8>, at place: Int) -> UInt64 {
        let first = Int(smaller[Int(range.lowerBound)])
        let end = Int(smaller[Int(range.upperBound) + 1])
        if first == end { return 0 }
        let below = first == 0 ? 0 : window(atMost, row: first - 1, place)
        return window(atMost, row: end - 1, place) & ~below
    }

    @inline(__always)
    private func window(_ table: [UInt64], row: Int, _ place: Int) -> UInt64 {
        let word = row * rowWords + place >> 6
        let shift = UInt64(truncatingIfNeeded: place & 63)
        return table[word] &>> shift | (table[word + 1] &<< 1) &<< (63 - shift)
    }
}
