/// A protocol that is often met where a node of the mesh was expected. Known by its first four bytes.
public enum OtherProtocol: Sendable {
    case httpRequest, httpAnswer, redisCommand, redisAnswer, tls, ssh, proxy

    /// The protocol that a stranger's bytes look like; nil: unknown, or too few bytes.
    public init?(_ bytes: Span<UInt8>, at offset: Int) {
        guard offset >= 0, bytes.count - offset >= 4 else { return nil }
        let start = (0..<4).map { bytes[offset + $0] }
        let text = String(decoding: start, as: UTF8.self)
        switch text {
        case "GET ", "POST", "HEAD", "PUT ", "OPTI", "DELE", "PATC", "CONN", "TRAC", "PRI ":
            self = .httpRequest
        case "HTTP": self = .httpAnswer
        case "SSH-": self = .ssh
        case "PROX": self = .proxy
        // Arrays of bulk strings, and commands that people type.
        case "PING", "INFO", "AUTH", "HELL", "SUBS", "PUBL": self = .redisCommand
        case _ where start[0] == UInt8(ascii: "*") && Self.isDigit(start[1]): self = .redisCommand
        // "+OK", "+PONG", "-ERR", "-NOAUTH", "-DENIED", "-LOADING".
        case _
        where [UInt8(ascii: "+"), UInt8(ascii: "-")].contains(start[0])
            && start[1...2].allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }:
            self = .redisAnswer
        // A handshake or an alert of any version.
        case _ where (start[0] == 22 || start[0] == 21) && start[1] == 3: self = .tls
        default: return nil
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    /// Advice for the person who reads the log.
    public var hint: String {
        switch self {
        case .httpRequest:
            "it sends HTTP requests, which the HTTP port takes; this is the mesh port"
        case .httpAnswer: "it answers like an HTTP server; a seed's port is its mesh port"
        case .redisCommand:
            "it sends Redis commands, which the redis port takes; this is the mesh port"
        case .redisAnswer: "it answers like a Redis server; a seed's port is its mesh port"
        case .tls: "it speaks TLS, which links do not"
        case .ssh: "it speaks SSH"
        case .proxy: "it sends the PROXY line of a load balancer"
        }
    }
}
