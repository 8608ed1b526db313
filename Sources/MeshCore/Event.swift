import MeshWire

/// A link's place in the node's table of links, `0 ..< Configuration.linkSlotCount`.
///
/// The driver keeps one connection per link. `Node` hands slots out: with `.dial`, and to the
/// driver that has accepted a connection (`Node.acceptLink`).
public struct LinkIndex: TableIndex {
    public var rawValue: Int32

    @inlinable @inline(__always)
    public init(rawValue: Int32) { self.rawValue = rawValue }
}

/// Everything that can happen to a node, but for what its clients publish (`Node.publish`). Offsets
/// point into the bytes given with the event.
public enum Event: Sendable {
    /// A dialled connection stands.
    case connected(LinkIndex)
    /// A connection is gone, or could not be had. Not sent after an `.close` effect.
    case disconnected(LinkIndex, Disconnection)
    /// Bytes came over this link: it lives, whether or not a frame is complete.
    case heard(LinkIndex)
    /// So many bytes of what was to be sent over this link wait in the driver. Told when the driver has
    /// offered them and not all has left, again as they leave, and when none is left.
    case backlog(LinkIndex, bytes: Int)
    /// One whole frame, `bytes[start ..< start + prefix.length]`.
    case received(FramePrefix, start: Int, from: LinkIndex)
    /// `nextDeadline` has come.
    case deadline
    /// The first local user session or subscriber of this key came (add), or the last one went.
    case directory(Key, DirectoryChange)
    /// The first local subscriber of this pattern came, or the last one went. `name` is the pattern.
    case pattern(Key, name: Slice, DirectoryChange)
    /// Somebody here wants to know when this user comes and goes, or nobody any more.
    case watch(Key, DirectoryChange)
    /// Somebody here wants to know of each change of the nodes that hold this key, or one fewer does.
    case follow(Key, DirectoryChange)
    /// Ask other nodes; the answers come as `.answered` with this number.
    case query(QueryID, Query)
    /// This node's answer to `.queried`; `bytes[answer]` is opaque to the mesh.
    case answer(to: NodeID, QueryID, answer: Slice)
    /// A message of that node was for a name that nobody here has, while another name of the same key
    /// is here; the origin will leave this node out.
    case wrongName(RoutedBody, Key, name: Slice, from: NodeID)
    /// Nobody here has the name that a message of that node was for; to a user, it goes back. `number`
    /// is that of `.deliver`, `sharesKey`: another name of the key is here.
    case unclaimed(RoutedBody, Key, number: UInt32, from: NodeID, sharesKey: Bool)
    /// Leave the mesh: say so to everyone, then `.left`.
    case leave
}

public enum DirectoryChange: UInt8, Sendable {
    case add = 0
    case remove = 1
    /// As `remove`: the last one has lost its connection.
    case lose = 2
    /// As `remove`: another client has ended it.
    case kick = 3
}

/// How a user is, by the account of the mesh.
public enum Presence: Equatable, Sendable {
    case online
    case offline(Absence)

    public var isOnline: Bool { self == .online }
}

/// The reason for which the last attachment of a user has gone.
public enum Absence: UInt8, Sendable {
    /// Its client has ended it.
    case quit = 1
    /// Its connection has ended, and its session's grace is over, if it had one.
    case lost = 2
    /// Another client has ended it.
    case kicked = 3
    /// Its node has died or left.
    case node = 4
}

/// Why a connection ended.
public enum Disconnection: UInt8, Sendable {
    /// The peer closed or reset it.
    case closed = 0
    /// Nothing listens at the address: whoever was there is gone.
    case refused = 1
    /// No answer, no route, or another error of the network.
    case unreachable = 2
    /// Malformed bytes, or the send queue's bound; the driver has counted it.
    case misbehaved = 3
}

/// Numbers a query that a driver asked; unique per node, chosen by the driver.
public struct QueryID: Hashable, BitwiseCopyable, Sendable {
    public var rawValue: UInt32

    @inlinable @inline(__always)
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }

    /// The number of the query after this one.
    @inlinable public var next: QueryID { QueryID(rawValue &+ 1) }
}

/// A query to other nodes. `subject` is opaque to the mesh and handed to the answering driver.
public enum Query: Sendable {
    /// To the other nodes that hold at least one of `keys`: 8 bytes each, little-endian.
    case holders(keys: Slice, subject: Slice)
    /// To all other nodes.
    case everyone(subject: Slice)
    /// To one node; finished at once when it is no member.
    case node(NodeID, subject: Slice)
    /// To the other nodes that hold `key`, recording each hop there (`.traced` effects).
    case trace(Key)
}
