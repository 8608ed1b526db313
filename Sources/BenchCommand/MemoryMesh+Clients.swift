import MeshCore
import MeshGateway
import MeshWire

// Hosts with clients. What the reactor does between a node and its clients is done here, and
// nowhere else in this command: a driver of both in one would replace this file.

extension MemoryMesh {
    /// From now on this host has clients.
    mutating func serveClients(_ host: Int) {
        hosts[host].servesClients = true
        hosts[host].gateway.nodeID = hosts[host].node.id
        hosts[host].gateway.now = now
        hosts[host].gateway.setReady(true, now: now)
    }

    mutating func openClient(_ host: Int) -> ClientIndex {
        guard let client = hosts[host].gateway.open(address: "10.0.0.1:9", at: now) else {
            preconditionFailure("no room for a client")
        }
        return client
    }

    /// One wake-up of a host, in the reactor's order: what a client has sent, what has come over
    /// links, what is due, what the gateway does by itself, and the output of its clients.
    ///
    /// - Parameters:
    ///   - input: of `client`; empty: from no client.
    ///   - take: a client's socket; returns how many bytes it has taken.
    @inline(__always)
    mutating func wake(
        _ host: Int, _ client: ClientIndex, _ input: Span<UInt8>,
        take: (ClientIndex, UnsafeRawBufferPointer) -> Int
    ) {
        if input.count > 0 { consume(input, from: client, host) }
        let linkEnd = hosts[host].node.linkEnd
        var link: LinkIndex = 0
        while link < linkEnd {
            let other = hosts[host].wires[Int(link)]
            link += 1
            guard other.host >= 0, !hosts[other.host].outputs[Int(other.link)].isEmpty else {
                continue
            }
            carry(from: other.host, other.link)
        }
        if let due = hosts[host].node.nextDeadline, due <= now { handle(.deadline, host) }
        if hosts[host].servesClients {
            runGateway(host)
            unsafe flushClients(host, take)
        }
    }

    /// Carries out a client's commands: subscriptions and publications. Others end the program, and
    /// so does a command that is not complete.
    @inline(__always)
    mutating func consume(_ input: Span<UInt8>, from client: ClientIndex, _ host: Int) {
        var offset = 0
        reading: while true {
            let request = hosts[host].gateway.next(input, at: &offset, from: client, now: now)
            if !hosts[host].gateway.changes.isEmpty { applyChanges(host) }
            switch request {
            case .handled: break
            case .publish(let publication): publish(publication, input, by: client, host)
            case .incomplete: break reading
            default: preconditionFailure("a client has asked for what this driver cannot do")
            }
        }
        precondition(offset == input.count, "a client has sent half a command")
    }

    @inline(__always)
    private mutating func publish(
        _ publication: Publication, _ input: Span<UInt8>, by client: ClientIndex, _ host: Int
    ) {
        precondition(!publication.isDecoded && !hosts[host].node.hasCongestion)
        let message = OutgoingMessage(
            publication.body, publication.key, name: publication.name,
            payload: publication.payload, sender: hosts[host].gateway.senderTag(of: client),
            isVolatile: publication.isVolatile)
        let outcome = hosts[host].publish(message, input, at: now)
        perform(host)
        hosts[host].gateway.published(publication, input, by: client, outcome)
    }

    /// First arrivals and last departures among the clients, for the node's directory.
    private mutating func applyChanges(_ host: Int) {
        let changes = hosts[host].gateway.changes
        hosts[host].gateway.changes.removeAll()
        for change in changes {
            guard case .key = change.subject else {
                preconditionFailure("only keys are subscribed to here")
            }
            handle(.directory(change.key, change.change), host)
        }
    }

    /// The gateway's own work of a turn. Nothing here has sessions that move, or clients to be ended.
    @inline(__always)
    private mutating func runGateway(_ host: Int) {
        if let due = hosts[host].gateway.nextDeadline, due <= now {
            hosts[host].gateway.tick(at: now)
        }
        if !hosts[host].gateway.changes.isEmpty { applyChanges(host) }
        precondition(hosts[host].gateway.errands.isEmpty)
        precondition(hosts[host].gateway.farewells.isEmpty)
    }

    /// Offers the clients' output to `take`, once each.
    @inline(__always)
    mutating func flushClients(
        _ host: Int, _ take: (ClientIndex, UnsafeRawBufferPointer) -> Int
    ) {
        unsafe hosts[host].gateway.flushAll(take)
    }
}

extension Gateway {
    @inline(__always)
    mutating func flushAll(_ take: (ClientIndex, UnsafeRawBufferPointer) -> Int) {
        var position = 0
        while position < dirty.count {
            let client = dirty[position]
            unsafe flush(client) { unsafe take(client, $0) }
            position += 1
        }
        dirty.removeAll(keepingCapacity: true)
    }
}
