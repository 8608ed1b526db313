import MeshWire

/// The flows of a node: from it and to it, by the node at the other end; made when the first message
/// comes, forgotten with the member.
struct Flows: ~Copyable {
    var outgoing = Slab<OutgoingFlow>()
    var incoming = Slab<IncomingFlow>()
    private var freeOutgoing: [Int32] = []
    private var freeIncoming: [Int32] = []
    /// Places in `outgoing` by member, in `incoming` by the origin's id. Most members of a large mesh
    /// never exchange a message with this node.
    private var outgoingOf = IndexMap()
    private var incomingOf = IndexMap()
    private let secret: UInt64
    /// The numbers reached in flows to members that were forgotten while they were taken for dead:
    /// should one come back, it must not get the same numbers twice.
    private var former: [NodeID: UInt32] = [:]
    static let formerCountMax = 65_536

    var retention = Retention()
    /// Outgoing flows that keep something, in any order that the events decide.
    private(set) var active: [Int32] = []
    /// Outgoing flows that have grown to more memory than an idle one shall have.
    private var spacious: [Int32] = []
    /// Incoming flows that have something to tell.
    var due: [Int32] = []
    /// What waits in the windows of all incoming flows.
    var reorderBytes = 0
    /// All flows together keep too much.
    var isCongested = false
    /// Flows that are congested.
    var congestedCount = 0

    /// - Parameter secret: unknown to others, so that nobody can choose ids that collide.
    init(secret: UInt64 = 0) { self.secret = secret }

    // MARK: Outgoing

    @inline(__always)
    private static func hash(_ member: MemberIndex, _ secret: UInt64) -> UInt64 {
        RandomSource.mix(UInt64(UInt32(bitPattern: member.rawValue)) ^ secret)
    }

    /// -1: there is none yet.
    @inline(__always)
    func place(to member: MemberIndex) -> Int32 {
        let found = outgoingOf.find(Self.hash(member, secret)) { outgoing[$0].member == member }
        return Int32(truncatingIfNeeded: found ?? -1)
    }

    @inline(never)
    mutating func open(
        to member: MemberIndex, _ id: NodeID, window: Int, roundTrip: Delay, at now: Instant
    ) -> Int32 {
        let last = former.removeValue(forKey: id) ?? 0
        var flow = OutgoingFlow(
            to: member, after: last, window: window, roundTrip: roundTrip, at: now)
        flow.reverse = self.place(from: id)
        let place: Int32
        if let reused = freeOutgoing.popLast() {
            place = reused
            outgoing[Int(place)] = flow
        } else {
            place = Int32(outgoing.count)
            outgoing.append(flow)
        }
        outgoingOf.insert(Int(place), Self.hash(member, secret)) {
            outgoing.read($0) { Self.hash($0.member, secret) }
        }
        return place
    }

    /// The flow keeps something from now on.
    mutating func activate(_ place: Int32) {
        guard outgoing[Int(place)].activePlace < 0 else { return }
        outgoing[Int(place)].activePlace = Int32(active.count)
        active.append(place)
    }

    mutating func deactivate(_ place: Int32) {
        let hole = Int(outgoing[Int(place)].activePlace)
        guard hole >= 0 else { return }
        outgoing[Int(place)].activePlace = -1
        let last = active.removeLast()
        if last != place {
            active[hole] = last
            outgoing[Int(last)].activePlace = Int32(hole)
        }
    }

    /// Forgets the first messages of a flow.
    mutating func drop(_ count: Int, of place: Int32) {
        outgoing[Int(place)].drop(count, &retention)
        guard outgoing[Int(place)].count == 0 else { return }
        deactivate(place)
        if outgoing[Int(place)].queue.byteCapacity > OutgoingFlow.spareBytes,
            !outgoing[Int(place)].isSpacious
        {
            outgoing[Int(place)].isSpacious = true
            spacious.append(place)
        }
    }

    /// Takes back the memory of large flows through which nothing has passed since the last call.
    /// Not as soon as they are empty: a busy one is, again and again, and would grow anew each time.
    mutating func trim() {
        var kept = 0
        for at in spacious.indices {
            let place = Int(spacious[at])
            outgoing[place].queue.trim()
            outgoing[place].isSpacious =
                outgoing[place].queue.byteCapacity > OutgoingFlow.spareBytes
            if outgoing[place].isSpacious {
                spacious[kept] = spacious[at]
                kept += 1
            }
        }
        spacious.removeSubrange(kept...)
    }

    // MARK: Incoming

    /// -1: there is none yet.
    @inline(__always)
    func place(from origin: NodeID) -> Int32 {
        let found = incomingOf.find(origin.hash(secret)) { incoming[$0].origin == origin }
        return Int32(truncatingIfNeeded: found ?? -1)
    }

    @inline(never)
    mutating func open(from origin: NodeID, _ member: MemberIndex, at now: Instant) -> Int32 {
        let place: Int32
        if let reused = freeIncoming.popLast() {
            place = reused
            incoming[Int(place)] = IncomingFlow(from: origin, at: now)
        } else {
            place = Int32(incoming.count)
            incoming.append(IncomingFlow(from: origin, at: now))
        }
        incomingOf.insert(Int(place), origin.hash(secret)) {
            incoming.read($0) { $0.origin.hash(secret) }
        }
        let other = self.place(to: member)
        if other >= 0 { outgoing[Int(other)].reverse = place }
        return place
    }

    /// What waits for a missing message of this origin is forgotten.
    mutating func dropWaiting(from origin: NodeID) {
        let place = Int(place(from: origin))
        guard place >= 0 else { return }
        reorderBytes -= incoming[place].waitingBytes
        incoming[place].dropWaiting()
    }

    // MARK: Both

    /// A member is forgotten, and its place will be another's. Nothing is kept for it any more.
    mutating func forget(_ member: MemberIndex, _ id: NodeID) {
        let place = place(to: member)
        if place >= 0 {
            precondition(outgoing[Int(place)].count == 0, "messages for a dead node were kept")
            if former.count >= Self.formerCountMax { former.removeAll() }
            former[id] = outgoing[Int(place)].last
            outgoing[Int(place)].queue = ByteQueue()
            outgoingOf.remove(
                Self.hash(member, secret),
                rehash: { outgoing.read($0) { Self.hash($0.member, secret) } },
                where: { $0 == Int(place) })
            freeOutgoing.append(place)
        }
        let other = self.place(from: id)
        if other >= 0 {
            dropWaiting(from: id)
            incomingOf.remove(
                id.hash(secret), rehash: { incoming.read($0) { $0.origin.hash(secret) } },
                where: { $0 == Int(other) })
            if incoming[Int(other)].isListed {
                incoming[Int(other)].isForgotten = true
            } else {
                freeIncoming.append(other)
            }
        }
    }

    /// An incoming flow has left the list of those with something to tell.
    mutating func unlist(_ place: Int32) {
        incoming[Int(place)].isListed = false
        if incoming[Int(place)].isForgotten { freeIncoming.append(place) }
    }
}

/// What a node keeps for messages under way, in bytes and numbers; for status and checks.
public struct FlowSizes: Sendable {
    /// Nodes that this one has sent messages to, and those that it has messages from.
    public var outgoing: Int
    public var incoming: Int
    /// Messages that are not acknowledged, and the bytes of all that is kept for them.
    public var retainedCount: Int
    public var retainedBytes: Int
    /// The same for messages that wait for a missing one.
    public var reorderedBytes: Int
    /// The same for messages that wait for their user.
    public var heldCount: Int
    public var heldBytes: Int
    /// Flows that have their window full.
    public var congested: Int
}
