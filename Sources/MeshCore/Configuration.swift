import MeshWire

/// Everything a node is told at birth.
public struct Configuration: Sendable {
    /// The cluster's name; nodes of other clusters are refused.
    public var cluster: String = "smallworld"
    /// Where other nodes reach this one.
    public var endpoint: Endpoint
    /// A name for people; up to 64 bytes.
    public var name: String
    /// Where the node runs, for people; up to 64 bytes.
    public var zone: String
    /// Live nodes to join through; empty for the first node.
    public var seeds: [Endpoint]
    /// The seeds as they were written, where names are among them: their addresses are asked for again
    /// and again (`Effect.resolveSeeds`), and `seeds` are the first ones.
    public var seedNames: [String] = []
    /// Addresses of members of a former life, which are asked as seeds are; at most 32,
    /// for which there are links beside those of the seeds.
    public var remembered: [Endpoint] = []
    /// A node none of whose seeds has answered begins to serve alone after this; nil: never.
    public var aloneAfter: Delay? = .seconds(10)
    /// The degree budget d: at most this many links, ever. 4 … 64.
    public var degree: Int = 16
    public var timing = Timing()
    /// Changes of other origins kept for gap repair, all origins together.
    public var recentRecordCount = 65_536
    /// Buckets of the directory's table that one event walks at most, for a neighbour that joins or
    /// a member that is gone; about 6 ms, half a million keys.
    public var bucketsPerStep = 65_536
    /// The dead that are remembered and redialled.
    public var rememberedDeadCount = 1_024
    public var flows = FlowLimits()

    public init(endpoint: Endpoint, name: String, zone: String = "", seeds: [Endpoint] = []) {
        self.endpoint = endpoint
        self.name = name
        self.zone = zone
        self.seeds = seeds
    }

    /// Links and handshakes that can exist at once: the degree, and as many again under way, and
    /// those that others have begun and that are no links yet.
    public var linkSlotCount: Int { degree * 2 + Node.greetingCountMax }
}

/// Bounds of what a node keeps for messages that are on their way (`Flows` in the documentation).
public struct FlowLimits: Sendable {
    /// Bytes that a flow keeps until they are acknowledged; above it the publisher is told not to go
    /// on, above twice this much the message is refused. At least 64 KiB.
    public var windowBytes = 8 * 1024 * 1024
    /// The same in messages.
    public var windowCount = 65_536
    /// The same for all flows of a node together, in bytes.
    public var totalBytes = 256 * 1024 * 1024
    /// Bytes that a flow of the bulk lane keeps, and all of them: above either nothing more is taken
    /// until half of it is acknowledged. 1 MiB is on its way at 100 Mbit/s with a round trip of 80 ms.
    public var bulkWindowBytes = 1024 * 1024
    public var bulkTotalBytes = 256 * 1024 * 1024
    /// The messages that a destination keeps for one flow while earlier ones are missing. The number
    /// is a power of two.
    public var reorderCount = 1_024
    public var reorderBytes = 4 * 1024 * 1024
    /// The same for all flows together.
    public var reorderTotalBytes = 64 * 1024 * 1024
    /// The bytes that a destination keeps of large messages whose parts are coming. Above it the
    /// oldest of them alone goes on.
    public var partialTotalBytes = 256 * 1024 * 1024
    /// The messages that wait for one user whose node has died, and for all of them.
    public var parkedCount = 1_024
    public var parkedBytes = 4 * 1024 * 1024
    public var parkedTotalBytes = 64 * 1024 * 1024
    /// Users whose node has died that are remembered for `Timing.reattachGrace`.
    public var rememberedUserCount = 1_000_000

    public init() {}

    /// The most that a flow's window grows to.
    func windowBytes(of lane: Lane) -> Int {
        switch lane {
        case .messages: windowBytes
        case .bulk: bulkWindowBytes
        }
    }
}

/// The protocol's delays, a property each. All but the first three are guesses, not yet measured.
public struct Timing: Sendable {
    /// A link that is idle this long carries a heartbeat.
    public var heartbeat: Delay = .milliseconds(450)
    /// A link that is silent this long is avoided, and its peer accused (<doc:Membership>).
    public var silence: Delay = .milliseconds(1_450)
    /// From the public suspicion to death, unless refuted.
    public var suspicion: Delay = .milliseconds(2_500)
    /// An accuser waits this long for other watchers to vouch or join in.
    public var accusation: Delay = .milliseconds(400)
    /// Directory changes are gathered this long before they are spread.
    public var batch: Delay = .milliseconds(10)
    /// A dialled connection that does not stand after this is given up: the kernel asks again after 1
    /// and 3 s.
    public var connect: Delay = .seconds(7)
    /// The same for one that is to tell whether a node is there, if the node is not known to be far.
    public var probe: Delay = .milliseconds(1_500)
    /// A connection that stands, dialled or accepted, is given up when its first byte does not come in
    /// this time: a geostationary satellite's round trip takes 0.6 s, with a queue before it 1.6 s.
    public var greeting: Delay = .seconds(2)
    /// The same for each pause between bytes, until hands are shaken.
    public var greetingPause: Delay = .seconds(3)
    /// The same for all of it.
    public var handshake: Delay = .seconds(10)
    /// A link that is ended in order is closed after this, if the peer has not done so.
    public var closing: Delay = .milliseconds(1_500)
    /// A node that leaves goes on forwarding this long after it has said so.
    public var departure: Delay = .milliseconds(150)
    /// Between attempts to reach a seed, growing to `seedRetryMax`.
    public var seedRetry: Delay = .milliseconds(200)
    public var seedRetryMax: Delay = .seconds(5)
    /// Between looks at the set of links.
    public var maintenance: Delay = .milliseconds(500)
    /// Between attempts to reach somebody who is dead.
    public var redial: Delay = .milliseconds(1_500)
    /// The dead are forgotten after this.
    public var forget: Delay = .seconds(3_600)
    /// A query that is not answered in this time is answered without the missing ones.
    public var query: Delay = .milliseconds(1_000)
    /// A last departure is announced to watchers only if nobody returns in this time.
    public var presenceGrace: Delay = .milliseconds(200)
    /// Messages for a user whose node has died wait this long for the user to appear elsewhere.
    public var reattachGrace: Delay = .seconds(10)
    /// Messages that have arrived are acknowledged after this, or at once when they are 16.
    public var acknowledgement: Delay = .milliseconds(20)
    /// A gap in a flow is told after this: a message that was overtaken on its way is not lost.
    public var gap: Delay = .milliseconds(5)
    /// A gap that stays is told again.
    public var gapRepeat: Delay = .milliseconds(100)
    /// A message that is not acknowledged after this, and after three round trips, is sent again; the time
    /// doubles up to the second one while nothing comes.
    public var retransmit: Delay = .milliseconds(200)
    public var retransmitMax: Delay = .seconds(2)
    /// A node that has said that it leaves has this long to acknowledge what came before; and it
    /// waits at most this long for its own messages to be acknowledged.
    public var drain: Delay = .milliseconds(1_000)

    public init() {}
}
