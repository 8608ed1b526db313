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

/// Settings that the whole process needs before the first reactor starts.
public enum Process {
    /// Raises the soft limit of open descriptors to the hard one, and lets writes to closed
    /// connections fail instead of ending the process. Returns the limit of descriptors.
    @discardableResult
    public static func prepare() -> UInt64 {
        linux_ignore_broken_pipes()
        return linux_raise_descriptor_limit()
    }
}
