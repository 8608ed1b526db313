import MeshCore
import MeshWire

// This node's own members and attachments, as it tells its clients and other nodes of them, and how that travels
// (RoomQuestions).

extension Hub {
    // MARK: What this node knows

    /// The roll of a room here.
    mutating func roll(of room: [UInt8]) -> Members.Roll {
        let slice = Slice(start: 0, count: room.count)
        // Those whose connections have gone are not seen any more.
        if registry.hasGone { endGone(.room, slice, room.span) }
        let topic = registry.topics.find(
            .room, hasher.key(.room, room), room.span, 0, room.count)
        return (topic.isNone ? nil : registry.members[roll: topic]) ?? Members.Roll()
    }

    /// Members of a room here, in their order: at most so many, and no more than fit into an answer.
    ///
    /// - Parameter more: gets the place of the last one, if there are more behind it.
    mutating func tellMembers(
        of room: [UInt8], after place: MemberPlace?, limit: Int,
        bytesMax: Int = RoomQuestion.answerBytes,
        _ body: (ShownMember) -> Void, more: (MemberPlace) -> Void
    ) {
        let list = roll(of: room).members
        var position =
            place.map { place in list.position { compare($0, with: place) <= 0 } }
            ?? list.position { _ in false }
        var (count, bytes) = (0, 0)
        var last: MemberPlace?
        while let index = list[position] {
            if let last, count == limit || bytes >= bytesMax { return more(last) }
            let member = shown(index)
            body(member)
            last = member.place
            count += 1
            bytes += 16 + member.user.count + (member.metadata?.count ?? 0)
            position = list.position(after: position)
        }
    }

    func shown(_ index: MemberIndex) -> ShownMember {
        let attachment = registry.members[registry.members[index].attachment]
        return ShownMember(
            id: attachment.id, node: nodeID, user: registry.topics.name(attachment.user),
            metadata: registry.members[index].metadata ?? attachment.metadata)
    }

    /// The keys of a room's users, each once, if they are not too many to be told.
    func forEachUser(in roll: Members.Roll, _ body: (Key) -> Void) {
        guard roll.userCount <= RoomQuestion.keysMax else { return }
        var last = TopicIndex.none
        var position = roll.members.position { _ in false }
        while let index = roll.members[position] {
            let user = registry.members[registry.members[index].attachment].user
            if user != last { body(registry.topics[user].key) }
            last = user
            position = roll.members.position(after: position)
        }
    }

    /// - Returns: false if there are more than may be told.
    func tellRooms(of user: [UInt8], _ body: ([UInt8]) -> Void) -> Bool {
        var bytes = 0
        var isComplete = true
        forEachAttachment(of: user) { attachment in
            var member = registry.members[attachment].firstMember
            while !member.isNone, isComplete {
                let room = registry.subscription(registry.members[member].subscription).topic
                bytes += registry.topics[room].nameCount + 2
                isComplete = bytes <= RoomQuestion.answerBytes
                if isComplete { body(registry.topics.name(room)) }
                member = registry.members.next(ofAttachment: member)
            }
            return isComplete
        }
        return isComplete
    }

    /// - Returns: false if there are more than may be told.
    func tellSessions(
        of user: [UInt8], bytesMax: Int, _ body: (ShownMember) -> Void
    ) -> Bool {
        var bytes = 0
        var isComplete = true
        forEachAttachment(of: user) { index in
            let attachment = registry.members[index]
            bytes += 22 + (attachment.metadata?.count ?? 0)
            isComplete = bytes <= bytesMax
            guard isComplete else { return false }
            body(
                ShownMember(
                    id: attachment.id, node: nodeID,
                    age: Int(max(0, (now - attachment.since).nanoseconds) / 1_000_000),
                    metadata: attachment.metadata))
            return true
        }
        return isComplete
    }

    /// The attachments of open connections to a user, until `body` says that it is enough.
    private func forEachAttachment(of user: [UInt8], _ body: (AttachmentIndex) -> Bool) {
        let topic = registry.topics.find(
            .user, hasher.key(.user, user), user.span, 0, user.count)
        if topic.isNone { return }
        var index = registry.topics[topic].first
        while !index.isNone {
            let subscription = registry.subscription(index)
            if subscription.receiver.isClient,
                clients[subscription.receiver.client.slot].flags.contains(.open)
            {
                guard body(registry.attachment(of: index)) else { return }
            }
            index = subscription.nextInTopic
        }
    }

    // MARK: Answering others

    /// Another node asks one of these questions; the tag is at the subject's start.
    ///
    /// - Returns: false if the subject is malformed: nothing is written.
    mutating func answerRoomQuestion(
        _ subject: Slice, _ input: Span<UInt8>, into answer: inout ByteQueue
    ) -> Bool {
        var at = Int(subject.start) + 1
        switch input[at - 1] {
        case RoomTag.members:
            return answerMembers(input, at, subject.end, into: &answer)
        case RoomTag.count:
            let room = input.array(Slice(start: at, count: subject.end - at))
            let roll = roll(of: room)
            answer.append(integer: UInt32(clamping: roll.members.count))
            answer.append(integer: UInt32(clamping: roll.userCount))
            forEachUser(in: roll) {
                answer.append(integer: UInt32(truncatingIfNeeded: $0.rawValue))
                answer.append(integer: UInt16(truncatingIfNeeded: $0.rawValue >> 32))
            }
        case RoomTag.rooms:
            let user = input.array(Slice(start: at, count: subject.end - at))
            at = answer.count
            answer.append(UInt8(0))
            let isComplete = tellRooms(of: user) { Self.append($0, to: &answer) }
            if !isComplete { answer.overwrite(integer: UInt8(1), at: at) }
        case RoomTag.sessions:
            let user = input.array(Slice(start: at, count: subject.end - at))
            at = answer.count
            answer.append(UInt8(0))
            let isComplete = tellSessions(of: user, bytesMax: RoomQuestion.answerBytes) {
                answer.append($0.id)
                answer.append(integer: UInt64(clamping: $0.age))
                answer.append(metadata: $0.metadata)
            }
            if !isComplete { answer.overwrite(integer: UInt8(1), at: at) }
        default: return false
        }
        return true
    }

    private mutating func answerMembers(
        _ input: Span<UInt8>, _ start: Int, _ end: Int, into answer: inout ByteQueue
    ) -> Bool {
        guard start + 3 <= end, input[start + 2] <= 1 else { return false }
        let limit = Int(input.load(UInt16.self, at: start))
        guard (1...RoomQuestion.pageMax).contains(limit) else { return false }
        var at = start + 3
        var place: MemberPlace?
        if input[start + 2] == 1 {
            place = Self.place(input, &at, end)
            if place == nil { return false }
        }
        let room = input.array(Slice(start: at, count: end - at))
        let before = answer.count
        answer.append(UInt8(0))
        var hasMore = false
        tellMembers(of: room, after: place, limit: limit) {
            answer.append($0.place)
            answer.append(metadata: $0.metadata)
        } more: { _ in
            hasMore = true
        }
        if hasMore { answer.overwrite(integer: UInt8(1), at: before) }
        return true
    }

    // MARK: Reading

    static func id(_ input: Span<UInt8>, _ at: inout Int, _ end: Int) -> AttachmentID? {
        guard at + 12 <= end else { return nil }
        defer { at += 12 }
        return AttachmentID(
            node: NodeID(input.load(UInt64.self, at: at)),
            number: input.load(UInt32.self, at: at + 8))
    }

    static func place(
        _ input: Span<UInt8>, _ at: inout Int, _ end: Int
    ) -> MemberPlace? {
        guard let id = id(input, &at, end), let user = name(input, &at, end) else { return nil }
        return MemberPlace(user: input.array(user), id: id)
    }

    /// Metadata that stand at `at`; nil: they are malformed.
    static func metadata(
        _ input: Span<UInt8>, _ at: inout Int, _ end: Int
    ) -> [UInt8]?? {
        guard at + 2 <= end else { return nil }
        if input.load(UInt16.self, at: at) == .max {
            at += 2
            return .some(nil)
        }
        guard let slice = name(input, &at, end), slice.count <= Members.metadataMax else {
            return nil
        }
        return .some(input.array(slice))
    }
}

extension ByteQueue {
    mutating func append(_ id: AttachmentID) {
        append(integer: id.node.rawValue)
        append(integer: id.number)
    }

    mutating func append(_ place: MemberPlace) {
        append(place.id)
        Hub.append(place.user, to: &self)
    }

    mutating func append(metadata: [UInt8]?) {
        guard let metadata else { return append(integer: UInt16.max) }
        Hub.append(metadata, to: &self)
    }
}
