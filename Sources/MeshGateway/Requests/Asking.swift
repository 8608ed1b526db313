import MeshCore
import MeshWire

// The node of the client that asks. It alone knows the deadline, chooses the nodes (Placing), and ends the
// request, once: whatever comes after that is late.

/// A request as a client asks for it.
struct RequestOptions {
    /// 5 s unless said otherwise.
    var timeout = Delay.seconds(5)
    var waits = false
    var retries = false
    /// All that there are answer.
    var isToAll = false
    /// The answer may come in parts.
    var takesParts = false
    /// The hash of the key that chooses the provider; nil: any may have it.
    var keyHash: UInt64?
    /// Nil: the connection waits for the reply.
    var tag: [UInt8]?

    static let timeoutMillisecondsMax = 3_600_000
    static let tagLengthMax = 64
    static let keyLengthMax = 512
}

extension Hub {
    /// Of requests that are lost together, those that one event sees to.
    static var lostPerEvent: Int { 256 }
    /// Replies of a node that has left come within this time. A guess.
    private static var farewellTime: Delay { .milliseconds(500) }
    /// Of a turn's work, for one request.
    private static var unitsPerRequest: Int { 256 }

    // MARK: Asking

    /// Begins a request. Its node is chosen when the driver looks (`nextSought`).
    ///
    /// - Returns: `.waits` if the connection waits for the reply.
    mutating func request(
        _ target: RequestTarget, _ payload: [UInt8], _ options: RequestOptions,
        _ client: ClientIndex
    ) -> Outcome {
        if let refusal = objection(to: options, target.name.count + payload.count, client) {
            return .refused(refusal)
        }
        let request = OpenRequest(
            client: client, clientID: clients[client.slot].identity.id, target: target,
            key: hasher.key(target.kind.topic.keyKind, target.name), payload: payload,
            begunAt: now, deadline: now + options.timeout, options: options)
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

    /// The hash of a request's key, the same at every node of the mesh.
    func hash(ofKey key: [UInt8]) -> UInt64 {
        // The kinds of keys, and the names, have other prefixes.
        hasher.digest(prefix: 0x40, key.span, 0, key.count)
    }

    func hasRequest(tagged tag: [UInt8], _ client: ClientIndex) -> Bool {
        openRequests.number(tagged: tag, client) != nil
    }

    /// Gives a request up by its tag.
    mutating func cancel(tag: [UInt8], _ client: ClientIndex) {
        guard let number = openRequests.number(tagged: tag, client) else { return }
        recall(number, .gone)
        end(number, .cancelled)
    }

    /// The client has gone, or begins anew: nobody waits for its requests.
    mutating func abandonRequests(of client: ClientIndex) {
        for number in openRequests.numbers(of: client) {
            recall(number, .gone)
            if let request = openRequests.remove(number) { memory.requests -= request.cost }
            counters[.requestsCancelled] += 1
        }
    }

    // MARK: Replies

    /// A request is given up by the node: it may have arrived, or not.
    mutating func requestUndelivered(_ sender: UInt64, to node: NodeID) {
        let number = UInt32(truncatingIfNeeded: sender)
        if sender >> 63 == 1, isAt(node, number) { died(number, at: node, mayReturn: false) }
    }

    func isAt(_ node: NodeID, _ number: UInt32) -> Bool {
        openRequests[number]?.isAt(node) ?? false
    }

    /// A provider, or its node, has died with a request.
    private mutating func died(_ number: UInt32, at node: NodeID, mayReturn: Bool) {
        guard let request = openRequests[number] else { return }
        if request.options.isToAll { return endGathering(number, at: node, .died) }
        // Of an answer whose first parts the asker has, nobody else has the rest.
        guard request.options.retries, request.parts.count == 0 else { return end(number, .died) }
        openRequests.seekAgain(number, from: node, .died, mayReturn: mayReturn)
        outbox.hasWork = true
    }

    /// All requests that a node has are as good as lost.
    mutating func loseRequests(at node: NodeID) {
        for (place, number) in openRequests.numbers(at: node).enumerated() {
            if place < Self.lostPerEvent {
                died(number, at: node, mayReturn: false)
            } else {
                // The rest step by step: a hundred thousand would keep everybody else waiting.
                openRequests.lose(number, at: node, by: now)
            }
        }
    }

    /// A node has left the mesh. What it had to say of its requests it has said; some may be on its way.
    package mutating func nodeLeft(_ node: NodeID) {
        loseRosters(of: node)
        for number in openRequests.numbers(at: node) {
            openRequests.lose(number, at: node, by: now + Self.farewellTime)
        }
        forgetRequests(of: node)
    }

    mutating func receiveReply(_ header: ReplyHeader, _ payload: [UInt8], from node: NodeID) {
        let number = header.number
        guard isAt(node, number), let options = openRequests[number]?.options else {
            counters[.repliesLate] += 1
            return
        }
        if options.isToAll { return gather(header, payload, from: node) }
        openRequests.note(header, of: number, from: node, at: now)
        if options.takesParts, let arrival = Self.arrival(header, payload) {
            return receive(arrival, place: header.place, of: number, from: node)
        }
        let reason: RequestOutcome
        switch header.status {
        case .answer: return end(number, .answered(payload), from: node)
        case .failed: return end(number, .failed(payload), from: node)
        case .expired: return end(number, .timedOut, from: node)
        case .diedGiven: return died(number, at: node, mayReturn: header.providers > 0)
        case .rejected: reason = .rejected(payload)
        case .busy: reason = .busy
        case .nobody, .diedWaiting: reason = .noService
        case .part, .asked:
            counters[.postsMalformed] += 1
            return
        }
        openRequests.seekAgain(number, from: node, reason, mayReturn: false)
        outbox.hasWork = true
    }

    // MARK: The end

    /// The first answer of those that have the request counts: the others are told that nobody waits.
    private mutating func end(_ number: UInt32, _ outcome: RequestOutcome, from node: NodeID) {
        recall(number, .gone, but: node)
        end(number, outcome)
    }

    /// Ends a request, and tells its client.
    mutating func end(_ number: UInt32, _ outcome: RequestOutcome) {
        guard let request = openRequests.remove(number) else { return }
        memory.requests -= request.cost
        count(outcome)
        tellEnd(of: request, outcome, answers: nil)
    }

    /// Ends a request to all with what was gathered.
    mutating func endGathered(_ number: UInt32) {
        guard let request = openRequests.remove(number) else { return }
        memory.requests -= request.cost
        count(.answered([]))
        tellEnd(of: request, .answered([]), answers: request.answers.all)
    }

    private mutating func tellEnd(
        of request: OpenRequest, _ outcome: RequestOutcome, answers: [RequestAnswer]?
    ) {
        let slot = request.client.slot
        guard clients[slot].flags.contains(.open), clients[slot].identity.id == request.clientID
        else { return }
        outbox.hasWork = true
        if let tag = request.tag {
            if clients[slot].flags.isDisjoint(with: [.doomed, .ending]) {
                tell(request.client, .reply(tag: tag, outcome, answers: answers))
            }
            return
        }
        clients[slot].flags.remove(.asking)
        outbox.resumable.append(request.client)
        guard clients[slot].flags.isDisjoint(with: .doomed) else { return }
        if let answers {
            answer(request.client, .requestAnswers(answers))
        } else if case .answered(let payload) = outcome {
            answer(request.client, .bytes(payload))
        } else {
            refuse(request.client, .request(.ended(outcome, request.target)))
        }
    }

    private mutating func count(_ outcome: RequestOutcome) {
        switch outcome {
        case .answered: counters[.requestsAnswered] += 1
        case .rejected: counters[.requestsRejected] += 1
        case .failed: counters[.requestsFailed] += 1
        case .busy: counters[.requestsBusy] += 1
        case .noService, .unsupported: counters[.requestsUnserved] += 1
        case .died: counters[.requestsDied] += 1
        case .timedOut: counters[.requestsTimedOut] += 1
        case .cancelled, .slow, .tooMuch: counters[.requestsCancelled] += 1
        }
    }

    /// Requests whose time is over end, and those that have rested look for a node again.
    mutating func tickRequests() {
        var units = Work.perEvent
        while units > 0, let number = openRequests.timers.take(by: now) {
            units -= Self.unitsPerRequest
            guard let request = openRequests[number] else { continue }
            if request.deadline <= now {
                recall(number, .timeout)
                timeIsOver(number)
            } else if case .resting(let until) = request.stage, until <= now {
                openRequests.seek(number)
                outbox.hasWork = true
            } else if request.options.isToAll {
                for node in request.answers.lostNodes(by: now) {
                    died(number, at: node, mayReturn: false)
                }
            } else {
                for asked in request.asked {
                    guard let lostAt = asked.isLostAt, lostAt <= now else { continue }
                    died(number, at: asked.node, mayReturn: false)
                }
                lookBesideSuspects(number)
            }
        }
    }

    /// A request that is with suspect nodes alone goes to another as well, if it may.
    private mutating func lookBesideSuspects(_ number: UInt32) {
        guard let request = openRequests[number], request.options.retries,
            request.stage == .sent, request.parts.count == 0, !request.asked.isEmpty,
            request.asked.allSatisfy(\.isDoubted)
        else { return }
        openRequests.seek(number)
        outbox.hasWork = true
    }

    /// Requests of this node's clients that have not ended.
    public var openRequestCount: Int { openRequests.count }
}
