import MeshCore
import MeshWire

/// A command that takes longer than a turn of the driver's loop may: it goes on in the next.
enum LongCommand {
    case listing(ClientListing)
    /// RESET. The number: see `Hub.endHolding`.
    case reset(nextSession: Int)
    /// UNSUBSCRIBE and its kin, without a name.
    case unsubscription(TopicKind)
    /// MESH.DETACH without a user.
    case detachment(Detachment)
    /// MESH.LEAVE without a room; the rooms that were left so far.
    case leavingRooms(count: Int)
    /// SUBSCRIBE, MESH.ONLINE and others, of very many names.
    case names(ManyNames)
}

/// A command of very many names, of which the first ones have been seen to. It stays at the front of the
/// input; its arguments are the conversation's (`Conversation.Partial`).
struct ManyNames {
    /// The work to be done with each name.
    enum Aim {
        case join(TopicKind)
        case leave(TopicKind)
        /// MESH.DETACH.
        case detach
        /// MESH.WATCH, when all users are watched: the client is told how they are.
        case tellPresence
        /// MESH.ONLINE.
        case askOnline

        /// Each step is a question to the driver (`Gateway.report`).
        var asksDriver: Bool {
            switch self {
            case .join, .leave, .detach: false
            case .tellPresence, .askOnline: true
            }
        }
    }

    var aim: Aim
    var nextArgument = 1
    /// The users that the client had, of those that it has let go of.
    var detachedCount = 0
    /// Bytes of the command in the input.
    let size: Int
    /// The words of an inline command, which do not lie in the input.
    let line: [UInt8]?
}

/// The elements of an array that is answered when all of them are known.
struct GatheredArray: ~Copyable {
    let count: Int
    var missing: Int
    var elements = ByteQueue()

    init(count: Int) {
        self.count = count
        missing = count
    }
}

/// A CLIENT LIST that has come as far as `nextSlot`.
struct ClientListing {
    enum Kind { case normal, pubsub, other }

    /// Nil: all.
    var kind: Kind?
    /// Of the clients that were asked for; nil: all.
    var wantedIDs: Set<Int64>?
    /// The one client that it is about, if the asker may see no other.
    var only: ClientIndex?
    var nextSlot = 0
    var text = ""

    /// The work of describing one client: some 3 microseconds.
    static let unitsPerClient = 500
}

extension Gateway {
    /// The client's command, or script, goes on in another turn: the driver calls `next` for it again.
    mutating func rest(_ client: ClientIndex) -> Request {
        redis.resting.append(client)
        return .blocked
    }

    /// There are clients for `takeResting`.
    public var hasResting: Bool { !redis.resting.isEmpty }

    /// Clients whose commands or scripts have gone on for long enough in this turn.
    public mutating func takeResting() -> [ClientIndex] {
        var clients: [ClientIndex] = []
        swap(&clients, &redis.resting)
        return clients
    }

    /// Begins a command, and carries out as much of it as may be in this turn.
    mutating func begin(_ command: LongCommand, for client: ClientIndex) -> Request {
        let isExecuting = conversations[client.slot].holdsMessages
        change(client, .working(command, isExecuting: isExecuting))
        var offset = 0
        return goOnWithCommand(Span(), at: &offset, client)
    }

    /// Begins a command of very many names in the next turn: see `carryOut`.
    mutating func beginNames(
        _ aim: ManyNames.Aim, hasRoom: Bool = true, for client: ClientIndex
    ) -> Request {
        let names = ManyNames(
            aim: aim, size: arguments.size, line: arguments.isDecoded ? arguments.line : nil)
        if !hasRoom { conversations[client.slot].partial.growth = MeasuredGrowth() }
        if case .askOnline = aim {
            conversations[client.slot].partial.gathered = GatheredArray(count: arguments.count - 1)
        }
        swap(&arguments.list, &conversations[client.slot].partial.arguments)
        let isExecuting = conversations[client.slot].holdsMessages
        change(client, .working(.names(names), isExecuting: isExecuting))
        return rest(client)
    }

    /// In the place of a command: as much more of the one at hand as may be in this turn.
    @inline(never)
    mutating func goOnWithCommand(
        _ input: Span<UInt8>, at offset: inout Int, _ client: ClientIndex
    ) -> Request {
        guard case .working(let command, let isExecuting) = takePhase(client) else {
            preconditionFailure("client \(client) has no command to go on with")
        }
        var units = min(hub.unitsLeft, Work.perEvent)
        let before = units
        defer { hub.charge(before - units) }
        var asksDriver = false
        let rest: LongCommand?
        switch command {
        case .listing(let listing):
            rest = goOn(with: listing, client, &units).map { .listing($0) }
        case .reset(let nextSession):
            rest = goOnWithReset(from: nextSession, client, &units).map { .reset(nextSession: $0) }
        case .unsubscription(let kind):
            hub.releaseMailbox(client)
            rest = leaveAll(kind, client, &units) ? nil : .unsubscription(kind)
        case .detachment(let detachment):
            rest = goOn(with: detachment, client, &units).map { .detachment($0) }
        case .leavingRooms(let count):
            rest = goOnLeavingRooms(count, client, &units).map { .leavingRooms(count: $0) }
        case .names(let names):
            asksDriver = names.aim.asksDriver
            rest = goOn(with: names, input, &offset, client, &units)
        }
        if let rest {
            change(client, .working(rest, isExecuting: isExecuting))
            redis.resting.append(client)
            return asksDriver ? .report : .blocked
        }
        change(client, isExecuting ? .executing : .serving)
        return asksDriver ? .report : .handled
    }

    /// The client's command has just gone on, and goes on in another turn.
    public mutating func isResting(_ client: ClientIndex) -> Bool { redis.resting.last == client }

    /// - Returns: the rest of the users to be let go of; nil: it has been answered.
    private mutating func goOn(
        with detachment: Detachment, _ client: ClientIndex, _ units: inout Int
    ) -> Detachment? {
        var detachment = detachment
        guard hub.detachAll(&detachment, client, &units) else { return detachment }
        hub.answer(client, .count(detachment.count))
        return nil
    }

    /// - Returns: the rooms that were left so far; nil: it has been answered.
    private mutating func goOnLeavingRooms(
        _ count: Int, _ client: ClientIndex, _ units: inout Int
    ) -> Int? {
        hub.releaseMailbox(client)
        var count = count
        guard hub.leaveRooms(client, &count, &units) else { return count }
        hub.answer(client, .count(count))
        return nil
    }

    /// - Returns: the rest of the list; nil: it has been answered.
    private mutating func goOn(
        with listing: consuming ClientListing, _ client: ClientIndex, _ units: inout Int
    ) -> ClientListing? {
        while listing.nextSlot < hub.clients.slots.count {
            guard units > 0 else { return listing }
            let slot = listing.nextSlot
            listing.nextSlot += 1
            units -= 1
            guard isWanted(slot, in: listing) else { continue }
            append(ClientIndex(slot), to: &listing.text)
            listing.text += "\n"
            units -= ClientListing.unitsPerClient
        }
        reply(client, .verbatim(listing.text))
        return nil
    }

    private func isWanted(_ slot: Int, in listing: ClientListing) -> Bool {
        guard hub.clients[slot].flags.contains(.open) else { return false }
        if let only = listing.only, only.slot != slot { return false }
        if let ids = listing.wantedIDs, !ids.contains(hub.clients[slot].identity.id) {
            return false
        }
        return listing.kind.map { kind(of: ClientIndex(slot)) == $0 } ?? true
    }

    /// Sees to the arguments from the next one on up to another.
    ///
    /// - Returns: whether there is more to do.
    private mutating func goOn(
        with names: inout ManyNames, upTo end: Int, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        let range = names.nextArgument..<end
        let isLast = end == arguments.count
        names.nextArgument = end
        switch names.aim {
        case .join(let kind):
            // Taken out: the names that it has gathered are not copied when more come.
            if var growth = conversations[client.slot].partial.growth.take() {
                measure(&growth, kind, range, input, client)
                if isLast {
                    names.nextArgument = 1
                    return isAdmitted(kind, growth.sum, client)
                }
                conversations[client.slot].partial.growth = growth
                return true
            }
            change(kind, isJoining: true, range, input, client)
            if isLast, kind == .watch {
                names.aim = .tellPresence
                names.nextArgument = 1
                return true
            }
        case .leave(let kind):
            hub.releaseMailbox(client)
            change(kind, isJoining: false, range, input, client)
        case .detach:
            hub.releaseMailbox(client)
            for index in range where hub.detach(bytes(index, input), client) {
                names.detachedCount += 1
            }
            if isLast { hub.answer(client, .count(names.detachedCount)) }
        case .tellPresence: _ = askPresence(range, input, client)
        case .askOnline: _ = askOnline(range, input)
        }
        return !isLast
    }

    /// - Returns: the rest of the command; nil: it has been carried out, and `offset` is behind it.
    private mutating func goOn(
        with names: consuming ManyNames, _ input: Span<UInt8>, _ offset: inout Int,
        _ client: ClientIndex, _ units: inout Int
    ) -> LongCommand? {
        swap(&arguments.list, &conversations[client.slot].partial.arguments)
        arguments.base = names.line == nil ? offset : 0
        let end = min(
            arguments.count, names.nextArgument + max(1, units / Hub.unitsPerSubscription))
        units -= (end - names.nextArgument) * Hub.unitsPerSubscription
        let isOver: Bool
        if let line = names.line {
            isOver = !goOn(with: &names, upTo: end, line.span, client)
        } else {
            isOver = !goOn(with: &names, upTo: end, input, client)
        }
        hub.wrote(client)
        if !isOver {
            swap(&arguments.list, &conversations[client.slot].partial.arguments)
            return .names(names)
        }
        conversations[client.slot].partial.arguments = ArgumentList()
        offset += names.size
        return nil
    }
}
