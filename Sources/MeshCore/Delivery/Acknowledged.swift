import MeshWire

/// Acknowledgements at the origin of a flow, and what it does about gaps (<doc:Flows>).
extension Node {
    /// A destination has said how far a flow has arrived. What cannot be is counted and ignored: the
    /// link that it came over belongs to somebody else.
    @inline(__always)
    mutating func receivedAcknowledgement(
        _ acknowledgement: Acknowledgement, from destination: NodeID, _ lane: Lane,
        _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: destination) else { return }
        let flow = flows.flow(to: index, lane)
        guard !flow.isNone else { return }
        let advance = flows.outgoing[flow].advance(to: acknowledgement.cumulative)
        guard advance <= flows.outgoing[flow].count else {
            counters[.protocolErrors] &+= 1
            return
        }
        if advance > 0 { acknowledged(advance, flow, &effects) }
        if acknowledgement.missing > 0 {
            answerGap(acknowledgement, isOld: advance < 0, flow, &effects)
        }
    }

    private mutating func acknowledged(
        _ count: Int, _ flow: FlowIndex, _ effects: inout EffectBuffer
    ) {
        let before = flows.outgoing[flow].bytes
        flows.drop(count, of: flow)
        if flows.outgoing[flow].isTiming,
            flows.outgoing[flow].advance(to: flows.outgoing[flow].timed) <= 0
        {
            flows.outgoing[flow].isTiming = false
            flows.outgoing[flow].sample(now - flows.outgoing[flow].timedAt)
        }
        flows.outgoing[flow].progressAt = now
        flows.outgoing[flow].clearStall()
        if flows.outgoing[flow].stall != .none { endStall(flow) }
        flows.outgoing[flow].isExcused = false
        // The rest may have to come again sooner than was thought before a round trip was measured.
        if flows.outgoing[flow].count > 0 {
            timers.schedule(.retransmission, at: dueTime(flow))
        }
        flows.outgoing[flow].detour.update(at: now)
        let most = configuration.flows.windowBytes(of: flows.outgoing[flow].lane)
        if flows.outgoing[flow].window < most {
            let gone = before - flows.outgoing[flow].bytes
            let growth = min(gone, Self.burstLeast * gone / flows.outgoing[flow].window + 1)
            flows.outgoing[flow].window = min(most, flows.outgoing[flow].window + growth)
        }
        relieve(flow, &effects)
        if flows.outgoing[flow].isRecovering,
            flows.outgoing[flow].advance(to: flows.outgoing[flow].burstMiddle) <= 0
        {
            sendBurst(flow, &effects)
        }
        if flows.largeCount > 0 { continueLarge(flow, &effects) }
        // Behind what is sent again.
        if parked.heldCount > 0 { liftBarriers(&effects) }
    }

    /// The destination misses messages behind the last one that it has delivered.
    private mutating func answerGap(
        _ acknowledgement: Acknowledgement, isOld: Bool, _ flow: FlowIndex,
        _ effects: inout EffectBuffer
    ) {
        if isOld {
            // They are not here any more: given up, or the destination has forgotten the flow. Or
            // this was overtaken by a later acknowledgement; then it ignores the answer.
            if now - flows.outgoing[flow].skippedAt >= .milliseconds(20) {
                tellSkip(flow, &effects)
            }
            return
        }
        guard acknowledgement.missing <= UInt32(flows.outgoing[flow].count) else {
            counters[.protocolErrors] &+= 1
            return
        }
        // It is told again and again while the answer is on its way.
        if flows.outgoing[flow].gapAnswered == acknowledgement.cumulative,
            now - flows.outgoing[flow].gapAnsweredAt
                < max(
                    .milliseconds(50), flows.outgoing[flow].roundTrip)
        {
            return
        }
        flows.outgoing[flow].gapAnswered = acknowledgement.cumulative
        flows.outgoing[flow].gapAnsweredAt = now
        flows.outgoing[flow].isTiming = false
        if Int(acknowledgement.missing) > Self.gapCountMax {
            flows.outgoing[flow].beginRecovery(burst: Self.burstMost / 4)
            sendBurst(flow, &effects)
            return
        }
        var offset = 0
        var sent = 0
        for number in 1...acknowledgement.missing where sent < Self.burstMost {
            guard
                let size = sendKept(
                    flow, acknowledgement.cumulative &+ number, at: offset, &effects)
            else { return }
            offset += size.entry
            sent += size.cost
        }
    }

    /// Tells a destination that what was given up will not come.
    mutating func tellSkip(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        flows.outgoing[flow].mustSkip = false
        flows.outgoing[flow].skippedAt = now
        sendControl(
            .skip(through: flows.outgoing[flow].acknowledged), to: flows.outgoing[flow].member,
            in: flows.outgoing[flow].lane, &effects)
    }
}
