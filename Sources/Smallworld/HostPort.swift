/// A host name or address and a TCP port, as people write it: `db1:7400`, `10.0.0.5:7400`,
/// `[2001:db8::1]:7400`. Port 0 lets the kernel choose when listened on.
public struct HostPort: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: UInt16

    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// - Throws: `MeshNodeError.invalidAddress` for anything but `HOST:PORT`.
    public init(_ text: String) throws(MeshNodeError) {
        guard let colon = text.lastIndex(of: ":") else {
            throw .invalidAddress(text, reason: "it has no port; write HOST:PORT")
        }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            let port = UInt16(digits)
        else {
            throw .invalidAddress(text, reason: "its port is not a number from 0 to 65535")
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw .invalidAddress(text, reason: "IPv6 addresses stand in brackets: [::1]:7400")
        }
        guard !host.isEmpty else {
            throw .invalidAddress(text, reason: "it has no host; write HOST:PORT")
        }
        self.init(host: String(host), port: port)
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
