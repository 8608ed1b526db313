import MeshCore
import MeshGateway
import MeshWire

/// The driver's next step after one command of a client.
public enum ClientStep: Sendable {
    /// The command was carried out: call `command` again.
    case next
    /// The input ends inside a command: call again when `needed` bytes from the offset on are there
    /// (a hint: at least one more than now).
    case incomplete(needed: Int)
    /// Do not read from this client until `nextResumable` names it.
    case paused
    /// Call `answer(with:)`, then `command` again: the answer needs what only the driver knows.
    case needsFacts
    /// Flush the client's output, then close its connection and call `close`.
    case end
}

// Commands of clients, and their output.

extension Server {
    /// The words for a connection that `open` has refused.
    public static var refusal: [UInt8] { Gateway.refusal }

    /// A new connection of a client; nil when there are too many: send `refusal` and close it.
    ///
    /// - Parameters:
    ///   - address: where it comes from, for CLIENT LIST: `127.0.0.1:50123`, `/run/mesh.sock:0`.
    ///   - peer: the same, of a connection over the network; nil: its host's connections are not counted.
    ///   - origin: see `Credentials`.
    public mutating func open(
        address: String, peer: Endpoint? = nil, origin: ClientOrigin, at now: Instant
    ) -> ClientIndex? {
        self.now = now
        edge.gateway.hub.now = now
        if !servesClients { nextOverdueCheck = now + .seconds(1) }
        beginServing()
        noteReadiness()
        return edge.gateway.open(address: address, peer: peer, origin: origin, at: now)
    }

    /// From now on what comes for clients, and for sessions, is looked at.
    mutating func beginServing() {
        servesClients = true
        deliversAtOnce = patternSteps.lanes.isEmpty
    }

    /// Carries out the command at `offset` in a client's input, and moves `offset` past it.
    public mutating func command(
        from client: ClientIndex, _ bytes: Span<UInt8>, at offset: inout Int, now: Instant,
        into effects: inout ServerEffects
    ) -> ClientStep {
        if offset == 0, mustPause(client) { return .paused }
        self.now = now
        let start = offset
        let request = edge.gateway.next(bytes, at: &offset, from: client, now: now)
        switch request {
        case .publish(let publication):
            let step = publish(publication, bytes, by: client, &effects)
            if case .paused = step, pause.isPostponed { offset = start }
            return step
        case .handled: break
        case .incomplete(let needed): return .incomplete(needed: needed)
        case .command(let operation):
            return carryOut(operation, bytes, &offset, from: client, &effects)
        case .blocked:
            if edge.gateway.hasResting { hasSteps = true }
            return .paused
        case .end:
            settle(&effects)
            return .end
        case .report: return goOnReporting(client, &effects)
        case .ask: preconditionFailure("a command has to be carried out for this")
        }
        if edge.gateway.hub.outbox.hasWork { settle(&effects) }
        return isThrottled(client) ? .paused : .next
    }

    /// Every command but those that publish, which come often.
    @inline(never)
    private mutating func carryOut(
        _ operation: Operation, _ bytes: Span<UInt8>, _ offset: inout Int,
        from client: ClientIndex, _ effects: inout ServerEffects
    ) -> ClientStep {
        defer { settle(&effects) }
        guard admit(operation, edge.gateway.hub.principal(of: client)) else {
            edge.gateway.deny(client)
            return isThrottled(client) ? .paused : .next
        }
        if operation == .subscribe { edge.gateway.hub.meshPatternBytes = node.patternBytes }
        let before = edge.gateway.hub.outputCount(client)
        let request = edge.gateway.carryOut(bytes, at: &offset, from: client, now: now)
        if !edge.gateway.hub.outbox.changes.isEmpty { applyChanges(&effects) }
        if edge.gateway.hub.hasRequestWork, let congestion = settleRequests(&effects),
            heed(congestion, by: client)
        {
            return .paused
        }
        switch request {
        case .handled: break
        case .ask(let query, let question): ask(query, question, &effects)
        case .report:
            let report = edge.gateway.report
            if needsFacts(report) {
                pendingReport = (client, report)
                return .needsFacts
            }
            answer(report, to: client, nil, &effects)
        case .blocked:
            if edge.gateway.hasResting { hasSteps = true }
            return .paused
        case .end: return .end
        case .publish, .command, .incomplete: preconditionFailure("no command becomes these")
        }
        return goOn(client, after: before)
    }

    /// A command of very many names goes on with a question to the node.
    @inline(never)
    private mutating func goOnReporting(
        _ client: ClientIndex, _ effects: inout ServerEffects
    ) -> ClientStep {
        defer { settle(&effects) }
        if !edge.gateway.hub.outbox.changes.isEmpty { applyChanges(&effects) }
        let before = edge.gateway.hub.outputCount(client)
        answer(edge.gateway.report, to: client, nil, &effects)
        guard edge.gateway.isResting(client) else { return goOn(client, after: before) }
        edge.gateway.hub.charge(edge.gateway.hub.outputCount(client) - before)
        hasSteps = true
        return .paused
    }

    /// The step after a command. Its reply is charged as work: a byte takes about one unit.
    ///
    /// - Parameter outputBefore: the bytes of output that waited before the command.
    mutating func goOn(_ client: ClientIndex, after outputBefore: Int) -> ClientStep {
        edge.gateway.hub.charge(edge.gateway.hub.outputCount(client) - outputBefore)
        return isTurnOver(client) || isThrottled(client) ? .paused : .next
    }

    /// The one door: whether a client may do this. Everything that clients want done passes it.
    @inline(__always)
    private func admit(_ operation: Operation, _ principal: Principal) -> Bool {
        options.rights.allow(operation, principal)
    }

    @inline(__always)
    private mutating func publish(
        _ publication: Publication, _ bytes: Span<UInt8>, by client: ClientIndex,
        _ effects: inout ServerEffects
    ) -> ClientStep {
        pause.isPostponed = false
        guard admit(.publish, publication.principal) else {
            edge.gateway.deny(client)
            return .next
        }
        if !node.takesAll, mustWait(publication, bytes, client) { return .paused }
        if !edge.gateway.hub.outbox.changes.isEmpty { applyChanges(&effects) }
        let copies = edge.gateway.hub.counters[.clientCopies]
        let outcome: PublishOutcome
        if publication.isDecoded {
            outcome = publishDecoded(publication, by: client, &effects)
        } else {
            outcome = node.publish(
                publication.message, bytes: bytes, at: now, into: &effects.mesh)
            if !effects.mesh.hasSendsAlone { heed(bytes, at: now, &effects) }
            edge.gateway.published(
                publication, bytes, by: client, number: outcome.number,
                nodeCount: outcome.nodeCount, isParked: outcome.verdict == .parked)
        }
        effects.clientBytes +=
            Int(edge.gateway.hub.counters[.clientCopies] &- copies)
            * (Int(publication.message.name.count) + Int(publication.message.payload.count))
        if edge.gateway.hub.outbox.hasWork { settle(&effects) }
        if let congestion = outcome.congestion, heed(congestion, of: publication, by: client) {
            return .paused
        }
        if !pause.congestedLinks.isEmpty, let link = congestedLink(among: effects) {
            pausePublisher(client, .link(link))
            return .paused
        }
        return .next
    }

    /// A message of an inline command with quotes, or with a label: its bytes are the gateway's, which the
    /// driver does not know.
    @inline(never)
    private mutating func publishDecoded(
        _ publication: Publication, by client: ClientIndex, _ effects: inout ServerEffects
    ) -> PublishOutcome {
        let line = edge.gateway.decodedLine
        let outcome =
            publication.message.isLabelled
            ? node.publish(
                publication.message, alsoTo: edge.gateway.hub.otherKeys, bytes: line.span, at: now,
                into: &effects.own)
            : node.publish(publication.message, bytes: line.span, at: now, into: &effects.own)
        transfer(line.span, &effects)
        edge.gateway.published(
            publication, line.span, by: client, number: outcome.number,
            nodeCount: outcome.nodeCount, isParked: outcome.verdict == .parked)
        return outcome
    }

    /// Publishes a message of the driver itself: no client has sent it, and none here gets it.
    public mutating func publish(
        _ message: OutgoingMessage, bytes: Span<UInt8>, at now: Instant,
        into effects: inout ServerEffects
    ) -> PublishOutcome {
        let outcome = node.publish(message, bytes: bytes, at: now, into: &effects.mesh)
        if !effects.mesh.hasSendsAlone { heed(bytes, at: now, &effects) }
        return outcome
    }

    /// See `Node.sendSession`.
    package mutating func sendSession(
        _ payload: Slice, to destination: NodeID, bytes: Span<UInt8>, at now: Instant,
        into effects: inout ServerEffects
    ) -> BulkOutcome {
        let outcome = node.sendSession(
            payload, to: destination, bytes: bytes, at: now, into: &effects.mesh)
        if !effects.mesh.hasSendsAlone { heed(bytes, at: now, &effects) }
        return outcome
    }

    mutating func ask(
        _ query: QueryID, _ question: Query, _ effects: inout ServerEffects
    ) {
        // Taken out: a question that nobody else can answer is finished before `advance` returns.
        var bytes = ByteQueue()
        swap(&bytes, &edge.gateway.hub.questionBytes)
        bytes.withSpan { advance(.query(query, question), $0, &effects) }
        swap(&bytes, &edge.gateway.hub.questionBytes)
    }

    /// The driver has looked at the time of day: messages tell it to their receivers (MESH.DETAILS).
    public mutating func setWallClock(milliseconds: Int64, at now: Instant) {
        edge.gateway.hub.wallOffset = milliseconds - now.nanoseconds / 1_000_000
    }

    /// Changes bounds of the clients while the server runs: they hold from now on.
    public mutating func reconfigure(
        at now: Instant, into effects: inout ServerEffects,
        _ change: (inout GatewayConfiguration) -> Void
    ) {
        self.now = now
        edge.gateway.hub.reconfigure(change)
        settle(&effects)
    }

    // MARK: Output

    /// Clients whose output has grown since the last call, each once, in place of what was in
    /// `clients`.
    public mutating func takeDirty(into clients: inout [ClientIndex]) {
        edge.gateway.hub.unitsLeft = Work.perTurn
        clients.removeAll(keepingCapacity: true)
        swap(&clients, &edge.gateway.hub.outbox.dirty)
        // Both grow in the turn in which one does, not one of them later.
        let capacity = clients.capacity
        if edge.gateway.hub.outbox.dirty.capacity < capacity {
            edge.gateway.hub.outbox.dirty.reserveCapacity(capacity)
        }
    }

    /// Begins a turn of a driver that does not ask for output: the work that a turn allows is available again.
    public mutating func beginTurn() { edge.gateway.hub.unitsLeft = Work.perTurn }

    /// How many clients `takeDirty` would give.
    public var dirtyCount: Int {
        mutating get { edge.gateway.hub.outbox.dirty.count }
    }

    /// Passes a client's waiting output to `body`, which returns how many bytes it has sent. `body` is
    /// not called when nothing waits, and may be called several times.
    ///
    /// - Returns: false when the client has lost its output, to a limit or to CLIENT KILL: close its
    ///   connection at once.
    public mutating func flush(
        _ client: ClientIndex, at now: Instant, _ body: (UnsafeRawBufferPointer) -> Int
    ) -> Bool {
        edge.gateway.hub.now = now
        unsafe edge.gateway.hub.flush(client, body)
        if edge.gateway.hub.isDoomed(client) { return false }
        if pause.outputBytes > 0 { endThrottle(client) }
        return true
    }

    /// The bytes that wait for a client.
    public mutating func outputCount(_ client: ClientIndex) -> Int {
        edge.gateway.hub.outputCount(client)
    }

    /// Those of them that may leave: what confirms a subscription waits until other nodes know of it.
    public mutating func leavingCount(_ client: ClientIndex) -> Int {
        edge.gateway.hub.leavingCount(client)
    }

    /// Notes how many bytes of a client's input wait for the rest of a command. Where the bytes of all clients
    /// are too many, the longest commands are given up, and the effects name their clients.
    public mutating func noteInput(
        _ bytes: Int, of client: ClientIndex, into effects: inout ServerEffects
    ) {
        while let victim = edge.gateway.noteInput(bytes, of: client) {
            effects.orders.append(.goOn(victim))
        }
        if edge.gateway.hub.outbox.hasWork { settle(&effects) }
    }

    // MARK: End

    /// Whether `close` depends on how this client's connection has ended.
    public mutating func hasUnproven(_ client: ClientIndex) -> Bool {
        edge.gateway.hub.hasUnproven(client)
    }

    /// A client's connection is gone, or will be as soon as what it was sent has left.
    ///
    /// - Parameter parting: what the kernel says of it; to be asked if `hasUnproven`.
    /// - Returns: a number to call `conclude` with when more is known of the connection; nil: nothing
    ///   is open.
    public mutating func close(
        _ client: ClientIndex, _ parting: Parting, at now: Instant,
        into effects: inout ServerEffects
    ) -> UInt32? {
        self.now = now
        edge.gateway.hub.now = now
        // A client that was cut is closed in the same turn.
        if !edge.gateway.hub.outbox.cuts.isEmpty { reportCuts(&effects) }
        let doubts = edge.gateway.close(client, parting)
        pause.throttled.removeAll { $0 == client }
        if pause.outputBytes > 0 { pause.noteOutput(0, of: client) }
        settle(&effects)
        if doubts.isEmpty { return nil }
        lastDoubt &+= 1
        self.doubts[lastDoubt] = doubts
        return lastDoubt
    }

    /// More is known of a connection that has ended since `close` returned this number.
    public mutating func conclude(
        _ number: UInt32, _ parting: Parting, at now: Instant, into effects: inout ServerEffects
    ) {
        guard let open = doubts.removeValue(forKey: number) else { return }
        self.now = now
        edge.gateway.hub.now = now
        _ = edge.gateway.hub.conclude(open, parting)
        settle(&effects)
    }
}
