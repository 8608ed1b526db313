/// The demo's knowledge at a moment: the picture is drawn from it and the summary written from it.
/// Nodes and users are named by their index, times are since the demo began.
struct DemoModel {
    enum Phase: Equatable {
        case starting
        case talking
        case ending
    }

    struct Node {
        enum MemberStatus: Equatable {
            case starting
            case serving
            case killed(at: Duration)
            /// Not by us.
            case fallen(at: Duration)

            var isGone: Bool {
                switch self {
                case .killed, .fallen: true
                case .starting, .serving: false
                }
            }
        }
        /// From 1, for people.
        var number: Int
        var status = MemberStatus.starting
        /// Its position on the ring; nil before it has told.
        var position: UInt64?
        var redisPort: UInt16 = 0
        /// The nodes that it has links to.
        var links: [Int] = []
        /// Messages of other nodes that it has handed to its clients, and their hops.
        var delivered = 0
        var hops = 0
    }

    struct User {
        enum Presence: Equatable {
            case absent
            /// Its node has died, it attaches to another one.
            case moving
            case online
            /// It has detached for a while.
            case resting
        }
        var name: String
        var node: Int?
        var presence = Presence.absent
    }

    struct Event: Equatable {
        enum Kind { case usual, good, bad }
        var at: Duration
        var kind: Kind
        var text: String
    }

    /// The way of one message, asked with MESH.TRACE.
    struct Trace {
        var sender: Int
        var receiver: Int
        /// From the sender's node to the receiver's.
        var path: [Int]
    }

    /// Figures of the last second.
    struct Rates {
        var sent = 0
        var delivered = 0
        var lost = 0
        var meanHops: Double?
        var median: Duration?
        var slowest: Duration?
    }

    /// Coming and going, as watchers on every node have seen it.
    struct Presences {
        /// One for each change and each watcher.
        var expected = 0
        var seen = 0
        var unexpected = 0
        var slowest = Duration.zero
        /// Messages to users who were away, and those of them that were answered with 0.
        var askedAbsent = 0
        var refusedAbsent = 0
    }

    /// The degree of the demo's nodes; with one node more than this the mesh is full.
    static let degree = 16
    static let channel = "lobby"
    private static let eventCountMax = 64

    var now = Duration.zero
    var phase = Phase.starting
    /// When the users began to talk, and when they shall stop.
    var talkBegan: Duration?
    var talkEnds: Duration?
    /// When the last message was sent; nil while they talk.
    var talkEnded: Duration?
    var nodes: [Node] = []
    var users: [User]
    var ledger: DemoLedger
    var kills: [DemoKill] = []
    var presences = Presences()
    var rates = Rates()
    /// As far as known: copies of the last second may be on their way.
    var losses = DemoLosses()
    var trace: Trace?
    /// Events that must not happen and have no figure of their own.
    var faults: [String] = []
    /// The last ones.
    private(set) var events: [Event] = []
    /// All there were.
    private(set) var eventCount = 0
    /// The largest number of nodes that there were at once.
    private(set) var nodeCountMax = 0
    private var former = (sent: 0, delivered: 0, lost: 0, messages: 0, hops: 0)

    init(nodeCount: Int) {
        users = Self.names(nodeCount: nodeCount).map { User(name: $0) }
        ledger = DemoLedger(userCount: users.count)
    }

    /// Two users a node, and no more than can be shown.
    private static func names(nodeCount: Int) -> ArraySlice<String> {
        [
            "ann", "bob", "cem", "dora", "eve", "finn", "gita", "hugo", "ines", "jan", "kim", "lea",
            "milo", "nora", "otto", "pia", "quin", "rosa", "sam", "tara", "udo", "vera", "wim",
            "xena",
        ].prefix(2 * nodeCount)
    }

    /// The node to which a user attaches first: all nodes when there are enough users, otherwise
    /// evenly spread.
    func firstNode(of user: Int) -> Int {
        nodes.count <= users.count ? user % nodes.count : user * nodes.count / users.count
    }

    var servingNodes: [Int] { nodes.indices.filter { nodes[$0].status == .serving } }

    func users(on node: Int) -> [Int] { users.indices.filter { users[$0].node == node } }

    /// Each node has a link to each other one.
    var isFullMesh: Bool { nodeCountMax <= Self.degree + 1 }

    /// Nodes in the order of the ring.
    var ring: [Int] {
        nodes.indices.filter { nodes[$0].position != nil }.sorted {
            (nodes[$0].position!, $0) < (nodes[$1].position!, $1)
        }
    }

    var messagesAcross: Int { nodes.reduce(0) { $0 + $1.delivered } }
    var hopsAcross: Int { nodes.reduce(0) { $0 + $1.hops } }
    var meanHops: Double? {
        messagesAcross == 0 ? nil : Double(hopsAcross) / Double(messagesAcross)
    }

    /// When a killed node can be forgotten by the picture.
    func isShown(_ node: Int) -> Bool {
        switch nodes[node].status {
        case .starting, .serving: true
        case .killed(let at), .fallen(let at): now - at < .seconds(5)
        }
    }

    mutating func addNode() -> Int {
        nodes.append(Node(number: nodes.count + 1))
        nodeCountMax = max(nodeCountMax, nodes.count { !$0.status.isGone })
        return nodes.count - 1
    }

    mutating func note(_ text: String, _ kind: Event.Kind = .usual) {
        if events.count == Self.eventCountMax { events.removeFirst() }
        events.append(Event(at: talkTime, kind: kind, text: text))
        eventCount += 1
    }

    /// Since the users began to talk; before that since the demo began.
    var talkTime: Duration { talkBegan.map { now - $0 } ?? now }

    /// Takes the figures of the last second; called once in each.
    mutating func closeSecond() {
        losses = DemoLosses(
            ledger.missing(before: now - .seconds(1)), kills, isFullMesh: isFullMesh)
        let messages = messagesAcross
        let hops = hopsAcross
        rates.sent = ledger.sent - former.sent
        rates.delivered = ledger.delivered - former.delivered
        rates.lost = max(0, losses.unexplained - former.lost)
        // Nodes are asked one after the other: a second without any new figure says nothing.
        if messages > former.messages {
            rates.meanHops = Double(hops - former.hops) / Double(messages - former.messages)
        }
        if ledger.recentLatency.count > 0 {
            rates.median = ledger.recentLatency.quantile(0.5)
            rates.slowest = ledger.recentLatency.quantile(0.99)
            ledger.recentLatency.removeAll()
        }
        former = (ledger.sent, ledger.delivered, losses.unexplained, messages, hops)
    }
}
