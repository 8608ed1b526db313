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

    let name: String
    /// It counts what comes, and says so (MESH.ACK, SEEN).
    let isCounted: Bool
    /// It reads at most so many bytes at a time.
    let readBytesMax: Int
    var state: State
    var line: Int?
    var host = -1
    /// The newest token that it knows; nil: it has no session.
    var token: String?
    var decoder = RESPDecoder()
    /// Messages of its user since the connection got its first token, and how many it has told of.
    var seen = 0
    var acknowledged = 0
    /// The connection's token has come: from here on messages count.
    var isCounting = false

    init(name: String, isCounted: Bool, readBytesMax: Int, comesAt: Instant) {
        self.name = name
        self.isCounted = isCounted
        self.readBytesMax = readBytesMax
        state = .away(until: comesAt)
    }

    /// The first bytes that it sends on a new connection.
    func greeting() -> [UInt8] {
        var attach = ["MESH.ATTACH", name]
        if let token {
            attach += ["RESUME", token]
            if isCounted { attach += ["SEEN", String(seen)] }
        } else {
            attach.append("SESSION")
            if isCounted { attach.append("COUNTED") }
        }
        return RESPDecoder.command(["HELLO", "3"]) + RESPDecoder.command(attach)
    }
}
