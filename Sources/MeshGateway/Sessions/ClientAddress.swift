import MeshWire

/// Where clients connect to a node, as nodes tell it to one another while one of them drains.
///
/// | bytes | meaning |
/// |--|--|
/// | none | the node has no clients, or leaves itself |
/// | one byte 0 | it takes sessions; where the clients of others reach it, it cannot say |
/// | 1 … 64 printable ones | `HOST:PORT` |
///
/// A loopback address leads each client to its own machine. It is told, and believed, only between nodes
/// that reach each other at loopback addresses too.
enum ClientAddress {
    static let countMax = 64

    static func append(_ address: String?, to answer: inout ByteQueue) {
        if let address { answer.append(Array(address.utf8)) } else { answer.append(UInt8(0)) }
    }

    /// Outer nil: the node is no place to go. Inner nil: it is, and where it is nobody can say.
    static func read(_ bytes: [UInt8], sharesMachine: Bool) -> String?? {
        if bytes == [0] { return .some(nil) }
        guard !bytes.isEmpty, bytes.count <= countMax,
            bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        return .some(isLoopback(text) && !sharesMachine ? nil : text)
    }

    /// True for what leads a client to its own machine: 127.0.0.0/8 and ::1, the unspecified addresses,
    /// and `localhost` (RFC 6761 §6.3). Other names are not resolved.
    static func isLoopback(_ address: String) -> Bool {
        guard let colon = address.utf8.lastIndex(of: UInt8(ascii: ":")) else { return false }
        var host = address[..<colon].lowercased()
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
            let mapped = "::ffff:"
            if host.hasPrefix(mapped) {
                return isLoopbackIPv4(String(host.dropFirst(mapped.count)))
            }
            let digits = host.utf8.filter { $0 != UInt8(ascii: ":") && $0 != UInt8(ascii: "0") }
            return digits.isEmpty || digits == [UInt8(ascii: "1")] && host.utf8.last == digits[0]
        }
        if host.hasSuffix(".") { host.removeLast() }
        return host == "localhost" || host.hasSuffix(".localhost") || isLoopbackIPv4(host)
    }

    private static func isLoopbackIPv4(_ host: String) -> Bool {
        guard host.utf8.allSatisfy({ $0 == UInt8(ascii: ".") || $0 >= 0x30 && $0 <= 0x39 }) else {
            return false
        }
        let first = host.split(separator: ".").first
        return first == "127" || host.utf8.allSatisfy { $0 == UInt8(ascii: ".") || $0 == 0x30 }
    }
}
