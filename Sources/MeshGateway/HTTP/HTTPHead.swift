import MeshWire

/// The head of an HTTP/1.1 request, as much of it as a monitoring port needs. Bodies are refused.
public struct HTTPRequest: Equatable, Sendable {
    public var method: String
    /// The target up to its query.
    public var path: String
    /// HTTP/1.1 without `Connection: close`.
    public var keepsAlive: Bool
}

/// The meaning of the bytes at the front of an HTTP connection.
public enum HTTPHead: Equatable, Sendable {
    case incomplete
    /// A request; the next one starts at `end`.
    case request(HTTPRequest, end: Int)
    /// Answer with this refusal and close.
    case refused(HTTPRefusal)

    /// Reads the head that starts at `start`; at most `limit` bytes of it.
    ///
    /// Strict where leniency has led to request smuggling (RFC 9112 §2.2, §5.1): lines end with
    /// CRLF, no folded headers, no space before the colon.
    public static func read(
        _ bytes: Span<UInt8>, at start: Int, limit: Int
    ) -> HTTPHead {
        guard let end = headEnd(bytes, start, limit) else {
            return bytes.count - start >= limit ? .refused(.headTooLong) : .incomplete
        }
        let malformed = HTTPHead.refused(.malformed)
        var lines: [[UInt8]] = [[]]
        for index in start..<(end - 4) {
            let byte = bytes[index]
            if byte == 0x0A {
                guard lines[lines.count - 1].popLast() == 0x0D else { return malformed }
                lines.append([])
            } else {
                lines[lines.count - 1].append(byte)
            }
        }
        let words = lines[0].split(separator: 0x20, omittingEmptySubsequences: false)
        guard words.count == 3, words.allSatisfy({ !$0.isEmpty }),
            words[1].allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return malformed }
        let version = String(decoding: words[2], as: UTF8.self)
        guard version == "HTTP/1.1" || version == "HTTP/1.0" else {
            return .refused(.unknownVersion)
        }
        var request = HTTPRequest(
            method: String(decoding: words[0], as: UTF8.self),
            path: String(
                decoding: words[1].prefix { $0 != UInt8(ascii: "?") }, as: UTF8.self),
            keepsAlive: version == "HTTP/1.1")
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > 0,
                !line[..<colon].contains(where: { $0 <= 0x20 || $0 >= 0x7F })
            else { return malformed }
            let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
            let value = String(
                decoding: line[(colon + 1)...].filter { $0 != 0x20 && $0 != 0x09 }, as: UTF8.self
            ).lowercased()
            switch name {
            case "connection": if value == "close" { request.keepsAlive = false }
            case "content-length":
                if value != "0" { return .refused(.hasBody) }
            case "transfer-encoding": return .refused(.hasBody)
            default: break
            }
        }
        return .request(request, end: end)
    }

    /// Past the empty line that ends the head; nil when it is not among the first `limit` bytes.
    private static func headEnd(_ bytes: Span<UInt8>, _ start: Int, _ limit: Int) -> Int? {
        let last = min(bytes.count, start + limit)
        var index = start + 3
        while index < last {
            if bytes[index] == 0x0A, bytes[index - 1] == 0x0D, bytes[index - 2] == 0x0A,
                bytes[index - 3] == 0x0D
            {
                return index + 1
            }
            index += 1
        }
        return nil
    }
}
