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
        if hub.clients[client.slot].flags.contains(.busy) {
            publishedAmongOthers(
                publication, input, by: client, number: number, nodeCount: nodeCount,
                isParked: isParked)
            return
        }
        hub.published(
            publication, input, by: client, number: number, nodeCount: nodeCount,
            isParked: isParked, answers: true)
    }

    /// The same in a transaction, or in a script, which gets the answer.
    @inline(never)
    private mutating func publishedAmongOthers(
        _ publication: Publication, _ input: Span<UInt8>, by client: ClientIndex,
        number: UInt32, nodeCount: Int, isParked: Bool
    ) {
        let isScript = conversations[client.slot].isScripting
        let count = hub.published(
            publication, input, by: client, number: number, nodeCount: nodeCount,
            isParked: isParked, answers: !isScript)
        if isScript { notePublication(count, client) }
    }

    /// Instead of `published`, in whatever state the client is: the command is not carried out, and
    /// will be given to `next` again.
    public mutating func putBack(_ client: ClientIndex) {
        let slot = client.slot
        hub.counters[.commands] -= 1
        // Its SKIP was used up. What a transaction carries out is silenced with EXEC.
        if hub.clients[slot].flags.contains(.muted), conversations[slot].replies == .on,
            !conversations[slot].holdsMessages
        {
            conversations[slot].replies = .skipNext
            chooseWay(client)
        }
    }

    /// Instead of `published`: the command is not carried out, and will be given to `next` again. False
    /// when that cannot be, because the command has left its mark already: within a transaction, or
    /// where replies are silenced.
    public mutating func postpone(_ client: ClientIndex) -> Bool {
        let state = hub.clients[client.slot].flags.intersection(.relevant)
        // A script gives its publication again.
        guard state == .plain || conversations[client.slot].isScripting else { return false }
        hub.counters[.commands] -= 1
        return true
    }
}
