import MeshCore
import MeshWire

/// The place of a user's session in the gateway's table; reused after `remove`.
struct UserSessionIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// A user's session: what survives the connection that began it.
///
///     (MESH.ATTACH user SESSION) ─▶ attached ⇄ waiting ─▶ (the grace is over)
///                                                 │
///                       resumed at another node, or drained: moved ─▶ (all has gone there)
///
/// At the other node it begins as one that waits. As long as more of it comes from the node where it was,
/// it has an arrival, whatever its state.
struct UserSession {
    enum State {
        /// A connection has it.
        case attached(ClientIndex)
        /// Nobody has it; a mailbox keeps what comes, until then.
        case waiting(MailboxIndex, until: Instant)
        /// Another node has it; a mailbox takes what still comes here, and it goes there. The key is
        /// given up then; nil: the other node has not been told of the session yet.
        case moved(MailboxIndex, to: NodeID, until: Instant?)
    }

    /// The holder of a session's messages on this node.
    enum Holder {
        case client(ClientIndex)
        case mailbox(MailboxIndex)
    }

    var state: State
    /// The one that was told last, and the one that was shown for it: if the connection broke before the
    /// client heard of the new one, it shows the former again.
    var token: SessionToken
    var former: SessionToken?
    /// Both, as far as there are two.
    var tokens: [SessionToken] { former.map { [token, $0] } ?? [token] }
    var user: [UInt8]
    var key: Key
    /// Raised when the place is used again, or the state changes: timers name it.
    var serial: UInt32
    /// Raised when the place is used again.
    var life: UInt32 = 0

    /// The sid under which its connections are known; nil: it has had none here.
    var attachmentID: AttachmentID?
    /// The metadata of its attachment, which the next connection goes on with; nil: there are none.
    var metadata: [UInt8]?

    /// The client counts its messages (Counting).
    var isCounted = false
    /// The messages written to the present connection since the token, and those of them that the
    /// client has acknowledged.
    var sentCount: UInt64 = 0
    var acknowledged: UInt64 = 0
    /// The position behind the last message that nobody counts, or notice, in all that was written to
    /// the present connection; nil: there was none (Parting).
    var unprovenEnd: UInt64?
    /// The losses that the present connection of a counted session was told of (Counting).
    var told = ToldLosses()
    /// Waiting: the number of the message that was the first ever in its mailbox.
    var waitingFrom = 0

    /// It is being offered to another node, because this one leaves, and how often it was.
    var isOffered = false
    var offers: UInt32 = 0
    /// It has moved: what has gone to the other node.
    var departure: Departure?
    /// It has come from another node, and more of it may come from there.
    var arrival: Arrival?
}

/// The sessions of users that are here, or were a moment ago. A place is used again after `remove`.
struct UserSessions {
    private var sessions: [UserSession] = []
    private var free: [UserSessionIndex] = []
    /// The sessions of each user.
    private var counts: [[UInt8]: Int32] = [:]
    /// The sessions that are here, by the tokens that clients may show for them.
    var ofToken: [SessionToken: UserSessionIndex] = [:]
    var movedTokens = MovedTokens()
    var moves = SessionMoves()
    var timers = SessionTimers()
    var tokens: SessionTokenSource
    /// The message at hand was forwarded by another node.
    var isForwarded = false

    init(tokens: SessionTokenSource) { self.tokens = tokens }

    var count: Int { sessions.count - free.count }

    /// The sessions of this user.
    func count(of user: [UInt8]) -> Int { Int(counts[user] ?? 0) }

    /// The places of all sessions, and the free ones.
    var indices: Range<UserSessionIndex> {
        UserSessionIndex(0)..<UserSessionIndex(sessions.count)
    }

    /// The place is some session's: each has a user.
    func isUsed(_ index: UserSessionIndex) -> Bool { !sessions[index.slot].user.isEmpty }

    subscript(index: UserSessionIndex) -> UserSession {
        @inline(__always) _read { yield sessions[index.slot] }
        @inline(__always) _modify { yield &sessions[index.slot] }
    }

    /// Adds a session; its serial and its life follow those of the one that had the place before.
    mutating func insert(_ session: UserSession) -> UserSessionIndex {
        counts[session.user, default: 0] += 1
        guard let index = free.popLast() else {
            sessions.append(session)
            return UserSessionIndex(sessions.count - 1)
        }
        let (serial, life) = (self[index].serial, self[index].life)
        self[index] = session
        self[index].serial = serial &+ 1
        self[index].life = life
        return index
    }

    /// Takes a session out: timers and messages that still name it see that its serial, or its life, is
    /// another.
    mutating func remove(_ index: UserSessionIndex) {
        let count = counts[self[index].user] ?? 0
        counts[self[index].user] = count > 1 ? count - 1 : nil
        self[index].serial &+= 1
        self[index].life &+= 1
        self[index].user = []
        self[index].departure = nil
        self[index].arrival = nil
        self[index].isCounted = false
        self[index].told.removeAll()
        free.append(index)
    }
}

/// Where sessions have gone whose tokens clients may still show here. This node itself: a later token
/// of the session was used here.
struct MovedTokens {
    struct Place {
        var node: NodeID
        /// The stream in which this node has given it there; 0: another has.
        var stream: UInt64
    }

    private var places: [SessionToken: Place] = [:]
    /// In the order of their ends.
    private var ends: [(token: SessionToken, at: Instant)] = []
    private var head = 0

    /// The most that are known; some 100 bytes each. Beyond that the oldest are forgotten.
    static let countMax = 65_536

    subscript(token: SessionToken) -> Place? { places[token] }

    mutating func add(_ token: SessionToken, _ place: Place, until: Instant) {
        places[token] = place
        ends.append((token, until))
        if ends.count - head > Self.countMax { forgetFirst() }
    }

    /// Forgets those that are of no use any more, or as many as `units` suffice for.
    mutating func forget(endingBy now: Instant, _ units: inout Int) {
        while units > 0, head < ends.count, ends[head].at <= now {
            units -= 16
            forgetFirst()
        }
    }

    private mutating func forgetFirst() {
        places[ends[head].token] = nil
        head += 1
        if head > 256, head * 2 > ends.count {
            ends.removeFirst(head)
            head = 0
        }
    }
}

/// The losses that a counted session's connection was told of, and that its client may not have heard of:
/// no message behind the notice is known to have come.
struct ToldLosses {
    struct Loss {
        var count: Int
        var since: Instant
        /// The session's messages that stand before the notice.
        var after: UInt64
    }

    private(set) var losses: [Loss] = []

    /// Beyond that the two oldest become one, which stands where the later did.
    static let countMax = 256

    mutating func add(_ count: Int, since: Instant, after number: UInt64) {
        if let last = losses.last, last.after == number {
            losses[losses.count - 1].count = Hub.sumOfLost(last.count, count)
            return
        }
        losses.append(Loss(count: count, since: since, after: number))
        guard losses.count > Self.countMax else { return }
        let oldest = losses.removeFirst()
        losses[0].count = Hub.sumOfLost(oldest.count, losses[0].count)
        losses[0].since = oldest.since
    }

    /// The client has seen so many messages, and so all that stood before the last of them.
    mutating func forget(seen: UInt64) {
        losses.removeAll { $0.after < seen }
    }

    mutating func removeAll() { losses.removeAll() }
}

/// A set of messages that forgets those that came first when there are too many.
struct SeenMessages {
    private var recent: Set<MessageID> = []
    private var earlier: Set<MessageID> = []

    /// At least so many are known, and less than twice as many; 2 to 4 MB. A message that comes to
    /// both nodes comes to the second of them this much later only if that is frozen.
    static let countMin = 65_536

    /// False: it is not there.
    mutating func remove(_ id: MessageID) -> Bool {
        recent.remove(id) != nil || earlier.remove(id) != nil
    }

    /// False: it is there already.
    mutating func insert(_ id: MessageID) -> Bool {
        if earlier.contains(id) || !recent.insert(id).inserted { return false }
        if recent.count >= Self.countMin {
            swap(&earlier, &recent)
            recent = []
        }
        return true
    }
}
