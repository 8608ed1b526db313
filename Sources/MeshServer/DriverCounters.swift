/// What a driver has counted since it started; monotonic.
public struct DriverCounters: Sendable {
    public var wakeUps: UInt64 = 0
    public var linksAccepted: UInt64 = 0
    public var linksDialled: UInt64 = 0
    public var clientsAccepted: UInt64 = 0
    public var httpAccepted: UInt64 = 0
    /// Accepted connections that were closed at once: no slot, no descriptor, too many.
    public var connectionsRefused: UInt64 = 0
    /// Connections of clients that were closed at once because descriptors were used up, but for
    /// those that are kept for links.
    public var descriptorsUsedUp: UInt64 = 0
    /// Times that accepting failed for want of memory or descriptors, and the listeners rested.
    public var acceptsFailed: UInt64 = 0
    /// Calls that wrote to sockets and failed for want of the kernel's memory; they are repeated.
    public var sendsStarved: UInt64 = 0
    /// Links closed for bytes that no node sends, or for a control queue past its bound.
    public var linksMisbehaved: UInt64 = 0
    /// Messages dropped because their link's queue was at its bound, and their bytes.
    public var messagesDropped: UInt64 = 0
    public var messageBytesDropped: UInt64 = 0
    /// Clients and HTTP connections that ended, however they did.
    public var clientsClosed: UInt64 = 0
    /// HTTP connections closed because their head did not end in time.
    public var httpTimedOut: UInt64 = 0
    /// HTTP requests that are none.
    public var httpRefused: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    /// Calls that read from and wrote to sockets.
    public var receives: UInt64 = 0
    public var sends: UInt64 = 0

    public init() {}
}
