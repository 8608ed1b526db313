import MeshWire

/// Messages of a later version that end at a node which does not understand them.
///
///     origin ── message 7, of whatever kind ──▶ a flow goes on behind it as behind any other
///     origin ◀─ unsupported 7
///
/// The answer is sent once and not again: if it is lost the origin takes the message for delivered.

// The destination.

extension Node {
    /// The payload is not looked at, and no client hears of it.
    mutating func receivedUnsupported(
        _ what: Unsupported, _ header: RoutedHeader, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        if what.isInFlow {
            receivedOutOfOrder(
                what.sequence, what.flags.lane, header, .unsupported(what), name: .empty,
                payload: .empty, bytes, &effects)
        } else {
            tellUnsupported(what, to: header.origin, &effects)
        }
    }

    mutating func tellUnsupported(
        _ what: Unsupported, to origin: NodeID, _ effects: inout EffectBuffer
    ) {
        counters[.unsupported] &+= 1
        guard let member = members.index(of: origin), member != .oneself,
            members.status(of: member).isPresent
        else { return }
        sendControl(.unsupported(what), to: member, &effects)
    }
}

// The origin.

extension Node {
    /// A destination does not understand a message of this node. Its sender is told that it was not
    /// delivered, if it is still kept; a message that is acknowledged already is only counted.
    mutating func receivedUnsupported(
        _ what: Unsupported, by destination: NodeID, _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: destination), index != .oneself else { return }
        counters[.unsupportedElsewhere] &+= 1
        let flow = flows.flow(to: index, what.flags.lane)
        guard what.isInFlow, !flow.isNone else { return }
        let advance = flows.outgoing[flow].advance(to: what.sequence)
        guard advance <= flows.outgoing[flow].count else {
            counters[.protocolErrors] &+= 1
            return
        }
        if advance <= 0 || advance > Self.returnReach { return }
        var offset = 0
        for _ in 1..<advance {
            offset += RetransmissionBuffer.header(flows.outgoing[flow].queue, at: offset).entrySize
        }
        let header = RetransmissionBuffer.header(flows.outgoing[flow].queue, at: offset)
        if header.isTakenBack || header.body == .part { return }
        // It stays until it is acknowledged, but nobody is told of its end again.
        RetransmissionBuffer.markTakenBack(&flows.outgoing[flow].queue, at: offset)
        if flows.outgoing[flow].lane == .bulk {
            giveUpBulk(1, to: destination, &effects)
            return
        }
        var name = ByteQueue()
        flows.retransmission.copyBytes(
            header, of: flows.outgoing[flow].queue, at: offset, count: header.nameCount, to: &name)
        name.withSpan {
            report(
                header.body, header.key, Slice(start: 0, count: header.nameCount), header.sender,
                to: destination, $0, &effects)
        }
    }
}
