import Glibc
import MeshWire
import Smallworld

/// A reply of a node, RESP3.
enum RESPReply: Equatable, Sendable {
    case text(String)
    case integer(Int)
    case double(Double)
    case null
    case array([RESPReply])
    case map([(name: String, value: RESPReply)])
    case error(String)

    static func == (left: RESPReply, right: RESPReply) -> Bool {
        switch (left, right) {
        case (.text(let left), .text(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.double(let left), .double(let right)): left == right
        case (.null, .null): true
        case (.array(let left), .array(let right)): left == right
        case (.map(let left), .map(let right)):
            left.map(\.name) == right.map(\.name) && left.map(\.value) == right.map(\.value)
        case (.error(let left), .error(let right)): left == right
        default: false
        }
    }

    /// A field of a map.
    subscript(name: String) -> RESPReply? {
        guard case .map(let fields) = self else { return nil }
        return fields.first { $0.name == name }?.value
    }

    /// The value in words; lists are joined.
    var shown: String {
        switch self {
        case .text(let text): text
        case .integer(let number): String(number)
        case .double(let number): String(number)
        case .null: "-"
        case .array(let values): values.map(\.shown).joined(separator: " → ")
        case .map(let fields):
            fields.map { "\($0.name)=\($0.value.shown)" }.joined(separator: " ")
        case .error(let text): text
        }
    }
}

/// What went wrong between this client and the node, in words that say what to do.
struct RESPClientError: Error, CustomStringConvertible {
    var description: String
}

/// One connection to a node's redis port that waits for each reply, with a limit on time, size and
/// depth. For programs that ask a few questions; servers use a Redis client.
final class RESPClient {
    private static let replyBytesMax = 256 * 1024 * 1024
    private static let depthMax = 32

    private let address: HostPort
    private let socket: Int32
    private var input: [UInt8] = []
    private var at = 0
    private var received = 0

    /// - Parameter seconds: the longest that connecting, or silence during a reply, may take.
    init(_ address: HostPort, seconds: Int) throws {
        self.address = address
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(address.host, String(address.port), &hints, &list)
        guard code == 0 else {
            let reason = unsafe String(cString: gai_strerror(code))
            throw RESPClientError(description: "cannot resolve '\(address.host)': \(reason)")
        }
        defer { unsafe freeaddrinfo(list) }
        var connected: Int32 = -1
        var reason = "it has no address"
        var next = unsafe list
        while connected < 0, let entry = unsafe next {
            unsafe next = entry.pointee.ai_next
            let candidate = unsafe Glibc.socket(
                entry.pointee.ai_family, Int32(SOCK_STREAM.rawValue), 0)
            guard candidate >= 0 else { continue }
            // On Linux the limit on sending is the limit on connecting too.
            var limit = timeval(tv_sec: seconds, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                unsafe setsockopt(
                    candidate, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
            if unsafe connect(candidate, entry.pointee.ai_addr, entry.pointee.ai_addrlen) == 0 {
                connected = candidate
            } else {
                reason =
                    errno == EINPROGRESS
                    ? "no answer in \(seconds) s" : unsafe String(cString: strerror(errno))
                close(candidate)
            }
        }
        guard connected >= 0 else {
            throw RESPClientError(
                description: "cannot connect to \(address): \(reason). Is a node running there? "
                    + "Say where with --redis HOST:PORT")
        }
        socket = connected
        guard case .map = try call(["HELLO", "3"]) else {
            throw RESPClientError(description: "\(address) is no Smallworld node")
        }
    }

    deinit {
        close(socket)
    }

    /// Sends one command and waits for its reply; an error reply is thrown.
    func call(_ words: [String]) throws -> RESPReply {
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words {
            bytes += Array("$\(word.utf8.count)\r\n".utf8) + Array(word.utf8) + [13, 10]
        }
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes[sent...].withUnsafeBytes { rest in
                unsafe send(socket, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw lost() }
            sent += count
        }
        received = 0
        let reply = try value(depth: 0)
        if case .error(let text) = reply {
            throw RESPClientError(description: "\(address) answered: \(text)")
        }
        return reply
    }

    private func value(depth: Int) throws -> RESPReply {
        guard depth < RESPClient.depthMax else { throw malformed() }
        let line = try line()
        guard let kind = line.first else { throw malformed() }
        let text = String(decoding: line.dropFirst(), as: UTF8.self)
        switch kind {
        case UInt8(ascii: "+"): return .text(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"):
            guard let number = Int(text) else { throw malformed() }
            return .integer(number)
        case UInt8(ascii: ","):
            guard let number = Double(text) else { throw malformed() }
            return .double(number)
        case UInt8(ascii: "_"): return .null
        case UInt8(ascii: "#"): return .integer(text == "t" ? 1 : 0)
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
            if text == "-1" { return .null }
            let body = try take(count(text) + 2).dropLast(2)
            return kind == UInt8(ascii: "!")
                ? .error(String(decoding: body, as: UTF8.self))
                : .text(String(decoding: body, as: UTF8.self))
        case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"):
            if text == "-1" { return .null }
            var values: [RESPReply] = []
            for _ in 0..<(try count(text)) { values.append(try value(depth: depth + 1)) }
            return .array(values)
        case UInt8(ascii: "%"):
            var fields: [(name: String, value: RESPReply)] = []
            for _ in 0..<(try count(text)) {
                let name = try value(depth: depth + 1).shown
                fields.append((name, try value(depth: depth + 1)))
            }
            return .map(fields)
        default: throw malformed()
        }
    }

    private func count(_ text: String) throws -> Int {
        guard let count = Int(text), count >= 0, count <= RESPClient.replyBytesMax else {
            throw malformed()
        }
        return count
    }

    private func line() throws -> [UInt8] {
        var end = at
        while true {
            while end < input.count {
                if input[end] == 10 {
                    let line = input[at..<end]
                    at = end + 1
                    return Array(line.last == 13 ? line.dropLast() : line)
                }
                end += 1
            }
            guard end - at < 64 * 1024 else { throw malformed() }
            let searched = end - at
            try receive()
            end = at + searched
        }
    }

    private func take(_ count: Int) throws -> ArraySlice<UInt8> {
        while input.count - at < count { try receive() }
        defer { at += count }
        return input[at..<(at + count)]
    }

    private func receive() throws {
        if at > 0 {
            input.removeFirst(at)
            at = 0
        }
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        let count = unsafe chunk.withUnsafeMutableBytes { buffer in
            unsafe recv(socket, buffer.baseAddress, buffer.count, 0)
        }
        guard count > 0 else { throw lost(hasClosed: count == 0) }
        received += count
        guard received <= RESPClient.replyBytesMax else { throw malformed() }
        input += chunk[..<count]
    }

    private func lost(hasClosed: Bool = false) -> RESPClientError {
        if hasClosed { return RESPClientError(description: "\(address) closed the connection") }
        let isLate = errno == EAGAIN || errno == EINPROGRESS
        let reason = isLate ? "no answer in time" : unsafe String(cString: strerror(errno))
        return RESPClientError(description: "\(address): \(reason)")
    }

    private func malformed() -> RESPClientError {
        RESPClientError(description: "\(address) does not answer as a Smallworld node does")
    }
}
