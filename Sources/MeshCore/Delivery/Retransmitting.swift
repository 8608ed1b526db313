import MeshWire

/// Sending again what is not acknowledged (<doc:Flows>):
///
/// - when the link is lost that a flow was last sent over, at once over the next best;
/// - when nothing comes for three round trips, and for 200 ms, over another link if one is nearer;
/// - when the destination names what it misses.
extension Node {
    /// The bytes that are sent at once when a flow starts again.
    static var burstLeast: Int { 64 * 1024 }
    /// The most bytes that one event makes a flow send, one message besides.
    static var burstMost: Int { 1024 * 1024 }
    /// A flow that lacks more than this at its destination starts again from there.
    static var gapCountMax: Int { 256 }
    /// After so many timeouts in a row, 1.4 s and more, another way than the link to the destination itself
    /// may be better. A node that stands still is in doubt a moment later.
    static var doubtedTimeouts: Int { 3 }
    /// Timeouts are looked at no more often.
    static var timeoutGrain: Delay { .milliseconds(20) }

    /// A link is lost or silent: flows that were last sent over it start again, once all that
    /// happens now has happened.
    mutating func wayLost(_ link: LinkIndex) {
        var isAny = false
        for flow in flows.active where flows.outgoing[flow].detour.lastHop == link {
            flows.outgoing[flow].mustRecover = true
            isAny = true
        }
        if isAny { timers.schedule(.retransmission, at: now) }
    }

    /// A new link: whatever found no way may have one.
    mutating func wayFound() { wayLost(.none) }

    /// A message found no way: it is sent when there is one.
    mutating func stranded(_ flow: FlowIndex) {
        flows.outgoing[flow].detour.lastHop = .none
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
            let look = lookAtStall(flow, &effects)
            if look.isGivenUp { continue }
            at += 1
            if let due = look.next { next = min(next ?? due, due) }
            var due = dueTime(flow)
            if flows.outgoing[flow].mustRecover {
                startAgain(flow, &effects)
                due = dueTime(flow)
            } else if due <= now, isLeaving(flow) {
                if !flows.outgoing[flow].isExcused { flows.outgoing[flow].clearStall() }
                flows.outgoing[flow].progressAt = now
                due = dueTime(flow)
            } else if due <= now {
                flows.outgoing[flow].timedOut(
                    windowLeast: Self.burstLeast,
                    windowMost: configuration.flows.windowBytes(of: flows.outgoing[flow].lane))
                let direct = members[flows.outgoing[flow].member].link
                flows.outgoing[flow].detour.avoidLastHop(unless: direct, at: now)
                if flows.outgoing[flow].timeouts == Self.doubtedTimeouts {
                    doubtWay(of: flow, &effects)
                }
                startAgain(flow, &effects)
                due = dueTime(flow)
            }
            if let end = flows.outgoing[flow].giveUpDue { due = min(due, end) }
            next = min(next ?? due, due)
        }
        if let next { timers.schedule(.retransmission, at: max(next, now + Self.timeoutGrain)) }
    }

    func dueTime(_ flow: FlowIndex) -> Instant {
        flows.outgoing[flow].progressAt + flows.outgoing[flow].timeout(configuration.timing)
    }

    /// Sends a flow again from its oldest message on, a burst of it now.
    private mutating func startAgain(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        flows.outgoing[flow].beginRecovery(burst: Self.burstLeast)
        flows.outgoing[flow].noteStall()
        flows.outgoing[flow].progressAt = now
        sendBurst(flow, &effects)
    }

    /// The next burst of a flow that recovers.
    mutating func sendBurst(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
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
                flows.outgoing[flow].detour.lastHop = .none
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
    mutating func sendKept(
        _ flow: FlowIndex, _ sequence: UInt32, at offset: Int, _ effects: inout EffectBuffer
    ) -> (cost: Int, entry: Int)? {
        let destination = flows.outgoing[flow].destination
        guard let hop = hop(of: flow, to: flows.outgoing[flow].member) else { return nil }
        let header = RetransmissionBuffer.header(flows.outgoing[flow].queue, at: offset)
        let isPart = header.body == .part
        let size = header.nameCount + header.payloadCount + (isPart ? Part.headerSize : 0)
        let head = effects.bytes.count
        var flags = FrameFlags(flows.outgoing[flow].lane)
        if hop.isStrict { flags.insert(.strictlyGreedy) }
        if header.isLabelled { flags.insert(.labelled) }
        effects.bytes.appendRoutedHeader(
            length: Frame.routedHeaderSize + Frame.destinationSize + size, flags,
            hopsLeft: Frame.hopLimit, body: header.body.rawValue, origin: id,
            key: isPart ? Key(0) : header.key, destinationCount: 1,
            number: isPart ? 0 : header.number, nameLength: header.nameCount, hopsTaken: 0)
        effects.bytes.append(
            Destination(id: destination, sequence: sequence, potential: hop.potential))
        if isPart {
            flows.retransmission.copyPart(header, to: &effects.bytes)
        } else {
            flows.retransmission.copyBytes(
                header, of: flows.outgoing[flow].queue, at: offset, count: size, to: &effects.bytes)
        }
        flows.outgoing[flow].detour.lastHop = hop.link
        counters[.retransmitted] &+= 1
        transmit(
            Slice(start: head, count: effects.bytes.count - head), .empty,
            SendClass(body: header.body.rawValue, flags), over: hop.link, &effects)
        flows.outgoing[flow].sentMark = links[hop.link].bytesOut
        return (header.cost, header.entrySize)
    }

    // MARK: What the destination says
}
