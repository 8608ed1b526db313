import MeshCore
import MeshWire

/// The end of a request, as its asker hears of it.
enum RequestOutcome: Equatable, Sendable {
    case answered([UInt8])
    case rejected([UInt8])
    case failed([UInt8])
    case busy, noService, died, timedOut, cancelled

    /// Of the reasons why no node has taken a request the greatest is told.
    fileprivate var rank: Int {
        switch self {
        case .died: 3
        case .rejected: 2
        case .busy: 1
        default: 0
        }
    }
}

/// A request of a client of this node that has not ended.
///
///     seeking ─▶ sent to a node ─▶ ended
///        ▲         │ rejected, busy, no provider, or died with RETRY
///        └─ resting ◀┘ when every node was tried and it is to wait
struct OpenRequest {
    enum Stage: Equatable {
        /// A node is to be chosen.
        case seeking
        /// Until then, when every node is tried again.
        case resting(until: Instant)
        case sent(to: NodeID, at: Instant)
    }

    let client: ClientIndex
    /// The connection; the client's index may be used again by another.
    let clientID: Int64
    /// Nil: the connection waits for the reply.
    let tag: [UInt8]?
    let service: [UInt8]
    let key: Key
    let payload: [UInt8]
    let begunAt: Instant
    let deadline: Instant
    /// It waits for a provider to come.
    let waits: Bool
    /// Another provider may get it when one has died with it.
    let retries: Bool
    var stage = Stage.seeking
    /// The nodes that it has been to since it has rested.
    var tried: [NodeID] = []
    /// The node that has it has left: what it sent before comes until then.
    var isLostAt: Instant?
    /// The reason why the nodes that were tried have not taken it; nil: none was tried.
    var reason: RequestOutcome?

    static let triedMax = 8

    /// The memory that it takes, in bytes; the tables count about as much as the record.
    var cost: Int { service.count + payload.count + 400 }

    mutating func note(_ reason: RequestOutcome) {
        if let known = self.reason, known.rank > reason.rank { return }
        self.reason = reason
    }
}

/// The requests of this node's clients.
struct OpenRequests {
    private var requests: [UInt32: OpenRequest] = [:]
    private var ofClients: [Int: Set<UInt32>] = [:]
    private var ofTags: [Tag: UInt32] = [:]
    private var atNodes: [NodeID: Set<UInt32>] = [:]
    private var loads: [LoadKey: Load] = [:]
    var timers = RequestTimers()
    /// Those that wait for a node to be chosen for them.
    var seekers = FIFO<UInt32>()
    private var random: RandomSource
    private var lastNumber: UInt32

    /// The most of a node, and of a connection.
    static let countMax = 100_000
    static let ofClientMax = 1_024
    /// Pairs of service and node whose load is remembered: above, those without a request are forgotten.
    private static let loadsMax = 16_384

    /// A client's name for a request of its.
    private struct Tag: Hashable {
        let client: Int32
        let bytes: [UInt8]
    }

    private struct LoadKey: Hashable {
        let key: Key
        let node: NodeID
    }

    /// The load of a service at a node, by what its last replies said.
    private struct Load {
        var outstanding = 0
        var providers = 1
        /// From the request to its reply, smoothed. At first a guess.
        var took = Delay.microseconds(50)
        var isMeasured = false

        /// A request to it would take about so long, in nanoseconds.
        var cost: Double {
            let each = Double(max(1, took.nanoseconds)) / Double(providers)
            return Double(outstanding + 1) * each
        }
    }

    /// - Parameter seed: of this node alone.
    init(seed: UInt64) {
        random = RandomSource(seed: seed)
        lastNumber = UInt32(truncatingIfNeeded: random.next())
    }

    var count: Int { requests.count }

    subscript(number: UInt32) -> OpenRequest? { requests[number] }

    func count(of client: ClientIndex) -> Int { ofClients[client.slot]?.count ?? 0 }

    /// Those of a client, in order.
    func numbers(of client: ClientIndex) -> [UInt32] { (ofClients[client.slot] ?? []).sorted() }

    /// The one of a client that has this tag.
    func number(tagged tag: [UInt8], _ client: ClientIndex) -> UInt32? {
        ofTags[Tag(client: client.rawValue, bytes: tag)]
    }

    /// Those that were sent to a node and have not come back, in order.
    func numbers(at node: NodeID) -> [UInt32] { (atNodes[node] ?? []).sorted() }

    mutating func insert(_ request: OpenRequest) -> UInt32 {
        repeat { lastNumber &+= 1 } while requests[lastNumber] != nil
        requests[lastNumber] = request
        ofClients[request.client.slot, default: []].insert(lastNumber)
        if let tag = request.tag {
            ofTags[Tag(client: request.client.rawValue, bytes: tag)] = lastNumber
        }
        timers.insert(request.deadline, lastNumber)
        if timers.isCrowded(requests.count) { timers.keep { requests[$0] != nil } }
        seekers.append(lastNumber)
        return lastNumber
    }

    mutating func remove(_ number: UInt32) -> OpenRequest? {
        comeBack(number)
        guard let request = requests.removeValue(forKey: number) else { return nil }
        if let tag = request.tag {
            ofTags[Tag(client: request.client.rawValue, bytes: tag)] = nil
        }
        ofClients[request.client.slot]?.remove(number)
        if ofClients[request.client.slot]?.isEmpty == true { ofClients[request.client.slot] = nil }
        return request
    }

    /// It goes to a node.
    mutating func send(_ number: UInt32, to node: NodeID, at now: Instant) {
        guard let key = requests[number]?.key else { return }
        requests[number]?.stage = .sent(to: node, at: now)
        requests[number]?.tried.append(node)
        atNodes[node, default: []].insert(number)
        loads[LoadKey(key: key, node: node), default: Load()].outstanding += 1
    }

    /// It is at no node any more.
    private mutating func comeBack(_ number: UInt32) {
        guard let request = requests[number], case .sent(let node, _) = request.stage else {
            return
        }
        atNodes[node]?.remove(number)
        if atNodes[node]?.isEmpty == true { atNodes[node] = nil }
        loads[LoadKey(key: request.key, node: node)]?.outstanding -= 1
        requests[number]?.stage = .seeking
        requests[number]?.isLostAt = nil
    }

    /// It looks for another node, because of this.
    mutating func seekAgain(_ number: UInt32, _ reason: RequestOutcome, mayReturn: Bool) {
        if mayReturn, case .sent(let node, _) = requests[number]?.stage {
            requests[number]?.tried.removeAll { $0 == node }
        }
        comeBack(number)
        requests[number]?.note(reason)
        seekers.append(number)
    }

    mutating func rest(_ number: UInt32, until time: Instant) {
        requests[number]?.stage = .resting(until: time)
        requests[number]?.tried.removeAll()
        timers.insert(time, number)
    }

    mutating func lose(_ number: UInt32, at time: Instant) {
        requests[number]?.isLostAt = time
        timers.insert(time, number)
    }

    mutating func wake(_ number: UInt32) {
        requests[number]?.stage = .seeking
        seekers.append(number)
    }

    /// Notes what a reply says of its node.
    mutating func note(_ header: ReplyHeader, of number: UInt32, at now: Instant) {
        guard let request = requests[number], case .sent(let node, let sentAt) = request.stage
        else { return }
        // In any order: which of them stay depends on each alone.
        if loads.count > Self.loadsMax { loads = loads.filter { $0.value.outstanding > 0 } }
        let key = LoadKey(key: request.key, node: node)
        var load = loads[key] ?? Load()
        load.providers = max(1, Int(header.providers))
        // A node that refuses at once is not quick for that.
        if header.status == .answer || header.status == .failed {
            let took = (now - sentAt).nanoseconds
            let before = load.isMeasured ? load.took.nanoseconds : took
            load.took = Delay(nanoseconds: before + (took - before) / 8)
            load.isMeasured = true
        }
        loads[key] = load
    }

    /// The node for a request among these, which hold its service: of two drawn at random and this one the
    /// least loaded (the power of two choices, Mitzenmacher 2001).
    mutating func choose(_ key: Key, among nodes: [NodeID], here: NodeID) -> NodeID? {
        var others = nodes.filter { $0 != here }
        var drawn: [NodeID] = []
        for _ in 0..<min(2, others.count) {
            drawn.append(others.remove(at: random.next(below: others.count)))
        }
        if nodes.contains(here) { drawn.append(here) }
        var best: (node: NodeID, cost: Double)?
        for node in drawn {
            let cost = (loads[LoadKey(key: key, node: node)] ?? Load()).cost
            if let known = best, known.cost <= cost { continue }
            best = (node, cost)
        }
        return best?.node
    }
}

/// Times at which something is due for requests, the first one at hand. Some are of requests that have
/// ended; they are taken out when they are most.
struct RequestTimers {
    private struct Entry: Comparable {
        let due: Instant
        let number: UInt32

        static func < (one: Entry, other: Entry) -> Bool {
            one.due < other.due || one.due == other.due && one.number < other.number
        }
    }

    private var entries = Heap<Entry>()

    var next: Instant? { entries.first?.due }

    /// Whether most are of requests that have ended.
    func isCrowded(_ live: Int) -> Bool { entries.count > 4 * live + 1_024 }

    mutating func keep(_ isLive: (UInt32) -> Bool) {
        entries.keep { isLive($0.number) }
    }

    mutating func insert(_ due: Instant, _ number: UInt32) {
        entries.insert(Entry(due: due, number: number))
    }

    /// Takes the first that is due by then.
    mutating func take(by now: Instant) -> UInt32? {
        guard let first = entries.first, first.due <= now else { return nil }
        return entries.removeFirst().number
    }
}
