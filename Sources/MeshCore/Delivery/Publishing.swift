import MeshWire

/// What a local client sends to others.
extension Node {
    /// Sends a message to every other node that holds its key, or a pattern that matches its name.
    @inline(__always)
    mutating func publish(
        _ body: RoutedBody, _ key: Key, name: Slice, payload: Slice, sender: UInt64,
        isVolatile: Bool, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        effects.remoteNodeCount = 0
        let holders = directory.holders(of: key)
        if patterns.isEmpty || body != .channel {
            switch holders {
            case .none: return
            case .one(let node):
                if node != 0, !isWithdrawn(MemberIndex(node)) {
                    publishToOne(
                        MemberIndex(node), body, key, name: name, payload: payload, bytes,
                        &effects)
                }
                return
            case .many: break
            }
        }
        gatherRecipients(holders, body, name: name, bytes)
        publishToRecipients(body, key, name: name, payload: payload, bytes, &effects)
    }

    @inline(__always)
    private mutating func publishToOne(
        _ index: MemberIndex, _ body: RoutedBody, _ key: Key, name: Slice, payload: Slice,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        let destination = members.id(of: index)
        guard
            let hop = hop(
                to: destination, index, promise: .max, isStrict: false, arrival: -1)
        else { return }
        flowSequences[index] &+= 1
        let head = effects.bytes.count
        effects.bytes.appendRoutedHeader(
            length: Frame.routedHeaderSize + Frame.destinationSize + Int(name.count)
                + Int(payload.count),
            hop.isStrict ? .strictlyGreedy : [], hopsLeft: Frame.hopLimit, body: body.rawValue,
            origin: id, key: key, destinationCount: 1, life: life,
            nameLength: Int(name.count), hopsTaken: 0)
        effects.bytes.append(
            Destination(id: destination, sequence: flowSequences[index], promise: hop.promise))
        effects.bytes.append(bytes, Int(name.start), Int(name.count))
        counters.messagesOriginated &+= 1
        effects.remoteNodeCount = 1
        transmit(
            Slice(start: head, count: effects.bytes.count - head), payload, .message,
            over: hop.link, &effects)
    }

    /// The low half of this node's boot time: which life a flow's numbers belong to.
    var life: UInt32 { UInt32(truncatingIfNeeded: members[0].incarnation.life) }

    /// Collects the other nodes that hold the key or a matching pattern, each once.
    private mutating func gatherRecipients(
        _ holders: DirectoryTable.Holders, _ body: RoutedBody, name: Slice, _ bytes: Span<UInt8>
    ) {
        forwarding.recipients.removeAll(keepingCapacity: true)
        forwarding.mark &+= 1
        while forwarding.marks.count < members.slotCount { forwarding.marks.append(0) }
        switch holders {
        case .none: break
        case .one(let node): addRecipient(MemberIndex(node))
        case .many(let set):
            for place in 0..<set.count {
                addRecipient(MemberIndex(directory.node(in: set, at: place)))
            }
        }
        if body == .channel, !patterns.isEmpty {
            patterns.match(bytes, Int(name.start), Int(name.count))
            for place in 0..<patterns.matchCount {
                let nodes = patterns.matchedHolders(place)
                for node in nodes { addRecipient(MemberIndex(node)) }
            }
        }
    }

    @inline(__always)
    private mutating func addRecipient(_ index: MemberIndex) {
        guard index != 0, forwarding.marks[index] != forwarding.mark, !isWithdrawn(index)
        else { return }
        forwarding.marks[index] = forwarding.mark
        forwarding.recipients.append(index)
    }

    private mutating func publishToRecipients(
        _ body: RoutedBody, _ key: Key, name: Slice, payload: Slice, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        routeToRecipients(-1)
        guard !forwarding.entries.isEmpty else { return }
        effects.remoteNodeCount = forwarding.entries.count
        counters.messagesOriginated &+= 1
        emitGroups(
            body: body.rawValue, flags: [], hopsLeft: Frame.hopLimit, origin: id, key: key,
            life: life, nameLength: Int(name.count), hopsTaken: 0, nameInHead: name,
            rest: payload, bytes, &effects)
    }

    /// Fills `forwarding.entries` with the hop of each of `forwarding.recipients`.
    private mutating func routeToRecipients(_ arrival: LinkIndex) {
        forwarding.entries.removeAll(keepingCapacity: true)
        for place in forwarding.recipients.indices {
            let index = forwarding.recipients[place]
            let destination = members.id(of: index)
            guard
                let hop = hop(
                    to: destination, index, promise: .max, isStrict: false, arrival: arrival)
            else { continue }
            flowSequences[index] &+= 1
            forwarding.entries.append(
                ForwardingScratch.Entry(
                    destination: Destination(
                        id: destination, sequence: flowSequences[index], promise: hop.promise),
                    link: hop.link, isStrict: hop.isStrict))
        }
    }

    /// A control message, encoded in the effects' own bytes, to the given nodes.
    mutating func routeControl(
        _ message: Slice, to recipients: [NodeID], _ flags: FrameFlags,
        _ effects: inout EffectBuffer
    ) {
        forwarding.recipients.removeAll(keepingCapacity: true)
        for recipient in recipients {
            if let index = members.index(of: recipient), index != 0,
                members.standing(of: index).isPresent
            {
                forwarding.recipients.append(index)
            }
        }
        routeToRecipients(-1)
        guard !forwarding.entries.isEmpty else { return }
        // The message lies in the bytes that heads are written to, and those may move while they
        // grow: take it out first.
        let payload = effects.bytes.withSpan { $0.array(message) }
        emitGroups(
            body: RoutedBody.control.rawValue, flags: flags, hopsLeft: Frame.hopLimit, origin: id,
            key: Key(0), life: life, nameLength: 0, hopsTaken: 0,
            nameInHead: Slice(start: 0, count: payload.count), rest: .empty, payload.span,
            &effects)
    }
}
