import MeshCore
import MeshWire

// SUBSCRIBE and its kin: one confirmation for each argument, in their order.

extension Gateway {
    /// PUBLISH and SPUBLISH, and MESH.SEND.
    mutating func publish(
        _ body: RoutedBody, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        guard Int(arguments[1].count) <= Frame.nameLengthMax else {
            fail(client, .syntax(.name(.channel, bytesMax: Frame.nameLengthMax)))
            return .handled
        }
        if registry.hasGone, let kind = TopicKind(body) {
            endGone(kind, arguments[1], input)
        }
        let request = publication(body, arguments[1], arguments[2], input, by: client)
        guard arguments.isDecoded, case .publish(var publication) = request else { return request }
        publication.isDecoded = true
        return .publish(publication)
    }

    mutating func subscribe(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        let lengthMax = kind == .pattern ? Frame.patternLengthMax : Frame.nameLengthMax
        for index in 1..<arguments.count where Int(arguments[index].count) > lengthMax {
            fail(
                client,
                .syntax(.name(kind == .pattern ? .pattern : .channel, bytesMax: lengthMax)))
            return .handled
        }
        guard hasRoom(kind, 1..<arguments.count, input, client) else { return .handled }
        let slot = client.slot
        let isRESP3 = clients[slot].isRESP3
        let word = Confirmation.joined(kind)
        if kind != .watch { confirmWhenKnown(client) }
        for index in 1..<arguments.count {
            let name = arguments[index]
            join(client, kind, input, name)
            let count = confirmedCount(kind, client)
            clients[slot].output.appendPush(3, isRESP3: isRESP3)
            clients[slot].output.append(word)
            clients[slot].output.appendBulk(input, Int(name.start), Int(name.count))
            clients[slot].output.appendInteger(count)
        }
        chooseRestriction(client)
        return .handled
    }

    /// The growth that subscriptions would cause on a node.
    private struct Addition {
        var subscriptions = 0
        /// Names that nobody here has, and their bytes.
        var topics = 0
        var nameBytes = 0
    }

    /// Whether the node's bounds let these arguments be subscribed to by the client; otherwise an
    /// error is written. What is there already does not count.
    mutating func hasRoom(
        _ kind: TopicKind, _ range: Range<Int>, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        var addition = Addition(subscriptions: range.count, topics: range.count)
        for index in range { addition.nameBytes += Int(arguments[index].count) }
        if excess(kind, addition) == nil { return true }
        // Near a bound it is worth while to look at each.
        guard let reason = excess(kind, newcomers(kind, range, input, client)) else { return true }
        noteTrouble(.subscriptionsRefused, of: client)
        fail(client, reason)
        return false
    }

    /// Why that is too much; nil: it is not.
    private func excess(_ kind: TopicKind, _ addition: Addition) -> ClientRefusal? {
        let patternCountMax = min(configuration.patternCountMax, Frame.patternCountMax)
        if kind == .pattern, patterns.count + addition.topics > patternCountMax {
            return .limit(.patterns(countMax: patternCountMax))
        }
        if kind == .pattern {
            let bytesMax = min(configuration.patternBytesMax, Frame.patternBytesMax)
            if patterns.index.textBytes + addition.nameBytes > bytesMax {
                return .limit(.patternBytes(max: bytesMax))
            }
            let meshBytesMax = configuration.meshPatternBytesMax
            if patterns.meshBytes + addition.nameBytes > meshBytesMax {
                return .limit(.meshPatternBytes(max: meshBytesMax))
            }
        }
        if registry.count + addition.subscriptions > configuration.subscriptionCountMax
            || registry.topics.nameBytes + addition.nameBytes > configuration.nameBytesMax
        {
            return .limit(.subscriptions)
        }
        return nil
    }

    /// The arguments that the client does not have, and those that nobody here has; each counts once.
    private func newcomers(
        _ kind: TopicKind, _ range: Range<Int>, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Addition {
        var addition = Addition()
        var seen: Set<[UInt8]> = []
        for index in range {
            let name = arguments[index]
            let (start, count) = (Int(name.start), Int(name.count))
            let key = hasher.key(kind.keyKind, input, start, count)
            let topic = registry.topics.find(kind, key, input, start, count)
            if !topic.isNone, !registry.find(Receiver(client), topic).isNone { continue }
            guard seen.insert(bytes(index, input)).inserted else { continue }
            addition.subscriptions += 1
            if topic.isNone {
                addition.topics += 1
                addition.nameBytes += count
            }
        }
        return addition
    }

    mutating func unsubscribe(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        let slot = client.slot
        releaseMailbox(client)
        if arguments.count == 1 { return begin(.unsubscription(kind), for: client) }
        let isRESP3 = clients[slot].isRESP3
        let word = Confirmation.left(kind)
        for index in 1..<arguments.count {
            let name = arguments[index]
            leave(client, kind, input, name)
            let count = confirmedCount(kind, client)
            clients[slot].output.appendPush(3, isRESP3: isRESP3)
            clients[slot].output.append(word)
            clients[slot].output.appendBulk(input, Int(name.start), Int(name.count))
            clients[slot].output.appendInteger(count)
        }
        chooseRestriction(client)
        return .handled
    }

    /// Ends subscriptions of a kind, with a confirmation for each, or one for none: all of them, or as many
    /// as `units` suffice for.
    ///
    /// - Returns: whether all is done.
    mutating func leaveAll(
        _ kind: TopicKind, _ client: ClientIndex, _ units: inout Int
    ) -> Bool {
        let slot = client.slot
        let isRESP3 = clients[slot].isRESP3
        let word = Confirmation.left(kind)
        defer { wrote(client) }
        if clients[slot].lists[count: kind] == 0 {
            let count = confirmedCount(kind, client)
            clients[slot].output.appendPush(3, isRESP3: isRESP3)
            clients[slot].output.append(word)
            clients[slot].output.appendNull(isRESP3: isRESP3)
            clients[slot].output.appendInteger(count)
            return true
        }
        while !clients[slot].lists[first: kind].isNone {
            guard units > 0 else { return false }
            units -= Self.unitsPerSubscription
            let subscription = clients[slot].lists[first: kind]
            // The name is written first: with its last subscriber the topic forgets it.
            clients[slot].output.appendPush(3, isRESP3: isRESP3)
            clients[slot].output.append(word)
            appendName(registry.subscription(subscription).topic, to: client)
            leave(client, subscription)
            let count = confirmedCount(kind, client)
            clients[slot].output.appendInteger(count)
        }
        chooseRestriction(client)
        return true
    }

    /// The number in a confirmation: channels and patterns together, shard channels apart, and
    /// what is watched apart.
    private func confirmedCount(_ kind: TopicKind, _ client: ClientIndex) -> Int {
        switch kind {
        case .channel, .pattern:
            Int(clients[client.slot].lists[count: .channel])
                + Int(clients[client.slot].lists[count: .pattern])
        default: Int(clients[client.slot].lists[count: kind])
        }
    }

    /// A RESP2 client with subscriptions may run few commands.
    mutating func chooseRestriction(_ client: ClientIndex) {
        let slot = client.slot
        if !clients[slot].isRESP3, clients[slot].lists.redisCount > 0 {
            clients[slot].flags.insert(.restricted)
        } else {
            clients[slot].flags.remove(.restricted)
        }
    }

    func appendName(_ topic: TopicIndex, to queue: inout ByteQueue) {
        registry.topics.withName(topic) { queue.appendBulk($0, 0, $0.count) }
    }

    mutating func appendName(_ topic: TopicIndex, to client: ClientIndex) {
        let slot = client.slot
        registry.topics.withName(topic) { clients[slot].output.appendBulk($0, 0, $0.count) }
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
        if clients[client.slot].flags.contains(.session) {
            let topic = registry.subscription(subscription).topic
            if registry.topics[topic].kind == .user { endSession(client, ofTopic: topic) }
        }
        let outcome = registry.leave(subscription, &clients[client.slot].lists)
        if outcome.isEdge { lastLeft(outcome.topic) }
    }

    /// A topic is new here: the node's directory must know.
    mutating func firstJoined(_ topic: TopicIndex) {
        if registry.topics[topic].kind == .pattern {
            patterns.insert(registry.topics.name(topic), topic)
        }
        noteChange(topic, .add)
    }

    /// A topic has nobody left here.
    mutating func lastLeft(_ topic: TopicIndex) {
        noteChange(topic, .remove)
        if registry.topics[topic].kind == .pattern {
            patterns.remove(registry.topics.name(topic))
        }
        registry.removeTopic(topic)
    }

    private mutating func noteChange(_ topic: TopicIndex, _ change: DirectoryChange) {
        let key = registry.topics[topic].key
        let kind = registry.topics[topic].kind
        if kind == .pattern {
            // Patterns are told apart by their text, so a twin does not matter.
            outbox.changes.append(
                InterestChange(
                    subject: .pattern(registry.topics.name(topic)), key: key, change: change))
            return
        }
        // Another name with the same key holds the directory's entry already, or still. Who knows
        // that this one was not here is told anew.
        if kind == .watch || change == .remove, registry.topics.hasTwin(topic) { return }
        outbox.changes.append(
            InterestChange(subject: kind == .watch ? .watch : .key, key: key, change: change))
    }
}

/// The second line of a confirmation: the word of what was done.
private enum Confirmation {
    static func joined(_ kind: TopicKind) -> StaticString {
        switch kind {
        case .channel: "$9\r\nsubscribe\r\n"
        case .pattern: "$10\r\npsubscribe\r\n"
        case .shardChannel: "$10\r\nssubscribe\r\n"
        case .watch: "$5\r\nwatch\r\n"
        case .user, .room: preconditionFailure("users are attached without confirmation")
        }
    }

    static func left(_ kind: TopicKind) -> StaticString {
        switch kind {
        case .channel: "$11\r\nunsubscribe\r\n"
        case .pattern: "$12\r\npunsubscribe\r\n"
        case .shardChannel: "$12\r\nsunsubscribe\r\n"
        case .watch: "$7\r\nunwatch\r\n"
        case .user, .room: preconditionFailure("users are detached without confirmation")
        }
    }
}
