import MeshCore

// Lines that take time: what leaves next, and what the nodes learn of it.

extension World {
    /// The line is free: the next bytes begin to leave. The receiver of a frame hears of each part.
    mutating func sendNext(_ number: Int, _ host: Host) {
        guard let rate = network.bytesPerSecond, let turn = host.line.next(rate) else { return }
        let duration = Delay(nanoseconds: Int64(turn.bytes) * 1_000_000_000 / rate)
        if turn.isLast {
            depart(turn.action, from: number, at: now + duration)
        } else {
            var piece = turn.action
            piece.kind = .piece
            piece.parcel = .none
            let latency = network.latency(from: number, to: Int(turn.action.host))
            enqueue(piece, at: now + duration + latency)
        }
        var free = line(turn.action, of: number)
        free.kind = .departed
        queue.schedule(free, at: now + duration)
    }

    /// The action that tells a host what waits for the connection of an action over it.
    func line(_ action: Action, of number: Int) -> Action {
        Action(
            kind: .waits, isToDialler: action.isToDialler, host: Int32(number),
            connection: action.connection)
    }

    /// A host's line is free, or something waits for it: the next frame follows, and the node learns what
    /// waits.
    mutating func moveLine(_ action: Action) {
        let number = Int(action.host)
        guard let host = hosts[number] else { return }
        if action.kind == .departed { sendNext(number, host) }
        // Its own side of the connection, if it still stands and is not another's by now.
        let connection = connections[action.connection]
        let link = action.isToDialler ? connection.acceptorLink : connection.diallerLink
        let isMissed = mutant?.mistake == .forgetsBacklog && mutant!.isActive(number, now)
        guard !link.isNone, host.links.contains(link), host[link] == action.connection,
            host.frozenUntil == nil, !isMissed
        else { return }
        handle(number, .backlog(link, bytes: host.line.tell(of: link)))
    }

    /// The connection ends behind all that waits for it.
    mutating func sendRest(over connection: ConnectionNumber, _ number: Int) {
        guard let rate = network.bytesPerSecond, let host = hosts[number] else { return }
        var departure = now
        for frame in host.line.take(connection) {
            departure = departure + Delay(nanoseconds: Int64(frame.size) * 1_000_000_000 / rate)
            depart(frame.action, from: number, at: departure)
        }
    }
}
