import MeshCore

/// The driver's bounds. What happens at each is said with it; all of it is counted.
public struct Limits: Sendable {
    /// Bytes taken from a socket at once.
    public var readBytes = 256 * 1024
    /// Reads from one socket before the others have their turn.
    public var readsPerTurn = 16
    /// Time that a wake-up works on input before deadlines are looked at and output leaves. A turn
    /// through a hundred busy sockets with a large fan-out can take a second; heartbeats must not
    /// wait for it, or the neighbours take this node for dead.
    public var turnTime: Delay = .milliseconds(5)
    /// In the middle of a wake-up queues are offered to their sockets when this much has gathered in
    /// them, because it is still in the cache. That holds if `sendBytes` wait in each of them on average;
    /// at `gatheredBytesMax` they are offered in any case.
    public var gatheredBytes = 1024 * 1024
    /// A call of the kernel is worth its cost from so many bytes on, while there is other work.
    public var sendBytes = 32 * 1024
    /// Output that gathers before it is sent in any case. It bounds the memory that a wake-up
    /// takes; so far as it goes beyond a client's output limit, that client is closed.
    public var gatheredBytesMax = 16 * 1024 * 1024
    /// Connections accepted from one listener before the others have their turn.
    public var acceptsPerTurn = 64
    /// The same from a mesh port: what has come over those of the turn before is read before others take
    /// all their places (`Node.acceptLink`).
    public var linkAcceptsPerTurn = 16
    /// Message bytes that wait for one link; above it messages for that link are dropped.
    public var linkMessageBytes = 64 * 1024 * 1024
    /// Control bytes that wait for one link; above it the link is closed as misbehaving. A snapshot
    /// of a million keys takes 8 MB.
    public var linkControlBytes = 128 * 1024 * 1024
    /// Message bytes on one link above which clients that publish to it are not read from, until
    /// half of it has left.
    public var congestionBytes = 4 * 1024 * 1024
    /// Bytes of a link that the kernel takes beyond those that are on their way: what waits in this
    /// process can still be overtaken by control and by small messages. 105 ms at 10 Mbit/s.
    public var unsentBytes: Int32 = 128 * 1024
    /// Bytes of data in a packet to a peer on the way to which larger ones vanish: what each IPv4 host takes
    /// (RFC 1122 §3.3.3), without the headers.
    public var smallSegmentBytes: Int32 = 536
    /// Between looks at what the kernel has not sent yet of a link whose socket was full.
    public var leavingTime: Delay = .milliseconds(50)
    /// Descriptors that this process may have; nil: what the kernel allows. The last ones are kept
    /// for links, so that clients cannot cut a node off, and a few before them for the HTTP port,
    /// so that it can be asked what is wrong.
    public var descriptorCount: Int?
    /// After accepting has failed for want of memory or descriptors, and after the kernel has had no
    /// memory for a send, this passes before it is tried again.
    public var starvedTime: Delay = .milliseconds(20)
    /// The log says at most this often that descriptors are used up.
    public var complaintTime: Delay = .seconds(10)
    /// Open HTTP connections; above it a new one takes the place of one that says nothing.
    public var httpConnectionCount = 256
    /// The longest HTTP head; a longer one is answered with 431.
    public var httpHeadBytes = 16 * 1024
    /// Answers of HTTP that may wait for a connection that does not read; above it the next answer is
    /// the last.
    public var httpWaitingBytes = 1024 * 1024
    /// A head of HTTP that is not complete after this closes the connection.
    public var httpHeadTime: Delay = .seconds(10)
    /// Output that waits on a closed connection has this long to leave.
    public var lingerTime: Delay = .milliseconds(500)
    /// After a client with a session has ended its connection in order, a reset that follows right
    /// behind is waited for: it says that there was something unread. Both leave the client's machine
    /// together; the rest is for a machine that is short of processors. A client that has ended its
    /// own side alone reads our end so much later.
    public var partingTime: Delay = .milliseconds(250)
    /// Connections that linger; beyond them they are closed at once.
    public var lingeringCount = 256
    /// Silence after which the kernel probes a client's connection; Redis's `tcp-keepalive`.
    public var clientKeepAliveSeconds: Int32 = 300

    public init() {}
}
