import MeshCore
import MeshWire

// What becomes of messages that the mesh could not deliver.

extension Gateway {
    /// What a message of this client is published with (`Event.publish`), so that `undelivered`
    /// finds the client again. No two connections have the same one within 2^32 connections.
    @inline(__always)
    public func senderTag(of client: ClientIndex) -> UInt64 {
        let id = UInt32(truncatingIfNeeded: clients[Int(client)].id)
        return UInt64(UInt32(bitPattern: client)) << 32 | UInt64(id)
    }

    /// The connection that `tag` was made for; nil when it is gone.
    func client(tagged tag: UInt64) -> ClientIndex? {
        let place = Int(tag >> 32)
        guard place < clients.count, clients[place].flags.contains(.open),
            UInt32(truncatingIfNeeded: clients[place].id) == UInt32(truncatingIfNeeded: tag)
        else { return nil }
        return ClientIndex(place)
    }

    /// `count` copies of messages that a client of this node has published to `name` are given up;
    /// they may have arrived or not. `name` lies in `bytes`.
    public mutating func undelivered(
        sender: UInt64, _ body: RoutedBody, _ key: Key, name: Slice, _ bytes: Span<UInt8>,
        count: Int
    ) {
        counters.undelivered &+= UInt64(count)
    }
}
