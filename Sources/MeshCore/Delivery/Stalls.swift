import MeshWire

/// Destinations that are there, by the account of the mesh, and acknowledge nothing:
///
///     0 ──── 0.8 s ──────── 2 s ────────────────────────────── 20 s ──▶
///       wait  │ what others │ this node dials the destination,   │ what is kept is given up, and its
///             │ get too is  │ if it has no link to it            │ senders are told; nobody waits for
///             │ sent on     │                                    │ the flow until something is
///             │             │                                    │ acknowledged
///
/// While bytes of the flow leave this machine over a queue that moves, none of it runs (`Backlog`). A
/// destination that has died is given up at once, after four seconds at the most.
enum Stall: UInt8 {
    case none
    /// Publishers whose messages others get too do not wait for this destination.
    case short
    /// Nobody does.
    case long
}

extension Node {
    /// A subscriber waits no longer than this for another one of the same channel.
    private static var sharedPatience: Delay { .milliseconds(800) }
    private static var linkPatience: Delay { .seconds(2) }
    /// Longer than any node is only suspected. A guess.
    private static var stallMax: Delay { .seconds(20) }

    /// Nothing has been acknowledged since the last progress: looks what that leads to. Returns when to
    /// look again, and whether the flow was given up.
    mutating func lookAtStall(
        _ flow: FlowIndex, _ effects: inout EffectBuffer
    ) -> (next: Instant?, isGivenUp: Bool) {
        guard let since = flows.outgoing[flow].stalledSince else { return (nil, false) }
        let age = now - since
        if age < Self.sharedPatience { return (since + Self.sharedPatience, false) }
        if flows.outgoing[flow].stall == .none {
            flows.outgoing[flow].stall = .short
            if flows.outgoing[flow].isCongested || flows.outgoing[flow].large.isCongested {
                effects.append(.uncongested)
            }
        }
        if age < Self.linkPatience { return (since + Self.linkPatience, false) }
        dialItself(flows.outgoing[flow].member, &effects)
        if age < Self.stallMax {
            return (min(now + Self.linkPatience, since + Self.stallMax), false)
        }
        flows.outgoing[flow].stall = .long
        counters[.flowsStalled] &+= 1
        let destination = flows.outgoing[flow].destination
        complain(of: destination.rawValue ^ 0x7374_616c, .memberMute(destination), &effects)
        effects.append(.uncongested)
        giveUp(flow, &effects)
        return (nil, true)
    }

    /// Something was acknowledged.
    @inline(never)
    mutating func endStall(_ flow: FlowIndex) { flows.outgoing[flow].stall = .none }

    /// Live destinations that have acknowledged nothing for two seconds, and for how long.
    public func stalledDestinations() -> [(node: NodeID, age: Delay)] {
        var found: [(node: NodeID, age: Delay)] = []
        for flow in flows.active {
            guard let since = flows.outgoing[flow].stalledSince, now - since >= Self.linkPatience
            else { continue }
            let destination = flows.outgoing[flow].destination
            if let place = found.firstIndex(where: { $0.node == destination }) {
                found[place].age = max(found[place].age, now - since)
            } else {
                found.append((destination, now - since))
            }
        }
        return found
    }
}
