import CLinux
import Glibc
import MeshCore
import MeshGateway
import MeshWire

// The client side of the driver: bytes → commands of the gateway → events, and output → bytes.

extension Reactor {
    @inline(__always)
    func connection(of client: ClientIndex) -> Int32 {
        client >= 0 && Int(client) < connectionOfClient.count
            ? connectionOfClient[Int(client)] : -1
    }

    mutating func acceptClients() {
        acceptAll(.redis) { reactor, accepted in
            let peer = Endpoint(accepted.peer)
            guard let client = reactor.gateway.open(address: peer.description, at: reactor.now)
            else {
                reactor.counters.connectionsRefused &+= 1
                reactor.refuse(accepted.descriptor)
                return
            }
            linux_keep_alive(accepted.descriptor, reactor.limits.clientKeepAliveSeconds)
            reactor.counters.clientsAccepted &+= 1
            guard let index = reactor.adopt(accepted.descriptor, .client, owner: client) else {
                reactor.counters.connectionsRefused &+= 1
                _ = reactor.gateway.close(client, .inOrder)
                return
            }
            while reactor.connectionOfClient.count <= Int(client) {
                reactor.connectionOfClient.append(-1)
            }
            reactor.connectionOfClient[Int(client)] = index
        }
    }

    /// Says in Redis's words that there are too many clients, and closes.
    func refuse(_ descriptor: Int32) {
        _ = unsafe Gateway.refusal.withUnsafeBytes {
            unsafe linux_send(descriptor, $0.baseAddress, $0.count)
        }
        close(descriptor)
    }

    /// Carries out the commands that arrived from a client; returns how many bytes they had.
    mutating func consumeClient(_ index: Int32, _ bytes: Span<UInt8>) -> Int {
        let client = connections[index].owner
        let token = Token(index: index, generation: connections[index].generation)
        connections[index].needed = 0
        if gateway.outputCount(client) > limits.clientOutputBytes {
            throttle(index)
            return 0
        }
        var offset = 0
        while true {
            let start = offset
            let request = gateway.next(bytes, at: &offset, from: client, now: now)
            if !gateway.changes.isEmpty { applyChanges() }
            switch request {
            case .handled:
                if gateway.outputCount(client) > limits.clientOutputBytes {
                    throttle(index)
                    return offset
                }
            case .publish(let publication):
                if node.hasCongestion, isPostponed(publication, index, client) { return start }
                congestedLink = nil
                var cause: PausedPublisher.Cause?
                if publication.isDecoded {
                    let line = gateway.decodedLine
                    cause = publish(publication, line.span, by: client)
                } else {
                    cause = publish(publication, bytes, by: client)
                }
                if gatheredBytes >= limits.gatheredBytes {
                    flushIfWorthwhile()
                    guard isCurrent(token), connections[index].role == .client else {
                        return offset
                    }
                }
                if let link = congestedLink { cause = .link(link) }
                if let cause {
                    pausePublisher(index, cause)
                    return offset
                }
            case .incomplete(let needed):
                connections[index].needed = max(needed, bytes.count - offset + 1)
                return offset
            case .ask(let query, let question): ask(query, question)
            case .report(let report): answer(report, to: client)
            case .blocked:
                connections[index].isPaused = true
                return offset
            case .end:
                endClient(index)
                return offset
            }
        }
    }

    /// Returns what is too full now for this publisher to go on.
    @inline(__always)
    private mutating func publish(
        _ publication: Publication, _ bytes: Span<UInt8>, by client: ClientIndex
    ) -> PausedPublisher.Cause? {
        let message = OutgoingMessage(
            publication.body, publication.key, name: publication.name,
            payload: publication.payload, sender: gateway.senderTag(of: client),
            isVolatile: publication.isVolatile)
        let outcome = node.publish(message, bytes: bytes, at: now, into: &effects)
        performAll(bytes)
        let copies = gateway.counters.delivered
        gateway.published(publication, bytes, by: client, outcome)
        gatheredBytes +=
            Int(gateway.counters.delivered &- copies)
            * (Int(publication.name.count) + Int(publication.payload.count))
        return outcome.congestion.map { .mesh($0) }
    }

    /// First arrivals and last departures among our clients, for the directory of the node.
    mutating func applyChanges() {
        var position = 0
        while position < gateway.changes.count {
            let change = gateway.changes[position]
            position += 1
            if hasLeft { continue }
            switch change.subject {
            case .key: handle(.directory(change.key, change.change))
            case .watch: handle(.watch(change.key, change.change))
            case .pattern(let text):
                handle(
                    .pattern(
                        change.key, name: Slice(start: 0, count: text.count), change.change),
                    text.span)
            }
        }
        gateway.changes.removeAll(keepingCapacity: true)
    }

    /// What the gateway does by itself: sessions that end or move, and clients that must go.
    mutating func runGateway() {
        if let due = gateway.nextDeadline, due <= now { gateway.tick(at: now) }
        if !gateway.changes.isEmpty { applyChanges() }
        while !gateway.errands.isEmpty {
            var errands: [Errand] = []
            swap(&errands, &gateway.errands)
            for errand in errands { handle(.query(errand.id, errand.query), errand.bytes.span) }
        }
        if gateway.farewells.isEmpty { return }
        var farewells: [ClientIndex] = []
        swap(&farewells, &gateway.farewells)
        for client in farewells {
            let index = connection(of: client)
            if index >= 0 { endClient(index) }
        }
    }

    mutating func ask(_ query: QueryID, _ question: Query) {
        // Taken out: a question that nobody else can answer is finished before `handle` returns.
        var bytes = ByteQueue()
        swap(&bytes, &gateway.questionBytes)
        bytes.withSpan { handle(.query(query, question), $0) }
        swap(&bytes, &gateway.questionBytes)
    }

    // MARK: Pauses

    /// A client that asks faster than it reads: its replies leave before it is listened to again.
    private mutating func throttle(_ index: Int32) {
        connections[index].isPaused = true
        connections[index].isThrottled = true
        markDirty(index)
    }

    private mutating func pausePublisher(_ index: Int32, _ cause: PausedPublisher.Cause) {
        counters.publishersPaused &+= 1
        connections[index].isPaused = true
        pausedPublishers.append(
            PausedPublisher(
                name: ConnectionName(index: index, generation: connections[index].generation),
                cause: cause))
    }

    /// A message for a destination that has more than enough is not taken: its command stays in the
    /// client's input, and the client waits. Taken, one from each of many publishers would fill the
    /// flow beyond its window.
    @inline(never)
    private mutating func isPostponed(
        _ publication: Publication, _ index: Int32, _ client: ClientIndex
    ) -> Bool {
        if publication.isVolatile { return false }
        guard let congestion = node.congestion(of: publication.key), gateway.postpone(client)
        else { return false }
        pausePublisher(index, .mesh(congestion))
        return true
    }

    private func isCongested(_ cause: PausedPublisher.Cause) -> Bool {
        switch cause {
        case .mesh(let congestion): node.isCongested(congestion)
        case .link(let name):
            isCurrent(Token(index: name.index, generation: name.generation))
                && connections[name.index].isCongested
        }
    }

    /// Goes on with clients whose question is answered or whose link has drained.
    mutating func resumeClients() {
        if resumable.isEmpty && !hasDrainedLink { return }
        var waiting: [ClientIndex] = []
        swap(&waiting, &resumable)
        for client in waiting {
            let index = connection(of: client)
            if index >= 0 { resume(index) }
        }
        if hasDrainedLink {
            hasDrainedLink = false
            var paused: [PausedPublisher] = []
            swap(&paused, &pausedPublishers)
            // Who waits for something else would add a message to what is too full each time. And of
            // those that wait for the same, the first may fill it again.
            var waiting: [PausedPublisher] = []
            for publisher in paused
            where isCurrent(
                Token(index: publisher.name.index, generation: publisher.name.generation))
            {
                if isCongested(publisher.cause) {
                    waiting.append(publisher)
                } else {
                    resume(publisher.name.index)
                }
            }
            pausedPublishers = waiting + pausedPublishers
        }
        flushAll()
    }

    private mutating func resume(_ index: Int32) {
        guard connections[index].isPaused, connections[index].role == .client else { return }
        connections[index].isPaused = false
        let token = Token(index: index, generation: connections[index].generation)
        if !connections[index].input.isEmpty { consumeStored(index) }
        guard isCurrent(token), connections[index].role == .client,
            !connections[index].isPaused, !connections[index].isEnding
        else { return }
        watch(index, reads: true)
    }

    // MARK: Output and end

    /// Offers a client's output to its socket.
    mutating func flushClient(
        _ index: Int32, _ client: ClientIndex, isWritable: Bool = false
    ) {
        let descriptor = connections[index].descriptor
        // Where the kernel has refused before, it will say when to go on; the gateway still has to
        // know that its list was worked through.
        let maySend = isWritable || !connections[index].writesRegistered
        var outcome = SendQueue.Outcome.offered
        var sends: UInt64 = 0
        unsafe gateway.flush(client) { bytes in
            if !maySend || bytes.count == 0 { return 0 }
            sends += 1
            let count = unsafe linux_send(descriptor, bytes.baseAddress, bytes.count)
            outcome = SendQueue.Outcome(count)
            return max(0, count)
        }
        counters.sends &+= sends
        if outcome == .broken { connections[index].isBroken = true }
        if outcome == .broken || gateway.isDoomed(client) {
            closeClient(index, lingers: false)
            return
        }
        if outcome == .starved {
            starve(index)
            return
        }
        let waiting = gateway.outputCount(client)
        watch(index, writes: waiting > 0)
        if connections[index].isThrottled, waiting < limits.clientOutputBytes / 2 {
            connections[index].isThrottled = false
            resumable.append(client)
        }
        if waiting == 0, connections[index].isEnding { closeClient(index, lingers: true) }
    }

    /// Takes no more commands; the connection ends when its replies have left.
    mutating func endClient(_ index: Int32) {
        connections[index].isEnding = true
        connections[index].isPaused = false
        watch(index, reads: false)
        setDeadline(index, now + limits.lingerTime)
        markDirty(index)
    }

    /// Forgets a client and closes its connection.
    mutating func closeClient(_ index: Int32, lingers: Bool) {
        let client = connections[index].owner
        // A client that is cut is closed in the same turn.
        if !gateway.cuts.isEmpty { logCuts() }
        connectionOfClient[Int(client)] = -1
        counters.clientsClosed &+= 1
        // Where this node ends the connection, what was sent may still be on its way, to a client
        // that reads on: that is seen when it has had the time to.
        let isOver = connections[index].isBroken || connections[index].hasPeerEnded
        let parting =
            isOver && gateway.hasUnproven(client) ? parting(of: index) : Parting.inOrder
        connections[index].doubts = gateway.close(client, parting)
        if lingers || !connections[index].doubts.isEmpty { linger(index) } else { discard(index) }
        if !gateway.changes.isEmpty { applyChanges() }
    }

    /// What the kernel knows of a connection that ends.
    private func parting(of index: Int32) -> Parting {
        let descriptor = connections[index].descriptor
        let isBroken = connections[index].isBroken || linux_take_error(descriptor) != 0
        let waiting = linux_unacknowledged(descriptor)
        // Our own end counts as a byte until it is acknowledged.
        let count = Int(waiting) - (connections[index].hasEnded ? 1 : 0)
        return Parting(
            unacknowledgedBytes: waiting < 0 ? .max : max(0, count), wasBroken: isBroken)
    }

    /// The connection of a client that is closed ends: what its sessions have lost is known now, as
    /// far as it will ever be.
    mutating func concludeDoubts(_ index: Int32) {
        var doubts: [SessionDoubt] = []
        swap(&doubts, &connections[index].doubts)
        _ = gateway.conclude(doubts, parting(of: index))
    }
}
