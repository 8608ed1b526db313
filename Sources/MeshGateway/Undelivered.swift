import MeshCore
import MeshWire

// Messages that the mesh could not deliver, and the reports about them.

extension Hub {
    /// The tag that a message of this client is published with (`Node.publish`), so that `undelivered`
    /// finds the client again. No two connections have the same one within 2^32 connections.
    ///
    /// Mutating, as all that is asked for each message: a function that only reads of a large struct
    /// makes its caller copy it whole (Swift 6.3).
    public mutating func senderTag(of client: ClientIndex) -> UInt64 { tag(of: client) }

    @inline(__always)
    func tag(of client: ClientIndex) -> UInt64 {
        let id = UInt32(truncatingIfNeeded: clients[client.slot].identity.id)
        return UInt64(UInt32(bitPattern: client.rawValue)) << 32 | UInt64(id)
    }

    /// The connection that `tag` was made for; nil when it is gone.
    public mutating func client(tagged tag: UInt64) -> ClientIndex? {
        let slot = Int(tag >> 32)
        guard clients.slots.contains(slot), clients[slot].flags.contains(.open),
            UInt32(truncatingIfNeeded: clients[slot].identity.id) == UInt32(truncatingIfNeeded: tag)
        else { return nil }
        return ClientIndex(slot)
    }

    /// `count` copies of messages that a client of this node has published to `name` are given up;
    /// they may have arrived or not. `name` lies in `bytes`. A client that has asked (MESH.REPORTS)
    /// is told kind, name, number and reason.
    ///
    /// - Parameter node: where they were going; `NodeID(0)`: to a user who did not come back.
    public mutating func undelivered(
        sender: UInt64, _ body: RoutedBody, _ key: Key, name: Slice, to node: NodeID,
        _ bytes: Span<UInt8>, count: Int
    ) {
        if body == .request { return requestUndelivered(sender, to: node) }
        if body == .roster { return rosterLost(bytes.array(name), to: node) }
        let client = sender == 0 ? nil : client(tagged: sender)
        noteTrouble(.undelivered, by: UInt64(count), of: client)
        guard let client else { return }
        let slot = client.slot
        guard clients[slot].flags.contains(.reports),
            clients[slot].flags.isDisjoint(with: [.doomed, .ending])
        else { return }
        counters[.undeliveredReports] += 1
        tell(
            client,
            .undelivered(
                MessageKind(body), name: bytes.array(name), count: count,
                node == NodeID(0) ? .expired : .unreachable))
    }
}
