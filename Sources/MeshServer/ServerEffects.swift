import MeshCore
import MeshGateway

/// Everything that a server wants done: the effects of its node, and orders about clients and listeners.
/// Allocated once and reused, by all servers that one driver drives.
public struct ServerEffects: ~Copyable {
    /// The driver carries out `.send`, `.dial`, `.close`, `.log` and `.left`; the others the server has
    /// seen to. `body` slices lie in the bytes that the driver gave with the event.
    public var mesh = EffectBuffer()
    /// In order, after those.
    public var orders: [Order] = []
    /// Bytes of messages that went into the outputs of clients since the driver set this to 0.
    public var clientBytes = 0
    /// Effects of the server's own events, until they are read.
    var own = EffectBuffer()

    public enum Order: Sendable {
        /// Take no more commands of this client; flush its output, then close its connection.
        case end(ClientIndex)
        /// Close this client's connection at once.
        case close(ClientIndex)
        /// Go on with this client's input, as if more had come.
        case goOn(ClientIndex)
        /// New clients, or new links too, find another node: close the listeners.
        case stopListening(toLinks: Bool)
        case log(LogLine)
        /// From now on, for the clients that are there too.
        case configure(ClientSettings)
    }

    public init() {}

    @inlinable public var isEmpty: Bool { mesh.isEmpty && orders.isEmpty }

    /// Forgets everything but `clientBytes`; the driver calls it once all is carried out.
    @inlinable @inline(__always)
    public mutating func removeAll() {
        mesh.removeAll()
        if !orders.isEmpty { orders.removeAll(keepingCapacity: true) }
    }
}
