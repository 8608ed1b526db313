import MeshWire

/// A large message of another node of which some parts have come, in order.
struct PartialMessage: ~Copyable {
    /// Of the whole; 0: there is none.
    var size = 0
    var bytes = ByteQueue()
    /// When the last part came.
    var movedAt = Instant(nanoseconds: 0)
}

/// The parts of large messages that have come, by their flows. The bound is for members that begin many and
/// finish none.
struct Reassembly {
    /// The flows that have begun one, the oldest first: whatever there is, that one may be finished.
    private(set) var begun: [IncomingFlowIndex] = []
    /// Bytes of all of them.
    var bytes = 0

    mutating func begin(_ flow: IncomingFlowIndex) { begun.append(flow) }

    mutating func end(_ flow: IncomingFlowIndex, _ count: Int) {
        begun.removeAll { $0 == flow }
        bytes -= count
    }
}

/// The destination of large messages: parts are put together in the order of their flow.
extension Node {
    /// With no room left a message that has stood still for so long is given up. A guess.
    private static var partialPatience: Delay { .seconds(10) }

    /// Whether the next part of a flow can be kept. If not, it is not passed, and comes again.
    mutating func hasRoom(
        for payload: Slice, _ flow: IncomingFlowIndex, _ effects: inout EffectBuffer
    ) -> Bool {
        let most = configuration.flows.partialTotalBytes
        if flows.reassembly.bytes + Int(payload.count) <= most { return true }
        for other in flows.reassembly.begun where other != flow {
            let movedAt = flows.incoming[other].partial.movedAt
            if now - movedAt >= Self.partialPatience { loseMessage(other, &effects) }
        }
        if flows.reassembly.bytes + Int(payload.count) <= most { return true }
        // One that has not begun waits for all the others.
        let isOldest = flows.reassembly.begun.first == flow
        if !isOldest { counters[.droppedBeyondWindow] &+= 1 }
        return isOldest
    }

    /// A part that its flow has just passed.
    mutating func deliverPart(
        _ payload: Slice, _ bytes: Span<UInt8>, hops: UInt64, _ flow: IncomingFlowIndex,
        _ effects: inout EffectBuffer
    ) {
        flows.incoming[flow].unacknowledged += Int(payload.count) / Self.bytesPerAcknowledged
        guard let part = Part(bytes, payload) else {
            counters[.protocolErrors] &+= 1
            loseMessage(flow, &effects)
            return
        }
        if part.start == 0 {
            loseMessage(flow, &effects)
            flows.incoming[flow].partial.size = part.size
            flows.reassembly.begin(flow)
        }
        let known = flows.incoming[flow].partial.bytes.count
        guard flows.incoming[flow].partial.size == part.size, known == part.start else {
            // Its beginning was given up, here or by its origin.
            loseMessage(flow, &effects)
            return
        }
        let count = Int(payload.count) - Part.headerSize
        flows.incoming[flow].partial.bytes.append(
            bytes, Int(payload.start) + Part.headerSize, count)
        flows.incoming[flow].partial.movedAt = now
        flows.reassembly.bytes += count
        if known + count == part.size { deliverWhole(flow, hops: hops, &effects) }
    }

    /// All parts of a message have come.
    private mutating func deliverWhole(
        _ flow: IncomingFlowIndex, hops: UInt64, _ effects: inout EffectBuffer
    ) {
        var bytes = ByteQueue()
        swap(&bytes, &flows.incoming[flow].partial.bytes)
        flows.incoming[flow].partial.size = 0
        flows.reassembly.end(flow, bytes.count)
        let number = flows.incoming[flow].expected &- 1
        let origin = flows.incoming[flow].origin
        guard let whole = bytes.withSpan({ Part.Whole($0) }) else {
            counters[.protocolErrors] &+= 1
            return
        }
        // The clients' side is not asked: what it could say of a number would be of the other lane.
        if givesBack(whole.body, whole.key, number: number, flow) { return }
        if whole.body.isParked, !isHeldHere(directory.table.holders(of: whole.key)) {
            counters[.foundNobody] &+= 1
            giveBack(number, to: whole.key, flow)
            return
        }
        counters[.messagesDelivered] &+= 1
        counters[.messageHops] &+= hops
        let start = effects.bytes.count
        bytes.withSpan {
            effects.bytes.append(
                $0, Part.wholeHeaderSize, $0.count - Part.wholeHeaderSize)
        }
        let name = Slice(start: start, count: whole.nameCount)
        let payload = Slice(start: name.end, count: effects.bytes.count - name.end)
        let id = MessageID(origin: origin, number: whole.number)
        effects.append(
            whole.isLabelled
                ? .deliverLabelled(
                    whole.body, number: 0, whole.key, name: name, payload: payload, id: id)
                : .deliverKept(
                    whole.body, number: 0, whole.key, name: name, payload: payload, id: id))
    }

    /// Forgets the parts of a message that have come; the rest is passed over.
    private mutating func loseMessage(
        _ flow: IncomingFlowIndex, _ effects: inout EffectBuffer
    ) {
        if !flows.dropPartial(flow) { return }
        counters[.gaps] &+= 1
        effects.append(.gap(flows.incoming[flow].origin, count: 1))
    }

    /// Forgets what has come of messages whose origins have been dead for a while. Not at once: one that
    /// was held for dead goes on where it was.
    mutating func forgetPartials(_ effects: inout EffectBuffer) {
        for flow in flows.reassembly.begun {
            guard let member = members.index(of: flows.incoming[flow].origin),
                members.status(of: member).isPresent
                    || now - members[member].since < Self.partialPatience
            else {
                loseMessage(flow, &effects)
                continue
            }
        }
    }
}
