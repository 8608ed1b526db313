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
        if hub.registry.hasGone, let kind = TopicKind(body) {
            hub.endGone(kind, arguments[1], input)
        }
        var publication = hub.publication(body, arguments[1], arguments[2], input, by: client)
        publication.isDecoded = arguments.isDecoded
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
        guard hasRoom(kind, input, client) else { return .handled }
        if kind != .watch { hub.confirmWhenKnown(client) }
        for index in 1..<arguments.count {
            let name = arguments[index]
            hub.join(client, kind, input, name)
            confirm(Confirmation.joined(kind), kind, name, input, client)
        }
        chooseRestriction(client)
        return .handled
    }

    /// Whether the node's bounds let the client subscribe to the arguments; otherwise it is refused. What
    /// is there already does not count.
    mutating func hasRoom(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        let count = arguments.count - 1
        var most = Growth(subscriptions: count, topics: count)
        for index in 1..<arguments.count { most.nameBytes += Int(arguments[index].count) }
        if hub.excess(kind, most) == nil { return true }
        // Near a bound it is worth while to look at each.
        guard let reason = hub.excess(kind, growth(kind, input, client)) else { return true }
        hub.noteTrouble(.subscriptionsRefused, of: client)
        fail(client, reason)
        return false
    }

    /// The growth by the arguments, of which each counts once.
    private func growth(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Growth {
        var sum = Growth()
        var seen: Set<[UInt8]> = []
        for index in 1..<arguments.count {
            let growth = hub.growth(kind, arguments[index], input, client)
            guard growth.subscriptions > 0, seen.insert(bytes(index, input)).inserted else {
                continue
            }
            sum.subscriptions += growth.subscriptions
            sum.topics += growth.topics
            sum.nameBytes += growth.nameBytes
        }
        return sum
    }

    mutating func unsubscribe(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        hub.releaseMailbox(client)
        if arguments.count == 1 { return begin(.unsubscription(kind), for: client) }
        for index in 1..<arguments.count {
            let name = arguments[index]
            hub.leave(client, kind, input, name)
            confirm(Confirmation.left(kind), kind, name, input, client)
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
        let isRESP3 = hub.clients[slot].isRESP3
        let word = Confirmation.left(kind)
        defer { hub.wrote(client) }
        if hub.clients[slot].lists[count: kind] == 0 {
            let count = confirmedCount(kind, client)
            hub.clients[slot].output.appendPush(3, isRESP3: isRESP3)
            hub.clients[slot].output.append(word)
            hub.clients[slot].output.appendNull(isRESP3: isRESP3)
            hub.clients[slot].output.appendInteger(count)
            return true
        }
        while !hub.clients[slot].lists[first: kind].isNone {
            guard units > 0 else { return false }
            units -= Hub.unitsPerSubscription
            let subscription = hub.clients[slot].lists[first: kind]
            let topic = hub.registry.subscription(subscription).topic
            // The name is written first: with its last subscriber the topic forgets it.
            hub.clients[slot].output.appendPush(3, isRESP3: isRESP3)
            hub.clients[slot].output.append(word)
            hub.registry.topics.withName(topic) {
                hub.clients[slot].output.appendBulk($0, 0, $0.count)
            }
            hub.leave(client, subscription)
            let count = confirmedCount(kind, client)
            hub.clients[slot].output.appendInteger(count)
        }
        chooseRestriction(client)
        return true
    }

    private mutating func confirm(
        _ word: StaticString, _ kind: TopicKind, _ name: Slice, _ input: Span<UInt8>,
        _ client: ClientIndex
    ) {
        let slot = client.slot
        let count = confirmedCount(kind, client)
        let isRESP3 = hub.clients[slot].isRESP3
        hub.clients[slot].output.appendPush(3, isRESP3: isRESP3)
        hub.clients[slot].output.append(word)
        hub.clients[slot].output.appendBulk(input, name)
        hub.clients[slot].output.appendInteger(count)
    }

    /// The number in a confirmation: channels and patterns together, shard channels apart, and
    /// what is watched apart.
    private func confirmedCount(_ kind: TopicKind, _ client: ClientIndex) -> Int {
        switch kind {
        case .channel, .pattern:
            Int(hub.clients[client.slot].lists[count: .channel])
                + Int(hub.clients[client.slot].lists[count: .pattern])
        default: Int(hub.clients[client.slot].lists[count: kind])
        }
    }

    /// A RESP2 client with subscriptions may run few commands.
    mutating func chooseRestriction(_ client: ClientIndex) {
        let slot = client.slot
        conversations[slot].isRestricted =
            !hub.clients[slot].isRESP3 && hub.clients[slot].lists.redisCount > 0
        chooseWay(client)
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
