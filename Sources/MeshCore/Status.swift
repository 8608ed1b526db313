import MeshWire

/// A member as an operator sees it.
public struct MemberStatus: Sendable {
    public var id: NodeID
    public var incarnation: Incarnation
    public var standing: Standing
    public var endpoint: Endpoint
    public var name: String
    public var zone: String
    /// Keys and patterns that this member holds, as far as this node knows.
    public var keyCount: Int
    public var isSelf: Bool
}

/// A link as an operator sees it.
public struct LinkStatus: Sendable {
    public var index: LinkIndex
    public var peer: NodeID
    public var endpoint: Endpoint
    /// `successor`, `predecessor`, `long-range`, `mesh` (small clusters), joined by `+`.
    public var role: String
    /// Smoothed, pauses left out; nil until measured.
    public var roundTrip: Delay?
    public var isDoubted: Bool
    public var framesIn: UInt64
    public var framesOut: UInt64
    public var bytesIn: UInt64
    public var bytesOut: UInt64
}

/// What a node has counted since it started; monotonic.
public struct Counters: Sendable {
    /// Messages from local clients that went to at least one other node.
    public var messagesOriginated: UInt64 = 0
    /// Copies of messages passed on for others.
    public var messagesForwarded: UInt64 = 0
    /// Messages from other nodes handed to local clients.
    public var messagesDelivered: UInt64 = 0
    /// Sum of hops of delivered messages: divided by `messagesDelivered` the mean.
    public var hopsDelivered: UInt64 = 0
    /// Messages dropped, by reason.
    public var droppedHopLimit: UInt64 = 0
    public var droppedNoRoute: UInt64 = 0
    public var droppedUnknownDestination: UInt64 = 0
    /// Volatile messages that had no way.
    public var droppedVolatile: UInt64 = 0
    /// Messages of nodes that this one does not know yet; they are sent again.
    public var droppedUnknownOrigin: UInt64 = 0
    /// Messages behind a gap for which there was no room; they are sent again.
    public var droppedBeyondWindow: UInt64 = 0
    /// Messages sent once more because they were not acknowledged.
    public var retransmitted: UInt64 = 0
    /// Messages given up, one for each destination; their senders were told.
    public var undelivered: UInt64 = 0
    /// Messages that came again and were dropped.
    public var duplicates: UInt64 = 0
    /// Messages for a name that is not here, while another of the same key is; their origins were told.
    public var strangers: UInt64 = 0
    /// Messages that came before an earlier one and waited for it.
    public var reordered: UInt64 = 0
    /// Acknowledgements in frames of their own; others travel with messages.
    public var acknowledgementsSent: UInt64 = 0
    public var acknowledgementsCarried: UInt64 = 0
    /// Messages from others that will never come, as their origins have said.
    public var gaps: UInt64 = 0
    /// Messages that waited for a user whose node had died.
    public var held: UInt64 = 0
    /// Frames of peers that broke the protocol.
    public var protocolErrors: UInt64 = 0
    public var linksRefused: UInt64 = 0
    /// Connections from others that did not say in time who they were.
    public var handshakesAbandoned: UInt64 = 0
    public var linksOpened: UInt64 = 0
    public var linksLost: UInt64 = 0
    public var suspicions: UInt64 = 0
    public var deaths: UInt64 = 0
    public var refutations: UInt64 = 0
    /// Directory changes received, live and by repair, and the bytes of both.
    public var recordsLive: UInt64 = 0
    public var recordsDuplicate: UInt64 = 0
    public var recordsRepaired: UInt64 = 0
    public var bytesLive: UInt64 = 0
    public var bytesRepaired: UInt64 = 0
    public var snapshotsSent: UInt64 = 0
    public var snapshotsReceived: UInt64 = 0

    public init() {}
}

/// Sizes of the node's tables.
public struct TableSizes: Sendable {
    /// (key, node) pairs in the directory.
    public var entries: Int
    public var directoryBytes: Int
    public var patterns: Int
    public var members: Int
    public var links: Int
    public init(entries: Int, directoryBytes: Int, patterns: Int, members: Int, links: Int) {
        self.entries = entries
        self.directoryBytes = directoryBytes
        self.patterns = patterns
        self.members = members
        self.links = links
    }
}
