/// The memory that clients may take together, and what each kind of use may have of it.
///
///     memory ─┬─ 1/2  output that has not left yet: beyond nine tenths clients with much of it are not
///             │       listened to, beyond all of it those with most are ended
///             ├─ 1/4  messages in mailboxes, each once: beyond it the clients with most are ended, and
///             │       sessions without a connection lose their oldest
///             │       └─ 1/8, at most 256 MiB: those of sessions without a connection
///             ├─ 1/8, at most 256 MiB: commands that have not come whole: beyond it the longest are
///             │       given up
///             ├─ 1/16, at most 128 MiB: requests: beyond it no more are taken
///             ├─ 1/16, at most 128 MiB: rosters: beyond it their members are counted alone
///             └─ the rest: links, flows and tables
///
/// A bound for one client that is large enough for all of them together is none: ten thousand times 32 MiB
/// is more than any machine has.
public struct MemoryShares: Sendable {
    /// All of it, in bytes.
    public var total: Int

    /// Less is of no use: a node takes some 20 MiB before anybody comes.
    public static let totalMin = 64 * 1024 * 1024
    /// The kinds that a mesh of any size hardly needs more of.
    private static let shareMax = 256 * 1024 * 1024

    /// - Parameter total: `totalMin` or more; what is less counts as that.
    public init(total: Int = 1 << 30) {
        self.total = max(total, Self.totalMin)
    }

    /// Output that waits for clients' sockets.
    var output: Int { total / 2 }
    /// Output of all clients together beyond which those with much are not listened to: they read first.
    public var crowdedOutput: Int { output / 10 * 9 }
    /// Output of one client that is much: those with less are listened to, however much the others have.
    public var muchOutput: Int { min(max(output / 256, 64 * 1024), 1024 * 1024) }
    /// All messages in mailboxes.
    var mailboxes: Int { total / 4 }
    /// Those of sessions that have no connection.
    var sessions: Int { min(total / 8, Self.shareMax) }
    /// Commands of which more is to come: the largest message that there is room for fits.
    var input: Int { min(total / 8, Self.shareMax) + 1 << 20 }
    /// Requests that have not ended, and requests that wait for providers. One at a time may be larger.
    var requests: Int { min(total / 16, Self.shareMax / 2) }
    /// Rosters that are watched, and changes that are to be told.
    var rosters: Int { min(total / 16, Self.shareMax / 2) }
    /// The largest message that this much memory has room for.
    public var messageMax: Int { total / 8 }

    /// Output of one client that is counted at once. What is less is counted when it is offered to the
    /// socket, in the same turn: 8,192 clients with so much each take their share.
    var outputTrifle: Int { max(16 * 1024, output / 8_192) }
    /// A part of a command that is too short to count: as much may wait for the rest of one read.
    static let inputTrifle = 64 * 1024
}
