import MeshCore
import MeshWire

// Messages on their way to local clients. They are written once into each receiver's output: for
// one receiver straight from the input, for several as copies of one encoded frame, whose first
// byte is all that RESP2 and RESP3 differ in.

extension Hub {
    /// A message of a client for the topic of this name, of at most `Frame.nameLengthMax` bytes.
    @inline(__always)
    mutating func publication(
        _ body: RoutedBody, _ name: Slice, _ payload: Slice, _ input: Span<UInt8>,
        by client: ClientIndex
    ) -> Publication {
        guard let kind = TopicKind(body) else {
            preconditionFailure("\(body) is not for clients")
        }
        let start = Int(name.start)
        let count = Int(name.count)
        let key = hasher.key(kind.keyKind, input, start, count)
        let topic = registry.topics.find(kind, key, input, start, count)
        let message = OutgoingMessage(
            body, key, name: name, payload: payload, sender: tag(of: client),
            isReceivedHere: !topic.isNone)
        return Publication(message: message, topic: topic)
    }

    /// Completes a `.publish`, before the next call of `next` for this client: writes the reply
    /// (PUBLISH: local receivers and remote nodes; MESH.SEND: nodes), then delivers to the local
    /// receivers, so that a publisher that hears itself sees its reply first. MESH.SEND answers -1
    /// for a message that waits for its user to come back.
    ///
    /// - Parameters:
    ///   - number: of `PublishOutcome`, as the others.
    ///   - isParked: its verdict is `.parked`.
    ///   - answers: the client is told.
    /// - Returns: how many clients of this node, and other nodes, it goes to.
    @inline(__always) @discardableResult
    mutating func published(
        _ publication: Publication, _ input: Span<UInt8>, by client: ClientIndex,
        number: UInt32, nodeCount: Int, isParked: Bool, answers: Bool
    ) -> Int {
        let message = publication.message
        if message.isLabelled {
            return publishedLabelled(
                publication, input, by: client, number: number, nodeCount: nodeCount,
                isParked: isParked, answers: answers)
        }
        let id = MessageID(origin: nodeID, number: number)
        counters[.messagesPublished] += 1
        let topic = currentTopic(publication, input)
        var localCount = topic.isNone ? 0 : receiverCount(topic)
        let hasPatterns = message.body.matchesPatterns && patterns.count > 0
        if hasPatterns { localCount += countMatched(message.name, input) }
        if publication.skipsSender { localCount -= copies(topic, hasPatterns, for: client) }
        let slot = client.slot
        if clients[slot].flags.intersection([.open, .muted, .doomed]) == .open, answers {
            let countsNodes = message.body == .user || message.body == .room
            var reply = (countsNodes ? (localCount > 0 ? 1 : 0) : localCount) + nodeCount
            if isParked, reply == 0 { reply = -1 }
            clients[slot].output.appendInteger(reply)
            wrote(client)
        }
        if publication.skipsSender {
            fanOut(message, topic, hasPatterns, input, id, except: client)
            return localCount + nodeCount
        }
        if !topic.isNone {
            fanOut(
                topic, MessageWord(message.body), message.name, message.payload, input, id)
        }
        if hasPatterns {
            fanOutToPatterns(message.key, message.name, message.payload, input, id)
        }
        return localCount + nodeCount
    }

    // MARK: Matching ahead

    /// Finds the patterns of clients here that match the name of the next message.
    ///
    /// - Returns: false if it would cost more than it may in this event or turn (`Work`).
    @inline(never)
    public mutating func match(_ name: Slice, _ input: Span<UInt8>) -> Bool {
        let units = min(unitsLeft, Work.perEvent)
        var left = units
        defer { charge(units - left) }
        return match(name, input, within: &left)
    }

    /// The same within a bound of the caller's, from which the cost is taken off.
    @discardableResult
    public mutating func match(
        _ name: Slice, _ input: Span<UInt8>, within units: inout Int
    ) -> Bool {
        patterns.match(name, input, &units)
    }

    /// This much of the turn's work has been done.
    @inline(__always)
    public mutating func charge(_ units: Int) {
        if units > Work.trifle { unitsLeft = max(0, unitsLeft - units) }
    }

    /// A search for the patterns of clients here that match a name, before its first step.
    public func patternSearch() -> PatternSearch { PatternSearch(of: patterns.index) }

    /// See `PatternIndex.advance`.
    public mutating func advance(
        _ search: inout PatternSearch, _ name: inout SearchedName, _ units: inout Int
    ) -> Bool {
        patterns.advance(&search, &name, &units)
    }

    /// In place of `match`: the next message has the name of this search. Nil: no pattern matches it.
    public mutating func use(_ search: PatternSearch?) {
        patterns.use(search)
    }

    /// The publication's topic. Between `next` and `published` the driver has sent the message to
    /// links; should it have closed clients in doing so, the topic may be gone or be another.
    @inline(__always)
    private func currentTopic(_ publication: Publication, _ input: Span<UInt8>) -> TopicIndex {
        let topic = publication.topic
        if topic.isNone { return topic }
        let found = registry.topics[topic]
        let message = publication.message
        if found.key == message.key, found.count > 0 { return topic }
        guard let kind = TopicKind(message.body) else { return .none }
        return registry.topics.find(
            kind, message.key, input, Int(message.name.start), Int(message.name.count))
    }

    /// A message from another node for local clients.
    ///
    /// - Returns: how many clients it went to; -1: to none, because it would cost more than an event may
    ///   to find them. Then the name is to be matched in steps, and the message given again (`use`).
    @discardableResult
    public mutating func deliver(
        _ body: RoutedBody, _ key: Key, name: Slice, payload: Slice, _ input: Span<UInt8>,
        id: MessageID
    ) -> Int {
        guard let kind = TopicKind(body) else {
            return receivePosted(body, key, name, payload, input, from: id.origin)
        }
        if body.matchesPatterns, patterns.count > 0 {
            return deliverToPatterns(kind, key, name: name, payload: payload, input, id: id)
        }
        let topic = registry.topics.find(kind, key, input, Int(name.start), Int(name.count))
        if topic.isNone { return 0 }
        let receivers = receiverCount(topic)
        fanOut(topic, MessageWord(body), name, payload, input, id)
        return receivers
    }

    /// The same where patterns have to be looked at.
    @inline(never)
    private mutating func deliverToPatterns(
        _ kind: TopicKind, _ key: Key, name: Slice, payload: Slice, _ input: Span<UInt8>,
        id: MessageID
    ) -> Int {
        if !patterns.isMatched, !match(name, input) { return -1 }
        var receivers = 0
        let topic = registry.topics.find(kind, key, input, Int(name.start), Int(name.count))
        if !topic.isNone {
            receivers = receiverCount(topic)
            fanOut(topic, .message, name, payload, input, id)
        }
        receivers += countMatched()
        fanOutToPatterns(key, name, payload, input, id)
        return receivers
    }

    /// Whether somebody here has a name of this kind and key: after a `deliver` to nobody, another
    /// than the one that was meant.
    public func hasAnother(_ body: RoutedBody, _ key: Key) -> Bool {
        guard let kind = TopicKind(body) else { return false }
        var found = false
        registry.topics.forEach(kind, key) { if presentCount($0) > 0 { found = true } }
        return found
    }

    /// The same, where a driver has not matched the name before: it has all the cost here.
    @inline(never)
    private mutating func countMatched(_ name: Slice, _ input: Span<UInt8>) -> Int {
        var units = Int.max
        if !patterns.isMatched { match(name, input, within: &units) }
        return countMatched()
    }

    /// How many subscribers the patterns have that match the message at hand. The next is another.
    private mutating func countMatched() -> Int {
        patterns.endMatch()
        var receivers = 0
        for number in patterns.matched {
            receivers += receiverCount(patterns.topic(of: number))
        }
        return receivers
    }

    @inline(__always)
    private mutating func fanOut(
        _ topic: TopicIndex, _ word: MessageWord, _ name: Slice, _ payload: Slice,
        _ input: Span<UInt8>, _ id: MessageID
    ) {
        let first = registry.topics[topic].first
        if registry.topics[topic].count == 1 {
            let receiver = registry.subscription(first).receiver
            if receiver.isClient, canReceive(receiver.client) {
                let client = receiver.client
                let slot = client.slot
                let isRESP3 = clients[slot].isRESP3
                clients[slot].output.appendMessage(
                    word, isRESP3: isRESP3, name: name, payload: payload, input)
                counters[.clientCopies] += 1
                wrote(client, .topic(topic))
                return
            }
        }
        fanOutFrame(topic, word, name, payload, input, id)
    }

    /// The copies of the message at hand that the client would get itself.
    @inline(never)
    private mutating func copies(
        _ topic: TopicIndex, _ hasPatterns: Bool, for client: ClientIndex
    ) -> Int {
        func listens(_ topic: TopicIndex) -> Bool {
            !registry.find(Receiver(client), topic).isNone
        }
        var count = !topic.isNone && listens(topic) ? 1 : 0
        if hasPatterns {
            for number in patterns.matched where listens(patterns.topic(of: number)) { count += 1 }
        }
        return count
    }

    /// A message of a client of this node for all that listen here but the client.
    @inline(never)
    private mutating func fanOut(
        _ message: OutgoingMessage, _ topic: TopicIndex, _ hasPatterns: Bool,
        _ input: Span<UInt8>, _ id: MessageID, except sender: ClientIndex
    ) {
        if !topic.isNone {
            let word = MessageWord(message.body)
            label = FrameLabel(MessageTitle(word.kind, registry.topics[topic].key, id: id))
            label.parts = frame.encode(word, message.name, message.payload, input)
            copyFrame(registry.topics[topic].first, except: sender)
        }
        guard hasPatterns else { return }
        for index in patterns.matched.indices {
            let topic = patterns.topic(of: patterns.matched[index])
            label = FrameLabel(MessageTitle(message.key, under: topic, id: id))
            label.parts = registry.topics.withName(topic) {
                frame.encode(under: $0, message.name, message.payload, input)
            }
            copyFrame(registry.topics[topic].first, except: sender)
        }
        frame.removeAll()
    }

    /// See `copyFrame`.
    private mutating func copyFrame(_ first: SubscriptionIndex, except sender: ClientIndex) {
        var index = first
        while !index.isNone {
            let subscription = registry.subscription(index)
            if subscription.receiver.client != sender {
                subscription.receiver.isClient
                    ? copyFrame(toClient: subscription.receiver.client)
                    : receive(subscription.receiver.mailbox)
            }
            index = subscription.nextInTopic
        }
    }

    /// The same where it is not written straight to the one receiver's output.
    @inline(never)
    private mutating func fanOutFrame(
        _ topic: TopicIndex, _ word: MessageWord, _ name: Slice, _ payload: Slice,
        _ input: Span<UInt8>, _ id: MessageID
    ) {
        label = FrameLabel(MessageTitle(word.kind, registry.topics[topic].key, id: id))
        label.parts = frame.encode(word, name, payload, input)
        copyFrame(registry.topics[topic].first)
    }

    private mutating func fanOutToPatterns(
        _ key: Key, _ name: Slice, _ payload: Slice, _ input: Span<UInt8>, _ id: MessageID
    ) {
        for index in patterns.matched.indices {
            let topic = patterns.topic(of: patterns.matched[index])
            label = FrameLabel(MessageTitle(key, under: topic, id: id))
            label.parts = registry.topics.withName(topic) {
                frame.encode(under: $0, name, payload, input)
            }
            copyFrame(registry.topics[topic].first)
        }
        frame.removeAll()
    }

    /// Copies the message at hand to the receivers of a topic's subscriptions from `first` on.
    mutating func copyFrame(_ first: SubscriptionIndex) {
        var index = first
        while !index.isNone {
            let subscription = registry.subscription(index)
            if subscription.receiver.isClient {
                copyFrame(toClient: subscription.receiver.client)
            } else {
                receive(subscription.receiver.mailbox)
            }
            index = subscription.nextInTopic
        }
    }

    @inline(__always)
    mutating func copyFrame(toClient client: ClientIndex) {
        let slot = client.slot
        if canReceive(client) {
            let isRESP3 = clients[slot].isRESP3
            let start = clients[slot].output.count
            frame.withSpan { clients[slot].output.append($0, 0, $0.count) }
            if isRESP3 { clients[slot].output.setFrame(at: start, isRESP3: true) }
            counters[.clientCopies] += 1
            wrote(client, .frame)
        } else {
            hold(client)
        }
    }

    /// Whether a message may be written to the client's output now.
    @inline(__always)
    private func canReceive(_ client: ClientIndex) -> Bool {
        clients[client.slot].flags.isDisjoint(
            with: [.doomed, .ending, .holding, .tracked, .details])
    }

    /// `frame` cannot be written now: it waits for the end of a transaction, or is dropped because
    /// the client is as good as gone.
    @inline(never)
    private mutating func hold(_ client: ClientIndex) {
        let slot = client.slot
        // It has gone, and its subscription ends soon.
        if !clients[slot].flags.contains(.open) { return }
        if clients[slot].flags.contains(.tracked) {
            receive(client)
            return
        }
        guard clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else {
            counters[.droppedClientCopies] += 1
            return
        }
        counters[.clientCopies] += 1
        if clients[slot].flags.contains(.holding) {
            Self.append(
                frame, label, details, isRESP3: clients[slot].isRESP3,
                showsDetails: clients[slot].flags.contains(.details), to: &clients[slot].held)
            heldBack(client, .frame)
        } else {
            writeFrame(client)
            wrote(client, .frame)
        }
    }

    /// Writes the message at hand as the client wants it: in its protocol, and with details if it has asked for
    /// them.
    mutating func writeFrame(_ client: ClientIndex) {
        let slot = client.slot
        let isRESP3 = clients[slot].isRESP3
        Self.append(
            frame, label, details, isRESP3: isRESP3,
            showsDetails: clients[slot].flags.contains(.details), to: &clients[slot].output)
    }

    private static func append(
        _ frame: borrowing ByteQueue, _ label: FrameLabel, _ details: [UInt8], isRESP3: Bool,
        showsDetails: Bool, to target: inout ByteQueue
    ) {
        frame.withSpan {
            if showsDetails, label.title.kind.hasDetails {
                target.append(
                    label.title.kind, label.parts, $0, details: details, isRESP3: isRESP3)
                return
            }
            let start = target.count
            target.append($0, 0, $0.count)
            if isRESP3 { target.setFrame(at: start, isRESP3: true) }
        }
    }

    /// The message at hand for one mailbox more.
    mutating func storeMessage() -> StoredMessageIndex {
        if let index = stored.retain(label.stored) { return index }
        let index = frame.withSpan { frame in
            stored.insert(
                label.title, label.parts, details: details, size: frame.count + details.count,
                of: frame)
        }
        label.stored = stored.reference(to: index)
        chargeMailboxes()
        return index
    }

    // MARK: Presence

    /// The watched user came or went.
    public mutating func presence(_ key: Key, _ presence: Presence) {
        // Names that share the key cannot be told apart by the node: both are told, and a client
        // that must know asks with MESH.ONLINE. One pair in 2^48 does.
        var topics: [TopicIndex] = []
        registry.topics.forEach(.watch, key) { topics.append($0) }
        // Their order in the table is the node's secret.
        topics.sort()
        if case .offline(let departure) = presence { details = [departure.rawValue] }
        for topic in topics {
            encodePresence(topic, presence.isOnline)
            copyFrame(registry.topics[topic].first)
        }
        details = []
    }

    /// Answers `.report(.watch)`: the present state of its `index`th user.
    public mutating func presenceNow(_ client: ClientIndex, user index: Int, isOnline: Bool) {
        let slot = client.slot
        guard clients[slot].flags.contains(.open), index >= 0,
            index < clients[slot].watching.count
        else { return }
        encodePresence(clients[slot].watching[index], isOnline)
        copyFrame(toClient: client)
    }

    private mutating func encodePresence(_ topic: TopicIndex, _ isOnline: Bool) {
        label = FrameLabel(MessageTitle(.presence, registry.topics[topic].key))
        label.parts = registry.topics.withName(topic) {
            frame.encodePresence(of: $0, isOnline: isOnline)
        }
    }

    /// The message at hand is one for a user that has come by another node; `label` has its title.
    mutating func encodeUserMessage(_ user: [UInt8], _ payload: Slice, _ input: Span<UInt8>) {
        label.parts = frame.encode(.user, named: user, payload, input)
    }
}

/// The message at hand beside its frame, which is RESP's: the one for RESP2.
struct FrameLabel {
    var title = MessageTitle()
    /// Where its parts stand in the frame.
    var parts = MessageSlices()
    /// The message, once it is stored for somebody.
    var stored = StoredMessages.Reference.none

    init(_ title: MessageTitle = MessageTitle()) { self.title = title }
}

extension MessageWord {
    var kind: MessageKind {
        switch self {
        case .message: .channel
        case .shardMessage: .shard
        case .user: .user
        case .room: .room
        }
    }

    @inline(__always)
    init(_ body: RoutedBody) {
        switch body {
        case .shardChannel: self = .shardMessage
        case .user: self = .user
        case .room: self = .room
        case .channel, .control, .request, .reply, .roster, .session, .part: self = .message
        }
    }
}
