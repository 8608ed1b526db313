import CLinux
import Glibc
import MeshCore
import MeshWire
import Synchronization

extension Endpoint {
    init(_ address: linux_endpoint) {
        self =
            address.is_ipv6
            ? Endpoint(ipv6High: address.high, low: address.low, port: address.port)
            : Endpoint(ipv4: UInt32(truncatingIfNeeded: address.low), port: address.port)
    }

    var forKernel: linux_endpoint {
        linux_endpoint(high: high, low: low, port: port, is_ipv6: isIPv6)
    }

    /// This machine's own address on the way to `destination`, with `port`; nil when there is no
    /// way. Nothing is sent.
    public static func source(towards destination: Endpoint, port: UInt16) -> Endpoint? {
        var found = Endpoint(linux_source_towards(destination.forKernel))
        found.port = port
        return found.isUnspecified ? nil : found
    }
}

/// The monotonic clock that `Instant`s of a reactor count on.
public enum Clock {
    public static var now: Instant { Instant(nanoseconds: linux_monotonic_nanoseconds()) }
    /// Milliseconds since 1970.
    public static var wallMilliseconds: UInt64 {
        UInt64(clamping: linux_wall_milliseconds())
    }
}

/// What the whole process needs before the first reactor starts.
public enum Process {
    /// Raises the soft limit of open descriptors to the hard one, and lets writes to closed
    /// connections fail instead of ending the process. Returns the limit of descriptors.
    @discardableResult
    public static func prepare() -> UInt64 {
        linux_ignore_broken_pipes()
        return linux_raise_descriptor_limit()
    }
}

/// The sockets that a node listens on: bound before the reactor's thread starts, so that a taken
/// port is known at once and a port of 0 has become a real one.
public final class Listeners: Sendable {
    /// Connections that the kernel holds until they are accepted; it cuts this to its own
    /// `net.core.somaxconn`.
    static let backlog: Int32 = 4_096

    /// -1: none, or closed.
    private let mesh: Atomic<Int32>
    private let redis: Atomic<Int32>
    private let http: Atomic<Int32>
    /// Where other nodes connect; the port is the real one.
    public let meshEndpoint: Endpoint
    public let redisEndpoint: Endpoint?
    public let httpEndpoint: Endpoint?

    enum Purpose: CaseIterable {
        case mesh, redis, http
    }

    /// - Throws: `SystemError` when one of them cannot be bound; none is left open then.
    public init(mesh: Endpoint, redis: Endpoint?, http: Endpoint?) throws(SystemError) {
        var opened: [Int32] = []
        func listen(_ endpoint: Endpoint?, _ what: String) throws(SystemError) -> Int32 {
            guard let endpoint else { return -1 }
            let result = linux_listen(endpoint.forKernel, Listeners.backlog)
            if result < 0 {
                for descriptor in opened { Glibc.close(descriptor) }
                throw SystemError("listen on \(endpoint) (--\(what))", code: -result)
            }
            opened.append(result)
            return result
        }
        func endpoint(_ descriptor: Int32) -> Endpoint? {
            descriptor < 0 ? nil : Endpoint(linux_local_endpoint(descriptor))
        }
        let meshDescriptor = try listen(mesh, "mesh")
        let redisDescriptor = try listen(redis, "redis")
        let httpDescriptor = try listen(http, "http")
        self.mesh = Atomic(meshDescriptor)
        self.redis = Atomic(redisDescriptor)
        self.http = Atomic(httpDescriptor)
        meshEndpoint = Endpoint(linux_local_endpoint(meshDescriptor))
        redisEndpoint = endpoint(redisDescriptor)
        httpEndpoint = endpoint(httpDescriptor)
    }

    deinit { close() }

    /// The socket, -1 when there is none.
    subscript(purpose: Purpose) -> Int32 {
        switch purpose {
        case .mesh: mesh.load(ordering: .relaxed)
        case .redis: redis.load(ordering: .relaxed)
        case .http: http.load(ordering: .relaxed)
        }
    }

    /// Frees the ports: whoever connects is refused at once.
    func close(_ purposes: Purpose...) {
        for purpose in purposes.isEmpty ? Purpose.allCases : purposes {
            let descriptor =
                switch purpose {
                case .mesh: mesh.exchange(-1, ordering: .relaxed)
                case .redis: redis.exchange(-1, ordering: .relaxed)
                case .http: http.exchange(-1, ordering: .relaxed)
                }
            if descriptor >= 0 { Glibc.close(descriptor) }
        }
    }
}
