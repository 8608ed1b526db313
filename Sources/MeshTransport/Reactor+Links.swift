import CLinux
import Glibc
import MeshCore
import MeshGateway
import MeshWire

// The link side of the driver: bytes → frames → events → effects → bytes.

extension Reactor {
    // MARK: Events

    /// Advances the node by an event that carries no bytes.
    mutating func handle(_ event: Event) {
        handle(event, Span())
    }

    /// Advances the node by one event and does what it wants done.
    @inline(__always)
    mutating func handle(_ event: Event, _ bytes: Span<UInt8>) {
        node.handle(event, bytes: bytes, at: now, into: &effects)
        performAll(bytes)
    }

    /// Does what the node wants done after an event, and what follows from that.
    @inline(__always)
    mutating func performAll(_ bytes: Span<UInt8>) {
        if effects.isEmpty { return }
        perform(bytes)
        effects.removeAll()
        if !deferred.isEmpty { handleDeferred() }
    }

    /// The events that came up while effects were performed. What they lead to in turn waits for
    /// the next event or the next turn of the loop: a dial that fails at once may lead to another.
    @inline(never)
    mutating func handleDeferred() {
        var waiting: [Deferred] = []
        var bytes = ByteQueue()
        swap(&waiting, &deferred)
        swap(&bytes, &answerBytes)
        for event in waiting {
            switch event {
            case .disconnected(let link, let epoch, let reason):
                guard linkEpochs[Int(link)] == epoch else { continue }
                let index = connectionOfLink[Int(link)]
                if index >= 0 {
                    unlink(index)
                    discard(index)
                } else {
                    linkEpochs[Int(link)] &+= 1
                }
                node.handle(.disconnected(link, reason), bytes: Span(), at: now, into: &effects)
                perform(Span())
            case .answer(let node, let query, let answer):
                bytes.withSpan {
                    self.node.handle(
                        .answer(to: node, query, answer: answer), bytes: $0, at: now,
                        into: &effects)
                    perform($0)
                }
            case .stranger(let body, let key, let name, let origin):
                bytes.withSpan {
                    self.node.handle(
                        .stranger(body, key, name: name, from: origin), bytes: $0, at: now,
                        into: &effects)
                    perform($0)
                }
            }
            effects.removeAll()
        }
    }

    // MARK: Effects

    /// Does what the node wants done, in order. `bytes` are those of the event.
    private mutating func perform(_ bytes: Span<UInt8>) {
        var position = 0
        while position < effects.count {
            switch effects[position] {
            case .send(let link, let head, let body, let sendClass):
                send(link, head, bytes, body, sendClass)
            case .deliver(let body, let key, let name, let payload, let id):
                let copies = gateway.deliver(
                    body, key, name: name, payload: payload, bytes, id: id)
                if copies == 0 { noteStranger(body, key, name, bytes, from: id.origin) }
                gatheredBytes += copies * (Int(name.count) + Int(payload.count))
            case .deliverKept(let body, let key, let name, let payload, let id):
                deliverKept(body, key, name, payload, id)
            case .undelivered(let sender, let body, let key, let name, let node, let count):
                undelivered(sender, body, key, name, node, count)
            case .uncongested: hasDrainedLink = true
            case .gap(_, let count): gateway.missed(count: Int(count))
            case .dial(let link, let endpoint): dial(link, endpoint)
            case .close(let link): closeLink(link)
            case .presence(let key, let isOnline): gateway.presence(key, isOnline: isOnline)
            case .asked(let node, let query, let subject):
                let start = answerBytes.count
                gateway.answer(subject, bytes, from: node, into: &answerBytes)
                let answer = Slice(start: start, count: answerBytes.count - start)
                deferred.append(.answer(node, query, answer: answer))
            case .answered(let query, let node, let answer):
                gateway.answered(query, answer, bytes, from: node)
            case .traced(let query, let holder, let path): traced(query, holder, path, bytes)
            case .finished(let query):
                finished(query)
            case .log(let event):
                if case .memberDead(let id) = event { gateway.nodeDied(id) }
                logEvent(event)
            case .left: hasLeft = true
            }
            position += 1
        }
    }

    /// A message for a name that nobody here has. Mostly the last who had it has just gone.
    @inline(never)
    private mutating func noteStranger(
        _ body: RoutedBody, _ key: Key, _ name: Slice, _ bytes: Span<UInt8>, from origin: NodeID
    ) {
        guard gateway.hasAnother(body, key) else { return }
        let start = answerBytes.count
        answerBytes.append(bytes, Int(name.start), Int(name.count))
        deferred.append(
            .stranger(body, key, name: Slice(start: start, count: Int(name.count)), origin))
    }

    /// A message that has waited in the node; it lies in the effects' bytes.
    private mutating func deliverKept(
        _ body: RoutedBody, _ key: Key, _ name: Slice, _ payload: Slice, _ id: MessageID
    ) {
        // Taken out, because the gateway and the effects are both this reactor's.
        var kept = ByteQueue()
        swap(&kept, &effects.bytes)
        let copies = kept.withSpan {
            gateway.deliver(body, key, name: name, payload: payload, $0, id: id)
        }
        swap(&kept, &effects.bytes)
        gatheredBytes += copies * (Int(name.count) + Int(payload.count))
    }

    private mutating func undelivered(
        _ sender: UInt64, _ body: RoutedBody, _ key: Key, _ name: Slice, _ node: NodeID,
        _ count: Int32
    ) {
        var names = ByteQueue()
        swap(&names, &effects.bytes)
        names.withSpan {
            gateway.undelivered(
                sender: sender, body, key, name: name, to: node, $0, count: Int(count))
        }
        swap(&names, &effects.bytes)
    }

    @inline(__always)
    private mutating func send(
        _ link: LinkIndex, _ head: Slice, _ bytes: Span<UInt8>, _ body: Slice,
        _ sendClass: SendClass
    ) {
        let index = connectionOfLink[Int(link)]
        guard index >= 0 else { return }
        let isControl = sendClass == .control
        if !isControl {
            let waiting = connections[index].output.messages.count
            if waiting >= limits.congestionBytes {
                congestedLink = ConnectionName(
                    index: index, generation: connections[index].generation)
                connections[index].isCongested = true
                let size = Int(head.count) + Int(body.count)
                let bound =
                    sendClass == .volatile
                    ? limits.linkMessageBytes / 4 : limits.linkMessageBytes
                if waiting + size > bound {
                    counters.messagesDropped &+= 1
                    counters.messageBytesDropped &+= UInt64(size)
                    return
                }
            }
        } else if connections[index].output.control.count > limits.linkControlBytes {
            endNonReader(link)
            return
        }
        connections[index].output.append(effects.bytes, head, bytes, body, isControl: isControl)
        gatheredBytes += Int(head.count) + Int(body.count)
        markDirty(index)
    }

    private mutating func dial(_ link: LinkIndex, _ endpoint: Endpoint) {
        precondition(connectionOfLink[Int(link)] < 0, "link \(link) is dialled twice")
        linkEpochs[Int(link)] &+= 1
        endpointOfLink[Int(link)] = endpoint
        counters.linksDialled &+= 1
        let descriptor = linux_connect(endpoint.forKernel)
        if descriptor >= 0, let index = adopt(descriptor, .link, owner: link, isConnecting: true) {
            connectionOfLink[Int(link)] = index
            return
        }
        let reason: Disconnection = descriptor == -ECONNREFUSED ? .refused : .unreachable
        deferred.append(.disconnected(link, epoch: linkEpochs[Int(link)], reason))
    }

    private mutating func closeLink(_ link: LinkIndex) {
        let index = connectionOfLink[Int(link)]
        linkEpochs[Int(link)] &+= 1
        guard index >= 0 else { return }
        connectionOfLink[Int(link)] = -1
        linger(index)
    }

    private mutating func finished(_ query: QueryID) {
        let silent = gateway.silentHolders(query) { holders(of: $0) }
        if !silent.isEmpty {
            let members = Members(node.memberStatuses())
            for holder in silent { gateway.traced(query, members.way(to: holder, nil)) }
        }
        if let found = gateway.location(query, among: { holders(of: $0) }) {
            replyWhereabouts(found.nodes, to: found.client)
        }
        let isPresent = gateway.target(of: query).map { node.isPresent($0) } ?? true
        if let client = gateway.finished(query, isTargetPresent: isPresent) {
            resumable.append(client)
        }
    }

    private mutating func traced(
        _ query: QueryID, _ holder: NodeID, _ path: Slice, _ bytes: Span<UInt8>
    ) {
        let members = Members(node.memberStatuses())
        var hops: [String] = []
        var at = Int(path.start)
        while at + 8 <= path.end {
            hops.append(members.name(NodeID(bytes.load(UInt64.self, at: at))))
            at += 8
        }
        gateway.traced(query, members.way(to: holder, hops))
    }

    // MARK: Connections

    /// A dialled connection stands, or does not.
    mutating func finishConnecting(_ index: Int32) {
        let link = connections[index].owner
        let result = linux_connect_result(connections[index].descriptor)
        guard result == 0 else {
            dropLink(index, result == -ECONNREFUSED ? .refused : .unreachable)
            return
        }
        connections[index].isConnecting = false
        watch(index, reads: true, writes: false)
        if !connections[index].output.isEmpty { markDirty(index) }
        handle(.connected(link))
    }

    mutating func acceptLinks() {
        acceptAll(.mesh) { reactor, accepted in
            guard let link = reactor.node.acceptLink(at: reactor.now) else {
                reactor.counters.connectionsRefused &+= 1
                close(accepted.descriptor)
                return
            }
            reactor.linkEpochs[Int(link)] &+= 1
            reactor.endpointOfLink[Int(link)] = Endpoint(accepted.peer)
            reactor.counters.linksAccepted &+= 1
            if let index = reactor.adopt(accepted.descriptor, .link, owner: link) {
                reactor.connectionOfLink[Int(link)] = index
            } else {
                reactor.handle(.disconnected(link, .closed))
            }
        }
    }

    /// Cuts the tie between a connection and its link.
    mutating func unlink(_ index: Int32) {
        let link = Int(connections[index].owner)
        connectionOfLink[link] = -1
        linkEpochs[link] &+= 1
    }

    /// The connection of a link is gone: closes it and tells the node.
    mutating func dropLink(_ index: Int32, _ reason: Disconnection) {
        let link = connections[index].owner
        unlink(index)
        discard(index)
        handle(.disconnected(link, reason))
    }

    /// Takes the frames that arrived over a link; returns how many bytes they had.
    mutating func consumeLink(_ index: Int32, _ bytes: Span<UInt8>) -> Int {
        let link = connections[index].owner
        let epoch = linkEpochs[Int(link)]
        handle(.heard(link), bytes)
        var offset = 0
        var needed = Frame.prefixSize
        var lengthMax = node.frameLengthMax(over: link)
        while linkEpochs[Int(link)] == epoch {
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
                if lengthMax < Frame.lengthMax { lengthMax = node.frameLengthMax(over: link) }
                if gatheredBytes >= limits.gatheredBytes { flushIfWorthwhile() }
            } catch {
                counters.linksMisbehaved &+= 1
                logBreach(
                    "misbehaved", link, error.description, peer: node.peer(of: link),
                    hint: OtherProtocol(bytes, at: offset)?.hint)
                dropLink(index, .misbehaved)
                return offset
            }
        }
        return offset
    }
}

/// Members by id, as people want to read of them.
struct Members {
    private let members: [NodeID: MemberStatus]

    init(_ members: [MemberStatus]) {
        self.members = Dictionary(
            members.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Its name, or its id while it has none.
    func name(_ id: NodeID) -> String {
        guard let name = members[id]?.name, !name.isEmpty else { return id.description }
        return name
    }

    func way(to holder: NodeID, _ path: [String]?) -> TracedWay {
        TracedWay(
            holder: holder, name: name(holder),
            standing: members[holder].map { "\($0.standing)" } ?? "unknown", path: path)
    }
}
