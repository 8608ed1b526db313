import MeshCore
import MeshWire

// The node of the providers: it takes requests, gives each to one provider, and replies to the asker's
// node. This node's own requests come the same way.

/// The reason why a provider need not go on with a request.
enum CancelReason: Sendable {
    /// Its time is over.
    case timeout
    /// The asker has given it up, or is gone.
    case gone
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
        services.serve(
            input.array(service), concurrency, client, id: clients[client.slot].identity.id)
        return .done
    }

    /// To be called when the client's subscription to the service ends.
    mutating func endServing(_ service: [UInt8], _ client: ClientIndex) {
        for id in services.endServing(service, client) {
            if let request = services[id] { memory.requests -= request.cost }
            services.end(id)
            reply(id, .diedWaiting, service, [])
        }
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
            if request.isAwaited { reply(id, .diedGiven, request.service, []) }
        }
    }

    // MARK: Requests

    /// A request or a reply from a node. Returns 1: nobody else gets it.
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
        case .channel, .shardChannel, .user, .control, .room, .session, .part: return 0
        }
        return 1
    }

    private mutating func receiveRequest(
        _ name: Slice, _ payload: Slice, _ input: Span<UInt8>, from asker: NodeID
    ) {
        guard let header = RequestHeader(input, payload),
            (1...Self.serviceNameLengthMax).contains(Int(name.count))
        else {
            counters[.postsMalformed] += 1
            return
        }
        let id = RequestID(asker: asker, number: header.number)
        let service = input.array(name)
        if header.flags.contains(.cancels) {
            cancelled(id, header.remainingMilliseconds == 0 ? .timeout : .gone)
            return
        }
        // Flags of a later version ask for what this one cannot do.
        guard header.flags.isSubset(of: .known), services.has(service) else {
            return reply(id, .nobody, service, [])
        }
        guard services[id] == nil else { return reply(id, .busy, service, []) }
        let remaining = min(
            Int64(header.remainingMilliseconds), Int64(RequestOptions.timeoutMillisecondsMax))
        let rest = Slice(
            start: Int(payload.start) + RequestHeader.size,
            count: Int(payload.count) - RequestHeader.size)
        guard Int(rest.count) <= configuration.pubsubOutputLimit.bound / 2 else {
            let words = "larger than half of what a provider may have to read (--output-limit)"
            return reply(id, .failed, service, Array(words.utf8))
        }
        let request = TakenRequest(
            service: service, payload: input.array(rest), expiresAt: now + .milliseconds(remaining))
        if !services.hasWaiting(service), give(id, request) { return }
        guard services.mayWait(service, request.cost),
            memory.requests == 0
                || memory.requests + request.cost <= configuration.memory.requests
        else { return reply(id, .busy, service, []) }
        memory.requests += request.cost
        services.wait(id, request)
    }

    /// Gives a request to a provider. False: none is free.
    private mutating func give(_ id: RequestID, _ request: TakenRequest) -> Bool {
        let size = request.payload.count
        guard let place = services.freest(request.service, { mayGive(size, to: $0) }),
            let client = services.give(id, request, place)
        else { return false }
        counters[.requestsGiven] += 1
        tell(client, .request(id, service: request.service, payload: request.payload))
        return true
    }

    /// Whether a provider takes so many bytes now. One that has much to read gets no more before it has
    /// answered some of it: at its output's limit it would be ended.
    private func mayGive(_ size: Int, to provider: Provider) -> Bool {
        let slot = provider.client.slot
        guard clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else { return false }
        let waiting = clients[slot].output.count + clients[slot].held.count
        return provider.given == 0 || waiting + size <= configuration.pubsubOutputLimit.bound / 2
    }

    /// Gives what waits for a service, as far as its providers have room.
    mutating func giveWaiting(_ service: [UInt8]) {
        while let (id, request) = services.firstWaiting(service) {
            let isExpired = request.expiresAt <= now
            if !isExpired,
                services.freest(service, { mayGive(request.payload.count, to: $0) }) == nil
            {
                return
            }
            memory.requests -= request.cost
            services.takeWaiting(service)
            if isExpired || !give(id, request) { reply(id, .expired, service, []) }
        }
    }

    /// A provider has done with a request.
    ///
    /// - Returns: whether somebody awaits it; false too when this connection does not have it.
    mutating func settleRequest(
        _ id: RequestID, _ status: ReplyStatus, _ payload: Slice, _ input: Span<UInt8>,
        _ client: ClientIndex
    ) -> Bool {
        guard let request = services[id], request.provider == client,
            request.providerID == clients[client.slot].identity.id
        else { return false }
        services.end(id)
        if request.isAwaited { reply(id, status, request.service, input.array(payload)) }
        giveWaiting(request.service)
        return request.isAwaited
    }

    /// Nobody awaits a request any more.
    private mutating func cancelled(_ id: RequestID, _ reason: CancelReason) {
        guard let request = services[id], request.isAwaited else { return }
        guard !request.provider.isNone else {
            memory.requests -= request.cost
            services.end(id)
            return
        }
        services.disown(id)
        if clients[request.provider.slot].flags.isDisjoint(with: [.doomed, .ending]) {
            tell(request.provider, .cancel(id, reason))
        }
    }

    /// The clients of a node are gone with it.
    mutating func forgetRequests(of asker: NodeID) {
        for id in services.ids(of: asker) { cancelled(id, .gone) }
    }

    private mutating func reply(
        _ id: RequestID, _ status: ReplyStatus, _ service: [UInt8], _ payload: [UInt8]
    ) {
        var bytes = ByteQueue()
        services.header(id.number, status, service).append(to: &bytes)
        bytes.append(payload)
        outbox.hasWork = true
        outbox.posts.append(
            Post(
                destination: id.asker, body: .reply, key: Key(0), nameCount: 0,
                bytes: bytes.array, sender: 0))
    }

    /// Services that clients of this node serve, and the requests that they have or that wait for them.
    public var serviceCounts: (services: Int, requests: Int) {
        (services.count, services.takenCount)
    }
}
