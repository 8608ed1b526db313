import MeshCore
import MeshWire

// MESH.*: operations for which Redis has no word.

extension Gateway {
    /// True when the arguments from `first` on are names of users; otherwise an error is written.
    mutating func areUsers(
        _ range: Range<Int>, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        for index in range {
            let count = Int(arguments[index].count)
            if count == 0 || count > Hub.userNameLengthMax {
                fail(client, .syntax(.user(bytesMax: Hub.userNameLengthMax)))
                return false
            }
        }
        return true
    }

    // MARK: Users

    mutating func attach(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client) else { return .handled }
        let user = bytes(1, input)
        var metadata: [UInt8]?
        var first = 2
        if arguments.count > 3, equals(2, "meta", input) {
            metadata = self.metadata(3, input, client)
            if metadata == nil { return .handled }
            first = 4
        }
        if let refusal = hub.announce(metadata, ofUser: user, client) {
            return answer(client, .refused(refusal))
        }
        let rest = arguments.count - first
        if rest == 0 { return answer(client, hub.attach(user, client)) }
        if equals(first, "session", input),
            rest == 1 || rest == 2 && equals(first + 1, "counted", input)
        {
            return answer(client, hub.beginSession(user, isCounted: rest == 2, client))
        }
        guard equals(first, "resume", input),
            rest == 2 || rest == 4 && equals(first + 2, "seen", input)
        else { return answer(client, .refused(.syntax(.unknownAttachment))) }
        var seen: UInt64?
        if rest == 4 {
            seen = integer(first + 3, input).flatMap { UInt64(exactly: $0) }
            guard seen != nil else { return answer(client, .refused(.syntax(.notAnInteger))) }
        }
        guard let token = SessionToken(bytes(first + 1, input, countMax: 64)) else {
            return answer(client, .refused(.syntax(.notAToken)))
        }
        return answer(client, hub.resume(user, token, seen: seen, client))
    }

    mutating func detach(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<arguments.count, input, client) else { return .handled }
        hub.releaseMailbox(client)
        if arguments.count == 1 { return begin(.detachment(Detachment()), for: client) }
        if arguments.count - 1 > Self.namesPerEvent { return beginNames(.detach, for: client) }
        var count = 0
        for index in 1..<arguments.count where hub.detach(bytes(index, input), client) {
            count += 1
        }
        return answer(client, .count(count))
    }

    /// MESH.ACK.
    mutating func acknowledge(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard let seen = integer(2, input).flatMap({ UInt64(exactly: $0) }) else {
            return answer(client, .refused(.syntax(.notAnInteger)))
        }
        return answer(client, hub.acknowledge(bytes(1, input), seen: seen, client))
    }

    mutating func online(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<arguments.count, input, client) else { return .handled }
        if arguments.count - 1 > Self.namesPerEvent { return beginNames(.askOnline, for: client) }
        return askOnline(1..<arguments.count, input)
    }

    /// Asks the driver which of the users of these arguments are somewhere.
    mutating func askOnline(_ range: Range<Int>, _ input: Span<UInt8>) -> Request {
        asks(.online(range.map { hub.askedUser(arguments[$0], input) }))
    }

    /// Answers `.report(.online)`, in the order of its users.
    public mutating func onlineNow(_ client: ClientIndex, _ states: [Bool]) {
        let slot = client.slot
        guard var gathered = conversations[slot].partial.gathered.take() else {
            reply(client, .array(states.map { .integer($0 ? 1 : 0) }))
            return
        }
        for isOnline in states { gathered.elements.appendInteger(isOnline ? 1 : 0) }
        gathered.missing -= states.count
        if gathered.missing > 0 {
            conversations[slot].partial.gathered = consume gathered
            return
        }
        if hub.clients[slot].flags.contains(.muted) { return }
        hub.clients[slot].output.appendArray(gathered.count)
        gathered.elements.withSpan { hub.clients[slot].output.append($0, 0, $0.count) }
        hub.wrote(client)
    }

    mutating func whereabouts(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client) else { return .handled }
        if arguments.count > 2 {
            guard arguments.count == 3, equals(2, "sessions", input) else {
                return answer(client, .refused(usage(.meshWhere)))
            }
            return answer(client, hub.askSessions(of: bytes(1, input), client))
        }
        return asks(.whereabouts(hub.askedUser(arguments[1], input), user: bytes(1, input)))
    }

    /// Confirms each user, then asks the driver how they are.
    mutating func watch(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<arguments.count, input, client) else { return .handled }
        let hasRoom = hub.excess(.watch, largestGrowth(), client) == nil
        // Each user is looked at twice.
        if arguments.count - 1 > Self.namesPerEvent / 2 {
            return beginNames(.join(.watch), hasRoom: hasRoom, for: client)
        }
        guard hasRoom || isAdmitted(.watch, input, client) else { return .handled }
        change(.watch, isJoining: true, 1..<arguments.count, input, client)
        return askPresence(1..<arguments.count, input, client)
    }

    /// Asks the driver how the users of these arguments are, which the client watches.
    mutating func askPresence(
        _ range: Range<Int>, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        let slot = client.slot
        var users: [AskedUser] = []
        users.reserveCapacity(range.count)
        hub.clients[slot].watching.removeAll()
        for index in range {
            let name = arguments[index]
            let user = hub.askedUser(name, input)
            let topic = hub.registry.topics.find(
                .watch, user.key, input, Int(name.start), Int(name.count))
            hub.clients[slot].watching.append(topic)
            users.append(user)
        }
        return asks(.watch(users))
    }

    mutating func unwatch(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        // Topics that are gone may be used again for others.
        hub.clients[client.slot].watching.removeAll()
        return unsubscribe(.watch, input, client)
    }

    // MARK: Ways

    mutating func trace(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        let kind: TopicKind
        if equals(1, "user", input) {
            kind = .user
        } else if equals(1, "channel", input) {
            kind = .channel
        } else if equals(1, "room", input) {
            kind = .room
        } else {
            return answer(client, .refused(.syntax(.unknownTraceTarget)))
        }
        guard Int(arguments[2].count) <= Frame.nameLengthMax else {
            return answer(
                client, .refused(.syntax(.name(.channel, bytesMax: Frame.nameLengthMax))))
        }
        return answer(client, hub.trace(kind, arguments[2], input, client))
    }

    // MARK: Choices

    /// MESH.POLICY.
    mutating func choosePolicy(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count <= 2 else {
            fail(client, .syntax(.argumentCount(command: "mesh.policy")))
            return
        }
        if arguments.count == 1 {
            let name = hub.clients[client.slot].mailbox.policy.name
            hub.clients[client.slot].output.appendBulk(name)
            return
        }
        guard let policy = SlowConsumerPolicy(name: text(1, input, countMax: 32)) else {
            fail(client, .syntax(.unknownPolicy))
            return
        }
        hub.setPolicy(policy, client)
        ok(client)
    }

    /// MESH.GAPS, MESH.REPORTS and MESH.MOVES: ON or OFF.
    mutating func chooseNotices(
        _ command: Command, _ input: Span<UInt8>, _ client: ClientIndex
    ) {
        let isWanted = equals(1, "on", input)
        guard isWanted || equals(1, "off", input) else {
            fail(client, .syntax(.neitherOnNorOff))
            return
        }
        switch command {
        case .meshGaps: hub.setGapNotices(isWanted, client)
        case .meshReports: hub.clients[client.slot].flags.set(.reports, isWanted)
        default: hub.clients[client.slot].flags.set(.moves, isWanted)
        }
        ok(client)
    }

    /// MESH.DETAILS: ON or OFF; alone, which of them it is.
    mutating func chooseDetails(_ input: Span<UInt8>, _ client: ClientIndex) {
        if arguments.count == 1 {
            let isOn = hub.clients[client.slot].flags.contains(.details)
            reply(client, .array([.text(isOn ? "on" : "off")]))
            return
        }
        let isWanted = equals(1, "on", input)
        guard arguments.count == 2, isWanted || equals(1, "off", input) else {
            fail(client, usage(.meshDetails))
            return
        }
        hub.clients[client.slot].flags.set(.details, isWanted)
        ok(client)
    }

    /// `MESH.OPTION CONFIRM`: MESH or LOCAL.
    mutating func chooseConfirmation(_ input: Span<UInt8>, _ client: ClientIndex) {
        let isLocal = equals(2, "local", input)
        guard equals(1, "confirm", input), isLocal || equals(2, "mesh", input) else {
            fail(client, .syntax(.unknownOption))
            return
        }
        hub.clients[client.slot].flags.set(.confirmsLocally, isLocal)
        ok(client)
    }
}
