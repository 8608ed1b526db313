import MeshCore
import MeshGateway
import MeshWire

// How a node drains and leaves the mesh.
//
//     running ──leave──▶ draining ──nobody left, or too late──▶ leaving ──said so, or too late──▶ left

extension Server {
    mutating func beginLeaving(_ effects: inout ServerEffects) {
        guard phase == .running else { return }
        beginServing()
        edge.gateway.hub.now = now
        effects.orders.append(
            .log(LogLine(.info, "draining", [("clients", .integer(edge.gateway.hub.clientCount))])))
        // Without clients no other node need be asked for an address.
        if edge.gateway.hub.clientCount == 0, edge.gateway.hub.sessionCount == 0 {
            sayGoodbye(&effects)
            return
        }
        phase = .draining
        node.announceDrain(at: now, into: &effects.own)
        transfer(Span(), &effects)
        edge.gateway.hub.beginDrain(options.drainTime, longest: options.drainMax, at: now)
        settle(&effects)
    }

    mutating func advancePhase(_ effects: inout ServerEffects) {
        switch phase {
        case .running, .left: return
        case .draining:
            let deadline = edge.gateway.hub.drainEnd ?? now
            if edge.gateway.hub.isEndingClients, !hasStoppedListening {
                hasStoppedListening = true
                effects.orders.append(.stopListening(toLinks: false))
            }
            // The node waits until it knows what its ended connections have lost: it is announced at the
            // sessions' new nodes.
            if doubts.isEmpty, edge.gateway.hub.hasMovedAll {
                edge.gateway.hub.endMoves()
                settle(&effects)
            }
            guard
                edge.gateway.hub.isDrained && doubts.isEmpty && !node.keepsBulk || deadline <= now
            else { return }
            if deadline <= now {
                effects.orders.append(.log(LogLine(.warning, "drainTimedOut")))
            }
            sayGoodbye(&effects)
        case .leaving(let deadline):
            guard deadline <= now else { return }
            effects.orders.append(.log(LogLine(.warning, "leaveTimedOut")))
            phase = .left
            effects.mesh.append(.left)
        }
    }

    private mutating func sayGoodbye(_ effects: inout ServerEffects) {
        effects.orders.append(.log(LogLine(.info, "leaving")))
        phase = .leaving(deadline: now + options.leaveTime)
        noteReadiness()
        // Newcomers shall find another node, not wait here.
        effects.orders.append(.stopListening(toLinks: true))
        node.handle(.leave, bytes: Span(), at: now, into: &effects.own)
        transfer(Span(), &effects)
    }
}
