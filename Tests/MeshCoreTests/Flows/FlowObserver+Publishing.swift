import MeshWire

@testable import MeshCore

// The messages that a node publishes, and what is kept of them.

extension FlowObserver {
    /// Lets a node publish a message of a local client.
    func publish(
        _ body: RoutedBody, _ name: String, size: Int, sender: UInt64, isVolatile: Bool = false,
        from actor: Actor
    ) {
        let text = Array(name.utf8)
        let key = actor.node.hasher.key(body.keyKind!, text)
        let number = actor.node.flows.lastNumber &+ 1
        let id = MessageID(origin: actor.record.id, number: number)
        var payload = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: size)
        payload[size - 1] = UInt8(truncatingIfNeeded: size)
        let bytes = text + payload
        contents[id] = bytes
        let all = actor.node.holderIndices(of: key)
        let holders = all.filter { !actor.node.isWithdrawn($0) }
        let others = holders.filter { $0 != .oneself }.map { actor.node.members.id(of: $0) }
        let message = FlowLedger.Kept(
            sequence: 0, id: id, sender: sender, name: name, size: bytes.count, parcel: nil)
        var isFull = false
        expected.isVolatile = isVolatile
        expected.isForOne = all.count == 1 && !isVolatile
        if !isVolatile { isFull = keep(message, for: others, isOne: all.count == 1, actor) }
        let refused = expected.refusals.count
        var outcome = PublishOutcome(number: 0)
        stage.perform(actor.name, "publishes", true, bytes) {
            outcome = $0.node.publish(
                OutgoingMessage(
                    body, key, name: Slice(start: 0, count: text.count),
                    payload: Slice(start: text.count, count: size), sender: sender,
                    isVolatile: isVolatile),
                bytes: bytes.span, at: stage.now, into: &$0.effects)
        }
        if isVolatile { return }
        if outcome.number != number { fault(actor, "numbers a message \(outcome.number)") }
        if outcome.nodeCount != others.count - refused {
            fault(actor, "sends to \(outcome.nodeCount) of \(others.count), refused \(refused)")
        }
        if (outcome.congestion != nil) != isFull {
            fault(actor, "congestion \(String(describing: outcome.congestion)), not \(isFull)")
        }
        if outcome.verdict == .parked {
            if !holders.isEmpty { fault(actor, "parks a message for somebody who is there") }
            nodes[actor.record.id]!.parked.append(
                Parked(key: key, message: message, since: stage.now))
            count(.parked, actor)
            compareKept(actor)
        }
    }

    /// Keeps a message in the flow to each of some nodes, where there is room.
    ///
    /// - Returns: whether the publisher is to be told not to go on.
    private func keep(
        _ message: FlowLedger.Kept, for others: [NodeID], isOne: Bool, _ actor: Actor
    ) -> Bool {
        var isFull = false
        var message = message
        if message.size >= 4_096 {
            nextParcel += 1
            message.parcel = nextParcel
        }
        var isKept = false
        for other in others {
            // A large message for several is stored before it is known whether any takes it.
            let stored = message.parcel != nil && !isOne && !isKept ? message.size : 0
            let ledger = ledger(actor.record.id, other)
            if keepOne(message, ledger, stored: stored, actor, &isFull) { isKept = true }
        }
        if isKept { count(.messagesOriginated, actor) }
        return isFull
    }

    private func keepOne(
        _ message: FlowLedger.Kept, _ ledger: FlowLedger, stored: Int, _ actor: Actor,
        _ isFull: inout Bool
    ) -> Bool {
        let bytes = ledger.bytes
        let mayKeep =
            (bytes == 0
                || bytes + message.cost <= 2 * limits.windowBytes
                    && ledger.kept.count < 2 * limits.windowCount)
            && total(actor) + stored <= 2 * limits.totalBytes
        if mayKeep {
            if ledger.kept.isEmpty { ledger.progressAt = stage.now }
            ledger.keep(
                message.id, sender: message.sender, name: message.name, size: message.size,
                parcel: message.parcel)
            if expected.firstFresh[ledger.pair] == nil {
                expected.firstFresh[ledger.pair] = ledger.last
            }
            if ledger.bytes > limits.windowBytes || ledger.kept.count > limits.windowCount {
                ledger.isCongested = true
                isFull = true
            }
        } else {
            expected.refusals.append(ledger.pair.destination)
            isFull = true
            if total(actor) + stored <= limits.totalBytes { ledger.isCongested = true }
        }
        if total(actor) + (mayKeep ? 0 : stored) > limits.totalBytes {
            nodes[actor.record.id, default: NodeLedger()].areAllCongested = true
            isFull = true
        }
        return mayKeep
    }

    /// Messages that waited for their users, where these are somewhere again.
    func releaseParked(_ actor: Actor) {
        guard let parked = nodes[actor.record.id]?.parked, !parked.isEmpty else { return }
        var left: [Parked] = []
        for waiting in parked {
            var holders = actor.node.holderIndices(of: waiting.key)
                .filter { !actor.node.isWithdrawn($0) }
                .map { actor.node.members.id(of: $0) }
            // A member that has come and gone in one event has got them all the same.
            if holders.isEmpty { holders = receivers(of: waiting.message.id, from: actor) }
            if holders.isEmpty { left.append(waiting) }
            for holder in holders {
                if holder == actor.record.id {
                    expected.deliveries.append(waiting.message.id)
                } else {
                    _ = keep(waiting.message, for: [holder], isOne: true, actor)
                }
            }
        }
        nodes[actor.record.id]!.parked = left
    }

    /// Those to whom a message goes in this event.
    private func receivers(of id: MessageID, from actor: Actor) -> [NodeID] {
        var found: [NodeID] = []
        for index in 0..<actor.effects.count {
            guard case .send(_, let head, _, .message) = actor.effects[index] else { continue }
            let frame = actor.effects.bytes.withSpan { $0.array(head) }
            var needed = 0
            guard let prefix = try? FramePrefix.read(frame.span, at: 0, needed: &needed),
                prefix.kind == .routed,
                let header = try? RoutedHeader.read(frame.span, at: 0, prefix), header.id == id
            else { continue }
            found.append(Destination.read(frame.span, frame: 0, index: 0).id)
        }
        return found
    }
}
