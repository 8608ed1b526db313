import MeshCore
import MeshWire

// A user's connections, sessions and subscriptions have bounds together (`UserLimits`): they are looked at
// when a client attaches, opens a session or subscribes, and at no message.
//
//     connection ── attached as ann (the first that it attached: its payer), bob
//         └─ subscriptions, patterns ──▶ charged to ann
//
// A connection that stands for many users is a service's. Its subscriptions are charged to one of them: to
// charge each would take as long as it has users.

/// The subscriptions of the connections of each user that has some.
struct UserCharges {
    struct Charge: Equatable {
        var subscriptions = 0
        var patterns = 0

        init(subscriptions: Int = 0, patterns: Int = 0) {
            self.subscriptions = subscriptions
            self.patterns = patterns
        }

        /// One subscription of this kind; none for attachments themselves.
        init(_ kind: TopicKind) {
            switch kind {
            case .user: break
            case .pattern: patterns = 1
            case .room, .channel, .shardChannel, .service, .roomWatch, .watch: subscriptions = 1
            }
        }

        var isNone: Bool { subscriptions == 0 && patterns == 0 }
    }

    private var charges: [TopicIndex: Charge] = [:]

    /// The charge of the user whose topic this is.
    subscript(user: TopicIndex) -> Charge { charges[user] ?? Charge() }

    /// Users with a charge.
    var count: Int { charges.count }

    mutating func add(_ charge: Charge, to user: TopicIndex) {
        if charge.isNone { return }
        let before = self[user]
        charges[user] = Charge(
            subscriptions: before.subscriptions + charge.subscriptions,
            patterns: before.patterns + charge.patterns)
    }

    mutating func take(_ charge: Charge, from user: TopicIndex) {
        if charge.isNone { return }
        var rest = self[user]
        rest.subscriptions -= charge.subscriptions
        rest.patterns -= charge.patterns
        precondition(
            rest.subscriptions >= 0 && rest.patterns >= 0, "user \(user) has a charge of \(rest)")
        charges[user] = rest.isNone ? nil : rest
    }
}

extension Hub {
    // MARK: Charges

    /// To be called when the client has got a subscription.
    mutating func chargeUser(_ client: ClientIndex, _ kind: TopicKind, _ topic: TopicIndex) {
        let payer = clients[client.slot].payer
        if !payer.isNone {
            userCharges.add(UserCharges.Charge(kind), to: payer)
        } else if kind == .user {
            beginPaying(client, topic)
        }
    }

    /// To be called when the client has lost a subscription.
    mutating func refundUser(_ client: ClientIndex, _ kind: TopicKind, _ topic: TopicIndex) {
        let slot = client.slot
        let payer = clients[slot].payer
        if payer.isNone { return }
        guard topic == payer else {
            userCharges.take(UserCharges.Charge(kind), from: payer)
            return
        }
        endPaying(client)
        // The user that it has attached last, of those that it has.
        let next = clients[slot].lists[first: .user]
        if !next.isNone { beginPaying(client, registry.subscription(next).topic) }
    }

    private mutating func beginPaying(_ client: ClientIndex, _ user: TopicIndex) {
        clients[client.slot].payer = user
        userCharges.add(clients[client.slot].lists.charge, to: user)
    }

    /// The client's subscriptions are charged to nobody from now on.
    mutating func endPaying(_ client: ClientIndex) {
        let payer = clients[client.slot].payer
        if payer.isNone { return }
        userCharges.take(clients[client.slot].lists.charge, from: payer)
        clients[client.slot].payer = .none
    }

    // MARK: Bounds

    /// The bound of the client's user that these subscriptions would exceed; nil: none.
    func excessOfUser(
        _ kind: TopicKind, _ growth: Growth, _ client: ClientIndex
    ) -> ClientRefusal? {
        let payer = clients[client.slot].payer
        if payer.isNone { return nil }
        switch kind {
        case .user: return nil
        case .pattern:
            return refusal(.patterns, userCharges[payer].patterns, growth.subscriptions)
        case .room, .channel, .shardChannel, .service, .roomWatch, .watch:
            return refusal(
                .subscriptions, userCharges[payer].subscriptions, growth.subscriptions)
        }
    }

    /// The bound of the user that one more connection would exceed; nil: none.
    mutating func lackOfPlace(for user: [UInt8], _ client: ClientIndex) -> ClientRefusal? {
        let topic = registry.topics.find(.user, hasher.key(.user, user), user.span, 0, user.count)
        let count = topic.isNone ? 0 : receiverCount(topic)
        return refusal(.connections, count, 1) ?? lackOfCredit(of: topic, for: client)
    }

    /// The bound of the user that the client's subscriptions would exceed with those of the user's other
    /// connections; nil: none.
    ///
    /// - Parameter leaver: a client that the user goes away from; none: there is no such client.
    func lackOfCredit(
        of user: TopicIndex, for client: ClientIndex, leaver: ClientIndex = .none
    ) -> ClientRefusal? {
        guard clients[client.slot].payer.isNone else { return nil }
        var charge = user.isNone ? UserCharges.Charge() : userCharges[user]
        if !leaver.isNone, clients[leaver.slot].payer == user {
            charge.subscriptions -= clients[leaver.slot].lists.charge.subscriptions
            charge.patterns -= clients[leaver.slot].lists.charge.patterns
        }
        let more = clients[client.slot].lists.charge
        return refusal(.subscriptions, charge.subscriptions, more.subscriptions)
            ?? refusal(.patterns, charge.patterns, more.patterns)
    }

    /// The same for the user of a session, which the client takes up. It is counted, and the log told.
    mutating func lackOfCredit(
        of session: UserSessionIndex, for client: ClientIndex, leaver: ClientIndex
    ) -> ClientRefusal? {
        let (user, key) = (sessions[session].user, sessions[session].key)
        let topic = registry.topics.find(.user, key, user.span, 0, user.count)
        let refusal = lackOfCredit(of: topic, for: client, leaver: leaver)
        if let refusal { noteLack(refusal, of: client, user: user) }
        return refusal
    }

    /// The bound of the user that one more session would exceed; nil: none.
    func lackOfSession(for user: [UInt8]) -> ClientRefusal? {
        refusal(.sessions, sessions.count(of: user), 1)
    }

    private func refusal(
        _ kind: UserLimits.Kind, _ count: Int, _ more: Int
    ) -> ClientRefusal? {
        let countMax = configuration.userLimits[kind]
        guard more > 0, count + more > countMax else { return nil }
        return .limit(.ofUser(kind, countMax: countMax))
    }

    /// Counts that a client was refused for want of room, and tells the log.
    ///
    /// - Parameter user: the one that has too much; nil: the one that the client's subscriptions are
    ///   charged to.
    mutating func noteLack(
        _ refusal: ClientRefusal, of client: ClientIndex, user: [UInt8]? = nil
    ) {
        guard case .limit(.ofUser) = refusal else {
            noteTrouble(.subscriptionsRefused, of: client)
            return
        }
        let payer = clients[client.slot].payer
        noteTrouble(
            .userLimitsMet, of: client,
            user: user ?? (payer.isNone ? [] : registry.topics.name(payer)))
    }
}

extension SubscriptionLists {
    /// The subscriptions that count for the client's user.
    var charge: UserCharges.Charge {
        var charge = UserCharges.Charge()
        for kind in TopicKind.allCases {
            switch kind {
            case .user: break
            case .pattern: charge.patterns += Int(self[count: kind])
            case .room, .channel, .shardChannel, .service, .roomWatch, .watch:
                charge.subscriptions += Int(self[count: kind])
            }
        }
        return charge
    }
}
