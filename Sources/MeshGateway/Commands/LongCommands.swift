import MeshCore
import MeshWire

/// Commands that take longer than a turn of the driver's loop may: they go on in the next.
struct LongCommands {
    /// CLIENT LIST, by the client that asks.
    var listings: [ClientIndex: ClientListing] = [:]
    /// Clients whose commands, or scripts, go on in the next turn.
    var resting: [ClientIndex] = []

    /// The client is gone.
    mutating func forget(_ client: ClientIndex) {
        listings[client] = nil
        resting.removeAll { $0 == client }
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
        redis.long.resting.append(client)
        return .blocked
    }

    /// There are clients for `takeResting`.
    public var hasResting: Bool { !redis.long.resting.isEmpty }

    /// Clients whose commands or scripts have gone on for long enough in this turn.
    public mutating func takeResting() -> [ClientIndex] {
        var clients: [ClientIndex] = []
        swap(&clients, &redis.long.resting)
        return clients
    }

    /// Begins a CLIENT LIST.
    mutating func begin(_ listing: ClientListing, for client: ClientIndex) -> Request {
        redis.long.listings[client] = listing
        clients[client.slot].flags.insert(.working)
        return goOnWithListing(client)
    }

    /// In the place of a command: as many lines more as may be in this turn, or all that is left.
    @inline(never)
    mutating func goOnWithListing(_ client: ClientIndex) -> Request {
        // Taken out: its text is not copied when it grows.
        guard var listing = redis.long.listings.removeValue(forKey: client) else {
            preconditionFailure("client \(client) has no list")
        }
        var units = min(unitsLeft, Work.perEvent)
        let before = units
        defer { charge(before - units) }
        while listing.nextSlot < clients.slots.count {
            guard units > 0 else {
                redis.long.listings[client] = listing
                return rest(client)
            }
            let slot = listing.nextSlot
            listing.nextSlot += 1
            units -= 1
            guard isWanted(slot, in: listing) else { continue }
            append(ClientIndex(slot), to: &listing.text)
            listing.text += "\n"
            units -= ClientListing.unitsPerClient
        }
        clients[client.slot].flags.remove(.working)
        reply(client, .verbatim(listing.text))
        return .handled
    }

    private func isWanted(_ slot: Int, in listing: ClientListing) -> Bool {
        guard clients[slot].flags.contains(.open) else { return false }
        if let only = listing.only, only.slot != slot { return false }
        if let ids = listing.wantedIDs, !ids.contains(clients[slot].identity.id) { return false }
        return listing.kind.map { kind(of: ClientIndex(slot)) == $0 } ?? true
    }
}
