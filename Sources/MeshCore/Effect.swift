import MeshWire

/// Everything a node can want done. Trivial values: bytes are named by offsets.
///
/// `head` lies in the effect buffer's own bytes, `body`, `name` and `payload` in the bytes given
/// with the event, unless the effect says otherwise. So effects are performed before those bytes are reused, in order.
public enum Effect: Sendable {
    /// Send `head` and then `body` over a link, as one frame or several whole ones.
    case send(LinkIndex, head: Slice, body: Slice, SendClass)
    /// Open a connection to this address for this slot, then `.connected` or `.disconnected`.
    case dial(LinkIndex, Endpoint)
    /// End this link after its queue is flushed (bounded in time); forget it now.
    case close(LinkIndex)
    /// Hand a message of another node to the local clients. If nobody has the name, answer with
    /// `.unclaimed`; if another of the same key is here, with `.wrongName` before. `number` is its
    /// place in the flow; 0: it is in none.
    case deliver(
        RoutedBody, number: UInt32, Key, name: Slice, payload: Slice, id: MessageID)
    /// The same, for a message that has waited in the node: `name` and `payload` lie in the effect
    /// buffer's own bytes.
    case deliverKept(
        RoutedBody, number: UInt32, Key, name: Slice, payload: Slice, id: MessageID)
    /// The same for a message whose payload begins with a label (`LabelPrefix`), whether or not it has waited.
    case deliverLabelled(
        RoutedBody, number: UInt32, Key, name: Slice, payload: Slice, id: MessageID)
    /// `count` messages in a row of a local client are given up, one copy each for the node `to`
    /// (`NodeID(0)`: for a user who did not come back). They may have arrived or not, and are not
    /// sent again. `sender` is what `Node.publish` was given; `name` lies in the effect buffer's own
    /// bytes.
    case undelivered(
        sender: UInt64, RoutedBody, Key, name: Slice, to: NodeID, count: Int32)
    /// A copy of a local client's message has found its user gone. It goes on to wherever the user is by
    /// then, after what was sent to others later; of several copies one does, when all have come back.
    case takenBack(sender: UInt64)
    /// A flow that was congested is not any more: publishers can be listened to again.
    case uncongested
    /// This many messages of that node will never come: it has given them up while it took this
    /// node for dead, and has told their senders.
    case gap(NodeID, count: UInt32)
    /// News of the bulk lane: something has come from that node, or has become of what goes there.
    case bulk(NodeID, BulkNews)
    /// The watched user's first session in the mesh came, or its last went.
    case presence(Key, Presence)
    /// Another node holds the followed key than before, or one fewer (`Node.holders`).
    case holders(Key)
    /// That member is dead, by the account of the mesh: what it had of others is lost with it.
    case memberDied(NodeID)
    /// Another node asks; answer with `.answer`. `subject` lies in the event's bytes.
    case queried(by: NodeID, QueryID, subject: Slice)
    /// One node's answer to a query; `answer` lies in the event's bytes.
    case answered(QueryID, from: NodeID, answer: Slice)
    /// One holder's trace: `path` is a list of 8-byte node ids, first hop to holder; empty if this
    /// node is the holder.
    case traced(QueryID, holder: NodeID, path: Slice)
    /// That node, which nobody here suspects, has not answered in time; `.finished` follows.
    case unanswered(QueryID, by: NodeID)
    /// All that will answer have answered.
    case finished(QueryID)
    /// More of this node's changes are known to all others (`Node.knownBatch`).
    case recordsKnown
    /// Find the addresses that the seeds' names lead to now, and tell them (`Node.learnSeeds`).
    case resolveSeeds
    /// Something an operator may want to read.
    case log(LogEvent)
    /// The node has left; the driver flushes the links and ends.
    case left
}

/// The bulk lane's effects (`Node.sendSession`).
public enum BulkNews: Sendable {
    /// The payload of a `.session`, once and in order; it lies in the event's bytes.
    case session(payload: Slice)
    /// The same, for one that has waited in the node: in the effect buffer's own bytes.
    case sessionKept(payload: Slice)
    /// The node is gone, or does not understand them: so many were not acknowledged. They may have
    /// arrived or not, and are not sent again.
    case givenUp(count: UInt32)
    /// So many of the node's will never come: it has given them up.
    case gap(count: UInt32)
    /// Something was not taken for want of room; now there is some, or the node is gone.
    case room
}

/// Control traffic goes ahead of messages and is not dropped at the message bound. Volatile messages
/// are dropped first. What is bulk goes behind messages.
public enum SendClass: UInt8, Sendable {
    case control
    case message
    case volatile
    case bulk
}

/// A report of a node for the log; the driver words it.
public enum LogEvent: Sendable {
    /// No seed has answered in so many attempts at all of them; what the last one has come to.
    case seedsSilent(attempts: Int, SeedFailure)
    /// No seed has answered for long.
    case servesAlone
    case joined(members: Int)
    case ready(members: Int, keys: Int)
    case memberUp(NodeID)
    case memberSuspect(NodeID, Doubt)
    case memberDead(NodeID, Doubt)
    case memberLeft(NodeID)
    case linkUp(NodeID)
    case linkDown(NodeID, LinkDownReason)
    case refused(Endpoint, RefusalReason)
    /// The peer, which was refused, is of another cluster (`Node.otherCluster`).
    case otherCluster(LinkIndex)
    /// All places for greetings were taken, and this connection, which had been silent longest, has given
    /// its own to another.
    case greetingDisplaced(LinkIndex)
    /// Both advertise one address. The second one answers there, or is this node.
    case addressShared(NodeID, NodeID)
    /// Somebody has greeted over this connection as a member that is heard over its own link.
    case memberImpersonated(NodeID, by: LinkIndex)
    /// A link to the member stood, and what was sent over it did not arrive.
    case linkHollow(NodeID)
    /// The member lives, and has acknowledged nothing for so long that it is not waited for.
    case memberMute(NodeID)
    /// Others hear the member, but this node cannot connect to it.
    case memberUnreachable(NodeID)
    /// The peer has greeted in another version, which the error tells.
    case wrongVersion(LinkIndex, WireError)
    case refuted
    /// The node is the peer by its own account, or whom the link was dialled for; nil: unknown.
    case protocolError(LinkIndex, NodeID?, WireError)
}

/// The fate of an attempt to ask a seed who is there.
public enum SeedFailure: UInt8, Sendable {
    /// Nothing yet: it is still waited for.
    case waiting
    /// Nothing listens at its address.
    case refused
    /// No connection has come about (`Timing.connect`), or there is no way to it.
    case silent
    /// The connection stands, but its greeting has taken too long (`Timing.greeting`).
    case late
    /// The connection was ended before the greeting.
    case closed
}

/// The reason for which a member is suspect, or dead.
public struct Doubt: Sendable {
    public enum Cause: UInt8, Sendable {
        /// Nothing has come from it for too long, and enough others say the same.
        case silent
        /// Its address refuses connections, and the others say the same.
        case refused
        /// It was suspect and has not said otherwise in time.
        case unrefuted
        /// Another node answers at its address.
        case replaced
        /// No other node can be reached, so the fault may be this node's.
        case cutOff
        /// A peer has said so.
        case told
    }

    public var cause: Cause
    /// The peer that has said so; nil: this node has found it.
    public var teller: NodeID?
    /// Since the member was last heard here; nil: there was no link to it any more.
    public var silence: Delay?

    public init(_ cause: Cause, by teller: NodeID? = nil, after silence: Delay? = nil) {
        self.cause = cause
        self.teller = teller
        self.silence = silence
    }
}

public enum LinkDownReason: UInt8, Sendable {
    case closed, silent, unneeded, replaced, peerDead, misbehaved, leaving
}
