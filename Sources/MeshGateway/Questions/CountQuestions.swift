import MeshCore
import MeshWire

// PUBSUB NUMSUB and SHARDNUMSUB: the subscribers that other nodes have, asked for in parts.
//
// One command may name 65,536 channels, with 8 MiB of names. So a question names no more than fit into
// 64 KiB, and 2,048 of them; the next one follows in a turn of its own when the nodes that hold those channels
// have answered.
//
//     keys:     8 bytes for each name: who holds one of them is asked
//     subject:  2, kind, then names: two bytes of length, and their bytes
//     answer:   four bytes of subscribers for each name, in order

/// Questions of this node's clients about the numbers of subscribers elsewhere.
struct CountQuestions {
    /// Large parts that are not answered.
    var largeOpen = 0
    /// Questions whose next part is large and waits for others to be answered, the first one first.
    var waiting = WaitingQuestions()
    /// Questions whose next part is asked for in the next turn.
    var due = FIFO<QueryID>()

    /// The most names in one part, and in one that another node asks for: older ones send as many as fit.
    static let partNames = 2_048
    static let askedNamesMax = 8_192
    /// The cost of counting one name's subscribers.
    static let nameUnits = 48
    /// The most bytes of names and keys in one part; a single name may have more.
    static let partBytes = 64 * 1024
    /// A part with more bytes is large.
    static let smallBytes = 4 * 1024
    /// The most large parts that are open at once.
    static let largeMax = 64
}

extension Hub {
    /// Asks for the subscribers of channels in the mesh: at most `countedNamesMax` names, and
    /// `countedBytesMax` bytes of them.
    mutating func askCounts(
        _ kind: TopicKind, _ names: NameList, _ client: ClientIndex
    ) -> Outcome {
        if names.isEmpty { return .subscribers(names, []) }
        for index in 0..<names.count where Int(names[index].count) > Frame.nameLengthMax {
            return .refused(.syntax(.name(.channel, bytesMax: Frame.nameLengthMax)))
        }
        let id = openQuestion(.counts(kind, names), client, target: nil)
        questions[id]!.counts = [Int](repeating: 0, count: names.count)
        clients[client.slot].flags.insert(.asking)
        askNextCounts(id)
        return .waits
    }

    /// Some questions go on with their next parts: `askDueCounts` is to be called, once a turn.
    var hasDueCounts: Bool { !questions.counts.due.isEmpty }

    /// Asks for the next part of the question that has waited longest.
    mutating func askDueCounts() {
        guard let id = questions.counts.due.popFirst() else { return }
        if isAwaited(id) { askNextCounts(id) } else { questions[id] = nil }
    }

    /// Asks for the next names of a question, now or when it is its turn.
    private mutating func askNextCounts(_ id: QueryID) {
        guard case .counts(let kind, let names) = questions[id]?.subject else { return }
        let start = questions[id]!.asked.upperBound
        var (end, size, units) = (start, 0, Work.perEvent)
        while end < min(names.count, start + CountQuestions.partNames), units > 0 {
            let more = Int(names[end].count) + 10
            if end > start, size + more > CountQuestions.partBytes { break }
            questions[id]!.counts[end] += localCount(
                kind, names[end], names.bytes.span, &units)
            size += more
            end += 1
        }
        questions[id]!.asked = start..<end
        questions[id]!.isLarge = size > CountQuestions.smallBytes
        if questions[id]!.isLarge {
            questions.counts.waiting = wait(id, behind: questions.counts.waiting)
            startLargeCounts()
        } else {
            sendCounts(id)
        }
    }

    private mutating func startLargeCounts() {
        while questions.counts.largeOpen < CountQuestions.largeMax,
            let id = questions.counts.waiting.ids.popFirst()
        {
            guard isAwaited(id) else {
                questions[id] = nil
                continue
            }
            questions.counts.largeOpen += 1
            sendCounts(id)
        }
    }

    private mutating func sendCounts(_ id: QueryID) {
        guard let asked = questions[id]?.asked,
            case .counts(let kind, let names) = questions[id]?.subject
        else { return }
        var bytes = ByteQueue()
        for index in asked {
            let name = names[index]
            let key = hasher.key(
                kind.keyKind, names.bytes.span, Int(name.start), Int(name.count))
            bytes.append(integer: key.rawValue)
        }
        let keys = Slice(start: 0, count: bytes.count)
        bytes.append(Self.countsTag)
        bytes.append(kind.rawValue)
        for index in asked {
            let name = names[index]
            bytes.append(integer: UInt16(name.count))
            bytes.append(names.bytes.span, Int(name.start), Int(name.count))
        }
        let subject = Slice(start: keys.end, count: bytes.count - keys.end)
        ask(id, .holders(keys: keys, subject: subject), bytes.array)
    }

    /// One node's subscribers of the names that were asked for.
    mutating func gatherCounts(
        _ answer: Slice, _ input: Span<UInt8>, of id: QueryID, from node: NodeID
    ) {
        guard let asked = questions[id]?.asked else { return }
        guard Int(answer.count) == asked.count * 4 else {
            counters[.answersMalformed] += 1
            questions[id]!.unheard.append(node)
            return
        }
        for (place, index) in asked.enumerated() {
            questions[id]!.counts[index] += Int(
                input.load(UInt32.self, at: Int(answer.start) + place * 4))
        }
    }

    /// All have told the subscribers of the names that were asked for.
    ///
    /// - Returns: the client to go on with, if its question is answered with that.
    mutating func finishCounts(_ id: QueryID, unheard: String?) -> ClientIndex? {
        let isAwaited = self.isAwaited(id)
        guard let question = questions.take(id),
            case .counts(_, let names) = question.subject
        else { return nil }
        if question.isLarge { questions.counts.largeOpen -= 1 }
        defer { startLargeCounts() }
        if isAwaited, question.unheard.isEmpty, question.asked.upperBound < names.count {
            // Under a number of its own: what comes late for this part is not taken for the next one.
            let next = questions.takeID()
            questions[next] = question
            questions.counts.due.append(next)
            return nil
        }
        guard let isHeard = endAsking(question) else { return nil }
        let client = question.client
        guard isHeard else { return client }
        // Nothing says of a sum which part is missing: 0 reads as nobody there.
        if let first = question.unheard.first {
            refuse(
                client,
                .state(.silentNodes(unheard ?? "\(first)", count: question.unheard.count)))
            return client
        }
        answer(client, .subscribers(names, question.counts))
        return client
    }
}
