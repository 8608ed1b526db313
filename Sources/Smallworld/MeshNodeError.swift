import MeshTransport

/// Why a node does not start, in words that say what to do.
public enum MeshNodeError: Error, Sendable, CustomStringConvertible {
    case invalidAddress(String, reason: String)
    case unknownHost(HostPort, reason: String)
    /// An address that others can reach, without the permission to use it.
    case insecureAddress(String, HostPort)
    /// Others cannot be told where this node is.
    case noAdvertisableAddress(HostPort)
    case invalidDegree(Int)
    case invalidText(String, reason: String)
    case system(SystemError)
    /// `run` was called before: make a new node.
    case alreadyRun

    public var description: String {
        switch self {
        case .invalidAddress(let text, let reason): "'\(text)' is not an address: \(reason)"
        case .unknownHost(let address, let reason): "cannot resolve '\(address.host)': \(reason)"
        case .insecureAddress(let option, let address):
            "\(option) \(address) is not an address of this machine alone, and links are neither "
                + "encrypted nor authenticated yet: whoever is in that network can read and send "
                + "everything. Use a loopback address, or allow it with --insecure in a network "
                + "that you trust"
        case .noAdvertisableAddress(let address):
            "the node listens on \(address), every address of this machine, and cannot tell which "
                + "of them others reach: say it with --advertise HOST:PORT"
        case .invalidDegree(let degree): "a degree of \(degree) is not within 4 … 64"
        case .invalidText(let option, let reason): "\(option) \(reason)"
        case .system(let error):
            if !error.advice.isEmpty {
                error.description
            } else if error.isAddressInUse {
                "\(error); another process has that port: stop it, or choose another port with "
                    + "that flag (0 takes a free one)"
            } else if error.isNotOurAddress {
                "\(error); this machine has no such address: name one of its own with that flag"
            } else {
                error.description
            }
        case .alreadyRun: "a MeshNode runs once: make a new one"
        }
    }
}
