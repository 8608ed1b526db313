import MeshWire

/// The public name of one attachment of a connection to a user, a sid: the node where it began, and a number
/// there.
///
/// Its text is sixteen hexadecimal digits, a point and the number in hexadecimal: `9f3a6c01d2e4b788.2f`.
struct AttachmentID: Hashable, Comparable, Sendable {
    var node: NodeID
    var number: UInt32

    init(node: NodeID, number: UInt32) {
        self.node = node
        self.number = number
    }

    /// Nil: the bytes are no such text.
    init?(_ text: [UInt8]) {
        guard (18...25).contains(text.count),
            let node = UInt64(String(decoding: text[..<16], as: UTF8.self), radix: 16),
            let number = UInt32(String(decoding: text[17...], as: UTF8.self), radix: 16)
        else { return nil }
        self.node = NodeID(node)
        self.number = number
        // One text alone stands for it: no capitals, no signs, no leading zeros, a point between.
        guard Array(self.text.utf8) == text else { return nil }
    }

    var text: String { node.description + "." + String(number, radix: 16) }

    static func < (left: AttachmentID, right: AttachmentID) -> Bool {
        left.node == right.node ? left.number < right.number : left.node < right.node
    }
}
