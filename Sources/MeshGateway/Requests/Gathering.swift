import MeshCore
import MeshWire

// Answers of all, and answers in parts, at the asker's node.

extension Hub {
    // MARK: Of all

    /// A reply to a request that all are asked.
    mutating func gather(_ header: ReplyHeader, _ payload: [UInt8], from node: NodeID) {
        let number = header.number
        guard openRequests[number] != nil else { return }
        let before = openRequests[number]!.gatheredBytes
        var isExpected = true
        switch header.status {
        case .asked:
            guard let asked = Self.attachments(payload) else {
                counters[.postsMalformed] += 1
                return
            }
            isExpected = openRequests[number]!.answers.note(asked, by: node)
        case .part: isExpected = false
        case .nobody: openRequests[number]!.answers.end(node, nil)
        default:
            let room = configuration.memory.requests - memory.requests
            let outcome =
                payload.count > max(room, 0) ? .tooMuch : RequestOutcome(header.status, payload)
            let place = Int(header.place)
            if !openRequests[number]!.answers.note(outcome, at: place, by: node) {
                // It has asked nobody, and says why.
                isExpected =
                    header.status == .busy || header.status == .failed
                    ? openRequests[number]!.answers.endWhole(node, outcome) : false
            }
        }
        if !isExpected { counters[.repliesLate] += 1 }
        noteGathered(number, before, at: node)
    }

    /// Nothing more comes from a node.
    mutating func endGathering(_ number: UInt32, at node: NodeID, _ outcome: RequestOutcome?) {
        guard openRequests[number] != nil else { return }
        let before = openRequests[number]!.gatheredBytes
        openRequests[number]!.answers.end(node, outcome)
        noteGathered(number, before, at: node)
    }

    private mutating func noteGathered(_ number: UInt32, _ before: Int, at node: NodeID) {
        guard let request = openRequests[number] else { return }
        memory.requests += request.gatheredBytes - before
        if !request.isAt(node) { openRequests.strike(number, at: node) }
        guard request.answers.hasEnded else { return }
        if request.answers.isEmpty {
            // Nobody was there after all.
            openRequests[number]?.answers = GatheredAnswers()
            if request.options.waits {
                openRequests.rest(number, until: now + Self.restMin)
            } else {
                end(number, .noService)
            }
        } else {
            endGathered(number)
        }
    }

    /// The time of a request is over.
    mutating func timeIsOver(_ number: UInt32) {
        guard let request = openRequests[number] else { return }
        guard request.options.isToAll, !request.answers.openNodes.isEmpty else {
            return end(number, .timedOut)
        }
        for node in request.answers.openNodes {
            openRequests[number]?.answers.end(node, .timedOut)
            openRequests.strike(number, at: node)
        }
        endGathered(number)
    }

    /// Nil: the bytes are no list of sids.
    private static func attachments(_ bytes: [UInt8]) -> [AttachmentID]? {
        guard bytes.count % 12 == 0, bytes.count / 12 <= Services.askedMax else { return nil }
        var at = 0
        var found: [AttachmentID] = []
        while let id = id(bytes.span, &at, bytes.count) { found.append(id) }
        return found
    }

    // MARK: In parts

    /// The part of an answer that a reply is, or its end; nil: it says that there is no answer here.
    static func arrival(_ header: ReplyHeader, _ payload: [UInt8]) -> AnswerParts.Arrival? {
        switch header.status {
        case .part: .part(payload)
        case .answer, .failed: .end(RequestOutcome(header.status, payload))
        // Parts of its answer have gone before.
        case .rejected, .diedGiven:
            header.place > 0 ? .end(RequestOutcome(header.status, payload)) : nil
        case .busy, .nobody, .diedWaiting, .expired, .asked: nil
        }
    }

    /// A part of an answer, or its end.
    mutating func receive(
        _ arrival: AnswerParts.Arrival, place: UInt32, of number: UInt32, from node: NodeID
    ) {
        guard openRequests[number] != nil else { return }
        // From the first part on, the answer is this node's.
        recall(number, .gone, but: node)
        openRequests.keep(number, at: node)
        let before = openRequests[number]!.gatheredBytes
        let due = openRequests[number]!.parts.take(arrival, place: place)
        memory.requests += openRequests[number]!.gatheredBytes - before
        guard let due, memory.requests <= configuration.memory.requests else {
            return giveUpSlow(number)
        }
        for arrival in due {
            switch arrival {
            case .end(let outcome): return end(number, outcome)
            case .part(let payload):
                guard tellPart(payload, of: number) else { return giveUpSlow(number) }
            }
        }
    }

    private mutating func giveUpSlow(_ number: UInt32) {
        recall(number, .slow)
        end(number, .slow)
    }

    /// - Returns: false if the client does not read what it has.
    private mutating func tellPart(_ payload: [UInt8], of number: UInt32) -> Bool {
        guard let request = openRequests[number], let tag = request.tag else { return true }
        let slot = request.client.slot
        guard clients[slot].flags.contains(.open), clients[slot].identity.id == request.clientID,
            clients[slot].flags.isDisjoint(with: [.doomed, .ending])
        else { return true }
        let unread = clients[slot].output.count + clients[slot].held.count
        guard unread <= AnswerParts.bytesMax else { return false }
        outbox.hasWork = true
        tell(request.client, .part(tag: tag, payload))
        return true
    }
}

extension RequestOutcome {
    /// By the word of one node, or of one of those that were asked there.
    fileprivate init(_ status: ReplyStatus, _ payload: [UInt8]) {
        self =
            switch status {
            case .answer, .part: .answered(payload)
            case .rejected: .rejected(payload)
            case .failed: .failed(payload)
            case .busy: .busy
            case .diedGiven: .died
            case .expired: .timedOut
            case .nobody, .diedWaiting, .asked: .noService
            }
    }
}
