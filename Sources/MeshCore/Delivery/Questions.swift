import MeshWire

/// A question that other nodes have not all answered.
struct OpenQuestion {
    var id: QueryID
    var waiting: [MemberIndex]
    var due: Instant
}

/// Questions of the driver to other nodes.
extension Node {
    mutating func ask(
        _ question: QueryID, _ query: Query, _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        var isTrace = false
        var subject = Slice.empty
        var targets: [MemberIndex] = []
        switch query {
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
                effects.append(.traced(question, holder: id, path: .empty))
            }
        }
        targets = Array(Set(targets)).sorted().filter {
            // A suspect may live: whoever traces wants to know.
            $0 != .oneself
                && (isTrace
                    ? members.status(of: $0).isPresent : members.status(of: $0) == .alive)
        }
        guard !targets.isEmpty else {
            effects.append(.finished(question))
            return
        }
        let due = now + configuration.timing.query
        questions.append(OpenQuestion(id: question, waiting: targets, due: due))
        timers.schedule(.query, at: due)
        let start = effects.bytes.count
        effects.bytes.append(
            question: question.rawValue, isTrace: isTrace, subject: subject, bytes)
        routeControl(
            Slice(start: start, count: effects.bytes.count - start),
            to: targets.map { members.id(of: $0) }, isTrace ? .traced : [], &effects)
    }

    /// The members that hold a key, this one among them, in the order of their indices.
    func holderIndices(of key: Key) -> [MemberIndex] {
        let holders = directory.holders(of: key)
        var indices: [MemberIndex] = []
        switch holders {
        case .none: break
        case .one(let node): indices = [MemberIndex(node: node)]
        case .many(let set):
            indices = (0..<set.count).map { MemberIndex(node: directory.node(in: set, at: $0)) }
        }
        return withdrawals.isEmpty ? indices : indices.filter { !isWithdrawn($0) }
    }

    mutating func sendAnswer(
        to asker: NodeID, _ question: QueryID, _ answer: Slice, isTrace: Bool,
        _ bytes: Span<UInt8>, _ effects: inout EffectBuffer
    ) {
        let start = effects.bytes.count
        effects.bytes.append(answer: question.rawValue, isTrace: isTrace, answer, bytes)
        routeControl(
            Slice(start: start, count: effects.bytes.count - start), to: [asker], [], &effects)
    }

    mutating func strike(
        _ node: NodeID, from question: QueryID, _ effects: inout EffectBuffer
    ) {
        guard let place = questions.firstIndex(where: { $0.id == question }),
            let index = members.index(of: node)
        else { return }
        questions[place].waiting.removeAll { $0 == index }
        if questions[place].waiting.isEmpty {
            questions.remove(at: place)
            effects.append(.finished(question))
        }
    }

    /// A dead node answers nothing: nobody waits for it.
    mutating func strikeFromQuestions(_ index: MemberIndex, _ effects: inout EffectBuffer) {
        for place in questions.indices { questions[place].waiting.removeAll { $0 == index } }
        for question in questions where question.waiting.isEmpty {
            effects.append(.finished(question.id))
        }
        questions.removeAll { $0.waiting.isEmpty }
    }

    mutating func expireQuestions(_ effects: inout EffectBuffer) {
        for question in questions where question.due <= now {
            effects.append(.finished(question.id))
        }
        questions.removeAll { $0.due <= now }
        if let next = questions.map({ $0.due }).min() { timers.schedule(.query, at: next) }
    }
}
