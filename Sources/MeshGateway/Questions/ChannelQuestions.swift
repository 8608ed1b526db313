import MeshCore
import MeshWire

// PUBSUB CHANNELS and SHARDCHANNELS, MESH.ROOMS and MESH.SERVICES: the names that other nodes have come in parts.
//
//     asker ── everyone: from place 0 on ──▶ all
//     asker ◀─ names, next 5,210 ─────────── one of them; the others have told all
//     asker ── from place 5,210 on ────────▶ that one
//     asker ◀─ names, next 0 ───────────────
//
// A node may have millions of names. An answer has few enough of them to delay nothing that shares a
// link with it, and costs the node that gives it little time. The asker asks for the next part when it
// has the one before, and for few at once: so whoever asks has the cost, and no queue grows.
//
//     subject:  1, kind, place 4, 1 and a pattern up to the end or 0
//      answer:  next place 4 (0: that was all), then names: two bytes of length, and their bytes
//
// Places are those of the node's table of topics, where a topic stays as long as it exists. So each
// that exists all the while is told, as in Redis's SCAN; one that comes or goes meanwhile may be or not.

/// Questions of this node's clients about the channels here and elsewhere.
struct ChannelQuestions {
    /// A question that the other nodes have been asked.
    struct Open {
        let id: QueryID
        /// Some have not answered yet.
        var isAsking = true
        /// Where this node's own names go on, which are gathered in steps too; nil: that was all.
        var place: UInt32? = 0
    }

    /// The rest of one node's names, from a place on.
    struct Part {
        let question: QueryID
        let node: NodeID
        let place: UInt32
    }

    /// Questions that are not answered, the first one first.
    var open: [Open] = []
    /// Questions that wait until others are answered, the first one first.
    var waiting = WaitingQuestions()
    /// Parts that are on their way here.
    var partsAsked = 0

    /// The most questions that are open at once: each node answers each of them at once.
    static let openMax = 32
    /// The most parts that are on their way here at once, and the most questions that they are for. If
    /// all grew together, they would all move what they have to larger memory at the same time.
    static let partsAskedMax = 8
    static let growingMax = 2
    /// The most bytes of names in the part that everyone is asked for, and in each later one. One
    /// name is told in any case.
    static let firstPartBytes = 16 * 1024
    static let partBytes = 128 * 1024
    /// The cost of a place of the table, and of a name that is told, in units of work.
    static let placeUnits = 8
    static let nameUnits = 16
}

extension Hub {
    /// Asks for the channels of the mesh, or those whose names match a pattern.
    mutating func askChannels(
        _ kind: TopicKind, pattern: [UInt8]?, _ client: ClientIndex
    ) -> Outcome {
        if (pattern?.count ?? 0) > Frame.patternLengthMax {
            return .refused(.syntax(.name(.pattern, bytesMax: Frame.patternLengthMax)))
        }
        clients[client.slot].flags.insert(.asking)
        let id = openQuestion(.channels(kind, pattern: pattern), client, target: nil)
        questions.channels.waiting = wait(id, behind: questions.channels.waiting)
        startChannelQuestions()
        return .waits
    }

    private mutating func startChannelQuestions() {
        while questions.channels.open.count < ChannelQuestions.openMax,
            let id = questions.channels.waiting.ids.popFirst()
        {
            guard isAwaited(id), case .channels(let kind, let pattern) = questions[id]?.subject
            else {
                questions[id] = nil
                continue
            }
            questions.channels.open.append(ChannelQuestions.Open(id: id))
            var units = Work.perEvent
            gatherChannels(questions.channels.open.count - 1, &units)
            send(id, kind, pattern, from: 0, to: nil)
        }
    }

    /// Some names of this node are still to be gathered, or parts to be asked for: `gather` is to be called,
    /// once a turn.
    public var isGathering: Bool {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { hasDueCounts || questions.channels.open.contains { $0.place != nil } }
    }

    /// Gathers some of this node's own names for the first question that lacks them, and goes on with one
    /// about numbers of subscribers. Afterwards the driver performs the errands of `outbox`.
    ///
    /// - Returns: the client to go on with, if its question is answered with that.
    public mutating func gather() -> ClientIndex? {
        askDueCounts()
        guard let position = questions.channels.open.firstIndex(where: { $0.place != nil }) else {
            return nil
        }
        let id = questions.channels.open[position].id
        var units = Work.perEvent
        gatherChannels(position, &units)
        return questions.channels.open[position].place == nil
            ? concludeChannels(id, unheard: nil) : nil
    }

    /// Asks a node, or everyone, for the names from a place on.
    private mutating func send(
        _ id: QueryID, _ kind: TopicKind, _ pattern: [UInt8]?, from place: UInt32,
        to node: NodeID?
    ) {
        var bytes = ByteQueue()
        bytes.append(Self.channelsTag)
        bytes.append(kind.rawValue)
        bytes.append(integer: place)
        // No pattern and `*` differ only for the empty name, as in Redis.
        bytes.append(UInt8(pattern == nil ? 0 : 1))
        bytes.append(pattern ?? [])
        ask(id, to: node, bytes.array)
    }

    /// Goes on with the channels here whose names match.
    private mutating func gatherChannels(_ position: Int, _ units: inout Int) {
        let id = questions.channels.open[position].id
        guard var question = questions.take(id),
            case .channels(let kind, let pattern) = question.subject,
            var index = questions.channels.open[position].place.map({ Int($0) })
        else {
            questions.channels.open[position].place = nil
            return
        }
        defer { questions[id] = question }
        let count = isAwaited(question) ? registry.topics.indices.count : 0
        while index < count, units > 0 {
            let topic = TopicIndex(rawValue: Int32(index))
            index += 1
            units -= ChannelQuestions.placeUnits
            guard registry.topics.isLive(topic), registry.topics[topic].kind == kind else {
                continue
            }
            let name = registry.topics.name(topic)
            if let pattern, !Glob.matches(pattern, name, &units) { continue }
            units -= ChannelQuestions.nameUnits
            guard let words = words(for: name, kind) else { continue }
            if !note(words.span, 0, words.count, in: &question) { index = count }
        }
        questions.channels.open[position].place = index < count ? UInt32(index) : nil
    }

    /// Remembers that the question's answer is not all when it has gathered all that it may.
    ///
    /// - Returns: whether it may gather more.
    private func note(
        _ input: Span<UInt8>, _ start: Int, _ count: Int, in question: inout Question
    ) -> Bool {
        guard question.names.cost + count <= Self.answerBytesMax else {
            question.isCut = true
            return false
        }
        question.names.insert(input, start, count, questions.hasher)
        return true
    }

    // MARK: Answering others

    /// Another node wants names from a place on; `at` is where the subject goes on behind its kind.
    ///
    /// - Returns: false if the subject is malformed: nothing is written.
    func answerChannels(
        _ kind: TopicKind, _ input: Span<UInt8>, _ at: Int, _ end: Int,
        into answer: inout ByteQueue
    ) -> Bool {
        guard at + 5 <= end, input[at + 4] <= 1 else { return false }
        let place = input.load(UInt32.self, at: at)
        let pattern =
            input[at + 4] == 0 ? nil : input.array(Slice(start: at + 5, count: end - at - 5))
        guard (pattern?.count ?? 0) <= Frame.patternLengthMax else { return false }
        let bytesMax =
            place == 0 ? ChannelQuestions.firstPartBytes : ChannelQuestions.partBytes
        let nextOffset = answer.count
        answer.append(integer: UInt32(0))
        var bytesLeft = bytesMax
        var units = Work.perEvent
        var index = Int(place)
        let count = registry.topics.indices.count
        while index < count {
            let topic = TopicIndex(rawValue: Int32(index))
            index += 1
            units -= ChannelQuestions.placeUnits
            if registry.topics.isLive(topic), registry.topics[topic].kind == kind {
                let name = registry.topics.name(topic)
                var matches = true
                if let pattern { matches = Glob.matches(pattern, name, &units) }
                if matches, let words = words(for: name, kind) {
                    if bytesLeft < bytesMax, words.count + 2 > bytesLeft {
                        index -= 1
                        break
                    }
                    bytesLeft -= words.count + 2
                    units -= ChannelQuestions.nameUnits
                    // The asker knows whose they are.
                    Self.append(
                        kind == .service ? Array(words.dropFirst(8)) : words, to: &answer)
                }
            }
            if units <= 0 || bytesLeft <= 0 { break }
        }
        if index < count {
            answer.overwrite(integer: UInt32(truncatingIfNeeded: index), at: nextOffset)
        }
        return true
    }

    // MARK: Gathering answers

    /// One part of a node's names is here.
    ///
    /// - Parameters:
    ///   - question: the client's, in which the names are gathered.
    ///   - place: that from which on names were asked for.
    mutating func gatherPart(
        _ answer: Slice, _ input: Span<UInt8>, of id: QueryID, from node: NodeID, place: UInt32
    ) {
        // Its client has gone, or has been told that the answer would not be all.
        guard var question = questions.take(id) else { return }
        defer { questions[id] = question }
        guard case .channels(let kind, _) = question.subject else { return }
        // A node of version 2 of the wire has no rooms or services, and answers nothing.
        if answer.count == 0, kind == .room || kind == .service { return }
        var at = Int(answer.start) + 4
        guard at <= answer.end else { return misread(node, &question) }
        let next = input.load(UInt32.self, at: at - 4)
        guard next == 0 || next > place else { return misread(node, &question) }
        while at < answer.end {
            guard let name = Self.name(input, &at, answer.end) else {
                return misread(node, &question)
            }
            if kind == .service {
                guard let row = ServiceRow.told(input, name, by: node) else {
                    return misread(node, &question)
                }
                if note(row.span, 0, row.count, in: &question) { continue }
                counters[.answersCut] += 1
                return
            }
            guard note(input, Int(name.start), Int(name.count), in: &question) else {
                counters[.answersCut] += 1
                return
            }
        }
        if next != 0 {
            question.partsLeft += 1
            question.partsWanted.append(
                ChannelQuestions.Part(question: id, node: node, place: next))
        }
    }

    private mutating func misread(_ node: NodeID, _ question: inout Question) {
        counters[.answersMalformed] += 1
        question.unheard.append(node)
    }

    /// A part has come, or will not.
    ///
    /// - Returns: the client to go on with, if its question is answered with that.
    mutating func finishPart(
        _ part: ChannelQuestions.Part, unheard: [NodeID], name: String?
    ) -> ClientIndex? {
        questions.channels.partsAsked -= 1
        defer { askParts() }
        guard questions[part.question] != nil else { return nil }
        questions[part.question]!.unheard += unheard
        questions[part.question]!.partsLeft -= 1
        return concludeChannels(part.question, unheard: name)
    }

    /// Everyone has answered.
    ///
    /// - Returns: the client to go on with, if its question is answered with that.
    mutating func finishChannels(_ id: QueryID, unheard: String?) -> ClientIndex? {
        guard let position = questions.channels.open.firstIndex(where: { $0.id == id }) else {
            return nil
        }
        questions.channels.open[position].isAsking = false
        return concludeChannels(id, unheard: unheard)
    }

    /// Everyone has answered, one node has told a later part of its names, or this node has all its own.
    ///
    /// - Returns: the client to go on with, if its question is answered with that.
    private mutating func concludeChannels(_ id: QueryID, unheard: String?) -> ClientIndex? {
        guard let question = questions[id],
            let open = questions.channels.open.first(where: { $0.id == id })
        else { return nil }
        let isComplete = !open.isAsking && open.place == nil && question.partsLeft == 0
        if !isComplete, question.unheard.isEmpty, !question.isCut, isAwaited(id) {
            askParts()
            return nil
        }
        questions[id] = nil
        questions.channels.open.removeAll { $0.id == id }
        askParts()
        defer { startChannelQuestions() }
        let client = question.client
        guard let awaited = endAsking(question) else { return nil }
        guard awaited else { return client }
        if question.isCut {
            refuse(client, .limit(.channelNames(bytesMax: Self.answerBytesMax)))
        } else if let first = question.unheard.first {
            refuse(
                client,
                .state(.silentNodes(unheard ?? "\(first)", count: question.unheard.count)))
        } else if case .channels(.service, _) = question.subject {
            answer(client, .services(ServiceRow.sorted(question.names)))
        } else {
            answer(client, .names(question.names))
        }
        return client
    }

    /// Asks for the parts that are wanted, few at once, and first for those of the oldest questions.
    private mutating func askParts() {
        let growing = questions.channels.open.map(\.id).filter {
            (questions[$0]?.partsLeft ?? 0) > 0
        }
        for id in growing.prefix(ChannelQuestions.growingMax) {
            guard case .channels(let kind, let pattern) = questions[id]?.subject else { continue }
            while questions.channels.partsAsked < ChannelQuestions.partsAskedMax,
                let part = questions[id]!.partsWanted.popLast()
            {
                questions.channels.partsAsked += 1
                send(
                    openQuestion(.part(part), .none, target: part.node), kind, pattern,
                    from: part.place, to: part.node)
            }
        }
    }
}
