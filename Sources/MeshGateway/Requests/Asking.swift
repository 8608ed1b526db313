import MeshCore
import MeshWire

// The node of the client that asks. It alone knows the deadline, chooses the nodes, and ends the request,
// once: whatever comes after that is late.

/// A request as a client asks for it.
struct RequestOptions {
    /// 5 s unless said otherwise.
    var timeout = Delay.seconds(5)
    var waits = false
    var retries = false
    /// Nil: the connection waits for the reply.
    var tag: [UInt8]?

    static let timeoutMillisecondsMax = 3_600_000
    static let tagLengthMax = 64
}

extension Hub {
    /// The longest name of a service, in bytes.
    static var serviceNameLengthMax: Int { 512 }
    /// The shortest and longest time that a request rests before every node is tried again. Guesses.
    private static var restMin: Delay { .milliseconds(100) }
    private static var restMax: Delay { .seconds(1) }
    /// The same for one whose provider has died, while other nodes have some.
    private static var retryRest: Delay { .milliseconds(50) }
    /// Replies of a node that has left come within this time. A guess.
    private static var farewellTime: Delay { .milliseconds(500) }
    /// Of requests that are lost together, those that one event sees to.
    private static var lostPerEvent: Int { 256 }
    /// Of a turn's work, for one request.
    private static var unitsPerRequest: Int { 256 }

    // MARK: Asking

    /// Begins a request. Its node is chosen when the driver looks (`nextSought`).
    ///
    /// - Returns: `.waits` if the connection waits for the reply.
    mutating func request(
        _ service: Slice, _ payload: Slice, _ input: Span<UInt8>, _ options: RequestOptions,
        _ client: ClientIndex
    ) -> Outcome {
        if let refusal = objection(to: options, Int(service.count) + Int(payload.count), client) {
            return .refused(refusal)
        }
        let request = OpenRequest(
            client: client, clientID: clients[client.slot].identity.id, tag: options.tag,
            service: input.array(service),
            key: hasher.key(.service, input, Int(service.start), Int(service.count)),
            payload: input.array(payload), begunAt: now, deadline: now + options.timeout,
            waits: options.waits, retries: options.retries)
        memory.requests += request.cost
        _ = openRequests.insert(request)
        outbox.hasWork = true
        guard options.tag == nil else { return .done }
        clients[client.slot].flags.insert(.asking)
        return .waits
    }

    private func objection(
        to options: RequestOptions, _ size: Int, _ client: ClientIndex
    ) -> ClientRefusal? {
        if openRequests.count >= OpenRequests.countMax {
            return .request(.tooMany(OpenRequests.countMax, .node))
        }
        if openRequests.count(of: client) >= OpenRequests.ofClientMax {
            return .request(.tooMany(OpenRequests.ofClientMax, .connection))
        }
        let bytesMax = configuration.memory.requests
        if memory.requests > 0, memory.requests + size > bytesMax {
            return .request(.tooManyBytes(max: bytesMax))
        }
        if let tag = options.tag, openRequests.number(tagged: tag, client) != nil {
            return .request(.tagInUse)
        }
        return nil
    }

    func hasRequest(tagged tag: [UInt8], _ client: ClientIndex) -> Bool {
        openRequests.number(tagged: tag, client) != nil
    }

    /// Gives a request up by its tag.
    mutating func cancel(tag: [UInt8], _ client: ClientIndex) {
        guard let number = openRequests.number(tagged: tag, client) else { return }
        recall(number, isTimeout: false)
        end(number, .cancelled)
    }

    /// The client has gone, or begins anew: nobody waits for its requests.
    mutating func abandonRequests(of client: ClientIndex) {
        for number in openRequests.numbers(of: client) {
            recall(number, isTimeout: false)
            if let request = openRequests.remove(number) { memory.requests -= request.cost }
            counters[.requestsCancelled] += 1
        }
    }

    /// Tells the node that has the request that nobody waits for it.
    private mutating func recall(_ number: UInt32, isTimeout: Bool) {
        guard let request = openRequests[number], case .sent(let node, _) = request.stage else {
            return
        }
        let header = RequestHeader(
            number: number, remainingMilliseconds: isTimeout ? 0 : 1, flags: .cancels)
        post(request, header, payload: [], to: node, sender: 0)
    }

    private mutating func post(
        _ request: OpenRequest, _ header: RequestHeader, payload: [UInt8], to node: NodeID,
        sender: UInt64
    ) {
        var bytes = ByteQueue()
        bytes.append(request.service)
        header.append(to: &bytes)
        bytes.append(payload)
        outbox.hasWork = true
        outbox.posts.append(
            Post(
                destination: node, body: .request, key: request.key,
                nameCount: request.service.count, bytes: bytes.array, sender: sender))
    }

    // MARK: Choosing

    /// There are requests whose node is to be chosen, or posts.
    public var hasRequestWork: Bool {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { !openRequests.seekers.isEmpty || !outbox.posts.isEmpty }
    }

    /// The next request whose node is to be chosen: call `place` with the holders of its service.
    public mutating func nextSought() -> (number: UInt32, service: AskedUser)? {
        while let number = openRequests.seekers.popFirst() {
            guard let request = openRequests[number], request.stage == .seeking else { continue }
            let name = request.service
            let digest = hasher.nameDigest(.request, name.span, 0, name.count)
            let isHere = services.has(name)
            return (number, AskedUser(key: request.key, name: digest, isHere: isHere))
        }
        return nil
    }

    /// Sends a request to one of the nodes that hold its service.
    public mutating func place(_ number: UInt32, among holders: [NodeID]) {
        guard let request = openRequests[number], request.stage == .seeking else { return }
        guard request.deadline > now else { return end(number, .timedOut) }
        let untried =
            request.tried.count < OpenRequest.triedMax
            ? holders.filter { !request.tried.contains($0) } : []
        guard let node = openRequests.choose(request.key, among: untried, here: nodeID) else {
            return exhausted(number, request, hasHolders: !holders.isEmpty)
        }
        openRequests.send(number, to: node, at: now)
        counters[.requestAttempts] += 1
        let remaining = max(1, (request.deadline - now).nanoseconds / 1_000_000)
        let header = RequestHeader(
            number: number, remainingMilliseconds: UInt32(clamping: remaining),
            flags: request.retries ? .retries : [])
        post(request, header, payload: request.payload, to: node, sender: Self.sender(of: number))
    }

    /// Every node that holds the service was tried.
    private mutating func exhausted(
        _ number: UInt32, _ request: OpenRequest, hasHolders: Bool
    ) {
        if request.reason == .died, hasHolders {
            openRequests.rest(number, until: now + Self.retryRest)
        } else if request.waits {
            let waited = now - request.begunAt
            let rest = Delay(nanoseconds: waited.nanoseconds / 8)
            openRequests.rest(number, until: now + min(max(rest, Self.restMin), Self.restMax))
        } else {
            end(number, request.reason ?? .noService)
        }
    }

    /// The sender's tag of a request in the node: no client has one with the uppermost bit.
    private static func sender(of number: UInt32) -> UInt64 { 1 << 63 | UInt64(number) }

    /// The fate of a post to another node.
    public mutating func posted(_ post: Post, _ verdict: PublishOutcome.Verdict) {
        guard verdict != .sent else { return }
        guard post.sender != 0 else {
            if post.body == .reply { counters[.repliesLost] += 1 }
            return
        }
        let number = UInt32(truncatingIfNeeded: post.sender)
        guard isAt(post.destination, number) else { return }
        openRequests.seekAgain(
            number, verdict == .refused ? .busy : .noService, mayReturn: false)
        outbox.hasWork = true
    }

    private func isAt(_ node: NodeID, _ number: UInt32) -> Bool {
        if case .sent(node, _) = openRequests[number]?.stage { true } else { false }
    }

    // MARK: The end

    /// A request is given up by the node: it may have arrived, or not.
    mutating func requestUndelivered(_ sender: UInt64, to node: NodeID) {
        let number = UInt32(truncatingIfNeeded: sender)
        if sender >> 63 == 1, isAt(node, number) { died(number, mayReturn: false) }
    }

    /// A provider, or its node, has died with a request.
    private mutating func died(_ number: UInt32, mayReturn: Bool) {
        guard openRequests[number]?.retries == true else { return end(number, .died) }
        openRequests.seekAgain(number, .died, mayReturn: mayReturn)
        outbox.hasWork = true
    }

    /// All requests that a node has are as good as lost.
    mutating func loseRequests(at node: NodeID) {
        for (place, number) in openRequests.numbers(at: node).enumerated() {
            if place < Self.lostPerEvent {
                died(number, mayReturn: false)
            } else {
                // The rest step by step: a hundred thousand would keep everybody else waiting.
                openRequests.lose(number, at: now)
            }
        }
    }

    /// A node has left the mesh. What it had to say of its requests it has said; some may be on its way.
    package mutating func nodeLeft(_ node: NodeID) {
        for number in openRequests.numbers(at: node) {
            openRequests.lose(number, at: now + Self.farewellTime)
        }
        forgetRequests(of: node)
    }

    mutating func receiveReply(_ header: ReplyHeader, _ payload: [UInt8], from node: NodeID) {
        guard isAt(node, header.number) else {
            counters[.repliesLate] += 1
            return
        }
        openRequests.note(header, of: header.number, at: now)
        let number = header.number
        let reason: RequestOutcome
        switch header.status {
        case .answer: return end(number, .answered(payload))
        case .failed: return end(number, .failed(payload))
        case .expired: return end(number, .timedOut)
        case .diedGiven: return died(number, mayReturn: header.providers > 0)
        case .rejected: reason = .rejected(payload)
        case .busy: reason = .busy
        case .nobody, .diedWaiting: reason = .noService
        }
        openRequests.seekAgain(number, reason, mayReturn: false)
        outbox.hasWork = true
    }

    /// Ends a request, and tells its client.
    private mutating func end(_ number: UInt32, _ outcome: RequestOutcome) {
        guard let request = openRequests.remove(number) else { return }
        memory.requests -= request.cost
        count(outcome)
        let slot = request.client.slot
        guard clients[slot].flags.contains(.open), clients[slot].identity.id == request.clientID
        else { return }
        outbox.hasWork = true
        if let tag = request.tag {
            if clients[slot].flags.isDisjoint(with: [.doomed, .ending]) {
                tell(request.client, .reply(tag: tag, outcome))
            }
            return
        }
        clients[slot].flags.remove(.asking)
        outbox.resumable.append(request.client)
        guard clients[slot].flags.isDisjoint(with: .doomed) else { return }
        if case .answered(let payload) = outcome {
            answer(request.client, .bytes(payload))
        } else {
            refuse(request.client, .request(.ended(outcome, service: request.service)))
        }
    }

    private mutating func count(_ outcome: RequestOutcome) {
        switch outcome {
        case .answered: counters[.requestsAnswered] += 1
        case .rejected: counters[.requestsRejected] += 1
        case .failed: counters[.requestsFailed] += 1
        case .busy: counters[.requestsBusy] += 1
        case .noService: counters[.requestsUnserved] += 1
        case .died: counters[.requestsDied] += 1
        case .timedOut: counters[.requestsTimedOut] += 1
        case .cancelled: counters[.requestsCancelled] += 1
        }
    }

    /// Requests whose time is over end, and those that have rested look for a node again.
    mutating func tickRequests() {
        var units = Work.perEvent
        while units > 0, let number = openRequests.timers.take(by: now) {
            units -= Self.unitsPerRequest
            guard let request = openRequests[number] else { continue }
            if request.deadline <= now {
                recall(number, isTimeout: true)
                end(number, .timedOut)
            } else if case .resting(let until) = request.stage, until <= now {
                openRequests.wake(number)
                outbox.hasWork = true
            } else if let lostAt = request.isLostAt, lostAt <= now {
                died(number, mayReturn: false)
            }
        }
    }

    /// Requests of this node's clients that have not ended.
    public var openRequestCount: Int { openRequests.count }
}
