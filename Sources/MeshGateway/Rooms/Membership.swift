import MeshCore
import MeshWire

// Rooms: which users' connections are in them. Everything about a member is known at its own node alone;
// the mesh knows which nodes have members of a room, as it knows the subscribers of a channel.

/// A place in the order of a room's members: behind this one, which may have gone.
struct MemberPlace: Equatable {
    var user: [UInt8]
    var id: AttachmentID
}

extension Hub {
    /// The work of one membership that begins or ends, with what the directory has to do for it.
    static let unitsPerMember = 96

    // MARK: Attachments

    /// A client has just been attached as a user: with the sid of the session that it has of this user, or a
    /// new one.
    mutating func beginAttachment(_ client: ClientIndex, _ user: TopicIndex) {
        let session = session(of: registry.topics.name(user), at: client)
        let known = session.flatMap { sessions[$0].attachmentID }
        let id = known ?? AttachmentID(node: nodeID, number: registry.members.takeNumber())
        let attachment = registry.members.attach(id, user, at: now)
        registry.setDetail(registry.find(Receiver(client), user), attachment)
        let announced = clients[client.slot].announced
        clients[client.slot].announced = nil
        let metadata = announced ?? session.flatMap { sessions[$0].metadata }
        registry.members.setMetadata(attachment, metadata)
        guard let session else { return }
        sessions[session].attachmentID = id
        sessions[session].metadata = metadata
    }

    /// The client's attachment to a user; none: it is not attached so.
    func attachment(of client: ClientIndex, to user: [UInt8]) -> AttachmentIndex {
        let topic = registry.topics.find(.user, hasher.key(.user, user), user.span, 0, user.count)
        guard !topic.isNone else { return .none }
        let subscription = registry.find(Receiver(client), topic)
        return subscription.isNone ? .none : registry.attachment(of: subscription)
    }

    /// The client goes on with a session: it is known by the session's sid, unless it is in rooms by its own
    /// already.
    mutating func identify(_ index: UserSessionIndex, at client: ClientIndex) {
        let attachment = attachment(of: client, to: sessions[index].user)
        if attachment.isNone { return }
        if let id = sessions[index].attachmentID,
            registry.members[attachment].firstMember.isNone
        {
            registry.members.rename(attachment, id)
        } else {
            sessions[index].attachmentID = registry.members[attachment].id
        }
        if let metadata = registry.members[attachment].metadata {
            sessions[index].metadata = metadata
        } else {
            registry.members.setMetadata(attachment, sessions[index].metadata)
        }
    }

    /// The metadata of the attachment that the client is about to begin, or has; nil: none are given.
    ///
    /// - Returns: the bound that they would exceed; nil: they are taken.
    mutating func announce(
        _ metadata: [UInt8]?, ofUser user: [UInt8], _ client: ClientIndex
    ) -> ClientRefusal? {
        clients[client.slot].announced = nil
        guard let metadata else { return nil }
        if !attachment(of: client, to: user).isNone {
            guard case .refused(let refusal) = setMetadata(metadata, ofUser: user, client) else {
                return nil
            }
            return refusal
        }
        if let refusal = excessOfMetadata(metadata.count) { return refusal }
        clients[client.slot].announced = metadata
        return nil
    }

    /// Says of an attachment what others are shown (MESH.META).
    mutating func setMetadata(
        _ metadata: [UInt8], ofUser user: [UInt8], _ client: ClientIndex
    ) -> Outcome {
        let attachment = attachment(of: client, to: user)
        if attachment.isNone { return .refused(.room(.notAttached)) }
        let before = registry.members[attachment].metadata?.count ?? 0
        if let refusal = excessOfMetadata(metadata.count - before) { return .refused(refusal) }
        registry.members.setMetadata(attachment, metadata)
        noteMetadata(of: attachment)
        if let session = session(of: user, at: client) { sessions[session].metadata = metadata }
        return .done
    }

    // MARK: Joining

    /// The client joins a room.
    ///
    /// - Parameters:
    ///   - user: as this one of those that it is attached as; nil: as the only one.
    ///   - isHidden: it hears the room and is not seen there.
    mutating func joinRoom(
        _ room: Slice, _ input: Span<UInt8>, as user: [UInt8]?, metadata: [UInt8]?, isHidden: Bool,
        _ client: ClientIndex
    ) -> Outcome {
        var attachment = AttachmentIndex.none
        if let user {
            attachment = self.attachment(of: client, to: user)
            if attachment.isNone { return .refused(.room(.notAttached)) }
        } else if !isHidden {
            let lists = clients[client.slot].lists
            switch lists[count: .user] {
            case 0: return .refused(.room(.notAttached))
            case 1: attachment = registry.attachment(of: lists[first: .user])
            default: return .refused(.room(.severalUsers))
            }
        }
        let outcome = enter(room, input, attachment, metadata: metadata, client)
        if case .count = outcome { confirmWhenKnown(client) }
        return outcome
    }

    /// A client's attachment, or none of them, is in a room from now on.
    mutating func enter(
        _ room: Slice, _ input: Span<UInt8>, _ attachment: AttachmentIndex, metadata: [UInt8]?,
        _ client: ClientIndex
    ) -> Outcome {
        let growth = growth(.room, room, input, client)
        if let refusal = excess(.room, growth, client)
            ?? excessOfMembers() ?? excessOfMetadata(metadata?.count ?? 0)
        {
            noteLack(refusal, of: client)
            return .refused(refusal)
        }
        let topic = join(client, .room, input, room)
        let subscription = registry.find(Receiver(client), topic)
        let known = registry.members.find(subscription, attachment)
        if known.isNone { enrol(subscription, attachment, metadata) }
        if !known.isNone, let metadata {
            registry.members.setMetadata(known, metadata)
            noteMember(known, isNew: false)
        }
        return .count(known.isNone ? 1 : 0)
    }

    private mutating func enrol(
        _ subscription: SubscriptionIndex, _ attachment: AttachmentIndex, _ metadata: [UInt8]?
    ) {
        let room = registry.subscription(subscription).topic
        var first = registry.firstMember(of: subscription)
        let member = registry.members.insert(subscription, &first, attachment)
        registry.setDetail(subscription, first)
        registry.members.setMetadata(member, metadata)
        if attachment.isNone { return }
        registry.members.enrol(member, room, at: position(in: room, behind: place(of: member)))
        noteMember(member, isNew: true)
    }

    // MARK: Leaving

    /// The client leaves a room; as one user alone, if one is named.
    ///
    /// - Returns: whether it was in it.
    mutating func leaveRoom(
        _ room: Slice, _ input: Span<UInt8>, as user: [UInt8]?, _ client: ClientIndex
    ) -> Bool {
        let (start, count) = (Int(room.start), Int(room.count))
        let key = hasher.key(.room, input, start, count)
        let topic = registry.topics.find(.room, key, input, start, count)
        guard !topic.isNone else { return false }
        let subscription = registry.find(Receiver(client), topic)
        guard !subscription.isNone else { return false }
        guard let user else {
            leave(client, subscription)
            return true
        }
        let attachment = attachment(of: client, to: user)
        guard !attachment.isNone else { return false }
        let member = registry.members.find(subscription, attachment)
        guard !member.isNone else { return false }
        endMembership(member)
        return true
    }

    /// Ends a membership, and with a connection's last one in a room its subscription.
    ///
    /// - Parameter reason: of a member that is kicked; else it is told from the connection.
    mutating func endMembership(_ member: MemberIndex, _ reason: RosterReason? = nil) {
        let subscription = registry.members[member].subscription
        let client = registry.subscription(subscription).receiver.client
        strike(member, reason)
        if registry.firstMember(of: subscription).isNone { leave(client, subscription) }
    }

    /// Takes a member out of its room; its connection's subscription stays.
    private mutating func strike(_ member: MemberIndex, _ reason: RosterReason? = nil) {
        let subscription = registry.members[member].subscription
        let room = registry.subscription(subscription).topic
        var place: MemberPlace?
        if !registry.members[member].attachment.isNone {
            registry.members.strike(room, at: position(in: room, of: member))
            if !rosters.isQuiet { place = self.place(of: member) }
        }
        var first = registry.firstMember(of: subscription)
        registry.members.remove(member, &first)
        registry.setDetail(subscription, first)
        guard let place else { return }
        let client = registry.subscription(subscription).receiver.client
        let isLost = clients[client.slot].flags.isDisjoint(with: [.open, .quits])
        noteDeparture(of: place, from: room, reason ?? (isLost ? .lost : .quit))
    }

    /// The client's subscription to a user or room ends: what hangs on it ends before.
    mutating func endMemberships(of subscription: SubscriptionIndex, _ kind: TopicKind) {
        switch kind {
        case .room:
            while !registry.firstMember(of: subscription).isNone {
                strike(registry.firstMember(of: subscription))
            }
        case .user:
            let attachment = registry.attachment(of: subscription)
            if attachment.isNone { return }
            var units = Int.max
            _ = leaveRooms(attachment, &units)
            registry.members.detach(attachment)
        case .channel, .shardChannel, .pattern, .service, .roomWatch, .watch: break
        }
    }

    /// Ends the memberships of an attachment, all or as many as `units` suffice for.
    ///
    /// - Returns: whether it has none any more.
    mutating func leaveRooms(
        _ attachment: AttachmentIndex, _ units: inout Int, _ reason: RosterReason? = nil
    ) -> Bool {
        while !registry.members[attachment].firstMember.isNone {
            guard units > 0 else { return false }
            units -= Self.unitsPerMember
            endMembership(registry.members[attachment].firstMember, reason)
        }
        return true
    }

    /// Ends memberships of a subscription to a room, all or as many as `units` suffice for, and then the
    /// subscription.
    ///
    /// - Returns: whether all is done.
    mutating func leaveRoom(
        _ client: ClientIndex, _ subscription: SubscriptionIndex, _ units: inout Int
    ) -> Bool {
        while !registry.firstMember(of: subscription).isNone {
            guard units > 0 else { return false }
            units -= Self.unitsPerMember
            strike(registry.firstMember(of: subscription))
        }
        leave(client, subscription)
        return true
    }

    /// The client leaves its rooms, all or as many as `units` suffice for.
    ///
    /// - Returns: whether it is in none any more.
    mutating func leaveRooms(_ client: ClientIndex, _ count: inout Int, _ units: inout Int) -> Bool
    {
        while !clients[client.slot].lists[first: .room].isNone {
            guard units > 0 else { return false }
            units -= Self.unitsPerSubscription
            let subscription = clients[client.slot].lists[first: .room]
            guard leaveRoom(client, subscription, &units) else { return false }
            count += 1
        }
        return true
    }

    // MARK: Order

    /// The place of a member that is seen.
    func place(of member: MemberIndex) -> MemberPlace {
        let attachment = registry.members[member].attachment
        return MemberPlace(
            user: registry.topics.name(registry.members[attachment].user),
            id: registry.members[attachment].id)
    }

    /// The position in a room's roll behind all that stand before a place, and behind that place.
    func position(
        in room: TopicIndex, behind place: MemberPlace
    ) -> OrderedList<MemberIndex>.Position {
        let list = registry.members[roll: room]?.members ?? OrderedList()
        return list.position { !isBehind(place, $0) }
    }

    /// The position of a member in its room's roll.
    private func position(
        in room: TopicIndex, of member: MemberIndex
    ) -> OrderedList<MemberIndex>.Position {
        let list = registry.members[roll: room]?.members ?? OrderedList()
        let place = place(of: member)
        return list.position { isBefore(place, $0) }
    }

    /// Whether a member stands behind a place, or before it.
    private func isBehind(_ place: MemberPlace, _ member: MemberIndex) -> Bool {
        compare(member, with: place) > 0
    }

    private func isBefore(_ place: MemberPlace, _ member: MemberIndex) -> Bool {
        compare(member, with: place) < 0
    }

    /// Negative: the member stands before the place; zero: there.
    func compare(_ member: MemberIndex, with place: MemberPlace) -> Int {
        let attachment = registry.members[member].attachment
        let order = registry.topics.withName(registry.members[attachment].user) {
            lexicographicOrder($0, place.user.span)
        }
        if order != 0 { return order }
        let id = registry.members[attachment].id
        return id == place.id ? 0 : id < place.id ? -1 : 1
    }

    // MARK: Bounds

    /// The bound of the node that one membership more would exceed; nil: none.
    private func excessOfMembers() -> ClientRefusal? {
        registry.members.count < configuration.subscriptionCountMax ? nil : .limit(.subscriptions)
    }

    /// The same of more metadata.
    private func excessOfMetadata(_ bytes: Int) -> ClientRefusal? {
        bytes > 0
            && registry.members.metadataBytes + registry.topics.nameBytes + bytes
                > configuration.nameBytesMax
            ? .limit(.subscriptions) : nil
    }
}

/// Negative: the first comes before the second, byte by byte; zero: they are equal.
func lexicographicOrder(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Int {
    let count = min(left.count, right.count)
    for index in 0..<count where left[index] != right[index] {
        return left[index] < right[index] ? -1 : 1
    }
    return left.count - right.count
}
