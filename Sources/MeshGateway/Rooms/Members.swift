import MeshCore
import MeshWire

/// The place of an attachment in `Members`; reused after it has ended.
struct AttachmentIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The place of a member in `Members`; reused after it has left.
struct MemberIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// One connection's attachment to one user.
struct Attachment {
    var id = AttachmentID(node: NodeID(0), number: 0)
    var user = TopicIndex.none
    var since = Instant(nanoseconds: 0)
    /// The client's own words about it, which others are shown; nil: there are none.
    var metadata: [UInt8]?
    /// The latest of its memberships.
    fileprivate(set) var firstMember = MemberIndex.none
}

/// One attachment in one room; or a connection that hears the room and is not seen there.
struct Member {
    /// The connection's to the room.
    fileprivate(set) var subscription = SubscriptionIndex.none
    /// None: it is hidden.
    fileprivate(set) var attachment = AttachmentIndex.none
    /// The same about this membership; nil: those about the attachment hold.
    var metadata: [UInt8]?
    fileprivate var nextOfSubscription = MemberIndex.none
    fileprivate var previousOfSubscription = MemberIndex.none
    fileprivate var nextOfAttachment = MemberIndex.none
    fileprivate var previousOfAttachment = MemberIndex.none
}

/// The attachments of this node's clients, and their memberships of rooms.
///
/// A member stands in two lists, both doubly linked: that of its connection's subscription to the room, and
/// that of its attachment. So either ends in as many steps as it has members. The members of a room that are
/// not hidden stand in its roll too, in the order of user and sid, so that a page of them, and the numbers of
/// members and of users, cost nothing that grows with the room.
///
///     subscription (client, lobby) ──▶ member (ann) ⇄ member (bob)
///     attachment (client, ann)     ──▶ member (lobby) ⇄ member (kitchen)
///     roll of lobby                ──▶ ann 9f….1, ann 9f….7, bob 9f….2, …
struct Members: ~Copyable {
    struct Roll {
        var members = OrderedList<MemberIndex>()
        /// Different users among them.
        var userCount = 0
    }

    private var attachments = SlotTable<Attachment>()
    private var members = SlotTable<Member>()
    private var rolls: [TopicIndex: Roll] = [:]
    /// Members by subscription and attachment.
    private var map = IndexMap()
    private let secret: UInt64
    /// The number of the attachment that comes next.
    private var nextNumber: UInt32 = 1
    /// The bytes of all metadata.
    private(set) var metadataBytes = 0

    /// The most bytes of one attachment's or member's metadata.
    static let metadataMax = 1_024

    /// - Parameter secret: unknown to others, so that nobody can choose what collides.
    init(secret: UInt64) { self.secret = secret }

    /// Memberships, hidden ones among them.
    var count: Int { members.usedCount }

    /// The roll of a room; nil: nobody is seen there.
    subscript(roll room: TopicIndex) -> Roll? { rolls[room] }

    subscript(index: AttachmentIndex) -> Attachment {
        @inline(__always) _read { yield attachments[index] }
    }

    subscript(index: MemberIndex) -> Member {
        @inline(__always) _read { yield members[index] }
    }

    // MARK: Attachments

    /// A number that no attachment of this node has, until four thousand million more have been given.
    mutating func takeNumber() -> UInt32 {
        defer { nextNumber = nextNumber == .max ? 1 : nextNumber + 1 }
        return nextNumber
    }

    mutating func attach(_ id: AttachmentID, _ user: TopicIndex, at now: Instant) -> AttachmentIndex
    {
        var attachment = Attachment()
        attachment.id = id
        attachment.user = user
        attachment.since = now
        return AttachmentIndex(attachments.insert(attachment))
    }

    /// Ends an attachment that has no memberships.
    mutating func detach(_ index: AttachmentIndex) {
        precondition(attachments[index].firstMember.isNone, "attachment \(index) is in rooms")
        metadataBytes -= attachments[index].metadata?.count ?? 0
        attachments.vacate(index.slot, leaving: Attachment())
    }

    /// Gives an attachment that is in no room another sid.
    mutating func rename(_ index: AttachmentIndex, _ id: AttachmentID) {
        precondition(attachments[index].firstMember.isNone, "attachment \(index) is in rooms")
        attachments[index].id = id
    }

    mutating func setMetadata(_ index: AttachmentIndex, _ metadata: [UInt8]?) {
        metadataBytes += (metadata?.count ?? 0) - (attachments[index].metadata?.count ?? 0)
        attachments[index].metadata = metadata
    }

    mutating func setMetadata(_ index: MemberIndex, _ metadata: [UInt8]?) {
        metadataBytes += (metadata?.count ?? 0) - (members[index].metadata?.count ?? 0)
        members[index].metadata = metadata
    }

    // MARK: Memberships

    /// The next membership after this one of the same subscription, or attachment; none: it is the last.
    func next(ofSubscription index: MemberIndex) -> MemberIndex {
        members[index].nextOfSubscription
    }
    func next(ofAttachment index: MemberIndex) -> MemberIndex { members[index].nextOfAttachment }

    /// The membership of an attachment in the room of a subscription; none: it has none.
    ///
    /// - Parameter attachment: none: the one that is hidden.
    func find(
        _ subscription: SubscriptionIndex, _ attachment: AttachmentIndex
    ) -> MemberIndex {
        let found = map.find(Self.hash(subscription, attachment, secret)) {
            members[$0].subscription == subscription && members[$0].attachment == attachment
        }
        return found.map { MemberIndex($0) } ?? .none
    }

    /// MurmurHash3's finaliser, which spreads every bit (Appleby 2011).
    private static func hash(
        _ subscription: SubscriptionIndex, _ attachment: AttachmentIndex, _ secret: UInt64
    ) -> UInt64 {
        var word = UInt64(UInt32(bitPattern: subscription.rawValue)) << 32
        word |= UInt64(UInt32(bitPattern: attachment.rawValue))
        word ^= secret
        word = (word ^ (word >> 33)) &* 0xFF51_AFD7_ED55_8CCD
        word = (word ^ (word >> 33)) &* 0xC4CE_B9FE_1A85_EC53
        return word ^ (word >> 33)
    }

    /// Adds a membership at the front of its lists.
    ///
    /// - Parameter first: the first of the subscription's; the new one, then.
    mutating func insert(
        _ subscription: SubscriptionIndex, _ first: inout MemberIndex,
        _ attachment: AttachmentIndex
    ) -> MemberIndex {
        var member = Member()
        member.subscription = subscription
        member.attachment = attachment
        member.nextOfSubscription = first
        if !attachment.isNone { member.nextOfAttachment = attachments[attachment].firstMember }
        let (nextOfSubscription, nextOfAttachment) = (first, member.nextOfAttachment)
        let index = MemberIndex(members.insert(member))
        map.insert(index.slot, Self.hash(subscription, attachment, secret)) {
            members.read($0) { Self.hash($0.subscription, $0.attachment, secret) }
        }
        if !nextOfSubscription.isNone { members[nextOfSubscription].previousOfSubscription = index }
        if !nextOfAttachment.isNone { members[nextOfAttachment].previousOfAttachment = index }
        if !attachment.isNone { attachments[attachment].firstMember = index }
        first = index
        return index
    }

    /// Takes a membership out, which stands in no roll.
    mutating func remove(_ index: MemberIndex, _ first: inout MemberIndex) {
        let gone = members[index]
        map.remove(
            Self.hash(gone.subscription, gone.attachment, secret),
            rehash: { members.read($0) { Self.hash($0.subscription, $0.attachment, secret) } },
            where: { $0 == index.slot })
        metadataBytes -= gone.metadata?.count ?? 0
        if gone.previousOfSubscription.isNone {
            first = gone.nextOfSubscription
        } else {
            members[gone.previousOfSubscription].nextOfSubscription = gone.nextOfSubscription
        }
        if !gone.nextOfSubscription.isNone {
            members[gone.nextOfSubscription].previousOfSubscription = gone.previousOfSubscription
        }
        if !gone.attachment.isNone {
            if gone.previousOfAttachment.isNone {
                attachments[gone.attachment].firstMember = gone.nextOfAttachment
            } else {
                members[gone.previousOfAttachment].nextOfAttachment = gone.nextOfAttachment
            }
            if !gone.nextOfAttachment.isNone {
                members[gone.nextOfAttachment].previousOfAttachment = gone.previousOfAttachment
            }
        }
        members.vacate(index.slot, leaving: Member())
    }

    // MARK: Rolls

    /// Writes a member into the roll of its room.
    mutating func enrol(
        _ index: MemberIndex, _ room: TopicIndex, at position: OrderedList<MemberIndex>.Position
    ) {
        if !hasNeighbour(index, room, at: position) { rolls[room, default: Roll()].userCount += 1 }
        rolls[room, default: Roll()].members.insert(index, at: position)
    }

    /// Strikes the member at this position of the roll of a room.
    mutating func strike(_ room: TopicIndex, at position: OrderedList<MemberIndex>.Position) {
        guard let index = rolls[room]?.members[position] else {
            preconditionFailure("nobody stands there in the roll of room \(room)")
        }
        let next = rolls[room]!.members.remove(at: position)
        if rolls[room]!.members.isEmpty {
            rolls[room] = nil
        } else if !hasNeighbour(index, room, at: next) {
            rolls[room]!.userCount -= 1
        }
    }

    /// Whether another member of the same user stands beside this position.
    private func hasNeighbour(
        _ index: MemberIndex, _ room: TopicIndex, at position: OrderedList<MemberIndex>.Position
    ) -> Bool {
        guard let list = rolls[room]?.members else { return false }
        let user = attachments[members[index].attachment].user
        for other in [list.element(before: position), list[position]] {
            if let other, attachments[members[other].attachment].user == user { return true }
        }
        return false
    }

    /// Bytes of memory besides the metadata.
    var byteCapacity: Int {
        attachments.slots.count * MemoryLayout<Attachment>.stride + map.byteCapacity
            + members.slots.count * (MemoryLayout<Member>.stride + MemoryLayout<MemberIndex>.stride)
            + rolls.count * MemoryLayout<Roll>.stride * 2
    }
}
