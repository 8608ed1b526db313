import CLinux
import Glibc
import MeshCore
import MeshWire

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
@safe public final class Listeners: Sendable {
    /// Connections that the kernel holds until they are accepted; it cuts this to its own
    /// `net.core.somaxconn`.
    static let backlog: Int32 = 4_096

    let mesh: Int32
    let redis: Int32
    let http: Int32
    /// Where other nodes connect; the port is the real one.
    public let meshEndpoint: Endpoint
    public let redisEndpoint: Endpoint?
    public let httpEndpoint: Endpoint?

    /// - Throws: `SystemError` when one of them cannot be bound; none is left open then.
    public init(mesh: Endpoint, redis: Endpoint?, http: Endpoint?) throws(SystemError) {
        var opened: [Int32] = []
        func listen(_ endpoint: Endpoint, _ what: String) throws(SystemError) -> Int32 {
            let result = linux_listen(endpoint.forKernel, Listeners.backlog)
            if result < 0 {
                for descriptor in opened { Glibc.close(descriptor) }
                throw SystemError("listen on \(endpoint) (\(what))", code: -result)
            }
            opened.append(result)
            return result
        }
        self.mesh = try listen(mesh, "mesh")
        if let redis { self.redis = try listen(redis, "redis") } else { self.redis = -1 }
        if let http { self.http = try listen(http, "http") } else { self.http = -1 }
        meshEndpoint = Endpoint(linux_local_endpoint(self.mesh))
        redisEndpoint = redis == nil ? nil : Endpoint(linux_local_endpoint(self.redis))
        httpEndpoint = http == nil ? nil : Endpoint(linux_local_endpoint(self.http))
    }

    deinit {
        Glibc.close(mesh)
        if redis >= 0 { Glibc.close(redis) }
        if http >= 0 { Glibc.close(http) }
    }
}
