import Smallworld

/// Where Redis clients connect, as people write it: `HOST:PORT` or `unix:/PATH`.
enum RedisAddress: Equatable, CustomStringConvertible {
    case network(HostPort)
    case file(String)

    init(_ text: String) throws(MeshNodeError) {
        guard text.hasPrefix("unix:") else {
            self = .network(try HostPort(text))
            return
        }
        var path = text.dropFirst("unix:".count)
        // As in a URL: unix:///run/smallworld.sock.
        while path.hasPrefix("//") { path = path.dropFirst() }
        guard path.hasPrefix("/") else {
            throw .invalidAddress(text, reason: "write the path from the root on, unix:/PATH")
        }
        self = .file(String(path))
    }

    var description: String {
        switch self {
        case .network(let address): address.description
        case .file(let path): "unix:\(path)"
        }
    }
}
