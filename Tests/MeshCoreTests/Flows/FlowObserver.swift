import MeshWire
import Testing

@testable import MeshCore

/// Keeps ledgers of all flows on a stage, says what each event has to lead to, and compares: what is
/// delivered and reported, what is kept, timers, counters. Asked of the node is only what nobody else can
/// know: whom it knows, who holds a key, which link a flow took last and whether it is lost, and how
/// long it takes the way for.
final class FlowObserver: StageObserver {
    let stage: Stage
    let limits: FlowLimits
    private var ledgers: [FlowPair: FlowLedger] = [:]
    /// Those of each node, as origin and as destination, in the order in which they came.
    private(set) var outgoing: [NodeID: [FlowLedger]] = [:]
    private(set) var incoming: [NodeID: [FlowLedger]] = [:]
    var nodes: [NodeID: NodeLedger] = [:]
    /// Name and payload of each message.
    var contents: [MessageID: [UInt8]] = [:]
    /// The faults, and their times. The first is what counts.
    private(set) var faults: [String] = []
    /// Events that were looked at.
    private(set) var eventCount = 0

    /// Facts about a node and not about one of its flows.
    struct NodeLedger {
        var counters: [NodeCounter: UInt64] = [:]
        var areAllCongested = false
        var uncongestedCount = 0
        var parked: [Parked] = []
        /// Members that it knew after its last event, and what tells that they are the same.
        var known: Set<NodeID> = []
        var knownVersion: [Int] = []
    }

    struct Parked {
        var key: Key
        var message: FlowLedger.Kept
        var since: Instant
    }

    /// The frames that the present event has to lead to, besides what is kept.
    struct Expectation {
        var deliveries: [MessageID] = []
        var gaps: [UInt32] = []
        var refusals: [NodeID] = []
        var uncongestedCount = 0
        /// The ways that were in doubt before, of links and of flows: with one more, publishers are looked
        /// at again.
        var doubts = Doubts()
        /// It is the publication of a message that is in no flow.
        var isVolatile = false
        /// It is the publication of a message that one node is to have.
        var isForOne = false
        /// The message of each flow whose round trip is being measured.
        var timed: [FlowPair: UInt32] = [:]
        /// Flows that are to start again because a link is lost or found, and the round trip of each.
        var mustRecover: Set<FlowPair> = []
        var roundTrips: [FlowPair: Delay] = [:]
        /// The link that each was last sent over.
        var lastHops: [FlowPair: LinkIndex] = [:]
        /// Links that are in doubt already.
        var doubted: Set<LinkIndex> = []
        /// It is time to look at what is kept.
        var isDue = false
        /// The messages that were sent again.
        var resent: [FlowPair: [UInt32]] = [:]
        /// The first of the messages in a flow that are new in this event.
        var firstFresh: [FlowPair: UInt32] = [:]
    }
    var expected = Expectation()
    var nextParcel = 0

    /// The ways that do not carry, by the node's account: nobody else can know them.
    struct Doubts {
        var hollow: UInt64 = 0
        var secondChoices: Set<LinkIndex> = []
        var stalls: [UInt8] = []

        init() {}

        init(_ node: borrowing Node) {
            hollow = node.counters[.linksHollow]
            for link in node.links.established where node.links[link].isSecondChoice {
                secondChoices.insert(link)
            }
            for slot in 0..<node.flows.outgoing.count {
                stalls.append(node.flows.outgoing[slot].stall.rawValue)
            }
        }

        /// There is one that was not there before.
        func hasMore(than before: Doubts) -> Bool {
            hollow > before.hollow || !secondChoices.subtracting(before.secondChoices).isEmpty
                || stalls.enumerated().contains { slot, stall in
                    stall > (slot < before.stalls.count ? before.stalls[slot] : 0)
                }
        }
    }

    init(_ stage: Stage, _ limits: FlowLimits) {
        self.stage = stage
        self.limits = limits
    }

    func fault(_ actor: Actor, _ text: String) {
        if faults.count < 20 {
            faults.append("\(stage.words.time(stage.now)) \(actor.name): \(text)")
        }
    }

    func count(_ counter: NodeCounter, _ actor: Actor, _ more: Int = 1) {
        nodes[actor.record.id, default: NodeLedger()].counters[counter, default: 0] +=
            UInt64(more)
    }

    /// The ledger of a flow; nil: nothing has ever been sent.
    func known(_ origin: NodeID, _ destination: NodeID) -> FlowLedger? {
        ledgers[FlowPair(origin: origin, destination: destination)]
    }

    func ledger(_ origin: NodeID, _ destination: NodeID) -> FlowLedger {
        if let known = known(origin, destination) { return known }
        let pair = FlowPair(origin: origin, destination: destination)
        let fresh = FlowLedger(pair)
        ledgers[pair] = fresh
        outgoing[origin, default: []].append(fresh)
        incoming[destination, default: []].append(fresh)
        return fresh
    }

    /// The messages that all flows of a node keep.
    func total(_ actor: Actor) -> Int {
        var sum = 0
        var parcels: Set<Int> = []
        for ledger in outgoing[actor.record.id] ?? [] {
            for kept in ledger.kept {
                sum += 32
                if let parcel = kept.parcel, !parcels.insert(parcel).inserted { continue }
                sum += kept.size
            }
        }
        return sum
    }

    // MARK: Before

    func before(_ actor: Actor, _ bytes: [UInt8]) {
        eventCount += 1
        expected.doubts = Doubts(actor.node)
        noteWaiting(actor)
        // A frame over a connection that is no link to this side is not taken.
        guard let link = stage.presentLink, actor.node.links[link].carriesFrames,
            bytes[4] == FrameKind.routed.rawValue
        else { return }
        var needed = 0
        guard let prefix = try? FramePrefix.read(bytes.span, at: 0, needed: &needed),
            let header = try? RoutedHeader.read(bytes.span, at: 0, prefix)
        else { return }
        for index in 0..<header.destinationCount {
            let destination = Destination.read(bytes.span, frame: 0, index: index)
            guard destination.id == actor.record.id else { continue }
            if prefix.flags.contains(.acknowledges) {
                let told = Acknowledgement.read(bytes.span, frame: 0, header)
                acknowledge(told, from: header.origin, at: actor)
            }
            if prefix.body == RoutedBody.control.rawValue {
                switch try? Message.decode(
                    bytes.span, from: header.payloadOffset, to: bytes.count)
                {
                case .acknowledge(let told): acknowledge(told, from: header.origin, at: actor)
                case .skip(let last): skip(last, from: header.origin, at: actor)
                default: break
                }
            } else if prefix.flags.contains(.volatile) {
                count(.messagesDelivered, actor)
                expected.deliveries.append(header.id)
            } else {
                arrive(destination.sequence, header, bytes, at: actor)
            }
        }
    }

    /// A node's knowledge of its flows before an event, which decides why something is sent again.
    private func noteWaiting(_ actor: Actor) {
        expected.isDue = actor.node.timers[.retransmission].map { $0 <= stage.now } ?? false
        for link in actor.node.links.established where actor.node.links[link].isDoubted {
            expected.doubted.insert(link)
        }
        for ledger in outgoing[actor.record.id] ?? [] {
            guard let index = actor.node.members.index(of: ledger.pair.destination) else {
                continue
            }
            let flow = actor.node.flows.flow(to: index)
            guard !flow.isNone else { continue }
            if actor.node.flows.outgoing[flow].isTiming {
                expected.timed[ledger.pair] = actor.node.flows.outgoing[flow].timed
            }
            if actor.node.flows.outgoing[flow].mustRecover {
                expected.mustRecover.insert(ledger.pair)
            }
            let hop = actor.node.flows.outgoing[flow].detour.lastHop
            if !hop.isNone, actor.node.links[hop].state == .established {
                expected.lastHops[ledger.pair] = hop
            }
            expected.roundTrips[ledger.pair] = actor.node.flows.outgoing[flow].roundTrip
        }
    }

    private func isKnown(_ id: NodeID, to actor: Actor) -> Bool {
        actor.node.members.index(of: id) != nil
    }

    /// A message gets to its destination.
    private func arrive(
        _ sequence: UInt32, _ header: RoutedHeader, _ bytes: [UInt8], at actor: Actor
    ) {
        guard isKnown(header.origin, to: actor) else {
            return count(.droppedUnknownOrigin, actor)
        }
        let ledger = ledger(header.origin, actor.record.id)
        let ahead = Int(Int32(bitPattern: sequence &- ledger.next))
        if ahead == 0 {
            deliver([sequence] + ledger.pass(at: stage.now), ledger, at: actor)
        } else if ahead < 0 {
            count(.duplicates, actor)
            ledger.owe(1, at: stage.now - .milliseconds(20))
        } else {
            if !ledger.hasGap {
                ledger.beginGap(at: stage.now)
            } else if !ledger.isGapOwed {
                ledger.isGapOwed = true
                ledger.gapDue = stage.now + .milliseconds(5)
            }
            if ledger.waiting[sequence] != nil { return count(.duplicates, actor) }
            if Int32(bitPattern: sequence &- ledger.highest) > 0 { ledger.highest = sequence }
            let size = bytes.count - header.nameOffset
            let all = (incoming[actor.record.id] ?? []).reduce(0) { $0 + $1.waitingBytes }
            if ahead < limits.reorderCount,
                ledger.waitingBytes + size + 64 <= limits.reorderBytes,
                all + size + 64 <= limits.reorderTotalBytes
            {
                ledger.waiting[sequence] = size
                count(.reordered, actor)
            } else {
                count(.droppedBeyondWindow, actor)
            }
        }
    }

    private func deliver(
        _ sequences: [UInt32], _ ledger: FlowLedger, at actor: Actor
    ) {
        for sequence in sequences {
            count(.messagesDelivered, actor)
            guard let id = ledger.names[sequence] else {
                fault(actor, "delivers a message that nobody has sent")
                continue
            }
            expected.deliveries.append(id)
        }
    }

    private func acknowledge(
        _ told: Acknowledgement, from destination: NodeID, at actor: Actor
    ) {
        guard isKnown(destination, to: actor), let ledger = known(actor.record.id, destination)
        else { return }
        let advance = Int(Int32(bitPattern: told.cumulative &- ledger.acknowledged))
        guard advance > 0 else { return }
        guard advance <= ledger.kept.count else {
            return fault(actor, "hears of \(told.cumulative), beyond what it has sent")
        }
        ledger.kept.removeFirst(advance)
        ledger.progressAt = stage.now
        if expected.timed[ledger.pair].map({ Int32(bitPattern: told.cumulative &- $0) >= 0 })
            == true
        {
            ledger.timeouts = 0
            expected.timed[ledger.pair] = nil
        }
        relieve(ledger, actor)
    }

    /// A flow keeps less than before.
    func relieve(_ ledger: FlowLedger, _ actor: Actor) {
        if ledger.isCongested, ledger.bytes <= limits.windowBytes / 2,
            ledger.kept.count <= limits.windowCount / 2
        {
            ledger.isCongested = false
            expected.uncongestedCount += 1
        }
        if nodes[actor.record.id]?.areAllCongested == true,
            total(actor) <= limits.totalBytes / 2
        {
            nodes[actor.record.id]!.areAllCongested = false
            expected.uncongestedCount += 1
        }
    }

    private func skip(_ last: UInt32, from origin: NodeID, at actor: Actor) {
        guard isKnown(origin, to: actor) else { return }
        let ledger = ledger(origin, actor.record.id)
        guard Int32(bitPattern: last &- ledger.next) >= 0 else { return }
        let isFresh = ledger.next == 1
        var gone: UInt32 = 0
        var delivered: [UInt32] = []
        while ledger.next != last {
            if ledger.waiting.removeValue(forKey: ledger.next) != nil {
                delivered.append(ledger.next)
            } else {
                gone += 1
            }
            ledger.next &+= 1
        }
        if ledger.waiting.removeValue(forKey: last) != nil {
            delivered.append(last)
        } else {
            gone += 1
        }
        delivered += ledger.pass(at: stage.now)
        deliver(delivered, ledger, at: actor)
        guard gone > 0, !isFresh else { return }
        count(.gaps, actor, Int(gone))
        expected.gaps.append(gone)
    }
}
