/// What a gateway has counted since it started; monotonic.
public struct GatewayCounters: Sendable {
    public var connectionsAccepted: UInt64 = 0
    /// Connections refused because `clientCountMax` was reached.
    public var connectionsRefused: UInt64 = 0
    public var commands: UInt64 = 0
    /// Commands answered with an error.
    public var errors: UInt64 = 0
    /// Messages from local clients (PUBLISH, SPUBLISH, MESH.SEND).
    public var published: UInt64 = 0
    /// Copies of messages written to local clients.
    public var delivered: UInt64 = 0
    /// Copies not written because the client's output was over its limit, or the client was ending.
    public var dropped: UInt64 = 0
    /// Messages dropped for clients that are behind, by their policy.
    public var droppedOldest: UInt64 = 0
    public var droppedNewest: UInt64 = 0
    /// `latest`: a newer message of the same channel or user has taken their place.
    public var droppedSuperseded: UInt64 = 0
    /// Output thrown away with clients that were over a limit or killed.
    public var discardedBytes: UInt64 = 0
    /// Notices of missed messages sent to clients that asked for them.
    public var gapNotices: UInt64 = 0
    /// Messages of counted sessions sent again, because the client had not seen them.
    public var sessionMessagesRepeated: UInt64 = 0
    /// Messages dropped because too much waited for a session without a connection.
    public var sessionMessagesDropped: UInt64 = 0
    /// Sessions whose connection ended while nobody could say that its client had read all.
    public var sessionPartingsLost: UInt64 = 0
    /// Copies of messages from local clients that the mesh has given up.
    public var undelivered: UInt64 = 0
    /// Reports of them sent to clients that asked (MESH.REPORTS).
    public var undeliveredReports: UInt64 = 0
    /// Sessions begun, resumed by a connection to this node, ended by the client, and given up
    /// because nobody came.
    public var sessionsOpened: UInt64 = 0
    public var sessionsResumed: UInt64 = 0
    public var sessionsEnded: UInt64 = 0
    public var sessionsExpired: UInt64 = 0
    /// Sessions taken from and given to other nodes.
    public var sessionsMovedIn: UInt64 = 0
    public var sessionsMovedOut: UInt64 = 0
    /// Sessions begun anew because the node that had them is dead.
    public var sessionsLost: UInt64 = 0
    public var sessionsRefused: UInt64 = 0
    public var tokensRefused: UInt64 = 0
    /// Messages that came directly and by the node that a session came from: given out once.
    public var sessionTwins: UInt64 = 0
    /// Batches of messages for sessions that have moved which the new node did not take.
    public var sessionBatchesLost: UInt64 = 0
    /// Clients told where to go because this node leaves.
    public var movedNotices: UInt64 = 0
    /// Connections ended because their output was over a limit.
    public var disconnectedForOutput: UInt64 = 0
    /// Connections ended because of bytes that are no command.
    public var protocolErrors: UInt64 = 0
    /// Connections ended by CLIENT KILL.
    public var killed: UInt64 = 0
    /// Commands refused because this node's subscriptions, patterns or names were at a bound.
    public var subscriptionsRefused: UInt64 = 0
    /// Questions to the mesh (PUBSUB, MESH.TRACE).
    public var questions: UInt64 = 0
    /// Answers to or from other nodes that had to leave something out, or that were malformed.
    public var answersCut: UInt64 = 0
    public var answersMalformed: UInt64 = 0
    /// Failed AUTH and HELLO AUTH.
    public var authenticationFailures: UInt64 = 0
    /// CONFIG SET notify-keyspace-events: there are no keys here that could notify.
    public var keyspaceNotificationsAsked: UInt64 = 0

    public init() {}
}
