import MeshCore
import MeshServer
import MeshWire

// Connections between hosts, and the bytes on them.

extension MemoryMesh {
    // MARK: Bytes leave

    /// Gives everything that waits on a link to the host at its other end, as a whole.
    public mutating func carry(from sender: Int, _ link: LinkIndex) {
        let wire = hosts[sender].wires[link.slot]
        guard wire.host >= 0 else {
            hosts[sender].outputs[link.slot].removeAll()
            return
        }
        var bytes = ByteQueue()
        swap(&bytes, &hosts[sender].outputs[link.slot])
        bytes.withSpan { input in
            handle(.heard(wire.link), Span(), wire.host)
            receive(input, wire.host, wire.link)
        }
        bytes.removeAll()
        // The memory goes back, unless the receiver's turn has made the sender send already.
        if hosts[sender].outputs[link.slot].isEmpty {
            swap(&bytes, &hosts[sender].outputs[link.slot])
        }
    }

    /// Carries what waits in all queues, once; false: nothing did.
    mutating func carryQueues() -> Bool {
        if isWatched { return false }
        var hasCarried = false
        for sender in 0..<hosts.count {
            for link in 0..<hosts[sender].outputs.count
            where !hosts[sender].outputs[link].isEmpty {
                let peer = hosts[sender].wires[link].host
                if peer >= 0, hosts[peer].isFrozen { continue }
                hasCarried = true
                carry(from: sender, LinkIndex(link))
            }
        }
        return hasCarried
    }

    /// Puts the first frame that waits on a link on its way, as the judge says.
    mutating func post(_ size: Int, _ sender: Int, _ link: LinkIndex) {
        let wire = hosts[sender].wires[link.slot]
        guard wire.host >= 0 else { return }
        let frame = hosts[sender].outputs[link.slot].withSpan {
            $0.array(Slice(start: 0, count: size))
        }
        hosts[sender].outputs[link.slot].drop(size)
        for translated in translator?(sender, wire.host, frame) ?? [frame] {
            post(translated, sender, wire)
        }
    }

    private mutating func post(_ frame: [UInt8], _ sender: Int, _ wire: MemoryHost.Wire) {
        var delay = latency
        var copies = 1
        switch judge?(sender, wire.host, frame) ?? .pass {
        case .pass: break
        case .drop: copies = 0
        case .double: copies = 2
        case .delay(let more): delay = delay + more
        }
        for _ in 0..<copies { schedule(.frame(frame), to: wire.host, wire.link, after: delay) }
    }

    /// Equal times keep their order.
    mutating func schedule(
        _ what: Parcel.What, to host: Int, _ link: LinkIndex, after delay: Delay
    ) {
        let parcel = Parcel(
            time: now + delay, what: what, host: host, link: link,
            use: hosts[host].wires[link.slot].use)
        var slot = parcels.count
        while slot > parcelsTaken, parcels[slot - 1].time > parcel.time { slot -= 1 }
        parcels.insert(parcel, at: slot)
    }

    // MARK: Bytes arrive

    /// Lets the next parcel arrive that is due by now; false: there is none.
    mutating func takeParcel() -> Bool {
        guard parcelsTaken < parcels.count, parcels[parcelsTaken].time <= now else { return false }
        let parcel = parcels[parcelsTaken]
        parcelsTaken += 1
        if parcelsTaken == parcels.count {
            parcels.removeAll(keepingCapacity: true)
            parcelsTaken = 0
        }
        if hosts[parcel.host].isFrozen {
            hosts[parcel.host].waiting.append(parcel)
        } else {
            take(parcel)
        }
        return true
    }

    private mutating func take(_ parcel: Parcel) {
        let (host, link) = (parcel.host, parcel.link)
        guard hosts[host].isUp, hosts[host].wires[link.slot].use == parcel.use else { return }
        switch parcel.what {
        case .frame(let frame):
            handle(.heard(link), host)
            receive(frame.span, host, link)
        case .dialled(let target): reach(target, from: host, link)
        case .closed(let bytes):
            receive(bytes.span, host, link)
            guard hosts[host].wires[link.slot].use == parcel.use else { return }
            handle(.disconnected(link, .closed), host)
        }
    }

    /// Hands whole frames over to a server.
    private mutating func receive(_ input: Span<UInt8>, _ host: Int, _ link: LinkIndex) {
        let use = hosts[host].wires[link.slot].use
        var offset = 0
        while offset < input.count, hosts[host].wires[link.slot].use == use {
            offset = hosts[host].receive(input, from: offset, over: link, at: now)
            perform(host, input)
        }
    }

    // MARK: Connections

    private mutating func reach(_ target: Int, from host: Int, _ link: LinkIndex) {
        if areApart(host, target) {
            handle(.disconnected(link, .unreachable), host)
        } else if target >= 0, target < hosts.count, target != host, hosts[target].isUp,
            hosts[target].takesLinks, let accepted = acceptLink(at: target)
        {
            connect(host, link, to: MemoryHost.Wire(host: target, link: accepted))
            connect(target, accepted, to: MemoryHost.Wire(host: host, link: link))
            handle(.connected(link), host)
        } else {
            handle(.disconnected(link, .refused), host)
        }
    }

    /// A free link of a host; nil: it takes no more.
    mutating func acceptLink(at host: Int) -> LinkIndex? {
        let link = hosts[host].acceptLink(at: now)
        perform(host, Span())
        return link
    }

    private func areApart(_ host: Int, _ other: Int) -> Bool {
        guard let apart else { return false }
        return (host, other) == apart || (other, host) == apart
    }

    mutating func connect(_ host: Int, _ link: LinkIndex, to peer: MemoryHost.Wire) {
        let use = hosts[host].wires[link.slot].use + 1
        hosts[host].wires[link.slot] = MemoryHost.Wire(host: peer.host, link: peer.link, use: use)
    }

    /// One side closes; the other hears of it after all that is on its way.
    mutating func close(_ link: LinkIndex, _ host: Int) {
        let peer = hosts[host].wires[link.slot]
        connect(host, link, to: MemoryHost.Wire())
        let last = hosts[host].outputs[link.slot].array
        hosts[host].outputs[link.slot].removeAll()
        guard peer.host >= 0 else { return }
        // The peer can send no more.
        hosts[peer.host].wires[peer.link.slot].host = -1
        hosts[peer.host].outputs[peer.link.slot].removeAll()
        schedule(.closed(after: last), to: peer.host, peer.link, after: latency)
    }
}
