import MeshCore
import MeshWire

// Commands of which a part has come, and that are given up because all of them together take too much.

extension Gateway {
    /// So many bytes of a client's input wait for the rest of a command, or of a transaction.
    ///
    /// - Returns: the client whose command is given up, because all that wait are too many together and its
    ///   own are among the most: its input is to be gone on with now. Call again until it is nil.
    public mutating func noteInput(_ bytes: Int, of client: ClientIndex) -> ClientIndex? {
        let slot = client.slot
        let more = conversations[slot].partial.byteCount
        hub.countInput(bytes <= MemoryShares.inputTrifle ? 0 : bytes + more, of: client)
        while let victim = hub.relieveInput() {
            if giveUpCommand(of: victim) { return victim }
        }
        return nil
    }

    /// The command that a client has sent a part of is not carried out, and is answered so. Within a
    /// transaction, and where a command is carried out in part, the connection ends: nobody could tell what
    /// is queued, or done.
    ///
    /// - Returns: false when nothing is to be gone on with.
    private mutating func giveUpCommand(of client: ClientIndex) -> Bool {
        let slot = client.slot
        hub.noteTrouble(.commandsGivenUp, of: client)
        let isWithin = isWithinTransaction(client)
        fail(client, .limit(.unfinishedCommands(bytesMax: hub.configuration.memory.input)))
        if isWithin
            || !hub.clients[slot].flags.isDisjoint(with: [.midway, .asking, .ending, .doomed])
        {
            hub.clients[slot].flags.insert(.ending)
            hub.outbox.farewells.append(client)
            hub.outbox.hasWork = true
            return false
        }
        conversations[slot].partial = Conversation.Partial()
        change(client, .skipping(CommandSkip()))
        return true
    }

    /// Passes over a command that was given up.
    mutating func skip(
        _ input: Span<UInt8>, at offset: inout Int, _ client: ClientIndex
    ) -> Request {
        guard case .skipping(var skip) = conversations[client.slot].phase else { return .handled }
        do throws(RESPError) {
            let hasPassed = try skip.advance(input, &offset)
            change(client, hasPassed ? .serving : .skipping(skip))
            return hasPassed ? .handled : .incomplete(needed: 1)
        } catch {
            return refuse(error, client)
        }
    }
}
