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
        let hasRoom = hub.excess(kind, largestGrowth(), client) == nil
        if arguments.count - 1 > Self.namesPerEvent {
            return beginNames(.join(kind), hasRoom: hasRoom, for: client)
        }
        guard hasRoom || isAdmitted(kind, input, client) else { return .handled }
        change(kind, isJoining: true, 1..<arguments.count, input, client)
        return .handled
    }

    /// The most names that one event sees to.
    static var namesPerEvent: Int { Work.perEvent / Hub.unitsPerSubscription }

    /// Begins or ends the subscriptions to these arguments, with a confirmation for each.
    mutating func change(
        _ kind: TopicKind, isJoining: Bool, _ range: Range<Int>, _ input: Span<UInt8>,
        _ client: ClientIndex
    ) {
        if isJoining, kind != .watch { hub.confirmWhenKnown(client) }
        let word = isJoining ? Confirmation.joined(kind) : Confirmation.left(kind)
        for index in range {
            let name = arguments[index]
            if isJoining {
                hub.join(client, kind, input, name)
            } else {
                hub.leave(client, kind, input, name)
            }
            confirm(word, kind, name, input, client)
        }
        chooseRestriction(client)
    }

    // MARK: Room

    /// The growth by the arguments if the client had none of them.
    func largestGrowth() -> Growth {
        var growth = Growth(subscriptions: arguments.count - 1, topics: arguments.count - 1)
        for index in 1..<arguments.count { growth.nameBytes += Int(arguments[index].count) }
        return growth
    }

    /// Whether the bounds of the node and of its user let the client subscribe to the arguments;
    /// otherwise it is refused. What is there already does not count: near a bound each is looked at.
    mutating func isAdmitted(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        var growth = MeasuredGrowth()
        measure(&growth, kind, 1..<arguments.count, input, client)
        return isAdmitted(kind, growth.sum, client)
    }

    mutating func isAdmitted(
        _ kind: TopicKind, _ growth: Growth, _ client: ClientIndex
    ) -> Bool {
        guard let reason = hub.excess(kind, growth, client) else { return true }
        hub.noteLack(reason, of: client)
        fail(client, reason)
        return false
    }

    /// Adds the growth by these arguments.
    func measure(
        _ growth: inout MeasuredGrowth, _ kind: TopicKind, _ range: Range<Int>,
        _ input: Span<UInt8>, _ client: ClientIndex
    ) {
        for index in range {
            let one = hub.growth(kind, arguments[index], input, client)
            guard one.subscriptions > 0, growth.seen.insert(bytes(index, input)).inserted else {
                continue
            }
            growth.seenBytes += Int(arguments[index].count)
            growth.sum.subscriptions += one.subscriptions
            growth.sum.topics += one.topics
            growth.sum.nameBytes += one.nameBytes
        }
    }

    mutating func unsubscribe(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        if arguments.count == 1 { return begin(.unsubscription(kind), for: client) }
        if arguments.count - 1 > Self.namesPerEvent { return beginNames(.leave(kind), for: client) }
        hub.releaseMailbox(client)
        change(kind, isJoining: false, 1..<arguments.count, input, client)
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

/// The growth by some arguments of a command, of which each name counts once.
struct MeasuredGrowth {
    var sum = Growth()
    /// The names that the client does not have.
    var seen: Set<[UInt8]> = []
    /// The bytes of those names.
    var seenBytes = 0

    /// The memory that it takes: an array has a head of 32 bytes, and its place in a set of 12 more or less.
    var byteCount: Int { seenBytes + seen.count * 48 }
}

/// The second line of a confirmation: the word of what was done.
private enum Confirmation {
    static func joined(_ kind: TopicKind) -> StaticString {
        switch kind {
        case .channel: "$9\r\nsubscribe\r\n"
        case .pattern: "$10\r\npsubscribe\r\n"
        case .shardChannel: "$10\r\nssubscribe\r\n"
        case .watch: "$5\r\nwatch\r\n"
        case .roomWatch: "$9\r\nwatchroom\r\n"
        case .user, .room, .service: preconditionFailure("users are attached without confirmation")
        }
    }

    static func left(_ kind: TopicKind) -> StaticString {
        switch kind {
        case .channel: "$11\r\nunsubscribe\r\n"
        case .pattern: "$12\r\npunsubscribe\r\n"
        case .shardChannel: "$12\r\nsunsubscribe\r\n"
        case .watch: "$7\r\nunwatch\r\n"
        case .roomWatch: "$11\r\nunwatchroom\r\n"
        case .user, .room, .service: preconditionFailure("users are detached without confirmation")
        }
    }
}
