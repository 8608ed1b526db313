import MeshCore
import MeshServer

// Bytes that wait to be sent, and when they are offered to the sockets.

extension Reactor {
    @inline(__always)
    mutating func markDirty(_ index: ConnectionIndex) {
        if connections[index].isDirty { return }
        connections[index].isDirty = true
        dirty.append(index)
    }

    /// Offers every connection's output to its socket once. Ends that this finds are handled, and
    /// may lead to more output, which leaves too.
    ///
    /// Where the kernel has refused before, it will say when to go on. But it is asked only once a
    /// wake-up, and in one long wake-up more can gather for a client than a socket takes at once:
    /// in the middle of it those are tried too, or a client that reads well meets its limit.
    mutating func flushAll(isMidTurn: Bool = false) {
        gatheredBytes = 0
        var position = 0
        while position < dirty.count {
            let index = dirty[position]
            position += 1
            connections[index].isDirty = false
            if isMidTurn || !connections[index].registered.writes {
                flush(index)
            }
        }
        dirty.removeAll(keepingCapacity: true)
        // Taken out, because closing a client takes it out of the server's list.
        server.takeDirty(into: &dirtyClients)
        position = 0
        while position < dirtyClients.count {
            let client = dirtyClients[position]
            position += 1
            let index = connection(of: client)
            if !index.isNone { flushClient(index, client, isWritable: isMidTurn) }
        }
        dirtyClients.removeAll(keepingCapacity: true)
        if !dirty.isEmpty || server.dirtyCount > 0 { flushAll() }
    }

    /// Flushes in the middle of a wake-up if enough has gathered; see `Limits.gatheredBytes`.
    @inline(never)
    mutating func flushIfWorthwhile() {
        let connectionCount = dirty.count + server.dirtyCount
        if gatheredBytes >= min(limits.gatheredBytesMax, connectionCount * limits.sendBytes) {
            flushAll(isMidTurn: true)
        }
    }

    /// Offers one connection's output to its socket.
    mutating func flush(_ index: ConnectionIndex) {
        switch connections[index].role {
        case .client: flushClient(index, connections[index].client, isWritable: true)
        case .none, .link, .http:
            if connections[index].isFree || connections[index].isOpening { return }
            // Bulk joins when messages have left.
            var turns = 0
            repeat {
                if connections[index].output.isEmpty { break }
                counters[.sends] &+= 1
                turns += 1
                let stream = connections[index].stream
                switch connections[index].output.flush(to: stream) {
                case .taken: break
                case .starved:
                    starve(index)
                    return
                case .failed:
                    connectionEnded(index)
                    return
                }
            } while turns < limits.readsPerTurn && connections[index].output.hasBulkAlone
            let waiting = connections[index].output.count
            watch(index, writes: waiting > 0)
            if connections[index].isCongested, waiting < limits.congestionBytes / 2 {
                relieve(index)
            }
            if waiting == 0, connections[index].endsWhenSent {
                outputLeft(index)
            } else if waiting > 0 {
                tellBacklog(index)
            }
        }
    }

    /// The socket of a link does not take all that there is: the node is told, so that it does not take
    /// for lost what has not left.
    @inline(never)
    private mutating func tellBacklog(_ index: ConnectionIndex) {
        guard connections[index].role == .link else { return }
        let waiting = connections[index].output.count
        let bytes = waiting + connections[index].stream.unsentBound
        if !connections[index].hasBacklog, bytes > 0 {
            connections[index].hasBacklog = true
            leaving.append(name(of: index))
            leavingAgain = min(leavingAgain ?? now + limits.leavingTime, now + limits.leavingTime)
        }
        handle(.backlog(connections[index].link, bytes: bytes))
    }

    /// The kernel does not say when the rest of what it has taken leaves: it is asked now and then.
    mutating func lookAtLeaving() {
        var former: [ConnectionName] = []
        swap(&former, &leaving)
        leavingAgain = nil
        for name in former
        where isCurrent(Token(index: name.index, generation: name.generation)) {
            connections[name.index].hasBacklog = false
            tellBacklog(name.index)
        }
    }

    /// A link's queue is no longer congested, or its connection is gone.
    mutating func relieve(_ index: ConnectionIndex) {
        connections[index].isCongested = false
        server.linkHasDrained(connections[index].link)
    }

    /// The kernel has no memory for what this connection sends. Its socket may be writable all the
    /// same, and would wake the loop for ever: it is tried again after a while.
    @inline(never)
    mutating func starve(_ index: ConnectionIndex) {
        counters[.sendsStarved] &+= 1
        watch(index, writes: false)
        if connections[index].isStarved { return }
        connections[index].isStarved = true
        starved.append(name(of: index))
        if starvedAgain == nil { starvedAgain = now + limits.starvedTime }
    }

    mutating func flushStarved() {
        var waiting: [ConnectionName] = []
        swap(&waiting, &starved)
        starvedAgain = nil
        for name in waiting
        where isCurrent(Token(index: name.index, generation: name.generation)) {
            connections[name.index].isStarved = false
            flush(name.index)
        }
    }

    /// An ending connection has nothing more to send.
    mutating func outputLeft(_ index: ConnectionIndex) {
        if var lingering = connections[index].lingering {
            // Closing while input waits would reset the connection and could destroy what was just
            // sent: the peer closes first, or the deadline does.
            connections[index].stream.finish()
            lingering.stage = .listening
            connections[index].phase = .lingering(lingering)
            watch(index, reads: true)
        } else {
            linger(index)
        }
    }

    /// Changes what epoll reports for a connection; nothing happens when it knows.
    mutating func watch(_ index: ConnectionIndex, reads: Bool? = nil, writes: Bool? = nil) {
        let former = connections[index].registered
        let interest = Stream.Interest(
            reads: reads ?? former.reads, writes: writes ?? former.writes)
        if interest == former { return }
        connections[index].registered = interest
        poller.modify(connections[index].stream.descriptor, interest, token(of: index))
    }
}
