import MeshCore
import MeshServer
import MeshWire

/// The interpreter of effects: what `Reactor` does with sockets, in virtual time.
extension World {
    // MARK: Driving a node

    mutating func scheduleDeadline(_ number: Int) {
        if let host = hosts[number] { scheduleDeadline(number, host) }
    }

    @inline(__always)
    private mutating func scheduleDeadline(_ number: Int, _ host: Host) {
        guard let local = host.server.nextDeadline() else { return }
        let due = max(host.worldTime(local), now)
        if let scheduled = host.deadline, scheduled <= due { return }
        host.deadline = due
        queue.schedule(Action(kind: .deadline, host: Int32(number)), at: due)
    }

    /// Advances a node by one event and does what it wants done.
    mutating func handle(_ number: Int, _ event: Event, _ parcel: Parcel = .none) {
        handle(number, hosts[number]!, event, parcel)
    }

    @inline(__always)
    private mutating func handle(
        _ number: Int, _ host: Host, _ event: Event, _ parcel: Parcel
    ) {
        fold(number, parcel)
        let time = host.localTime(now)
        parcel.withSpan { host.server.handle(event, bytes: $0, at: time, into: &effects) }
        performAll(number, host, parcel)
    }

    /// A client of a node publishes; the message's bytes are those of the parcel.
    mutating func publish(
        _ number: Int, _ message: OutgoingMessage, _ parcel: Parcel
    ) -> PublishOutcome {
        let host = hosts[number]!
        fold(number, parcel)
        let time = host.localTime(now)
        let outcome = parcel.withSpan {
            host.server.publish(message, bytes: $0, at: time, into: &effects)
        }
        performAll(number, host, parcel)
        return outcome
    }

    @inline(__always)
    mutating func fold(_ number: Int, _ parcel: Parcel) {
        runHash =
            RandomSource.mix(
                runHash ^ UInt64(bitPattern: now.nanoseconds) ^ UInt64(UInt32(parcel.count)) << 40)
            ^ UInt64(number)
    }

    /// Does what a node wants done after an event.
    @inline(__always)
    mutating func performAll(_ number: Int, _ host: Host, _ parcel: Parcel) {
        var index = 0
        while index < effects.mesh.count {
            perform(effects.mesh[index], number, host, parcel)
            index += 1
        }
        if !effects.orders.isEmpty { orders += effects.orders }
        effects.removeAll()
        if departedCount > 0 { touchReceivers() }
        if host.hasLeft {
            end(number)
            return
        }
        if mutant != nil { misset(number, host) }
        scheduleDeadline(number, host)
        if host.hasClients { settleLines(number, host) }
    }

    @inline(__always)
    private mutating func perform(
        _ effect: Effect, _ number: Int, _ host: Host, _ parcel: Parcel
    ) {
        if case .send(let link, let head, let body, let sendClass) = effect {
            send(head, body, sendClass, over: link, number, host, parcel)
        } else {
            performRare(effect, number, host, parcel)
        }
    }

    @inline(never)
    private mutating func performRare(
        _ effect: Effect, _ number: Int, _ host: Host, _ parcel: Parcel
    ) {
        switch effect {
        case .send: break
        case .dial(let link, let endpoint):
            dial(endpoint, for: link, number, host)
        case .close(let link):
            let connection = host[link]
            host[link] = .none
            if !connection.isNone { close(connection, by: number) }
        case .deliver(let body, _, let key, let name, let payload, _):
            if !goesBack(body, key, host) { deliver(body, name, payload, number, parcel) }
        case .deliverKept(let body, _, let key, let name, let payload, _):
            if !goesBack(body, key, host) { deliverKept(body, name, payload, number) }
        case .deliverLabelled:
            // No client of the simulator sends one.
            break
        case .takenBack(let sender): observations.returns.append(sender)
        case .undelivered(let sender, _, _, _, let destination, let count):
            observations.reports.append(
                Observations.Report(
                    time: now, host: Int32(number), sender: sender, count: count,
                    destination: destination))
        case .gap(let origin, let count):
            observations.gaps.append(
                Observations.Gap(time: now, host: Int32(number), origin: origin, count: count))
        case .uncongested, .holders, .memberDied, .queried, .unanswered, .bulk, .resolveSeeds: break
        case .recordsKnown: lookAround(number)
        case .presence(let key, let presence):
            host.presences.append((key, presence.isOnline))
        case .answered(let query, let from, let answer):
            host.answers.append((query, from, parcel.withSpan { $0.array(answer) }))
        case .traced(let query, let holder, let path):
            host.answers.append((query, holder, parcel.withSpan { $0.array(path) }))
        case .finished(let query):
            host.finished.append(query)
        case .log(let event):
            if Observations.isRead(event) {
                observations.news.append(
                    Observations.News(time: now, host: Int32(number), event: event))
            }
            tracer?.log(now, number, event)
        case .left: host.hasLeft = true
        }
    }

    /// Whether the host's server has given a message to one of the world's own users back: it looks
    /// after them where it has clients.
    private func goesBack(_ body: RoutedBody, _ key: Key, _ host: Host) -> Bool {
        body.isParked && host.server.returnsMessages && !host.server.node.isHeldHere(key)
    }

    private mutating func deliver(
        _ body: RoutedBody, _ name: Slice, _ payload: Slice, _ number: Int, _ parcel: Parcel
    ) {
        if keepsDeliveries {
            deliveries.append(
                Delivery(
                    node: number, time: now, body: body,
                    name: parcel.withSpan { $0.array(name) },
                    payload: parcel.withSpan { $0.array(payload) }))
            return
        }
        guard payload.count >= 4 else { return }
        let message = parcel.withSpan { $0.load(UInt32.self, at: Int(payload.start)) }
        let arrival = Observations.Arrival(
            time: now, host: Int32(number), message: message, hops: parcel.pathCount)
        for _ in 0..<(mutant?.copies(number) ?? 1) { observations.arrivals.append(arrival) }
        tracer?.delivered(now, number, message, hops: Int(parcel.pathCount))
    }

    /// A message that has waited in the node; it lies in the effects' bytes.
    private mutating func deliverKept(
        _ body: RoutedBody, _ name: Slice, _ payload: Slice, _ number: Int
    ) {
        let bytes = effects.mesh.bytes.withSpan { $0.array(name) + $0.array(payload) }
        let parcel = pool.parcel(count: bytes.count, pathCount: 0)
        parcel.write(bytes.span, 0, bytes.count, at: 0)
        deliver(
            body, Slice(start: 0, count: Int(name.count)),
            Slice(start: Int(name.count), count: Int(payload.count)), number, parcel)
        pool.release(parcel)
    }

    /// The same, with bytes of the driver's own.
    mutating func handle(_ number: Int, _ event: Event, bytes: [UInt8]) {
        let parcel = pool.parcel(count: bytes.count, pathCount: 0)
        parcel.write(bytes.span, 0, bytes.count, at: 0)
        handle(number, event, parcel)
        pool.release(parcel)
    }

    // MARK: Bytes leave

    private mutating func send(
        _ head: Slice, _ body: Slice, _ sendClass: SendClass, over link: LinkIndex, _ number: Int,
        _ host: Host, _ source: Parcel
    ) {
        let connection = host[link]
        guard !connection.isNone else { return }
        let size = Int(head.count) + Int(body.count)
        let pathCount = self.pathCount(head, number, source)
        var parcel = pool.parcel(count: size, pathCount: pathCount)
        effects.mesh.bytes.withSpan { parcel.write($0, Int(head.start), Int(head.count), at: 0) }
        if body.count > 0 {
            source.withSpan {
                parcel.write($0, Int(body.start), Int(body.count), at: Int(head.count))
            }
        }
        if pathCount > 0 {
            for position in 0..<(pathCount - 1) {
                parcel.setHost(source.host(at: position), at: position)
            }
            parcel.setHost(number, at: pathCount - 1)
        }
        if mutant != nil {
            guard let changed = sabotage(parcel, from: number) else { return }
            parcel = changed
        }
        host.bytesOut += size
        byteCount += size
        let isToDialler = Int(connections[connection].dialler) != number
        let other =
            isToDialler ? connections[connection].dialler : connections[connection].acceptor
        tracer?.sent(now, number, to: Int(other), parcel)
        trafficCount.sent(parcel, from: number, to: Int(other))
        if departedCount < departed.count {
            let link =
                isToDialler
                ? connections[connection].diallerLink : connections[connection].acceptorLink
            departed[departedCount] = Departed(host: other, link: link)
            departedCount += 1
        }
        let action = Action(
            kind: .bytes, isToDialler: isToDialler, host: other, connection: connection,
            parcel: parcel)
        if network.bytesPerSecond != nil {
            let isLast = mutant?.mistake == .sendsControlLast
            let isNews = host.line.append(
                SendingLine.Frame(action: action, link: link, size: size),
                isLast && mutant?.isActive(number, now) ?? false ? .bulk : sendClass)
            if host.line.isFree { sendNext(number, host) }
            if isNews { queue.schedule(line(action, of: number), at: now) }
            return
        }
        depart(action, from: number, at: now)
    }

    /// A frame has left a host and is on its way.
    @inline(__always)
    mutating func depart(_ action: Action, from number: Int, at departure: Instant) {
        let jitter = Delay(
            nanoseconds: Int64(random.next(below: Int(network.jitter.nanoseconds) + 1)))
        let latency = network.latency(from: number, to: Int(action.host))
        enqueue(action, at: departure + latency + jitter)
    }

    /// How many hosts a message has come through when it leaves this one; 0 for what goes one hop.
    ///
    /// Lineage is known here and nowhere else: what a node sends while it handles a message of
    /// another's is that message.
    @inline(__always)
    private func pathCount(_ head: Slice, _ number: Int, _ source: Parcel) -> Int {
        guard head.count >= Frame.arcHeaderSize else { return 0 }
        return effects.mesh.bytes.withSpan { span in
            let start = Int(head.start)
            guard span[start + 4] != FrameKind.link.rawValue else { return 0 }
            let origin = NodeID(span.load(UInt64.self, at: start + 8))
            return origin == ids[number] ? 1 : Int(source.pathCount) + 1
        }
    }

    /// Asks for the memory of those to whom something has just been sent. With a thousand nodes and
    /// more hardly anything of a node is in the cache when an event comes to it; asked for one by
    /// one that is a wait for each, asked for together it is one wait for all.
    @inline(__always)
    private mutating func touchReceivers() {
        var sum = touched
        for position in 0..<departedCount {
            let action = departed[position]
            guard let host = hosts[Int(action.host)] else { continue }
            sum &+= host.touch(action.link)
        }
        touched = sum
        departedCount = 0
    }

    /// The same for a node whose deadline is next: it may send over all its links.
    @inline(__always)
    mutating func touchSender(_ number: Int32) {
        guard let host = hosts[Int(number)] else { return }
        var sum = touched
        for link in host.server.node.linkIndices {
            let connection = host[link]
            guard !connection.isNone else { continue }
            sum &+= host.touch(link) &+ Int64(connections[connection].pending)
        }
        touched = sum
    }

    /// Puts something on a connection's stream, behind what is there.
    @inline(__always)
    mutating func enqueue(_ action: Action, at time: Instant) {
        let (arrival, inFlight) = connections.depart(
            action.connection, toDialler: action.isToDialler, action.parcel.count, at: time)
        inFlightMax = max(inFlightMax, inFlight)
        queue.schedule(action, at: arrival)
    }

    // MARK: Bytes arrive

    /// Something has come to the end of its way, unless the network holds it up.
    @inline(__always)
    mutating func carry(_ action: Action) {
        let connection = action.connection
        let isStalled =
            action.isToDialler
            ? connections[connection].toDialler.isStalled
            : connections[connection].toAcceptor.isStalled
        if isStalled || isBlocked(action) {
            stall(action)
        } else {
            arrive(action)
        }
    }

    @inline(__always)
    private mutating func isBlocked(_ action: Action) -> Bool {
        guard network.mayBlock else { return false }
        let dialler = Int(connections[action.connection].dialler)
        let acceptor = Int(connections[action.connection].acceptor)
        let isBlocked =
            action.isToDialler
            ? network.isBlocked(from: acceptor, to: dialler)
            : network.isBlocked(from: dialler, to: acceptor)
        return isBlocked || network.hasHoles && isSwallowed(action)
    }

    /// TCP sends again after 200 ms and then after twice as long, up to 15 s; what comes meanwhile
    /// waits behind it.
    private mutating func stall(_ action: Action) {
        let first = Delay.milliseconds(200)
        if connections.stall(action, retryAfter: first) {
            let again = Action(
                kind: .retry, isToDialler: action.isToDialler, connection: action.connection)
            connections[action.connection].pending += 1
            queue.schedule(again, at: now + first)
        }
    }

    mutating func retry(_ action: Action) {
        let connection = action.connection
        let isOpen =
            !connections[connection].diallerLink.isNone
            || !connections[connection].acceptorLink.isNone
        if isOpen, isBlocked(action) {
            let delay = connections.retryAgain(
                connection, toDialler: action.isToDialler, most: .seconds(15))
            queue.schedule(action, at: now + delay)
            return
        }
        connections[connection].pending -= 1
        let waiting = connections.release(connection, toDialler: action.isToDialler)
        if waiting.isEmpty { connections.recycle(connection) }
        for item in waiting { arrive(item) }
    }

    @inline(__always)
    mutating func arrive(_ action: Action) {
        let number = Int(action.host)
        let connection = action.connection
        if let host = hosts[number] {
            if postpone(action, host) { return }
            if action.kind == .bytes {
                receiveBytes(action, number, host)
            } else {
                receive(action, number, host)
            }
        }
        pool.release(action.parcel)
        connections.arrived(connection, toDialler: action.isToDialler, action.parcel.count)
    }

    /// The slot of the link that an action comes over; -1: none any more.
    @inline(__always)
    private func link(_ action: Action) -> LinkIndex {
        action.isToDialler
            ? connections[action.connection].diallerLink
            : connections[action.connection].acceptorLink
    }

    @inline(__always)
    private mutating func receiveBytes(_ action: Action, _ number: Int, _ host: Host) {
        let link = link(action)
        guard !link.isNone else { return }
        host.bytesIn += Int(action.parcel.count)
        receiveFrames(action.parcel, over: link, action.connection, number, host)
    }

    @inline(never)
    private mutating func receive(_ action: Action, _ number: Int, _ host: Host) {
        let connection = action.connection
        let link = link(action)
        guard !link.isNone else { return }
        switch action.kind {
        case .connected:
            handle(number, .connected(link))
        case .refused, .unreachable:
            detach(connection, toDialler: action.isToDialler, host, link)
            handle(number, .disconnected(link, action.kind == .refused ? .refused : .unreachable))
        case .end:
            detach(connection, toDialler: action.isToDialler, host, link)
            handle(number, .disconnected(link, .closed))
        case .piece:
            let isMissed = mutant?.mistake == .hearsWholeFrames
            if !(isMissed && mutant?.isActive(number, now) ?? false) {
                handle(number, .heard(link))
            }
        case .bytes, .deadline, .reach, .retry, .thaw, .departed, .waits, .lineOpens, .lineInput,
            .lineEnds,
            .lineBreaks, .lineWritable, .lineArrival, .lineVerdict:
            preconditionFailure("bytes come another way, and the others on no connection")
        }
    }

    private mutating func detach(
        _ connection: ConnectionNumber, toDialler: Bool, _ host: Host, _ link: LinkIndex
    ) {
        host[link] = .none
        if toDialler {
            connections[connection].diallerLink = .none
        } else {
            connections[connection].acceptorLink = .none
        }
    }

    @inline(__always)
    private mutating func receiveFrames(
        _ parcel: Parcel, over link: LinkIndex, _ connection: ConnectionNumber, _ number: Int,
        _ host: Host
    ) {
        if parcel.pathCount > 0 { inspect(parcel, at: number) }
        handle(number, host, .heard(link), .none)
        // The consequences of a frame can end the link, and the host.
        var at = 0
        var needed = 0
        while at < Int(parcel.count), host[link] == connection {
            let prefix = parcel.withSpan { try? FramePrefix.read($0, at: at, needed: &needed) }
            guard let prefix else { preconditionFailure("a node sent a malformed frame") }
            tracer?.received(now, number, parcel, at: at, prefix)
            if TrafficCount.carriesChanges(parcel, at: at, prefix) {
                takeChanges(parcel, at: at, prefix, over: link, number, host)
            } else {
                handle(number, host, .received(prefix, start: at, from: link), parcel)
            }
            at += prefix.length
        }
    }

    /// Changes of the directory: the traffic count is told how many of them were news.
    @inline(never)
    private mutating func takeChanges(
        _ parcel: Parcel, at start: Int, _ prefix: FramePrefix, over link: LinkIndex,
        _ number: Int, _ host: Host
    ) {
        let before =
            host.server.node.counters[.recordsLive] &+ host.server.node.counters[.recordsRepaired]
        handle(number, .received(prefix, start: start, from: link), parcel)
        let after =
            host.server.node.counters[.recordsLive] &+ host.server.node.counters[.recordsRepaired]
        guard let changes = TrafficCount.Changes(parcel, at: start, prefix) else { return }
        let applied = Int(after &- before)
        let origin = self.host(of: changes.origin)
        trafficCount.received(changes, from: origin, applied: applied, at: now)
        guard applied > 0, let origin, let made = trafficCount.made(changes, applied, by: origin)
        else {
            return
        }
        observations.changes.append(
            Observations.ChangeArrival(
                time: now, made: made, host: Int32(number), count: Int32(applied),
                isRepair: changes.isRepair))
    }

    /// A message must not come to a host twice, and not over more links than the hop limit.
    @inline(__always)
    private mutating func inspect(_ parcel: Parcel, at number: Int) {
        var returns: Int32 = 0
        for position in 0..<Int(parcel.pathCount) where parcel.host(at: position) == number {
            returns += 1
        }
        if returns > 0 || parcel.pathCount > Int32(Frame.hopLimit) + 1 {
            observations.detours.append(
                Observations.Detour(
                    time: now, host: Int32(number), hops: parcel.pathCount, returns: returns))
        }
    }

    // MARK: Connections

    private mutating func dial(
        _ endpoint: Endpoint, for link: LinkIndex, _ number: Int, _ host: Host
    ) {
        guard let target = hostAt[endpoint], !isForgotten(endpoint, number, host) else {
            let connection = connections.open(from: number, link, to: number)
            host[link] = connection
            answer(.refused, connection, number, at: now + network.latency * 2)
            return
        }
        let connection = connections.open(from: number, link, to: target)
        host[link] = connection
        connections[connection].isSmall = host.server.node.needsSmallPackets(over: link)
        connections[connection].toAcceptor.lastArrival = now
        connections[connection].pending += 1
        queue.schedule(
            Action(kind: .reach, host: Int32(number), connection: connection),
            at: now + network.latency(from: number, to: target))
    }

    /// The outcome of a dial, told to the side that dialled.
    private mutating func answer(
        _ kind: Action.Kind, _ connection: ConnectionNumber, _ dialler: Int, at time: Instant
    ) {
        enqueue(
            Action(
                kind: kind, isToDialler: true, host: Int32(dialler), connection: connection),
            at: time)
    }

    /// A dial has come to the other side.
    mutating func reach(_ action: Action) {
        let connection = action.connection
        let from = Int(connections[connection].dialler)
        let to = Int(connections[connection].acceptor)
        guard !connections[connection].diallerLink.isNone else {
            connections.recycle(connection)
            return
        }
        if network.isBlocked(from: from, to: to) || network.isBlocked(from: to, to: from) {
            askAgain(action, from: from)
            return
        }
        let back = now + network.latency(from: to, to: from)
        guard !network.isRejected(from: from, to: to), let host = hosts[to],
            let accepted = host.server.acceptLink(at: host.localTime(now), into: &effects)
        else {
            answer(.refused, connection, from, at: back)
            return
        }
        performAll(to, host, .none)
        connections[connection].acceptorLink = accepted
        host[accepted] = connection
        answer(.connected, connection, from, at: back)
    }

    /// Nobody has heard the dial. TCP asks again 1, 3, 7, … s after the first time, until its own machine
    /// gives up; nothing of that passes the network.
    private mutating func askAgain(_ action: Action, from dialler: Int) {
        let connection = action.connection
        let began = connections[connection].toAcceptor.lastArrival
        var pause = Delay.seconds(1)
        while began + pause <= now { pause = pause * 2 + .seconds(1) }
        connections[connection].pending += 1
        if pause < network.connectTimeout {
            queue.schedule(action, at: began + pause)
        } else {
            queue.schedule(
                Action(
                    kind: .unreachable, isToDialler: true, host: Int32(dialler),
                    connection: connection), at: began + network.connectTimeout)
        }
    }

    /// One side ends a connection; the other hears of it after all that is on its way.
    mutating func close(_ connection: ConnectionNumber, by number: Int) {
        sendRest(over: connection, number)
        let isDialler = Int(connections[connection].dialler) == number
        let link: LinkIndex
        if isDialler {
            connections[connection].diallerLink = .none
            link = connections[connection].acceptorLink
        } else {
            connections[connection].acceptorLink = .none
            link = connections[connection].diallerLink
        }
        if !link.isNone || isDialler && connections[connection].pending > 0 {
            let other =
                isDialler ? connections[connection].acceptor : connections[connection].dialler
            enqueue(
                Action(
                    kind: .end, isToDialler: !isDialler, host: other, connection: connection),
                at: now + network.latency(from: number, to: Int(other)))
        } else {
            connections.recycle(connection)
        }
    }
}
