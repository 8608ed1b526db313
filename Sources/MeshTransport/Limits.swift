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
    /// Bytes read from all sockets before what they led to is sent: it bounds the output that
    /// gathers, which is this times the fan-out (guess, not yet measured).
    public var readBytesPerFlush = 256 * 1024
    /// Connections accepted from one listener before the others have their turn.
    public var acceptsPerTurn = 64
    /// Message bytes that wait for one link; above it messages for that link are dropped.
    public var linkMessageBytes = 64 * 1024 * 1024
    /// Control bytes that wait for one link; above it the link is closed as misbehaving. A snapshot
    /// of a million keys takes 8 MB.
    public var linkControlBytes = 128 * 1024 * 1024
    /// Message bytes on one link above which clients that publish to it are not read from, until
    /// half of it has left.
    public var congestionBytes = 4 * 1024 * 1024
    /// Open HTTP connections; above it new ones are closed at once.
    public var httpConnectionCount = 256
    /// The longest HTTP head; a longer one is answered with 431.
    public var httpHeadBytes = 16 * 1024
    /// A head of HTTP that is not complete after this closes the connection.
    public var httpHeadTime: Delay = .seconds(10)
    /// What waits on a closed connection has this long to leave.
    public var lingerTime: Delay = .milliseconds(500)
    /// Connections that linger; beyond them they are closed at once.
    public var lingeringCount = 256
    /// A node that leaves has this long to say so.
    public var leaveTime: Delay = .seconds(3)
    /// Silence after which the kernel probes a client's connection; Redis's `tcp-keepalive`.
    public var clientKeepAliveSeconds: Int32 = 300

    public init() {}
}
