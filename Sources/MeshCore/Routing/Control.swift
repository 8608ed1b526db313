import MeshWire

/// Messages from one node to any other that are no client's: sent, and what is done with each.
extension Node {
    /// A small control message to one node; if it says something of a flow, of one in this lane.
    ///
    /// Its way begins with `first`, if that is a link: the neighbour there finds the rest as if the message
    /// were its own. Else it begins with any link but `avoided`, if there is another.
    ///
    /// - Returns: the link that it took; none: there was none.
    @discardableResult
    mutating func sendControl(
        _ message: Message, to index: MemberIndex, in lane: Lane = .messages,
        avoiding avoided: LinkIndex = .none, over first: LinkIndex = .none,
        _ effects: inout EffectBuffer
    ) -> LinkIndex {
        let destination = members.id(of: index)
        guard
            let hop = first.isNone
                ? hop(to: destination, index, potential: .max, isStrict: false, arrival: avoided)
                : Hop(link: first, potential: .max, isStrict: false)
        else {
            counters[.droppedNoRoute] &+= 1
            return .none
        }
        let head = effects.bytes.count
        var flags = FrameFlags(lane)
        if hop.isStrict { flags.insert(.strictlyGreedy) }
        effects.bytes.appendRoutedHeader(
            length: 0, flags, hopsLeft: Frame.hopLimit,
            body: RoutedBody.control.rawValue, origin: id, key: Key(0), destinationCount: 1,
            number: 0, nameLength: 0, hopsTaken: 0)
        effects.bytes.append(Destination(id: destination, sequence: 0, potential: hop.potential))
        effects.bytes.append(message)
        let length = effects.bytes.count - head
        effects.bytes.overwrite(integer: UInt32(length), at: head)
        transmit(Slice(start: head, count: length), .empty, .control, over: hop.link, &effects)
        return hop.link
    }

    /// A control message, encoded in the effects' own bytes, to the given nodes.
    mutating func routeControl(
        _ message: Slice, to recipients: [NodeID], _ flags: FrameFlags,
        _ effects: inout EffectBuffer
    ) {
        forwarding.recipients.removeAll(keepingCapacity: true)
        for recipient in recipients {
            if let index = members.index(of: recipient), index != .oneself,
                members.status(of: index).isPresent
            {
                forwarding.recipients.append(index)
            }
        }
        routeToRecipients(.none)
        guard !forwarding.entries.isEmpty else { return }
        // The message lies in the bytes that heads are written to, and those may move while they
        // grow: take it out first.
        let payload = effects.bytes.withSpan { $0.array(message) }
        emitGroups(
            body: RoutedBody.control.rawValue, flags: flags, hopsLeft: Frame.hopLimit, origin: id,
            key: Key(0), number: 0, nameLength: 0, hopsTaken: 0,
            nameInHead: Slice(start: 0, count: payload.count), rest: .empty, payload.span,
            &effects)
    }

    /// Whether a node, however far away, may say what this version does not know.
    private func isLater(_ node: NodeID) -> Bool {
        members.index(of: node).map { members[$0].capabilities.areLater } ?? false
    }

    /// A control message that another node, perhaps far away, has sent to this one. A malformed one
    /// is counted and dropped: the link that it came over belongs to somebody else.
    mutating func receivedControl(
        _ payload: Slice, from origin: NodeID, _ lane: Lane, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        let message: Message
        do throws(WireError) {
            message = try Message.decode(bytes, from: Int(payload.start), to: payload.end)
        } catch {
            if case .unknownMessage = error, isLater(origin) {
                counters[.unknownMessages] &+= 1
            } else {
                counters[.protocolErrors] &+= 1
            }
            return
        }
        switch message {
        case .acknowledge(let acknowledgement):
            receivedAcknowledgement(acknowledgement, from: origin, lane, &effects)
        case .skip(let last):
            receivedSkip(through: last, from: origin, lane, &effects)
        case .nobody(let numbers, let sequence):
            receivedNobody(numbers, sequence: sequence, from: origin, lane, &effects)
        case .takenBack(let range, let last):
            receivedTakenBack(range, last: last, from: origin, lane)
        case _ where lane != .messages:
            // Nothing else is said of the bulk lane.
            counters[.protocolErrors] &+= 1
        case .accuse(let subject, let incarnation, let evidence):
            receivedAccusation(of: subject, incarnation, evidence, by: origin, &effects)
        case .vouch(let subject, let incarnation):
            receivedVouch(for: subject, incarnation, by: origin)
        case .indirectProbe(let subject, let incarnation):
            receivedIndirectProbe(of: subject, incarnation, for: origin, &effects)
        case .wrongName(let key, let name, let sequence):
            receivedWrongName(key, name: name, sequence: sequence, from: origin)
        case .unsupported(let what):
            receivedUnsupported(what, by: origin, &effects)
        case .records(let records): receivedDirectly(records, from: origin, &effects)
        case .recordsKnown(let subject, let life, let sequence):
            receivedKnown(subject, life, sequence, from: origin, &effects)
        case .query(let number, let isTrace, let subject):
            let query = QueryID(number)
            if isTrace {
                // The forwarders have signed behind the subject; the holder is the last of the way.
                var path = ByteQueue()
                path.append(bytes, Int(subject.start), Int(subject.count))
                path.append(id)
                path.withSpan {
                    sendAnswer(
                        to: origin, query, Slice(start: 0, count: $0.count),
                        isTrace: true, $0, &effects)
                }
            } else {
                effects.append(.queried(by: origin, query, subject: subject))
            }
        case .answer(let number, let answer):
            let query = QueryID(number)
            effects.append(.answered(query, from: origin, answer: answer))
            strike(origin, from: query, &effects)
        case .traceAnswer(let number, let path):
            let query = QueryID(number)
            effects.append(.traced(query, holder: origin, path: path))
            strike(origin, from: query, &effects)
        default:
            counters[.protocolErrors] &+= 1
        }
    }
}
