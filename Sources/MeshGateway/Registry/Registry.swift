import MeshCore
import MeshWire

/// A subscription's place in the gateway's table; reused after `leave`.
struct SubscriptionIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The subscriptions between receivers and topics.
///
/// A subscription stands in two lists, its topic's, oldest first, and its receiver's; both are
/// doubly linked, so that joining and leaving are O(1) however long they are. A table of
/// (receiver, topic) tells whether a subscription exists.
///
///     topic ──▶ subscription ⇄ subscription ⇄ …         receiver ──▶ subscription ⇄ …
///
/// A subscription costs 28 bytes and about 7 in the table; alone on its topic some 115 bytes with
/// everything, the name included.
struct Registry: ~Copyable {
    struct Subscription {
        /// None: free; `nextInTopic` then chains the free ones.
        var receiver: Receiver
        var topic: TopicIndex
        var nextInTopic: SubscriptionIndex
        var previousInTopic: SubscriptionIndex
        var nextOfReceiver: SubscriptionIndex
        var previousOfReceiver: SubscriptionIndex
    }

    var topics: Topics
    var members: Members
    /// Clients that are no more, and whose subscriptions are still to be ended, the first one first.
    var gone = FIFO<ClientIndex>() {
        didSet { hasGone = !gone.isEmpty }
    }
    /// The same as that `gone` is not empty: each message asks.
    private(set) var hasGone = false
    private var subscriptions = Slab<Subscription>()
    /// Of each subscription of a client to a user its attachment, of one to a room the first of its
    /// memberships, of one to a roster its watcher; apart, because each message reads of the subscriptions.
    private var details = Slab<Int32>()
    /// The first of the free subscriptions.
    private var freeSubscription = SubscriptionIndex.none
    /// Subscriptions of all kinds.
    private(set) var count = 0
    /// Subscriptions by receiver and topic.
    private var map = IndexMap()
    private let secret: UInt64

    /// - Parameter secret: unknown to others, so that nobody can choose what collides.
    init(secret: UInt64) {
        self.secret = secret
        topics = Topics(spread: KeySpread(secret: secret))
        members = Members(secret: secret)
    }

    /// The change that a join or a departure has made.
    struct Outcome {
        var topic: TopicIndex
        /// The receiver was not there before, or was.
        var isChanged: Bool
        /// It is the topic's first subscriber, or was the last.
        var isEdge: Bool
    }

    /// Makes the receiver a subscriber of the topic of this name, which may be new.
    mutating func join(
        _ receiver: Receiver, _ lists: inout SubscriptionLists, _ kind: TopicKind, _ key: Key,
        _ bytes: Span<UInt8>, _ start: Int, _ count: Int
    ) -> Outcome {
        var topic = topics.find(kind, key, bytes, start, count)
        let isNewTopic = topic.isNone
        if isNewTopic {
            topic = topics.insert(kind, key, bytes, start, count)
        } else if !self.find(receiver, topic).isNone {
            return Outcome(topic: topic, isChanged: false, isEdge: false)
        }

        let index: SubscriptionIndex
        if !freeSubscription.isNone {
            index = freeSubscription
            freeSubscription = subscriptions[index.slot].nextInTopic
        } else {
            index = SubscriptionIndex(subscriptions.count)
            subscriptions.append(
                Subscription(
                    receiver: .none, topic: .none, nextInTopic: .none, previousInTopic: .none,
                    nextOfReceiver: .none, previousOfReceiver: .none))
            details.append(-1)
        }
        details[index.slot] = -1
        let last = topics[topic].last
        let first = lists[first: kind]
        subscriptions[index.slot] = Subscription(
            receiver: receiver, topic: topic, nextInTopic: .none, previousInTopic: last,
            nextOfReceiver: first, previousOfReceiver: .none)
        if !last.isNone {
            subscriptions[last.slot].nextInTopic = index
        } else {
            topics[topic].first = index
        }
        topics[topic].last = index
        topics[topic].count += 1
        if !first.isNone { subscriptions[first.slot].previousOfReceiver = index }
        lists[first: kind] = index
        lists[count: kind] += 1
        self.count += 1
        map.insert(index.slot, Self.hash(receiver, topic, secret)) {
            subscriptions.read($0) { Self.hash($0.receiver, $0.topic, secret) }
        }
        return Outcome(topic: topic, isChanged: true, isEdge: isNewTopic)
    }

    /// Ends a subscription of the receiver whose lists these are. Its topic stays, even without
    /// subscribers, until `removeTopic`, so that the caller can still read its name.
    mutating func leave(_ index: SubscriptionIndex, _ lists: inout SubscriptionLists) -> Outcome {
        let gone = subscriptions[index.slot]
        precondition(!gone.receiver.isNone, "no subscription \(index)")
        map.remove(
            Self.hash(gone.receiver, gone.topic, secret),
            rehash: { subscriptions.read($0) { Self.hash($0.receiver, $0.topic, secret) } },
            where: { $0 == index.slot })
        let topic = gone.topic
        let kind = topics[topic].kind
        if !gone.nextInTopic.isNone {
            subscriptions[gone.nextInTopic.slot].previousInTopic = gone.previousInTopic
        } else {
            topics[topic].last = gone.previousInTopic
        }
        if !gone.previousInTopic.isNone {
            subscriptions[gone.previousInTopic.slot].nextInTopic = gone.nextInTopic
        } else {
            topics[topic].first = gone.nextInTopic
        }
        topics[topic].count -= 1
        if !gone.nextOfReceiver.isNone {
            subscriptions[gone.nextOfReceiver.slot].previousOfReceiver = gone.previousOfReceiver
        }
        if !gone.previousOfReceiver.isNone {
            subscriptions[gone.previousOfReceiver.slot].nextOfReceiver = gone.nextOfReceiver
        } else {
            lists[first: kind] = gone.nextOfReceiver
        }
        lists[count: kind] -= 1
        count -= 1
        subscriptions[index.slot].receiver = .none
        subscriptions[index.slot].nextInTopic = freeSubscription
        freeSubscription = index
        return Outcome(topic: topic, isChanged: true, isEdge: topics[topic].count == 0)
    }

    mutating func removeTopic(_ topic: TopicIndex) {
        precondition(topics[topic].count == 0, "topic \(topic) has subscribers")
        topics.remove(topic)
    }

    @inline(__always)
    func subscription(_ index: SubscriptionIndex) -> Subscription { subscriptions[index.slot] }

    /// Notes the attachment, the first membership, or the watcher of a subscription.
    mutating func setDetail(_ index: SubscriptionIndex, _ detail: some TableIndex) {
        details[index.slot] = detail.rawValue
    }

    func attachment(of index: SubscriptionIndex) -> AttachmentIndex {
        AttachmentIndex(rawValue: details[index.slot])
    }

    func watcher(of index: SubscriptionIndex) -> WatcherIndex {
        WatcherIndex(rawValue: details[index.slot])
    }

    func firstMember(of index: SubscriptionIndex) -> MemberIndex {
        MemberIndex(rawValue: details[index.slot])
    }

    /// The subscription of this receiver to this topic; none where there is none.
    func find(_ receiver: Receiver, _ topic: TopicIndex) -> SubscriptionIndex {
        let found = map.find(Self.hash(receiver, topic, secret)) {
            subscriptions[$0].receiver == receiver && subscriptions[$0].topic == topic
        }
        return found.map { SubscriptionIndex($0) } ?? .none
    }

    /// MurmurHash3's finaliser, which spreads every bit (Appleby 2011).
    private static func hash(
        _ receiver: Receiver, _ topic: TopicIndex, _ secret: UInt64
    ) -> UInt64 {
        var word = UInt64(UInt32(bitPattern: receiver.rawValue)) << 32
        word |= UInt64(UInt32(bitPattern: topic.rawValue))
        word ^= secret
        word = (word ^ (word >> 33)) &* 0xFF51_AFD7_ED55_8CCD
        word = (word ^ (word >> 33)) &* 0xC4CE_B9FE_1A85_EC53
        return word ^ (word >> 33)
    }

    /// Bytes of memory besides the names.
    var byteCapacity: Int {
        topics.byteCapacity + map.byteCapacity + members.byteCapacity
            + subscriptions.count
            * (MemoryLayout<Subscription>.stride + MemoryLayout<Int32>.stride)
    }
}
