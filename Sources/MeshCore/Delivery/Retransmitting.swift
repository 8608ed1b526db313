import MeshWire

/// Sending again what is not acknowledged (<doc:Flows>):
///
/// - when the link is lost that a flow was last sent over, at once over the next best;
/// - when nothing comes for three round trips, and for 200 ms, over another link if one is nearer;
/// - when the destination names what it misses.
extension Node {
    /// What is sent at once when a flow starts again.
    static var burstLeast: Int { 64 * 1024 }
    /// What one event makes a flow send at most, one message besides.
    static var burstMost: Int { 1024 * 1024 }
    /// A flow that lacks more than this at its destination starts again from there.
    static var gapCountMax: Int { 256 }
    /// Timeouts are looked at no more often.
    static var timeoutGrain: Delay { .milliseconds(20) }

    /// A link is lost or silent: flows that were last sent over it start again, once all that
    /// happens now has happened.
    mutating func wayLost(_ link: LinkIndex) {
        var isAny = false
        for flow in flows.active where flows.outgoing[flow].way.lastHop == link {
            flows.outgoing[flow].mustRecover = true
            isAny = true
        }
        if isAny { timers.schedule(.retransmission, at: now) }
    }

    /// A new link: whatever found no way may have one.
    mutating func wayFound() { wayLost(.none) }

    /// A message found no way: it is sent when there is one.
    mutating func stranded(_ flow: FlowIndex) {
        flows.outgoing[flow].way.lastHop = .none
        if !flows.outgoing[flow].isRecovering {
            flows.outgoing[flow].beginRecovery(burst: Self.burstLeast)
        }
    }

    /// Looks at all flows that keep something.
    mutating func sendAgainDue(_ effects: inout EffectBuffer) {
        var next: Instant?
        var at = 0
        while at < flows.active.count {
            let flow = flows.active[at]
            if let due = flows.outgoing[flow].giveUpDue, due <= now {
                // Another flow takes its place in the list.
                giveUp(flow, &effects)
                continue
            }
            at += 1
            var due = dueTime(flow)
            if flows.outgoing[flow].mustRecover {
                startAgain(flow, &effects)
                due = dueTime(flow)
            } else if due <= now {
                flows.outgoing[flow].timedOut(
                    windowLeast: Self.burstLeast, windowMost: configuration.flows.windowBytes)
                let direct = members[flows.outgoing[flow].member].link
                flows.outgoing[flow].way.avoidLastHop(unless: direct, at: now)
                startAgain(flow, &effects)
                due = dueTime(flow)
            }
            if let end = flows.outgoing[flow].giveUpDue { due = min(due, end) }
            next = min(next ?? due, due)
        }
        if let next { timers.schedule(.retransmission, at: max(next, now + Self.timeoutGrain)) }
    }

    /// The first hop of a flow's messages; nil: no way.
    @inline(__always)
    mutating func hop(of flow: FlowIndex, to index: MemberIndex) -> Hop? {
        // As if they had come from there: nobody gives a message back who knows any other way.
        hop(
            to: members.id(of: index), index, promise: .max, isStrict: false,
            arrival: flows.outgoing[flow].way.avoided)
    }

    private func dueTime(_ flow: FlowIndex) -> Instant {
        flows.outgoing[flow].progressAt + flows.outgoing[flow].timeout(configuration.timing)
    }

    /// Sends a flow again from its oldest message on, a burst of it now.
    private mutating func startAgain(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        flows.outgoing[flow].beginRecovery(burst: Self.burstLeast)
        flows.outgoing[flow].progressAt = now
        sendBurst(flow, &effects)
    }

    /// The next burst of a flow that recovers.
    private mutating func sendBurst(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        if flows.outgoing[flow].mustSkip { tellSkip(flow, &effects) }
        let first = flows.outgoing[flow].resendNext
        var sent = 0
        while sent < flows.outgoing[flow].burst, flows.outgoing[flow].isRecovering {
            guard
                Int32(bitPattern: flows.outgoing[flow].last &- flows.outgoing[flow].resendNext) >= 0
            else { break }
            guard
                let size = sendKept(
                    flow, flows.outgoing[flow].resendNext, at: flows.outgoing[flow].resendOffset,
                    &effects)
            else {
                // No way: `wayFound` or the next timeout tries again.
                flows.outgoing[flow].way.lastHop = .none
                return
            }
            sent += size.cost
            flows.outgoing[flow].resendNext &+= 1
            flows.outgoing[flow].resendOffset += size.entry
        }
        let count = flows.outgoing[flow].resendNext &- first
        flows.outgoing[flow].burstMiddle = first &+ count / 2
        flows.outgoing[flow].burst = min(flows.outgoing[flow].burst * 2, Self.burstMost)
        if Int32(bitPattern: flows.outgoing[flow].resendNext &- flows.outgoing[flow].last) > 0 {
            flows.outgoing[flow].isRecovering = false
        }
    }

    /// Sends one kept message. Returns what it costs, and its size in the queue; nil: no way.
    @discardableResult
    private mutating func sendKept(
        _ flow: FlowIndex, _ sequence: UInt32, at offset: Int, _ effects: inout EffectBuffer
    ) -> (cost: Int, entry: Int)? {
        let index = flows.outgoing[flow].member
        let destination = members.id(of: index)
        guard let hop = hop(of: flow, to: index) else { return nil }
        let header = Retention.header(flows.outgoing[flow].queue, at: offset)
        let size = header.nameCount + header.payloadCount
        let head = effects.bytes.count
        effects.bytes.appendRoutedHeader(
            length: Frame.routedHeaderSize + Frame.destinationSize + size,
            hop.isStrict ? .strictlyGreedy : [], hopsLeft: Frame.hopLimit,
            body: header.body.rawValue, origin: id, key: header.key, destinationCount: 1,
            number: header.number, nameLength: header.nameCount, hopsTaken: 0)
        effects.bytes.append(
            Destination(id: destination, sequence: sequence, promise: hop.promise))
        flows.retention.copyBytes(
            header, of: flows.outgoing[flow].queue, at: offset, count: size, to: &effects.bytes)
        flows.outgoing[flow].way.lastHop = hop.link
        counters[.retransmitted] &+= 1
        transmit(
            Slice(start: head, count: effects.bytes.count - head), .empty, .message,
            over: hop.link, &effects)
        return (header.cost, header.entrySize)
    }

    /// Keeps a message that waited for its user in the flow to the node that has it now, and sends
    /// it.
    mutating func sendLate(
        _ message: HeldMessage, _ key: Key, to index: MemberIndex, _ effects: inout EffectBuffer
    ) {
        let flow = outgoingFlow(to: index)
        let outgoing = OutgoingMessage(
            .user, key, name: Slice(start: 0, count: message.nameCount),
            payload: Slice(
                start: message.nameCount, count: message.bytes.count - message.nameCount),
            sender: message.sender)
        let cost = Retention.headerSize + message.bytes.count
        let bytes = message.bytes.span
        // Its publisher has been told already that it waits.
        var outcome = PublishOutcome(number: message.number)
        guard mayKeep(cost, flow) else {
            refuse(outgoing, to: index, bytes, &outcome, &effects)
            return
        }
        if flows.outgoing[flow].mustSkip { tellSkip(flow, &effects) }
        let offset = flows.outgoing[flow].queue.count
        let parcel = flows.retention.parcel(
            name: outgoing.name, payload: outgoing.payload, bytes)
        keep(
            outgoing, number: message.number, cost: cost, parcel: parcel, bytes, flow, &outcome)
        counters[.messagesOriginated] &+= 1
        if flows.outgoing[flow].isRecovering { return }
        if sendKept(flow, flows.outgoing[flow].last, at: offset, &effects) == nil {
            stranded(flow)
        } else {
            counters[.retransmitted] &-= 1
        }
    }

    // MARK: What the destination says

    /// A destination has said how far a flow has arrived. What cannot be is counted and ignored: the
    /// link that it came over belongs to somebody else.
    @inline(__always)
    mutating func receivedAcknowledgement(
        _ acknowledgement: Acknowledgement, from destination: NodeID,
        _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: destination) else { return }
        let flow = flows.flow(to: index)
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
        flows.outgoing[flow].way.update(at: now)
        let most = configuration.flows.windowBytes
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
            &effects)
    }

    /// A small control message to one node, over any link but `avoided` if there is another way.
    ///
    /// - Returns: the link that it took; none: there was none.
    @discardableResult
    mutating func sendControl(
        _ message: Message, to index: MemberIndex, avoiding avoided: LinkIndex = .none,
        _ effects: inout EffectBuffer
    ) -> LinkIndex {
        let destination = members.id(of: index)
        guard
            let hop = hop(
                to: destination, index, promise: .max, isStrict: false, arrival: avoided)
        else {
            counters[.droppedNoRoute] &+= 1
            return .none
        }
        let head = effects.bytes.count
        effects.bytes.appendRoutedHeader(
            length: 0, hop.isStrict ? .strictlyGreedy : [], hopsLeft: Frame.hopLimit,
            body: RoutedBody.control.rawValue, origin: id, key: Key(0), destinationCount: 1,
            number: 0, nameLength: 0, hopsTaken: 0)
        effects.bytes.append(Destination(id: destination, sequence: 0, promise: hop.promise))
        effects.bytes.append(message)
        let length = effects.bytes.count - head
        effects.bytes.overwrite(integer: UInt32(length), at: head)
        transmit(Slice(start: head, count: length), .empty, .control, over: hop.link, &effects)
        return hop.link
    }
}
