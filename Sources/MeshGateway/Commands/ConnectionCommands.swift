import MeshCore
import MeshWire

// What a client says about itself: HELLO, AUTH, CLIENT and what else concerns one connection.

extension Gateway {
    /// What HELLO and INFO call our version: clients of today ask for 7.2 or later.
    static let redisVersion = "7.2.5"
    /// The longest name of a connection, of a library and of its version.
    static let clientNameLengthMax = 256

    mutating func ping(_ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        guard arguments.count <= 2 else {
            fail(client, .syntax(.argumentCount(command: "ping")))
            return
        }
        if clients[slot].flags.contains(.restricted) {
            clients[slot].output.append("*2\r\n$4\r\npong\r\n")
            if arguments.count == 1 {
                clients[slot].output.append("$0\r\n\r\n")
            } else {
                bulk(1, input, client)
            }
        } else if arguments.count == 1 {
            clients[slot].output.append("+PONG\r\n")
        } else {
            bulk(1, input, client)
        }
    }

    mutating func bulk(_ index: Int, _ input: Span<UInt8>, _ client: ClientIndex) {
        let slice = absolute(index)
        clients[client.slot].output.appendBulk(input, Int(slice.start), Int(slice.count))
    }

    mutating func select(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard let database = integer(1, input) else {
            fail(client, .syntax(.notAnInteger))
            return
        }
        guard (0..<16).contains(database) else {
            fail(client, .redis(.databaseIndex))
            return
        }
        ok(client)
    }

    // MARK: Greeting

    mutating func hello(_ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        var isRESP3 = clients[slot].isRESP3
        if arguments.count > 1 {
            guard let version = integer(1, input) else {
                fail(client, .redis(.versionNotAnInteger))
                return
            }
            guard version == 2 || version == 3 else {
                fail(client, .redis(.unknownVersion))
                return
            }
            isRESP3 = version == 3
            // What waits was to be read by the protocol that was.
            releaseMailbox(client)
        }
        var isAuthenticated = clients[slot].flags.contains(.authenticated)
        var name: [UInt8]?
        var index = 2
        while index < arguments.count {
            if equals(index, "auth", input), index + 2 < arguments.count {
                guard isPassword(bytes(index + 2, input), user: bytes(index + 1, input)) else {
                    refusePassword(client)
                    return
                }
                isAuthenticated = true
                index += 3
            } else if equals(index, "setname", input), index + 1 < arguments.count {
                name = bytes(index + 1, input)
                guard isClientName(name ?? [], client) else { return }
                index += 2
            } else {
                fail(
                    client,
                    .redis(.unknownGreeting(option: excerpt(index, input, countMax: 4_096))))
                return
            }
        }
        guard isAuthenticated else {
            fail(client, .redis(.greetingUnauthenticated))
            return
        }
        clients[slot].flags.insert(.authenticated)
        if let name { clients[slot].name = name }
        if isRESP3 {
            clients[slot].flags.insert(.resp3)
        } else {
            clients[slot].flags.remove(.resp3)
        }
        chooseRestriction(client)
        let greeting = ReplyValue.map([
            ("server", .text("redis")), ("version", .text(Self.redisVersion)),
            ("proto", .integer(isRESP3 ? 3 : 2)), ("id", .integer(Int(clients[slot].id))),
            ("mode", .text("standalone")), ("role", .text("master")), ("modules", .array([])),
        ])
        clients[slot].output.appendReply(greeting, isRESP3: isRESP3)
    }

    mutating func authenticate(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count <= 3 else {
            fail(client, .syntax(.unknownArgument))
            return
        }
        if arguments.count == 2, configuration.password == nil {
            fail(client, .rights(.passwordNotAsked))
            return
        }
        let user = arguments.count == 3 ? bytes(1, input) : Array("default".utf8)
        guard isPassword(bytes(arguments.count - 1, input), user: user) else {
            refusePassword(client)
            return
        }
        clients[client.slot].flags.insert(.authenticated)
        ok(client)
    }

    private mutating func refusePassword(_ client: ClientIndex) {
        counters[.authenticationFailures] += 1
        fail(client, .rights(.wrongPassword))
    }

    /// Compares in a time that does not tell how much was right.
    private func isPassword(_ given: [UInt8], user: [UInt8]) -> Bool {
        guard user == Array("default".utf8) else { return false }
        guard let password = configuration.password else { return true }
        let expected = Array(password.utf8)
        var difference = UInt64(expected.count ^ given.count)
        for index in given.indices {
            let byte = expected.isEmpty ? 0 : expected[index % expected.count]
            difference |= UInt64(byte ^ given[index])
        }
        return difference == 0
    }

    /// Back to the first state: no subscriptions, RESP2, not authenticated.
    mutating func reset(_ client: ClientIndex) {
        let slot = client.slot
        endHolding(at: client)
        releaseMailbox(client)
        for kind in TopicKind.allCases {
            while !clients[slot].lists[first: kind].isNone {
                leave(client, clients[slot].lists[first: kind])
            }
        }
        clients[slot].flags.subtract([
            .resp3, .restricted, .replyOff, .replySkip, .muted, .noEvict, .noTouch, .gaps, .reports,
            .moves, .gapPending, .confirmsLocally,
        ])
        clients[slot].mailbox.gaps.removeAll()
        clients[slot].mailbox.policy = configuration.slowConsumerPolicy
        chooseTracking(client)
        if configuration.password != nil { clients[slot].flags.remove(.authenticated) }
        clients[slot].name = []
        clients[slot].watching = []
        clients[slot].output.append("+RESET\r\n")
    }

    // MARK: CLIENT

    mutating func connectionCommand(
        _ command: Command, _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) {
        let slot = client.slot
        switch command {
        case .clientID:
            integer(Int(clients[slot].id), client)
        case .clientGetName:
            let name = clients[slot].name
            let isRESP3 = clients[slot].isRESP3
            if name.isEmpty {
                clients[slot].output.appendNull(isRESP3: isRESP3)
            } else {
                clients[slot].output.appendBulk(name)
            }
        case .clientSetName:
            let name = bytes(2, input)
            guard isClientName(name, client) else { return }
            clients[slot].name = name
            ok(client)
        case .clientSetInfo:
            setLibrary(input, client)
        case .clientInfo:
            reply(client, .verbatim(describe(client, now) + "\n"))
        case .clientReply:
            setReplies(input, client)
        case .clientNoEvict:
            setFlag(.noEvict, input, client)
        case .clientNoTouch:
            setFlag(.noTouch, input, client)
        case .clientTracking:
            setTracking(input, client)
        default:
            integer(-1, client)
        }
    }

    /// CLIENT TRACKING: OFF is the case already. Redis reads the options before the word counts for
    /// anything, and lets them stand beside OFF.
    private mutating func setTracking(_ input: Span<UInt8>, _ client: ClientIndex) {
        var index = 3
        while index < arguments.count {
            if equals(index, "redirect", input), index + 1 < arguments.count {
                guard integer(index + 1, input) != nil else {
                    fail(client, .syntax(.notAnInteger))
                    return
                }
                index += 2
            } else if equals(index, "prefix", input), index + 1 < arguments.count {
                index += 2
            } else if ["bcast", "optin", "optout", "noloop"].contains(where: {
                equals(index, $0, input)
            }) {
                index += 1
            } else {
                fail(client, .syntax(.unknownArgument))
                return
            }
        }
        if equals(2, "off", input) {
            ok(client)
        } else if equals(2, "on", input) {
            fail(client, .redis(.tracking))
        } else {
            fail(client, .syntax(.unknownArgument))
        }
    }

    private mutating func isClientName(_ name: [UInt8], _ client: ClientIndex) -> Bool {
        guard name.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            fail(client, .redis(.characters(.name)))
            return false
        }
        guard name.count <= Self.clientNameLengthMax else {
            fail(client, .redis(.clientName(bytesMax: Self.clientNameLengthMax)))
            return false
        }
        return true
    }

    private mutating func setLibrary(_ input: Span<UInt8>, _ client: ClientIndex) {
        let isName = equals(2, "lib-name", input)
        guard isName || equals(2, "lib-ver", input) else {
            fail(client, .redis(.unknownClientText(name: excerpt(2, input))))
            return
        }
        let value = bytes(3, input)
        guard value.count <= Self.clientNameLengthMax,
            value.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else {
            fail(client, .redis(.characters(isName ? .libraryName : .libraryVersion)))
            return
        }
        if isName {
            clients[client.slot].libraryName = value
        } else {
            clients[client.slot].libraryVersion = value
        }
        ok(client)
    }

    private mutating func setReplies(_ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        if equals(2, "on", input) {
            clients[slot].flags.subtract([.replyOff, .replySkip, .muted])
            ok(client)
        } else if equals(2, "off", input) {
            clients[slot].flags.formUnion([.replyOff, .muted])
        } else if equals(2, "skip", input) {
            if !clients[slot].flags.contains(.replyOff) {
                clients[slot].flags.formUnion([.replySkip, .muted])
            }
        } else {
            fail(client, .syntax(.unknownArgument))
        }
    }

    private mutating func setFlag(
        _ flag: SessionFlags, _ input: Span<UInt8>, _ client: ClientIndex
    ) {
        if equals(2, "on", input) {
            clients[client.slot].flags.insert(flag)
        } else if equals(2, "off", input) {
            clients[client.slot].flags.remove(flag)
        } else {
            fail(client, .syntax(.unknownArgument))
            return
        }
        ok(client)
    }

    /// A client as CLIENT LIST tells of it, without the line's end. What has no meaning here is 0.
    private func describe(_ client: ClientIndex, _ now: Instant) -> String {
        let slot = client.slot
        let flags = clients[slot].flags
        var letters = ""
        if clients[slot].lists.redisCount > 0 { letters += "P" }
        if flags.contains(.queueing) { letters += "x" }
        if flags.contains(.asking) { letters += "b" }
        if !flags.isDisjoint(with: [.ending, .doomed]) { letters += "c" }
        if flags.contains(.noEvict) { letters += "e" }
        if flags.contains(.noTouch) { letters += "T" }
        if letters.isEmpty { letters = "N" }
        let waiting = clients[slot].output.count
        let mailbox = clients[slot].mailbox.waiting.byteCount
        let queued =
            flags.contains(.queueing) ? clients[slot].transaction.queuedCount : -1
        let command = clients[slot].lastCommand.map { table[$0].fullName } ?? "NULL"
        let age = (now - clients[slot].openedAt).milliseconds / 1_000
        let idle = (now - clients[slot].lastSeenAt).milliseconds / 1_000
        let fields: [(String, String)] = [
            ("id", "\(clients[slot].id)"), ("addr", clients[slot].address),
            ("laddr", configuration.localAddress), ("fd", "\(slot)"),
            ("name", String(decoding: clients[slot].name, as: UTF8.self)), ("age", "\(age)"),
            ("idle", "\(idle)"), ("flags", letters), ("db", "0"),
            ("sub", "\(clients[slot].lists[count: .channel])"),
            ("psub", "\(clients[slot].lists[count: .pattern])"),
            ("ssub", "\(clients[slot].lists[count: .shardChannel])"), ("multi", "\(queued)"),
            ("qbuf", "0"), ("qbuf-free", "0"), ("argv-mem", "0"), ("multi-mem", "0"),
            ("rbs", "0"), ("rbp", "0"), ("obl", "\(waiting)"),
            ("oll", "\(clients[slot].mailbox.waiting.count)"), ("omem", "\(mailbox)"),
            ("tot-mem", "\(clients[slot].output.byteCapacity + MemoryLayout<Session>.stride)"),
            ("events", "r"), ("cmd", command), ("user", "default"), ("redir", "-1"),
            ("resp", clients[slot].isRESP3 ? "3" : "2"),
            ("lib-name", String(decoding: clients[slot].libraryName, as: UTF8.self)),
            ("lib-ver", String(decoding: clients[slot].libraryVersion, as: UTF8.self)),
            ("policy", clients[slot].mailbox.policy.name),
            ("dropped", "\(clients[slot].droppedCount)"),
        ]
        return fields.map { "\($0.0)=\($0.1)" }.joined(separator: " ")
    }

    private enum ClientType { case normal, pubsub, other }

    /// Nil for a word that is no type of client.
    private func clientType(_ index: Int, _ input: Span<UInt8>) -> ClientType? {
        if equals(index, "normal", input) { return .normal }
        if equals(index, "pubsub", input) { return .pubsub }
        if equals(index, "master", input) || equals(index, "replica", input)
            || equals(index, "slave", input)
        {
            return .other
        }
        return nil
    }

    private func type(of client: ClientIndex) -> ClientType {
        clients[client.slot].lists.redisCount > 0 ? .pubsub : .normal
    }

    mutating func listClients(_ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant) {
        var type: ClientType?
        var ids: Set<Int64>?
        if arguments.count == 4, equals(2, "type", input) {
            type = clientType(3, input)
            guard type != nil else {
                fail(client, .redis(.unknownClientType(name: excerpt(3, input))))
                return
            }
        } else if arguments.count > 3, equals(2, "id", input) {
            var wanted: Set<Int64> = []
            for index in 3..<arguments.count {
                guard let id = integer(index, input), id > 0 else {
                    fail(client, .redis(.clientIDListed))
                    return
                }
                wanted.insert(Int64(id))
            }
            ids = wanted
        } else if arguments.count != 2 {
            fail(client, .syntax(.unknownArgument))
            return
        }
        var text = ""
        for slot in 0..<clients.count where clients[slot].flags.contains(.open) {
            if let type, self.type(of: ClientIndex(slot)) != type { continue }
            if let ids, !ids.contains(clients[slot].id) { continue }
            text += describe(ClientIndex(slot), now) + "\n"
        }
        reply(client, .verbatim(text))
    }

    mutating func killClients(
        _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) -> Request {
        if arguments.count == 3 {
            let address = text(2, input, countMax: 128)
            for slot in 0..<clients.count
            where clients[slot].flags.contains(.open) && clients[slot].address == address {
                ok(client)
                return kill(ClientIndex(slot), askedBy: client)
            }
            fail(client, .redis(.unknownClient))
            return .handled
        }
        var filter = KillFilter()
        guard read(&filter, input, client, now) else { return .handled }
        var count = 0
        var request = Request.handled
        for slot in 0..<clients.count
        where clients[slot].flags.contains(.open) && !clients[slot].flags.contains(.doomed) {
            if filter.skipsMe, slot == client.slot { continue }
            if let id = filter.id, clients[slot].id != id { continue }
            if let address = filter.address, clients[slot].address != address { continue }
            if let type = filter.type, self.type(of: ClientIndex(slot)) != type { continue }
            if filter.isNobody { continue }
            if let since = filter.openedBefore, !(clients[slot].openedAt < since) { continue }
            count += 1
            if case .end = kill(ClientIndex(slot), askedBy: client) { request = .end }
        }
        integer(count, client)
        return request
    }

    private struct KillFilter {
        var id: Int64?
        var address: String?
        var type: ClientType?
        var openedBefore: Instant?
        var skipsMe = true
        /// A local address or user that nobody has.
        var isNobody = false
    }

    private mutating func read(
        _ filter: inout KillFilter, _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) -> Bool {
        var index = 2
        while index < arguments.count {
            guard index + 1 < arguments.count else {
                fail(client, .syntax(.unknownArgument))
                return false
            }
            let value = index + 1
            if equals(index, "id", input) {
                guard let id = integer(value, input), id > 0 else {
                    fail(client, .redis(.clientIDKilled))
                    return false
                }
                filter.id = Int64(id)
            } else if equals(index, "type", input) {
                filter.type = clientType(value, input)
                guard filter.type != nil else {
                    fail(client, .redis(.unknownClientType(name: excerpt(value, input))))
                    return false
                }
            } else if equals(index, "addr", input) {
                filter.address = text(value, input, countMax: 128)
            } else if equals(index, "laddr", input) {
                if text(value, input, countMax: 128) != configuration.localAddress {
                    filter.isNobody = true
                }
            } else if equals(index, "user", input) {
                guard equals(value, "default", input) else {
                    fail(client, .redis(.unknownUser(name: excerpt(value, input))))
                    return false
                }
            } else if equals(index, "maxage", input) {
                guard let seconds = integer(value, input), (1...1 << 32).contains(seconds) else {
                    fail(client, .redis(.ageMax))
                    return false
                }
                filter.openedBefore = now - .seconds(Int64(seconds))
            } else if equals(index, "skipme", input) {
                if equals(value, "yes", input) {
                    filter.skipsMe = true
                } else if equals(value, "no", input) {
                    filter.skipsMe = false
                } else {
                    fail(client, .syntax(.unknownArgument))
                    return false
                }
            } else {
                fail(client, .syntax(.unknownArgument))
                return false
            }
            index += 2
        }
        return true
    }

    /// Whoever kills itself is still answered.
    private mutating func kill(_ victim: ClientIndex, askedBy client: ClientIndex) -> Request {
        counters[.clientsKilled] += 1
        if victim == client {
            clients[client.slot].flags.insert(.ending)
            return .end
        }
        doom(victim)
        return .handled
    }
}
