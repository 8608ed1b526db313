import MeshWire

/// The bulk lane: large messages in parts, and what one node's driver sends to another's, so far sessions
/// that move.
///
///     lane      window     acknowledged after
///     messages  8 MiB      16 messages, or 20 ms
///     bulk      1 MiB      16 messages or 256 KiB, or 20 ms
///
/// A lane has numbers, acknowledgements, repair and bounds of its own (`Lane`): nothing in one waits for
/// what is missing or too much in the other. They share links, where bulk goes behind messages, and what
/// is large comes in parts.
extension Node {
    /// Sends `bytes[payload]` to the driver of another node, which gets it once, whole and in the order
    /// of these calls (`BulkNews.session`), or this one is told that it was given up (`.givenUp`).
    ///
    /// It is copied, and kept until it is acknowledged: of one node a window and one payload at the
    /// most. A payload that may be larger than a window should be sent in parts.
    package mutating func sendSession(
        _ payload: Slice, to destination: NodeID, bytes: Span<UInt8>, at now: Instant,
        into effects: inout EffectBuffer
    ) -> BulkOutcome {
        if now > self.now { self.now = now }
        guard payload.count <= Frame.payloadMax else { return .tooLarge }
        guard let index = members.index(of: destination), index != .oneself,
            members.status(of: index).isPresent
        else { return .unreachable }
        let flow = outgoingFlow(to: index, .bulk)
        guard hasBulkRoom(flow) else { return .full }
        if flows.outgoing[flow].mustSkip { tellSkip(flow, &effects) }
        let offset = flows.outgoing[flow].queue.count
        let parcel = flows.retransmission.parcel(name: .empty, payload: payload, bytes, .bulk)
        flows.retransmission.append(
            .session, Key(0), number: 0, name: .empty, payload: payload, sender: 0, parcel: parcel,
            copyCount: 1, bytes, .bulk, to: &flows.outgoing[flow].queue)
        enrol(RetransmissionBuffer.headerSize + Int(payload.count), flow)
        counters[.sessionsSent] &+= 1
        // Behind what is sent again it takes its turn.
        if !flows.outgoing[flow].isRecovering {
            if sendKept(flow, flows.outgoing[flow].last, at: offset, &effects) == nil {
                stranded(flow)
            } else {
                counters[.retransmitted] &-= 1
            }
        }
        if hasPendingChanges { settleChanges(&effects) }
        return .sent
    }

    /// Something that was sent through the bulk lane is not acknowledged yet.
    package var keepsBulk: Bool {
        flows.retransmission.bulkByteCount > 0 || flows.largeCount > 0
    }

    /// Whether a flow of the bulk lane takes something more. If not, `.room` tells when it does.
    private mutating func hasBulkRoom(_ flow: FlowIndex) -> Bool {
        let limits = configuration.flows
        if flows.retransmission.bulkByteCount > limits.bulkTotalBytes {
            flows.isBulkCongested = true
        }
        if flows.isBulkCongested || flows.outgoing[flow].bytes > flows.outgoing[flow].window
            || flows.outgoing[flow].count >= limits.windowCount
        {
            flows.outgoing[flow].isCongested = true
        }
        return !flows.outgoing[flow].isCongested
    }

    /// A flow of the bulk lane keeps less than before.
    @inline(never)
    mutating func relieveBulk(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        guard flows.isBulkCongested else {
            tellRoom(in: flow, &effects)
            return
        }
        let most = configuration.flows.bulkTotalBytes
        guard flows.retransmission.bulkByteCount <= most / 2 else { return }
        flows.isBulkCongested = false
        for slot in 0..<flows.outgoing.count { tellRoom(in: FlowIndex(slot), &effects) }
    }

    private mutating func tellRoom(in flow: FlowIndex, _ effects: inout EffectBuffer) {
        guard flows.outgoing[flow].lane == .bulk, flows.outgoing[flow].isCongested,
            flows.outgoing[flow].bytes <= flows.outgoing[flow].window / 2,
            flows.outgoing[flow].count <= configuration.flows.windowCount / 2
        else { return }
        flows.outgoing[flow].isCongested = false
        effects.append(.bulk(flows.outgoing[flow].destination, .room))
    }

    /// A destination is gone: nobody will hear of what its flow keeps.
    mutating func tellGivenUp(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        var count: UInt32 = 0
        var offset = 0
        for _ in 0..<flows.outgoing[flow].count {
            let header = RetransmissionBuffer.header(flows.outgoing[flow].queue, at: offset)
            offset += header.entrySize
            // Of the others it has been told that they are not understood.
            if header.body == .session, !header.isTakenBack { count += 1 }
        }
        if count > 0 { giveUpBulk(count, to: flows.outgoing[flow].destination, &effects) }
    }

    mutating func giveUpBulk(
        _ count: UInt32, to destination: NodeID, _ effects: inout EffectBuffer
    ) {
        counters[.sessionsGivenUp] &+= UInt64(count)
        effects.append(.bulk(destination, .givenUp(count: count)))
    }

    // MARK: The destination

    /// So many bytes of sessions count as a message does for when they are acknowledged.
    static var bytesPerAcknowledged: Int { 16 * 1024 }

    /// A frame of the bulk lane that ends here. Returns whether it is one that may be in it.
    mutating func deliverBulk(
        _ body: RoutedBody, _ sequence: UInt32, _ header: RoutedHeader, _ prefix: FramePrefix,
        _ start: Int, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) -> Bool {
        let isKnown = body == .control || body == .session || body == .part
        guard isKnown, body == .control || !prefix.flags.contains(.volatile) else {
            return false
        }
        if prefix.flags.contains(.acknowledges) {
            receivedAcknowledgement(
                Acknowledgement.read(bytes, frame: start, header), from: header.origin, .bulk,
                &effects)
        }
        let payload = Slice(
            start: start + header.payloadOffset, count: prefix.length - header.payloadOffset)
        if body == .control {
            receivedControl(payload, from: header.origin, .bulk, bytes, &effects)
        } else {
            receivedOutOfOrder(
                sequence, .bulk, header, .message(body), name: .empty, payload: payload, bytes,
                &effects)
        }
        return true
    }

    /// A part of a session that its flow has just passed.
    mutating func deliverSession(
        _ payload: Slice, from origin: NodeID, _ flow: IncomingFlowIndex,
        _ effects: inout EffectBuffer
    ) {
        counters[.sessionsDelivered] &+= 1
        flows.incoming[flow].unacknowledged += Int(payload.count) / Self.bytesPerAcknowledged
        effects.append(.bulk(origin, .session(payload: payload)))
    }

    /// The same for one that has waited.
    mutating func deliverKept(
        session message: ReorderedMessage, _ flow: IncomingFlowIndex,
        _ effects: inout EffectBuffer
    ) {
        counters[.sessionsDelivered] &+= 1
        flows.incoming[flow].unacknowledged += message.bytes.count / Self.bytesPerAcknowledged
        let start = effects.bytes.count
        effects.bytes.append(message.bytes)
        let payload = Slice(start: start, count: message.bytes.count)
        effects.append(.bulk(flows.incoming[flow].origin, .sessionKept(payload: payload)))
    }
}

/// The fate of what was given to the bulk lane.
package enum BulkOutcome: Equatable, Sendable {
    /// It is on its way, and kept until it is acknowledged.
    case sent
    /// It is not taken: too much is under way to the node, or to all. `BulkNews.room` follows.
    case full
    /// It is not taken: the node is no member, or not alive by what is known here, or this one.
    case unreachable
    /// It is not taken: it has more than `Frame.payloadMax` bytes.
    case tooLarge
}
