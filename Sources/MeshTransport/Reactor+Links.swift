import MeshCore
import MeshServer
import MeshWire

// Connections of links: bytes → frames → events, and effects → bytes.

extension Reactor {
    // MARK: Events

    /// Before what has come: this process may have stood still.
    mutating func wake() {
        server.woke(at: now, into: &effects)
        performAll(Span())
    }

    /// Advances the server by an event that carries no bytes.
    mutating func handle(_ event: Event) {
        handle(event, Span())
    }

    /// Advances the server by one event and does what it wants done.
    @inline(__always)
    mutating func handle(_ event: Event, _ bytes: Span<UInt8>) {
        server.handle(event, bytes: bytes, at: now, into: &effects)
        performAll(bytes)
    }

    /// Does what the server wants done, and what follows from that.
    @inline(__always)
    mutating func performAll(_ bytes: Span<UInt8>) {
        if effects.isEmpty { return }
        perform(bytes)
        if !deferred.isEmpty { handleDeferred() }
    }

    /// The links that ended while effects were performed. What they lead to in turn waits for the next
    /// event or the next turn of the loop: a dial that fails at once may lead to another.
    @inline(never)
    mutating func handleDeferred() {
        var waiting: [EndedLink] = []
        swap(&waiting, &deferred)
        for ended in waiting {
            guard linkEpochs[ended.link.slot] == ended.epoch else { continue }
            let index = connectionOfLink[ended.link.slot]
            if !index.isNone {
                unlink(index)
                discard(index)
            } else {
                linkEpochs[ended.link.slot] &+= 1
            }
            server.handle(
                .disconnected(ended.link, ended.reason), bytes: Span(), at: now, into: &effects)
            perform(Span())
        }
    }

    // MARK: Effects

    /// Does what the server wants done, in order. `bytes` are those that it was given.
    @inline(__always)
    private mutating func perform(_ bytes: Span<UInt8>) {
        var position = 0
        while position < effects.mesh.count {
            switch effects.mesh[position] {
            case .send(let link, let head, let body, let sendClass):
                send(link, head, bytes, body, sendClass)
            case .dial(let link, let endpoint): dial(link, endpoint)
            case .close(let link): closeLink(link)
            case .log(let event):
                let line = server.lineNow(for: event, now: now) { endpointOfLink[$0.slot] }
                if let line { log.write(line) }
            case .resolveSeeds: resolveSeeds()
            case .left: beginFlushing()
            case .deliver, .deliverKept, .deliverLabelled, .undelivered, .takenBack, .uncongested,
                .gap, .bulk,
                .presence, .holders, .queried, .answered, .traced, .unanswered, .finished,
                .memberDied,
                .recordsKnown:
                // The server has seen to it.
                break
            }
            position += 1
        }
        gatheredBytes += effects.clientBytes
        effects.clientBytes = 0
        if effects.orders.isEmpty {
            effects.removeAll()
        } else {
            performOrders()
        }
    }

    /// The effects are emptied first: an order may lead to another call of the server.
    @inline(never)
    private mutating func performOrders() {
        var orders: [ServerEffects.Order] = []
        swap(&orders, &effects.orders)
        effects.removeAll()
        for order in orders {
            switch order {
            case .end(let client):
                let index = connection(of: client)
                if !index.isNone { endClient(index) }
            case .close(let client):
                let index = connection(of: client)
                if !index.isNone { closeClient(index, lingers: false) }
            case .goOn(let client):
                let index = connection(of: client)
                if !index.isNone { goOn(index) }
            case .stopListening(let toLinks):
                listeners.close(.client)
                if toLinks { listeners.close(.link) }
            case .log(let line): log.write(line)
            case .configure(let settings): configure(settings)
            }
        }
    }

    @inline(__always)
    private mutating func send(
        _ link: LinkIndex, _ head: Slice, _ bytes: Span<UInt8>, _ body: Slice,
        _ sendClass: SendClass
    ) {
        let index = connectionOfLink[link.slot]
        guard !index.isNone else { return }
        if sendClass == .bulk {
            sendBulk(index, head, bytes, body)
            return
        }
        let isControl = sendClass == .control
        if !isControl {
            let size = Int(head.count) + Int(body.count)
            let waiting = connections[index].output.messages.count
            if waiting + size >= limits.congestionBytes {
                congest(index, link)
                let bound =
                    sendClass == .volatile
                    ? limits.linkMessageBytes / 4 : limits.linkMessageBytes
                if waiting + size > bound {
                    counters[.droppedQueueFull] &+= 1
                    counters[.droppedQueueFullBytes] &+= UInt64(size)
                    return
                }
            }
        } else if connections[index].output.control.count > limits.linkControlBytes {
            endNonReader(link)
            return
        }
        connections[index].output.append(
            effects.mesh.bytes, head, bytes, body, isControl: isControl)
        gatheredBytes += Int(head.count) + Int(body.count)
        markDirty(index)
    }

    @inline(never)
    private mutating func sendBulk(
        _ index: ConnectionIndex, _ head: Slice, _ bytes: Span<UInt8>, _ body: Slice
    ) {
        let size = Int(head.count) + Int(body.count)
        guard connections[index].output.bulk.count + size <= limits.linkMessageBytes else {
            counters[.droppedQueueFull] &+= 1
            counters[.droppedQueueFullBytes] &+= UInt64(size)
            return
        }
        connections[index].output.appendBulk(effects.mesh.bytes, head, bytes, body)
        gatheredBytes += size
        markDirty(index)
    }

    /// More waits for a link than should.
    @inline(never)
    private mutating func congest(_ index: ConnectionIndex, _ link: LinkIndex) {
        if connections[index].isCongested { return }
        connections[index].isCongested = true
        server.linkIsCongested(link)
    }

    private mutating func dial(_ link: LinkIndex, _ endpoint: Endpoint) {
        precondition(connectionOfLink[link.slot].isNone, "link \(link) is dialled twice")
        linkEpochs[link.slot] &+= 1
        endpointOfLink[link.slot] = endpoint
        counters[.linksDialled] &+= 1
        let isSmall = server.node.needsSmallPackets(over: link)
        var reason = Disconnection.unreachable
        do throws(Stream.Failure) {
            let stream = try Stream.dial(
                endpoint, segmentBytes: isSmall ? limits.smallSegmentBytes : 0)
            if let index = adopt(stream, .link, link: link, isDialled: true) {
                connectionOfLink[link.slot] = index
                return
            }
        } catch {
            reason = disconnection(error)
        }
        deferred.append(EndedLink(link: link, epoch: linkEpochs[link.slot], reason: reason))
    }

    private func disconnection(_ failure: Stream.Failure) -> Disconnection {
        switch failure {
        case .refused: .refused
        case .unreachable: .unreachable
        }
    }

    private mutating func closeLink(_ link: LinkIndex) {
        let index = connectionOfLink[link.slot]
        linkEpochs[link.slot] &+= 1
        guard !index.isNone else { return }
        connectionOfLink[link.slot] = .none
        linger(index)
    }

    // MARK: Connections

    /// The socket of a dialled connection is ready: the stream stands, or does not.
    mutating func goOnOpening(_ index: ConnectionIndex) {
        let link = connections[index].link
        switch connections[index].stream.goOn() {
        case .stands:
            connections[index].phase = .open(until: nil)
            watch(index, reads: true, writes: false)
            if !connections[index].output.isEmpty { markDirty(index) }
            handle(.connected(link))
        case .waits(let interest):
            watch(index, reads: interest.reads, writes: interest.writes)
        case .failed(let failure): dropLink(index, disconnection(failure))
        }
    }

    mutating func takeLink(_ stream: Stream, _ peer: Endpoint) {
        let accepted = server.acceptLink(at: now, into: &effects)
        performAll(Span())
        guard let link = accepted else {
            counters[.connectionsRefused] &+= 1
            stream.close()
            return
        }
        linkEpochs[link.slot] &+= 1
        endpointOfLink[link.slot] = peer
        counters[.linksAccepted] &+= 1
        if let index = adopt(stream, .link, link: link) {
            connectionOfLink[link.slot] = index
        } else {
            handle(.disconnected(link, .closed))
        }
    }

    /// Cuts the tie between a connection and its link.
    mutating func unlink(_ index: ConnectionIndex) {
        let link = connections[index].link
        connectionOfLink[link.slot] = .none
        linkEpochs[link.slot] &+= 1
    }

    /// The connection of a link is gone: closes it and tells the node.
    mutating func dropLink(_ index: ConnectionIndex, _ reason: Disconnection) {
        let link = connections[index].link
        unlink(index)
        discard(index)
        handle(.disconnected(link, reason))
    }

    /// Takes the frames that arrived over a link; returns how many bytes they had.
    mutating func consumeLink(_ index: ConnectionIndex, _ bytes: Span<UInt8>) -> Int {
        let link = connections[index].link
        let epoch = linkEpochs[link.slot]
        handle(.heard(link), bytes)
        var offset = 0
        var needed = Frame.prefixSize
        var lengthMax = server.frameLengthMax(over: link)
        while linkEpochs[link.slot] == epoch {
            do {
                guard
                    let prefix = try FramePrefix.read(
                        bytes, at: offset, needed: &needed, lengthMax: lengthMax)
                else {
                    connections[index].needed = needed
                    return offset
                }
                handle(.received(prefix, start: offset, from: link), bytes)
                offset += prefix.length
                if lengthMax < Frame.lengthMax { lengthMax = server.frameLengthMax(over: link) }
                if gatheredBytes >= limits.gatheredBytes { flushIfWorthwhile() }
            } catch {
                counters[.linksMisbehaved] &+= 1
                logMisbehaved(
                    link, error.description, hint: OtherProtocol(bytes, at: offset)?.hint)
                dropLink(index, .misbehaved)
                return offset
            }
        }
        return offset
    }
}
