import MeshCore
import MeshWire

// How subscriptions begin and end, whoever's they are, and the bounds that they keep.

/// The growth that subscriptions cause on a node.
struct Growth {
    var subscriptions = 0
    /// Names that nobody here has, and their bytes.
    var topics = 0
    var nameBytes = 0
}

extension Hub {
    // MARK: Room

    /// The bound of the node, or of the client's user, that this growth would exceed; nil: none.
    func excess(
        _ kind: TopicKind, _ growth: Growth, _ client: ClientIndex
    ) -> ClientRefusal? {
        let patternCountMax = min(configuration.patternCountMax, Frame.patternCountMax)
        if kind == .pattern, patterns.count + growth.topics > patternCountMax {
            return .limit(.patterns(countMax: patternCountMax))
        }
        if kind == .pattern {
            let bytesMax = min(configuration.patternBytesMax, Frame.patternBytesMax)
            if patterns.index.textBytes + growth.nameBytes > bytesMax {
                return .limit(.patternBytes(max: bytesMax))
            }
            let meshBytesMax = configuration.meshPatternBytesMax
            if patterns.meshBytes + growth.nameBytes > meshBytesMax {
                return .limit(.meshPatternBytes(max: meshBytesMax))
            }
        }
        if registry.count + growth.subscriptions > configuration.subscriptionCountMax
            || registry.topics.nameBytes + growth.nameBytes > configuration.nameBytesMax
        {
            return .limit(.subscriptions)
        }
        return excessOfUser(kind, growth, client)
    }

    /// The growth by one subscription of the client; none if it has it already.
    func growth(
        _ kind: TopicKind, _ name: Slice, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Growth {
        let (start, count) = (Int(name.start), Int(name.count))
        let key = hasher.key(kind.keyKind, input, start, count)
        let topic = registry.topics.find(kind, key, input, start, count)
        if topic.isNone { return Growth(subscriptions: 1, topics: 1, nameBytes: count) }
        let isThere = !registry.find(Receiver(client), topic).isNone
        return Growth(subscriptions: isThere ? 0 : 1)
    }

    /// Why the client cannot be attached as this user too; nil: it can, or it is.
    mutating func lackOfRoom(for user: [UInt8], _ client: ClientIndex) -> ClientRefusal? {
        let growth = growth(.user, Slice(start: 0, count: user.count), user.span, client)
        guard growth.subscriptions > 0,
            let refusal = excess(.user, growth, client) ?? lackOfPlace(for: user, client)
        else { return nil }
        noteLack(refusal, of: client, user: user)
        return refusal
    }

    // MARK: Joining and leaving

    /// Makes the client a subscriber of the topic of this name.
    @discardableResult
    mutating func join(
        _ client: ClientIndex, _ kind: TopicKind, _ input: Span<UInt8>, _ name: Slice
    ) -> TopicIndex {
        let slot = client.slot
        let start = Int(name.start)
        let count = Int(name.count)
        let key = hasher.key(kind.keyKind, input, start, count)
        let outcome = registry.join(
            Receiver(client), &clients[slot].lists, kind, key, input, start, count)
        if outcome.isChanged {
            chargeUser(client, kind, outcome.topic)
            if kind == .user { beginAttachment(client, outcome.topic) }
            if kind == .roomWatch { beginWatching(client, outcome.topic) }
        }
        if outcome.isEdge { firstJoined(outcome.topic) }
        return outcome.topic
    }

    /// Ends the client's subscription to the topic of this name; false when there was none.
    @discardableResult
    mutating func leave(
        _ client: ClientIndex, _ kind: TopicKind, _ input: Span<UInt8>, _ name: Slice
    ) -> Bool {
        let start = Int(name.start)
        let count = Int(name.count)
        guard count <= Frame.nameLengthMax else { return false }
        let key = hasher.key(kind.keyKind, input, start, count)
        let topic = registry.topics.find(kind, key, input, start, count)
        guard !topic.isNone else { return false }
        let subscription = registry.find(Receiver(client), topic)
        guard !subscription.isNone else { return false }
        leave(client, subscription)
        return true
    }

    mutating func leave(_ client: ClientIndex, _ subscription: SubscriptionIndex) {
        let topic = registry.subscription(subscription).topic
        let kind = registry.topics[topic].kind
        if kind == .user, clients[client.slot].flags.contains(.session) {
            endSession(client, ofTopic: topic)
        }
        if kind == .user || kind == .room { endMemberships(of: subscription, kind) }
        if kind == .roomWatch { endWatching(subscription) }
        if kind == .service { endServing(registry.topics.name(topic), client) }
        let outcome = registry.leave(subscription, &clients[client.slot].lists)
        refundUser(client, kind, topic)
        if outcome.isEdge { lastLeft(outcome.topic, departure(of: client)) }
    }

    /// How a client leaves a user.
    private func departure(of client: ClientIndex) -> DirectoryChange {
        if isKicking { return .kick }
        return clients[client.slot].flags.isDisjoint(with: [.open, .quits]) ? .lose : .remove
    }

    /// A topic is new here: the node's directory must know.
    mutating func firstJoined(_ topic: TopicIndex) {
        if registry.topics[topic].kind == .pattern {
            patterns.insert(registry.topics.name(topic), topic)
        }
        if registry.topics[topic].kind == .room { roomBegan(topic) }
        noteChange(topic, .add)
    }

    /// A topic has nobody left here.
    ///
    /// - Parameter departure: of a user; else it is of no account.
    mutating func lastLeft(_ topic: TopicIndex, _ departure: DirectoryChange) {
        if registry.topics[topic].kind == .room { roomEnded(topic) }
        noteChange(topic, registry.topics[topic].kind == .user ? departure : .remove)
        if registry.topics[topic].kind == .pattern {
            patterns.remove(registry.topics.name(topic))
        }
        registry.removeTopic(topic)
    }

    private mutating func noteChange(_ topic: TopicIndex, _ change: DirectoryChange) {
        let key = registry.topics[topic].key
        let kind = registry.topics[topic].kind
        // Of a service the mesh knows only while requests are taken for it (`noteOffer`).
        if kind == .service { return }
        if kind == .pattern {
            // Patterns are told apart by their text, so a twin does not matter.
            outbox.changes.append(
                InterestChange(
                    subject: .pattern(registry.topics.name(topic)), key: key, change: change))
            return
        }
        // Another name with the same key holds the directory's entry already, or still. Who knows
        // that this one was not here is told anew.
        if kind == .watch || change != .add, registry.topics.hasTwin(topic) { return }
        outbox.changes.append(
            InterestChange(subject: kind == .watch ? .watch : .key, key: key, change: change))
    }
}
