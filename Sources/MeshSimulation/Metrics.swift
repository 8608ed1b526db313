import MeshCore

/// The figures that a run has measured, for its report and a scenario's expectations.
///
/// Each figure is a property, because expectations and reports name them one by one: there are some fifty.
public struct Metrics: Sendable {
    /// A fault, or what ended one, and how long the mesh then took to agree.
    public struct Recovery: Sendable {
        public var kind: String
        public var at: Double
        /// Nil: it did not come to that before the next one.
        public var seconds: Double?
    }

    public struct Sample: Sendable {
        public var time: Double
        /// Of the nodes that are up, those whose member list is right.
        public var share: Double
        public var live: Int
        public var megabits: Double
    }

    public var scenario = ""
    public var about = ""
    public var seed: UInt64 = 0
    public var runHash: UInt64 = 0
    /// Up in the end.
    public var nodes = 0
    /// All that there were; one that starts again is another.
    public var lives = 0
    public var events = 0
    public var virtualSeconds = 0.0
    /// Real time that the run took, all of it and from the moment when all were ready and agreed.
    /// Measured by the caller (`Run` has no clock); 0: it was not.
    public var seconds = 0.0
    public var calmSeconds = 0.0
    /// From the first start until all were ready and agreed; nil: never.
    public var startSeconds: Double?
    public var sent = 0
    /// Flow messages: what was sent, once for each destination node.
    public var copies = 0
    /// Of these: refused at once, since their flow had too much under way; their senders were told.
    public var refused = 0
    /// Of these: under way when their origin died, and not delivered.
    public var orphaned = 0
    public var delivered = 0
    public var lost = 0
    public var lostInCalm = 0
    /// Copies that were given up, and their senders told.
    public var undelivered = 0
    /// Messages that the survivors have sent again.
    public var retransmitted = 0
    public var duplicated = 0
    public var reordered = 0
    /// Messages for users that the sender's node knew nobody for.
    public var unknown = 0
    public var hops = Distribution()
    public var hopCounts: [Int] = []
    /// Milliseconds from origin to delivery.
    public var latency = Distribution()
    /// The same of large messages, which are not among the others.
    public var largeLatency = Distribution()
    /// Seconds from a crash to each survivor's knowing it.
    public var detection = Distribution()
    public var convergence = Distribution()
    public var recoveries: [Recovery] = []
    public var bytes = 0
    /// Bytes a second that a node sends, while nothing but the protocol and the load goes on.
    public var bytesPerNodeSecond = Distribution()
    /// Messages passed on for others, by node.
    public var load = Distribution()
    public var loads: [Double] = []
    /// Messages to sessions; those that came; those that did not, without a notice of unknown size;
    /// notices of lost messages.
    public var sessionMessages = 0
    public var sessionDelivered = 0
    public var sessionMissing = 0
    public var sessionNotices = 0
    /// Words in rooms, and those that came to members; pushes to watchers, and rooms of watchers that were
    /// compared at the end with who was there.
    public var roomMessages = 0
    public var roomCopies = 0
    public var rosterPushes = 0
    public var rostersChecked = 0
    public var deaths = 0
    public var suspicions = 0
    public var linksPerNode = 0.0
    public var inFlightMax = 0
    public var samples: [Sample] = []
    public var violations: [Violation] = []
    public var tolerated: [Violation] = []
    public var tolerates: [String] = []
    /// More findings than are listed.
    public var violationCount = 0
    public var isStuck = false
    /// The demand of the scenario that no run can meet, at which it ended; nil: none.
    public var scenarioError: String?
    public var figures = Figures()
    public var expectations: [Outcome] = []
    /// The links of the survivors, by place on the ring in [0, 1), of a mesh of at most 2,000.
    public var ring: [(from: Double, to: Double, isLong: Bool)] = []

    /// The run hash in sixteen hexadecimal digits.
    public var runHashText: String { hexadecimal(runHash) }

    /// Events of the simulation in a second of real time.
    public var eventsPerSecond: Double { seconds > 0 ? Double(events) / seconds : 0 }
    /// Virtual time over real time.
    public var speed: Double { seconds > 0 ? virtualSeconds / seconds : 0 }
    /// The same after the start, which costs more than what follows.
    public var calmSpeed: Double {
        guard let startSeconds, calmSeconds > 0 else { return 0 }
        return (virtualSeconds - startSeconds) / calmSeconds
    }

    /// An expectation and what became of it.
    public struct Outcome: Sendable {
        public var metric: String
        public var least: Double?
        public var most: Double?
        public var actual: Double
        public var isMet: Bool
    }

    struct Named: Sendable {
        var name: String
        var meaning: String
        var value: @Sendable (Metrics) -> Double
    }

    static let all: [Named] = basic + Figures.all

    private static let basic: [Named] = [
        Named(name: "startSeconds", meaning: "until all were ready and agreed") {
            $0.startSeconds ?? .infinity
        },
        Named(name: "sent", meaning: "messages") { Double($0.sent) },
        Named(name: "delivered", meaning: "copies handed to clients of other nodes") {
            Double($0.delivered)
        },
        Named(name: "lost", meaning: "copies that did not arrive, and no word of it") {
            Double($0.lost)
        },
        Named(name: "lostShare", meaning: "of all copies") {
            $0.lost == 0 ? 0 : Double($0.lost) / Double($0.lost + $0.delivered)
        },
        Named(name: "lostInCalm", meaning: "copies lost with nothing wrong near in time") {
            Double($0.lostInCalm)
        },
        Named(name: "undelivered", meaning: "copies given up, and their senders told") {
            Double($0.undelivered)
        },
        Named(name: "undeliveredShare", meaning: "of all copies") {
            $0.undelivered == 0
                ? 0 : Double($0.undelivered) / Double($0.undelivered + $0.delivered)
        },
        Named(name: "retransmitted", meaning: "messages sent again by the survivors") {
            Double($0.retransmitted)
        },
        Named(name: "duplicated", meaning: "copies delivered again") { Double($0.duplicated) },
        Named(name: "reordered", meaning: "copies delivered after a later one") {
            Double($0.reordered)
        },
        Named(name: "unknown", meaning: "messages for users that nobody was known for") {
            Double($0.unknown)
        },
        Named(name: "hops.mean", meaning: "links from origin to destination") { $0.hops.mean },
        Named(name: "hops.p50", meaning: "the median") { $0.hops.p50 },
        Named(name: "hops.p99", meaning: "of 100 messages 99 take at most this") { $0.hops.p99 },
        Named(name: "hops.max", meaning: "the most") { $0.hops.max },
        Named(name: "latency.mean", meaning: "milliseconds from origin to delivery") {
            $0.latency.mean
        },
        Named(name: "latency.p50", meaning: "the median") { $0.latency.p50 },
        Named(name: "latency.p99", meaning: "of 100 copies 99 take at most this, within 3 %") {
            $0.latency.p99
        },
        Named(name: "latency.max", meaning: "the longest") { $0.latency.max },
        Named(name: "largeLatency.max", meaning: "the longest of large messages, a sum apart") {
            $0.largeLatency.max
        },
        Named(name: "detection.mean", meaning: "seconds from a crash to a survivor's knowing") {
            $0.detection.mean
        },
        Named(name: "detection.p99", meaning: "the same") { $0.detection.p99 },
        Named(name: "detection.max", meaning: "to the last survivor's knowing") {
            $0.detection.max
        },
        Named(name: "convergence.mean", meaning: "seconds from a fault's end to agreement") {
            $0.convergence.mean
        },
        Named(name: "convergence.max", meaning: "the longest") { $0.convergence.max },
        Named(name: "bytes", meaning: "between nodes, all together") { Double($0.bytes) },
        Named(name: "bytesPerNodeSecond.mean", meaning: "sent by a node") {
            $0.bytesPerNodeSecond.mean
        },
        Named(name: "bytesPerNodeSecond.max", meaning: "by the busiest") {
            $0.bytesPerNodeSecond.max
        },
        Named(name: "loadMaxOverMean", meaning: "forwarding by the busiest node over the mean") {
            $0.load.mean == 0 ? 0 : $0.load.max / $0.load.mean
        },
        Named(name: "deaths", meaning: "times a node declared another dead") {
            Double($0.deaths)
        },
        Named(name: "suspicions", meaning: "times a node suspected another") {
            Double($0.suspicions)
        },
        Named(name: "linksPerNode", meaning: "at the end") { $0.linksPerNode },
        Named(name: "inFlightMax", meaning: "bytes that waited for one link") {
            Double($0.inFlightMax)
        },
        Named(name: "sessions.sent", meaning: "messages to sessions") {
            Double($0.sessionMessages)
        },
        Named(name: "sessions.delivered", meaning: "that came to their clients") {
            Double($0.sessionDelivered)
        },
        Named(name: "sessions.missing", meaning: "that did not, though no notice said: unknown") {
            Double($0.sessionMissing)
        },
        Named(name: "sessions.notices", meaning: "of lost messages, told to their clients") {
            Double($0.sessionNotices)
        },
        Named(name: "rooms.said", meaning: "words in rooms") { Double($0.roomMessages) },
        Named(name: "rooms.heard", meaning: "that came to members") { Double($0.roomCopies) },
        Named(name: "rooms.rosters", meaning: "of watchers, compared with who was there") {
            Double($0.rostersChecked)
        },
        Named(name: "violations", meaning: "findings of the checkers") {
            Double($0.violationCount)
        },
    ]

    static var names: [String] { all.map(\.name) }

    /// The value of one of `names`.
    public subscript(name: String) -> Double? {
        Self.all.first { $0.name == name }?.value(self)
    }

    mutating func judge(_ wanted: [Scenario.Expectation]) {
        expectations = wanted.map { expectation in
            let actual = self[expectation.metric] ?? .infinity
            let isMet =
                actual >= expectation.least ?? -.infinity
                && actual <= expectation.most ?? .infinity
            return Outcome(
                metric: expectation.metric, least: expectation.least, most: expectation.most,
                actual: actual, isMet: isMet)
        }
    }

    /// The exit status of `smallworld-sim run`: 0 well, 1 an expectation missed, 2 a checker found
    /// a violation, 3 stuck, 64 a scenario that asks for more than a run can do.
    public var exitStatus: Int32 {
        if scenarioError != nil { return 64 }
        if isStuck { return 3 }
        if violationCount > 0 { return 2 }
        return expectations.allSatisfy(\.isMet) ? 0 : 1
    }
}
