// The kinds of names and of messages to them. Their numbers are the protocol's: those of keys go into
// hashes, those of bodies into frames.
//
//     kind            key   body   matches patterns   is parked   held by
//     user             1     3            –               ✓       sessions
//     room             2     5            –               –       members
//     channel          3     1            ✓               –       subscribers
//     shard channel    4     2            –               –       subscribers
//     pattern          5     –            –               –       subscribers
//     service          6     6            –               –       providers
//     watch of a room  7     8            –               –       watchers of the room's roster
//     reply            –     7            –               –       nodes
//     control          –     4            –               –       nodes
//     session          –    10            –               –       nodes
//     part             –    12            –               –       nodes

/// The kind of a name in the directory. It is part of the hash, so that a user and a channel
/// of the same name are different keys.
public enum KeyKind: UInt8, Sendable, CaseIterable {
    case user = 1
    case room = 2
    case channel = 3
    case shardChannel = 4
    case pattern = 5
    case service = 6
    /// Of the room of this name: held by the nodes that are told who comes to it and goes.
    case roomWatch = 7
}

/// The content of a `.routed` frame.
public enum RoutedBody: UInt8, Sendable {
    /// For the subscribers of channel `name`, and of patterns that match it.
    case channel = 1
    /// For the subscribers of shard channel `name`.
    case shardChannel = 2
    /// For the connections of user `name`.
    case user = 3
    /// The payload is one control message for the node itself; the name is empty.
    case control = 4
    /// For the members of room `name`.
    case room = 5
    /// For one node that has providers of service `name`: a request to it, or word that nobody awaits one
    /// any more.
    case request = 6
    /// For the node that has asked; the name is empty.
    case reply = 7
    /// For the nodes that watch the roster of room `name`, or from one of them to a node with members.
    case roster = 8
    /// The payload is for the driver of the node itself; the name is empty. In the bulk lane alone.
    case session = 10
    /// The payload is a part of a large message for clients (`Part`); the name is empty. In the bulk
    /// lane alone.
    case part = 12

    /// The body of this number; nil: there is none. Messages are almost always of the first three: the others
    /// take a search, since their numbers do not follow one another.
    @inlinable @inline(__always)
    public init?(number: UInt8) {
        switch number {
        case 1: self = .channel
        case 3: self = .user
        case 4: self = .control
        default: self.init(rawValue: number)
        }
    }

    /// It goes to the clients' side of a node: by its name, but for requests and replies.
    @inlinable public var isForClients: Bool {
        @inline(__always) get {
            switch self {
            case .channel, .shardChannel, .user, .room, .request, .reply, .roster: true
            case .control, .session, .part: false
            }
        }
    }

    /// The kind of the name that it goes to; nil: it has none.
    @inlinable public var keyKind: KeyKind? {
        @inline(__always) get {
            switch self {
            case .channel: .channel
            case .shardChannel: .shardChannel
            case .user: .user
            case .room: .room
            case .request: .service
            case .roster: .roomWatch
            case .control, .reply, .session, .part: nil
            }
        }
    }

    /// It goes to the holders of patterns that match its name, too.
    @inlinable public var matchesPatterns: Bool {
        @inline(__always) get { self == .channel }
    }

    /// Its payload may have a label in front.
    public var takesLabel: Bool {
        switch self {
        case .channel, .shardChannel, .user, .room: true
        case .request, .reply, .roster, .control, .session, .part: false
        }
    }

    /// It waits for the name's holder to come back, if there was one lately.
    @inlinable public var isParked: Bool {
        @inline(__always) get { self == .user }
    }
}

/// The two ways of what one node sends to another, side by side: nothing in one waits for the other.
public enum Lane: Sendable {
    /// Messages to users, rooms and channels, requests and their replies.
    case messages
    /// Sessions that move, and large messages in parts: they may wait.
    case bulk
}
