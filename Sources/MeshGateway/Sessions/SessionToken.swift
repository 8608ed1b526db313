import MeshCore
import MeshWire

/// The tokens of one node's sessions.
struct SessionTokenSource {
    private var count: UInt64 = 0
    private let hasher: KeyHasher

    /// - Parameter hasher: under a secret of this node.
    init(_ hasher: KeyHasher) { self.hasher = hasher }

    /// The next token: a pseudorandom function of a counter. Nobody who does not have the secret can
    /// tell its values from random ones.
    mutating func next(of node: NodeID) -> SessionToken {
        let words = [UInt8](littleEndian: count)
        count += 1
        return SessionToken(
            node: node, high: hasher.digest(prefix: 1, words.span, 0, 8),
            low: hasher.digest(prefix: 2, words.span, 0, 8))
    }
}

/// The token that a client shows to go on with a session: the node that has it, and 128 bits that
/// nobody guesses.
///
///     0123456789abcdef-0123456789abcdef0123456789abcdef
struct SessionToken: Hashable {
    var node: NodeID
    var high: UInt64
    var low: UInt64

    static let textCount = 49
    /// Bytes in a question to another node.
    static let size = 24

    init(node: NodeID, high: UInt64, low: UInt64) {
        self.node = node
        self.high = high
        self.low = low
    }

    /// Nil for anything else than the text of a token.
    init?(_ text: [UInt8]) {
        guard text.count == Self.textCount, text[16] == UInt8(ascii: "-") else { return nil }
        var words: [UInt64] = [0, 0, 0]
        var digits = 0
        for (index, byte) in text.enumerated() where index != 16 {
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x61...0x66: digit = byte - 0x61 + 10
            default: return nil
            }
            words[digits / 16] = words[digits / 16] << 4 | UInt64(digit)
            digits += 1
        }
        self.init(node: NodeID(words[0]), high: words[1], low: words[2])
    }

    init(_ input: Span<UInt8>, at: Int) {
        self.init(
            node: NodeID(input.load(UInt64.self, at: at)),
            high: input.load(UInt64.self, at: at + 8), low: input.load(UInt64.self, at: at + 16))
    }

    func append(to queue: inout ByteQueue) {
        queue.append(integer: node.rawValue)
        queue.append(integer: high)
        queue.append(integer: low)
    }

    var text: String { "\(node)-\(NodeID(high))\(NodeID(low))" }
}
