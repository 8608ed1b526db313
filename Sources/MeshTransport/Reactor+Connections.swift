import CLinux
import Glibc
import MeshCore
import MeshServer
import MeshWire

// How connections get their places, linger and are given up.

extension Reactor {
    /// A place for a socket that is registered for reading, or for writing while it connects. Nil
    /// when there is none: the socket is closed.
    mutating func adopt(
        _ descriptor: Int32, _ role: Connection.Role, link: LinkIndex = .none,
        client: ClientIndex = .none, isConnecting: Bool = false
    ) -> ConnectionIndex? {
        guard let index = connections.allocate() else {
            close(descriptor)
            return nil
        }
        connections[index].descriptor = descriptor
        connections[index].role = role
        switch role {
        case .link:
            connections[index].link = link
            linux_bound_unsent(descriptor, limits.unsentBytes)
        case .client: connections[index].client = client
        case .free, .http, .lingering: break
        }
        connections[index].isConnecting = isConnecting
        connections[index].readsRegistered = !isConnecting
        connections[index].writesRegistered = isConnecting
        let token = Token(index: index, generation: connections[index].generation)
        guard poller.add(descriptor, read: !isConnecting, write: isConnecting, token) else {
            close(descriptor)
            connections.release(index)
            return nil
        }
        return index
    }

    /// Closes a socket and frees its place; whoever owned it must know already.
    mutating func discard(_ index: ConnectionIndex) {
        if connections[index].role == .http {
            httpConnections.removeAll { $0 == index }
            counters[.clientsClosed] &+= 1
        }
        if connections[index].role == .lingering { lingeringCount -= 1 }
        if connections[index].isCongested { relieve(index) }
        concludeDoubt(index)
        // Closing removes it from epoll too: no other process shares the descriptor.
        close(connections[index].descriptor)
        connections.release(index)
    }

    /// Takes a connection from its owner; what it has to send leaves within `lingerTime`.
    mutating func linger(_ index: ConnectionIndex) {
        guard lingeringCount < limits.lingeringCount, !connections[index].isConnecting else {
            discard(index)
            return
        }
        if connections[index].role == .http {
            httpConnections.removeAll { $0 == index }
            counters[.clientsClosed] &+= 1
        }
        if connections[index].isCongested { relieve(index) }
        connections[index].role = .lingering
        connections[index].link = .none
        connections[index].isPaused = false
        connections[index].isEnding = true
        connections[index].needed = 0
        connections[index].input = ByteQueue()
        lingeringCount += 1
        if connections[index].hasPeerEnded, connections[index].doubt != nil {
            // Of an end from both sides the kernel would remind us all the time, and forget it at
            // once. As it is it speaks up when the connection is reset.
            connections[index].isEnding = false
            watch(index, reads: false, writes: false)
            setDeadline(index, now + limits.partingTime)
            return
        }
        setDeadline(index, now + limits.lingerTime)
        markDirty(index)
    }

    /// Sets when to give this connection up; what that means follows from its role.
    mutating func setDeadline(_ index: ConnectionIndex, _ deadline: Instant) {
        let isTimed = connections[index].deadline != nil
        connections[index].deadline = deadline
        if !isTimed {
            timed.append(
                ConnectionName(index: index, generation: connections[index].generation))
        }
        earliestTimed = min(earliestTimed ?? deadline, deadline)
    }

    /// Ends the connections whose deadline has passed and finds the next one.
    mutating func endTimed() {
        earliestTimed = nil
        var kept = 0
        var position = 0
        while position < timed.count {
            let name = timed[position]
            position += 1
            guard isCurrent(Token(index: name.index, generation: name.generation)),
                let deadline = connections[name.index].deadline
            else { continue }
            if deadline > now {
                timed[kept] = name
                kept += 1
                earliestTimed = min(earliestTimed ?? deadline, deadline)
            } else {
                if connections[name.index].role == .http { counters[.httpTimedOut] &+= 1 }
                connections[name.index].deadline = nil
                connectionEnded(name.index)
            }
        }
        timed.removeSubrange(kept...)
    }
}
