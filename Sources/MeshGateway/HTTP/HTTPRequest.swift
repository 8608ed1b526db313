import MeshWire

/// The head of an HTTP/1.1 request without a body: all that `/healthz`, `/readyz` and `/metrics`
/// need. Not for anything that uploads.
public struct HTTPRequest: Equatable, Sendable {
    public enum Method: Sendable { case get, head }
    public var method: Method
    /// The path as it was sent, from `/` on, without the query; nothing is unescaped.
    public var path: String
    /// Whether the connection may carry another request after this one.
    public var keepsAlive: Bool

    /// The longest head, request line and empty line included.
    public static let headBytesMax = 8 * 1024
    /// The most header fields.
    static let fieldCountMax = 100

    enum Outcome: Equatable {
        /// A request, in so many bytes.
        case request(HTTPRequest, size: Int)
        case incomplete
        /// No request that we serve; answer so and close.
        case refused(HTTPStatus)
    }

    /// Reads the head that starts at `input[start]` (RFC 9112 §§ 2–5, strictly: CR LF alone ends a
    /// line, and nothing may be folded).
    ///
    /// A head that is not all there is read again from its start; at 8 KiB that costs little.
    static func parse(_ input: Span<UInt8>, at start: Int) -> Outcome {
        var head = start
        // Some clients end a former request with one empty line too many (RFC 9112 § 2.2).
        while head + 1 < input.count, input[head] == cr, input[head + 1] == lf, head - start < 4 {
            head += 2
        }
        guard let end = endOfHead(input, head) else {
            return input.count - head >= headBytesMax
                ? .refused(.headTooLarge) : .incomplete
        }
        if end - head > headBytesMax { return .refused(.headTooLarge) }
        guard let lineEnd = endOfLine(input, head, end),
            let line = requestLine(input, head, lineEnd)
        else { return .refused(.badRequest) }
        guard line.minor <= 1 else { return .refused(.badRequest) }
        guard let fields = headerFields(input, lineEnd + 2, end) else {
            return .refused(.badRequest)
        }
        if fields.count > fieldCountMax { return .refused(.headTooLarge) }
        let hosts = fields.filter { $0.name == "host" }.count
        guard hosts == 1 || (hosts == 0 && line.minor == 0) else { return .refused(.badRequest) }

        guard line.method == "GET" || line.method == "HEAD" else {
            return .refused(.methodNotAllowed)
        }
        // A body would be taken for the next request; nobody sends one with these methods.
        for field in fields {
            if field.name == "transfer-encoding" { return .refused(.badRequest) }
            if field.name == "content-length", field.value != "0" { return .refused(.badRequest) }
        }
        let options = fields.filter { $0.name == "connection" }
            .flatMap { $0.value.lowercased().split { $0 == "," || $0 == " " || $0 == "\t" } }
        let keepsAlive =
            line.minor == 1 ? !options.contains("close") : options.contains("keep-alive")
        let request = HTTPRequest(
            method: line.method == "GET" ? .get : .head, path: line.path, keepsAlive: keepsAlive)
        return .request(request, size: end - start)
    }

    private static let cr = UInt8(ascii: "\r")
    private static let lf = UInt8(ascii: "\n")

    /// The offset after the empty line that ends the head.
    private static func endOfHead(_ input: Span<UInt8>, _ start: Int) -> Int? {
        var at = start
        let end = min(input.count, start + headBytesMax + 4)
        while at + 3 < end {
            if input[at] == cr, input[at + 1] == lf, input[at + 2] == cr, input[at + 3] == lf {
                return at + 4
            }
            at += 1
        }
        return nil
    }

    /// The offset of the CR that ends the line; nil when a CR or LF stands alone in it.
    private static func endOfLine(_ input: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
        var at = start
        while at + 1 < end {
            if input[at] == cr { return input[at + 1] == lf ? at : nil }
            if input[at] == lf || input[at] == 0 { return nil }
            at += 1
        }
        return nil
    }

    private struct Line {
        var method: String
        var path: String
        var minor: Int
    }

    /// `GET /metrics?x HTTP/1.1`
    private static func requestLine(_ input: Span<UInt8>, _ start: Int, _ end: Int) -> Line? {
        guard let text = visibleText(input, start, end) else { return nil }
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, !words[0].isEmpty, words[0].allSatisfy(isTokenCharacter),
            words[2].count == 8, words[2].hasPrefix("HTTP/1."),
            let minor = words[2].last?.wholeNumberValue
        else { return nil }
        var target = words[1]
        // The absolute form, which clients send to proxies, must be taken too (RFC 9112 § 3.2.2).
        if target.lowercased().hasPrefix("http://") {
            let rest = target.dropFirst(7)
            target = rest.firstIndex(of: "/").map { rest[$0...] } ?? "/"
        }
        guard target.hasPrefix("/") else {
            // `*` and `host:port` belong to methods that are refused by name, not as nonsense.
            guard words[0] != "GET", words[0] != "HEAD", !target.isEmpty else { return nil }
            return Line(method: String(words[0]), path: "/", minor: minor)
        }
        let path = target.prefix { $0 != "?" && $0 != "#" }
        return Line(method: String(words[0]), path: String(path), minor: minor)
    }

    private struct Field {
        /// In lower case.
        var name: String
        var value: String
    }

    /// The fields between the request line and the empty line; nil when one is malformed.
    private static func headerFields(
        _ input: Span<UInt8>, _ start: Int, _ end: Int
    ) -> [Field]? {
        var fields: [Field] = []
        var at = start
        while at < end - 2 {
            guard let lineEnd = endOfLine(input, at, end) else { return nil }
            var colon = at
            while colon < lineEnd, input[colon] != UInt8(ascii: ":") { colon += 1 }
            guard colon > at, colon < lineEnd, let name = visibleText(input, at, colon),
                name.allSatisfy(isTokenCharacter)
            else { return nil }
            var first = colon + 1
            var last = lineEnd
            while first < last, isBlank(input[first]) { first += 1 }
            while last > first, isBlank(input[last - 1]) { last -= 1 }
            var value: [UInt8] = []
            for index in first..<last {
                // Other control characters have no place in a value (RFC 9110 § 5.5).
                guard input[index] >= 0x20 || input[index] == 0x09, input[index] != 0x7F else {
                    return nil
                }
                value.append(input[index])
            }
            fields.append(
                Field(name: name.lowercased(), value: String(decoding: value, as: UTF8.self)))
            at = lineEnd + 2
        }
        return fields
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    /// ASCII without control characters.
    private static func visibleText(_ input: Span<UInt8>, _ start: Int, _ end: Int) -> String? {
        var bytes: [UInt8] = []
        for index in start..<end {
            guard input[index] >= 0x20, input[index] < 0x7F else { return nil }
            bytes.append(input[index])
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isTokenCharacter(_ character: Character) -> Bool {
        character.isASCII
            && (character.isLetter || character.isNumber || "!#$%&'*+-.^_`|~".contains(character))
    }
}
