import MeshWire

/// The messages of this node to one other in one lane: numbered, and kept until they are acknowledged.
///
///     … acknowledged │ kept: acknowledged + 1 … last │ not yet written
///                           ▲ resendNext, while recovering
///
/// While nothing is lost, each message is sent when it is published. After a loss the flow recovers:
/// it sends from the oldest on, in bursts that grow as acknowledgements come, and what is published
/// meanwhile takes its turn behind. `acknowledged` and `last` are modulo 2^32.
///
/// It has more than thirty properties: one owner for all that window, recovery, pauses and giving up of one
/// flow have in common.
struct OutgoingFlow: ~Copyable {
    let member: MemberIndex
    /// The member's.
    let destination: NodeID
    let lane: Lane
    /// The entries of `RetransmissionBuffer`.
    var queue = ByteQueue()
    var acknowledged: UInt32
    var last: UInt32
    /// The cost of all that is kept.
    var bytes = 0
    /// Above this cost publishers are asked to wait. Halved when nothing comes for too long, grown
    /// again with acknowledgements (AIMD, Chiu and Jain 1989).
    var window: Int
    var isCongested = false
    var detour: Detour
    /// The incoming flow from the same node, whose acknowledgements messages can carry; none: there is
    /// none, or this is not the lane of messages.
    var reverse = IncomingFlowIndex.none
    /// Its place in `Flows.active`, -1: nothing is kept.
    var activePlace: Int32 = -1
    /// It stands in `Flows.spacious`.
    var isSpacious = false

    var isRecovering = false
    /// The link that was last sent over is lost, or a way has been found where there was none.
    var mustRecover = false
    /// The next message to send again, its place in the queue, and bytes to send at once.
    var resendNext: UInt32 = 0
    var resendOffset = 0
    var burst = 0
    /// The next burst is due when this has been acknowledged.
    var burstMiddle: UInt32 = 0

    /// When something was last acknowledged, sent again, or first kept.
    var progressAt: Instant
    /// Since when nothing has come, as a timeout has found; zero: it is not so, or not known.
    private var stalledAt = Instant(nanoseconds: 0)
    var stall = Stall.none
    /// Times that nothing came since a round trip was last measured: as long as all is sent again
    /// none can be, so the longer wait stays until then (Karn 1987).
    var timeouts = 0
    /// Smoothed (Jacobson 1988), upwards faster; at first what the coordinates say, zero: unknown.
    private(set) var roundTrip: Delay
    /// The message whose round trip is being measured; never one that was sent again (Karn 1987).
    var timed: UInt32 = 0
    var timedAt: Instant
    var isTiming = false
    /// All that the node had given out for the link that was last sent over, this flow's last message
    /// included.
    var sentMark: UInt64 = 0
    /// Its timeout has begun anew since its last progress, because it may have left late (`Backlog`).
    var isExcused = false

    /// Something was given up since the last acknowledgement: the destination is told to skip it
    /// before the next message comes.
    var mustSkip = false
    var skippedAt: Instant
    var gapAnswered: UInt32 = 0
    var gapAnsweredAt: Instant
    /// The destination has said that it leaves: what is kept then is given up.
    var giveUpDue: Instant?
    /// Of the bulk lane: what goes in parts.
    var large = LargeMessages()

    init(
        to member: MemberIndex, _ destination: NodeID, _ lane: Lane = .messages,
        after last: UInt32, window: Int, roundTrip: Delay, at now: Instant
    ) {
        self.member = member
        self.lane = lane
        self.destination = destination
        acknowledged = last
        self.last = last
        self.window = window
        self.roundTrip = roundTrip
        detour = Detour(at: now)
        progressAt = now
        timedAt = now
        skippedAt = now - .seconds(1)
        gapAnsweredAt = now - .seconds(1)
    }

    var stalledSince: Instant? { stalledAt.nanoseconds == 0 ? nil : stalledAt }

    /// All is well, or nothing was under way.
    @inline(__always)
    mutating func clearStall() { stalledAt = Instant(nanoseconds: 0) }

    /// A timeout has found nothing.
    mutating func noteStall() {
        if stalledAt.nanoseconds == 0 { stalledAt = progressAt }
    }

    /// Memory that a flow holds on to even when nothing passes through it.
    static let spareBytes = 64 * 1024

    /// Messages that are kept.
    @inline(__always) var count: Int { Int(last &- acknowledged) }

    /// The messages that an acknowledgement of everything through `number` advances by; negative for an old one.
    @inline(__always)
    func advance(to number: UInt32) -> Int { Int(Int32(bitPattern: number &- acknowledged)) }

    /// Forgets the first `count` messages, which is at most `self.count`.
    mutating func drop(_ count: Int, _ retransmission: inout RetransmissionBuffer) {
        precondition(count >= 0 && count <= self.count)
        var size = 0
        var cost = 0
        for _ in 0..<count {
            let header = RetransmissionBuffer.header(queue, at: size)
            size += header.entrySize
            cost += header.cost
            if !header.parcel.isNone { retransmission.release(header.parcel) }
        }
        retransmission.noteDropped(size, lane)
        queue.drop(size)
        bytes -= cost
        acknowledged &+= UInt32(truncatingIfNeeded: count)
        guard isRecovering else { return }
        if Int32(bitPattern: resendNext &- acknowledged) <= 0 {
            resendNext = acknowledged &+ 1
            resendOffset = 0
        } else {
            resendOffset -= size
        }
    }

    /// Nothing has come for `timeout`: publishers wait earlier from now on, and the flow longer.
    mutating func timedOut(windowLeast: Int, windowMost: Int) {
        window = max(windowLeast, min(window, windowMost) / 2)
        timeouts += 1
    }

    /// Takes a measured round trip into account: 1/8 a shorter one, half a longer one, since a timeout
    /// that is too short sends everything twice.
    mutating func sample(_ delay: Delay) {
        timeouts = 0
        let sample = max(delay, .microseconds(1))
        if roundTrip == .zero {
            roundTrip = sample
        } else {
            let excess = sample.nanoseconds - roundTrip.nanoseconds
            roundTrip = roundTrip + Delay(nanoseconds: excess / (excess > 0 ? 2 : 8))
        }
    }

    /// How long to wait before what is kept is sent again.
    func timeout(_ timing: Timing) -> Delay {
        let least = max(roundTrip * 3, timing.retransmit)
        return min(least * (1 << Int64(min(timeouts, 10))), max(timing.retransmitMax, least))
    }

    mutating func beginRecovery(burst: Int) {
        isRecovering = true
        mustRecover = false
        isTiming = false
        resendNext = acknowledged &+ 1
        resendOffset = 0
        self.burst = burst
        burstMiddle = acknowledged
    }
}
