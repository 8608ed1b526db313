import MeshWire

/// Buffers that the forwarding of a list of destinations reuses.
struct ForwardingScratch {
    struct Entry {
        var destination: Destination
        var link: LinkIndex
        var isStrict: Bool
    }
    var entries: [Entry] = []
    /// Marks nodes that are in the list of recipients already.
    var marks: [UInt32] = []
    var mark: UInt32 = 0
    var recipients: [MemberIndex] = []
}

/// The way of a message through a node that is neither its first nor, perhaps, its last.
extension Node {
    /// Where a message goes next, and what is claimed about the rest of its way.
    struct Hop {
        var link: LinkIndex
        var potential: UInt32
        var isStrict: Bool
    }

    /// The next hop towards `destination`; nil: unknown, or no way, and a count.
    @inline(__always)
    mutating func hop(
        to destination: NodeID, potential: UInt32, isStrict: Bool, arrival: LinkIndex
    ) -> Hop? {
        guard let index = members.index(of: destination) else {
            counters[.droppedUnknownDestination] &+= 1
            return nil
        }
        let hop = hop(
            to: destination, index, potential: potential, isStrict: isStrict, arrival: arrival)
        if hop == nil { counters[.droppedNoRoute] &+= 1 }
        return hop
    }

    /// The same for a member; not counted, because the origin of a flow keeps what it cannot send.
    @inline(__always)
    mutating func hop(
        to destination: NodeID, _ index: MemberIndex, potential: UInt32, isStrict: Bool,
        arrival: LinkIndex
    ) -> Hop? {
        if Potential.isOneSided(potential) {
            return oneSidedHop(to: destination, index, potential: potential, isStrict: isStrict)
        }
        var wayBack: Hop?
        if !isStrict {
            let route =
                router.cached(index)
                ?? router.find(destination, index, members: members, links: links, lists: lists)
            if !route.link.isNone, route.potential <= potential {
                // One step of the potential is taken with this hop.
                let hop = Hop(link: route.link, potential: route.potential - 1, isStrict: false)
                if route.link != arrival { return hop }
                // The last forwarder's view is out of date. The potential falls all the
                // same, so going back is safe; but any other way is better.
                wayBack = hop
            }
        }
        // The last forwarder's view of this node's surroundings does not hold. From here on
        // each hop must be strictly nearer by a direct link, which cannot loop.
        let link = router.strictlyGreedy(destination, oneself: id, links: links, except: arrival)
        if !link.isNone { return Hop(link: link, potential: .max, isStrict: true) }
        // No way round a link in doubt: it may yet recover, and its queue is bounded.
        let direct = members[index].link
        if !direct.isNone, direct != arrival {
            return Hop(link: direct, potential: .max, isStrict: true)
        }
        return wayBack ?? turn(to: destination, index)
    }

    /// A message is stuck: nothing in sight is nearer. The nodes on the other side of the destination
    /// see others: it goes past it, and from now on comes from there alone.
    ///
    /// Nobody is looked for there who is thought to be gone: else all that was on its way to nodes
    /// that crash goes on for as long again.
    @inline(never)
    private mutating func turn(to destination: NodeID, _ index: MemberIndex) -> Hop? {
        guard members.status(of: index) == .alive,
            !suspicions.accusations.contains(index)
        else { return nil }
        let isBefore = id.clockwise(to: destination) < destination.clockwise(to: id)
        return oneSidedHop(
            to: destination, index,
            potential: Potential.make(distance: .max, steps: 3, from: isBefore ? .after : .before),
            isStrict: false)
    }

    /// The next hop of a message that has turned; nil: no way, and it does not turn again.
    @inline(never)
    private mutating func oneSidedHop(
        to destination: NodeID, _ index: MemberIndex, potential: UInt32, isStrict: Bool
    ) -> Hop? {
        let side = Potential.side(potential)
        if !isStrict {
            let route = router.find(
                destination, index, from: side, members: members, links: links, lists: lists)
            if !route.link.isNone, route.potential <= potential {
                return Hop(link: route.link, potential: route.potential - 1, isStrict: false)
            }
        }
        let nearer = router.strictlyGreedy(
            destination, from: side, oneself: id, links: links, except: .none)
        let link = nearer.isNone ? members[index].link : nearer
        guard !link.isNone else { return nil }
        return Hop(
            link: link, potential: Potential.make(distance: .max, steps: 3, from: side),
            isStrict: true)
    }

    @inline(__always)
    mutating func receivedRouted(
        _ prefix: FramePrefix, _ start: Int, from link: LinkIndex, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) throws(WireError) {
        let header = try RoutedHeader.read(bytes, at: start, prefix)
        if prefix.flags.contains(.traced),
            prefix.length - header.restOffset > Frame.tracedBytesMax
        {
            throw .invalidValue(field: "length of a traced frame")
        }
        if header.destinationCount == 1 {
            let destination = Destination.read(bytes, frame: start, index: 0)
            if destination.id == id {
                deliver(destination.sequence, header, prefix, start, bytes, &effects)
            } else {
                forward(destination, header, prefix, start, from: link, bytes, &effects)
            }
        } else {
            forwardList(header, prefix, start, from: link, bytes, &effects)
        }
    }

    /// A message whose way ends here.
    @inline(__always)
    private mutating func deliver(
        _ sequence: UInt32, _ header: RoutedHeader, _ prefix: FramePrefix, _ start: Int,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        guard let body = RoutedBody(number: prefix.body), prefix.flags.arePlain else {
            deliverUnfamiliar(sequence, header, prefix, start, bytes, &effects)
            return
        }
        let payload = Slice(
            start: start + header.payloadOffset, count: prefix.length - header.payloadOffset)
        if prefix.flags.contains(.acknowledges) {
            receivedAcknowledgement(
                Acknowledgement.read(bytes, frame: start, header), from: header.origin, .messages,
                &effects)
        }
        if !body.isForClients {
            deliverToNode(sequence, header, prefix, payload, bytes, &effects)
            return
        }
        let name = Slice(start: start + header.nameOffset, count: header.nameLength)
        if !prefix.flags.contains(.volatile) {
            let flow = flows.flow(from: header.origin)
            guard !flow.isNone, flows.incoming[flow].expected == sequence,
                !flows.incoming[flow].givesBack
            else {
                receivedOutOfOrder(
                    sequence, .messages, header, .message(body), name: name, payload: payload,
                    bytes, &effects)
                return
            }
            flows.incoming[flow].pass()
            counters[.messagesDelivered] &+= 1
            counters[.messageHops] &+= UInt64(header.hopsTaken) &+ 1
            effects.append(
                .deliver(
                    body, number: sequence, header.key, name: name, payload: payload,
                    id: header.id))
            passed(flow, &effects)
            return
        }
        counters[.messagesDelivered] &+= 1
        counters[.messageHops] &+= UInt64(header.hopsTaken) &+ 1
        effects.append(
            .deliver(
                body, number: 0, header.key, name: name, payload: payload, id: header.id))
    }

    /// A message that is not for clients, in the lane of messages or in none.
    @inline(never)
    private mutating func deliverToNode(
        _ sequence: UInt32, _ header: RoutedHeader, _ prefix: FramePrefix, _ payload: Slice,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        if prefix.body == RoutedBody.control.rawValue {
            receivedControl(payload, from: header.origin, .messages, bytes, &effects)
        } else {
            receivedUnsupported(
                Unsupported(sequence: sequence, body: prefix.body, flags: prefix.flags), header,
                bytes, &effects)
        }
    }

    /// A message with a label or of the bulk lane, or one of a later version of the wire. It has no
    /// fault of the link that it came over: forwarders do not read what they pass on.
    @inline(never)
    private mutating func deliverUnfamiliar(
        _ sequence: UInt32, _ header: RoutedHeader, _ prefix: FramePrefix, _ start: Int,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        let lane = prefix.flags.lane
        let unplain = prefix.flags.subtracting(prefix.flags.plain)
        if let body = RoutedBody(number: prefix.body) {
            if unplain == .labelled, body.takesLabel,
                header.hasKnownLabel(bytes, at: start, prefix)
            {
                deliverLabelled(body, sequence, header, prefix, start, bytes, &effects)
                return
            }
            if unplain == .bulk,
                deliverBulk(body, sequence, header, prefix, start, bytes, &effects)
            {
                return
            }
        }
        if prefix.flags.contains(.acknowledges) {
            receivedAcknowledgement(
                Acknowledgement.read(bytes, frame: start, header), from: header.origin, lane,
                &effects)
        }
        receivedUnsupported(
            Unsupported(sequence: sequence, body: prefix.body, flags: prefix.flags), header,
            bytes, &effects)
    }

    /// A message with a label, which its clients' side reads.
    private mutating func deliverLabelled(
        _ body: RoutedBody, _ sequence: UInt32, _ header: RoutedHeader, _ prefix: FramePrefix,
        _ start: Int, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        if prefix.flags.contains(.acknowledges) {
            receivedAcknowledgement(
                Acknowledgement.read(bytes, frame: start, header), from: header.origin, .messages,
                &effects)
        }
        let name = Slice(start: start + header.nameOffset, count: header.nameLength)
        let payload = Slice(
            start: start + header.payloadOffset, count: prefix.length - header.payloadOffset)
        if !prefix.flags.contains(.volatile) {
            receivedOutOfOrder(
                sequence, .messages, header, .labelled(body), name: name, payload: payload, bytes,
                &effects)
            return
        }
        counters[.messagesDelivered] &+= 1
        counters[.messageHops] &+= UInt64(header.hopsTaken) &+ 1
        deliverLabelled(
            body, number: 0, header, name: name, payload: payload, bytes, &effects)
    }

    /// Hands a message with a label to the local clients. It is copied: so its effect is no larger than others.
    mutating func deliverLabelled(
        _ body: RoutedBody, number: UInt32, _ header: RoutedHeader, name: Slice, payload: Slice,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        let start = effects.bytes.count
        effects.bytes.append(bytes, Int(name.start), Int(name.count))
        effects.bytes.append(bytes, Int(payload.start), Int(payload.count))
        effects.append(
            .deliverLabelled(
                body, number: number, header.key,
                name: Slice(start: start, count: Int(name.count)),
                payload: Slice(start: start + Int(name.count), count: Int(payload.count)),
                id: header.id))
    }

    /// Transit: the head is written anew, the rest is copied by the driver.
    @inline(__always)
    private mutating func forward(
        _ destination: Destination, _ header: RoutedHeader, _ prefix: FramePrefix, _ start: Int,
        from link: LinkIndex, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        guard prefix.hopsLeft > 0 else {
            counters[.droppedHopLimit] &+= 1
            return
        }
        let isStrict = prefix.flags.contains(.strictlyGreedy)
        guard
            let hop = treePathHop(
                to: destination.id, potential: destination.potential, body: prefix.body,
                isStrict: isStrict, arrival: link)
                ?? hop(
                    to: destination.id, potential: destination.potential, isStrict: isStrict,
                    arrival: link)
        else { return }
        var flags = prefix.flags
        flags.isStrict = hop.isStrict
        let isTraced = flags.contains(.traced)
        let length = prefix.length + (isTraced ? 8 : 0)
        let head = effects.bytes.count
        effects.bytes.appendRoutedHeader(
            length: length, flags, hopsLeft: min(prefix.hopsLeft, Frame.hopLimit) - 1,
            body: prefix.body,
            origin: header.origin, key: header.key, destinationCount: 1, number: header.number,
            nameLength: header.nameLength, hopsTaken: header.hopsTaken &+ 1)
        effects.bytes.append(
            Destination(
                id: destination.id, sequence: destination.sequence, potential: hop.potential))
        let body = Slice(
            start: start + header.restOffset, count: prefix.length - header.restOffset)
        let priority = SendClass(body: prefix.body, prefix.flags)
        if isTraced {
            effects.bytes.append(bytes, Int(body.start), Int(body.count))
            effects.bytes.append(id)
        }
        counters[.messagesForwarded] &+= 1
        transmit(
            Slice(start: head, count: effects.bytes.count - head), isTraced ? .empty : body,
            priority, over: hop.link, &effects)
    }

    /// A message with several destinations: this node's own copy, and one copy for each link that
    /// leads to others.
    private mutating func forwardList(
        _ header: RoutedHeader, _ prefix: FramePrefix, _ start: Int, from link: LinkIndex,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        let isStrict = prefix.flags.contains(.strictlyGreedy)
        var ownSequence: UInt32?
        forwarding.entries.removeAll(keepingCapacity: true)
        for index in 0..<header.destinationCount {
            let destination = Destination.read(bytes, frame: start, index: index)
            if destination.id == id {
                ownSequence = destination.sequence
                continue
            }
            guard prefix.hopsLeft > 0 else {
                counters[.droppedHopLimit] &+= 1
                continue
            }
            guard
                let hop = treePathHop(
                    to: destination.id, potential: destination.potential, body: prefix.body,
                    isStrict: isStrict, arrival: link)
                    ?? hop(
                        to: destination.id, potential: destination.potential, isStrict: isStrict,
                        arrival: link)
            else { continue }
            forwarding.entries.append(
                ForwardingScratch.Entry(
                    destination: Destination(
                        id: destination.id, sequence: destination.sequence, potential: hop.potential
                    ),
                    link: hop.link, isStrict: hop.isStrict))
        }
        let rest = Slice(
            start: start + header.restOffset, count: prefix.length - header.restOffset)
        emitGroups(
            body: prefix.body, flags: prefix.flags,
            hopsLeft: min(prefix.hopsLeft, Frame.hopLimit) &- 1,
            origin: header.origin, key: header.key, number: header.number,
            nameLength: header.nameLength, hopsTaken: header.hopsTaken &+ 1, nameInHead: .empty,
            rest: rest, bytes, &effects)
        // Last, because what this leads to may need the list of entries itself.
        if let ownSequence {
            deliver(ownSequence, header, prefix, start, bytes, &effects)
        }
    }

    /// One frame for each link among `forwarding.entries`, with that link's destinations.
    ///
    /// `nameInHead` names bytes that go between the destinations and `rest` (the name of a local
    /// client's message, which does not lie in front of its payload); empty for transit.
    mutating func emitGroups(
        body: UInt8, flags: FrameFlags, hopsLeft: UInt8, origin: NodeID, key: Key, number: UInt32,
        nameLength: Int, hopsTaken: UInt16, nameInHead: Slice, rest: Slice, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        let isTraced = flags.contains(.traced)
        // Strict and other entries of one link do not share a frame: the flag is the frame's.
        for strictness in [false, true] {
            for link in links.established {
                var count = 0
                for entry in forwarding.entries
                where entry.link == link && entry.isStrict == strictness {
                    count += 1
                }
                if count == 0 { continue }
                let head = effects.bytes.count
                let isMarked = isTraced && hopsTaken > 0
                let length =
                    Frame.routedHeaderSize + count * Frame.destinationSize
                    + Int(nameInHead.count) + Int(rest.count) + (isMarked ? 8 : 0)
                var groupFlags = flags
                groupFlags.isStrict = strictness
                effects.bytes.appendRoutedHeader(
                    length: length, groupFlags, hopsLeft: hopsLeft, body: body, origin: origin,
                    key: key, destinationCount: count, number: number, nameLength: nameLength,
                    hopsTaken: hopsTaken)
                for entry in forwarding.entries
                where entry.link == link && entry.isStrict == strictness {
                    effects.bytes.append(entry.destination)
                }
                effects.bytes.append(bytes, Int(nameInHead.start), Int(nameInHead.count))
                if isMarked {
                    effects.bytes.append(bytes, Int(rest.start), Int(rest.count))
                    effects.bytes.append(id)
                }
                counters[.messagesForwarded] &+= hopsTaken > 0 ? 1 : 0
                transmit(
                    Slice(start: head, count: effects.bytes.count - head),
                    isMarked ? .empty : rest,
                    SendClass(body: body, flags), over: link, &effects)
            }
        }
    }
}

extension FrameFlags {
    /// `.strictlyGreedy`. What was strict and turns is not so any more.
    @inline(__always)
    fileprivate var isStrict: Bool {
        get { contains(.strictlyGreedy) }
        set { if newValue { insert(.strictlyGreedy) } else { remove(.strictlyGreedy) } }
    }
}

extension SendClass {
    /// The class of a routed frame in the queues of its links.
    @inline(__always)
    init(body: UInt8, _ flags: FrameFlags) {
        self =
            body == RoutedBody.control.rawValue
            ? .control
            : flags.isDisjoint(with: [.volatile, .bulk])
                ? .message : flags.contains(.bulk) ? .bulk : .volatile
    }
}
