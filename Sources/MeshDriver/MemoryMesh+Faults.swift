import MeshCore
import MeshServer
import MeshWire

// Faults and forgeries that tests cause.

extension MemoryMesh {
    /// The process ends: its connections are reset, new ones refused.
    public mutating func crash(_ host: Int) {
        hosts[host].isUp = false
        for link in 0..<hosts[host].wires.count { close(LinkIndex(link), host) }
    }

    /// The process stands still; its connections stand, and what comes waits.
    public mutating func freeze(_ host: Int) { hosts[host].isFrozen = true }

    /// The process goes on, with what has come meanwhile.
    public mutating func thaw(_ host: Int) {
        hosts[host].isFrozen = false
        hosts[host].wake(at: now)
        perform(host, Span())
        var waiting: [Parcel] = []
        swap(&waiting, &hosts[host].waiting)
        parcels.insert(contentsOf: waiting, at: parcelsTaken)
    }

    /// Resets the connection between two hosts; what is on its way over it is lost.
    public mutating func reset(_ one: Int, _ other: Int) {
        guard let link = hosts[one].link(to: other) else { return }
        let end = hosts[one].wires[link.slot].link
        connect(one, link, to: MemoryHost.Wire())
        connect(other, end, to: MemoryHost.Wire())
        hosts[one].outputs[link.slot].removeAll()
        hosts[other].outputs[end.slot].removeAll()
        handle(.disconnected(link, .closed), one)
        handle(.disconnected(end, .closed), other)
    }

    /// A connection from outside the mesh, as a liar has one: what the host sends over it is lost.
    public mutating func accept(at host: Int) -> LinkIndex? {
        guard let link = acceptLink(at: host) else { return nil }
        connect(host, link, to: MemoryHost.Wire())
        hosts[host].wires[link.slot].isForeign = true
        return link
    }

    /// Whether a connection that was made from outside has not ended.
    public func stands(_ link: LinkIndex, at host: Int) -> Bool {
        hosts[host].wires[link.slot].isForeign
    }

    /// A connection from outside ends, if it stands.
    public mutating func hangUp(_ link: LinkIndex, at host: Int) {
        guard stands(link, at: host) else { return }
        connect(host, link, to: MemoryHost.Wire())
        handle(.disconnected(link, .closed), host)
    }

    /// Hands forged frames to a host, as if they had come over one of its links. Where they are none
    /// the host's driver closes the link.
    ///
    /// - Returns: whether the link stands afterwards.
    @discardableResult
    public mutating func inject(_ frames: [UInt8], to host: Int, over link: LinkIndex) -> Bool {
        let use = hosts[host].wires[link.slot].use
        var offset = 0
        while offset < frames.count, hosts[host].wires[link.slot].use == use {
            var needed = 0
            guard
                let prefix = try? FramePrefix.read(
                    frames.span, at: offset, needed: &needed,
                    lengthMax: hosts[host].server.frameLengthMax(over: link))
            else {
                close(link, host)
                handle(.disconnected(link, .misbehaved), host)
                return false
            }
            handle(.heard(link), host)
            handle(.received(prefix, start: offset, from: link), frames.span, host)
            offset += prefix.length
        }
        return hosts[host].wires[link.slot].use == use
    }

    /// The same over the link that a host has with another.
    public mutating func inject(_ frames: [UInt8], to host: Int, from peer: Int) {
        guard let link = hosts[host].link(to: peer) else {
            preconditionFailure("host \(host) has no link to host \(peer)")
        }
        inject(frames, to: host, over: link)
    }
}
