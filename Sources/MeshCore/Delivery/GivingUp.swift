import MeshWire

/// Messages whose destination is gone, or that were refused: their senders are told.
extension Node {
    /// Tells the sender of one message, whose name lies in `bytes`, that it is given up.
    mutating func report(
        _ body: RoutedBody, _ key: Key, _ name: Slice, _ sender: UInt64, to destination: NodeID,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        counters[.undelivered] &+= 1
        let start = effects.bytes.count
        effects.bytes.append(bytes, Int(name.start), Int(name.count))
        effects.append(
            .undelivered(
                sender: sender, body, key, name: Slice(start: start, count: Int(name.count)),
                to: destination, count: 1))
    }

    /// A destination is dead: what it has not acknowledged may have arrived or not, and will not be
    /// sent again, so that nothing is ever delivered twice.
    mutating func giveUp(_ index: MemberIndex, _ effects: inout EffectBuffer) {
        for lane in [Lane.bulk, .messages] {
            let flow = flows.flow(to: index, lane)
            if !flow.isNone { giveUp(flow, &effects) }
        }
    }

    mutating func giveUp(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        flows.outgoing[flow].giveUpDue = nil
        giveUpLarge(flow, &effects)
        let count = flows.outgoing[flow].count
        guard count > 0 else { return }
        switch flows.outgoing[flow].lane {
        case .messages: tellSenders(of: flow, &effects)
        case .bulk: tellGivenUp(flow, &effects)
        }
        flows.drop(count, of: flow)
        flows.outgoing[flow].isRecovering = false
        flows.outgoing[flow].mustRecover = false
        flows.outgoing[flow].isTiming = false
        flows.outgoing[flow].mustSkip = true
        flows.outgoing[flow].timeouts = 0
        flows.outgoing[flow].clearStall()
        flows.outgoing[flow].window =
            configuration.flows.windowBytes(of: flows.outgoing[flow].lane)
        relieve(flow, &effects)
        if flows.largeCount > 0 { continueLarge(flow, &effects) }
    }

    /// Of all that a flow keeps.
    private mutating func tellSenders(of flow: FlowIndex, _ effects: inout EffectBuffer) {
        let destination = flows.outgoing[flow].destination
        var offset = 0
        // Messages in a row from one sender to one name are one report.
        var first: (header: RetransmissionBuffer.Header, offset: Int)?
        var run: Int32 = 0
        for _ in 0..<flows.outgoing[flow].count {
            let header = RetransmissionBuffer.header(flows.outgoing[flow].queue, at: offset)
            defer { offset += header.entrySize }
            // It has gone another way, or waits here.
            if header.isTakenBack { continue }
            if let former = first,
                header.sender != former.header.sender || header.key != former.header.key
                    || header.body != former.header.body
            {
                tell(former.header, at: former.offset, of: flow, run, destination, &effects)
                first = nil
            }
            if first == nil {
                first = (header, offset)
                run = 0
            }
            run += 1
        }
        if let first { tell(first.header, at: first.offset, of: flow, run, destination, &effects) }
    }

    private mutating func tell(
        _ header: RetransmissionBuffer.Header, at offset: Int, of flow: FlowIndex, _ count: Int32,
        _ destination: NodeID, _ effects: inout EffectBuffer
    ) {
        counters[.undelivered] &+= UInt64(count)
        let start = effects.bytes.count
        flows.retransmission.copyBytes(
            header, of: flows.outgoing[flow].queue, at: offset, count: header.nameCount,
            to: &effects.bytes)
        effects.append(
            .undelivered(
                sender: header.sender, header.body, header.key,
                name: Slice(start: start, count: header.nameCount), to: destination,
                count: count))
    }

    /// A destination has said that it leaves: it still acknowledges what has come to it.
    mutating func awaitLastAcknowledgements(of index: MemberIndex) {
        for lane in [Lane.bulk, .messages] {
            let flow = flows.flow(to: index, lane)
            guard !flow.isNone, flows.outgoing[flow].count > 0 else { continue }
            let due = now + configuration.timing.drain
            flows.outgoing[flow].giveUpDue = due
            timers.schedule(.retransmission, at: due)
        }
    }

    /// This node ends: nobody will hear any more what becomes of its messages.
    mutating func giveUpAll(_ effects: inout EffectBuffer) {
        // Large messages that have not begun stand in no list.
        for slot in 0..<flows.outgoing.count where flows.largeCount > 0 {
            giveUp(FlowIndex(slot), &effects)
        }
        while let flow = flows.active.last { giveUp(flow, &effects) }
        giveUpParked(&effects)
    }
}
