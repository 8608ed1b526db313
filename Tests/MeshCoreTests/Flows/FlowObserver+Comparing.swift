import MeshWire

@testable import MeshCore

// The consequences of an event, and what has to hold after each.

extension FlowObserver {
    /// The messages that a node has reported as given up: so many in a row.
    private struct Report {
        var sender: UInt64
        var name: String
        var destination: NodeID
        var count: Int
    }

    func after(_ actor: Actor, _ bytes: [UInt8]) {
        releaseParked(actor)
        var deliveries: [MessageID] = []
        var gaps: [UInt32] = []
        var reports: [Report] = []
        var dead: [NodeID] = []
        var uncongestedCount = 0
        var lostLink = false
        for index in 0..<actor.effects.count {
            switch actor.effects[index] {
            case .send(_, let head, let body, _):
                sent(actor.frame(head, body, bytes), actor)
            case .deliver(_, _, _, let name, let payload, let id):
                deliveries.append(id)
                compare(bytes.span.array(name) + bytes.span.array(payload), id, actor)
            case .deliverKept(_, _, _, let name, let payload, let id):
                deliveries.append(id)
                let told = actor.effects.bytes.withSpan { $0.array(name) + $0.array(payload) }
                compare(told, id, actor)
            case .deliverLabelled(_, _, _, let name, let payload, let id):
                deliveries.append(id)
                let told = actor.effects.bytes.withSpan { $0.array(name) + $0.array(payload) }
                compare(told, id, actor)
            case .undelivered(let sender, _, _, let name, let to, let count):
                let text = actor.effects.bytes.withSpan { $0.array(name) }
                reports.append(
                    Report(
                        sender: sender, name: String(decoding: text, as: UTF8.self),
                        destination: to, count: Int(count)))
            case .memberDied(let id): dead.append(id)
            case .gap(_, let count): gaps.append(count)
            case .uncongested: uncongestedCount += 1
            case .log(.linkDown(_, .closed)), .log(.linkDown(_, .silent)): lostLink = true
            case .left: compareDebts(actor)
            case .log(.protocolError(_, let id, let error)):
                fault(actor, "protocol error of \(id.map(stage.words.name) ?? "?"): \(error)")
            default: break
            }
        }
        for id in dead { known(id, actor.record.id)?.originDied() }
        settle(reports, actor)
        if deliveries != expected.deliveries {
            fault(actor, "delivers \(deliveries), and not \(expected.deliveries)")
        }
        if gaps != expected.gaps { fault(actor, "lacks \(gaps), and not \(expected.gaps)") }
        let hasMoreDoubts = Doubts(actor.node).hasMore(than: expected.doubts)
        if uncongestedCount < expected.uncongestedCount
            || uncongestedCount > expected.uncongestedCount && !hasMoreDoubts
        {
            fault(actor, "has room \(uncongestedCount) times, not \(expected.uncongestedCount)")
        }
        if expected.isVolatile {
            // Whether it has a way is no matter of flows.
            nodes[actor.record.id, default: NodeLedger()].counters[.messagesOriginated] =
                actor.node.counters[.messagesOriginated]
        }
        compareResent(actor, lostLink: lostLink)
        expected = Expectation()
        noteMembers(actor)
        noteLost(actor)
        compareFlows(actor)
        compareTimers(actor)
        compareCounters(actor)
        // A message that is parked is known as such only when its publication has returned.
        if bytes.isEmpty { compareKept(actor) }
    }

    private func compare(_ bytes: [UInt8], _ id: MessageID, _ actor: Actor) {
        if contents[id] != bytes { fault(actor, "delivers other bytes than were sent: \(id)") }
    }

    // MARK: Frames

    /// A node sends a frame; what it has written itself is looked at.
    private func sent(_ frame: [UInt8], _ actor: Actor) {
        guard frame[4] == FrameKind.routed.rawValue else { return }
        var needed = 0
        guard let prefix = try? FramePrefix.read(frame.span, at: 0, needed: &needed),
            let header = try? RoutedHeader.read(frame.span, at: 0, prefix)
        else { return fault(actor, "sends a malformed frame") }
        // One that has come back is another's way by now.
        guard header.origin == actor.record.id, header.hopsTaken == 0 else { return }
        for index in 0..<header.destinationCount {
            let destination = Destination.read(frame.span, frame: 0, index: index)
            if prefix.flags.contains(.acknowledges) {
                told(
                    Acknowledgement.read(frame.span, frame: 0, header), to: destination.id, actor,
                    isCarried: true)
            }
            if prefix.body == RoutedBody.control.rawValue {
                switch try? Message.decode(
                    frame.span, from: header.payloadOffset, to: frame.count)
                {
                case .acknowledge(let acknowledgement):
                    told(acknowledgement, to: destination.id, actor, isCarried: false)
                case .skip(let last):
                    let ledger = known(actor.record.id, destination.id)
                    if ledger?.acknowledged != last { fault(actor, "skips to \(last)") }
                    ledger?.mustSkip = false
                default: break
                }
            } else if !prefix.flags.contains(.volatile) {
                sentMessage(destination, header, frame, actor)
            }
        }
    }

    private func sentMessage(
        _ destination: Destination, _ header: RoutedHeader, _ frame: [UInt8], _ actor: Actor
    ) {
        let ledger = ledger(actor.record.id, destination.id)
        let sequence = destination.sequence
        guard let place = ledger.kept.firstIndex(where: { $0.sequence == sequence }) else {
            return fault(actor, "sends \(sequence), which it does not keep")
        }
        let kept = ledger.kept[place]
        ledger.kept[place].sentCount += 1
        if ledger.mustSkip { fault(actor, "sends \(sequence) and has not said what is lost") }
        if kept.id != header.id { fault(actor, "calls \(kept.id) \(header.id)") }
        if contents[kept.id] != Array(frame[header.nameOffset...]) {
            fault(actor, "sends other bytes than were published: \(kept.id)")
        }
        let isFirst =
            expected.firstFresh[ledger.pair].map { Int32(bitPattern: sequence &- $0) >= 0 } ?? false
        if isFirst {
            compareCarried(frame, destination.id, actor)
            return
        }
        count(.retransmitted, actor)
        expected.resent[ledger.pair, default: []].append(sequence)
    }

    /// An acknowledgement that is owed to the destination of a new message goes with it, so that no frame is needed.
    private func compareCarried(_ frame: [UInt8], _ destination: NodeID, _ actor: Actor) {
        guard expected.isForOne, let reverse = known(destination, actor.record.id) else { return }
        let isCarried = FrameFlags(rawValue: frame[5]).contains(.acknowledges)
        if reverse.owedCount > 0, !reverse.hasGap, !isCarried {
            fault(actor, "lets a message to \(stage.words.name(destination)) carry nothing")
        }
    }

    private func told(
        _ acknowledgement: Acknowledgement, to origin: NodeID, _ actor: Actor, isCarried: Bool
    ) {
        guard let ledger = known(origin, actor.record.id) else {
            return fault(actor, "acknowledges a flow that there is not")
        }
        if acknowledgement.cumulative != ledger.next &- 1 {
            fault(actor, "has \(ledger.next &- 1) and acknowledges \(acknowledgement.cumulative)")
        }
        let missing = ledger.isGapRipe(at: stage.now) ? ledger.missing : 0
        if acknowledgement.missing != missing {
            fault(actor, "misses \(missing) and says \(acknowledgement.missing)")
        }
        ledger.told(at: stage.now)
        if isCarried, ledger.hasGap { fault(actor, "lets a message carry half of the truth") }
        count(isCarried ? .acknowledgementsCarried : .acknowledgementsSent, actor)
    }

    /// When what is kept is looked at, each flow whose time has come starts again, and those whose link
    /// is lost; no other.
    private func compareResent(_ actor: Actor, lostLink: Bool) {
        let isLookedAt =
            stage.isDeadline
            && (expected.isDue
                || (outgoing[actor.record.id] ?? []).contains {
                    !$0.kept.isEmpty
                        && (isLost(expected.lastHops[$0.pair], lostLink, actor)
                            || mayStartAgain(expected.lastHops[$0.pair], actor))
                })
        for ledger in outgoing[actor.record.id] ?? [] {
            guard let first = ledger.kept.first else { continue }
            let isResent = expected.resent[ledger.pair]?.contains(first.sequence) ?? false
            let isRecovered =
                expected.mustRecover.contains(ledger.pair)
                || isLost(expected.lastHops[ledger.pair], lostLink, actor)
            if isLookedAt, let roundTrip = expected.roundTrips[ledger.pair] {
                let isLate = ledger.dueTime(roundTrip) <= stage.now
                // In this event or in the next, and then for this reason and not because it is late.
                let mayStart = mayStartAgain(expected.lastHops[ledger.pair], actor)
                let (startedAt, timeouts) = start(ledger, actor)
                if isLate, !isRecovered, !mayStart || timeouts > ledger.timeouts {
                    ledger.timeouts += 1
                }
                if isLate || isRecovered {
                    ledger.progressAt = stage.now
                } else if mayStart {
                    if startedAt == stage.now { ledger.progressAt = stage.now }
                } else if isResent {
                    fault(actor, "sends \(first.sequence) again before its time")
                }
                if isLate || isRecovered || ledger.isStranded, !isResent, hasWay(ledger, actor) {
                    fault(actor, "does not send \(first.sequence) again")
                }
            }
            if isResent { ledger.isStranded = false }
            if lostLink, !isLookedAt, isLost(expected.lastHops[ledger.pair], lostLink, actor) {
                ledger.isStranded = true
            }
        }
    }

    /// A link has been lost or come into doubt in this event.
    private func isLost(_ link: LinkIndex?, _ lostLink: Bool, _ actor: Actor) -> Bool {
        guard let link, !link.isNone else { return false }
        return lostLink && actor.node.links[link].state != .established
            || actor.node.links[link].isDoubted && !expected.doubted.contains(link)
    }

    /// When a flow has started again last, if nothing has come since, and how often it has waited for that.
    private func start(_ ledger: FlowLedger, _ actor: Actor) -> (at: Instant?, timeouts: Int) {
        guard let index = actor.node.members.index(of: ledger.pair.destination) else {
            return (nil, 0)
        }
        let flow = actor.node.flows.flow(to: index)
        if flow.isNone { return (nil, 0) }
        return (
            actor.node.flows.outgoing[flow].progressAt, actor.node.flows.outgoing[flow].timeouts
        )
    }

    /// In this event the link of a flow has turned out not to carry, or one is trusted again and the flow
    /// had none.
    private func mayStartAgain(_ link: LinkIndex?, _ actor: Actor) -> Bool {
        let now = Doubts(actor.node).secondChoices
        guard let link, !link.isNone else {
            return !expected.doubts.secondChoices.subtracting(now).isEmpty
        }
        return now.contains(link) && !expected.doubts.secondChoices.contains(link)
    }

    /// The flow has found some link for what it sent last.
    private func hasWay(_ ledger: FlowLedger, _ actor: Actor) -> Bool {
        guard let index = actor.node.members.index(of: ledger.pair.destination) else {
            return false
        }
        let flow = actor.node.flows.flow(to: index)
        return !flow.isNone && !actor.node.flows.outgoing[flow].detour.lastHop.isNone
    }

    // MARK: Reports

    /// Each message that is given up is reported, in its turn, and no other.
    private func settle(_ reports: [Report], _ actor: Actor) {
        var cursors: [NodeID: Int] = [:]
        for report in reports {
            count(.undelivered, actor, report.count)
            if report.destination == NodeID(0) {
                expire(report, actor)
                continue
            }
            if let place = expected.refusals.firstIndex(of: report.destination), report.count == 1 {
                expected.refusals.remove(at: place)
                continue
            }
            let kept = known(actor.record.id, report.destination)?.kept ?? []
            let first = cursors[report.destination, default: 0]
            let end = first + report.count
            cursors[report.destination] = end
            guard end <= kept.count,
                kept[first..<end].allSatisfy({
                    $0.sender == report.sender && $0.name == report.name
                })
            else {
                fault(actor, "gives up \(report), of \(kept)")
                continue
            }
        }
        if !expected.refusals.isEmpty { fault(actor, "has not reported a refusal") }
        for (destination, count) in cursors.sorted(by: { $0.key < $1.key }) {
            let ledger = ledger(actor.record.id, destination)
            if ledger.kept.count != count {
                fault(actor, "gives up \(count) of \(ledger.kept.count)")
            }
            if !actor.node.departure.hasBegun,
                let index = actor.node.members.index(of: destination),
                actor.node.members.status(of: index).isPresent
            {
                fault(actor, "gives up what somebody may take who is there")
            }
            ledger.kept = []
            ledger.lost = ledger.last
            ledger.mustSkip = true
            ledger.timeouts = 0
            ledger.isStranded = false
            relieve(ledger, actor)
        }
    }

    private func expire(_ report: Report, _ actor: Actor) {
        let parked = nodes[actor.record.id]?.parked ?? []
        guard
            let place = parked.firstIndex(where: {
                $0.message.sender == report.sender && $0.message.name == report.name
            })
        else { return fault(actor, "gives up what does not wait: \(report)") }
        nodes[actor.record.id]!.parked.remove(at: place)
    }

    /// A node that leaves owes nobody anything.
    private func compareDebts(_ actor: Actor) {
        for ledger in incoming[actor.record.id] ?? [] where ledger.owedCount > 0 {
            guard let index = actor.node.members.index(of: ledger.pair.origin),
                actor.node.members.status(of: index) == .alive,
                actor.node.counters[.droppedNoRoute] == 0
            else { continue }
            fault(actor, "leaves and owes \(stage.words.name(ledger.pair.origin)) a word")
        }
    }

    // MARK: What has to hold

    /// Flows end with the members that are forgotten.
    private func noteMembers(_ actor: Actor) {
        let id = actor.record.id
        let departed = actor.node.departed.indices
        let version = [Int(actor.node.members.ring.version)] + departed.map { Int($0.rawValue) }
        if nodes[id]?.knownVersion == version { return }
        var known: Set<NodeID> = []
        for entry in actor.node.members.ring { known.insert(entry.id) }
        for index in departed { known.insert(actor.node.members.id(of: index)) }
        for other in (nodes[id]?.known ?? []).subtracting(known).sorted() {
            self.known(other, id)?.originForgotten()
            self.known(id, other)?.destinationForgotten()
        }
        nodes[id, default: NodeLedger()].known = known
        nodes[id]!.knownVersion = version
    }

    /// Each flow is as far as its ledger, and keeps the same.
    private func compareFlows(_ actor: Actor) {
        var congested = 0
        for ledger in outgoing[actor.record.id] ?? [] {
            if ledger.isCongested { congested += 1 }
            compareOutgoing(ledger, ledger.pair.destination, actor)
        }
        for ledger in incoming[actor.record.id] ?? [] {
            compareIncoming(ledger, ledger.pair.origin, actor)
        }
        if actor.node.flows.congestedCount != congested {
            fault(actor, "\(actor.node.flows.congestedCount) flows congested, not \(congested)")
        }
        let all = nodes[actor.record.id]?.areAllCongested ?? false
        if actor.node.flows.isCongested != all { fault(actor, "all congested is not \(all)") }
    }

    private func compareOutgoing(_ ledger: FlowLedger, _ destination: NodeID, _ actor: Actor) {
        guard let index = actor.node.members.index(of: destination) else {
            if !ledger.kept.isEmpty { fault(actor, "keeps for somebody whom it has forgotten") }
            return
        }
        let flow = actor.node.flows.flow(to: index)
        guard !flow.isNone else {
            if !ledger.kept.isEmpty { fault(actor, "has no flow for what it keeps") }
            return
        }
        let name = stage.words.name(destination)
        let outgoing = (
            actor.node.flows.outgoing[flow].acknowledged, actor.node.flows.outgoing[flow].last,
            actor.node.flows.outgoing[flow].bytes
        )
        if outgoing != (ledger.acknowledged, ledger.last, ledger.bytes) {
            let wanted = "\(ledger.acknowledged) \(ledger.last) \(ledger.bytes)"
            fault(actor, "flow to \(name) \(outgoing), not \(wanted)")
        }
        if actor.node.flows.outgoing[flow].isCongested != ledger.isCongested {
            fault(actor, "flow to \(name) congested is not \(ledger.isCongested)")
        }
        compareTiming(ledger, flow, actor)
        let window = actor.node.flows.outgoing[flow].window
        if window < min(64 * 1024, limits.windowBytes) || window > limits.windowBytes {
            fault(actor, "window of \(window)")
        }
        let status = actor.node.members.status(of: index)
        if status == .dead, !ledger.kept.isEmpty { fault(actor, "keeps for dead \(name)") }
        if status != .left {
            ledger.leftAt = nil
        } else if ledger.leftAt == nil {
            ledger.leftAt = stage.now
        } else if !ledger.kept.isEmpty, stage.now > ledger.leftAt! + .milliseconds(1_030) {
            fault(actor, "keeps for \(name), which has left")
        }
    }

    /// A message that was sent again is not timed, a wait grows and is over, and who keeps nothing recovers nothing.
    private func compareTiming(_ ledger: FlowLedger, _ flow: FlowIndex, _ actor: Actor) {
        let name = stage.words.name(ledger.pair.destination)
        if actor.node.flows.outgoing[flow].isTiming,
            let timed = ledger.kept.first(where: {
                $0.sequence == actor.node.flows.outgoing[flow].timed
            }), timed.sentCount > 1
        {
            fault(actor, "times \(timed.sequence) to \(name), which was sent again")
        }
        if actor.node.flows.outgoing[flow].timeouts != ledger.timeouts {
            let found = actor.node.flows.outgoing[flow].timeouts
            fault(actor, "has waited \(found) times for \(name), not \(ledger.timeouts)")
        }
        let progressAt = actor.node.flows.outgoing[flow].progressAt
        if !ledger.kept.isEmpty, progressAt != ledger.progressAt {
            fault(
                actor,
                "has heard of \(name) at \(stage.words.time(progressAt)), and not at "
                    + stage.words.time(ledger.progressAt))
        }
        if ledger.kept.isEmpty, actor.node.flows.outgoing[flow].isRecovering {
            fault(actor, "recovers nothing of \(name)")
        }
    }

    private func compareIncoming(_ ledger: FlowLedger, _ origin: NodeID, _ actor: Actor) {
        let flow = actor.node.flows.flow(from: origin)
        guard !flow.isNone else {
            if ledger.next != 1 || !ledger.waiting.isEmpty {
                fault(actor, "has lost a flow from \(stage.words.name(origin))")
            }
            return
        }
        let incoming = (
            actor.node.flows.incoming[flow].expected, actor.node.flows.incoming[flow].waitingCount,
            actor.node.flows.incoming[flow].waitingBytes, actor.node.flows.incoming[flow].missing
        )
        let wanted = (ledger.next, ledger.waiting.count, ledger.waitingBytes, ledger.missing)
        if incoming != wanted {
            fault(actor, "flow from \(stage.words.name(origin)) \(incoming), not \(wanted)")
        }
    }

    /// Whatever waits for something has a timer, which is due when it has to be.
    private func compareTimers(_ actor: Actor) {
        guard actor.isUp else { return }
        for ledger in outgoing[actor.record.id] ?? [] {
            guard !ledger.kept.isEmpty else {
                ledger.slowest = .zero
                continue
            }
            let due = actor.node.timers[.retransmission]
            // The timer is not brought forward when the way turns out to be shorter.
            ledger.slowest = max(ledger.slowest, roundTrip(ledger.pair.destination, actor))
            let latest = max(.seconds(2), ledger.slowest * 3)
            if due.map({ $0 > stage.now + latest + .milliseconds(20) }) ?? true {
                fault(actor, "keeps messages until \(due.map(stage.words.time) ?? "ever")")
            }
        }
        for ledger in incoming[actor.record.id] ?? [] {
            guard let latest = ledger.latestWord(at: stage.now),
                let index = actor.node.members.index(of: ledger.pair.origin)
            else { continue }
            let due = actor.node.timers[.acknowledgement]
            if actor.node.members.status(of: index) == .dead {
                // The dead are told nothing, and are not told later should they come back. The time
                // to tell them may have come before the latest there is.
                if latest <= stage.now || due.map({ $0 > latest }) ?? true { ledger.forgive() }
                continue
            }
            if due.map({ $0 > max(latest, stage.now) }) ?? true {
                fault(
                    actor,
                    "owes \(stage.words.name(ledger.pair.origin)) an acknowledgement by "
                        + stage.words.time(latest)
                        + ", due \(due.map(stage.words.time) ?? "never")")
            }
        }
    }

    /// A node's belief about the way to another and back: no matter of the ledgers.
    private func roundTrip(_ destination: NodeID, _ actor: Actor) -> Delay {
        guard let index = actor.node.members.index(of: destination) else { return .zero }
        let flow = actor.node.flows.flow(to: index)
        return flow.isNone ? .zero : actor.node.flows.outgoing[flow].roundTrip
    }

    /// An acknowledgement that finds no way is lost, as if it had been sent: it is counted as such.
    private func noteLost(_ actor: Actor) {
        let id = actor.record.id
        let dropped = actor.node.counters[.droppedNoRoute]
        defer { nodes[id, default: NodeLedger()].counters[.droppedNoRoute] = dropped }
        let more = dropped - (nodes[id]?.counters[.droppedNoRoute] ?? 0)
        guard more > 0 else { return }
        for ledger in outgoing[id] ?? [] { ledger.mustSkip = false }
        let sent = actor.node.counters[.acknowledgementsSent]
        let counted = nodes[id]?.counters[.acknowledgementsSent] ?? 0
        guard sent > counted, sent - counted <= more else { return }
        nodes[id, default: NodeLedger()].counters[.acknowledgementsSent] = sent
        for ledger in incoming[id] ?? [] {
            let flow = actor.node.flows.flow(from: ledger.pair.origin)
            if !flow.isNone, actor.node.flows.incoming[flow].unacknowledged == 0 {
                ledger.told(at: stage.now)
            }
        }
    }

    private func compareCounters(_ actor: Actor) {
        let wanted = nodes[actor.record.id]?.counters ?? [:]
        for counter in [
            .retransmitted, .undelivered, .duplicates, .reordered, .gaps, .acknowledgementsSent,
            .acknowledgementsCarried, .droppedUnknownOrigin, .droppedBeyondWindow,
            .messagesDelivered, .messagesOriginated, .protocolErrors,
        ] as [NodeCounter] {
            let found = actor.node.counters[counter]
            if found != wanted[counter] ?? 0 {
                fault(actor, "counter \(counter) is \(found), not \(wanted[counter] ?? 0)")
                nodes[actor.record.id, default: NodeLedger()].counters[counter] = found
            }
        }
    }

    /// Bytes and numbers of all that a node keeps.
    func compareKept(_ actor: Actor) {
        let sizes = actor.node.flowSizes()
        let id = actor.record.id
        let retained = (outgoing[id] ?? []).reduce(0) { $0 + $1.kept.count }
        if sizes.retainedCount != retained || sizes.retainedBytes != total(actor) {
            fault(
                actor,
                "keeps \(sizes.retainedCount) messages of \(sizes.retainedBytes) bytes, not "
                    + "\(retained) of \(total(actor))")
        }
        let reordered = (incoming[id] ?? []).reduce(0) { $0 + $1.waitingBytes }
        if sizes.reorderedBytes != reordered {
            fault(actor, "\(sizes.reorderedBytes) bytes out of order, not \(reordered)")
        }
        let parked = nodes[id]?.parked ?? []
        let bytes = parked.reduce(0) { $0 + $1.message.size + 48 }
        if sizes.parkedCount != parked.count || sizes.parkedBytes != bytes {
            fault(actor, "\(sizes.parkedCount) messages parked, not \(parked.count)")
        }
        for waiting in parked where stage.now > waiting.since + .milliseconds(10_020) {
            fault(actor, "a message has waited since \(stage.words.time(waiting.since))")
        }
    }
}
