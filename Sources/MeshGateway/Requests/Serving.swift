import MeshCore
import MeshWire

// The node of the providers: it takes requests, gives each to one provider, and replies to the asker's
// node. This node's own requests come the same way.

/// The reason why a provider need not go on with a request; the number is the one in a cancellation.
enum CancelReason: UInt32, Sendable {
    /// Its time is over.
    case timeout = 0
    /// The asker has given it up, or is gone.
    case gone = 1
    /// The asker does not read the parts of its answer.
    case slow = 2
}

extension Hub {
    // MARK: Providers

    /// The client serves, or with another concurrency from now on. Call `giveWaiting` afterwards.
    mutating func serve(
        _ service: Slice, _ concurrency: Int, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Outcome {
        let growth = growth(.service, service, input, client)
        if growth.subscriptions > 0 {
            if Int(clients[client.slot].lists[count: .service]) >= Provider.servicesMax {
                return .refused(.request(.tooManyServices(Provider.servicesMax)))
            }
            if let refusal = excess(.service, growth, client) {
                noteLack(refusal, of: client)
                return .refused(refusal)
            }
        }
        confirmWhenKnown(client)
        join(client, .service, input, service)
        let name = input.array(service)
        let orphans = concurrency == 0 ? services.takeWaiting(name, of: client) : []
        services.serve(name, concurrency, client, id: clients[client.slot].identity.id)
        noteOffer(name)
        place(orphans)
        return .done
    }

    /// To be called when the client's subscription to the service ends.
    mutating func endServing(_ service: [UInt8], _ client: ClientIndex) {
        let orphans = services.takeWaiting(service, of: client)
        services.endServing(service, client)
        noteOffer(service)
        services.tidy(service)
        place(orphans)
    }

    /// Requests whose provider has gone before it was given them.
    private mutating func place(_ orphans: [TakenID]) {
        for id in orphans {
            guard let request = services[id] else { continue }
            memory.requests -= request.cost
            services.forget(id)
            let service = request.target.name
            if request.flags.contains(.keyed), !request.flags.contains(.all),
                services.isServed(service)
            {
                take(id, request)
            } else {
                reply(id, .diedWaiting, request.target, [])
            }
        }
    }

    /// Tells the directory if a service is served from now on, or no more.
    private mutating func noteOffer(_ service: [UInt8]) {
        let key = hasher.key(.service, service)
        if let change = services.offer(service, key, services.isServed(service)) {
            outbox.changes.append(InterestChange(subject: .key, key: key, change: change))
        }
    }

    /// The node leaves: its services go from the directory. What has been taken may still be answered.
    mutating func withdrawServices() {
        services.drain()
        for name in services.names { noteOffer(name) }
    }

    /// The client has gone with what it was given.
    mutating func endProvider(_ client: ClientIndex) {
        var index = clients[client.slot].lists[first: .service]
        while !index.isNone {
            let subscription = registry.subscription(index)
            endServing(registry.topics.name(subscription.topic), client)
            index = subscription.nextOfReceiver
        }
        for id in services.given(to: client) {
            guard let request = services[id] else { continue }
            services.end(id)
            if request.isAwaited {
                reply(id, .diedGiven, request.target, [], after: request.partCount)
            }
        }
    }

    // MARK: Requests

    /// A request, a reply or something of a roster from a node. Returns 1: nobody else gets it.
    @inline(never)
    mutating func receivePosted(
        _ body: RoutedBody, _ key: Key, _ name: Slice, _ payload: Slice, _ input: Span<UInt8>,
        from node: NodeID
    ) -> Int {
        switch body {
        case .request: receiveRequest(name, payload, input, from: node)
        case .reply:
            guard let header = ReplyHeader(input, payload) else {
                counters[.postsMalformed] += 1
                break
            }
            let rest = Slice(
                start: Int(payload.start) + ReplyHeader.size,
                count: Int(payload.count) - ReplyHeader.size)
            receiveReply(header, input.array(rest), from: node)
        case .roster: receiveRoster(name, payload, input, from: node)
        case .channel, .shardChannel, .user, .control, .room, .session, .part: return 0
        }
        return 1
    }

    private mutating func receiveRequest(
        _ name: Slice, _ payload: Slice, _ input: Span<UInt8>, from asker: NodeID
    ) {
        guard let header = RequestHeader(input, payload),
            (1...RequestTarget.nameLengthMax).contains(Int(name.count))
        else {
            counters[.postsMalformed] += 1
            return
        }
        let id = RequestID(asker: asker, number: header.number)
        let target = RequestTarget(kind: header.kind, name: input.array(name))
        if header.flags.contains(.cancels) {
            let reason = CancelReason(rawValue: header.remainingMilliseconds) ?? .gone
            let places = header.flags.contains(.all) ? Services.askedMax : 1
            for place in 0..<places {
                cancelled(TakenID(request: id, place: UInt16(place)), reason)
            }
            return
        }
        let first = TakenID(request: id)
        // Flags of a later version ask for what this one cannot do.
        guard header.flags.isSubset(of: .known) else { return reply(first, .nobody, target, []) }
        guard services[first] == nil else { return reply(first, .busy, target, []) }
        let remaining = min(
            Int64(header.remainingMilliseconds), Int64(RequestOptions.timeoutMillisecondsMax))
        let rest = Slice(
            start: Int(payload.start) + RequestHeader.size,
            count: Int(payload.count) - RequestHeader.size)
        let request = TakenRequest(
            target, payload: input.array(rest), expiresAt: now + .milliseconds(remaining), header)
        guard target.kind == .service else { return takePersonal(first, request) }
        guard services.isServed(target.name) else { return reply(first, .nobody, target, []) }
        guard isReadable(request.payload.count) else {
            return reply(first, .failed, target, Self.tooLarge)
        }
        if header.flags.contains(.all) {
            takeForAllProviders(first, request)
        } else {
            take(first, request)
        }
    }

    /// The reason why a request fails that nobody could be given.
    static var tooLarge: [UInt8] {
        Array("larger than half of what a provider may have to read (--output-limit)".utf8)
    }

    func isReadable(_ size: Int) -> Bool { size <= configuration.pubsubOutputLimit.bound / 2 }

    /// A request for a service is given to a provider, or waits, or is refused.
    private mutating func take(_ id: TakenID, _ request: TakenRequest) {
        let service = request.target.name
        if request.flags.contains(.keyed) {
            guard let place = services[service: service]?.providers.place(forKey: request.hash)
            else { return reply(id, .nobody, request.target, []) }
            return take(id, request, for: place)
        }
        if !services.hasWaiting(service), give(id, request) { return }
        wait(id, request, for: nil)
    }

    /// The same, where one provider alone may have it.
    mutating func take(_ id: TakenID, _ request: TakenRequest, for place: Int) {
        guard let provider = services[service: request.target.name]?.providers[place] else {
            return reply(id, .nobody, request.target, [])
        }
        if provider.waiting.isEmpty, provider.free > 0, !provider.isBehind,
            mayGive(request.payload.count, to: provider)
        {
            return give(id, request, place)
        }
        wait(id, request, for: place)
    }

    private mutating func wait(_ id: TakenID, _ request: TakenRequest, for place: Int?) {
        guard services.mayWait(request.target.name, request.cost),
            memory.requests == 0
                || memory.requests + request.cost <= configuration.memory.requests
        else { return reply(id, .busy, request.target, []) }
        memory.requests += request.cost
        services.wait(id, request, for: place)
    }

    /// Gives a request to the provider that has most room. False: none is free.
    private mutating func give(_ id: TakenID, _ request: TakenRequest) -> Bool {
        let service = request.target.name
        while let place = services.freest(service),
            let provider = services[service: service]?.providers[place]
        {
            if mayGive(request.payload.count, to: provider) {
                give(id, request, place)
                return true
            }
            services.fallBehind(service, place)
        }
        return false
    }

    private mutating func give(_ id: TakenID, _ request: TakenRequest, _ place: Int) {
        guard let client = services.give(id, request, place, at: now) else { return }
        counters[.requestsGiven] += 1
        tell(client, .request(id.request, request.target, payload: request.payload))
    }

    /// Whether a provider takes so many bytes now. One that has much to read gets no more before it has
    /// answered some of it: at its output's limit it would be ended.
    private func mayGive(_ size: Int, to provider: Provider) -> Bool {
        mayRead(size, provider.client, hasSome: provider.given > 0)
    }

    /// - Parameter hasSome: it has requests that it has not answered.
    func mayRead(_ size: Int, _ client: ClientIndex, hasSome: Bool) -> Bool {
        let slot = client.slot
        guard clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else { return false }
        let waiting = clients[slot].output.count + clients[slot].held.count
        return !hasSome || waiting + size <= configuration.pubsubOutputLimit.bound / 2
    }

    /// Gives a provider what waits for it, or for any, as far as it has room.
    mutating func giveWaiting(_ service: [UInt8], to client: ClientIndex) {
        guard let place = services[service: service]?.providers.place(of: client) else { return }
        while let id = services.next(service, for: place), let request = services[id],
            let provider = services[service: service]?.providers[place], provider.free > 0
        {
            let isExpired = request.expiresAt <= now
            if !isExpired, !mayGive(request.payload.count, to: provider) {
                return services.fallBehind(service, place)
            }
            memory.requests -= request.cost
            services.takeNext(service, for: place)
            if isExpired {
                reply(id, .expired, request.target, [])
            } else {
                give(id, request, place)
            }
        }
    }

    /// A provider has done with a request.
    ///
    /// - Returns: whether somebody awaits it; false too when this connection does not have it.
    mutating func settleRequest(
        _ id: RequestID, _ status: ReplyStatus, _ payload: Slice, _ input: Span<UInt8>,
        _ client: ClientIndex
    ) -> Bool {
        guard let taken = services.given(id, to: client), let request = services[taken] else {
            return false
        }
        services.record(taken, status, at: now)
        services.end(taken)
        if request.isAwaited {
            reply(taken, status, request.target, input.array(payload), after: request.partCount)
        }
        if request.target.kind == .service { giveWaiting(request.target.name, to: client) }
        return request.isAwaited
    }

    /// A provider answers in part.
    mutating func sendPart(
        _ id: RequestID, _ payload: [UInt8], _ client: ClientIndex
    ) -> Outcome {
        guard let taken = services.given(id, to: client), let request = services[taken],
            request.isAwaited
        else { return .count(0) }
        guard request.flags.contains(.parts), !request.flags.contains(.all) else {
            return .refused(.request(.noParts))
        }
        reply(taken, .part, request.target, payload, after: request.partCount)
        services.notePart(of: taken)
        return .count(1)
    }

    /// Nobody awaits a request any more.
    private mutating func cancelled(_ id: TakenID, _ reason: CancelReason) {
        guard let request = services[id], request.isAwaited else { return }
        guard request.givenAt != nil else {
            memory.requests -= request.cost
            services.end(id)
            return
        }
        if request.target.kind == .service {
            services.disown(id)
        } else {
            // Nobody has promised to answer these: they must not fill the connection's bound.
            services.end(id)
        }
        if clients[request.provider.slot].flags.isDisjoint(with: [.doomed, .ending]) {
            tell(request.provider, .cancel(id.request, reason))
        }
    }

    /// The clients of a node are gone with it.
    mutating func forgetRequests(of asker: NodeID) {
        for id in services.ids(of: asker) { cancelled(id, .gone) }
    }

    /// - Parameter partCount: the parts that have gone before.
    mutating func reply(
        _ id: TakenID, _ status: ReplyStatus, _ target: RequestTarget, _ payload: [UInt8],
        after partCount: UInt32 = 0
    ) {
        let place = max(partCount, UInt32(id.place))
        var header = services.header(
            id.request.number, status, target.kind == .service ? target.name : [], place: place)
        if target.kind != .service { header.providers = UInt16(clamping: memberCount(of: target)) }
        var bytes = ByteQueue()
        header.append(to: &bytes)
        bytes.append(payload)
        outbox.hasWork = true
        outbox.posts.append(
            Post(
                destination: id.request.asker, body: .reply, key: Key(0), nameCount: 0,
                bytes: bytes.array, sender: 0))
    }

    /// Services that clients of this node serve, and the requests that they have or that wait for them.
    public var serviceCounts: (services: Int, requests: Int) {
        (services.count, services.takenCount)
    }
}
