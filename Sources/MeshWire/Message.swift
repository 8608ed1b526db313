/// Every control message of the link protocol. Client messages are not here: a forwarder never
/// decodes them (`Frame`).
///
/// The first byte is the message's number (`Message.Number`), then the fields in the order of the
/// payload's declaration: integers little-endian, lists after a 16-bit count, text after one byte
/// of length.
public enum Message: Equatable, Sendable {
    /// First on a dialled connection: who calls, and what for.
    indirect case hello(Greeting)
    /// The answer that makes it a link, or begins an introduction.
    indirect case welcome(Greeting)
    /// The answer that does not. `incarnation` is what the refuser knows of the caller (`.dead`).
    case refuse(RefusalReason, holder: NodeID, Incarnation)
    /// Sent on an idle link; carries the digest of members and directory.
    case heartbeat(Heartbeat)
    /// Changes of membership, flooded once over every link; or, with `isRepair`, what a node knows.
    case members([MemberRecord], isRepair: Bool)
    /// The same of members that the receivers know already: only their status has changed.
    case statuses([StatusChange])
    /// The links of nodes, for lookahead.
    case linkLists([LinkList])
    /// How such lists have changed since they were last told over this link.
    case linkChanges([LinkListChange])
    /// Whole lists of these owners are wanted: a change did not fit what is known of them here.
    case linksWanted([NodeID])
    /// The role of this link for the sender; 0: none any more.
    case role(LinkRole)
    /// The sender closes this link on purpose: no reason to suspect anybody.
    case bye
    /// To the other watchers of `subject`: I do not hear it.
    case accuse(subject: NodeID, Incarnation, Evidence)
    /// To an accuser: I hear `subject`.
    case vouch(subject: NodeID, Incarnation)
    /// To somebody else, for an accuser: dial `subject`, unless you hear it, and accuse or vouch.
    case indirectProbe(subject: NodeID, Incarnation)
    /// Directory changes of one origin, in order.
    case records(DirectoryRecords)
    /// Digests of the 64 parts of the member list (by the ids' upper six bits); they differ somewhere.
    case digests([UInt64])
    /// The sender may have missed something: tell it at once what differs from these digests of its
    /// members, then `compared` with the same number.
    case compare(number: UInt32, [UInt64])
    /// All that differs has been told. `isBehind`: the sender may have missed something itself.
    case compared(number: UInt32, isBehind: Bool)
    /// The sender's members and their logs in the parts that `mask` names, in short; with no part,
    /// some in whose logs it is ahead.
    case logSummaries([LogSummary], mask: UInt64)
    /// The sender's members and their logs in the parts that `mask` names. `isReply`: do not answer.
    case origins([OriginEntry], mask: UInt64, isReply: Bool)
    /// Send what came after these sequences.
    case repair([RepairRequest])
    /// A part of one origin's whole set.
    case snapshot(SnapshotPart)
    /// The sender cannot serve the repair of this origin.
    case cannotRepair(NodeID)
    /// The origin's changes up to this sequence of that life are entered: over a link, at the sender and
    /// at all whom it has passed them on to; in a routed frame to the origin, at the sender.
    case recordsKnown(origin: NodeID, life: UInt64, sequence: UInt64)
    /// A query of a gateway, or (`isTrace`) a request to be told the way it came.
    case query(UInt32, isTrace: Bool, subject: Slice)
    case answer(UInt32, Slice)
    case traceAnswer(UInt32, path: Slice)
    /// Where nodes lie in the space of round trips: the sender, or all that it knows of.
    case coordinates([MemberCoordinate])
    /// To the origin of a flow: how far it has arrived.
    case acknowledge(Acknowledgement)
    /// To the destination of a flow: messages up to this one, as far as they are missing, were given
    /// up and will not come.
    case skip(through: UInt32)
    /// To the origin of a message: the name with this hash is not here, another of its key is. True
    /// as of this place in the sender's log.
    case wrongName(Key, name: UInt64, sequence: UInt64)
    /// To the origin of a flow: these messages to users have found nobody, as of this place in the
    /// sender's log. Ascending numbers of the flow, at least one.
    case nobody([UInt32], sequence: UInt64)
    /// To the destination of a flow: what has found nobody of these messages is the origin's again.
    /// All that it has sent to their users has numbers up to `last`.
    case takenBack(FlowRange, last: UInt32)
    /// To the origin of a message: its destination speaks an earlier version, and has dropped it.
    case unsupported(Unsupported)

    /// The two that exchange a message.
    public enum Scope: Sendable {
        /// Two nodes that do not know yet what they will be to each other.
        case handshake
        /// Two nodes that have shaken hands, a link or not.
        case connection
        /// The two ends of a link.
        case link
        /// Two nodes however far from each other: it travels in a routed frame.
        case mesh
    }

    public var scope: Scope {
        switch self {
        case .hello, .welcome, .refuse: .handshake
        case .members, .coordinates, .bye: .connection
        case .heartbeat, .statuses, .linkLists, .linkChanges, .linksWanted, .role, .records,
            .digests, .logSummaries, .origins, .repair, .snapshot, .cannotRepair, .recordsKnown,
            .compare, .compared:
            .link
        case .accuse, .vouch, .indirectProbe, .query, .answer, .traceAnswer, .acknowledge, .skip,
            .wrongName, .nobody, .takenBack, .unsupported:
            .mesh
        }
    }

    /// The first byte of each message.
    public enum Number: UInt8, Sendable {
        case hello = 1, welcome, refuse, heartbeat, members, linkLists, role, bye, accuse, vouch
        case records, digests, origins, repair, snapshot, cannotRepair, query, answer
        case traceAnswer, acknowledge, skip
        case logSummaries = 22, coordinates, wrongName, linkChanges, linksWanted, statuses
        case recordsKnown = 31
        case nobody = 34, takenBack, unsupported, indirectProbe, compare, compared
    }
}

/// A routed frame that its destination does not understand, by the fields that it had.
public struct Unsupported: Equatable, Sendable {
    /// Its number in the flow, if it is in one.
    public var sequence: UInt32
    public var body: UInt8
    public var flags: FrameFlags

    public init(sequence: UInt32, body: UInt8, flags: FrameFlags) {
        self.sequence = sequence
        self.body = body
        self.flags = flags
    }

    /// A frame that is in no flow says so, also one of a version to come.
    public var isInFlow: Bool {
        body != RoutedBody.control.rawValue && !flags.contains(.volatile)
    }
}

/// Messages of one flow in a row, by their numbers modulo 2^32.
public struct FlowRange: Equatable, Sendable {
    public var first: UInt32
    /// Not before `first`.
    public var last: UInt32

    public init(first: UInt32, last: UInt32) {
        self.first = first
        self.last = last
    }

    public func contains(_ number: UInt32) -> Bool { number &- first <= last &- first }
}

/// The identity of a node, and how it speaks.
public struct Greeting: Equatable, Sendable {
    /// The link protocol's versions that the sender speaks.
    public var versionMin: UInt16
    public var versionMax: UInt16
    /// Optional features, one bit each; unknown bits are ignored.
    public var features: UInt64
    public var cluster: String
    /// SipHash of a fixed text under the cluster's key: nodes that would place users differently
    /// must not meet.
    public var clusterID: UInt64
    public var purpose: Purpose
    public var stratum: UInt8
    public var member: MemberRecord

    public enum Purpose: UInt8, Sendable {
        /// Tell me who is here; no link.
        case introduce = 1
        /// A ring link or a link of a full mesh.
        case neighbour = 2
        /// A long-range link in `stratum`.
        case longRange = 3
        /// The same, after many refusals: any free place.
        case longRangeAnywhere = 4
        /// Are you there? No link, and nothing is told.
        case probe = 5

        /// The caller wants a link.
        public var isForLink: Bool {
            switch self {
            case .neighbour, .longRange, .longRangeAnywhere: true
            case .introduce, .probe: false
            }
        }
    }

    public static let currentVersion: UInt16 = 3
    /// The earliest version whose nodes this one mixes with.
    public static let earliestVersion: UInt16 = 2
    /// The features of this version, which has none beyond itself.
    public static let currentFeatures: UInt64 = 0

    /// The sender may say what this version does not know.
    public var isLater: Bool {
        versionMax > Self.currentVersion || features & ~Self.currentFeatures != 0
    }

    public init(
        cluster: String, clusterID: UInt64, purpose: Purpose, stratum: UInt8, member: MemberRecord
    ) {
        versionMin = Self.earliestVersion
        versionMax = Self.currentVersion
        features = Self.currentFeatures
        self.cluster = cluster
        self.clusterID = clusterID
        self.purpose = purpose
        self.stratum = stratum
        self.member = member
    }
}

/// The status of a member; at equal incarnations the higher outranks the lower.
public enum MemberStatus: UInt8, Comparable, Sendable {
    case alive = 0
    case suspect = 1
    case dead = 2
    case left = 3

    @inlinable public static func < (left: MemberStatus, right: MemberStatus) -> Bool {
        left.rawValue < right.rawValue
    }

    /// It has a place on the ring: alive or suspect.
    @inlinable public var isPresent: Bool { rawValue <= 1 }
}

public struct MemberRecord: Equatable, Sendable {
    public var id: NodeID
    public var incarnation: Incarnation
    public var status: MemberStatus
    public var endpoint: Endpoint
    public var name: String
    public var zone: String
    public var capabilities: Capabilities

    public init(
        id: NodeID, incarnation: Incarnation, status: MemberStatus, endpoint: Endpoint,
        name: String, zone: String, capabilities: Capabilities = .current
    ) {
        self.id = id
        self.incarnation = incarnation
        self.status = status
        self.endpoint = endpoint
        self.name = name
        self.zone = zone
        self.capabilities = capabilities
    }

    /// The least bytes of one: with an IPv4 address, without name and zone.
    static let sizeMin = 26 + Capabilities.size
}

/// A member's new status, in thirteen bytes: whoever knows the member knows the rest of its record.
public struct StatusChange: Equatable, Sendable {
    public var id: NodeID
    /// The lower half of its incarnation: 16 bits of its birth, and its refutations.
    public var incarnation: UInt32
    public var status: MemberStatus

    public init(id: NodeID, incarnation: UInt32, status: MemberStatus) {
        self.id = id
        self.incarnation = incarnation
        self.status = status
    }

    public init(_ record: MemberRecord) {
        id = record.id
        incarnation = UInt32(truncatingIfNeeded: record.incarnation.rawValue)
        status = record.status
    }
}

public struct Heartbeat: Equatable, Sendable {
    public var digest: UInt64
    /// The sender's clock in microseconds, modulo 2^32.
    public var sentAt: UInt32
    /// The last `sentAt` that came from the receiver, and how long ago that was, in microseconds;
    /// 0 and 0: none yet.
    public var echo: UInt32
    public var echoDelay: UInt32

    /// Bytes of a `.link` frame with a heartbeat.
    @inlinable public static var frameSize: Int { Frame.prefixSize + 21 }

    /// The heartbeat in the `.link` frame that starts at `offset` and whose prefix is checked; nil:
    /// another message, or a malformed one.
    @inlinable @inline(__always)
    public init?(frame bytes: Span<UInt8>, at offset: Int, _ prefix: FramePrefix) {
        guard prefix.length == Self.frameSize,
            bytes[offset + Frame.prefixSize] == Message.Number.heartbeat.rawValue
        else { return nil }
        digest = bytes.load(UInt64.self, at: offset + 9)
        sentAt = bytes.load(UInt32.self, at: offset + 17)
        echo = bytes.load(UInt32.self, at: offset + 21)
        echoDelay = bytes.load(UInt32.self, at: offset + 25)
    }

    @inlinable public init(digest: UInt64, sentAt: UInt32, echo: UInt32, echoDelay: UInt32) {
        self.digest = digest
        self.sentAt = sentAt
        self.echo = echo
        self.echoDelay = echoDelay
    }
}

/// The links that a node has, told to its neighbours and theirs.
public struct LinkList: Equatable, Sendable {
    public var owner: NodeID
    public var incarnation: Incarnation
    /// Rises with each change.
    public var version: UInt32
    /// How many more hops it is passed on.
    public var hopsLeft: UInt8
    public var links: [NodeID]

    public init(
        owner: NodeID, incarnation: Incarnation, version: UInt32, hopsLeft: UInt8, links: [NodeID]
    ) {
        self.owner = owner
        self.incarnation = incarnation
        self.version = version
        self.hopsLeft = hopsLeft
        self.links = links
    }
}

/// The difference between a node's list of links and the one that it told before.
public struct LinkListChange: Equatable, Sendable {
    public var owner: NodeID
    /// Of the new list.
    public var version: UInt32
    /// How many more hops it is passed on.
    public var hopsLeft: UInt8
    /// The sum of hashes of the new list: the receiver's old one may not be the sender's.
    public var check: UInt32
    /// Upper halves of the ids that are links no more; at most 255.
    public var removed: [UInt32]
    /// New links; at most 255.
    public var added: [NodeID]

    public init(
        owner: NodeID, version: UInt32, hopsLeft: UInt8, check: UInt32, removed: [UInt32],
        added: [NodeID]
    ) {
        self.owner = owner
        self.version = version
        self.hopsLeft = hopsLeft
        self.check = check
        self.removed = removed
        self.added = added
    }
}

/// Computed for the reason that `FrameFlags` names.
public struct LinkRole: OptionSet, Hashable, Sendable {
    public var rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    @inlinable public static var successor: LinkRole { LinkRole(rawValue: 1) }
    @inlinable public static var predecessor: LinkRole { LinkRole(rawValue: 2) }
    @inlinable public static var longRange: LinkRole { LinkRole(rawValue: 4) }
    @inlinable public static var mesh: LinkRole { LinkRole(rawValue: 8) }
}

/// The evidence that an accuser has.
public enum Evidence: UInt8, Comparable, Sendable {
    /// Nothing, for too long.
    case silence = 0
    /// The address refuses connections: the process is gone.
    case refused = 1

    public static func < (left: Evidence, right: Evidence) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// Consecutive entries of one origin's log.
public struct DirectoryRecords: Equatable, Sendable {
    public var origin: NodeID
    public var life: UInt64
    /// The number of the first record; the log starts at 1.
    public var firstSequence: UInt64
    /// It answers a repair request, and is not passed on.
    public var isRepair: Bool
    public var records: [DirectoryRecord]

    public init(
        origin: NodeID, life: UInt64, firstSequence: UInt64, isRepair: Bool,
        records: [DirectoryRecord]
    ) {
        self.origin = origin
        self.life = life
        self.firstSequence = firstSequence
        self.isRepair = isRepair
        self.records = records
    }

    /// Bounds one message; more travel in several.
    public static let countMax = 4_096
    /// The highest number of a change: an origin that changes a million entries a second reaches it
    /// after 146,000 years. Sums of a number and a count then fit 64 bits.
    public static let sequenceMax: UInt64 = 1 << 62 - 1
}

/// One change: seven bytes on the wire, and the text of a pattern that is added.
public struct DirectoryRecord: Equatable, Sendable {
    public enum Operation: Hashable, Sendable {
        case addKey
        /// The origin's clients have ended what they had of the key.
        case removeKey
        /// The last of them has lost its connection.
        case loseKey
        /// Another client has ended what the last of them had.
        case kickKey
        case addPattern
        case removePattern
        /// One that a later version has added, by its number: it has no text, and changes nothing here.
        case unknown(UInt8)

        /// The operation of this number.
        @inlinable public init(rawValue: UInt8) {
            switch rawValue {
            case 0: self = .addKey
            case 1: self = .removeKey
            case 2: self = .addPattern
            case 3: self = .removePattern
            case 4: self = .loseKey
            case 5: self = .kickKey
            default: self = .unknown(rawValue)
            }
        }

        @inlinable public var rawValue: UInt8 {
            switch self {
            case .addKey: 0
            case .removeKey: 1
            case .addPattern: 2
            case .removePattern: 3
            case .loseKey: 4
            case .kickKey: 5
            case .unknown(let number): number
            }
        }
    }
    public var operation: Operation
    public var key: Key
    /// The pattern, for `.addPattern`; otherwise empty.
    public var text: [UInt8]

    public init(_ operation: Operation, _ key: Key, text: [UInt8] = []) {
        self.operation = operation
        self.key = key
        self.text = text
    }
}

public struct OriginEntry: Equatable, Sendable {
    public var member: MemberRecord
    public var sequence: UInt64
    public var keyCount: UInt32
    public var keySum: UInt64

    public init(member: MemberRecord, sequence: UInt64, keyCount: UInt32, keySum: UInt64) {
        self.member = member
        self.sequence = sequence
        self.keyCount = keyCount
        self.keySum = keySum
    }
}

/// A node's log of one member, in twelve bytes: enough to find what differs between two nodes, and
/// which of them is ahead.
public struct LogSummary: Equatable, Sendable {
    /// The upper half of the member's id.
    public var prefix: UInt32
    /// 16 bits of a hash of its id and incarnation.
    public var membership: UInt16
    /// The last sequence of its log that the sender has, modulo 2^32.
    public var sequence: UInt32
    /// 16 bits of a hash of its keys' sum.
    public var sum: UInt16

    public init(prefix: UInt32, membership: UInt16, sequence: UInt32, sum: UInt16) {
        self.prefix = prefix
        self.membership = membership
        self.sequence = sequence
        self.sum = sum
    }
}

public struct RepairRequest: Equatable, Sendable {
    public var origin: NodeID
    public var life: UInt64
    /// The last sequence that the asker has.
    public var after: UInt64
    /// For a set that goes on: from this position. `wantsSnapshot` asks for the set in any case.
    public var fromPosition: UInt64
    public var wantsSnapshot: Bool

    public init(
        origin: NodeID, life: UInt64, after: UInt64, fromPosition: UInt64 = 0,
        wantsSnapshot: Bool = false
    ) {
        self.origin = origin
        self.life = life
        self.after = after
        self.fromPosition = fromPosition
        self.wantsSnapshot = wantsSnapshot
    }
}

/// All keys of an origin between two positions (`Key.position`), as its log stood at `sequence`.
///
/// A request is answered with a bounded number of parts; what lies behind the last is sent when the
/// asker asks for it. So the asker sets the pace, and one that was interrupted goes on from the
/// last part that came, with whatever neighbour.
public struct SnapshotPart: Equatable, Sendable {
    public var origin: NodeID
    public var life: UInt64
    public var sequence: UInt64
    /// The part covers the positions `first ... last`.
    public var first: UInt64
    public var last: UInt64
    /// Nothing more comes in answer to the message that asked: ask on.
    public var endsAnswer: Bool
    /// Sorted by position.
    public var keys: [Key]
    /// All patterns of the origin; only in the part that begins at position 0.
    public var patterns: [[UInt8]]

    /// The set goes on behind this part.
    public var continues: Bool { last < Self.lastPosition }

    public init(
        origin: NodeID, life: UInt64, sequence: UInt64, first: UInt64, last: UInt64,
        endsAnswer: Bool, keys: [Key], patterns: [[UInt8]]
    ) {
        self.origin = origin
        self.life = life
        self.sequence = sequence
        self.first = first
        self.last = last
        self.endsAnswer = endsAnswer
        self.keys = keys
        self.patterns = patterns
    }

    /// Bounds one part: about 40 KB of keys.
    public static let keyCountMax = 8_192
    /// The last position of all.
    public static let lastPosition: UInt64 = 0xFFFF_FFFF_FFFF
}
