import MeshCore
import MeshWire

/// The driver's task before it calls `next` for this client again. Nothing in it has to be retained: one
/// comes with each message.
public enum Request: Sendable {
    /// The input ends inside a command; call again when `needed` bytes from the offset on are
    /// there (a hint: at least one byte more than now).
    case incomplete(needed: Int)
    /// A command was carried out; its replies are in the client's output. Call again.
    case handled
    /// A command that does this waits for leave: call `carryOut` with the same input, or `deny`. The
    /// offset has moved past the command. Publications come as `.publish` and wait for leave too.
    case command(Operation)
    /// Publish to the rest of the mesh (`Node.publish`), then call `published`. The offset has
    /// moved past the command; the slices point into the same input, or into `decodedLine`.
    case publish(Publication)
    /// Ask other nodes (`Event.query`, with `questions.bytes` as the event's bytes). Until the
    /// question is finished `next` answers `.blocked` for this client, so replies keep their order.
    case ask(QueryID, Query)
    /// The driver alone knows what `Gateway.report` is about: answer with `reply` or `presenceNow`
    /// before the next call of `next` for this client.
    case report
    /// A question of this client is open; do not read from it, call again after `finished`.
    case blocked
    /// Flush the client's output, then close the connection and call `close`.
    case end
}

/// A client's question to the node itself.
public enum Report: Sendable {
    case members
    case links
    case status
    /// One integer per user, in order: 1 or 0.
    case online([AskedUser])
    /// The nodes that hold this user. Where there are several, one may only pass on what still comes
    /// to it: they are asked first (`locate`).
    case whereabouts(AskedUser, user: [UInt8])
    /// The present state of users that this client begins to watch: answer with
    /// `presenceNow(client, user: index of the user, isOnline:)`, in order.
    case watch([AskedUser])
    /// INFO, with the section names in lower case; the driver adds the mesh's figures.
    case info(sections: [String])
    /// The client is to read all commands from now on (`Gateway.beginMonitoring`).
    case monitor
    /// Two texts: seconds since 1970, and the microseconds of the present one.
    case time
    /// One integer: the different patterns subscribed to in the mesh.
    case patternCount
}

/// The clients of one node: bytes in, bytes out; no socket. What they do is the hub's; the gateway reads
/// what they say in RESP, and has what Redis alone knows.
///
/// The driver reads a client's bytes into a buffer of its own, calls `next` until it answers
/// `.incomplete`, and does what each answer says. After each call it performs `outbox.changes`, and
/// before it sleeps it flushes the clients in `outbox.dirty`. One thread owns a gateway.
public struct Gateway: ~Copyable {
    package var hub: Hub
    /// By the clients' places in the hub.
    var conversations = Slab<Conversation>()
    /// The command at hand.
    var arguments = CommandArguments()
    /// The bounds of commands.
    let limits: ClientLimits
    var redis = RedisState()

    /// - Parameter secret: two random words, from which the tokens of sessions are made, and what tables
    ///   are spread by.
    public init(
        _ configuration: GatewayConfiguration, hasher: KeyHasher,
        secret: (UInt64, UInt64) = (0, 0)
    ) {
        hub = Hub(configuration, hasher: hasher, secret: KeyHasher(secret.0, secret.1))
        limits = ClientLimits(configuration)
    }

    /// The bytes to send to a connection that `open` has refused.
    public static let refusal = Array("-\(ClientRefusal.limit(.connections).inRESP)\r\n".utf8)

    /// See `Hub.open`.
    public mutating func open(
        address: String, peer: Endpoint? = nil, origin: ClientOrigin, at now: Instant
    ) -> ClientIndex? {
        guard let client = hub.open(address: address, peer: peer, origin: origin, at: now) else {
            return nil
        }
        while conversations.count <= client.slot { conversations.append(Conversation()) }
        return client
    }

    /// See `Hub.close`.
    public mutating func close(_ client: ClientIndex, _ parting: Parting) -> [SessionDoubt] {
        if conversations[client.slot].isMonitoring { endMonitoring(client) }
        if !conversations[client.slot].isPlain {
            redis.resting.removeAll { $0 == client }
        }
        conversations[client.slot] = Conversation()
        redis.pause.waiting.removeAll { $0 == client }
        let doubts = hub.close(client, parting)
        chooseWay()
        return doubts
    }

    /// Until this is called with true, commands that need the mesh answer `-LOADING`.
    public mutating func setReady(_ ready: Bool) {
        hub.isReady = ready
        chooseWay()
    }

    /// The subject of the last `.report`.
    public var report: Report {
        mutating get { redis.report }
    }

    /// An inline command without its quotes and escapes, as long as its `.publish` is at hand.
    public var decodedLine: [UInt8] {
        mutating get { arguments.line }
    }

    // MARK: Time

    /// When `tick` is due, at the latest; nil: never.
    public mutating func nextDeadline() -> Instant? {
        guard let end = redis.pause.end else { return hub.nextDeadline() }
        return min(hub.nextDeadline() ?? end, end)
    }

    /// Does what is due. Afterwards the driver performs the changes and errands of `outbox`.
    public mutating func tick(at now: Instant) {
        hub.tick(at: now)
        if let end = redis.pause.end, end <= hub.now { endPause() }
    }

    /// See `Hub.idleClients`.
    public mutating func idleClients(at now: Instant) -> [ClientIndex] {
        hub.idleClients(at: now).filter { !conversations[$0.slot].isScripting }
    }

    /// Ends some of the subscriptions of clients that have gone. See `outbox` afterwards.
    public mutating func endGone() {
        hub.endGone()
        chooseWay()
    }
}

/// A reply of any shape, in the terms of RESP3; maps become flat arrays in RESP2.
public indirect enum ReplyValue: Sendable {
    case simple(String)
    case error(String)
    case integer(Int)
    case bulk([UInt8])
    case text(String)
    /// Text for people, as INFO answers it: in RESP2 a bulk string.
    case verbatim(String)
    case null
    case array([ReplyValue])
    case map([(String, ReplyValue)])
}
