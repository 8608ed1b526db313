import MeshCore
import MeshWire

// From bytes to a command, and from a command to the method that carries it out.

extension Gateway {
    /// Takes one command from `input[offset...]` and moves `offset` past it.
    ///
    /// Replies may have been written even when the answer is `.incomplete`: between MULTI and EXEC
    /// the commands stay in the input, and `offset` where it is, until the transaction ends.
    public mutating func next(
        _ input: Span<UInt8>, at offset: inout Int, from client: ClientIndex, now: Instant
    ) -> Request {
        let slot = client.slot
        let state = hub.clients[slot].flags.intersection(.relevant)
        precondition(state.contains(.open), "client \(client) is not open")
        hub.now = max(now, hub.now)
        guard state.isDisjoint(with: [.ending, .doomed]) else { return .end }
        if state.contains(.asking) { return .blocked }

        if state == .plain, redis.takesShortWay,
            let parts = RESPParser.publish(
                input, at: offset, requestBytesMax: limits.request.requestBytesMax),
            parts.name.count <= Frame.nameLengthMax
        {
            offset = parts.end
            hub.counters[.commands] += 1
            hub.clients[slot].identity.lastOperation = Command.publish.rawValue
            hub.clients[slot].identity.lastSeenAt = now
            return .publish(
                hub.publication(.channel, parts.name, parts.payload, input, by: client))
        }

        if state.contains(.busy) {
            switch conversations[slot].phase {
            case .working: return goOnWithCommand(input, at: &offset, client)
            case .skipping: return skip(input, at: &offset, client)
            case .scripting:
                if redis.pause.holdsAll { return awaitPauseEnd(client) }
                return goOnWithScript(input, at: &offset, client)
            case .serving, .queueing, .executing: break
            }
        }
        if redis.pause.holdsAll { return awaitPauseEnd(client) }
        return read(input, at: &offset, client, now)
    }

    /// Reads a command, and takes it if it is there wholly.
    private mutating func read(
        _ input: Span<UInt8>, at offset: inout Int, _ client: ClientIndex, _ now: Instant
    ) -> Request {
        let slot = client.slot
        let isKnown = hub.clients[slot].flags.contains(.authenticated)
        let limits = isKnown ? self.limits.request : self.limits.stranger
        let start = offset + conversations[slot].queuedBytes
        arguments.isDecoded = false
        let isResuming = !conversations[slot].partial.isEmpty
        if isResuming { swap(&arguments.list, &conversations[slot].partial.arguments) }
        let outcome = RESPParser.parse(
            input, at: start, limits: limits, progress: &conversations[slot].partial.progress,
            into: &arguments.list)
        switch outcome {
        case .command(let size):
            if isResuming {
                conversations[slot].partial.arguments = ArgumentList()
                chooseWay(client)
            }
            arguments.start = start
            arguments.base = start
            return take(size, input, &offset, client, now)
        case .escapedLine(let size, let lineCount):
            guard
                let words = InlineCommand.decode(
                    input, start, start + lineCount, into: &arguments.list)
            else { return refuse(.unbalancedQuotes, client) }
            arguments.start = start
            arguments.base = 0
            arguments.isDecoded = true
            arguments.line = words
            return take(size, words.span, &offset, client, now)
        case .nothing(let size):
            // Between MULTI and EXEC nothing may be cut out of the middle of the input.
            if conversations[slot].isQueueing { return keepInput(size, client) ?? .handled }
            offset = start + size
            return .handled
        case .incomplete(let needed):
            // A long command is gone on with; a short one is read again.
            if !conversations[slot].partial.isEmpty {
                swap(&arguments.list, &conversations[slot].partial.arguments)
                chooseWay(client)
            }
            // A transaction that will be too big is refused before its bytes have come.
            if start - offset + needed > limits.requestBytesMax, conversations[slot].isQueueing {
                return refuse(.tooBig, client)
            }
            return .incomplete(needed: start - offset + needed)
        case .malformed(let error):
            return refuse(error, client)
        }
    }

    /// Bytes that are no command: an error, then the end.
    mutating func refuse(_ error: RESPError, _ client: ClientIndex) -> Request {
        hub.noteTrouble(.clientProtocolErrors, of: client)
        hub.clients[client.slot].output.appendError(error.inRESP)
        hub.clients[client.slot].flags.insert(.ending)
        hub.wrote(client)
        return .end
    }

    // MARK: All other commands

    private mutating func take(
        _ size: Int, _ input: Span<UInt8>, _ offset: inout Int, _ client: ClientIndex,
        _ now: Instant
    ) -> Request {
        let slot = client.slot
        if redis.pause.end != nil, mustHold(input, client) { return awaitPauseEnd(client) }
        hub.counters[.commands] += 1
        hub.clients[slot].identity.lastSeenAt = now
        arguments.size = size
        chooseMuting(client)
        let admission = admit(input, client)
        if conversations[slot].isQueueing,
            let request = takeIntoTransaction(admission, size, &offset, client)
        {
            return request
        }
        offset = arguments.start + size
        switch admission {
        case .refused(let refusal):
            fail(client, refusal)
            return .handled
        case .refusedExec(let refusal):
            fail(client, .transaction(.aborted(because: refusal)))
            return .handled
        case .dropped:
            hub.noteTrouble(.clientProtocolErrors, of: client)
            hub.clients[slot].flags.insert(.ending)
            return .end
        case .admitted(let command):
            hub.clients[slot].identity.lastOperation = command.rawValue
            if !redis.monitors.clients.isEmpty { show(command, input, client) }
            if case .executing = conversations[slot].phase {
                if command == .exec { return endExecution(client) }
                // These two were answered when they were queued.
                if command == .watch || command == .multi { return .handled }
            }
            let operation = command.operation
            guard operation == .publish else { return .command(operation) }
            let request = run(input, client, now)
            // A script's command stays in the input until it ends.
            if conversations[slot].isScripting { offset = arguments.start }
            return request
        }
    }

    /// Carries out the command that `next` has answered `.command` for, on the same input.
    ///
    /// - Parameter offset: goes back to the command if it stays in the input, because it takes longer than
    ///   a turn.
    public mutating func carryOut(
        _ input: Span<UInt8>, at offset: inout Int, from client: ClientIndex, now: Instant
    ) -> Request {
        let request: Request
        if arguments.isDecoded {
            let line = arguments.line
            request = run(line.span, client, now)
        } else {
            request = run(input, client, now)
        }
        if case .working(.names, _) = conversations[client.slot].phase { offset = arguments.start }
        return request
    }

    /// Refuses the command that `next` has answered `.command` or `.publish` for.
    public mutating func deny(_ client: ClientIndex) {
        if conversations[client.slot].isScripting {
            refusePublication(.notPermitted(user: userName(client)), client)
            return
        }
        let name = redis.table[commandAtHand(of: client)].fullName
        fail(client, .rights(.notPermitted(user: userName(client), command: name)))
    }

    /// The command that the client has sent last, as far as it was one.
    func lastCommand(of client: ClientIndex) -> Command? {
        hub.clients[client.slot].identity.lastOperation.flatMap { Command(rawValue: $0) }
    }

    /// The command that was taken last, and waits for leave or is being carried out.
    private func commandAtHand(of client: ClientIndex) -> Command {
        guard let command = lastCommand(of: client) else {
            preconditionFailure("client \(client) has sent no command")
        }
        return command
    }

    /// The name of the client's user, as Redis gives it. Without passwords there is one user alone.
    func userName(_ client: ClientIndex) -> String {
        let isAnother =
            hub.clients[client.slot].flags.contains(.administrator)
            && hub.configuration.credentials.distinguishes
        return (isAnother ? Credentials.User.administrator : .standard).rawValue
    }

    private mutating func run(
        _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) -> Request {
        let slot = client.slot
        let command = commandAtHand(of: client)
        let before = hub.clients[slot].output.count
        let request = run(command, input, client, now)
        let after = hub.clients[slot].output.count
        if after > before {
            if hub.clients[slot].flags.contains(.muted),
                !redis.table[command].traits.contains(.pushes)
            {
                hub.clients[slot].output.truncate(to: before)
            } else {
                hub.wrote(client)
            }
        }
        return request
    }

    /// Decides whether this command's reply is silenced; a SKIP is used up by one command. What
    /// EXEC carries out is silenced with EXEC.
    private mutating func chooseMuting(_ client: ClientIndex) {
        let slot = client.slot
        if conversations[slot].holdsMessages { return }
        hub.clients[slot].flags.set(.muted, conversations[slot].replies != .on)
        if conversations[slot].replies == .skipNext {
            conversations[slot].replies = .on
            chooseWay(client)
        }
    }

    enum Admission {
        case admitted(Command)
        case refused(ClientRefusal)
        /// EXEC itself: between MULTI and EXEC the transaction is over.
        case refusedExec(ClientRefusal)
        /// The words of another protocol: somebody lets a browser talk to us.
        case dropped
    }

    private func admit(_ input: Span<UInt8>, _ client: ClientIndex) -> Admission {
        let admission = inspect(input, client)
        guard case .refused(let refusal) = admission, let found = named(input), found == .exec
        else { return admission }
        return .refusedExec(refusal)
    }

    func named(_ input: Span<UInt8>) -> Command? {
        let name = arguments[0]
        return PackedName(input, Int(name.start), Int(name.count)).flatMap { redis.table.find($0) }
    }

    /// Looks the command up, and refuses it in the order in which Redis does.
    private func inspect(_ input: Span<UInt8>, _ client: ClientIndex) -> Admission {
        let flags = hub.clients[client.slot].flags
        guard var command = named(input) else {
            if equals(0, "post", input) || equals(0, "host:", input) { return .dropped }
            return .refused(.redis(unknownCommand(input)))
        }
        if arguments.count > 1, hasSubcommands(command) {
            guard let found = subcommand(of: command, at: 1, input) else {
                return .refused(
                    .redis(
                        .unknownSubcommand(
                            name: excerpt(1, input), parent: redis.table[command].fullName)))
            }
            command = found
        }
        let spec = redis.table[command]
        guard spec.accepts(arguments.count) else {
            return .refused(.syntax(.argumentCount(command: spec.fullName)))
        }
        if !flags.contains(.authenticated), !spec.traits.contains(.open) {
            return .refused(.rights(.notAuthenticated))
        }
        if isWithinTransaction(client), spec.traits.contains(.alone) {
            return .refused(.transaction(.notInside))
        }
        // A command that EXEC carries out was judged when it was queued.
        if conversations[client.slot].isRestricted, !flags.contains(.holding),
            !spec.traits.contains(.subscribed)
        {
            // All that CLUSTER can be asked is refused alike; Redis names what was asked.
            let asked = command == .cluster ? excerpt(1, input) : nil
            return .refused(
                .redis(.whileSubscribed(command: spec.fullName, subcommand: asked)))
        }
        if !hub.isReady, spec.traits.contains(.mesh) {
            return .refused(.state(.joining))
        }
        return .admitted(command)
    }

    /// COMMAND alone has subcommands and does something without one.
    func hasSubcommands(_ command: Command) -> Bool {
        redis.table[command].traits.contains(.container) || command == .command
    }

    /// The subcommand that an argument names, if there is one.
    func subcommand(of command: Command, at index: Int, _ input: Span<UInt8>) -> Command? {
        let slice = arguments[index]
        return PackedName(input, Int(slice.start), Int(slice.count))
            .flatMap { redis.table.find($0, parent: command) }
    }

    private func unknownCommand(_ input: Span<UInt8>) -> ClientRefusal.Redis {
        // Redis gives at most 128 bytes of the name and about as many of the arguments.
        var words: [[UInt8]] = []
        var size = 0
        var index = 1
        while index < arguments.count, size < 128 {
            let word = excerpt(index, input, countMax: 128 - size)
            words.append(word)
            size += word.count + 3
            index += 1
        }
        return .unknownCommand(name: excerpt(0, input), arguments: words)
    }

    private mutating func run(
        _ command: Command, _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) -> Request {
        switch command {
        case .publish: return publish(.channel, input, client)
        case .spublish: return publish(.shardChannel, input, client)
        case .subscribe: return subscribe(.channel, input, client)
        case .psubscribe: return subscribe(.pattern, input, client)
        case .ssubscribe:
            if hub.clients[client.slot].flags.contains(.holding) {
                fail(client, .transaction(.subscribingInside))
                return .handled
            }
            return subscribe(.shardChannel, input, client)
        case .unsubscribe: return unsubscribe(.channel, input, client)
        case .punsubscribe: return unsubscribe(.pattern, input, client)
        case .sunsubscribe: return unsubscribe(.shardChannel, input, client)
        case .pubsubChannels: return listChannels(.channel, input, client)
        case .pubsubShardChannels: return listChannels(.shardChannel, input, client)
        case .pubsubNumSub: return countSubscribers(.channel, input, client)
        case .pubsubShardNumSub: return countSubscribers(.shardChannel, input, client)
        case .pubsubNumPat: return asks(.patternCount)

        case .ping: ping(input, client)
        case .echo: bulk(1, input, client)
        case .hello: hello(input, client)
        case .auth: authenticate(input, client)
        case .select: select(input, client)
        case .quit:
            ok(client)
            hub.clients[client.slot].flags.formUnion([.ending, .quits])
            return .end
        case .reset: return reset(client)
        case .clientID, .clientGetName, .clientSetName, .clientSetInfo, .clientInfo, .clientReply,
            .clientNoEvict, .clientNoTouch, .clientTracking, .clientGetRedirection:
            connectionCommand(command, input, client, now)
        case .clientList: return listClients(input, client)
        case .clientKill: return killClients(input, client, now)

        case .info: return asks(.info(sections: infoSections(input)))
        case .configGet: getConfiguration(input, client)
        case .configSet: setConfiguration(input, client)
        case .configResetStatistics: ok(client)
        case .configRewrite: fail(client, .redis(.noConfigurationFile))
        case .command: describeCommands(redis.table.specs.map(\.command), client)
        case .commandCount: integer(topLevelCommands.count, client)
        case .commandDocs: documentCommands(input, client)
        case .commandInfo: commandInfo(input, client)
        case .commandList: listCommands(input, client)
        case .aclWhoAmI: reply(client, .text(userName(client)))
        case .aclList: reply(client, .array(accessRules(client).map { .text($0) }))
        case .aclUsers: reply(client, .array(users.map { .text($0.rawValue) }))
        case .aclSetUser, .aclDeleteUser: fail(client, .redis(.fixedUsers))
        case .moduleList: reply(client, .array([]))
        case .monitor: return asks(.monitor)
        case .clientPause: pause(input, client)
        case .clientUnpause:
            endPause()
            ok(client)
        case .time: return asks(.time)
        case .wait: wait(input, client)
        case .slowLogGet, .slowLogLength, .slowLogReset, .latencyLatest, .latencyHistory,
            .latencyReset, .latencyDoctor, .latencyHistogram, .memoryUsage, .memoryStatistics,
            .memoryDoctor, .memoryPurge, .memoryAllocator, .functionList, .functionStatistics,
            .functionFlush, .functionLoad, .functionDelete, .functionKill:
            figures(command, input, client)
        case .clientTrackingInfo: tellTracking(client)
        case .clientUnblock: unblock(input, client)
        case .commandGetKeys: findKeys(input, client)
        case .aclCategories: listCategories(input, client)
        case .aclGetUser: describeUser(input, client)
        case .aclLog: tellAccessLog(input, client)
        case .aclDryRun: tryAccess(input, client)
        case .eval, .evalSHA: evaluate(byName: command == .evalSHA, input, client)
        case .evalReadOnly, .evalSHAReadOnly: fail(client, .script(.readOnly))
        case .call, .callReadOnly: fail(client, .script(.noFunction))
        case .scriptLoad: loadScript(input, client)
        case .scriptExists: findScripts(input, client)
        case .scriptFlush: forgetScripts(input, client)
        case .scriptKill: fail(client, .script(.notBusy))
        case .role: reply(client, .array([.text("master"), .integer(0), .array([])]))
        case .cluster, .readonly, .readwrite, .asking:
            fail(client, .redis(.noCluster))
        case .dbsize: integer(0, client)
        case .flushall, .flushdb: removeKeys(input, client)
        case .watch, .unwatch: ok(client)

        case .multi: begin(client)
        case .exec: fail(client, .transaction(.executionOutside))
        case .discard: fail(client, .transaction(.discardOutside))

        case .meshAttach: return attach(input, client)
        case .meshDetach: return detach(input, client)
        case .meshAck: return acknowledge(input, client)
        case .meshSend: return send(input, client)
        case .meshOnline: return online(input, client)
        case .meshWhere: return whereabouts(input, client)
        case .meshWatch: return watch(input, client)
        case .meshUnwatch: return unwatch(input, client)
        case .meshMembers: return asks(.members)
        case .meshLinks: return asks(.links)
        case .meshStatus: return asks(.status)
        case .meshTrace: return trace(input, client)
        case .meshPublish: return publishToMesh(input, client)
        case .meshPolicy: choosePolicy(input, client)
        case .meshMoves, .meshReports, .meshGaps: chooseNotices(command, input, client)
        case .meshOption: chooseConfirmation(input, client)
        case .meshDetails: chooseDetails(input, client)
        case .meshRequest: return self.request(input, client)
        case .meshCancel: cancelRequest(input, client)
        case .meshServe: serve(input, client)
        case .meshUnserve: endServing(input, client)
        case .meshReply: reply(input, client)
        case .meshReject: settleRequest(.rejected, .reject, input, client)
        case .meshFail: settleRequest(.failed, .fail, input, client)

        case .meshMeta: return describeAttachment(input, client)
        case .meshJoin: return joinRoom(input, client)
        case .meshLeave: return leaveRoom(input, client)
        case .meshSay: return say(input, client)
        case .meshWho: return askMembers(input, client)
        case .meshCount: return countMembers(input, client)
        case .meshRooms: return listRooms(input, client)
        case .meshServices: return listServices(input, client)
        case .meshRoomsOf: return listRoomsOfUser(input, client)
        case .meshOrder: return order(input, client)
        case .meshKick: return kick(input, client)
        case .meshWatchRoom: return watchRoom(input, client)
        case .meshUnwatchRoom: return unsubscribe(.roomWatch, input, client)

        case .pubsubHelp, .clientHelp, .configHelp, .commandHelp, .aclHelp, .meshHelp, .scriptHelp,
            .slowLogHelp, .latencyHelp, .memoryHelp, .functionHelp:
            help(command, client)
        case .pubsub, .client, .config, .acl, .module, .script, .slowLog, .latency, .memory,
            .function:
            preconditionFailure("a container has no arity of its own")
        }
        return .handled
    }

    /// The driver knows the answer.
    mutating func asks(_ report: Report) -> Request {
        redis.report = report
        return .report
    }

    // MARK: Arguments

    /// Whether an argument is this word, which is given in lower case.
    func equals(_ index: Int, _ word: StaticString, _ input: Span<UInt8>) -> Bool {
        let slice = arguments[index]
        guard Int(slice.count) == word.utf8CodeUnitCount else { return false }
        for at in 0..<Int(slice.count) {
            var byte = input[Int(slice.start) + at]
            if byte &- UInt8(ascii: "A") < 26 { byte |= 0x20 }
            if unsafe byte != word.utf8Start[at] { return false }
        }
        return true
    }

    /// The argument's bytes.
    func bytes(_ index: Int, _ input: Span<UInt8>, countMax: Int = .max) -> [UInt8] {
        let slice = arguments[index]
        let count = min(Int(slice.count), countMax)
        var result: [UInt8] = []
        result.reserveCapacity(count)
        for at in 0..<count { result.append(input[Int(slice.start) + at]) }
        return result
    }

    /// The argument as text; bytes that are no UTF-8 are replaced.
    func text(_ index: Int, _ input: Span<UInt8>, countMax: Int = .max) -> String {
        String(decoding: bytes(index, input, countMax: countMax), as: UTF8.self)
    }

    /// As much of an argument as a refusal quotes: up to the first zero, as Redis prints it, mostly
    /// at most 128 bytes.
    func excerpt(_ index: Int, _ input: Span<UInt8>, countMax: Int = 128) -> [UInt8] {
        Array(bytes(index, input, countMax: countMax).prefix { $0 != 0 })
    }

    /// The argument as an integer, written as Redis wants it: no blanks, no `+`, no leading zeros.
    func integer(_ index: Int, _ input: Span<UInt8>) -> Int? {
        let digits = bytes(index, input, countMax: 21)
        guard let value = Int(String(decoding: digits, as: UTF8.self)),
            Array(String(value).utf8) == digits
        else { return nil }
        return value
    }

    // MARK: Replies

    mutating func ok(_ client: ClientIndex) { hub.answer(client, .done) }

    mutating func integer(_ value: Int, _ client: ClientIndex) {
        hub.answer(client, .count(value))
    }

    /// Answers a command with a refusal.
    mutating func fail(_ client: ClientIndex, _ refusal: ClientRefusal) {
        hub.refuse(client, refusal)
    }

    /// Answers a command with what has become of it, or waits with it for other nodes.
    mutating func answer(_ client: ClientIndex, _ outcome: Outcome) -> Request {
        switch outcome {
        case .asks(let id, let query): return .ask(id, query)
        case .waits: return .handled
        default:
            hub.answer(client, outcome)
            return .handled
        }
    }

    /// Answers a `.report`.
    public mutating func reply(_ client: ClientIndex, _ value: ReplyValue) {
        let slot = client.slot
        guard hub.clients[slot].flags.contains(.open), !hub.clients[slot].flags.contains(.doomed)
        else { return }
        if case .error = value { hub.counters[.commandErrors] += 1 }
        if !hub.clients[slot].flags.contains(.muted) {
            let isRESP3 = hub.clients[slot].isRESP3
            hub.clients[slot].output.appendReply(value, isRESP3: isRESP3)
            hub.wrote(client)
        }
    }
}
