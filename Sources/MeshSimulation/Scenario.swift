import MeshCore

/// The plan of a run, and its expectations. Read from JSON5 (`ScenarioReader`), or drawn at
/// random (`Fuzz`).
public struct Scenario: Sendable {
    /// The most nodes that may be up at once. Guess at what fits: 2,000 nodes of degree 20 took 2.8 GB.
    public static let nodesMax = 20_000

    public var name = "unnamed"
    public var about = ""
    /// Nodes that start in the beginning.
    public var nodes = 0
    public var degree = 16
    /// The virtual time in which users, messages, faults and churn happen.
    public var duration = Delay.seconds(30)
    public var start = Start()
    /// How long after the last fault all must agree again.
    public var settle = Delay.seconds(10)
    public var network = NetworkShape()
    public var zones: [Zone] = []
    public var churn: Churn?
    public var faults: [Fault] = []
    public var users = Users()
    public var channels = Channels()
    public var messages = Messages()
    public var sessions = Sessions()
    public var rooms = Rooms()
    /// The bounds of nodes for messages under way; nil: a node's defaults.
    public var flows: FlowLimits?
    /// Every copy of a channel's message is kept for the figures of the report, a dozen bytes each.
    public var keepsCopies = true
    /// Bits of the names' hashes, as far as a key has them: with few, names share keys all the time.
    public var keyBits = 64
    /// How often the timers of each node are looked at; a second.
    public var timerLooks = 0.0
    public var expectations: [Expectation] = []
    /// Checkers whose findings are counted and shown, but are no violations in this scenario.
    public var tolerated: [CheckerName] = []
    /// A mistake that nodes make on purpose, to test the checkers; never in a file.
    public var mistake: Mistake?

    public init() {}

    /// Names share keys.
    var hasShortKeys: Bool { keyBits < 48 }

    public struct Start: Sendable {
        /// The nodes start one after the other within this time; zero: all at once.
        public var over = Delay.zero
        /// Each node is told this many of those before it.
        public var seeds = 2
    }

    public struct NetworkShape: Sendable {
        public var latency = Delay.microseconds(200)
        public var jitter = Delay.microseconds(100)
        public var connectTimeout = Delay.seconds(127)
        public var bytesPerSecond: Int64?
        /// One-way latency by pairs of zones, both ways.
        public var between: [(String, String, Delay)] = []
    }

    public struct Zone: Sendable {
        public var name: String
        /// Of the nodes, relative to the other zones' shares.
        public var share: Double
        /// One-way latency inside.
        public var latency: Delay?
    }

    public struct Churn: Sendable {
        public var from = Delay.zero
        public var to: Delay?
        /// A minute, each.
        public var joins = 0.0
        public var leaves = 0.0
        public var crashes = 0.0
    }

    /// A number, or a share of what there is when it is asked for: of the nodes that are up, or of the
    /// links between them.
    public enum Amount: Sendable, Equatable {
        case count(Int)
        /// 0 … 1
        case share(Double)

        /// How many of `total` that is; a share is rounded to the nearest, halves up.
        ///
        /// - Parameter countMax: the bound of a number; nil: `total`.
        func resolved(of total: Int, countMax: Int? = nil) -> Int {
            switch self {
            case .count(let count): min(count, countMax ?? total)
            case .share(let share): min(total, Int((Double(total) * share).rounded()))
            }
        }
    }

    public struct Fault: Sendable {
        public enum Kind: String, CaseIterable, Sendable {
            case crash, vanish, leave, join, restart, freeze, slow, partition, cut, reset, skew
            case reject, refuse, hole, narrow
        }
        public var kind: Kind
        public var at: Delay
        /// Of cut, reset, rejected and hollow links, else nodes.
        public var amount = Amount.count(1)
        /// How long it lasts: of freeze, slow, partition, cut, reject, refuse, hole, narrow; the pause of
        /// a restart.
        public var lasts = Delay.seconds(5)
        /// The delay that a slow node adds; how far a clock jumps.
        public var by = Delay.milliseconds(100)
        /// Parts in a million that a skewed clock runs fast.
        public var drift: Int64 = 0
        /// The largest packet that passes a hole.
        var bytes = 1_200
        /// The shares of the parts of a partition.
        public var parts: [Double] = []
        public var times = 1
        public var every = Delay.seconds(1)
    }

    public struct Users: Sendable {
        public var count = 0
        /// The first ones arrive within this time after the nodes.
        public var over = Delay.seconds(1)
        /// A second, each.
        public var arrivals = 0.0
        public var departures = 0.0
        public var moves = 0.0
        /// The exponent of Zipf's law for who is written to; 0: all alike.
        public var zipf = 0.0
    }

    public struct Channels: Sendable {
        public var count = 0
        /// Nodes that subscribe to each.
        public var subscribers = Amount.count(3)
    }

    public struct Messages: Sendable {
        /// A second, from all nodes together.
        public var toUsers = 0.0
        public var toChannels = 0.0
        /// So many of the nodes publish to channels, those that have been up longest; 0: all.
        public var publishers = 0
        /// Bytes of payload.
        public var size = 128
        /// A second, to users, besides the others.
        public var large = 0.0
        public var largeSize = 1_048_576
        public var from = Delay.zero
        public var to: Delay?
    }

    /// Programs with sessions of users, which lose their connections and come back.
    public struct Sessions: Sendable {
        public var count = 0
        /// The shares that count what comes, and that read slowly: 0 … 1.
        public var counted = 0.0
        public var slow = 0.0
        /// Connections that break, and messages to sessions from random nodes; a second, each.
        public var breaks = 0.0
        public var messages = 0.0
        /// Bytes of a message, at least.
        public var size = 0
        /// Messages that a node keeps for a session without a connection, and for a client that reads
        /// slowly; 0: as many as a node keeps that is not told otherwise.
        public var kept = 0
        /// Nodes with a program beside them that watches all users (MESH.WATCH).
        public var watchers = 0
        /// Programs that show a token which was exchanged; a second.
        public var probes = 0.0
    }

    /// Programs that are users in rooms, and programs that watch who is in them.
    public struct Rooms: Sendable {
        public var count = 0
        public var members = 0
        /// Each of them watches all rooms (MESH.WATCHROOM).
        public var watchers = 0
        /// Members that join a room, leave one, or lose their connection; a second.
        public var changes = 0.0
        /// Words of members, each said again under its id if it is not answered (ONCE); a second.
        public var says = 0.0
    }

    public struct Expectation: Sendable {
        public var metric: String
        public var least: Double?
        public var most: Double?
    }
}

/// The checkers by the names under which a scenario can tolerate them.
public enum CheckerName: String, CaseIterable, Sendable {
    case loops, once, order, loss, removal, agreement, degree, bounds, readiness, news, spread,
        confirmation, session, sessionOrder, timers, roster
}
