import MeshCore
import MeshGateway

/// A program that has a session of a user: connects, attaches, reads, loses its connection, comes back.
struct SessionClient {
    enum State {
        /// Without a connection, until then.
        case away(until: Instant)
        /// The command that attaches it is on its way since then.
        case attaching(since: Instant)
        case attached
    }

    /// A session's token, and the host of the node that made it.
    struct Token {
        let text: String
        let host: Int
    }

    let name: String
    /// It counts what comes, and says so (MESH.ACK, SEEN).
    let isCounted: Bool
    /// It reads at most so many bytes at a time.
    let readBytesMax: Int
    /// The policy that it asks for; nil: none.
    let policy: SlowConsumerPolicy?
    var state: State
    var line: Int?
    var host: Int?
    /// The newest token that it knows; nil: it has no session.
    var newest: Token?
    /// The token that it had before: good until the newest is used.
    var former: Token?
    /// A token that was exchanged for one that was used: good for nothing.
    var spent: Token?
    var decoder = RESPDecoder()
    /// Messages of its user since the connection got its first token, and how many it has told of.
    var seen = 0
    var acknowledged = 0
    /// Lost messages that notices have told of since the last message came.
    var toldLately = 0
    /// The connection's token has come: from here on messages count.
    var isCounting = false

    init(
        name: String, isCounted: Bool, readBytesMax: Int, policy: SlowConsumerPolicy?,
        comesAt: Instant
    ) {
        self.name = name
        self.policy = policy
        self.isCounted = isCounted
        self.readBytesMax = readBytesMax
        state = .away(until: comesAt)
    }

    /// The first bytes that it sends on a new connection.
    func greeting() -> [UInt8] {
        var attach = ["MESH.ATTACH", name]
        if let newest {
            attach += ["RESUME", newest.text]
            if isCounted { attach += ["SEEN", String(seen)] }
        } else {
            attach.append("SESSION")
            if isCounted { attach.append("COUNTED") }
        }
        var bytes = RESPDecoder.command(["HELLO", "3"])
        if let policy {
            bytes += RESPDecoder.command(["MESH.POLICY", policy.name])
            bytes += RESPDecoder.command(["MESH.GAPS", "ON"])
        }
        return bytes + RESPDecoder.command(attach)
    }
}

/// A program that has shown a token which was exchanged.
struct Probe {
    var line: Int
    /// The session that the token was of.
    var number: Int
    /// The host of the node that made it.
    var home: Int
    var host: Int
    var since: Instant
}
