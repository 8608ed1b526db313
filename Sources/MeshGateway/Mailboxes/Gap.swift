import MeshCore
import MeshWire

/// The messages that a client has missed of one channel or user, until it is told.
struct Gap {
    var kind: MessageKind
    var name: [UInt8]
    var count: Int
    /// When the first of them was lost.
    var since: Instant

    /// The name by which `UntoldGaps` finds a gap.
    fileprivate static func key(_ kind: MessageKind, _ name: [UInt8]) -> [UInt8] {
        var key = name
        key.append(kind.rawValue)
        return key
    }
}

/// The kind of a message to a client, as gap notices and reports name it.
enum MessageKind: UInt8 {
    case channel, shard, pattern, user, presence
    /// Whatever a node sent to this one: a flow has a gap, and nobody knows what was in it.
    case node
    case room

    var name: StaticString {
        switch self {
        case .channel: "channel"
        case .shard: "shard"
        case .pattern: "pattern"
        case .user: "user"
        case .presence: "presence"
        case .node: "node"
        case .room: "room"
        }
    }

    /// A client may ask to be shown what such a message says besides its payload. What Redis has is as in Redis.
    var hasDetails: Bool {
        switch self {
        case .user, .room, .presence: true
        case .channel, .shard, .pattern, .node: false
        }
    }

    @inline(__always)
    init(_ body: RoutedBody) {
        switch body {
        case .channel, .control, .request, .reply, .roster, .session, .part: self = .channel
        case .shardChannel: self = .shard
        case .user: self = .user
        case .room: self = .room
        }
    }
}

/// The losses that a receiver was not told of, in the order of the first ones.
struct UntoldGaps {
    private(set) var list: [Gap] = []
    /// Where in `list` those of a name and kind are, by `Gap.key`.
    private var places: [[UInt8]: Int] = [:]
    /// They are told when the front of what waits has come to this number.
    private(set) var after: UInt64 = 0
    /// When the last ones were told.
    var toldAt: Instant?

    /// The most names of which losses are told apart; what is beyond is told together.
    static let nameCountMax = 1_024

    /// The messages of this name that were missed; nil: none that are told apart from others.
    func first(_ kind: MessageKind, _ name: [UInt8]) -> Gap? {
        places[Gap.key(kind, name)].map { list[$0] }
    }

    /// - Parameter position: of the message at the front that comes after what was missed.
    mutating func note(_ gap: Gap, before position: UInt64) {
        if list.isEmpty { after = position }
        // The list is short but for clients that are far behind on many names.
        let key = Gap.key(gap.kind, gap.name)
        if let place = places[key] {
            list[place].count = Hub.sumOfLost(list[place].count, gap.count)
            return
        }
        guard list.count < Self.nameCountMax else {
            let last = list.count - 1
            list[last].name = []
            list[last].kind = .node
            list[last].count = Hub.sumOfLost(list[last].count, gap.count)
            return
        }
        places[key] = list.count
        list.append(gap)
    }

    mutating func removeAll() {
        list.removeAll()
        places.removeAll()
    }
}
