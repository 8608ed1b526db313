import MeshWire

/// A question that other nodes have not all answered.
struct OpenQuestion {
    var id: QueryID
    var waiting: [MemberIndex]
    var due: Instant
}

/// Questions of the driver to other nodes, and control messages that come from afar.
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
                    ? members.standing(of: $0).isPresent : members.standing(of: $0) == .alive)
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

    /// A control message that another node, perhaps far away, has sent to this one. A malformed one
    /// is counted and dropped: the link that it came over belongs to somebody else.
    mutating func receivedControl(
        _ payload: Slice, from origin: NodeID, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        guard
            let message = try? Message.decode(bytes, from: Int(payload.start), to: payload.end)
        else {
            counters[.protocolErrors] &+= 1
            return
        }
        switch message {
        case .accuse(let subject, let incarnation, let evidence):
            receivedAccusation(of: subject, incarnation, evidence, by: origin, &effects)
        case .vouch(let subject, let incarnation):
            receivedVouch(for: subject, incarnation, &effects)
        case .acknowledge(let acknowledgement):
            receivedAcknowledgement(acknowledgement, from: origin, &effects)
        case .stranger(let key, let name, let sequence):
            receivedStranger(key, name: name, sequence: sequence, from: origin)
        case .skip(let last):
            receivedSkip(through: last, from: origin, &effects)
        case .question(let number, let isTrace, let subject):
            let question = QueryID(number)
            if isTrace {
                // The forwarders have signed behind the subject; the holder is the last of the way.
                var path = ByteQueue()
                path.append(bytes, Int(subject.start), Int(subject.count))
                path.append(id)
                path.withSpan {
                    sendAnswer(
                        to: origin, question, Slice(start: 0, count: $0.count),
                        isTrace: true, $0, &effects)
                }
            } else {
                effects.append(.asked(by: origin, question, subject: subject))
            }
        case .answer(let number, let answer):
            let question = QueryID(number)
            effects.append(.answered(question, from: origin, answer: answer))
            strike(origin, from: question, &effects)
        case .traceAnswer(let number, let path):
            let question = QueryID(number)
            effects.append(.traced(question, holder: origin, path: path))
            strike(origin, from: question, &effects)
        default:
            counters[.protocolErrors] &+= 1
        }
    }

    private mutating func strike(
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
