import CLinux
import Glibc
import MeshGateway
import MeshWire
import Smallworld

/// A failure between this client and the node, in words that say what to do.
struct RESPClientError: Error, CustomStringConvertible {
    var description: String
}

/// One connection to a node's redis port that waits for each reply, with a limit on time and size.
/// For programs that ask a few questions; servers use a Redis client.
final class RESPClient {
    private let address: RedisAddress
    private let socket: Int32
    /// The flag that a password is given by.
    private let passwordFlag: String
    private var decoder = RESPDecoder()
    /// Pushes that came while a reply was waited for.
    private var pushes: [[RESPReply]] = []

    /// - Parameters:
    ///   - proof: the words of HELLO by which the node knows its user; empty: what it lets everybody on its
    ///     machine do is enough.
    ///   - passwordFlag: the name of the flag that helps if it is not.
    ///   - seconds: the longest that connecting, or silence during a reply, may take.
    init(
        _ address: RedisAddress, proof: [String] = [], passwordFlag: String = "password-file",
        seconds: Int
    ) throws {
        self.address = address
        self.passwordFlag = passwordFlag
        let connected: (descriptor: Int32, failure: String)
        switch address {
        case .network(let address): connected = try Self.dial(address, seconds)
        case .file(let path): connected = Self.dial(path, seconds)
        }
        guard connected.descriptor >= 0 else {
            throw RESPClientError(
                description: "cannot connect to \(address): \(connected.failure). Is a node "
                    + "running there? Say where with --redis HOST:PORT or --redis unix:/PATH")
        }
        socket = connected.descriptor
        guard case .map = try call(["HELLO", "3"] + proof) else {
            throw RESPClientError(description: "\(address) is no Smallworld node")
        }
    }

    deinit {
        close(socket)
    }

    /// A connection to the first address of a host that answers; -1, and the last failure.
    private static func dial(_ address: HostPort, _ seconds: Int) throws -> (Int32, String) {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(address.host, String(address.port), &hints, &list)
        guard code == 0 else {
            let reason = unsafe String(cString: gai_strerror(code))
            throw RESPClientError(description: "cannot resolve '\(address.host)': \(reason)")
        }
        defer { unsafe freeaddrinfo(list) }
        var failure = "it has no address"
        var next = unsafe list
        while let entry = unsafe next {
            unsafe next = entry.pointee.ai_next
            guard let candidate = unsafe socket(family: entry.pointee.ai_family, seconds) else {
                continue
            }
            if unsafe connect(candidate, entry.pointee.ai_addr, entry.pointee.ai_addrlen) == 0 {
                return (candidate, "")
            }
            failure = reason(seconds)
            close(candidate)
        }
        return (-1, failure)
    }

    /// The same for a Unix socket.
    private static func dial(_ path: String, _ seconds: Int) -> (Int32, String) {
        guard let candidate = socket(family: AF_UNIX, seconds) else { return (-1, reason(seconds)) }
        let result = unsafe linux_connect_path(candidate, path)
        if result == 0 { return (candidate, "") }
        errno = -result
        let failure = reason(seconds)
        close(candidate)
        return (-1, failure)
    }

    private static func socket(family: Int32, _ seconds: Int) -> Int32? {
        let descriptor = Glibc.socket(family, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        // On Linux the limit on sending is the limit on connecting too.
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            unsafe setsockopt(
                descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        return descriptor
    }

    /// Why connecting has failed just now.
    private static func reason(_ seconds: Int) -> String {
        [EINPROGRESS, EAGAIN].contains(errno)
            ? "no answer in \(seconds) s" : unsafe String(cString: strerror(errno))
    }

    /// Sends one command and waits for its reply; an error reply is thrown. What the node says by itself
    /// meanwhile is kept for `nextPush`.
    func call(_ words: [String]) throws -> RESPReply {
        try send(words)
        return try nextReply()
    }

    /// Sends one command that is answered by pushes, as SUBSCRIBE is.
    func send(_ words: [String]) throws {
        let bytes = RESPDecoder.command(words)
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes[sent...].withUnsafeBytes { rest in
                unsafe Glibc.send(socket, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw lost() }
            sent += count
        }
    }

    /// Silence is no failure from now on.
    func waitForever() {
        var limit = timeval(tv_sec: 0, tv_usec: 0)
        unsafe setsockopt(
            socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    /// The next thing that the node says by itself; an error is thrown.
    func nextPush() throws -> [RESPReply] {
        if !pushes.isEmpty { return pushes.removeFirst() }
        while true {
            if case .push(let push) = try next() { return push }
        }
    }

    private func nextReply() throws -> RESPReply {
        while true {
            let reply = try next()
            guard case .push(let push) = reply else { return reply }
            pushes.append(push)
        }
    }

    /// Whatever the node says next.
    private func next() throws -> RESPReply {
        while true {
            let reply: RESPReply?
            do throws(MalformedReply) {
                reply = try decoder.next()
            } catch {
                throw RESPClientError(
                    description: "\(address) does not answer as a Smallworld node does")
            }
            guard let reply else {
                try receive()
                continue
            }
            guard case .error(let text) = reply else { return reply }
            let isRefusal = ["NOAUTH", "NOPERM", "WRONGPASS"].contains { text.hasPrefix($0) }
            throw RESPClientError(
                description: "\(address) answered: \(text)"
                    + (isRefusal ? "; a password helps: --\(passwordFlag)" : ""))
        }
    }

    private func receive() throws {
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        let count = unsafe chunk.withUnsafeMutableBytes { buffer in
            unsafe recv(socket, buffer.baseAddress, buffer.count, 0)
        }
        guard count > 0 else { throw lost(hasClosed: count == 0) }
        decoder.append(chunk[..<count])
    }

    private func lost(hasClosed: Bool = false) -> RESPClientError {
        if hasClosed { return RESPClientError(description: "\(address) closed the connection") }
        let isLate = errno == EAGAIN || errno == EINPROGRESS
        let reason = isLate ? "no answer in time" : unsafe String(cString: strerror(errno))
        return RESPClientError(description: "\(address): \(reason)")
    }
}
