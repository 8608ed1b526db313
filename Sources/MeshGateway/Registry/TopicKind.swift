import MeshWire

/// The kind of a local topic: the things that its name names, or that its subscribers watch it.
///
/// All but the last are the kinds of the directory's keys, with the same numbers.
enum TopicKind: UInt8, CaseIterable {
    case user = 1
    case room = 2
    case channel = 3
    case shardChannel = 4
    case pattern = 5
    /// Its subscribers are providers.
    case service = 6
    /// Its subscribers watch the roster of the room of this name.
    case roomWatch = 7
    /// Of a user, to be told of its coming and going. Known here alone. The numbers follow one another, so
    /// that a kind is told from its number without a table.
    case watch = 8

    static let count = 8

    /// From 0 up to `count`, for tables.
    @inline(__always)
    var place: Int { Int(rawValue) - 1 }

    /// The kind under which the name is hashed.
    @inline(__always)
    var keyKind: KeyKind {
        switch self {
        case .user, .watch: .user
        case .room: .room
        case .channel: .channel
        case .shardChannel: .shardChannel
        case .pattern: .pattern
        case .service: .service
        case .roomWatch: .roomWatch
        }
    }

    /// The subscribers that a message goes to by its name.
    @inline(__always)
    init?(_ body: RoutedBody) {
        switch body {
        case .channel: self = .channel
        case .shardChannel: self = .shardChannel
        case .user: self = .user
        case .room: self = .room
        case .control, .request, .reply, .roster, .session, .part: return nil
        }
    }
}
