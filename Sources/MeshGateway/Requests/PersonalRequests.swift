import MeshCore
import MeshWire

// Requests for a user or a room, and requests to all, at the node of those who answer.

extension Hub {
    /// Connections of a room that are looked at for the one with least to do. A guess.
    private static var membersCompared: Int { 16 }
    /// Connections of a room, and of a user, that are looked at at all. Guesses.
    private static var membersSeenMax: Int { 256 }
    private static var attachmentsSeenMax: Int { 4_096 }

    /// A request for a user or a room goes to one connection here, or to all.
    mutating func takePersonal(_ id: TakenID, _ request: TakenRequest) {
        guard isReadable(request.payload.count) else {
            return reply(id, .failed, request.target, Self.tooLarge)
        }
        let asker = id.request.asker == nodeID ? openRequests[id.request.number] : nil
        let isToAll = request.flags.contains(.all)
        let countMax =
            isToAll
            ? Services.askedMax
            : request.target.kind == .user ? Self.attachmentsSeenMax : Self.membersSeenMax
        let candidates = connections(
            of: request.target, but: asker?.client, countMax, namesThem: isToAll)
        if request.flags.contains(.all) { return takeForAll(id, request, candidates) }
        guard !candidates.isEmpty else { return reply(id, .nobody, request.target, []) }
        let chosen =
            request.target.kind == .user ? latest(candidates, request) : idlest(candidates, request)
        guard let client = chosen else { return reply(id, .busy, request.target, []) }
        give(id, request, to: client)
    }

    /// The one that acted last, of those that have room.
    private func latest(
        _ candidates: [(client: ClientIndex, id: AttachmentID)], _ request: TakenRequest
    ) -> ClientIndex? {
        var best: ClientIndex?
        for (client, _) in candidates where mayTake(request, client) {
            let identity = clients[client.slot].identity
            if let known = best {
                let other = clients[known.slot].identity
                if (other.lastSeenAt, other.id) > (identity.lastSeenAt, identity.id) { continue }
            }
            best = client
        }
        return best
    }

    /// The one with fewest requests, of the first that have room.
    private func idlest(
        _ candidates: [(client: ClientIndex, id: AttachmentID)], _ request: TakenRequest
    ) -> ClientIndex? {
        var best: ClientIndex?
        var seen = 0
        for (client, _) in candidates where mayTake(request, client) {
            if let known = best,
                services.personalCount(known) <= services.personalCount(client)
            {
            } else {
                best = client
            }
            seen += 1
            if seen == Self.membersCompared { break }
        }
        return best
    }

    private func mayTake(_ request: TakenRequest, _ client: ClientIndex) -> Bool {
        let count = services.personalCount(client)
        return count < Services.personalMax
            && mayRead(request.payload.count, client, hasSome: services.hasGiven(to: client))
    }

    private mutating func give(_ id: TakenID, _ request: TakenRequest, to client: ClientIndex) {
        services.give(id, request, to: client, clients[client.slot].identity.id, at: now)
        counters[.requestsGiven] += 1
        tell(client, .request(id.request, request.target, payload: request.payload))
    }

    /// Connections here that are attached to the user, or in the room.
    ///
    /// - Parameters:
    ///   - asker: the connection that asks is not asked.
    ///   - namesThem: with the sid of each; the node's own name and 0 for one that is hidden.
    private func connections(
        of target: RequestTarget, but asker: ClientIndex?, _ countMax: Int, namesThem: Bool
    ) -> [(client: ClientIndex, id: AttachmentID)] {
        let topic = topic(of: target)
        guard !topic.isNone else { return [] }
        var found: [(client: ClientIndex, id: AttachmentID)] = []
        var index = registry.topics[topic].first
        while !index.isNone, found.count < countMax {
            let subscription = registry.subscription(index)
            if subscription.receiver.isClient, subscription.receiver.client != asker {
                let client = subscription.receiver.client
                let flags = clients[client.slot].flags
                if flags.contains(.open), flags.isDisjoint(with: [.doomed, .ending]) {
                    let id = AttachmentID(node: nodeID, number: 0)
                    found.append((client, namesThem ? sid(of: index, target.kind) : id))
                }
            }
            index = subscription.nextInTopic
        }
        return found
    }

    private func topic(of target: RequestTarget) -> TopicIndex {
        let kind = target.kind.topic
        return registry.topics.find(
            kind, hasher.key(kind.keyKind, target.name), target.name.span, 0, target.name.count)
    }

    /// Subscriptions, sessions that wait among them: somebody else may be there.
    func memberCount(of target: RequestTarget) -> Int {
        let topic = topic(of: target)
        return topic.isNone ? 0 : Int(registry.topics[topic].count)
    }

    private func sid(
        of subscription: SubscriptionIndex, _ kind: RequestTarget.Kind
    ) -> AttachmentID {
        let hidden = AttachmentID(node: nodeID, number: 0)
        if kind == .user { return registry.members[registry.attachment(of: subscription)].id }
        var lowest: AttachmentID?
        var member = registry.firstMember(of: subscription)
        while !member.isNone {
            let attachment = registry.members[member].attachment
            if !attachment.isNone {
                let id = registry.members[attachment].id
                lowest = min(lowest ?? id, id)
            }
            member = registry.members.next(ofSubscription: member)
        }
        return lowest ?? hidden
    }

    // MARK: To all

    /// A request to all providers of a service here.
    mutating func takeForAllProviders(_ id: TakenID, _ request: TakenRequest) {
        let places = services[service: request.target.name]?.providers.activePlaces ?? []
        let asked = places.prefix(Services.askedMax)
        tellAsked(
            id, request,
            [AttachmentID](
                repeating: AttachmentID(node: nodeID, number: 0), count: asked.count))
        for (number, place) in asked.enumerated() {
            take(TakenID(request: id.request, place: UInt16(number)), request, for: place)
        }
    }

    private mutating func takeForAll(
        _ id: TakenID, _ request: TakenRequest,
        _ candidates: [(client: ClientIndex, id: AttachmentID)]
    ) {
        let asked = candidates.prefix(Services.askedMax)
        tellAsked(id, request, asked.map(\.id))
        for (number, candidate) in asked.enumerated() {
            let one = TakenID(request: id.request, place: UInt16(number))
            if mayTake(request, candidate.client) {
                give(one, request, to: candidate.client)
            } else {
                reply(one, .busy, request.target, [])
            }
        }
    }

    /// Tells the asker's node whose answers it can wait for, before any of them comes.
    private mutating func tellAsked(
        _ id: TakenID, _ request: TakenRequest, _ asked: [AttachmentID]
    ) {
        var bytes = ByteQueue()
        for id in asked { bytes.append(id) }
        reply(id, .asked, request.target, bytes.array)
    }
}
