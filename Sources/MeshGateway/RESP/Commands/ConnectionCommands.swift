import MeshCore
import MeshWire

// Commands about the client's own connection: HELLO, AUTH, CLIENT and their kin.

extension Gateway {
    /// The version that HELLO and INFO tell: clients of today ask for 7.2 or later.
    static let redisVersion = "7.2.5"
    /// The longest name of a connection, of a library and of its version.
    static let clientNameLengthMax = 256

    mutating func ping(_ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        guard arguments.count <= 2 else {
            fail(client, .syntax(.argumentCount(command: "ping")))
            return
        }
        if conversations[slot].isRestricted {
            hub.clients[slot].output.append("*2\r\n$4\r\npong\r\n")
            if arguments.count == 1 {
                hub.clients[slot].output.append("$0\r\n\r\n")
            } else {
                bulk(1, input, client)
            }
        } else if arguments.count == 1 {
            hub.clients[slot].output.append("+PONG\r\n")
        } else {
            bulk(1, input, client)
        }
    }

    mutating func bulk(_ index: Int, _ input: Span<UInt8>, _ client: ClientIndex) {
        let slice = arguments[index]
        hub.clients[client.slot].output.appendBulk(input, Int(slice.start), Int(slice.count))
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
        var isRESP3 = hub.clients[slot].isRESP3
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
            // The messages that wait are to be read by the former protocol.
            hub.releaseMailbox(client)
        }
        var principal = hub.principal(of: client)
        var name: [UInt8]?
        var index = 2
        while index < arguments.count {
            if equals(index, "auth", input), index + 2 < arguments.count {
                guard let shown = shown(bytes(index + 2, input), bytes(index + 1, input), client)
                else {
                    refusePassword(client)
                    return
                }
                principal = shown
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
        guard principal != .stranger else {
            fail(client, .redis(.greetingUnauthenticated))
            return
        }
        hub.become(principal, client)
        if let name { hub.clients[slot].identity.name = name }
        hub.clients[slot].flags.set(.resp3, isRESP3)
        chooseRestriction(client)
        let greeting = ReplyValue.map([
            ("server", .text("redis")), ("version", .text(Self.redisVersion)),
            ("proto", .integer(isRESP3 ? 3 : 2)),
            ("id", .integer(Int(hub.clients[slot].identity.id))),
            ("mode", .text("standalone")), ("role", .text("master")), ("modules", .array([])),
        ])
        hub.clients[slot].output.appendReply(greeting, isRESP3: isRESP3)
    }

    mutating func authenticate(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count <= 3 else {
            fail(client, .syntax(.unknownArgument))
            return
        }
        if arguments.count == 2, hub.configuration.credentials.password == nil {
            fail(client, .rights(.passwordNotAsked))
            return
        }
        let user =
            arguments.count == 3
            ? bytes(1, input) : Array(Credentials.User.standard.rawValue.utf8)
        guard let principal = shown(bytes(arguments.count - 1, input), user, client) else {
            refusePassword(client)
            return
        }
        hub.become(principal, client)
        ok(client)
    }

    private mutating func refusePassword(_ client: ClientIndex) {
        hub.noteTrouble(.authenticationFailures, of: client)
        fail(client, .rights(.wrongPassword))
    }

    /// The client by what it has shown; nil: it is wrong.
    private func shown(
        _ password: [UInt8], _ user: [UInt8], _ client: ClientIndex
    ) -> Principal? {
        hub.configuration.credentials.principal(
            user: user, password: password, from: hub.clients[client.slot].origin)
    }

    /// Back to the first state: no subscriptions, RESP2, not authenticated.
    mutating func reset(_ client: ClientIndex) -> Request {
        return begin(.reset(nextSession: 0), for: client)
    }

    /// - Returns: the session to go on with; nil: all is done.
    mutating func goOnWithReset(
        from nextSession: Int, _ client: ClientIndex, _ units: inout Int
    ) -> Int? {
        let slot = client.slot
        var nextSession = nextSession
        guard hub.endHolding(at: client, from: &nextSession, &units) else { return nextSession }
        hub.releaseMailbox(client)
        hub.abandonRequests(of: client)
        guard hub.leaveAll(client, &units) else { return nextSession }
        hub.clients[slot].flags.subtract([
            .resp3, .muted, .gaps, .reports, .moves, .gapPending, .confirmsLocally,
        ])
        if conversations[slot].isMonitoring { endMonitoring(client) }
        conversations[slot].isRestricted = false
        conversations[slot].replies = .on
        conversations[slot].isNeverEvicted = false
        conversations[slot].touchesNothing = false
        hub.clients[slot].mailbox.gaps.removeAll()
        hub.clients[slot].mailbox.policy = hub.configuration.slowConsumerPolicy
        hub.chooseTracking(client)
        hub.become(hub.configuration.credentials.principal(from: hub.clients[slot].origin), client)
        hub.clients[slot].identity.name = []
        hub.clients[slot].watching = []
        hub.clients[slot].output.append("+RESET\r\n")
        hub.wrote(client)
        return nil
    }

    // MARK: CLIENT

    mutating func connectionCommand(
        _ command: Command, _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) {
        let slot = client.slot
        switch command {
        case .clientID:
            integer(Int(hub.clients[slot].identity.id), client)
        case .clientGetName:
            let name = hub.clients[slot].identity.name
            let isRESP3 = hub.clients[slot].isRESP3
            if name.isEmpty {
                hub.clients[slot].output.appendNull(isRESP3: isRESP3)
            } else {
                hub.clients[slot].output.appendBulk(name)
            }
        case .clientSetName:
            let name = bytes(2, input)
            guard isClientName(name, client) else { return }
            hub.clients[slot].identity.name = name
            ok(client)
        case .clientSetInfo:
            setLibrary(input, client)
        case .clientInfo:
            var line = ""
            append(client, to: &line)
            reply(client, .verbatim(line + "\n"))
        case .clientReply:
            setReplies(input, client)
        case .clientNoEvict:
            if let isOn = choice(input, client) { conversations[slot].isNeverEvicted = isOn }
        case .clientNoTouch:
            if let isOn = choice(input, client) { conversations[slot].touchesNothing = isOn }
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
            hub.clients[client.slot].identity.libraryName = value
        } else {
            hub.clients[client.slot].identity.libraryVersion = value
        }
        ok(client)
    }

    private mutating func setReplies(_ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        if equals(2, "on", input) {
            conversations[slot].replies = .on
            hub.clients[slot].flags.remove(.muted)
            ok(client)
        } else if equals(2, "off", input) {
            conversations[slot].replies = .off
            hub.clients[slot].flags.insert(.muted)
        } else if equals(2, "skip", input) {
            if conversations[slot].replies != .off { conversations[slot].replies = .skipNext }
            hub.clients[slot].flags.insert(.muted)
        } else {
            fail(client, .syntax(.unknownArgument))
        }
        chooseWay(client)
    }

    /// ON or OFF; nil: neither, and it is refused.
    private mutating func choice(_ input: Span<UInt8>, _ client: ClientIndex) -> Bool? {
        let isOn = equals(2, "on", input)
        guard isOn || equals(2, "off", input) else {
            fail(client, .syntax(.unknownArgument))
            return nil
        }
        ok(client)
        return isOn
    }
}
