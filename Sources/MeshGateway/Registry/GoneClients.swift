import MeshCore
import MeshWire

// A client that has gone leaves its subscriptions behind, and they end step by step: a million of them
// would keep everybody else waiting. Meanwhile nothing is delivered to it, and it is not counted.

extension Hub {
    /// The work of ending one subscription, with what the directory has to do for it.
    static let unitsPerSubscription = 64

    /// Ends the client's subscriptions, all or as many as `units` suffice for.
    ///
    /// - Returns: whether none is left.
    mutating func leaveAll(_ client: ClientIndex, _ units: inout Int) -> Bool {
        let slot = client.slot
        var roomCount = 0
        // First of all: with a user its memberships end at once, however many there are.
        guard leaveRooms(client, &roomCount, &units) else { return false }
        for kind in TopicKind.allCases {
            while !clients[slot].lists[first: kind].isNone {
                guard units > 0 else { return false }
                units -= Self.unitsPerSubscription
                leave(client, clients[slot].lists[first: kind])
            }
        }
        return true
    }

    /// Takes a client away, which has nothing left but subscriptions. Its place is used again when they
    /// have ended.
    mutating func remove(_ client: ClientIndex) {
        endPaying(client)
        var rest = Session()
        rest.flags = .doomed
        rest.flags.set(.quits, clients[client.slot].flags.contains(.quits))
        rest.lists = clients[client.slot].lists
        clients[client.slot] = rest
        var units = Work.perEvent
        if leaveAll(client, &units) {
            clients.vacate(client.slot, leaving: Session())
        } else {
            registry.gone.append(client)
        }
    }

    /// Ends the subscriptions to one name of clients that have gone: what is published to it now is for
    /// others, or waits for them. See `outbox` afterwards.
    @inline(never)
    mutating func endGone(_ kind: TopicKind, _ name: Slice, _ input: Span<UInt8>) {
        let (start, count) = (Int(name.start), Int(name.count))
        let key = hasher.key(kind.keyKind, input, start, count)
        let topic = registry.topics.find(kind, key, input, start, count)
        guard !topic.isNone else { return }
        var index = registry.topics[topic].first
        while !index.isNone {
            let subscription = registry.subscription(index)
            if !isPresent(subscription.receiver) { leave(subscription.receiver.client, index) }
            index = subscription.nextInTopic
        }
    }

    /// Some clients that have gone still have subscriptions: `endGone` is to be called, once a turn.
    public var hasGone: Bool {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { registry.hasGone }
    }

    /// Ends some of the subscriptions of clients that have gone. See `outbox` afterwards.
    mutating func endGone() {
        var units = Work.perEvent
        while units > 0, let client = registry.gone.first, leaveAll(client, &units) {
            _ = registry.gone.popFirst()
            clients.vacate(client.slot, leaving: Session())
        }
    }

    /// The topic's subscribers here, without those that have gone. Not a mere `func`: the caller would copy
    /// the whole gateway for it.
    @inline(__always)
    mutating func receiverCount(_ topic: TopicIndex) -> Int {
        registry.hasGone ? presentCount(topic) : Int(registry.topics[topic].count)
    }

    /// The same, counted one by one.
    @inline(never)
    func presentCount(_ topic: TopicIndex) -> Int {
        var count = 0
        var index = registry.topics[topic].first
        while !index.isNone {
            let subscription = registry.subscription(index)
            if isPresent(subscription.receiver) { count += 1 }
            index = subscription.nextInTopic
        }
        return count
    }

    func isPresent(_ receiver: Receiver) -> Bool {
        !receiver.isClient || clients[receiver.client.slot].flags.contains(.open)
    }
}
