import CLinux
import Glibc
import MeshCore
import MeshServer
import MeshWire

// Connections of clients: bytes → server, and its output → bytes.

extension Reactor {
    @inline(__always)
    func connection(of client: ClientIndex) -> ConnectionIndex {
        !client.isNone && client.slot < connectionOfClient.count
            ? connectionOfClient[client.slot] : .none
    }

    mutating func takeClient(_ stream: Stream, _ peer: Endpoint, from listener: Listener) {
        let address: String
        var host: Endpoint?
        let origin: ClientOrigin
        switch listener.place {
        case .file(let file):
            // As Redis writes it: clients of a Unix socket have no address of their own.
            address = file.path + ":0"
            origin = .unixSocket
        case .network:
            address = peer.description
            host = peer
            origin = isLocal(peer, stream) ? .machine : .elsewhere
        }
        guard let client = server.open(address: address, peer: host, origin: origin, at: now) else {
            counters[.connectionsRefused] &+= 1
            refuse(stream)
            return
        }
        stream.keepAlive(seconds: clientSettings.keepAliveSeconds)
        counters[.clientsAccepted] &+= 1
        guard let index = adopt(stream, .client, client: client) else {
            counters[.connectionsRefused] &+= 1
            forget(client, .inOrder)
            return
        }
        while connectionOfClient.count <= client.slot { connectionOfClient.append(.none) }
        connectionOfClient[client.slot] = index
    }

    /// Whether a connection comes from this machine: from loopback, or from the address at which it arrives,
    /// which the kernel takes from nobody else.
    private func isLocal(_ peer: Endpoint, _ stream: Stream) -> Bool {
        if peer.isLoopback { return true }
        var own = stream.localEndpoint
        own.port = peer.port
        return own == peer
    }

    /// From now on, for the clients that are there too.
    mutating func configure(_ settings: ClientSettings) {
        clientSettings = settings
        log.level = LogLevel(settings.logLevel)
        for index in connectionOfClient where !index.isNone {
            connections[index].stream.keepAlive(seconds: settings.keepAliveSeconds)
        }
    }

    /// Says that there are too many clients, and closes.
    func refuse(_ stream: Stream) {
        _ = unsafe Server.refusal.withUnsafeBytes { unsafe stream.write($0) }
        stream.close()
    }

    /// Carries out the commands that arrived from a client; returns how many bytes they had.
    mutating func consumeClient(_ index: ConnectionIndex, _ bytes: Span<UInt8>) -> Int {
        let client = connections[index].client
        let token = token(of: index)
        connections[index].needed = 0
        var offset = 0
        while true {
            let step = server.command(
                from: client, bytes, at: &offset, now: now, into: &effects)
            gatheredBytes += effects.clientBytes
            effects.clientBytes = 0
            if !effects.isEmpty {
                performAll(bytes)
                guard isCurrent(token), connections[index].role == .client else { return offset }
            }
            switch step {
            case .next:
                if gatheredBytes >= limits.gatheredBytes {
                    flushIfWorthwhile()
                    guard isCurrent(token), connections[index].role == .client else {
                        return offset
                    }
                }
            case .incomplete(let needed):
                connections[index].needed = max(needed, bytes.count - offset + 1)
                return offset
            case .needsFacts:
                let step = server.answer(with: facts(), at: now, into: &effects)
                performAll(bytes)
                if case .paused = step {
                    pause(index)
                    return offset
                }
            case .paused:
                pause(index)
                return offset
            case .end:
                endClient(index)
                return offset
            }
        }
    }

    /// The facts that only this driver knows.
    func facts() -> DriverFacts {
        var facts = DriverFacts()
        facts.counters = counters
        facts.queuedBytes = connectionOfLink.map { $0.isNone ? 0 : connections[$0].output.count }
        facts.httpConnectionCount = httpConnections.count
        facts.counters[.logLinesLeftOut] = log.linesLeftOut
        facts.counters[.logLinesLost] = log.linesLost
        facts.redisPort = listeners.redisEndpoint.map { Int($0.port) } ?? 0
        facts.hostLines = host.lines
        facts.runID = host.runID
        facts.wallMicroseconds = linux_wall_microseconds()
        facts.residentBytes = HostFacts.residentBytes
        (facts.systemMicroseconds, facts.userMicroseconds) = HostFacts.processorTime
        return facts
    }

    // MARK: Long commands

    /// Tells the server of input that waits for the rest of a command, where it is worth counting.
    @inline(__always)
    mutating func noteInput(_ index: ConnectionIndex) {
        if connections[index].input.count > Reactor.leftoverMax || connections[index].hasLongInput {
            noteLongInput(index)
        }
    }

    @inline(never)
    private mutating func noteLongInput(_ index: ConnectionIndex) {
        let count = connections[index].input.count
        connections[index].hasLongInput = count > Reactor.leftoverMax
        server.noteInput(count, of: connections[index].client, into: &effects)
        if !effects.isEmpty { performAll(Span()) }
    }

    /// The command that a client is sending will not be carried out: what there is of it goes.
    mutating func goOn(_ index: ConnectionIndex) {
        guard connections[index].role == .client else { return }
        connections[index].needed = 0
        if connections[index].isPaused || connections[index].input.isEmpty { return }
        consumeStored(index)
    }

    // MARK: Pauses

    /// Goes on with clients that have waited.
    mutating func resumeClients() {
        guard server.mayResume() else { return }
        while let client = server.nextResumable() {
            let index = connection(of: client)
            if !index.isNone { resume(index) }
        }
        flushAll()
    }

    private mutating func pause(_ index: ConnectionIndex) {
        if connections[index].isOpen { connections[index].phase = .paused }
    }

    private mutating func resume(_ index: ConnectionIndex) {
        guard connections[index].isPaused else { return }
        connections[index].phase = .open(until: nil)
        let token = token(of: index)
        // Of a command that goes on there may be nothing left in the input.
        consumeStored(index)
        guard isCurrent(token), connections[index].role == .client else { return }
        noteInput(index)
        guard isCurrent(token), connections[index].role == .client, connections[index].isOpen else {
            return
        }
        watch(index, reads: true)
    }

    // MARK: Output and end

    /// Offers a client's output to its socket.
    mutating func flushClient(
        _ index: ConnectionIndex, _ client: ClientIndex, isWritable: Bool = false
    ) {
        let stream = connections[index].stream
        // Where the kernel has refused before, it will say when to go on; the gateway still has to
        // know that its list was worked through.
        let maySend = isWritable || !connections[index].registered.writes
        var sent = Stream.Sent.taken(0)
        var sends: UInt64 = 0
        let isWell = unsafe server.flush(client, at: now) { bytes in
            if !maySend || bytes.count == 0 { return 0 }
            sends += 1
            sent = unsafe stream.write(bytes)
            return sent.count
        }
        counters[.sends] &+= sends
        if sent == .failed { connections[index].peer = .gone }
        if sent == .failed || !isWell {
            closeClient(index, lingers: false)
            return
        }
        if sent == .starved {
            starve(index)
            return
        }
        watch(index, writes: server.leavingCount(client) > 0)
        if connections[index].endsWhenSent, server.outputCount(client) == 0 {
            closeClient(index, lingers: true)
        }
    }

    /// Takes no more commands; the connection ends when its replies have left.
    mutating func endClient(_ index: ConnectionIndex) {
        enter(.ending(until: now + limits.lingerTime), index)
        watch(index, reads: false)
        markDirty(index)
    }

    /// Forgets a client and closes its connection.
    mutating func closeClient(_ index: ConnectionIndex, lingers: Bool) {
        let client = connections[index].client
        connectionOfClient[client.slot] = .none
        counters[.clientsClosed] &+= 1
        // If this node ends the connection, sent bytes may still be on their way to a client that reads
        // on: whether they arrive is known only after a while.
        let isOver = connections[index].peer != .present
        let parting =
            isOver && server.hasUnproven(client) ? parting(of: index) : Parting.inOrder
        let doubt = forget(client, parting)
        if lingers || doubt != nil { linger(index, doubt: doubt) } else { discard(index) }
    }

    /// Tells the server that a client is gone.
    @discardableResult
    mutating func forget(_ client: ClientIndex, _ parting: Parting) -> UInt32? {
        let doubt = server.close(client, parting, at: now, into: &effects)
        performAll(Span())
        return doubt
    }

    /// The state of a connection that ends, as the kernel knows it.
    private func parting(of index: ConnectionIndex) -> Parting {
        let stream = connections[index].stream
        let isBroken = connections[index].peer == .gone || stream.hasFailed()
        // This side has ended, and nothing has come from the client since. If its machine does not
        // acknowledge even the end, it is gone, and so is what it had not read.
        let hasEnded = connections[index].lingering?.stage == .listening
        let bound = stream.unacknowledgedBound(
            endCounts: hasEnded && connections[index].peer == .ended)
        return Parting(unacknowledgedBytes: bound ?? .max, wasBroken: isBroken)
    }

    /// Settles the doubt about a closed client whose connection ends: more will never be known of what its
    /// sessions have lost.
    mutating func concludeDoubt(_ index: ConnectionIndex) {
        guard var lingering = connections[index].lingering, let doubt = lingering.doubt else {
            return
        }
        lingering.doubt = nil
        connections[index].phase = .lingering(lingering)
        server.conclude(doubt, parting(of: index), at: now, into: &effects)
        performAll(Span())
    }
}
