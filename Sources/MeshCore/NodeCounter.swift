public typealias NodeCounters = Counters<NodeCounter, 50>

/// The counters of a node.
public enum NodeCounter: String, CounterName {
    case messagesOriginated = "Messages of local clients that went to at least one other node."
    case messagesForwarded = "Copies of messages passed on for other nodes."
    case messagesDelivered = "Messages of other nodes handed to local clients."
    /// Divided by `messagesDelivered` the mean.
    case messageHops = "Sum of the hops of delivered messages."
    case droppedHopLimit = "Messages dropped at the hop limit."
    case droppedNoRoute = "Messages dropped for want of a next hop."
    case droppedUnknownDestination = "Messages dropped because their destination is no member."
    case droppedVolatile = "Volatile messages dropped for want of a next hop."
    case droppedUnknownOrigin =
        "(unshown) Messages of nodes that this one does not know yet; they are sent again."
    case droppedBeyondWindow =
        "(unshown) Messages behind a gap for which there was no room; they are sent again."
    case retransmitted = "Messages sent once more because they were not acknowledged."
    /// Their senders were told.
    case undelivered = "Messages of local clients given up, one for each destination."
    case parked = "Messages that waited for a user whose node had gone."
    /// They are not among `messagesDelivered`.
    case foundNobody = "Messages to users whose last client here had gone; they went back."
    case foundNoSubscriber = "Messages to channels whose last subscriber here had gone."
    case takenBack = "Messages that found their user gone and came back to be sent on."
    case duplicates = "Messages that came again and were dropped."
    /// Their origins were told.
    case keyCollisions = "Messages for names that only share the key of one that is here."
    case reordered = "Messages that waited for an earlier one."
    case gaps = "Messages that their origins had given up."
    case sessionsSent = "Parts of sessions sent to other nodes in the bulk lane."
    case sessionsDelivered = "Parts of sessions of other nodes handed to this one's clients' side."
    case sessionsGivenUp = "Parts of sessions given up because their node was gone."
    case acknowledgementsSent = "Acknowledgements in frames of their own."
    case acknowledgementsCarried = "Acknowledgements that travelled with messages."
    /// They are passed on where others are to have them.
    case unknownMessages = "Messages between nodes of a later version, passed over unread."
    case unknownRecords = "Directory changes of a later version, passed over."
    /// Their origins were told.
    case unsupported = "Messages of a later version that ended here and were dropped."
    case unsupportedElsewhere = "Messages of this node that their destinations do not support."
    case protocolErrors = "Frames of peers that broke the protocol."
    case linksRefused = "Links refused, by us or by peers."
    case greetingsDisplaced = "Connections that had not greeted, and gave their place to another."
    case handshakesAbandoned = "Connections that did not say in time who they were."
    case dialsWithheld = "Connections not opened because others named too many addresses."
    case linksOpened = "Links opened."
    case linksLost = "Links lost."
    case linksHollow = "Links that stood and did not carry what was sent over them."
    case flowsStalled = "Times that what was kept for a live node was given up, after 20 s."
    case suspicions = "Members suspected by this node."
    case deaths = "Members declared dead."
    /// The answer lacks whatever they know.
    case suspectsNotHeard = "Suspects that were not asked, or not waited for, by questions to all."
    case refutations = "Times that this node refuted its own death."
    case confirmedEarly = "Nodes not waited for when this node confirmed a subscription."
    case recordsLive = "Directory changes received as they happened."
    case recordsDuplicate = "Directory changes received again."
    case recordsRepaired = "Directory changes received by repair."
    case recordBytesLive = "Bytes of directory changes as they happened."
    case recordBytesRepaired = "Bytes of directory repair."
    case snapshotsSent = "Directory snapshots sent."
    case snapshotsReceived = "Directory snapshots received."
}
