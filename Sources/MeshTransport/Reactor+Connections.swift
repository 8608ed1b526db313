import MeshCore
import MeshServer
import MeshWire

// How connections get their places, linger and are given up.

extension Reactor {
    /// A place for a stream, registered for what it waits for. Nil when there is none: the stream is
    /// closed.
    ///
    /// - Parameter isDialled: it does not stand yet.
    mutating func adopt(
        _ stream: Stream, _ role: Connection.Role, link: LinkIndex = .none,
        client: ClientIndex = .none, isDialled: Bool = false
    ) -> ConnectionIndex? {
        guard let index = connections.allocate() else {
            stream.close()
            return nil
        }
        connections[index].stream = stream
        connections[index].role = role
        switch role {
        case .link:
            connections[index].link = link
            stream.boundUnsent(bytes: limits.unsentBytes)
        case .client: connections[index].client = client
        case .none, .http: break
        }
        if isDialled {
            connections[index].phase = .opening
            connections[index].registered = Stream.wants
        }
        guard poller.add(stream.descriptor, connections[index].registered, token(of: index)) else {
            stream.close()
            connections.release(index)
            return nil
        }
        return index
    }

    /// Closes a stream and frees its place; whoever owned it must know already.
    mutating func discard(_ index: ConnectionIndex) {
        endHTTP(index)
        if connections[index].lingering != nil { lingeringCount -= 1 }
        if connections[index].isCongested { relieve(index) }
        concludeDoubt(index)
        connections[index].stream.close()
        connections.release(index)
    }

    private mutating func endHTTP(_ index: ConnectionIndex) {
        guard connections[index].role == .http else { return }
        httpConnections.removeAll { $0 == index }
        counters[.clientsClosed] &+= 1
    }

    /// Takes a connection from its owner; what it has to send leaves within `lingerTime`.
    ///
    /// - Parameter doubt: what the server is to be told when it ends.
    mutating func linger(_ index: ConnectionIndex, doubt: UInt32? = nil) {
        let mayLinger = lingeringCount < limits.lingeringCount && !connections[index].isOpening
        endHTTP(index)
        if connections[index].isCongested { relieve(index) }
        connections[index].role = .none
        connections[index].link = .none
        connections[index].needed = 0
        connections[index].input = ByteQueue()
        lingeringCount += 1
        // Of an end from both sides the kernel would remind us all the time, and forget it at once. As
        // it is it speaks up when the connection is reset.
        let isOver = doubt != nil && connections[index].peer == .ended
        let lingering = Connection.Lingering(
            stage: isOver ? .expectingReset : .sending,
            until: now + (isOver ? limits.partingTime : limits.lingerTime), doubt: doubt)
        guard mayLinger else {
            connections[index].phase = .lingering(lingering)
            discard(index)
            return
        }
        enter(.lingering(lingering), index)
        if isOver {
            watch(index, reads: false, writes: false)
        } else {
            markDirty(index)
        }
    }

    /// Takes a connection to its next phase, and notes when that is over.
    mutating func enter(_ phase: Connection.Phase, _ index: ConnectionIndex) {
        connections[index].phase = phase
        guard let deadline = connections[index].deadline else { return }
        if !connections[index].isTimed {
            connections[index].isTimed = true
            timed.append(name(of: index))
        }
        earliestTimed = min(earliestTimed ?? deadline, deadline)
    }

    func name(of index: ConnectionIndex) -> ConnectionName {
        ConnectionName(index: index, generation: connections[index].generation)
    }

    @inline(__always)
    func token(of index: ConnectionIndex) -> Token {
        Token(index: index, generation: connections[index].generation)
    }

    /// Ends the connections whose deadline has passed and finds the next one.
    mutating func endTimed() {
        earliestTimed = nil
        var kept = 0
        var position = 0
        while position < timed.count {
            let name = timed[position]
            position += 1
            guard isCurrent(Token(index: name.index, generation: name.generation)) else { continue }
            guard let deadline = connections[name.index].deadline else {
                connections[name.index].isTimed = false
                continue
            }
            if deadline > now {
                timed[kept] = name
                kept += 1
                earliestTimed = min(earliestTimed ?? deadline, deadline)
            } else {
                if connections[name.index].role == .http { counters[.httpTimedOut] &+= 1 }
                connections[name.index].isTimed = false
                connectionEnded(name.index)
            }
        }
        timed.removeSubrange(kept...)
    }
}
