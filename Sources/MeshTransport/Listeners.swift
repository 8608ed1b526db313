import CLinux
import Glibc
import MeshWire
import Synchronization

/// One socket that a node listens on.
final class Listener: Sendable {
    /// The protocol that is spoken with whoever connects.
    enum Purpose: Equatable {
        case link, client, http
    }

    enum Place: Equatable {
        case network(Endpoint)
        /// Of this machine alone.
        case file(SocketFile)
    }

    /// Connections that the kernel holds until they are accepted; it cuts this to its own
    /// `net.core.somaxconn`.
    static let backlog: Int32 = 4_096

    let purpose: Purpose
    /// With the port that port 0 has become.
    let place: Place
    /// -1: closed.
    private let socket: Atomic<Int32>

    /// - Throws: `SystemError` that names the address and the flag.
    init(_ purpose: Purpose, at endpoint: Endpoint, flag: String) throws(SystemError) {
        let descriptor = try SystemError.check(
            linux_listen(endpoint.forKernel, Self.backlog), "listen on \(endpoint) (\(flag))")
        self.purpose = purpose
        place = .network(Endpoint(linux_local_endpoint(descriptor)))
        socket = Atomic(descriptor)
    }

    /// - Throws: `SystemError` that names the path and the flag.
    init(_ purpose: Purpose, at file: UnixSocket, flag: String) throws(SystemError) {
        let made = try SocketFile.listen(file, flag: flag, backlog: Self.backlog)
        self.purpose = purpose
        place = .file(made.file)
        socket = Atomic(made.descriptor)
    }

    deinit { close() }

    var descriptor: Int32 { socket.load(ordering: .relaxed) }
    var isOpen: Bool { descriptor >= 0 }

    /// The outcome of an attempt to accept.
    enum Accepted {
        /// The peer of a Unix socket has the address 0.
        case stream(Stream, peer: Endpoint)
        /// Nobody waits.
        case nobody
        /// Somebody who waited has gone.
        case gone
        case noDescriptors
        /// The kernel has no memory, or another reason.
        case failed
    }

    /// Takes the connection that has waited longest.
    func accept() -> Accepted {
        let accepted = linux_accept(descriptor)
        switch accepted.descriptor {
        case 0...:
            let medium: Stream.Medium
            switch place {
            case .network: medium = .network
            case .file: medium = .unixSocket
            }
            return .stream(
                Stream(descriptor: accepted.descriptor, medium: medium),
                peer: Endpoint(accepted.peer))
        case -EAGAIN: return .nobody
        case -ECONNABORTED, -EINTR, -EPROTO: return .gone
        case -EMFILE, -ENFILE: return .noDescriptors
        default: return .failed
        }
    }

    /// A client that connects from now on is refused at once. The file of a Unix socket goes.
    func close() {
        let descriptor = socket.exchange(-1, ordering: .relaxed)
        guard descriptor >= 0 else { return }
        if case .file(let file) = place { file.remove() }
        Glibc.close(descriptor)
    }
}

/// The sockets that a node listens on: bound before the reactor's thread starts, so that a taken
/// port is known at once and a port of 0 has become a real one.
public final class Listeners: Sendable {
    /// In the order of `Token.listener`.
    let all: [Listener]
    /// Where other nodes connect; the port is the real one.
    public let meshEndpoint: Endpoint
    public let redisEndpoint: Endpoint?
    /// The path of the Unix socket for Redis clients.
    public let redisPath: String?
    public let httpEndpoint: Endpoint?

    /// - Throws: `SystemError` when one of them cannot be bound; none is left open then.
    public init(
        mesh: Endpoint, redis: Endpoint?, redisSocket: UnixSocket? = nil, http: Endpoint?
    ) throws(SystemError) {
        var all = [try Listener(.link, at: mesh, flag: "--mesh")]
        if let redis { all.append(try Listener(.client, at: redis, flag: "--redis")) }
        if let redisSocket {
            all.append(try Listener(.client, at: redisSocket, flag: "--redis"))
        }
        if let http { all.append(try Listener(.http, at: http, flag: "--http")) }
        self.all = all
        func endpoint(_ purpose: Listener.Purpose) -> Endpoint? {
            for listener in all where listener.purpose == purpose {
                if case .network(let endpoint) = listener.place { return endpoint }
            }
            return nil
        }
        meshEndpoint = endpoint(.link)!
        redisEndpoint = endpoint(.client)
        redisPath = redisSocket?.path
        httpEndpoint = endpoint(.http)
    }

    /// Frees the ports of one purpose, or all.
    func close(_ purpose: Listener.Purpose? = nil) {
        for listener in all where purpose == nil || listener.purpose == purpose {
            listener.close()
        }
    }
}
