import MeshWire

/// The destination's side of flows: in order and once, and the origin is told.
extension Node {
    /// So many messages are acknowledged at once rather than a moment later.
    static var unacknowledgedMax: Int { 16 }

    /// Messages have been passed over in a flow: what waits behind them is delivered, and the origin
    /// is to be told.
    @inline(__always)
    mutating func passed(_ flow: IncomingFlowIndex, _ effects: inout EffectBuffer) {
        flows.incoming[flow].unacknowledged += 1
        if flows.incoming[flow].hasGap { deliverWaiting(flow, &effects) }
        if flows.incoming[flow].unacknowledged >= Self.unacknowledgedMax {
            tellSoon(flow, at: now)
        } else if !flows.incoming[flow].isListed {
            tellSoon(flow, at: now + configuration.timing.acknowledgement)
        }
    }

    /// Puts a flow on the list of those that have something to tell, for then at the latest.
    mutating func tellSoon(_ flow: IncomingFlowIndex, at due: Instant) {
        if flows.incoming[flow].isListed {
            if flows.incoming[flow].due <= due { return }
        } else {
            flows.incoming[flow].isListed = true
            flows.due.append(flow)
        }
        flows.incoming[flow].due = due
        timers.schedule(.acknowledgement, at: due)
    }

    /// A message that is not the next of its flow, or the first of a flow.
    @inline(never)
    mutating func receivedOutOfOrder(
        _ sequence: UInt32, _ lane: Lane, _ header: RoutedHeader, _ content: FlowContent,
        name: Slice, payload: Slice, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        var flow = flows.flow(from: header.origin, lane)
        if flow.isNone {
            guard let member = members.index(of: header.origin), member != .oneself else {
                counters[.droppedUnknownOrigin] &+= 1
                return
            }
            flow = flows.open(from: header.origin, member, lane, at: now)
        }
        let ahead = flows.incoming[flow].distanceFromBegin(to: sequence)
        let hops = UInt64(header.hopsTaken) &+ 1
        if ahead == 0 {
            if case .message(.part) = content, !hasRoom(for: payload, flow, &effects) { return }
            flows.incoming[flow].pass()
            switch content {
            case .message(.session):
                deliverSession(payload, from: header.origin, flow, &effects)
            case .message(.part): deliverPart(payload, bytes, hops: hops, flow, &effects)
            case .message(let body) where !givesBack(body, header.key, number: sequence, flow):
                counters[.messagesDelivered] &+= 1
                counters[.messageHops] &+= hops
                effects.append(
                    .deliver(
                        body, number: sequence, header.key, name: name, payload: payload,
                        id: header.id))
            case .labelled(let body) where !givesBack(body, header.key, number: sequence, flow):
                counters[.messagesDelivered] &+= 1
                counters[.messageHops] &+= hops
                deliverLabelled(
                    body, number: sequence, header, name: name, payload: payload, bytes, &effects)
            case .message, .labelled: break
            case .unsupported(let what): tellUnsupported(what, to: header.origin, &effects)
            }
            passed(flow, &effects)
        } else if ahead < 0 {
            // The acknowledgement has not come to the origin.
            counters[.duplicates] &+= 1
            if let member = members.index(of: header.origin) {
                flows.incoming[flow].detour.avoidLastHop(unless: members[member].link, at: now)
            }
            flows.incoming[flow].unacknowledged += 1
            tellSoon(flow, at: now)
        } else if ahead >= IncomingFlow.distanceMax, !flows.incoming[flow].isFresh {
            counters[.protocolErrors] &+= 1
        } else {
            let message = ReorderedMessage(
                content: content, key: header.key, number: header.number, hops: hops,
                nameCount: Int(name.count),
                bytes: bytes.array(name) + bytes.array(payload))
            wait(message, ahead: ahead, sequence, flow)
        }
    }

    /// A message has overtaken another, or the other is lost.
    private mutating func wait(
        _ message: ReorderedMessage, ahead: Int, _ sequence: UInt32, _ flow: IncomingFlowIndex
    ) {
        let limits = configuration.flows
        if !flows.incoming[flow].hasGap {
            flows.incoming[flow].gapSince = now
            tellSoon(flow, at: now + configuration.timing.gap)
        } else if !flows.incoming[flow].isListed {
            // Its origin was dead to this node when the gap was to be told, and has sent again since.
            tellSoon(flow, at: now + configuration.timing.gap)
        }
        if flows.incoming[flow].isWaiting(ahead: ahead) {
            counters[.duplicates] &+= 1
            return
        }
        if Int32(bitPattern: sequence &- flows.incoming[flow].highest) > 0 {
            flows.incoming[flow].highest = sequence
        }
        if ahead < limits.reorderCount,
            flows.incoming[flow].waitingBytes + message.cost <= limits.reorderBytes,
            flows.reorderBytes[flows.incoming[flow].lane] + message.cost
                <= limits.reorderTotalBytes
        {
            counters[.reordered] &+= 1
            flows.incoming[flow].wait(message, ahead: ahead, capacity: limits.reorderCount)
            flows.reorderBytes[flows.incoming[flow].lane] += message.cost
        } else {
            counters[.droppedBeyondWindow] &+= 1
        }
    }

    /// Delivers what waits and is next; what is missing behind it is another gap.
    @inline(never)
    private mutating func deliverWaiting(_ flow: IncomingFlowIndex, _ effects: inout EffectBuffer) {
        while let message = flows.incoming[flow].takeNext() {
            flows.incoming[flow].pass()
            flows.incoming[flow].unacknowledged += 1
            deliver(message, flow, &effects)
        }
        guard flows.incoming[flow].hasGap else { return }
        flows.incoming[flow].gapSince = now
        tellSoon(flow, at: now + configuration.timing.gap)
    }

    /// A message that has waited, and that its flow has just passed.
    private mutating func deliver(
        _ message: ReorderedMessage, _ flow: IncomingFlowIndex, _ effects: inout EffectBuffer
    ) {
        flows.reorderBytes[flows.incoming[flow].lane] -= message.cost
        let number = flows.incoming[flow].expected &- 1
        let body: RoutedBody
        var isLabelled = false
        switch message.content {
        case .message(.session):
            deliverKept(session: message, flow, &effects)
            return
        case .message(.part):
            deliverPart(
                Slice(start: 0, count: message.bytes.count), message.bytes.span,
                hops: message.hops, flow, &effects)
            return
        case .message(let known): body = known
        case .labelled(let known):
            body = known
            isLabelled = true
        case .unsupported(let what):
            tellUnsupported(what, to: flows.incoming[flow].origin, &effects)
            return
        }
        if givesBack(body, message.key, number: number, flow) { return }
        counters[.messagesDelivered] &+= 1
        counters[.messageHops] &+= message.hops
        let id = MessageID(origin: flows.incoming[flow].origin, number: message.number)
        deliverKept(
            body, number: number, message.key, message.bytes,
            nameCount: message.nameCount, id: id, isLabelled: isLabelled, &effects)
    }

    /// Hands a message that does not lie in the event's bytes to the local clients.
    mutating func deliverKept(
        _ body: RoutedBody, number: UInt32, _ key: Key, _ bytes: [UInt8], nameCount: Int,
        id: MessageID, isLabelled: Bool, _ effects: inout EffectBuffer
    ) {
        let start = effects.bytes.count
        effects.bytes.append(bytes)
        let name = Slice(start: start, count: nameCount)
        let payload = Slice(start: start + nameCount, count: bytes.count - nameCount)
        effects.append(
            isLabelled
                ? .deliverLabelled(
                    body, number: number, key, name: name, payload: payload, id: id)
                : .deliverKept(
                    body, number: number, key, name: name, payload: payload, id: id))
    }

    /// The origin has given messages up: the flow goes on behind them. What of them has come all the
    /// same is delivered.
    mutating func receivedSkip(
        through last: UInt32, from origin: NodeID, _ lane: Lane, _ effects: inout EffectBuffer
    ) {
        guard let member = members.index(of: origin), member != .oneself else { return }
        var flow = flows.flow(from: origin, lane)
        if flow.isNone { flow = flows.open(from: origin, member, lane, at: now) }
        let ahead = flows.incoming[flow].distanceFromBegin(to: last)
        // One that is behind the flow has been answered to something older.
        if ahead < 0 { return }
        guard ahead < IncomingFlow.distanceMax || flows.incoming[flow].isFresh else {
            counters[.protocolErrors] &+= 1
            return
        }
        let isFresh = flows.incoming[flow].isFresh
        var gone: UInt32 = 0
        var left = UInt32(ahead) + 1
        while left > 0, flows.incoming[flow].waitingCount > 0 {
            let message = flows.incoming[flow].takeNext()
            flows.incoming[flow].pass()
            left -= 1
            if let message { deliver(message, flow, &effects) } else { gone &+= 1 }
        }
        if left > 0 {
            gone &+= left
            flows.incoming[flow].pass(left)
        }
        // A flow that begins in the middle, because this node has forgotten it, lacks nothing.
        if gone > 0, !isFresh {
            counters[.gaps] &+= UInt64(gone)
            switch lane {
            case .messages: effects.append(.gap(origin, count: gone))
            case .bulk: effects.append(.bulk(origin, .gap(count: gone)))
            }
        }
        passed(flow, &effects)
    }

    // MARK: Telling

    /// Tells the origins of all flows whose time has come.
    mutating func acknowledgeDue(_ effects: inout EffectBuffer) {
        var next: Instant?
        var kept = 0
        // To tell of these flows lists no other: the list does not grow meanwhile.
        for at in flows.due.indices {
            let flow = flows.due[at]
            if flows.incoming[flow].due <= now { acknowledge(flow, &effects) }
            if flows.incoming[flow].isListed {
                flows.due[kept] = flow
                kept += 1
                let due = flows.incoming[flow].due
                next = min(next ?? due, due)
            }
        }
        flows.due.removeSubrange(kept...)
        if let next { timers.schedule(.acknowledgement, at: next) }
    }

    /// Tells one origin how far its flow has come, if there is anything to tell. The flow stays
    /// listed while something is missing.
    private mutating func acknowledge(_ flow: IncomingFlowIndex, _ effects: inout EffectBuffer) {
        let hasGap = flows.incoming[flow].hasGap
        let givesBack = !flows.incoming[flow].returned.numbers.isEmpty
        guard !flows.incoming[flow].isForgotten,
            hasGap || givesBack || flows.incoming[flow].unacknowledged > 0,
            let member = members.index(of: flows.incoming[flow].origin),
            members.status(of: member) != .dead
        else {
            flows.incoming[flow].unacknowledged = 0
            flows.unlist(flow)
            return
        }
        var missing: UInt32 = 0
        if hasGap {
            let told = flows.incoming[flow].gapSince + configuration.timing.gap
            if told <= now {
                // It is counted from what is acknowledged, and so has to wait for what goes back.
                missing = givesBack ? 0 : flows.incoming[flow].missing
                flows.incoming[flow].due = now + configuration.timing.gapRepeat
            } else {
                flows.incoming[flow].due = told
            }
        } else if givesBack {
            flows.incoming[flow].due = now + configuration.timing.gapRepeat
        } else {
            flows.unlist(flow)
        }
        if givesBack { tellReturned(flow, to: member, &effects) }
        flows.incoming[flow].unacknowledged = 0
        counters[.acknowledgementsSent] &+= 1
        flows.incoming[flow].detour.update(at: now)
        flows.incoming[flow].detour.lastHop = sendControl(
            .acknowledge(
                Acknowledgement(
                    cumulative: flows.incoming[flow].acknowledgeable, missing: missing)),
            to: member, in: flows.incoming[flow].lane,
            avoiding: flows.incoming[flow].detour.avoided, &effects)
    }

    /// The acknowledgement that a message to the same node can carry in place of a frame; nil: none is due.
    @inline(__always)
    mutating func carriedAcknowledgement(_ flow: FlowIndex) -> Acknowledgement? {
        let reverse = flows.outgoing[flow].reverse
        guard !reverse.isNone, flows.incoming[reverse].unacknowledged > 0,
            !flows.incoming[reverse].hasGap, !flows.incoming[reverse].givesBack
        else { return nil }
        // It stays listed until its time, and has nothing to tell then.
        flows.incoming[reverse].unacknowledged = 0
        counters[.acknowledgementsCarried] &+= 1
        return Acknowledgement(
            cumulative: flows.incoming[reverse].expected &- 1, missing: 0)
    }

    /// Everything that is not acknowledged yet is.
    mutating func acknowledgeAll(_ effects: inout EffectBuffer) {
        for flow in flows.due { flows.incoming[flow].due = now }
        acknowledgeDue(&effects)
    }
}
