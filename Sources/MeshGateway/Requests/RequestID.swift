import MeshWire

/// The name of a request in the mesh: the node of its asker, and a number there.
///
/// Clients read and write it as 24 hexadecimal digits, the node's 16 first.
struct RequestID: Hashable, Comparable, Sendable {
    var asker: NodeID
    var number: UInt32

    static let digitCount = 24

    init(asker: NodeID, number: UInt32) {
        self.asker = asker
        self.number = number
    }

    /// Nil: the bytes are not such digits.
    init?(_ text: [UInt8]) {
        guard text.count == Self.digitCount else { return nil }
        var words: (node: UInt64, number: UInt64) = (0, 0)
        for (place, byte) in text.enumerated() {
            let digit: UInt64
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt64(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"):
                digit = UInt64(byte - UInt8(ascii: "a")) + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"):
                digit = UInt64(byte - UInt8(ascii: "A")) + 10
            default: return nil
            }
            if place < 16 {
                words.node = words.node << 4 | digit
            } else {
                words.number = words.number << 4 | digit
            }
        }
        asker = NodeID(words.node)
        number = UInt32(truncatingIfNeeded: words.number)
    }

    var text: [UInt8] {
        var digits: [UInt8] = []
        digits.reserveCapacity(Self.digitCount)
        func append(_ word: UInt64, _ count: Int) {
            for place in (0..<count).reversed() {
                let digit = UInt8(truncatingIfNeeded: word >> UInt64(4 * place)) & 15
                digits.append(
                    digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            }
        }
        append(asker.rawValue, 16)
        append(UInt64(number), 8)
        return digits
    }

    static func < (one: RequestID, other: RequestID) -> Bool {
        (one.asker.rawValue, one.number) < (other.asker.rawValue, other.number)
    }
}
