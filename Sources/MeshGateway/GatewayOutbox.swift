import MeshCore

/// The things that a gateway leaves for its driver, which empties what it has seen to.
public struct GatewayOutbox {
    /// Of the directory, since the driver last looked: after each call of `next` and `close`.
    public var changes: [InterestChange] = []
    /// Clients whose output has grown since the driver last flushed. A client stands in it at most
    /// once. A client that has been doomed stands in it too.
    public var dirty: [ClientIndex] = []

    /// There is something in the lists below, or a new setting; the driver sets this to false when it
    /// has seen to all of them.
    public var hasWork = false
    /// Questions of the gateway's own to other nodes; seen to after `tick` too.
    public var errands: [Errand] = []
    /// Clients whose connections the driver is to end, once what they have to be sent is sent; seen to
    /// after `tick` too.
    public var farewells: [ClientIndex] = []
    /// Clients that were ended because they read too slowly. Each of them is in `dirty` too.
    public var cuts: [CutClient] = []
    var troubles = ClientTroubles()
    /// Those of them that a line of the log is to tell of.
    public var complaints: [ClientTrouble] = []
    /// Clients that waited for a session which has come: the driver goes on with their input.
    package var resumable: [ClientIndex] = []
    /// Requests and replies, in order.
    public var posts = FIFO<Post>()
    /// CONFIG SET has changed something that the driver looks after (`Hub.settings`).
    public var hasNewSettings = false
}
