import MeshCore
import MeshWire

// MULTI, EXEC and DISCARD, for clients that wrap their pipelines in them.
//
// The queued commands stay in the driver's input. EXEC writes the array's header and goes back to
// the first of them; each is then carried out by a call of `next` like any other command, until
// EXEC itself comes up again. So what they publish lies in the input, as `.publish` demands.

extension Gateway {
    mutating func begin(_ client: ClientIndex) {
        change(client, .queueing(Transaction()))
        ok(client)
    }

    /// Between MULTI and EXEC. Nil when the transaction has ended and the command is to run.
    mutating func takeIntoTransaction(
        _ admission: Admission, _ size: Int, _ offset: inout Int, _ client: ClientIndex
    ) -> Request? {
        let slot = client.slot
        switch admission {
        case .refused(let refusal):
            if let end = keepInput(size, client) { return end }
            changeTransaction(client) { $0.isAborted = true }
            fail(client, refusal)
            return .handled
        case .refusedExec(let refusal):
            change(client, .serving)
            offset = arguments.start + size
            fail(client, .transaction(.aborted(because: refusal)))
            return .handled
        case .dropped:
            return nil
        case .admitted(.multi):
            if let end = keepInput(size, client) { return end }
            fail(client, .transaction(.nested))
            return .handled
        case .admitted(.watch):
            if let end = keepInput(size, client) { return end }
            fail(client, .transaction(.watchInside))
            return .handled
        case .admitted(.exec):
            guard case .queueing(let transaction) = conversations[slot].phase else { return nil }
            if transaction.isAborted {
                change(client, .serving)
                offset = arguments.start + size
                fail(client, .transaction(.abortedBefore))
                return .handled
            }
            change(client, .executing)
            if !hub.clients[slot].flags.contains(.muted) {
                hub.clients[slot].output.appendArray(transaction.count)
                hub.wrote(client)
            }
            return .handled
        case .admitted(.discard):
            change(client, .serving)
            offset = arguments.start + size
            if !hub.clients[slot].flags.contains(.muted) {
                ok(client)
                hub.wrote(client)
            }
            return .handled
        case .admitted(let command) where redis.table[command].traits.contains(.unqueued):
            change(client, .serving)
            return nil
        case .admitted:
            if let end = keepInput(size, client) { return end }
            changeTransaction(client) { $0.count += 1 }
            if !hub.clients[slot].flags.contains(.muted) {
                hub.clients[slot].output.append("+QUEUED\r\n")
                hub.wrote(client)
            }
            return .handled
        }
    }

    /// So many more bytes stay in the driver's input until the transaction ends, whatever they are:
    /// commands that are queued, that are refused, and empty lines. Beyond `requestBytesMax` the
    /// connection ends: what is returned then is not nil.
    mutating func keepInput(_ size: Int, _ client: ClientIndex) -> Request? {
        changeTransaction(client) { $0.bytes += size }
        guard conversations[client.slot].queuedBytes > limits.request.requestBytesMax else {
            return nil
        }
        return refuse(.tooBig, client)
    }

    private mutating func changeTransaction(
        _ client: ClientIndex, _ change: (inout Transaction) -> Void
    ) {
        guard case .queueing(var transaction) = conversations[client.slot].phase else { return }
        change(&transaction)
        conversations[client.slot].phase = .queueing(transaction)
    }

    /// Whether the command at hand is one of a transaction's, queued or carried out.
    func isWithinTransaction(_ client: ClientIndex) -> Bool {
        conversations[client.slot].isQueueing || conversations[client.slot].holdsMessages
    }

    /// EXEC has come up again: the replies are complete, and what was held back may follow.
    mutating func endExecution(_ client: ClientIndex) -> Request {
        let slot = client.slot
        change(client, .serving)
        // The queue is taken out for the time of the copy: two parts of one session cannot be
        // borrowed through the slab at once.
        var held = ByteQueue()
        swap(&held, &hub.clients[slot].held)
        if held.count > 0 {
            held.withSpan { hub.clients[slot].output.append($0, 0, $0.count) }
            hub.wrote(client)
        }
        return .handled
    }
}
