import MeshCore
import MeshWire

// PUBSUB NUMSUB and SHARDNUMSUB: the subscribers that other nodes have, asked for in parts.
//
// One command may name 65,536 channels, with 8 MiB of names. So a question names no more than fit into
// 64 KiB, and the next one follows when the nodes that hold those channels have answered.
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
        _ kind: TopicKind, _ names: [[UInt8]], _ client: ClientIndex
    ) -> Outcome {
        if names.isEmpty { return .subscribers([]) }
        if names.contains(where: { $0.count > Frame.nameLengthMax }) {
            return .refused(.syntax(.name(.channel, bytesMax: Frame.nameLengthMax)))
        }
        let id = openQuestion(.counts(kind, names), client, target: nil)
        questions[id]!.counts = names.map { localCount(kind, $0) }
        clients[client.slot].flags.insert(.asking)
        askNextCounts(id)
        return .waits
    }

    /// Asks for the next names of a question, now or when it is its turn.
    private mutating func askNextCounts(_ id: QueryID) {
        guard case .counts(_, let names) = questions[id]?.subject else { return }
        let start = questions[id]!.asked.upperBound
        var (end, size) = (start, 0)
        while end < names.count {
            let more = names[end].count + 10
            if end > start, size + more > CountQuestions.partBytes { break }
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
        guard let question = questions[id], case .counts(let kind, let names) = question.subject
        else { return }
        var bytes = ByteQueue()
        for name in names[question.asked] {
            bytes.append(integer: hasher.key(kind.keyKind, name).rawValue)
        }
        let keys = Slice(start: 0, count: bytes.count)
        bytes.append(Self.countsTag)
        bytes.append(kind.rawValue)
        for name in names[question.asked] { Self.append(name, to: &bytes) }
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
            askNextCounts(next)
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
        answer(client, .subscribers(zip(names, question.counts).map { ($0, $1) }))
        return client
    }
}
