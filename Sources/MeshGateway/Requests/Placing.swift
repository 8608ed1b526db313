import MeshCore
import MeshWire

// The choice of the nodes that a request goes to, and what goes to them.

/// A request whose node is to be chosen.
public struct SoughtRequest: Sendable {
    public var number: UInt32
    /// The name that the nodes are to hold.
    public var name: AskedUser
    /// They are to be ordered by their distance, this one first.
    public var prefersNear: Bool
}

/// The fate of a post.
public enum PostFate: Sendable {
    case sent
    /// Too much is on its way to the node.
    case refused
    /// The node is no live member.
    case nowhere
    /// It is of a version that knows no requests.
    case unsupported
}

extension Hub {
    /// The shortest and longest time that a request rests before every node is tried again. Guesses.
    static var restMin: Delay { .milliseconds(100) }
    private static var restMax: Delay { .seconds(1) }
    /// The same for one whose provider has died, while other nodes have some.
    private static var retryRest: Delay { .milliseconds(50) }

    // MARK: Choosing

    /// There are requests whose node is to be chosen, or posts.
    public var hasRequestWork: Bool {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { !openRequests.seekers.isEmpty || !outbox.posts.isEmpty }
    }

    /// The next request whose node is to be chosen: call `place` with the holders of its name.
    public mutating func nextSought() -> SoughtRequest? {
        while let number = openRequests.seekers.popFirst() {
            guard let request = openRequests[number], request.stage == .seeking else { continue }
            let (kind, name) = (request.target.kind, request.target.name)
            let digest = hasher.nameDigest(kind.body, name.span, 0, name.count)
            let isHere =
                kind == .service
                ? services.isServed(name)
                : !registry.topics.find(kind.topic, request.key, name.span, 0, name.count).isNone
            return SoughtRequest(
                number: number,
                name: AskedUser(key: request.key, name: digest, isHere: isHere),
                prefersNear: kind != .service && !request.options.isToAll)
        }
        return nil
    }

    /// Sends a request to one of the nodes that hold its name, or to all.
    ///
    /// - Parameter suspects: those of them that are suspect.
    public mutating func place(
        _ number: UInt32, among holders: [NodeID], suspects: [NodeID] = []
    ) {
        guard let request = openRequests[number], request.stage == .seeking else { return }
        guard request.deadline > now else { return timeIsOver(number) }
        if request.options.isToAll { return place(number, request, toAll: holders) }
        let untried =
            request.tried.count < OpenRequest.triedMax
            ? holders.filter { !request.tried.contains($0) } : []
        guard let node = choose(for: request, among: untried, suspects) else {
            return exhausted(number, request, hasHolders: !holders.isEmpty)
        }
        openRequests.send(number, to: node, at: now)
        send(number, request, to: [node])
        // The next one is asked too.
        if request.options.retries, suspects.contains(node) { nodeSuspected(node, number) }
    }

    private mutating func choose(
        for request: OpenRequest, among nodes: [NodeID], _ suspects: [NodeID]
    ) -> NodeID? {
        if let hash = request.options.keyHash {
            return OpenRequests.choose(forKey: hash, among: nodes)
        }
        let trusted = suspects.isEmpty ? nodes : nodes.filter { !suspects.contains($0) }
        let candidates = trusted.isEmpty ? nodes : trusted
        guard request.target.kind == .service else { return candidates.first }
        return openRequests.choose(request.key, among: candidates, here: nodeID)
    }

    private mutating func place(
        _ number: UInt32, _ request: OpenRequest, toAll holders: [NodeID]
    ) {
        if holders.isEmpty { return exhausted(number, request, hasHolders: false) }
        openRequests.send(number, toAll: holders)
        send(number, request, to: holders)
    }

    /// A member is suspect: requests that may be repeated go to the next node as well.
    package mutating func nodeSuspected(_ node: NodeID) {
        for (place, number) in openRequests.numbers(at: node).enumerated() {
            if place < Self.lostPerEvent {
                nodeSuspected(node, number)
            } else if openRequests.doubt(number, at: node) {
                // The rest step by step, as those of a node that is lost.
                openRequests.timers.insert(now, number)
            }
        }
    }

    private mutating func nodeSuspected(_ node: NodeID, _ number: UInt32) {
        guard let options = openRequests[number]?.options, options.retries,
            openRequests[number]?.parts.count == 0, openRequests.doubt(number, at: node)
        else { return }
        openRequests.seek(number)
        outbox.hasWork = true
    }

    /// Every node that holds the name was tried.
    private mutating func exhausted(
        _ number: UInt32, _ request: OpenRequest, hasHolders: Bool
    ) {
        if !request.asked.isEmpty {
            // Those that have it are suspect, and there are no others.
            openRequests[number]?.stage = .sent
        } else if request.reason == .died, hasHolders {
            openRequests.rest(number, until: now + Self.retryRest)
        } else if request.options.waits {
            let waited = now - request.begunAt
            let rest = Delay(nanoseconds: waited.nanoseconds / 8)
            openRequests.rest(number, until: now + min(max(rest, Self.restMin), Self.restMax))
        } else {
            end(number, request.reason ?? .noService)
        }
    }

    // MARK: Posts

    private mutating func send(_ number: UInt32, _ request: OpenRequest, to nodes: [NodeID]) {
        let options = request.options
        var flags: RequestHeader.Flags = []
        if options.retries { flags.insert(.retries) }
        if options.isToAll { flags.insert(.all) }
        if options.takesParts { flags.insert(.parts) }
        if options.keyHash != nil { flags.insert(.keyed) }
        let remaining = max(1, (request.deadline - now).nanoseconds / 1_000_000)
        let header = RequestHeader(
            number: number, remainingMilliseconds: UInt32(clamping: remaining), flags: flags,
            kind: request.target.kind, hash: options.keyHash ?? 0)
        counters[.requestAttempts] += UInt64(nodes.count)
        post(request, header, payload: request.payload, to: nodes, Self.sender(of: number))
    }

    /// Tells the nodes that have the request that nobody waits for it.
    ///
    /// - Parameter node: not this one, which has answered.
    mutating func recall(_ number: UInt32, _ reason: CancelReason, but node: NodeID? = nil) {
        guard let request = openRequests[number] else { return }
        let isToAll = request.options.isToAll
        let nodes = isToAll ? request.answers.openNodes : request.asked.map(\.node)
        let header = RequestHeader(
            number: number, remainingMilliseconds: reason.rawValue,
            flags: isToAll ? [.cancels, .all] : .cancels, kind: request.target.kind)
        post(request, header, payload: [], to: nodes.filter { $0 != node }, 0)
    }

    private mutating func post(
        _ request: OpenRequest, _ header: RequestHeader, payload: [UInt8], to nodes: [NodeID],
        _ sender: UInt64
    ) {
        if nodes.isEmpty { return }
        var queue = ByteQueue()
        queue.append(request.target.name)
        header.append(to: &queue)
        queue.append(payload)
        let bytes = queue.array
        outbox.hasWork = true
        for node in nodes {
            outbox.posts.append(
                Post(
                    destination: node, body: .request, key: request.key,
                    nameCount: request.target.name.count, bytes: bytes, sender: sender))
        }
    }

    /// The sender's tag of a request in the node: no client has one with the uppermost bit.
    private static func sender(of number: UInt32) -> UInt64 { 1 << 63 | UInt64(number) }

    /// The fate of a post to another node.
    public mutating func posted(_ post: Post, _ fate: PostFate) {
        if post.body == .roster {
            if fate != .sent {
                rosterLost(Array(post.bytes[..<post.nameCount]), to: post.destination)
            }
            return
        }
        let reason: RequestOutcome
        switch fate {
        case .sent: return
        case .refused: reason = .busy
        case .nowhere: reason = .noService
        case .unsupported: reason = .unsupported
        }
        guard post.sender != 0 else {
            if post.body == .reply { counters[.repliesLost] += 1 }
            return
        }
        let number = UInt32(truncatingIfNeeded: post.sender)
        guard isAt(post.destination, number) else { return }
        outbox.hasWork = true
        if openRequests[number]?.options.isToAll == true {
            return endGathering(
                number, at: post.destination, reason == .noService ? nil : reason)
        }
        openRequests.seekAgain(number, from: post.destination, reason, mayReturn: false)
    }
}
