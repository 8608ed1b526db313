import Glibc
import MeshWire

/// Host names to addresses, by the system's resolver. Blocks, for as long as the resolver does.
enum Resolver {
    /// Whether the host is an address already, which no resolver is asked for.
    static func isNumeric(_ host: String) -> Bool {
        var bytes = in6_addr()
        return unsafe inet_pton(AF_INET, host, &bytes) == 1
            || inet_pton(AF_INET6, host, &bytes) == 1
    }

    /// An address as it stands, without asking anybody; nil for anything else.
    static func numeric(_ host: String) -> Endpoint? {
        guard isNumeric(host) else { return nil }
        return try? endpoints(of: HostPort(host: host, port: 0)).first
    }

    /// Every address of the host, IPv4 first: what listens on `127.0.0.1` is then found under
    /// `localhost` too. Never empty.
    static func endpoints(of address: HostPort) throws(MeshNodeError) -> [Endpoint] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let result = unsafe getaddrinfo(address.host, nil, &hints, &list)
        guard result == 0 else {
            throw .unknownHost(address, reason: unsafe String(cString: gai_strerror(result)))
        }
        defer { unsafe freeaddrinfo(list) }
        var four: [Endpoint] = []
        var six: [Endpoint] = []
        var next = unsafe list
        while let entry = unsafe next {
            unsafe next = entry.pointee.ai_next
            guard let raw = unsafe entry.pointee.ai_addr else { continue }
            let bytes = unsafe UnsafeRawBufferPointer(
                start: raw, count: Int(entry.pointee.ai_addrlen))
            switch unsafe entry.pointee.ai_family {
            case AF_INET: four.append(unsafe ipv4(bytes, address.port))
            case AF_INET6: six.append(unsafe ipv6(bytes, address.port))
            default: break
            }
        }
        let all = four + six
        guard !all.isEmpty else {
            throw .unknownHost(address, reason: "it has no IP address")
        }
        return all
    }

    /// `struct sockaddr_in`: family (2), port (2), address (4).
    private static func ipv4(_ bytes: UnsafeRawBufferPointer, _ port: UInt16) -> Endpoint {
        let address = unsafe bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        return Endpoint(ipv4: UInt32(bigEndian: address), port: port)
    }

    /// `struct sockaddr_in6`: family (2), port (2), flow (4), address (16), scope (4).
    private static func ipv6(_ bytes: UnsafeRawBufferPointer, _ port: UInt16) -> Endpoint {
        let high = unsafe bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let low = unsafe bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        return Endpoint(
            ipv6High: UInt64(bigEndian: high), low: UInt64(bigEndian: low), port: port)
    }
}
