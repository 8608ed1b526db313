import MeshWire

/// Messages of a local client with a label before their payload (`LabelPrefix`).
extension Node {
    /// The same as `publish` for a message that is for the holders of several keys of one kind: a node that
    /// holds more than one of them gets it once.
    ///
    /// - Parameters:
    ///   - message: `isLabelled`; the label names what the other keys are of.
    ///   - others: the keys besides the message's own.
    public mutating func publish(
        _ message: OutgoingMessage, alsoTo others: [Key], bytes: Span<UInt8>, at now: Instant,
        into effects: inout EffectBuffer
    ) -> PublishOutcome {
        if now > self.now { self.now = now }
        flows.lastNumber &+= 1
        var outcome = PublishOutcome(number: flows.lastNumber)
        publishLabelled(message, others: others, bytes, &outcome, &effects)
        if hasPendingChanges { settleChanges(&effects) }
        return outcome
    }

    @inline(never)
    mutating func publishLabelled(
        _ message: OutgoingMessage, others: [Key], _ bytes: Span<UInt8>,
        _ outcome: inout PublishOutcome, _ effects: inout EffectBuffer
    ) {
        if parked.heldCount > 0, parkedBehindOthers(message, bytes, &outcome, &effects) { return }
        let holders = directory.table.holders(of: message.key)
        let hasCollisions = directory.collisions.mayHave(message.key)
        let hash = hasCollisions ? nameHash(message.body, message.name, bytes) : nil
        gatherRecipients(
            holders, message.body, message.key, name: message.name, hash: hash, bytes)
        for key in others { addRecipients(directory.table.holders(of: key)) }
        if forwarding.recipients.isEmpty {
            if case .none = holders, message.body.isParked, !message.isVolatile,
                parked.expectsAnybody
            {
                park(message, until: nil, bytes, &outcome, &effects)
            } else if !isHeldHere(holders) {
                parkWithdrawn(message, bytes, &outcome, &effects)
            }
            return
        }
        leaveOutEarlier(message, bytes, &effects)
        if message.isVolatile, !isBulky(message, to: .oneself) {
            routeToRecipients(.none)
            outcome.nodeCount = forwarding.entries.count
        } else {
            keepForRecipients(message, bytes, &outcome, &effects)
        }
        outcome.verdict = outcome.nodeCount > 0 ? .sent : message.isVolatile ? .nowhere : .refused
        publishToRecipients(message, bytes, outcome, &effects)
    }

    /// Recipients of an earlier version of the wire that would not understand the label get nothing, and
    /// the sender is told.
    private mutating func leaveOutEarlier(
        _ message: OutgoingMessage, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        var kept = 0
        for place in forwarding.recipients.indices {
            let index = forwarding.recipients[place]
            if understandsLabel(of: message, bytes, at: index) {
                forwarding.recipients[kept] = index
                kept += 1
            } else if !message.isVolatile {
                report(
                    message.body, message.key, message.name, message.sender,
                    to: members.id(of: index), bytes, &effects)
            }
        }
        forwarding.recipients.removeSubrange(kept...)
    }

    /// Whether a node does with a labelled message as the label says. One of version 2 passes over the
    /// sender, but not in a message that comes in parts.
    func understandsLabel(
        of message: OutgoingMessage, _ bytes: Span<UInt8>, at index: MemberIndex
    ) -> Bool {
        members[index].capabilities.version >= Self.labelVersion
            || LabelPrefix(bytes, message.payload)?.parts == .sender
                && !isBulky(message, to: index)
    }

    /// The first version of the wire with more in a label than the sender.
    private static var labelVersion: UInt16 { 3 }
}
