import MeshWire

/// One slot of the table of links: three cache lines.
///
/// It has more than thirty properties, small ones: groups of them would be padded to more than three lines.
///
///     free ─dial→ dialling ─connected→ greeting ─welcome→ established
///     free ─accept→ awaiting ─hello→ established, or introducing
///     established ─we say bye→ closing ─bye, or time→ free
///     dialling, greeting, awaiting, introducing, established ─→ free
struct Link {
    enum State: UInt8 {
        case free
        /// The driver opens a connection.
        case dialling
        /// Our hello is out.
        case greeting
        /// Accepted; the peer's hello has not come.
        case awaiting
        /// Somebody is being told who is here, or tells us; not a link of the overlay.
        case introducing
        case established
        /// We have said bye and send nothing more; what the peer sent before its own bye still counts.
        case closing
    }

    // The first cache line: what every frame and every choice of a way touches.
    var state = State.free
    /// Silent too long: avoided, its peer accused.
    var isDoubted = false
    /// The peer is leaving the mesh: no way leads over it any more.
    var isPeerLeaving = false
    /// Something that was sent over it, or over one before it to the same peer, has not arrived
    /// (`SecondChoices`): it carries what finds no other way.
    var isSecondChoice = false
    var peerSentAt: UInt32 = 0
    /// The peer; meaningful from the hello or welcome on, and for a dialled link whose peer is known.
    var peer = NodeID(0)
    var heardAt = Instant(nanoseconds: 0)
    var sentAt = Instant(nanoseconds: 0)
    var framesIn: UInt64 = 0
    var framesOut: UInt64 = 0
    var bytesIn: UInt64 = 0
    var bytesOut: UInt64 = 0

    // The second: what heartbeats and the rounds of maintenance touch besides.
    var beatAt = Instant(nanoseconds: 0)
    var peerHeartbeatAt = Instant(nanoseconds: 0)
    var roundTrips = RoundTrips()
    /// The coordinate of this node that the peer was last told.
    var toldCoordinate = Coordinate.origin
    /// Where the peer lies, as it has told (`Coordinates.coordinate(of:)`): kept here too, where each
    /// heartbeat of an established link finds it without a search.
    var peerCoordinate = Coordinate.origin
    /// The role of the link for this node, and for the peer as far as it has said.
    var role: LinkRole = []
    var peerRole: LinkRole = []
    /// The role that the round of maintenance which is under way has found.
    var pendingRole: LinkRole = []
    var isRoleTold = false
    /// The peer has been told this node's links, and needs only what changes.
    var isListTold = false
    /// Heartbeats in a row whose digest was not ours.
    var mismatches: Int32 = 0
    private var rawMember: Int32 = -1

    // The third: the rest.
    /// When the slot got its state.
    var since = Instant(nanoseconds: 0)
    var comparedAt: Instant?
    /// All neighbours have been told the peer's links.
    var isListPassed = false
    /// For a link that is dialled: how long that may take.
    private var patienceMilliseconds: UInt16 = 0
    /// This node has compared all that it knows with all that the peer knows, at least once.
    var isCompared = false
    /// Heartbeats that were sent in time, in a row, up to 255.
    var beatCount: UInt8 = 0
    /// Heartbeats of the peer in a row which say that it does not hear this node.
    var unheardCount: UInt8 = 0
    var endpoint = Endpoint(ipv4: 0, port: 0)
    var isDialled = false
    /// The peer has greeted with a later version or features: it may say what this node does not know.
    var isPeerLater = false
    var purpose = Greeting.Purpose.introduce
    private var rawStratum: Int16 = 0
    /// When the peer last sent records or a part of a set that was asked for.
    var repairedAt = Instant(nanoseconds: 0)

    @inline(__always) var member: MemberIndex {
        get { MemberIndex(rawValue: rawMember) }
        set { rawMember = newValue.rawValue }
    }
    /// The stratum of a long-range link, outgoing if dialled.
    var stratum: Int {
        get { Int(rawStratum) }
        set { rawStratum = Int16(newValue) }
    }

    var connectPatience: Delay {
        get { .milliseconds(Int64(patienceMilliseconds)) }
        set { patienceMilliseconds = UInt16(clamping: newValue.microseconds / 1_000) }
    }

    /// It carries messages: established and neither doubted nor second choice.
    @inline(__always) var isUsable: Bool {
        state == .established && !isDoubted && !isPeerLeaving && !isSecondChoice
    }
    /// Routed and arc frames that arrive over it count.
    @inline(__always) var carriesFrames: Bool { state == .established || state == .closing }
    /// Another has opened it, and it is no link yet: it has one of the places for greetings.
    var isGreeted: Bool { state == .awaiting || state == .introducing && !isDialled }
    /// It shakes hands, and has a deadline for it.
    var isShakingHands: Bool {
        switch state {
        case .dialling, .greeting, .awaiting, .introducing: true
        case .free, .established, .closing: false
        }
    }
}
