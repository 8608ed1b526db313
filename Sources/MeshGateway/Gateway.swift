import MeshCore
import MeshWire

/// A client connection's place in the gateway's table; reused after `close`.
public typealias ClientIndex = Int32

/// What the driver must do before it calls `next` for this client again.
public enum Request: Sendable {
    /// The input ends inside a command; call again when `needed` bytes from the offset on are
    /// there (a hint: at least one byte more than now).
    case incomplete(needed: Int)
    /// A command was carried out; its replies are in the client's output. Call again.
    case handled
    /// Publish to the rest of the mesh (`Event.publish`), then call `published`. The offset has
    /// moved past the command; the slices point into the same input.
    case publish(Publication)
    /// Ask other nodes (`Event.query`, with `questionBytes` as the event's bytes). Until the
    /// question is finished `next` answers `.blocked` for this client, so replies keep their order.
    case ask(QueryID, Query)
    /// Only the driver knows this: answer with `reply` or `presence`. The client is not blocked.
    case report(Report)
    /// A question of this client is open; do not read from it, call again after `finished`.
    case blocked
    /// Flush the client's output, then close the connection and call `close`.
    case end
}

/// A message from a local client.
public struct Publication: Sendable {
    public var body: RoutedBody
    public var key: Key
    public var name: Slice
    public var payload: Slice
    /// The name's local topic, -1 when nobody here has it.
    public var topic: Int32
}

/// What a client asked of the node itself.
public enum Report: Sendable {
    case members
    case links
    case status
    /// One integer per user, in order: 1 or 0.
    case online([Key])
    /// The nodes that hold this user.
    case whereabouts(Key)
    /// The present state of users that this client begins to watch: answer with
    /// `presenceNow(client, user: index of the key, isOnline:)`, in order.
    case watch([Key])
    /// INFO, with the section names in lower case; the driver adds the mesh's figures.
    case info(sections: [String])
}

/// A first arrival or last departure among this node's clients, for the node's directory.
public struct InterestChange: Sendable {
    public enum Subject: Sendable {
        /// `Event.directory`
        case key
        /// `Event.pattern`, with this text.
        case pattern([UInt8])
        /// `Event.watch`
        case watch
    }
    public var subject: Subject
    public var key: Key
    public var change: DirectoryChange
}

/// The clients of one node: their sessions, subscriptions and output. Bytes in, bytes out; no socket.
public struct Gateway: ~Copyable {
    /// What has changed since the driver last looked; the driver empties it after each call of
    /// `next` and `close`.
    public var changes: [InterestChange] = []
    /// Clients whose output has grown since the driver last flushed; the driver empties it. A
    /// client stands in it at most once.
    public var dirty: [ClientIndex] = []
    /// The bytes that the slices of the last `.ask` point into.
    public var questionBytes = ByteQueue()

    public init(_ configuration: GatewayConfiguration, hasher: KeyHasher) {}

    /// A new connection; nil when `clientCountMax` is reached: send `refusal` and close it.
    public mutating func open(address: String, at now: Instant) -> ClientIndex? { nil }

    /// The connection is gone: its subscriptions and users go with it (see `changes`).
    public mutating func close(_ client: ClientIndex) {}

    /// Takes one command from `input[offset...]` and moves `offset` past it.
    public mutating func next(
        _ input: Span<UInt8>, at offset: inout Int, from client: ClientIndex, now: Instant
    ) -> Request { .blocked }

    /// Completes a `.publish`: writes the reply (local receivers + remote nodes), then delivers to
    /// the local receivers, the publisher last among equals in RESP3 as Redis does.
    public mutating func published(
        _ publication: Publication, _ input: Span<UInt8>, by client: ClientIndex,
        remoteNodeCount: Int
    ) {}

    /// A message from another node for local clients. Returns how many clients it went to.
    @discardableResult
    public mutating func deliver(
        _ body: RoutedBody, _ key: Key, name: Slice, payload: Slice, _ input: Span<UInt8>
    ) -> Int { 0 }

    /// The watched user came or went.
    public mutating func presence(_ key: Key, isOnline: Bool) {}
    public mutating func presenceNow(_ client: ClientIndex, user index: Int, isOnline: Bool) {}

    /// Another node's gateway asks (`Effect.asked`): writes the answer to `answer`. The encoding
    /// of subjects and answers is the gateway's own. Malformed subjects get an empty answer.
    public mutating func answer(
        _ subject: Slice, _ input: Span<UInt8>, into answer: inout ByteQueue
    ) {}
    /// One node's answer to this gateway's question.
    public mutating func answered(_ query: QueryID, _ answer: Slice, _ input: Span<UInt8>) {}
    /// One holder's path, as names that the driver has looked up.
    public mutating func traced(_ query: QueryID, holder: String, path: [String]) {}
    /// All that will answer have answered: writes the reply, unblocks the client. Returns the
    /// client, for the driver to go on with its waiting input; nil if it has gone.
    public mutating func finished(_ query: QueryID) -> ClientIndex? { nil }

    /// Answers a `.report`.
    public mutating func reply(_ client: ClientIndex, _ value: ReplyValue) {}

    /// Until this is called with true, commands that need the mesh answer `-LOADING`.
    public mutating func setReady(_ ready: Bool, now: Instant) {}

    /// Passes the client's waiting output to `body`, which returns how many bytes it has sent.
    public mutating func flush(_ client: ClientIndex, _ body: (UnsafeRawBufferPointer) -> Int) {}
    public func outputCount(_ client: ClientIndex) -> Int { 0 }
    /// Closes clients over their output limits: the driver calls it about once a second, and
    /// closes those that it returns.
    public mutating func overdue(at now: Instant) -> [ClientIndex] { [] }

    public var clientCount: Int { 0 }
}

/// Bounds and identity of the client side.
public struct GatewayConfiguration: Sendable {
    public var clientCountMax = 10_000
    /// The largest command: all its arguments together.
    public var requestBytesMax = 65 * 1024 * 1024
    public init() {}
}

/// A reply of any shape, in the terms of RESP3; maps become flat arrays in RESP2.
public indirect enum ReplyValue: Sendable {
    case simple(String)
    case error(String)
    case integer(Int)
    case double(Double)
    case bulk([UInt8])
    case text(String)
    case null
    case array([ReplyValue])
    case map([(String, ReplyValue)])
}
