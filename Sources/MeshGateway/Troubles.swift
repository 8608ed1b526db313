import MeshCore

/// One of the counters that rise only where something goes wrong for a client has risen, for the driver's
/// log.
public struct ClientTrouble: Equatable, Sendable {
    public var counter: GatewayCounter
    /// By how much it has risen since the last line about it.
    public var count: UInt64
    /// The client that it rose for, as in CLIENT LIST; nil: none is connected.
    public var client: Int64?
    /// Where the client came from: `127.0.0.1:50123`; empty without one.
    public var address = ""
    /// The name that it gave itself (CLIENT SETNAME); mostly empty.
    public var name = ""
    /// The user whose session it is, or who has too much, at most `Hub.cutChannelBytesMax` bytes of it;
    /// empty: none is.
    public var user = ""
}

/// The counters that have risen, and when each may stand in the log again. There are as many as places that
/// name one: a dozen.
struct ClientTroubles {
    private struct Entry {
        var counter: GatewayCounter
        /// Troubles that no line has told of.
        var count: UInt64
        var nextLine: Instant
    }

    private var entries: [Entry] = []

    /// Between two lines about one counter. A guess.
    static var pause: Delay { .seconds(10) }

    /// How much a line would tell of now; nil: it is too early for one.
    mutating func rise(_ counter: GatewayCounter, by count: UInt64, at now: Instant) -> UInt64? {
        let place: Int
        if let found = entries.firstIndex(where: { $0.counter == counter }) {
            place = found
        } else {
            place = entries.count
            entries.append(Entry(counter: counter, count: 0, nextLine: now))
        }
        entries[place].count &+= count
        guard entries[place].nextLine <= now else { return nil }
        let sum = entries[place].count
        entries[place].count = 0
        entries[place].nextLine = now + Self.pause
        return sum
    }
}

extension Hub {
    /// Counts what goes wrong for a client, and tells the driver's log of it, at most once in ten seconds
    /// for each counter. What comes in between is told of by the next line.
    @inline(never)
    mutating func noteTrouble(
        _ counter: GatewayCounter, by count: UInt64 = 1, of client: ClientIndex?,
        user: [UInt8] = []
    ) {
        counters[counter] &+= count
        guard let sum = outbox.troubles.rise(counter, by: count, at: now) else { return }
        var trouble = ClientTrouble(counter: counter, count: sum)
        if let client {
            trouble.client = clients[client.slot].identity.id
            trouble.address = clients[client.slot].identity.address
            trouble.name = String(decoding: clients[client.slot].identity.name, as: UTF8.self)
        }
        trouble.user = Self.shown(user)
        tell(trouble)
    }

    /// The same for a connection that is refused.
    @inline(never)
    mutating func noteTrouble(_ counter: GatewayCounter, from address: String) {
        counters[counter] &+= 1
        guard let sum = outbox.troubles.rise(counter, by: 1, at: now) else { return }
        var trouble = ClientTrouble(counter: counter, count: sum)
        trouble.address = address
        tell(trouble)
    }

    /// The same for a session whose client is away.
    @inline(never)
    mutating func noteTrouble(
        _ counter: GatewayCounter, by count: UInt64 = 1, of session: UserSessionIndex
    ) {
        counters[counter] &+= count
        guard let sum = outbox.troubles.rise(counter, by: count, at: now) else { return }
        var trouble = ClientTrouble(counter: counter, count: sum)
        trouble.user = Self.shown(sessions[session].user)
        tell(trouble)
    }

    private static func shown(_ user: [UInt8]) -> String {
        String(decoding: user.prefix(cutChannelBytesMax), as: UTF8.self)
    }

    private mutating func tell(_ trouble: ClientTrouble) {
        outbox.complaints.append(trouble)
        outbox.hasWork = true
    }
}
