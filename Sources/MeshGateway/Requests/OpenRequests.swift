import MeshCore
import MeshWire

/// The end of a request, as its asker hears of it.
enum RequestOutcome: Equatable, Sendable {
    case answered([UInt8])
    case rejected([UInt8])
    case failed([UInt8])
    case busy, noService, died, timedOut, cancelled
    /// The asker does not read the parts of its answer.
    case slow
    /// The nodes that could have it are of an earlier version.
    case unsupported
    /// Of one of the answers of all: there was no room for it.
    case tooMuch

    /// Of the reasons why no node has taken a request the greatest is told.
    fileprivate var rank: Int {
        switch self {
        case .died: 4
        case .rejected: 3
        case .busy: 2
        case .unsupported: 1
        default: 0
        }
    }
}

/// A request of a client of this node that has not ended.
///
///     seeking ─▶ sent to a node ─▶ ended
///        ▲         │ rejected, busy, no provider, or died with RETRY
///        └─ resting ◀┘ when every node was tried and it is to wait
///
/// With RETRY it is sought another node for, too, when the one that has it is suspect: then several have it, and
/// the first answer counts. One to all is with all nodes that hold its name at once.
struct OpenRequest {
    enum Stage: Equatable {
        /// A node is to be chosen.
        case seeking
        /// Until then, when every node is tried again.
        case resting(until: Instant)
        case sent
    }

    /// A node that has it.
    struct Asked {
        let node: NodeID
        let at: Instant
        /// It is suspect, and another one was looked for.
        var isDoubted = false
        /// It has left: what it sent before comes until then.
        var isLostAt: Instant?
    }

    let client: ClientIndex
    /// The connection; the client's index may be used again by another.
    let clientID: Int64
    let target: RequestTarget
    /// Of the target's name.
    let key: Key
    let payload: [UInt8]
    let begunAt: Instant
    let deadline: Instant
    let options: RequestOptions
    var stage = Stage.seeking
    fileprivate(set) var asked: [Asked] = []
    /// The nodes that it has been to since it has rested.
    var tried: [NodeID] = []
    /// The reason why the nodes that were tried have not taken it; nil: none was tried.
    var reason: RequestOutcome?
    /// The answers of all, and of parts those that have come too early.
    var answers = GatheredAnswers()
    var parts = AnswerParts()

    static let triedMax = 8

    /// The memory that it takes, in bytes; the tables count about as much as the record.
    var cost: Int { target.name.count + payload.count + 400 + gatheredBytes }

    var gatheredBytes: Int { answers.byteCount + parts.byteCount }

    /// Nil: the connection waits for the reply.
    var tag: [UInt8]? { options.tag }

    mutating func note(_ reason: RequestOutcome) {
        if let known = self.reason, known.rank > reason.rank { return }
        self.reason = reason
    }

    func isAt(_ node: NodeID) -> Bool {
        options.isToAll ? answers.isOpen(node) : asked.contains { $0.node == node }
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

    subscript(number: UInt32) -> OpenRequest? {
        _read { yield requests[number] }
        _modify { yield &requests[number] }
    }

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
        for asked in requests[number]?.asked ?? [] { comeBack(number, from: asked.node) }
        for node in requests[number]?.answers.openNodes ?? [] { strike(number, at: node) }
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
        requests[number]?.stage = .sent
        requests[number]?.tried.append(node)
        requests[number]?.asked.append(OpenRequest.Asked(node: node, at: now))
        atNodes[node, default: []].insert(number)
        loads[LoadKey(key: key, node: node), default: Load()].outstanding += 1
    }

    /// It goes to all of them, each once.
    mutating func send(_ number: UInt32, toAll nodes: [NodeID]) {
        requests[number]?.stage = .sent
        requests[number]?.answers.begin(nodes)
        for node in nodes { atNodes[node, default: []].insert(number) }
    }

    /// It is at that node no more.
    private mutating func comeBack(_ number: UInt32, from node: NodeID) {
        guard let request = requests[number],
            let place = request.asked.firstIndex(where: { $0.node == node })
        else { return }
        strike(number, at: node)
        loads[LoadKey(key: request.key, node: node)]?.outstanding -= 1
        requests[number]?.asked.remove(at: place)
    }

    mutating func strike(_ number: UInt32, at node: NodeID) {
        atNodes[node]?.remove(number)
        if atNodes[node]?.isEmpty == true { atNodes[node] = nil }
    }

    /// It comes back from a node for this reason, and looks for another unless one has it that is not suspect.
    mutating func seekAgain(
        _ number: UInt32, from node: NodeID, _ reason: RequestOutcome, mayReturn: Bool
    ) {
        if mayReturn { requests[number]?.tried.removeAll { $0 == node } }
        comeBack(number, from: node)
        requests[number]?.note(reason)
        guard let request = requests[number], request.asked.allSatisfy(\.isDoubted) else { return }
        seek(number)
    }

    /// One of the nodes that have it answers: the others are none of its any more.
    mutating func keep(_ number: UInt32, at node: NodeID) {
        for asked in requests[number]?.asked ?? [] where asked.node != node {
            comeBack(number, from: asked.node)
        }
        requests[number]?.stage = .sent
    }

    /// A node is looked for.
    mutating func seek(_ number: UInt32) {
        guard let request = requests[number], request.stage != .seeking else { return }
        requests[number]?.stage = .seeking
        seekers.append(number)
    }

    /// The node that has it is suspect.
    ///
    /// - Returns: whether all that have it are.
    mutating func doubt(_ number: UInt32, at node: NodeID) -> Bool {
        guard let place = requests[number]?.asked.firstIndex(where: { $0.node == node }) else {
            return false
        }
        requests[number]?.asked[place].isDoubted = true
        return requests[number]?.asked.allSatisfy(\.isDoubted) ?? false
    }

    mutating func rest(_ number: UInt32, until time: Instant) {
        requests[number]?.stage = .resting(until: time)
        requests[number]?.tried.removeAll()
        timers.insert(time, number)
    }

    /// The node that has it is as good as gone then.
    mutating func lose(_ number: UInt32, at node: NodeID, by time: Instant) {
        if requests[number]?.options.isToAll == true {
            requests[number]?.answers.lose(node, by: time)
        } else if let place = requests[number]?.asked.firstIndex(where: { $0.node == node }) {
            requests[number]?.asked[place].isLostAt = time
        }
        timers.insert(time, number)
    }

    /// Notes what a reply says of its node.
    mutating func note(_ header: ReplyHeader, of number: UInt32, from node: NodeID, at now: Instant)
    {
        guard let request = requests[number],
            let asked = request.asked.first(where: { $0.node == node })
        else { return }
        // In any order: which of them stay depends on each alone.
        if loads.count > Self.loadsMax { loads = loads.filter { $0.value.outstanding > 0 } }
        let key = LoadKey(key: request.key, node: node)
        var load = loads[key] ?? Load()
        load.providers = max(1, Int(header.providers))
        // A node that refuses at once is not quick for that.
        if header.status == .answer || header.status == .failed {
            let took = (now - asked.at).nanoseconds
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

    /// The node for a key, by the highest hash of both: only the share of a node that comes or goes moves.
    static func choose(forKey hash: UInt64, among nodes: [NodeID]) -> NodeID? {
        nodes.max {
            Rendezvous.weight(hash, $0.rawValue) < Rendezvous.weight(hash, $1.rawValue)
        }
    }
}
