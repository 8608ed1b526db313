import MeshCore

public typealias GatewayCounters = Counters<GatewayCounter, 62>

/// The counters of a gateway.
public enum GatewayCounter: String, CounterName {
    case connectionsAccepted = "(unshown) Connections of clients; INFO has them."
    case connectionsRefused =
        "(unshown) Connections refused because of `clientCountMax`; INFO has them."
    case connectionsOfHostsRefused =
        "Connections refused because their host had half of `--max-clients`."
    case commands = "Commands of clients."
    case commandErrors = "Commands answered with an error."
    /// PUBLISH, SPUBLISH, MESH.SEND.
    case messagesPublished = "Messages of local clients."
    case clientCopies = "Copies of messages written to local clients."
    /// Or because the client was ending.
    case droppedClientCopies = "Copies not written because a client's output was over its limit."
    case discardedOutputBytes = "Output thrown away with clients that were over a limit or killed."
    case droppedOldest =
        "(unshown) Messages dropped for clients that are behind; the three are shown by policy."
    case droppedNewest = "(unshown) Messages for clients that are behind, not taken."
    /// `latest`: of the same channel or user.
    case droppedSuperseded = "(unshown) Messages whose slot a newer one has taken."
    /// As MESH.REPORTS tells of them, and `undelivered` of the node counts them.
    case undelivered = "(unshown) Copies of messages of local clients that the mesh has given up."
    case undeliveredReports = "Reports of those to their senders (MESH.REPORTS)."
    case sessionsOpened = "Sessions begun (MESH.ATTACH … SESSION)."
    case sessionsResumed = "Sessions that went on with a new connection here."
    case sessionsEnded = "Sessions ended by their clients."
    case sessionsExpired = "Sessions that nobody came back for."
    case sessionsMovedIn = "Sessions taken from other nodes."
    case sessionsMovedOut = "Sessions given to other nodes."
    case sessionsLost = "Sessions begun anew because their node is dead."
    case sessionsRefused = "Sessions refused because there were too many."
    case sessionTokensRefused = "Tokens that were wrong, used, or too old."
    case sessionMessagesDropped =
        "Messages lost because too much waited for a session, or nobody came for it."
    case sessionMessagesRepeated =
        "Messages of counted sessions sent again, because the client had not seen them."
    /// They came directly, and by the node that the session came from.
    case sessionTwins =
        "Messages that came twice to a session on the move, and were given out once."
    /// The new node has died meanwhile, or was taken for dead.
    case sessionDeparturesLost = "Sessions of which something could not follow to their new node."
    case movedNotices = "Clients told where to go because this node leaves."
    case gapNotices = "Notices of missed messages sent to clients (MESH.GAPS, sessions)."
    case sessionPartingsLost =
        "Connections of sessions that ended without all being known to have been read."
    case clientsOverdue = "Clients ended because their output was over a limit."
    case clientsEndedForMemory =
        "Clients ended because all had too much output or mail together, and they the most."
    case mailboxesShed =
        "Times that a client or session lost half of its mail because all had too much."
    case commandsGivenUp =
        "Commands refused before they had come whole, because all such had too many bytes."
    case clientProtocolErrors = "Clients ended for bytes that are no command."
    case clientsKilled = "Clients ended by CLIENT KILL."
    case subscriptionsRefused =
        "(unshown) Commands refused because subscriptions, patterns or names were at a bound."
    case userLimitsMet =
        "Commands refused because a user had as many connections, sessions or subscriptions as one may."
    case ordersCarriedOut = "Attachments that have done what MESH.ORDER or MESH.KICK wanted."
    /// PUBSUB, MESH.TRACE.
    case questions = "Questions to the other nodes."
    case answersCut = "Answers of or to other nodes that left something out."
    case answersMalformed = "Answers of other nodes that could not be read."
    case authenticationFailures = "AUTH and HELLO with a wrong password."
    case keyspaceNotificationsAsked =
        "CONFIG SET notify-keyspace-events: there are no keys here that could notify."
    case requestsAnswered = "(unshown) Requests that were answered; all are shown by outcome."
    case requestsRejected = "(unshown) Requests that every provider rejected."
    case requestsFailed = "(unshown) Requests that a provider failed."
    case requestsBusy = "(unshown) Requests that every node had too many of."
    case requestsUnserved = "(unshown) Requests that nobody served."
    case requestsDied = "(unshown) Requests whose provider died with them."
    case requestsTimedOut = "(unshown) Requests whose time was over first."
    case requestsCancelled = "(unshown) Requests whose asker gave them up, or has gone."
    case requestAttempts = "Requests of local clients sent to nodes, to each again."
    case requestsGiven = "Requests given to local providers."
    case repliesLate = "Replies that nobody awaited any more."
    case repliesLost =
        "Replies that could not be sent: their node was gone, or too much was on its way."
    case onceDuplicates = "Messages of an id that had come already (ONCE)."
    case onceForgottenEarly =
        "Ids forgotten because too many came after, and not because of their age (ONCE)."
    case labelsMalformed = "Messages of other nodes with a label that could not be read."
    case postsMalformed = "Requests, replies and rosters of other nodes that could not be read."
    case rosterBatches = "Batches of changes in rooms sent to nodes that watch them, each counted."
    case rosterResyncs = "Times that a node was asked for its members of a watched room again."
}
