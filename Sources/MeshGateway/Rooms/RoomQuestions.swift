import MeshCore
import MeshWire

// Questions about members and attachments, which their own nodes alone know: MESH.WHO, COUNT, ROOMSOF and
// WHERE … SESSIONS. The nodes that hold the room, or the user, are asked; nobody waits for one that is dead,
// and one that does not answer is named.
//
//     who       16, limit 2, 0 or 1 and a place, room     answer: more 1, members
//     count     17, room                                  answer: members 4, users 4, keys of users 6 each
//     rooms of  18, user                                  answer: 0 or 1 (they are too many), names
//     sessions  19, user                                  answer: more 1, attachments
//
//     place:       sid 12, length 2, user
//     member:      sid 12, length 2, user, metadata
//     attachment:  sid 12, milliseconds 8, metadata
//     metadata:    length 2 and bytes; length 65,535: there is none

/// A member of a room, or an attachment of a user, as others are shown it.
struct ShownMember {
    var id: AttachmentID
    /// The node that it is at now.
    var node: NodeID
    /// Empty for an attachment: the user is the one that was asked for.
    var user: [UInt8] = []
    /// Milliseconds since it was attached there; of an attachment alone.
    var age: Int = 0
    var metadata: [UInt8]?

    var place: MemberPlace { MemberPlace(user: user, id: id) }
}

extension MemberPlace: Comparable {
    static func < (left: MemberPlace, right: MemberPlace) -> Bool {
        let order = lexicographicOrder(left.user.span, right.user.span)
        return order == 0 ? left.id < right.id : order < 0
    }

    /// The text that MESH.WHO gives and takes: the sid, a colon, the user.
    var text: [UInt8] { Array((id.text + ":").utf8) + user }

    /// Nil: the bytes are no such text.
    init?(text: [UInt8]) {
        guard let colon = text.firstIndex(of: UInt8(ascii: ":")),
            let id = AttachmentID(Array(text[..<colon]))
        else { return nil }
        self.init(user: Array(text[(colon + 1)...]), id: id)
    }
}

/// A question about the members of a room, or the attachments of a user, and what has been gathered.
struct RoomQuestion {
    enum Kind {
        /// At most so many, of those behind a place.
        case members(limit: Int)
        case count
        case rooms
        case sessions
        /// An order; it is counted in `memberCount`.
        case order

        /// The answer has a list of the nodes that are missing in it.
        var namesMissing: Bool {
            switch self {
            case .members, .count, .order: true
            case .rooms, .sessions: false
            }
        }
    }

    /// The most members in one answer to a client.
    static let pageMax = 1_000
    static let usualLimit = 100
    /// The most bytes of members, and of names of rooms, in what one node tells; one is told in any case.
    static let answerBytes = 64 * 1024
    /// The most users of a room at a node whose keys it tells, so that users of several nodes are counted
    /// once.
    static let keysMax = 8_192
    /// The most attachments of a user that are shown.
    static let sessionsMax = 10_000

    var kind: Kind
    /// The room or the user.
    var name: AskedUser
    /// Nodes that have answered.
    var heard: [NodeID] = []
    var shown: [ShownMember] = []
    /// Nodes have more members behind these places.
    var ends: [MemberPlace] = []
    /// Members, and users of each node, in all.
    var memberCount = 0
    var userCount = 0
    /// Nodes with members.
    var tellerCount = 0
    /// The users, by their keys, as far as all nodes have told them.
    var userKeys: Set<UInt64> = []
    var areKeysComplete = true
    /// An order has made members here.
    var joinsHere = false
    /// Nodes of an earlier version of the wire, which do not understand.
    var earlier: [NodeID] = []
    var rooms = NameSet()
    var isCut = false
    /// Holders that have not answered, by the names that people call them by.
    var missing: [String] = []
    /// The names of the nodes of `shown`.
    var nodeNames: [NodeID: String] = [:]

    init(kind: Kind, name: AskedUser) {
        self.kind = kind
        self.name = name
    }

    /// Forgets members beyond so many, if there are many more: they are asked for again with the next page.
    fileprivate mutating func trim(to limit: Int) {
        guard shown.count > 2 * limit else { return }
        shown.sort { $0.place < $1.place }
        shown.removeLast(shown.count - limit)
        ends.append(shown[limit - 1].place)
    }

    fileprivate mutating func count(members: Int, users: Int) {
        memberCount += members
        userCount += users
        tellerCount += members > 0 ? 1 : 0
    }
}

/// The tags of subjects.
enum RoomTag {
    static let members: UInt8 = 16
    static let count: UInt8 = 17
    static let rooms: UInt8 = 18
    static let sessions: UInt8 = 19
}

extension Hub {
    static let roomTags: ClosedRange<UInt8> = RoomTag.members...RoomTag.sessions

    // MARK: Asking

    /// Asks for the members of a room, behind a place or from the first on.
    mutating func askMembers(
        of room: [UInt8], after place: MemberPlace?, limit: Int, _ client: ClientIndex
    ) -> Outcome {
        var question = RoomQuestion(
            kind: .members(limit: limit), name: askedName(room, .room, .room))
        tellMembers(of: room, after: place, limit: limit) {
            question.shown.append($0)
        } more: {
            question.ends.append($0)
        }
        return ask(question, client) {
            $0.append(RoomTag.members)
            $0.append(integer: UInt16(limit))
            $0.append(UInt8(place == nil ? 0 : 1))
            if let place { $0.append(place) }
            $0.append(room)
        }
    }

    /// Asks how many members a room has, and how many users they are.
    mutating func askMemberCount(of room: [UInt8], _ client: ClientIndex) -> Outcome {
        var question = RoomQuestion(kind: .count, name: askedName(room, .room, .room))
        let roll = roll(of: room)
        question.count(members: roll.members.count, users: roll.userCount)
        forEachUser(in: roll) { question.userKeys.insert($0.rawValue) }
        question.areKeysComplete = roll.userCount <= RoomQuestion.keysMax
        return ask(question, client) {
            $0.append(RoomTag.count)
            $0.append(room)
        }
    }

    /// Asks for the rooms that a user is in, with any of its connections.
    mutating func askRooms(of user: [UInt8], _ client: ClientIndex) -> Outcome {
        var question = RoomQuestion(kind: .rooms, name: askedName(user, .user, .user))
        question.isCut = !tellRooms(of: user) {
            question.rooms.insert($0.span, 0, $0.count, questions.hasher)
        }
        return ask(question, client) {
            $0.append(RoomTag.rooms)
            $0.append(user)
        }
    }

    /// Asks for the attachments of a user.
    mutating func askSessions(of user: [UInt8], _ client: ClientIndex) -> Outcome {
        var question = RoomQuestion(kind: .sessions, name: askedName(user, .user, .user))
        _ = tellSessions(of: user, bytesMax: .max) { question.shown.append($0) }
        return ask(question, client) {
            $0.append(RoomTag.sessions)
            $0.append(user)
        }
    }

    func askedName(_ name: [UInt8], _ kind: TopicKind, _ body: RoutedBody) -> AskedUser {
        let key = hasher.key(kind.keyKind, name)
        return AskedUser(
            key: key, name: hasher.nameDigest(body, name.span, 0, name.count),
            isHere: !registry.topics.find(kind, key, name.span, 0, name.count).isNone)
    }

    mutating func ask(
        _ question: RoomQuestion, _ client: ClientIndex, _ subject: (inout ByteQueue) -> Void
    ) -> Outcome {
        questions.bytes.removeAll()
        questions.bytes.append(integer: question.name.key.rawValue)
        subject(&questions.bytes)
        let id = openQuestion(.room, client, target: nil)
        questions[id]!.room = question
        clients[client.slot].flags.insert(.asking)
        let size = questions.bytes.count - 8
        return .asks(
            id, .holders(keys: Slice(start: 0, count: 8), subject: Slice(start: 8, count: size)))
    }

    // MARK: Gathering answers

    /// One node's answer.
    mutating func gatherRoom(
        _ answer: Slice, _ input: Span<UInt8>, of id: QueryID, from node: NodeID
    ) {
        // Taken out: what it has gathered is not copied when it grows.
        guard var question = questions.take(id), let kind = question.room?.kind else { return }
        if answer.count == 0 {
            // A node of version 2 of the wire says nothing: its users are in no rooms.
            question.room!.heard.append(node)
            if case .rooms = kind {} else { question.room!.earlier.append(node) }
            questions[id] = question
            return
        }
        let isWell: Bool
        switch kind {
        case .members(let limit):
            isWell = gatherShown(answer, input, in: &question.room!, from: node)
            question.room!.trim(to: limit)
        case .sessions: isWell = gatherShown(answer, input, in: &question.room!, from: node)
        case .count: isWell = gatherCount(answer, input, in: &question.room!)
        case .rooms: isWell = gatherRooms(answer, input, in: &question.room!)
        case .order: isWell = gatherOrder(answer, input, in: &question.room!)
        }
        if isWell {
            question.room!.heard.append(node)
        } else {
            counters[.answersMalformed] += 1
            question.unheard.append(node)
        }
        questions[id] = question
    }

    private func gatherShown(
        _ answer: Slice, _ input: Span<UInt8>, in room: inout RoomQuestion, from node: NodeID
    ) -> Bool {
        var at = Int(answer.start) + 1
        guard at <= answer.end, input[at - 1] <= 1 else { return false }
        var found: [ShownMember] = []
        while at < answer.end {
            var member = ShownMember(id: AttachmentID(node: node, number: 0), node: node)
            if case .members = room.kind {
                guard let place = Self.place(input, &at, answer.end) else { return false }
                member.id = place.id
                member.user = place.user
                if let last = found.last, !(last.place < place) { return false }
            } else {
                guard let id = Self.id(input, &at, answer.end), at + 8 <= answer.end else {
                    return false
                }
                member.id = id
                member.age = Int(clamping: input.load(UInt64.self, at: at))
                at += 8
            }
            guard let metadata = Self.metadata(input, &at, answer.end) else { return false }
            member.metadata = metadata
            found.append(member)
        }
        if case .members(let limit) = room.kind {
            guard found.count <= limit else { return false }
            if input[Int(answer.start)] == 1 {
                guard let last = found.last else { return false }
                room.ends.append(last.place)
            }
        } else {
            guard room.shown.count + found.count <= RoomQuestion.sessionsMax else { return false }
        }
        room.shown += found
        return true
    }

    private func gatherCount(
        _ answer: Slice, _ input: Span<UInt8>, in room: inout RoomQuestion
    ) -> Bool {
        let start = Int(answer.start)
        let keyCount = (Int(answer.count) - 8) / 6
        guard answer.count >= 8, (Int(answer.count) - 8) % 6 == 0 else { return false }
        let members = Int(input.load(UInt32.self, at: start))
        let users = Int(input.load(UInt32.self, at: start + 4))
        guard users <= members, keyCount == users || keyCount == 0, keyCount <= RoomQuestion.keysMax
        else { return false }
        room.count(members: members, users: users)
        if keyCount < users { room.areKeysComplete = false }
        for index in 0..<keyCount {
            let at = start + 8 + index * 6
            let low = UInt64(input.load(UInt32.self, at: at))
            room.userKeys.insert(UInt64(input.load(UInt16.self, at: at + 4)) << 32 | low)
        }
        return true
    }

    private func gatherRooms(
        _ answer: Slice, _ input: Span<UInt8>, in room: inout RoomQuestion
    ) -> Bool {
        var at = Int(answer.start) + 1
        guard at <= answer.end, answer.count <= RoomQuestion.answerBytes + 1 else { return false }
        if input[at - 1] != 0 { room.isCut = true }
        while at < answer.end {
            guard let name = Self.name(input, &at, answer.end) else { return false }
            room.rooms.insert(input, Int(name.start), Int(name.count), questions.hasher)
        }
        return true
    }

    // MARK: The end

    /// Before `finished`: what this question is about, if people are to read the names of nodes in its answer;
    /// `nameNodes` gives them then.
    public func namesNodes(_ query: QueryID) -> AskedUser? {
        questions[query]?.room?.name
    }

    /// - Parameters:
    ///   - holders: the nodes that hold the room or the user now.
    ///   - name: by which people call a node.
    public mutating func nameNodes(
        _ query: QueryID, holders: [NodeID], _ name: (NodeID) -> String
    ) {
        guard var room = questions[query]?.room else { return }
        for node in holders where node != nodeID && !room.heard.contains(node) {
            room.missing.append(name(node))
        }
        for member in room.shown where room.nodeNames[member.node] == nil {
            room.nodeNames[member.node] = name(member.node)
        }
        for node in room.earlier { room.nodeNames[node] = name(node) }
        questions[query]!.room = room
    }

    /// The answer to a client, of all that has been gathered.
    ///
    /// - Parameter unheard: the first of the live nodes that have not answered, by name, and how many they are;
    ///   nil: all have.
    func outcome(of room: RoomQuestion, unheard: (name: String, count: Int)?) -> Outcome {
        if let unheard, !room.kind.namesMissing {
            // Nothing says of a list which part of it is missing.
            return .refused(.state(.silentNodes(unheard.name, count: unheard.count)))
        }
        if let node = room.earlier.first {
            return .refused(
                .state(.earlierNode(room.nodeNames[node] ?? "\(node)", count: room.earlier.count)))
        }
        switch room.kind {
        case .members(let limit):
            let end = room.ends.min()
            let all = room.shown.sorted { $0.place < $1.place }
            let known = all.filter { member in end.map { member.place <= $0 } ?? true }
            let page = Array(known.prefix(limit))
            let isLast = page.count == all.count && room.ends.isEmpty
            return .members(
                page, names: room.nodeNames, after: isLast ? nil : page.last?.place,
                missing: room.missing)
        case .count:
            // Users of one node are told apart there.
            let users =
                room.tellerCount <= 1
                ? room.userCount : room.areKeysComplete ? room.userKeys.count : nil
            return .memberCount(room.memberCount, users: users, missing: room.missing)
        case .order:
            if let first = room.missing.first {
                return .refused(
                    .state(
                        .unheardOrder(
                            count: room.memberCount, first, silentCount: room.missing.count)))
            }
            return .count(room.memberCount)
        case .rooms:
            if room.isCut {
                return .refused(.limit(.roomNames(bytesMax: RoomQuestion.answerBytes)))
            }
            return .names(room.rooms)
        case .sessions:
            let all = room.shown.sorted { $0.id < $1.id }
            return .attachments(all, names: room.nodeNames)
        }
    }
}
