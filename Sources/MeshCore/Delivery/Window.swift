import MeshWire

/// A flow at its origin: its window, and when it is congested.
extension Node {
    /// The flow to a member, made when there is none.
    @inline(__always)
    mutating func outgoingFlow(to index: MemberIndex, _ lane: Lane = .messages) -> FlowIndex {
        let flow = flows.flow(to: index, lane)
        return flow.isNone ? openFlow(to: index, lane) : flow
    }

    @inline(never)
    private mutating func openFlow(to index: MemberIndex, _ lane: Lane) -> FlowIndex {
        // Liars get a second at the most.
        let milliseconds = min(coordinates.estimate(index) ?? 0, 1_000)
        return flows.open(
            to: index, members.id(of: index), lane,
            window: configuration.flows.windowBytes(of: lane),
            roundTrip: .milliseconds(Int64(milliseconds)), at: now)
    }

    /// Whether a message of this cost is within twice the flow's window and twice what all flows may
    /// keep. The only message of a flow always is: one may be larger than a window.
    @inline(__always)
    func mayKeep(_ cost: Int, _ flow: FlowIndex) -> Bool {
        let limits = configuration.flows
        let bytes = flows.outgoing[flow].bytes
        // Nearly always it is within the window itself.
        if bytes + cost <= limits.windowBytes, flows.outgoing[flow].count < limits.windowCount,
            flows.retransmission.byteCount <= limits.totalBytes
        {
            return true
        }
        return
            (bytes == 0
            || bytes + cost <= limits.windowBytes * 2
                && flows.outgoing[flow].count < limits.windowCount * 2)
            && flows.retransmission.byteCount <= limits.totalBytes * 2
    }

    /// Numbers a message and keeps it until it is acknowledged.
    @inline(__always)
    mutating func keep(
        _ message: OutgoingMessage, number: UInt32, cost: Int, parcel: ParcelIndex,
        copyCount: Int, _ bytes: Span<UInt8>, _ flow: FlowIndex, _ outcome: inout PublishOutcome
    ) {
        flows.retransmission.append(
            message.body, message.key, number: number, name: message.name,
            payload: message.payload, sender: message.sender, parcel: parcel,
            copyCount: copyCount, isLabelled: message.isLabelled, bytes,
            to: &flows.outgoing[flow].queue)
        enrol(cost, flow)
        if flows.outgoing[flow].bytes > flows.outgoing[flow].window
            || flows.outgoing[flow].count > configuration.flows.windowCount
        {
            noteCongestion(flow, &outcome)
        }
        if flows.retransmission.byteCount > configuration.flows.totalBytes {
            flows.isCongested = true
            outcome.congestion = .allFlows
        }
    }

    /// The message that has just been put into a flow's queue gets its number.
    @inline(__always)
    mutating func enrol(_ cost: Int, _ flow: FlowIndex) {
        flows.outgoing[flow].last &+= 1
        flows.outgoing[flow].bytes += cost
        if flows.outgoing[flow].activePlace < 0 {
            flows.outgoing[flow].progressAt = now
            flows.outgoing[flow].clearStall()
            flows.activate(flow)
            timers.schedule(
                .retransmission, at: now + flows.outgoing[flow].timeout(configuration.timing))
        }
        if !flows.outgoing[flow].isTiming, !flows.outgoing[flow].isRecovering {
            flows.outgoing[flow].isTiming = true
            flows.outgoing[flow].timed = flows.outgoing[flow].last
            flows.outgoing[flow].timedAt = now
        }
    }

    /// A flow's window is full. Of several that one message belongs to its publisher waits for the
    /// fullest.
    @inline(never)
    private mutating func noteCongestion(_ flow: FlowIndex, _ outcome: inout PublishOutcome) {
        if !flows.outgoing[flow].isCongested {
            flows.outgoing[flow].isCongested = true
            flows.congestedCount += 1
        }
        outcome.congestion = fuller(outcome.congestion, flow)
    }

    /// The flow that keeps more, the first of equals. Whatever stands still comes after what moves: it
    /// may not be waited for (`isHeld`).
    private func fuller(_ one: Congestion?, _ other: FlowIndex) -> Congestion {
        switch one {
        case .allFlows: return .allFlows
        case .flow(let one):
            let stalls = (flows.outgoing[one].stall, flows.outgoing[other].stall)
            if (stalls.0 == .none) != (stalls.1 == .none) {
                return .flow(stalls.0 == .none ? one : other)
            }
            let isFuller = flows.outgoing[one].bytes >= flows.outgoing[other].bytes
            return .flow(isFuller ? one : other)
        default: return .flow(other)
        }
    }

    /// Publishers wait for a congested flow, unless it stands still.
    private func isHeld(by flow: FlowIndex, isShared: Bool) -> Bool {
        switch flows.outgoing[flow].stall {
        case .none: true
        case .short: !isShared
        case .long: false
        }
    }

    /// Whether any flow is congested: if not, `congestion(of:)` need not be asked.
    @inline(__always)
    public var hasCongestion: Bool { flows.congestedCount > 0 || flows.isCongested }

    /// Nothing is congested, and nobody in the mesh has a pattern: `publish` may be called as it is.
    public var takesAll: Bool { !hasCongestion && directory.patterns.isEmpty }

    /// Whether others than one node get a message to this key: they do not wait for one that stands still.
    public func isShared(_ key: Key) -> Bool { holderIndices(of: key).count > 1 }

    /// The fullest congested flow among those that a message would be kept in, and that its publisher
    /// waits for; nil: there is none, it can be published. Holders of patterns are left out.
    public func congestion(of message: OutgoingMessage) -> Congestion? {
        var fullest: Congestion?
        let holders = holderIndices(of: message.key)
        let isShared = holders.count > 1
        for index in holders where index != .oneself {
            if flows.isCongested { return .allFlows }
            if isBulky(message, to: index) {
                let flow = flows.flow(to: index, .bulk)
                if !flow.isNone, flows.outgoing[flow].large.isCongested,
                    isHeld(by: flow, isShared: isShared)
                {
                    return .largeMessages(flow)
                }
                continue
            }
            let flow = flows.flow(to: index)
            guard !flow.isNone, flows.outgoing[flow].isCongested,
                isHeld(by: flow, isShared: isShared)
            else { continue }
            fullest = fuller(fullest, flow)
        }
        return fullest
    }

    /// Whether there is still too much under way for more to be published.
    ///
    /// - Parameter isShared: what is to be published goes to others too.
    public func isCongested(_ congestion: Congestion, isShared: Bool = false) -> Bool {
        switch congestion {
        case .allFlows: flows.isCongested
        case .flow(let flow):
            flow.slot < flows.outgoing.count && flows.outgoing[flow].isCongested
                && isHeld(by: flow, isShared: isShared)
        case .largeMessages(let flow):
            flow.slot < flows.outgoing.count && flows.outgoing[flow].large.isCongested
                && isHeld(by: flow, isShared: isShared)
        }
    }

    /// There is more than enough under way: the message is not sent, and its sender is told.
    @inline(never)
    mutating func refuse(
        _ message: OutgoingMessage, to index: MemberIndex, _ bytes: Span<UInt8>,
        _ outcome: inout PublishOutcome, _ effects: inout EffectBuffer
    ) {
        // The flow is, or all are: their falling under half the window is what ends it.
        if flows.retransmission.byteCount > configuration.flows.totalBytes {
            flows.isCongested = true
            outcome.congestion = .allFlows
        } else {
            noteCongestion(flows.flow(to: index), &outcome)
        }
        report(
            message.body, message.key, message.name, message.sender, to: members.id(of: index),
            bytes, &effects)
    }

    /// A flow keeps less than before: publishers may go on when it is under half its window.
    @inline(__always)
    mutating func relieve(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        if flows.outgoing[flow].lane == .bulk {
            relieveBulk(flow, &effects)
            return
        }
        if flows.outgoing[flow].isCongested,
            flows.outgoing[flow].bytes <= flows.outgoing[flow].window / 2,
            flows.outgoing[flow].count <= configuration.flows.windowCount / 2
        {
            flows.outgoing[flow].isCongested = false
            flows.congestedCount -= 1
            effects.append(.uncongested)
        }
        relieveAll(&effects)
    }

    /// The same for all flows together.
    @inline(__always)
    mutating func relieveAll(_ effects: inout EffectBuffer) {
        if flows.isCongested, flows.retransmission.byteCount <= configuration.flows.totalBytes / 2 {
            flows.isCongested = false
            effects.append(.uncongested)
        }
    }

    /// The sizes of all that the flows of this node keep; O(flows).
    public func flowSizes() -> FlowSizes {
        var sizes = FlowSizes(
            outgoing: flows.outgoing.count, incoming: flows.incoming.count, retainedCount: 0,
            retainedBytes: flows.retransmission.byteCount + flows.retransmission.bulkByteCount,
            reorderedBytes: flows.reorderBytes.messages + flows.reorderBytes.bulk,
            parkedCount: parked.count, parkedBytes: parked.byteCount, congested: 0)
        for flow in flows.active {
            sizes.retainedCount += flows.outgoing[flow].count
            if flows.outgoing[flow].isCongested { sizes.congested += 1 }
        }
        return sizes
    }
}
