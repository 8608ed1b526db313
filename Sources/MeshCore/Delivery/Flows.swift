import MeshWire

/// One of a kind for each lane.
struct ByLane<Value> {
    var messages: Value
    var bulk: Value

    @inline(__always)
    subscript(lane: Lane) -> Value {
        get { lane == .messages ? messages : bulk }
        _modify {
            switch lane {
            case .messages: yield &messages
            case .bulk: yield &bulk
            }
        }
    }
}

/// The flows of a node: from it and to it, by the node at the other end and the lane; made when the
/// first message comes, forgotten with the member.
struct Flows: ~Copyable {
    var outgoing = Slab<OutgoingFlow>()
    var incoming = Slab<IncomingFlow>()
    private var freeOutgoing: [FlowIndex] = []
    private var freeIncoming: [IncomingFlowIndex] = []
    /// Places in `outgoing` by member, in `incoming` by the origin's id. Most members of a large mesh
    /// never exchange a message with this node.
    private var outgoingOf = ByLane(messages: IndexMap(), bulk: IndexMap())
    private var incomingOf = ByLane(messages: IndexMap(), bulk: IndexMap())
    private let secret: UInt64
    /// The numbers reached in flows to members that were forgotten while they were taken for dead:
    /// should one come back, it must not get the same numbers twice.
    private var former = ByLane<[NodeID: UInt32]>(messages: [:], bulk: [:])
    /// At the bound the lower half of those numbers is forgotten, and the highest of that half stands for all
    /// of it: a flow to anybody who is not in the list begins after it. A flow may begin in the middle
    /// (`IncomingFlow.isFresh`), but not too far on (`IncomingFlow.distanceMax`) for somebody who has not
    /// forgotten it; of the lower half hardly any number is so low.
    private var formerHighest = ByLane<UInt32>(messages: 0, bulk: 0)
    static let formerCountMax = 65_536

    /// The number of the last message that was published here.
    var lastNumber: UInt32 = 0
    var retransmission = RetransmissionBuffer()
    /// Outgoing flows that keep something, in any order that the events decide.
    private(set) var active: [FlowIndex] = []
    /// Outgoing flows that have grown to more memory than an idle one shall have.
    private var spacious: [FlowIndex] = []
    /// Incoming flows that have something to tell.
    var due: [IncomingFlowIndex] = []
    var copiesReturned = CopiesReturned()
    /// By link.
    var backlogs: [Backlog] = []
    /// Messages that go through the bulk lane, of all flows.
    var largeCount = 0
    var reassembly = Reassembly()
    /// The bytes that wait in the windows of all incoming flows.
    var reorderBytes = ByLane(messages: 0, bulk: 0)
    /// All flows together keep too much.
    var isCongested = false
    /// Flows of messages that are congested.
    var congestedCount = 0
    /// All flows of the bulk lane together keep too much.
    var isBulkCongested = false

    /// - Parameter secret: unknown to others, so that nobody can choose ids that collide.
    init(secret: UInt64 = 0) { self.secret = secret }

    // MARK: Outgoing

    /// Members' places are dense, and nobody else chooses them: an odd factor spreads them, and of two
    /// places no two meet that differ in the low bits that a map uses.
    @inline(__always)
    private static func hash(_ member: MemberIndex) -> UInt64 {
        UInt64(UInt32(bitPattern: member.rawValue)) &* 0x9E37_79B9_7F4A_7C15
    }

    /// None: it is not open.
    @inline(__always)
    func flow(to member: MemberIndex, _ lane: Lane = .messages) -> FlowIndex {
        switch lane {
        case .messages:
            FlowIndex(
                found: outgoingOf.messages.find(Self.hash(member)) {
                    outgoing[$0].member == member
                })
        case .bulk:
            FlowIndex(
                found: outgoingOf.bulk.find(Self.hash(member)) { outgoing[$0].member == member })
        }
    }

    @inline(never)
    mutating func open(
        to member: MemberIndex, _ id: NodeID, _ lane: Lane = .messages, window: Int,
        roundTrip: Delay, at now: Instant
    ) -> FlowIndex {
        let last = former[lane].removeValue(forKey: id) ?? formerHighest[lane]
        var fresh = OutgoingFlow(
            to: member, id, lane, after: last, window: window, roundTrip: roundTrip, at: now)
        if lane == .messages { fresh.reverse = flow(from: id) }
        let flow: FlowIndex
        if let reused = freeOutgoing.popLast() {
            flow = reused
            outgoing[flow] = fresh
        } else {
            flow = FlowIndex(outgoing.count)
            outgoing.append(fresh)
        }
        outgoingOf[lane].insert(flow.slot, Self.hash(member)) {
            outgoing.read($0) { Self.hash($0.member) }
        }
        return flow
    }

    /// The flow keeps something from now on.
    mutating func activate(_ flow: FlowIndex) {
        guard outgoing[flow].activePlace < 0 else { return }
        outgoing[flow].activePlace = Int32(active.count)
        active.append(flow)
    }

    mutating func deactivate(_ flow: FlowIndex) {
        let hole = Int(outgoing[flow].activePlace)
        guard hole >= 0 else { return }
        outgoing[flow].activePlace = -1
        let last = active.removeLast()
        if last != flow {
            active[hole] = last
            outgoing[last].activePlace = Int32(hole)
        }
    }

    /// Forgets the first messages of a flow.
    mutating func drop(_ count: Int, of flow: FlowIndex) {
        outgoing[flow].drop(count, &retransmission)
        guard outgoing[flow].count == 0 else { return }
        deactivate(flow)
        if outgoing[flow].queue.byteCapacity > OutgoingFlow.spareBytes,
            !outgoing[flow].isSpacious
        {
            outgoing[flow].isSpacious = true
            spacious.append(flow)
        }
    }

    /// Takes back the memory of large flows through which nothing has passed since the last call.
    /// Not as soon as they are empty: a busy one is, again and again, and would grow anew each time.
    mutating func trim() {
        var kept = 0
        for at in spacious.indices {
            let flow = spacious[at]
            outgoing[flow].queue.trim()
            outgoing[flow].isSpacious =
                outgoing[flow].queue.byteCapacity > OutgoingFlow.spareBytes
            if outgoing[flow].isSpacious {
                spacious[kept] = flow
                kept += 1
            }
        }
        spacious.removeSubrange(kept...)
    }

    // MARK: Incoming

    /// None: it is not open.
    @inline(__always)
    func flow(from origin: NodeID, _ lane: Lane = .messages) -> IncomingFlowIndex {
        let hash = origin.hash(secret)
        return switch lane {
        case .messages:
            IncomingFlowIndex(
                found: incomingOf.messages.find(hash) { incoming[$0].origin == origin })
        case .bulk:
            IncomingFlowIndex(
                found: incomingOf.bulk.find(hash) { incoming[$0].origin == origin })
        }
    }

    @inline(never)
    mutating func open(
        from origin: NodeID, _ member: MemberIndex, _ lane: Lane = .messages, at now: Instant
    ) -> IncomingFlowIndex {
        let flow: IncomingFlowIndex
        if let reused = freeIncoming.popLast() {
            flow = reused
            incoming[flow] = IncomingFlow(from: origin, lane, at: now)
        } else {
            flow = IncomingFlowIndex(incoming.count)
            incoming.append(IncomingFlow(from: origin, lane, at: now))
        }
        incomingOf[lane].insert(flow.slot, origin.hash(secret)) {
            incoming.read($0) { $0.origin.hash(secret) }
        }
        if lane == .messages {
            let other = self.flow(to: member)
            if !other.isNone { outgoing[other].reverse = flow }
        }
        return flow
    }

    /// Messages that wait for a missing one of this origin are forgotten.
    mutating func dropWaiting(from origin: NodeID) {
        dropWaiting(from: origin, .messages)
        dropWaiting(from: origin, .bulk)
    }

    private mutating func dropWaiting(from origin: NodeID, _ lane: Lane) {
        let flow = flow(from: origin, lane)
        guard !flow.isNone else { return }
        reorderBytes[lane] -= incoming[flow].waitingBytes
        incoming[flow].dropWaiting()
    }

    /// Forgets the parts of a large message that have come. Returns whether there were any.
    @discardableResult
    mutating func dropPartial(_ flow: IncomingFlowIndex) -> Bool {
        guard incoming[flow].partial.size > 0 else { return false }
        reassembly.end(flow, incoming[flow].partial.bytes.count)
        incoming[flow].partial = PartialMessage()
        return true
    }

    /// Something has found nobody here and is not its origin's again.
    var givesBack: Bool { due.contains { !incoming[$0].returned.numbers.isEmpty } }

    // MARK: Both

    /// A member is forgotten, and its place will be another's. Nothing is kept for it any more.
    mutating func forget(_ member: MemberIndex, _ id: NodeID) {
        forget(member, id, .messages)
        forget(member, id, .bulk)
    }

    private mutating func forget(_ member: MemberIndex, _ id: NodeID, _ lane: Lane) {
        let flow = flow(to: member, lane)
        if !flow.isNone {
            precondition(
                outgoing[flow].count == 0 && outgoing[flow].large.isEmpty,
                "messages for a dead node were kept")
            if former[lane].count >= Self.formerCountMax { forgetLowerHalf(of: lane) }
            former[lane][id] = outgoing[flow].last
            outgoing[flow].queue = ByteQueue()
            if lane == .bulk { outgoing[flow].isCongested = false }
            outgoingOf[lane].remove(
                Self.hash(member), rehash: { outgoing.read($0) { Self.hash($0.member) } },
                where: { $0 == flow.slot })
            freeOutgoing.append(flow)
        }
        let other = self.flow(from: id, lane)
        if !other.isNone {
            dropWaiting(from: id, lane)
            dropPartial(other)
            incomingOf[lane].remove(
                id.hash(secret), rehash: { incoming.read($0) { $0.origin.hash(secret) } },
                where: { $0 == other.slot })
            if incoming[other].isListed {
                incoming[other].isForgotten = true
            } else {
                freeIncoming.append(other)
            }
        }
    }

    /// O(n log n), each time that half of the bound has been forgotten.
    private mutating func forgetLowerHalf(of lane: Lane) {
        let highest = former[lane].values.sorted()[Self.formerCountMax / 2]
        formerHighest[lane] = max(formerHighest[lane], highest)
        former[lane] = former[lane].filter { $0.value > highest }
    }

    /// An incoming flow has left the list of those with something to tell.
    mutating func unlist(_ flow: IncomingFlowIndex) {
        incoming[flow].isListed = false
        if incoming[flow].isForgotten { freeIncoming.append(flow) }
    }
}

/// The messages under way that a node keeps, in bytes and numbers; for status and checks.
public struct FlowSizes: Sendable {
    /// Flows to other nodes, and from them, two with a node at the most.
    public var outgoing: Int
    public var incoming: Int
    /// Messages that are not acknowledged, and the bytes of all that is kept for them.
    public var retainedCount: Int
    public var retainedBytes: Int
    /// The same for messages that wait for a missing one.
    public var reorderedBytes: Int
    /// The same for messages that wait for their user.
    public var parkedCount: Int
    public var parkedBytes: Int
    /// Flows that have their window full.
    public var congested: Int
}
