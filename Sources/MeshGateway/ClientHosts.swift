import MeshWire

/// The connections that each host has at this node, so that none takes the places of all.
struct ClientHosts {
    private var counts: [HostAddress: Int] = [:]
    private var hosts: [ClientIndex: HostAddress] = [:]

    /// The connections that the host has.
    func count(_ host: HostAddress) -> Int { counts[host] ?? 0 }

    mutating func add(_ client: ClientIndex, of host: HostAddress) {
        hosts[client] = host
        counts[host, default: 0] += 1
    }

    mutating func remove(_ client: ClientIndex) {
        guard let host = hosts.removeValue(forKey: client), let count = counts[host] else { return }
        counts[host] = count > 1 ? count - 1 : nil
    }
}
