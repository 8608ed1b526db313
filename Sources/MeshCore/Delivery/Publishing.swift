import MeshWire

/// Messages of a local client to others.
extension Node {
    /// Sends a message to every other node that holds its key, or a pattern that matches its name.
    /// Everything that must happen next is appended to `effects`. `bytes` are those that the message's slices
    /// point into.
    ///
    /// A full flow takes the message all the same, up to twice its window: ask `hasCongestion` and
    /// `congestion(of:)` before.
    public mutating func publish(
        _ message: OutgoingMessage, bytes: Span<UInt8>, at now: Instant,
        into effects: inout EffectBuffer
    ) -> PublishOutcome {
        if now > self.now { self.now = now }
        flows.lastNumber &+= 1
        var outcome = PublishOutcome(number: flows.lastNumber)
        publish(message, bytes, &outcome, &effects)
        if hasPendingChanges { settleChanges(&effects) }
        return outcome
    }

    @inline(__always)
    private mutating func publish(
        _ message: OutgoingMessage, _ bytes: Span<UInt8>, _ outcome: inout PublishOutcome,
        _ effects: inout EffectBuffer
    ) {
        let holders = directory.table.holders(of: message.key)
        let hasCollisions = directory.collisions.mayHave(message.key)
        if message.isLabelled {
            publishLabelled(message, others: [], bytes, &outcome, &effects)
            return
        }
        if parked.heldCount > 0, parkedBehindOthers(message, bytes, &outcome, &effects) { return }
        if !hasCollisions, directory.patterns.isEmpty || !message.body.matchesPatterns {
            switch holders {
            case .none:
                if message.body.isParked, !message.isVolatile, parked.expectsAnybody {
                    park(message, until: nil, bytes, &outcome, &effects)
                }
                return
            case .one(let node):
                let index = MemberIndex(node: node)
                if index == .oneself { return }
                if isWithdrawn(index) {
                    parkWithdrawn(message, bytes, &outcome, &effects)
                } else if message.isVolatile, !isBulky(message, to: index) {
                    publishVolatile(index, message, bytes, &outcome, &effects)
                } else {
                    publishToOne(index, message, bytes, &outcome, &effects)
                }
                return
            case .many: break
            }
        }
        let hash = hasCollisions ? nameHash(message.body, message.name, bytes) : nil
        gatherRecipients(
            holders, message.body, message.key, name: message.name, hash: hash, bytes)
        if forwarding.recipients.isEmpty {
            if !isHeldHere(holders) { parkWithdrawn(message, bytes, &outcome, &effects) }
            return
        }
        if message.isVolatile, !isBulky(message, to: .oneself) {
            routeToRecipients(.none)
            outcome.nodeCount = forwarding.entries.count
        } else {
            keepForRecipients(message, bytes, &outcome, &effects)
        }
        outcome.verdict = outcome.nodeCount > 0 ? .sent : message.isVolatile ? .nowhere : .refused
        publishToRecipients(message, bytes, outcome, &effects)
    }

    @inline(__always)
    mutating func publishToOne(
        _ index: MemberIndex, _ message: OutgoingMessage, _ bytes: Span<UInt8>,
        _ outcome: inout PublishOutcome, _ effects: inout EffectBuffer
    ) {
        if isBulky(message, to: index) {
            publishBulkyToOne(index, message, bytes, &outcome, &effects)
            return
        }
        let name = message.name
        let payload = message.payload
        let flow = outgoingFlow(to: index)
        let cost = RetransmissionBuffer.headerSize + Int(name.count) + Int(payload.count)
        guard mayKeep(cost, flow) else {
            outcome.verdict = .refused
            refuse(message, to: index, bytes, &outcome, &effects)
            return
        }
        if flows.outgoing[flow].mustSkip { tellSkip(flow, &effects) }
        let parcel = flows.retransmission.parcel(name: name, payload: payload, bytes)
        keep(
            message, number: outcome.number, cost: cost, parcel: parcel,
            copyCount: message.isReceivedHere ? 2 : 1, bytes, flow, &outcome)
        counters[.messagesOriginated] &+= 1
        outcome.nodeCount = 1
        outcome.verdict = .sent
        guard let hop = firstHop(of: flow, to: index, cost) else { return }
        let acknowledgement = carriedAcknowledgement(flow)
        var flags: FrameFlags = hop.isStrict ? .strictlyGreedy : []
        var length =
            Frame.routedHeaderSize + Frame.destinationSize + Int(name.count) + Int(payload.count)
        if acknowledgement != nil {
            flags.insert(.acknowledges)
            length += Frame.acknowledgementSize
        }
        let head = effects.bytes.count
        effects.bytes.appendRoutedHeader(
            length: length, flags, hopsLeft: Frame.hopLimit, body: message.body.rawValue,
            origin: id, key: message.key, destinationCount: 1, number: outcome.number,
            nameLength: Int(name.count), hopsTaken: 0)
        effects.bytes.append(
            Destination(
                id: flows.outgoing[flow].destination, sequence: flows.outgoing[flow].last,
                potential: hop.potential))
        if let acknowledgement { effects.bytes.append(acknowledgement) }
        effects.bytes.append(bytes, Int(name.start), Int(name.count))
        transmit(
            Slice(start: head, count: effects.bytes.count - head), payload, .message,
            over: hop.link, &effects)
    }

    @inline(never)
    private mutating func publishBulkyToOne(
        _ index: MemberIndex, _ message: OutgoingMessage, _ bytes: Span<UInt8>,
        _ outcome: inout PublishOutcome, _ effects: inout EffectBuffer
    ) {
        var whole = ParcelIndex.none
        let isKept = publishBulky(
            message, to: index, copyCount: message.isReceivedHere ? 2 : 1, &whole, bytes, &outcome,
            &effects)
        if isKept {
            counters[.messagesOriginated] &+= 1
            outcome.nodeCount = 1
        }
        outcome.verdict = isKept ? .sent : message.isVolatile ? .nowhere : .refused
    }

    /// The first hop of a flow's messages; nil: no way.
    @inline(__always)
    mutating func hop(of flow: FlowIndex, to index: MemberIndex) -> Hop? {
        // As if they had come from there: nobody gives a message back who knows any other way.
        hop(
            to: flows.outgoing[flow].destination, index, potential: .max, isStrict: false,
            arrival: flows.outgoing[flow].detour.avoided)
    }

    /// The way of a flow's newest message; nil: it has to wait.
    @inline(__always)
    private mutating func firstHop(
        of flow: FlowIndex, to index: MemberIndex, _ cost: Int
    ) -> Hop? {
        // Behind what is sent again it takes its turn.
        if flows.outgoing[flow].isRecovering { return nil }
        guard let hop = hop(of: flow, to: index) else {
            stranded(flow)
            return nil
        }
        flows.outgoing[flow].detour.lastHop = hop.link
        flows.outgoing[flow].sentMark = links[hop.link].bytesOut &+ UInt64(truncatingIfNeeded: cost)
        return hop
    }

    private mutating func publishVolatile(
        _ index: MemberIndex, _ message: OutgoingMessage, _ bytes: Span<UInt8>,
        _ outcome: inout PublishOutcome, _ effects: inout EffectBuffer
    ) {
        let name = message.name
        let destination = members.id(of: index)
        guard
            let hop = hop(to: destination, index, potential: .max, isStrict: false, arrival: .none)
        else {
            counters[.droppedVolatile] &+= 1
            return
        }
        let head = effects.bytes.count
        effects.bytes.appendRoutedHeader(
            length: Frame.routedHeaderSize + Frame.destinationSize + Int(name.count)
                + Int(message.payload.count),
            hop.isStrict ? [.strictlyGreedy, .volatile] : .volatile, hopsLeft: Frame.hopLimit,
            body: message.body.rawValue, origin: id, key: message.key, destinationCount: 1,
            number: outcome.number, nameLength: Int(name.count), hopsTaken: 0)
        effects.bytes.append(Destination(id: destination, sequence: 0, potential: hop.potential))
        effects.bytes.append(bytes, Int(name.start), Int(name.count))
        counters[.messagesOriginated] &+= 1
        outcome.nodeCount = 1
        outcome.verdict = .sent
        transmit(
            Slice(start: head, count: effects.bytes.count - head), message.payload, .volatile,
            over: hop.link, &effects)
    }

    /// Collects the other nodes that hold the key or a matching pattern, each once.
    mutating func gatherRecipients(
        _ holders: DirectoryTable.Holders, _ body: RoutedBody, _ key: Key, name: Slice,
        hash: UInt64?, _ bytes: Span<UInt8>
    ) {
        forwarding.recipients.removeAll(keepingCapacity: true)
        forwarding.mark &+= 1
        while forwarding.marks.count < members.slotCount { forwarding.marks.append(0) }
        addRecipients(holders)
        if let hash {
            forwarding.recipients.removeAll { index in
                guard directory.collisions.contains(key, name: hash, at: members.id(of: index))
                else {
                    return false
                }
                // A pattern there may want the message all the same.
                forwarding.marks[index.slot] = 0
                return true
            }
        }
        if body.matchesPatterns, !directory.patterns.isEmpty {
            directory.patterns.match(bytes, Int(name.start), Int(name.count))
            for position in 0..<directory.patterns.matchCount {
                let nodes = directory.patterns.matchedHolders(position)
                for node in nodes { addRecipient(MemberIndex(node: node)) }
            }
        }
    }

    @inline(__always)
    mutating func addRecipients(_ holders: DirectoryTable.Holders) {
        switch holders {
        case .none: break
        case .one(let node): addRecipient(MemberIndex(node: node))
        case .many(let set):
            for position in 0..<set.count {
                addRecipient(MemberIndex(node: directory.table.node(in: set, at: position)))
            }
        }
    }

    @inline(__always)
    mutating func addRecipient(_ index: MemberIndex) {
        guard index != .oneself, forwarding.marks[index.slot] != forwarding.mark,
            !isWithdrawn(index)
        else { return }
        forwarding.marks[index.slot] = forwarding.mark
        forwarding.recipients.append(index)
    }

    mutating func publishToRecipients(
        _ message: OutgoingMessage, _ bytes: Span<UInt8>, _ outcome: PublishOutcome,
        _ effects: inout EffectBuffer
    ) {
        if outcome.nodeCount > 0 { counters[.messagesOriginated] &+= 1 }
        guard !forwarding.entries.isEmpty else { return }
        emitGroups(
            body: message.body.rawValue,
            flags: (message.isVolatile ? FrameFlags.volatile : [])
                .union(message.isLabelled ? .labelled : []),
            hopsLeft: Frame.hopLimit, origin: id, key: message.key, number: outcome.number,
            nameLength: Int(message.name.count), hopsTaken: 0, nameInHead: message.name,
            rest: message.payload, bytes, &effects)
    }

    /// Numbers and keeps a message in the flow to each of `forwarding.recipients`, and fills
    /// `forwarding.entries` with those that it can be sent to at once.
    mutating func keepForRecipients(
        _ message: OutgoingMessage, _ bytes: Span<UInt8>, _ outcome: inout PublishOutcome,
        _ effects: inout EffectBuffer
    ) {
        forwarding.entries.removeAll(keepingCapacity: true)
        let cost =
            RetransmissionBuffer.headerSize + Int(message.name.count) + Int(message.payload.count)
        let copyCount = forwarding.recipients.count + (message.isReceivedHere ? 1 : 0)
        var whole = ParcelIndex.none
        var parcel = ParcelIndex.none
        for at in forwarding.recipients.indices {
            let index = forwarding.recipients[at]
            if isBulky(message, to: index) {
                let isKept = publishBulky(
                    message, to: index, copyCount: copyCount, &whole, bytes, &outcome, &effects)
                outcome.nodeCount += isKept ? 1 : 0
                continue
            }
            if parcel.isNone {
                parcel = flows.retransmission.parcel(
                    name: message.name, payload: message.payload, bytes)
            }
            let flow = outgoingFlow(to: index)
            guard mayKeep(cost, flow) else {
                refuse(message, to: index, bytes, &outcome, &effects)
                continue
            }
            if flows.outgoing[flow].mustSkip { tellSkip(flow, &effects) }
            keep(
                message, number: outcome.number, cost: cost, parcel: parcel,
                copyCount: copyCount, bytes, flow, &outcome)
            outcome.nodeCount += 1
            guard let hop = firstHop(of: flow, to: index, cost) else { continue }
            forwarding.entries.append(
                ForwardingScratch.Entry(
                    destination: Destination(
                        id: flows.outgoing[flow].destination, sequence: flows.outgoing[flow].last,
                        potential: hop.potential),
                    link: hop.link, isStrict: hop.isStrict))
        }
        flows.retransmission.releaseUnused(parcel)
    }

    /// Fills `forwarding.entries` with the hop of each of `forwarding.recipients`, in no flow.
    mutating func routeToRecipients(_ arrival: LinkIndex) {
        forwarding.entries.removeAll(keepingCapacity: true)
        for position in forwarding.recipients.indices {
            let index = forwarding.recipients[position]
            let destination = members.id(of: index)
            guard
                let hop = hop(
                    to: destination, index, potential: .max, isStrict: false, arrival: arrival)
            else {
                counters[.droppedNoRoute] &+= 1
                continue
            }
            forwarding.entries.append(
                ForwardingScratch.Entry(
                    destination: Destination(
                        id: destination, sequence: 0, potential: hop.potential),
                    link: hop.link, isStrict: hop.isStrict))
        }
    }
}
