import MeshCore
import MeshWire

/// Faults of hosts and between them.
extension World {
    /// The node begins to say good-bye; its process ends when it has (`Effect.left`).
    public mutating func leave(_ host: Int) {
        handle(host, .leave)
    }

    /// The process ends; its machine resets its connections and refuses new ones.
    public mutating func crash(_ host: Int) {
        end(host)
    }

    /// The process is no more; its machine says so on every connection.
    mutating func end(_ number: Int) {
        guard let host = hosts[number] else { return }
        if host.hasClients { endLines(of: number, isSilent: false) }
        for link in host.links {
            let connection = host[link]
            guard !connection.isNone else { continue }
            host[link] = .none
            close(connection, by: number)
        }
        bury(number, host)
    }

    /// The machine ends: nobody is told.
    public mutating func vanish(_ number: Int) {
        guard let host = hosts[number] else { return }
        network.isolate(number)
        if host.hasClients { endLines(of: number, isSilent: true) }
        for link in host.links {
            let connection = host[link]
            guard !connection.isNone else { continue }
            if Int(connections[connection].dialler) == number {
                connections[connection].diallerLink = .none
            } else {
                connections[connection].acceptorLink = .none
            }
            connections.recycle(connection)
        }
        bury(number, host)
    }

    /// Bytes that waited for a host that is gone go nowhere; their memory is given back.
    private mutating func bury(_ number: Int, _ host: Host) {
        hosts[number] = nil
        for action in host.inbox where action.kind != .deadline {
            if action.kind.isOfLine { arriveOnLine(action) } else { arrive(action) }
        }
        host.inbox = []
        retired.append(host)
    }

    /// The process stands still (SIGSTOP, a long collection of garbage, a moved machine).
    public mutating func freeze(_ host: Int, for delay: Delay) {
        guard hosts[host] != nil else { return }
        let until = max(hosts[host]!.frozenUntil ?? now, now + delay)
        hosts[host]!.frozenUntil = until
        queue.schedule(Action(kind: .thaw, host: Int32(host)), at: until)
    }

    /// Splits the network: hosts hear only those of their own group.
    public mutating func partition(_ assign: (Int) -> Int) { network.part(assign) }

    public mutating func heal() { network.heal() }

    /// Nothing goes from one host to another any more; the other way is unhurt.
    public mutating func cut(from: Int, to: Int) { network.cut(from: from, to: to) }

    /// A firewall between two hosts: it refuses their new connections, and resets those that stand.
    public mutating func reject(_ one: Int, _ other: Int) {
        network.reject(from: one, to: other)
        network.reject(from: other, to: one)
        reset(one, other)
    }

    /// The firewall is no more.
    public mutating func admit(_ one: Int, _ other: Int) {
        network.admit(from: one, to: other)
        network.admit(from: other, to: one)
    }

    /// A host's address refuses new connections, or does so no more; those that stand are unhurt. So do a
    /// wrong address, and a proxy whose server is not there yet.
    public mutating func refuse(to host: Int, _ isRefusing: Bool) {
        network.refuse(to: host, isRefusing)
    }

    /// Everything that this host sends takes so much longer.
    public mutating func slow(_ host: Int, by delay: Delay) { network.slow(host, by: delay) }

    /// The host's monotonic clock jumps forward, or goes at another rate from now on. The jump
    /// is never back: no monotonic clock does that.
    public mutating func skew(_ number: Int, jump: Delay, partsPerMillion drift: Int64) {
        guard let host = hosts[number] else { return }
        let before = host.localTime(now)
        host.clockDrift = drift
        host.clockOffset = .zero
        host.clockOffset = before + jump - host.localTime(now)
        host.deadline = nil
        scheduleDeadline(number)
    }

    /// Resets the connection between two hosts, if there is one.
    public mutating func reset(_ one: Int, _ other: Int) {
        guard let host = hosts[one], let peer = hosts[other] else { return }
        for link in host.links {
            let connection = host[link]
            guard !connection.isNone else { continue }
            let isDialler = Int(connections[connection].dialler) == one
            let ends = connections[connection]
            guard Int(isDialler ? ends.acceptor : ends.dialler) == other,
                !ends.diallerLink.isNone, !ends.acceptorLink.isNone
            else { continue }
            let peerLink = isDialler ? ends.acceptorLink : ends.diallerLink
            host[link] = .none
            peer[peerLink] = .none
            connections[connection].diallerLink = .none
            connections[connection].acceptorLink = .none
            connections.recycle(connection)
            handle(one, .disconnected(link, .closed))
            // This side's answer to it may have reached the other's slot: it is a new one then.
            if hosts[other] != nil, peer[peerLink].isNone {
                handle(other, .disconnected(peerLink, .closed))
            }
        }
    }
}
