import MeshWire

/// A query that other nodes have not all answered.
struct PendingQuery {
    var id: QueryID
    var waiting: [MemberIndex]
    var due: Instant
}

/// Queries of the driver to other nodes.
extension Node {
    mutating func sendQuery(
        _ query: QueryID, _ target: Query, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        var isTrace = false
        var subject = Slice.empty
        var targets: [MemberIndex] = []
        switch target {
        case .everyone(let slice):
            subject = slice
            targets = members.ring.map { $0.index }
        case .node(let node, let slice):
            subject = slice
            if let index = members.index(of: node) { targets = [index] }
        case .holders(let keys, let slice):
            subject = slice
            for at in stride(from: Int(keys.start), to: keys.end - 7, by: 8) {
                targets += holderIndices(of: Key(bytes.load(UInt64.self, at: at)))
            }
        case .trace(let key):
            isTrace = true
            targets = holderIndices(of: key)
            if targets.contains(.oneself) {
                effects.append(.traced(query, holder: id, path: .empty))
            }
        }
        targets = Array(Set(targets)).sorted().filter {
            $0 != .oneself && members.status(of: $0).isPresent
        }
        // A suspect may live: whoever traces wants to know.
        if !isTrace { leaveOutSuspects(&targets) }
        guard !targets.isEmpty else {
            effects.append(.finished(query))
            return
        }
        let due = now + configuration.timing.query
        queries.append(PendingQuery(id: query, waiting: targets, due: due))
        timers.schedule(.query, at: due)
        let start = effects.bytes.count
        effects.bytes.append(
            query: query.rawValue, isTrace: isTrace, subject: subject, bytes)
        routeControl(
            Slice(start: start, count: effects.bytes.count - start),
            to: targets.map { members.id(of: $0) }, isTrace ? .traced : [], &effects)
    }

    /// An answer without what suspects know is told without delay; it counts that it lacks them.
    private mutating func leaveOutSuspects(_ asked: inout [MemberIndex]) {
        let count = asked.count
        asked.removeAll { members.status(of: $0) == .suspect }
        counters[.suspectsNotHeard] &+= UInt64(count - asked.count)
    }

    /// The members that hold a key, this one among them, in the order of their indices.
    func holderIndices(of key: Key) -> [MemberIndex] {
        let holders = directory.table.holders(of: key)
        var indices: [MemberIndex] = []
        switch holders {
        case .none: break
        case .one(let node): indices = [MemberIndex(node: node)]
        case .many(let set):
            indices = (0..<set.count).map {
                MemberIndex(node: directory.table.node(in: set, at: $0))
            }
        }
        return directory.withdrawals.isEmpty ? indices : indices.filter { !isWithdrawn($0) }
    }

    mutating func sendAnswer(
        to asker: NodeID, _ query: QueryID, _ answer: Slice, isTrace: Bool,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        let start = effects.bytes.count
        effects.bytes.append(answer: query.rawValue, isTrace: isTrace, answer, bytes)
        routeControl(
            Slice(start: start, count: effects.bytes.count - start), to: [asker], [], &effects)
    }

    mutating func strike(
        _ node: NodeID, from query: QueryID, _ effects: inout EffectBuffer
    ) {
        guard let position = queries.firstIndex(where: { $0.id == query }),
            let index = members.index(of: node)
        else { return }
        queries[position].waiting.removeAll { $0 == index }
        if queries[position].waiting.isEmpty {
            queries.remove(at: position)
            effects.append(.finished(query))
        }
    }

    /// A dead node answers nothing: nobody waits for it.
    mutating func strikeFromQueries(_ index: MemberIndex, _ effects: inout EffectBuffer) {
        for position in queries.indices { queries[position].waiting.removeAll { $0 == index } }
        for query in queries where query.waiting.isEmpty {
            effects.append(.finished(query.id))
        }
        queries.removeAll { $0.waiting.isEmpty }
    }

    mutating func expireQueries(_ effects: inout EffectBuffer) {
        for query in queries where query.due <= now {
            var silent = query.waiting
            leaveOutSuspects(&silent)
            for node in silent {
                effects.append(.unanswered(query.id, by: members.id(of: node)))
            }
            effects.append(.finished(query.id))
        }
        queries.removeAll { $0.due <= now }
        if let next = queries.map({ $0.due }).min() { timers.schedule(.query, at: next) }
    }
}
