import MeshCore
import MeshServer
import MeshWire

// Hosts with clients.

extension MemoryMesh {
    mutating func openClient(_ host: Int) -> ClientIndex {
        guard let client = hosts[host].server.open(address: "10.0.0.1:9", at: now) else {
            preconditionFailure("no room for a client")
        }
        return client
    }

    /// One wake-up of a host, in the reactor's order: what a client has sent, what has come over
    /// links, what is due, and the output of its clients.
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
        let linkEnd = hosts[host].server.node.linkEnd
        var link: LinkIndex = 0
        while link < linkEnd {
            let other = hosts[host].wires[Int(link)]
            link += 1
            guard other.host >= 0, !hosts[other.host].outputs[Int(other.link)].isEmpty else {
                continue
            }
            carry(from: other.host, other.link)
        }
        if let due = hosts[host].server.nextDeadline(), due <= now { handle(.deadline, host) }
        unsafe flushClients(host, take)
    }

    /// Carries out a client's commands: subscriptions and publications. Others end the program, and
    /// so does a command that is not complete.
    @inline(__always)
    mutating func consume(_ input: Span<UInt8>, from client: ClientIndex, _ host: Int) {
        var offset = 0
        reading: while true {
            let step = hosts[host].command(from: client, input, at: &offset, now: now)
            perform(host)
            switch step {
            case .next: break
            case .incomplete: break reading
            default: preconditionFailure("a client has asked for what this driver cannot do")
            }
        }
        precondition(offset == input.count, "a client has sent half a command")
    }

    /// Offers the clients' output to `take`, once each.
    @inline(__always)
    mutating func flushClients(
        _ host: Int, _ take: (ClientIndex, UnsafeRawBufferPointer) -> Int
    ) {
        unsafe hosts[host].flushClients(at: now, take)
    }
}

extension MemoryMesh.Host {
    @inline(__always)
    fileprivate mutating func flushClients(
        at now: Instant, _ take: (ClientIndex, UnsafeRawBufferPointer) -> Int
    ) {
        server.takeDirty(into: &dirty)
        for client in dirty {
            _ = unsafe server.flush(client, at: now) { unsafe take(client, $0) }
        }
    }
}
