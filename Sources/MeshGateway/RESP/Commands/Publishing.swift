import MeshCore
import MeshWire

// The end of a publication that `next` has given the driver.

extension Gateway {
    /// See `Hub.published`.
    @inline(__always)
    public mutating func published(
        _ publication: Publication, _ input: Span<UInt8>, by client: ClientIndex,
        number: UInt32, nodeCount: Int, isParked: Bool
    ) {
        let count = hub.published(
            publication, input, by: client, number: number, nodeCount: nodeCount,
            isParked: isParked)
        if hub.clients[client.slot].flags.contains(.scripting) {
            redis.scripts.runs[client]?.published(count)
        }
    }

    /// Instead of `published`, in whatever state the client is: the command is not carried out, and
    /// will be given to `next` again.
    public mutating func putBack(_ client: ClientIndex) {
        let slot = client.slot
        hub.counters[.commands] -= 1
        // Its SKIP was used up. What a transaction carries out is silenced with EXEC.
        if hub.clients[slot].flags.contains(.muted),
            hub.clients[slot].flags.isDisjoint(with: [.replyOff, .executing])
        {
            hub.clients[slot].flags.insert(.replySkip)
        }
    }

    /// Instead of `published`: the command is not carried out, and will be given to `next` again. False
    /// when that cannot be, because the command has left its mark already: within a transaction, or
    /// where replies are silenced.
    public mutating func postpone(_ client: ClientIndex) -> Bool {
        let state = hub.clients[client.slot].flags.intersection(.relevant)
        // A script gives its publication again.
        guard state == .plain || state.contains(.scripting) else { return false }
        hub.counters[.commands] -= 1
        return true
    }
}
