import MeshTransport
import MeshWire

/// The addresses under which a node would reach itself.
struct OwnAddresses: Sendable {
    var advertised: Endpoint
    var listening: Endpoint

    /// The others among `addresses`.
    func strike(from addresses: [Endpoint]) -> [Endpoint] {
        addresses.filter { $0 != advertised && $0 != listening && !isOwn($0) }
    }

    /// True when connecting to `address` would reach this node's own listener: the kernel takes the
    /// way to a machine's own address from that same address.
    private func isOwn(_ address: Endpoint) -> Bool {
        address.port == listening.port && listening.isUnspecified
            && Endpoint.source(towards: address, port: address.port) == address
    }
}
