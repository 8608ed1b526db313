import MeshCore
import MeshWire

/// A command that takes longer than a turn of the driver's loop may: it goes on in the next.
enum LongCommand {
    case listing(ClientListing)
    case reset
    /// UNSUBSCRIBE and its kin, without a name.
    case unsubscription(TopicKind)
    /// SUBSCRIBE, UNSUBSCRIBE and their kin, of very many names.
    case names(ManyNames)
}

/// A command of very many names, of which the first ones have been seen to. It stays at the front of the
/// input; its arguments are the conversation's (`Conversation.Partial`).
struct ManyNames {
    let kind: TopicKind
    let isJoining: Bool
    var nextArgument = 1
    /// Bytes of the command in the input.
    let size: Int
    /// The words of an inline command, which do not lie in the input.
    let line: [UInt8]?
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
        _ kind: TopicKind, isJoining: Bool, hasRoom: Bool, for client: ClientIndex
    ) -> Request {
        let names = ManyNames(
            kind: kind, isJoining: isJoining, size: arguments.size,
            line: arguments.isDecoded ? arguments.line : nil)
        if !hasRoom { conversations[client.slot].partial.growth = MeasuredGrowth() }
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
        let rest: LongCommand? =
            switch command {
            case .listing(let listing): goOn(with: listing, client, &units).map { .listing($0) }
            case .reset: goOnWithReset(client, &units) ? nil : .reset
            case .unsubscription(let kind):
                leaveAll(kind, client, &units) ? nil : .unsubscription(kind)
            case .names(let names): goOn(with: names, input, &offset, client, &units)
            }
        if let rest {
            change(client, .working(rest, isExecuting: isExecuting))
            return self.rest(client)
        }
        change(client, isExecuting ? .executing : .serving)
        return .handled
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
        names.nextArgument = end
        // Taken out: the names that it has gathered are not copied when more come.
        guard var growth = conversations[client.slot].partial.growth.take() else {
            change(names.kind, isJoining: names.isJoining, range, input, client)
            return end < arguments.count
        }
        measure(&growth, names.kind, range, input, client)
        if end < arguments.count {
            conversations[client.slot].partial.growth = growth
            return true
        }
        names.nextArgument = 1
        return isAdmitted(names.kind, growth.sum, client)
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
