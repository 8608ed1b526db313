import MeshCore
import MeshGateway
import MeshServer
import MeshWire

/// A client's connection, from the side of its host's driver.
struct MemoryClient {
    /// Sent, and not used up by the server.
    var input: [UInt8] = []
    /// The server does not listen to it for a while.
    var isPaused = false
    /// The server has said that the connection is to be ended, after its output or at once.
    var isEnded = false
    /// It reads what waits for it after each of its commands, not only when it is told to.
    var isAvid = false
    /// Read, and not taken by `read`.
    var output: [UInt8] = []
}

// Hosts with clients.

extension MemoryMesh {
    /// A new client of a host; nil: it takes no more.
    ///
    /// - Parameters:
    ///   - origin: where it connects from.
    ///   - isAvid: it reads after each of its commands, not only when `read` is called.
    public mutating func open(
        _ host: Int, address: String = "10.0.0.1:9", origin: ClientOrigin = .machine,
        isAvid: Bool = false
    ) -> ClientIndex? {
        guard
            let client = hosts[host].server.open(address: address, origin: origin, at: now)
        else { return nil }
        hasClients = true
        while hosts[host].clients.count <= client.slot { hosts[host].clients.append(nil) }
        hosts[host].clients[client.slot] = MemoryClient(isAvid: isAvid)
        return client
    }

    /// Lets a client send, and carries out what is complete of it.
    public mutating func send(_ bytes: [UInt8], from client: ClientIndex, _ host: Int) {
        hosts[host].clients[client.slot]!.input += bytes
        advance(client, host)
        resumeClients(host)
    }

    /// Takes the bytes that wait for a client, as if it had read them.
    ///
    /// - Parameter countMax: of bytes; it has read no more.
    public mutating func read(
        _ client: ClientIndex, _ host: Int, countMax: Int = .max
    ) -> [UInt8] {
        let bytes = hosts[host].read(client, countMax: countMax, at: now)
        resumeClients(host)
        return bytes
    }

    /// A client's connection has ended.
    ///
    /// - Returns: the number to call `conclude` with when more is known of it; nil: nothing is open.
    @discardableResult
    public mutating func close(
        _ client: ClientIndex, _ host: Int, _ parting: Parting = .inOrder
    ) -> UInt32? {
        let doubt = hosts[host].close(client, parting, at: now)
        perform(host, Span())
        return doubt
    }

    /// More is known of a connection that has ended.
    public mutating func conclude(_ number: UInt32, _ parting: Parting, _ host: Int) {
        hosts[host].conclude(number, parting, at: now)
        perform(host, Span())
    }

    /// Whether the server has said that the client's connection is to be ended.
    public func isEnded(_ client: ClientIndex, _ host: Int) -> Bool {
        hosts[host].clients[client.slot]?.isEnded ?? true
    }

    /// Whether a client has the place.
    public func hasClient(_ client: ClientIndex, _ host: Int) -> Bool {
        client.slot < hosts[host].clients.count && hosts[host].clients[client.slot] != nil
    }

    /// Whether the client is not listened to for a while.
    public func isPaused(_ client: ClientIndex, _ host: Int) -> Bool {
        hosts[host].clients[client.slot]?.isPaused ?? false
    }

    /// Carries out what is complete in a client's input.
    private mutating func advance(_ client: ClientIndex, _ host: Int) {
        guard let state = hosts[host].clients[client.slot], !state.isPaused, !state.isEnded
        else { return }
        var input: [UInt8] = []
        swap(&input, &hosts[host].clients[client.slot]!.input)
        var offset = 0
        reading: while true {
            let before = offset
            let step = hosts[host].command(from: client, input.span, at: &offset, now: now)
            perform(host, input.span)
            precondition(offset >= before && offset <= input.count)
            if state.isAvid { hosts[host].readAvidly(client, at: now) }
            switch step {
            case .next: break
            case .incomplete(let needed):
                precondition(needed > input.count - offset, "needed \(needed) is no progress")
                break reading
            case .paused:
                hosts[host].clients[client.slot]!.isPaused = true
                break reading
            case .needsFacts:
                let step = hosts[host].answer(at: now)
                perform(host, Span())
                if case .paused = step {
                    hosts[host].clients[client.slot]!.isPaused = true
                    break reading
                }
            case .end:
                hosts[host].clients[client.slot]!.isEnded = true
                break reading
            }
        }
        input.removeFirst(offset)
        hosts[host].clients[client.slot]!.input = input
    }

    /// Goes on with the clients that have waited for something.
    mutating func resumeClients() {
        for host in 0..<hosts.count where !hosts[host].clients.isEmpty { resumeClients(host) }
    }

    private mutating func resumeClients(_ host: Int) {
        guard hosts[host].isRunning else { return }
        hosts[host].server.beginTurn()
        while let client = hosts[host].server.nextResumable() {
            guard hosts[host].clients[client.slot] != nil else { continue }
            hosts[host].clients[client.slot]!.isPaused = false
            advance(client, host)
        }
    }
}

extension MemoryHost {
    /// Places of clients are below this.
    public var clientEnd: ClientIndex { ClientIndex(clients.count) }

    mutating func read(_ client: ClientIndex, countMax: Int, at now: Instant) -> [UInt8] {
        var bytes: [UInt8] = []
        if clients[client.slot] != nil { swap(&bytes, &clients[client.slot]!.output) }
        server.takeDirty(into: &dirty)
        let stands = unsafe server.flush(client, at: now) { raw in
            let count = min(raw.count, max(0, countMax - bytes.count))
            unsafe bytes.append(contentsOf: raw.prefix(count))
            return count
        }
        if !stands { clients[client.slot]?.isEnded = true }
        return bytes
    }

    mutating func readAvidly(_ client: ClientIndex, at now: Instant) {
        let bytes = read(client, countMax: .max, at: now)
        clients[client.slot]!.output = bytes
    }

    mutating func close(
        _ client: ClientIndex, _ parting: Parting, at now: Instant
    ) -> UInt32? {
        let doubt = server.close(client, parting, at: now, into: &effects)
        clients[client.slot] = nil
        performBytes(Span())
        return doubt
    }

    mutating func conclude(_ number: UInt32, _ parting: Parting, at now: Instant) {
        server.conclude(number, parting, at: now, into: &effects)
        performBytes(Span())
    }

    /// Answers the report that the server has asked for facts for.
    mutating func answer(at now: Instant) -> ClientStep {
        var present = facts
        present.queuedBytes = (0..<outputs.count).map { outputs[$0].count }
        let step = server.answer(with: present, at: now, into: &effects)
        performBytes(Span())
        return step
    }

    /// Carries out a server's orders about clients and listeners.
    @inline(never)
    @usableFromInline mutating func takeOrders() {
        for order in effects.orders {
            switch order {
            case .end(let client), .close(let client):
                if client.slot < clients.count { clients[client.slot]?.isEnded = true }
            case .goOn: preconditionFailure("nobody has told of input")
            case .stopListening(let toLinks):
                takesClients = false
                if toLinks { takesLinks = false }
            case .log(let line): logLines.append(line)
            case .configure(let settings): clientSettings = settings
            }
        }
        effects.orders.removeAll(keepingCapacity: true)
    }
}

// Clients of a bench, whose every step is counted.

extension MemoryMesh {
    /// One wake-up of a host, in the reactor's order: what a client has sent, what has come over
    /// links, what is due, and the output of its clients.
    ///
    /// - Parameters:
    ///   - input: of `client`; empty: from no client.
    ///   - take: a client's socket; returns how many bytes it has taken.
    @inlinable @inline(__always)
    public mutating func wake(
        _ host: Int, _ client: ClientIndex, _ input: Span<UInt8>,
        take: (ClientIndex, UnsafeRawBufferPointer) -> Int
    ) {
        if input.count > 0 { consume(input, from: client, host) }
        let linkEnd = hosts[host].server.node.linkIndices.upperBound.slot
        var slot = 0
        while slot < linkEnd {
            let other = hosts[host].wires[slot]
            slot += 1
            guard other.host >= 0, !hosts[other.host].outputs[other.link.slot].isEmpty else {
                continue
            }
            carry(from: other.host, other.link)
        }
        if let due = hosts[host].server.nextDeadline(), due <= now {
            handle(.deadline, Span(), host)
        }
        unsafe flushClients(host, take)
    }

    /// Carries out a client's commands: subscriptions and publications. Others end the program, and
    /// so does a command that is not complete.
    @inlinable @inline(__always)
    public mutating func consume(_ input: Span<UInt8>, from client: ClientIndex, _ host: Int) {
        var offset = 0
        reading: while true {
            let step = hosts[host].command(from: client, input, at: &offset, now: now)
            perform(host, input)
            switch step {
            case .next: break
            case .incomplete: break reading
            default: preconditionFailure("a client has asked for what a bench cannot do")
            }
        }
        precondition(offset == input.count, "a client has sent half a command")
    }

    /// Offers the clients' output to `take`, once each.
    @inlinable @inline(__always)
    public mutating func flushClients(
        _ host: Int, _ take: (ClientIndex, UnsafeRawBufferPointer) -> Int
    ) {
        unsafe hosts[host].flushClients(at: now, take)
    }
}

extension MemoryHost {
    @inlinable @inline(__always)
    mutating func flushClients(
        at now: Instant, _ take: (ClientIndex, UnsafeRawBufferPointer) -> Int
    ) {
        server.takeDirty(into: &dirty)
        for client in dirty {
            _ = unsafe server.flush(client, at: now) { unsafe take(client, $0) }
        }
    }
}
