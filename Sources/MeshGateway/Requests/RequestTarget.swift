import MeshCore
import MeshWire

/// Those whom a request is for.
struct RequestTarget: Hashable, Sendable {
    enum Kind: UInt8, CaseIterable, Sendable {
        case service = 0
        case user = 1
        case room = 2

        var topic: TopicKind {
            switch self {
            case .service: .service
            case .user: .user
            case .room: .room
            }
        }

        /// The body that tells names of one key apart (`KeyHasher.nameDigest`).
        var body: RoutedBody {
            switch self {
            case .service: .request
            case .user: .user
            case .room: .room
            }
        }
    }

    let kind: Kind
    let name: [UInt8]

    /// The longest name, in bytes.
    static let nameLengthMax = 512
}
