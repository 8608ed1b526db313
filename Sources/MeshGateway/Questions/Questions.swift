import MeshCore
import MeshWire

// Questions to the other nodes: all that they have in common, and MESH.TRACE. PUBSUB CHANNELS is in
// ChannelQuestions, NUMSUB in CountQuestions.
//
// A subject starts with a byte that says what is asked and a byte for the kind of topic; names are
// two bytes of length, little-endian, and their bytes.

/// A question of a local client that is open.
struct Question {
    enum Subject {
        case channels(TopicKind, pattern: [UInt8]?)
        /// More names of one node for a question `channels`.
        case part(ChannelQuestions.Part)
        case counts(TopicKind, NameList)
        /// The nodes that have a user or channel, and the ways there.
        case trace(AskedUser)
        /// A client wants its session, which another node has.
        case resume(user: [UInt8], token: SessionToken, seen: UInt64?)
        /// A session is offered to another node.
        case handOver(UserSessionIndex, life: UInt32)
        /// Where clients of the other nodes connect.
        case addresses
        /// Which of several nodes has a user, and not only passes on what still comes for it.
        case location(AskedUser)
        /// Members or attachments, see `room`.
        case room
    }
    var client: ClientIndex
    /// The connection; the client's index may be used again by another.
    var clientID: Int64
    var subject: Subject
    /// The names found so far.
    var names = NameSet()
    /// There are more names than may be gathered.
    var isCut = false
    /// Parts of names that nodes have announced and that are not here.
    var partsLeft = 0
    /// Those of them that no node has been asked for yet.
    var partsWanted: [ChannelQuestions.Part] = []
    /// Subscribers of the names asked for, so far.
    var counts: [Int] = []
    /// The names, by their places, whose subscribers elsewhere are asked for now.
    var asked = 0..<0
    var isLarge = false
    var ways: [TracedWay] = []
    var room: RoomQuestion?
    /// Live nodes that were asked and whose part of the answer is missing.
    var unheard: [NodeID] = []

    /// The one node that is asked.
    var target: NodeID?
    var isAnswered = false
    /// The session that was offered is taken.
    var isTaken = false
    /// The session that is asked for comes in this stream.
    var stream: SessionStream?
    /// The session is counted and the client does not count, or the other way round.
    var isMiscounted = false
    /// Where the session has moved.
    var redirection: NodeID?
    var redirections = 0
    /// Nodes that only pass on what still comes for a user.
    var departed: [NodeID] = []
}

/// The way to one node that has what is traced.
public struct TracedWay: Sendable {
    public var holder: NodeID
    /// The name that people call it by.
    public var name: String
    /// `alive` or `suspect`, as the node that was asked takes it.
    public var status: String
    /// Names of nodes, the first hop to the holder; empty if this node is the holder. Nil: the holder
    /// did not answer in time.
    public var path: [String]?

    public init(holder: NodeID, name: String, status: String, path: [String]?) {
        self.holder = holder
        self.name = name
        self.status = status
        self.path = path
    }
}

/// Questions that wait for their turn, in the order in which they came.
struct WaitingQuestions {
    var ids = FIFO<QueryID>()
    /// When so many wait, those whose clients have gone are forgotten.
    var bound = 64
}

extension Hub {
    /// The most bytes that the names gathered by one question take (`NameSet.cost`): at 20 bytes
    /// each 3 million channels.
    static let answerBytesMax = 128 * 1024 * 1024
    /// The most bytes of answers to others that wait in one queue while another is added.
    static let answersBytesMax = 512 * 1024 * 1024
    /// The most channels that one PUBSUB NUMSUB may ask for, and the most bytes of their names.
    static let countedNamesMax = 65_536
    static let countedBytesMax = 8 * 1024 * 1024
    /// More holders than this are not told of in one trace.
    static let traceCountMax = 10_000

    static let channelsTag: UInt8 = 1
    static let countsTag: UInt8 = 2

    // MARK: Asking

    /// A user as clients ask about one.
    func askedUser(_ name: Slice, _ input: Span<UInt8>) -> AskedUser {
        let start = Int(name.start)
        let count = Int(name.count)
        let key = hasher.key(.user, input, start, count)
        return AskedUser(
            key: key, name: hasher.nameDigest(.user, input, start, count),
            isHere: !registry.topics.find(.user, key, input, start, count).isNone)
    }

    /// Asks for the nodes that have a user or channel, and the ways there.
    mutating func trace(
        _ kind: TopicKind, _ name: Slice, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Outcome {
        questions.bytes.removeAll()
        let (start, count) = (Int(name.start), Int(name.count))
        let key = hasher.key(kind.keyKind, input, start, count)
        let body: RoutedBody = kind == .user ? .user : kind == .room ? .room : .channel
        let digest = hasher.nameDigest(body, input, start, count)
        // This node itself answers at once, if it has it.
        let asked = AskedUser(key: key, name: digest, isHere: false)
        let id = openQuestion(.trace(asked), client, target: nil)
        clients[client.slot].flags.insert(.asking)
        return .asks(id, .trace(key))
    }

    /// The subscribers here of a name.
    mutating func localCount(
        _ kind: TopicKind, _ name: Slice, _ input: Span<UInt8>, _ units: inout Int
    ) -> Int {
        let (start, count) = (Int(name.start), Int(name.count))
        let key = hasher.key(kind.keyKind, input, start, count)
        let topic = registry.topics.find(kind, key, input, start, count)
        units -= CountQuestions.nameUnits
        if topic.isNone { return 0 }
        if registry.hasGone { units -= Int(registry.topics[topic].count) * 8 }
        return receiverCount(topic)
    }

    static func append(_ name: [UInt8], to queue: inout ByteQueue) {
        queue.append(integer: UInt16(name.count))
        queue.append(name)
    }

    /// Whether the client of a question still waits for it.
    func isAwaited(_ query: QueryID) -> Bool {
        questions[query].map { isAwaited($0) } ?? false
    }

    func isAwaited(_ question: Question) -> Bool {
        let slot = question.client.slot
        return clients[slot].flags.contains([.open, .asking])
            && clients[slot].identity.id == question.clientID
    }

    /// Puts a question behind those that wait. At times those whose clients have gone are forgotten.
    ///
    /// - Returns: those that wait then.
    mutating func wait(_ id: QueryID, behind waiting: WaitingQuestions) -> WaitingQuestions {
        var waiting = waiting
        if waiting.ids.count >= waiting.bound {
            var kept = WaitingQuestions()
            while let other = waiting.ids.popFirst() {
                if isAwaited(other) { kept.ids.append(other) } else { questions[other] = nil }
            }
            kept.bound = max(kept.bound, 2 * kept.ids.count)
            waiting = kept
        }
        waiting.ids.append(id)
        return waiting
    }

    /// Has the driver ask a node, or everyone, under the number of an open question.
    mutating func ask(_ id: QueryID, to target: NodeID?, _ bytes: [UInt8]) {
        let subject = Slice(start: 0, count: bytes.count)
        ask(
            id, target.map { .node($0, subject: subject) } ?? .everyone(subject: subject), bytes)
    }

    /// Has the driver ask `query`, whose slices are of `bytes`.
    mutating func ask(_ id: QueryID, _ query: Query, _ bytes: [UInt8]) {
        outbox.hasWork = true
        outbox.errands.append(Errand(id: id, query: query, bytes: bytes))
    }

    // MARK: Answering others

    /// Another node's gateway asks (`Effect.queried`): writes the answer to `answer`. The encoding
    /// of subjects and answers is the gateway's own. Malformed subjects get an empty answer.
    public mutating func answer(
        _ subject: Slice, _ input: Span<UInt8>, from asker: NodeID = NodeID(0),
        into answer: inout ByteQueue
    ) {
        let start = Int(subject.start)
        // The driver may have gathered answers to several questions. Offsets do not reach beyond
        // 2 GiB; the asker takes an empty answer for a malformed one.
        guard answer.count <= Self.answersBytesMax else {
            counters[.answersCut] += 1
            return
        }
        if subject.count >= 1, start >= 0, subject.end <= input.count,
            Self.roomTags.contains(input[start])
        {
            if !answerRoomQuestion(subject, input, into: &answer) {
                counters[.answersMalformed] += 1
            }
            return
        }
        if subject.count >= 1, start >= 0, subject.end <= input.count,
            input[start] >= SessionTag.take
        {
            answerSession(subject, input, from: asker, into: &answer)
            return
        }
        guard subject.count >= 2, start >= 0, subject.end <= input.count,
            let kind = TopicKind(rawValue: input[start + 1]),
            kind == .channel || kind == .shardChannel || kind == .room || kind == .service
        else {
            counters[.answersMalformed] += 1
            return
        }
        switch input[start] {
        case Self.channelsTag:
            if !answerChannels(kind, input, start + 2, subject.end, into: &answer) {
                counters[.answersMalformed] += 1
            }
        case Self.countsTag:
            let before = answer.count
            var at = start + 2
            var (count, units) = (0, Work.perEvent)
            while at < subject.end {
                guard count < CountQuestions.askedNamesMax,
                    let name = Self.name(input, &at, subject.end)
                else {
                    counters[.answersMalformed] += 1
                    answer.truncate(to: before)
                    return
                }
                count += 1
                answer.append(
                    integer: UInt32(truncatingIfNeeded: localCount(kind, name, input, &units)))
            }
        default:
            counters[.answersMalformed] += 1
        }
    }

    /// The name at `at`, which moves past it; nil when it reaches past the end.
    static func name(_ input: Span<UInt8>, _ at: inout Int, _ end: Int) -> Slice? {
        guard at + 2 <= end else { return nil }
        let count = Int(input.load(UInt16.self, at: at))
        guard at + 2 + count <= end else { return nil }
        defer { at += 2 + count }
        return Slice(start: at + 2, count: count)
    }

    // MARK: Gathering answers

    /// One node's answer to this gateway's question.
    public mutating func answered(
        _ query: QueryID, _ answer: Slice, _ input: Span<UInt8>, from node: NodeID = NodeID(0)
    ) {
        let start = Int(answer.start)
        guard start >= 0, answer.count >= 0, answer.end <= input.count else { return }
        switch questions[query]?.subject {
        case nil: return
        case .channels:
            gatherPart(answer, input, of: query, from: node, place: 0)
            return
        case .part(let part):
            gatherPart(answer, input, of: part.question, from: node, place: part.place)
            return
        case .counts:
            gatherCounts(answer, input, of: query, from: node)
            return
        case .room:
            gatherRoom(answer, input, of: query, from: node)
            return
        default: break
        }
        guard var question = questions.take(query) else { return }
        defer { questions[query] = question }
        question.isAnswered = true
        switch question.subject {
        case .channels, .part, .counts, .room: break
        case .trace:
            counters[.answersMalformed] += 1
        case .resume:
            guard answer.count >= 1 else {
                counters[.answersMalformed] += 1
                return
            }
            switch (input[start], answer.count) {
            case (1, 9):
                question.stream = SessionStream(
                    giver: node, number: input.load(UInt64.self, at: start + 1))
            case (2, 9):
                question.redirection = NodeID(input.load(UInt64.self, at: start + 1))
            case (3, 1): question.isMiscounted = true
            case (0, 1): break
            default: counters[.answersMalformed] += 1
            }
        case .handOver:
            question.isTaken = answer.count == 1 && input[start] == 1
        case .addresses:
            noteAddress(of: node, input.array(answer))
        case .location:
            if answer.count == 1, input[start] == 0 { question.departed.append(node) }
        }
    }

    /// A live node has not answered in time.
    public mutating func unanswered(_ query: QueryID, by node: NodeID) {
        questions[query]?.unheard.append(node)
    }

    /// Before `finished`: the first of the live nodes whose part of the answer is missing.
    public func unheard(_ query: QueryID) -> NodeID? {
        guard let question = questions[query] else { return nil }
        if case .part(let part) = question.subject,
            let first = questions[part.question]?.unheard.first
        {
            return first
        }
        return question.unheard.first
    }

    /// One holder's way, with names that the driver has looked up.
    public mutating func traced(_ query: QueryID, _ way: TracedWay) {
        guard let count = questions[query]?.ways.count else { return }
        guard count < Self.traceCountMax else {
            counters[.answersCut] += 1
            return
        }
        questions[query]?.ways.append(way)
    }

    /// Before `finished`: those of the holders of what is traced that have not answered; empty for
    /// any other question.
    public func silentHolders(
        _ query: QueryID, among holders: (AskedUser) -> [NodeID]
    ) -> [NodeID] {
        guard let question = questions[query], case .trace(let asked) = question.subject else {
            return []
        }
        let answered = Set(question.ways.map(\.holder))
        return holders(asked).filter { !answered.contains($0) }
    }

    /// The one node that a question went to; nil: it went to several.
    public func target(of query: QueryID) -> NodeID? { questions[query]?.target }

    // MARK: Where a user is

    /// Asks the nodes that hold a user which of them has it; the answer is `location` when the
    /// question is finished.
    public mutating func locate(
        _ asked: AskedUser, user: [UInt8], for client: ClientIndex
    ) -> (QueryID, Query) {
        questions.bytes.removeAll()
        questions.bytes.append(integer: asked.key.rawValue)
        questions.bytes.append(SessionTag.location)
        questions.bytes.append(user)
        let id = openQuestion(.location(asked), client, target: nil)
        if isDeparted(user, asked.key) { questions[id]?.departed.append(nodeID) }
        clients[client.slot].flags.insert(.asking)
        let keys = Slice(start: 0, count: 8)
        return (
            id,
            .holders(keys: keys, subject: Slice(start: 8, count: questions.bytes.count - 8))
        )
    }

    /// Before `finished`: what `locate` has found, of the nodes that hold the user now; nil for any
    /// other question, and when its client has gone.
    public func location(
        _ query: QueryID, among holders: (AskedUser) -> [NodeID]
    ) -> (client: ClientIndex, nodes: [NodeID])? {
        guard let question = questions[query], case .location(let asked) = question.subject else {
            return nil
        }
        let slot = question.client.slot
        guard isAwaited(question), clients[slot].flags.isDisjoint(with: [.doomed, .muted])
        else { return nil }
        let all = holders(asked)
        let nodes = all.filter { !question.departed.contains($0) }
        // It has just gone from all of them to one that is not known here yet.
        return (question.client, nodes.isEmpty ? all : nodes)
    }

    /// Whether this node has a user for no other reason than that its session was here.
    func isDeparted(_ user: [UInt8], _ key: Key) -> Bool {
        let topic = registry.topics.find(.user, key, user.span, 0, user.count)
        if topic.isNone { return false }
        var index = registry.topics[topic].first
        while !index.isNone {
            let subscription = registry.subscription(index)
            guard !subscription.receiver.isClient,
                mailboxes[subscription.receiver.mailbox].purpose == .forwards
            else { return false }
            index = subscription.nextInTopic
        }
        return true
    }

    /// All that will answer have answered: writes the reply, unblocks the client. Returns the
    /// client, for the driver to go on with its waiting input; nil if it has gone.
    ///
    /// - Parameters:
    ///   - isTargetPresent: the one node that was asked (`target(of:)`) is a member.
    ///   - unheard: the name that people call `unheard(_:)` by.
    public mutating func finished(
        _ query: QueryID, isTargetPresent: Bool = true, unheard: String? = nil
    ) -> ClientIndex? {
        if case .channels = questions[query]?.subject {
            return finishChannels(query, unheard: unheard)
        }
        if case .counts = questions[query]?.subject {
            return finishCounts(query, unheard: unheard)
        }
        guard let question = questions.take(query) else { return nil }
        switch question.subject {
        case .channels, .counts, .trace, .location, .room: break
        case .part(let part):
            return finishPart(part, unheard: question.unheard, name: unheard)
        case .resume(let user, let token, let seen):
            return finishResume(
                question, user, token, seen: seen, isTargetPresent: isTargetPresent)
        case .handOver(let index, let life):
            finishOffer(
                index, life: life, to: question.target ?? nodeID, isTaken: question.isTaken)
            return nil
        case .addresses:
            finishAddresses()
            return nil
        }
        guard let isHeard = endAsking(question) else { return nil }
        guard isHeard else { return question.client }
        if case .trace = question.subject {
            answer(question.client, .ways(question.ways))
        } else if let room = question.room {
            if room.joinsHere { confirmWhenKnown(question.client) }
            answer(
                question.client,
                outcome(of: room, unheard: unheard.map { ($0, question.unheard.count) }))
        } else {
            wrote(question.client)
        }
        return question.client
    }

    /// The client of a question is listened to again.
    ///
    /// - Returns: whether it wants the answer; nil: it has gone.
    mutating func endAsking(_ question: Question) -> Bool? {
        guard isAwaited(question) else { return nil }
        let slot = question.client.slot
        clients[slot].flags.remove(.asking)
        return clients[slot].flags.isDisjoint(with: [.doomed, .muted])
    }
}
