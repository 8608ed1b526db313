import MeshCore
import MeshGateway
import MeshWire

/// Names that cost more to match with all patterns than one event may (`Work`): they are matched in
/// steps, one after another, a step in each turn of the driver, and everything else goes on meanwhile.
///
///     a client publishes ── too costly ──▶ its command is put back, and it is not listened to
///                                          … matched ──▶ its command is given again, and knows
///     a message arrives ─── too costly ──▶ it waits in the lane of its origin, and what comes behind
///                                          it from there too … matched ──▶ it is delivered
///
/// So the order of what one client publishes holds, nothing is lost, and those who publish elsewhere
/// do not wait. Messages to users pass: they are matched with no pattern, and go back to their origins
/// at once where the user has left.
///
/// Memory: each client that waits has its name here once more. A lane may hold `heldBytesMax` with the
/// others; beyond, its first messages are delivered to those that are known by then
/// (`ServerCounter.patternSearchesCut`). A name has been matched with the same patterns at its origin,
/// in steps too, before it came here: no origin can send costly ones faster than it matches them.
struct PatternSteps {
    /// A message that waits.
    struct Delivery {
        let body: RoutedBody
        let number: UInt32
        let key: Key
        let id: MessageID
        let isLabelled: Bool
        let nameCount: Int
        /// The name, then the payload.
        let bytes: [UInt8]

        var name: Slice { Slice(start: 0, count: nameCount) }
        var payload: Slice { Slice(start: nameCount, count: bytes.count - nameCount) }
        /// Its bytes and what goes with them.
        var cost: Int { bytes.count + 128 }
    }

    /// One of those that are served in turn.
    enum Turn {
        /// The tag is `Hub.senderTag`: the client's index may be used again by another.
        case publisher(ClientIndex, tag: UInt64, name: [UInt8])
        case lane(NodeID)
    }

    /// The search that the first turn has begun.
    struct Search {
        var name: SearchedName
        /// The search in the patterns of the mesh; nil unless the name is a publisher's.
        var mesh: PatternSearch?
        /// The search in the patterns of this node's clients.
        var local: PatternSearch
    }

    /// The result of a publisher's search.
    struct Finding {
        let tag: UInt64
        let search: Search
    }

    var turns = FIFO<Turn>()
    var search: Search?
    var lanes: [NodeID: FIFO<Delivery>] = [:]
    /// The cost of the messages in all lanes.
    var heldBytes = 0
    /// Results for publishers whose command has not been given again yet.
    var findings: [Finding] = []

    /// About a second of costly names of the greatest length.
    static let heldBytesMax = 32 * 1024 * 1024
    /// The work for a message that does not wait for more, when a lane holds too much: enough for an
    /// ordinary name.
    static let hastyUnits = 10_000
}

extension Server {
    // MARK: Publishing

    /// Whether the patterns that match a message's name are known; if not, the client waits for them.
    mutating func isMatched(
        _ publication: Publication, _ bytes: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        guard publication.message.body.matchesPatterns else { return true }
        if publication.isDecoded {
            let line = edge.gateway.decodedLine
            return isMatched(publication.message.name, line.span, client)
        }
        return isMatched(publication.message.name, bytes, client)
    }

    private mutating func isMatched(
        _ name: Slice, _ bytes: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        if !patternSteps.findings.isEmpty, use(name, bytes, client) { return true }
        let units = min(Work.perEvent, edge.gateway.hub.unitsLeft)
        var left = units
        let isKnown = node.match(name, bytes, &left)
        edge.gateway.hub.charge(units - left)
        if isKnown {
            if edge.gateway.hub.patternCount == 0 || edge.gateway.hub.match(name, bytes) {
                return true
            }
            node.forgetMatch()
        }
        hasSteps = true
        edge.gateway.putBack(client)
        patternSteps.turns.append(
            .publisher(
                client, tag: edge.gateway.hub.senderTag(of: client), name: bytes.array(name)))
        return false
    }

    /// A client that has waited publishes: what was found for it is used.
    private mutating func use(
        _ name: Slice, _ bytes: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        let tag = edge.gateway.hub.senderTag(of: client)
        guard let place = patternSteps.findings.firstIndex(where: { $0.tag == tag }) else {
            return false
        }
        let search = patternSteps.findings.remove(at: place).search
        guard let mesh = search.mesh, search.name.bytes == bytes.array(name) else { return false }
        node.use(mesh)
        if edge.gateway.hub.patternCount > 0 { edge.gateway.hub.use(search.local) }
        return true
    }

    // MARK: Delivering

    /// Delivers a message, unless others of its origin wait: then it does too.
    @inline(never)
    mutating func deliverInTurn(
        _ body: RoutedBody, _ number: UInt32, _ key: Key, _ name: Slice, _ payload: Slice,
        _ id: MessageID, isLabelled: Bool, _ bytes: Span<UInt8>, _ clientBytes: inout Int
    ) {
        if body == .user || patternSteps.lanes[id.origin] == nil {
            deliver(
                body, number, key, name, payload, id, isLabelled: isLabelled, bytes, &clientBytes)
        } else {
            hold(
                body, number, key, name, payload, id, isLabelled: isLabelled, bytes, &clientBytes)
        }
    }

    /// A message waits until its name is matched, and until those before it are delivered.
    @inline(never)
    mutating func hold(
        _ body: RoutedBody, _ number: UInt32, _ key: Key, _ name: Slice, _ payload: Slice,
        _ id: MessageID, isLabelled: Bool, _ bytes: Span<UInt8>, _ clientBytes: inout Int
    ) {
        let origin = id.origin
        let delivery = PatternSteps.Delivery(
            body: body, number: number, key: key, id: id, isLabelled: isLabelled,
            nameCount: Int(name.count),
            bytes: bytes.array(name) + bytes.array(payload))
        deliversAtOnce = false
        hasSteps = true
        patternSteps.heldBytes += delivery.cost
        if patternSteps.lanes[origin] == nil { patternSteps.turns.append(.lane(origin)) }
        patternSteps.lanes[origin, default: FIFO()].append(delivery)
        while patternSteps.heldBytes > PatternSteps.heldBytesMax,
            let first = patternSteps.lanes[origin]?.first
        {
            counters[.patternSearchesCut] &+= 1
            cutSearch(first, origin)
            deliverFirst(of: origin, &clientBytes)
        }
    }

    /// The first message of a lane goes to those whose patterns are known to match, or are found with
    /// little work.
    private mutating func cutSearch(_ first: PatternSteps.Delivery, _ origin: NodeID) {
        guard isMatchable(first) else { return }
        if case .lane(origin)? = patternSteps.turns.first, let search = patternSteps.search {
            edge.gateway.hub.use(search.local)
            patternSteps.search = nil
            return
        }
        var units = PatternSteps.hastyUnits
        if !edge.gateway.hub.match(first.name, first.bytes.span, within: &units) {
            edge.gateway.hub.use(nil)
        }
    }

    private mutating func isMatchable(_ delivery: PatternSteps.Delivery) -> Bool {
        delivery.body.matchesPatterns && edge.gateway.hub.patternCount > 0
    }

    /// The first message of a lane, whose name is matched, goes to the clients.
    private mutating func deliverFirst(of origin: NodeID, _ clientBytes: inout Int) {
        guard let first = patternSteps.lanes[origin]!.popFirst() else { return }
        patternSteps.heldBytes -= first.cost
        if patternSteps.lanes[origin]!.isEmpty { patternSteps.lanes[origin] = nil }
        deliver(
            first.body, first.number, first.key, first.name, first.payload, first.id,
            isLabelled: first.isLabelled, first.bytes.span, &clientBytes)
    }

    // MARK: Steps

    /// One step of each kind of work.
    @inline(never)
    mutating func step(_ effects: inout ServerEffects) {
        if !patternSteps.turns.isEmpty { stepPatterns(&effects) }
        if edge.gateway.hub.isGathering, let client = edge.gateway.hub.gather() {
            pause.resumable.append(client)
        }
        if edge.gateway.hub.hasGone { edge.gateway.endGone() }
        for client in edge.gateway.takeResting() { pause.resumable.append(client) }
        for waiting in pause.ofTurn where edge.gateway.hub.client(tagged: waiting.tag) != nil {
            pause.resumable.append(waiting.client)
        }
        pause.ofTurn.removeAll()
        hasSteps = !patternSteps.turns.isEmpty
    }

    /// Goes on with those that wait, for as much work as one event may cost.
    private mutating func stepPatterns(_ effects: inout ServerEffects) {
        var units = Work.perEvent
        while units > 0, let turn = patternSteps.turns.first {
            switch turn {
            case .publisher(let client, let tag, let name):
                // It may have gone.
                guard edge.gateway.hub.client(tagged: tag) != nil else {
                    endTurn()
                    continue
                }
                guard let search = step(name, forPublisher: true, &units) else { return }
                patternSteps.findings.append(PatternSteps.Finding(tag: tag, search: search))
                pause.resumable.append(client)
                endTurn()
            case .lane(let origin):
                guard let first = patternSteps.lanes[origin]?.first else {
                    endTurn()
                    continue
                }
                guard isFirstMatched(first, &units) else { return }
                units -= first.bytes.count / 64 + PatternSearch.unitsLeast
                deliverFirst(of: origin, &effects.clientBytes)
                endTurn()
                if patternSteps.lanes[origin] != nil { patternSteps.turns.append(turn) }
            }
        }
        deliversAtOnce = servesClients && patternSteps.lanes.isEmpty
    }

    private mutating func endTurn() {
        _ = patternSteps.turns.popFirst()
        patternSteps.search = nil
        guard !patternSteps.findings.isEmpty else { return }
        patternSteps.findings.removeAll { edge.gateway.hub.client(tagged: $0.tag) == nil }
    }

    /// Whether the patterns that match the first message of a lane are known, and no more to be found.
    private mutating func isFirstMatched(
        _ first: PatternSteps.Delivery, _ units: inout Int
    ) -> Bool {
        guard isMatchable(first) else { return true }
        if patternSteps.search == nil {
            // Most names behind a costly one are ordinary.
            let isWhole = units == Work.perEvent
            if edge.gateway.hub.match(first.name, first.bytes.span, within: &units) { return true }
            guard isWhole else { return false }
        }
        guard let search = step(Array(first.bytes[..<first.nameCount]), forPublisher: false, &units)
        else { return false }
        edge.gateway.hub.use(search.local)
        return true
    }

    /// Goes on with the search for the first turn; nil: it is not complete yet.
    private mutating func step(
        _ name: @autoclosure () -> [UInt8], forPublisher: Bool, _ units: inout Int
    ) -> PatternSteps.Search? {
        if patternSteps.search == nil { counters[.namesMatchedInSteps] &+= 1 }
        var search =
            patternSteps.search
            ?? PatternSteps.Search(
                name: SearchedName(name()), mesh: forPublisher ? node.patternSearch() : nil,
                local: edge.gateway.hub.patternSearch())
        // Taken out: its tables are not copied when they are changed.
        patternSteps.search = nil
        let isMeshDone =
            search.mesh == nil || node.advance(&search.mesh!, &search.name, &units)
        if isMeshDone, edge.gateway.hub.advance(&search.local, &search.name, &units) {
            return search
        }
        patternSteps.search = search
        return nil
    }
}
