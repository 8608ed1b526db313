import MeshWire

/// The bytes that wait at this node for one link.
struct Backlog {
    var bytes = 0
    /// Bytes that have left over the link, of all that the node has given out for it.
    var left: UInt64 = 0
    /// When some last did.
    var movedAt = Instant(nanoseconds: 0)
}

/// Bytes that have not left this machine are not lost: no flow is sent again for them.
extension Node {
    /// A queue that has stood still for so long is no slow line. Less than the silence after which a
    /// link is in doubt; the kernel of a line of 1 Mbit/s takes 64 KiB each half second. A guess.
    private static var standstill: Delay { .seconds(1) }

    mutating func noteBacklog(of link: LinkIndex, _ bytes: Int) {
        guard links.isValid(link), links[link].state != .free else { return }
        while flows.backlogs.count <= link.slot { flows.backlogs.append(Backlog()) }
        let former = flows.backlogs[link.slot]
        let left = links[link].bytesOut &- UInt64(bytes)
        let hasMoved = former.bytes == 0 || Int64(bitPattern: left &- former.left) > 0
        flows.backlogs[link.slot] = Backlog(
            bytes: bytes, left: left, movedAt: hasMoved ? now : former.movedAt)
    }

    /// The slot belongs to another connection.
    mutating func forgetBacklog(of link: LinkIndex) {
        if link.slot < flows.backlogs.count { flows.backlogs[link.slot] = Backlog() }
    }

    /// Whether the timeout of a flow begins anew: something of it has not left yet over a link whose queue
    /// moves, or it may have left only since the flow's last progress.
    mutating func isLeaving(_ flow: FlowIndex) -> Bool {
        let link = flows.outgoing[flow].detour.lastHop
        guard !link.isNone, link.slot < flows.backlogs.count else { return false }
        let backlog = flows.backlogs[link.slot]
        let rest = Int64(bitPattern: flows.outgoing[flow].sentMark &- backlog.left)
        if backlog.bytes > 0, rest > 0, now - backlog.movedAt < Self.standstill {
            flows.outgoing[flow].isExcused = false
            return true
        }
        // Once: a queue that never ends moves all the time.
        flows.outgoing[flow].isExcused =
            !flows.outgoing[flow].isExcused
            && backlog.movedAt > flows.outgoing[flow].progressAt
        return flows.outgoing[flow].isExcused
    }
}
