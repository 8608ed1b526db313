import MeshCore
import MeshWire

// Messages with a label: they say who has sent them, by which number they are known again, and for whom of
// those that have their name they are. All others take the short way (`Delivery.swift`).

extension Hub {
    /// The subscriptions here that a labelled message goes to, with the topic of each.
    private struct Audience {
        var topics: [TopicIndex] = []
        /// Somebody here has one of the names.
        var isAny = false
        var receivers: [(topic: TopicIndex, receiver: Receiver)] = []
    }

    // MARK: From clients

    /// A message of a client with a label. Its name, its label and its payload stand one behind another in the
    /// line that is returned.
    mutating func publication(
        _ body: RoutedBody, _ name: [UInt8], _ payload: Slice, _ input: Span<UInt8>,
        _ label: MessageLabel, by client: ClientIndex
    ) -> (publication: Publication, line: [UInt8]) {
        let labelBytes = label.bytes
        var line: [UInt8] = []
        let size = Int(payload.count)
        line.reserveCapacity(name.count + labelBytes.count + size)
        line += name
        line += labelBytes
        line += input.array(payload)
        let labelled = Slice(start: name.count, count: labelBytes.count + size)
        var publication = publication(
            body, Slice(start: 0, count: name.count), labelled, line.span, by: client)
        publication.isDecoded = true
        publication.message.isLabelled = true
        otherKeys = label.rooms.map { hasher.key(.room, $0) }
        if !publication.message.isReceivedHere {
            publication.message.isReceivedHere = label.rooms.contains { room in
                let key = hasher.key(.room, room)
                return !registry.topics.find(.room, key, room.span, 0, room.count).isNone
            }
        }
        return (publication, line)
    }

    /// The number by which receivers know a message again: of its kind, its name, its sender and the id that
    /// the sender has chosen, as no two of them have it.
    func onceNumber(
        _ body: RoutedBody, _ name: [UInt8], _ sender: [UInt8], _ id: [UInt8]
    ) -> UInt64 {
        var bytes = ByteQueue()
        bytes.append(body.rawValue)
        for part in [name, sender, id] {
            bytes.append(integer: UInt32(part.count))
            bytes.append(part)
        }
        return bytes.withSpan { hasher.digest(prefix: 0x40, $0, 0, $0.count) }
    }

    /// See `published`.
    @inline(never)
    mutating func publishedLabelled(
        _ publication: Publication, _ input: Span<UInt8>, by client: ClientIndex,
        number: UInt32, nodeCount: Int, isParked: Bool, answers: Bool
    ) -> Int {
        let message = publication.message
        var length = 0
        guard let kind = TopicKind(message.body),
            let label = MessageLabel(input, message.payload, length: &length)
        else { preconditionFailure("a label of this node cannot be read") }
        counters[.messagesPublished] += 1
        if message.body.matchesPatterns, patterns.count > 0, !patterns.isMatched {
            var units = Int.max
            match(message.name, input, within: &units)
        }
        let audience = audience(
            kind, message.key, input.array(message.name), label,
            except: publication.skipsSender ? client : .none)
        let localCount = audience.receivers.count
        let slot = client.slot
        let countsNodes = message.body == .user || message.body == .room
        let total = (countsNodes ? (localCount > 0 ? 1 : 0) : localCount) + nodeCount
        if clients[slot].flags.intersection([.open, .muted, .doomed]) == .open, answers {
            clients[slot].output.appendInteger(isParked && total == 0 ? -1 : total)
            wrote(client)
        }
        give(
            message.body, message.key, message.name, message.payload.dropping(length), input,
            MessageID(origin: nodeID, number: number), label, audience)
        return localCount + nodeCount
    }

    // MARK: From other nodes

    /// The same as `deliver` for a message whose payload begins with a label.
    public mutating func deliverLabelled(
        _ body: RoutedBody, _ key: Key, name: Slice, payload: Slice, _ input: Span<UInt8>,
        id: MessageID
    ) -> Int {
        var length = 0
        guard let kind = TopicKind(body),
            let label = MessageLabel(input, payload, length: &length),
            label.rooms.isEmpty || kind == .room
        else {
            counters[.labelsMalformed] += 1
            // It has come where it should, and would be no better anywhere else.
            return 1
        }
        if body.matchesPatterns, patterns.count > 0, !patterns.isMatched, !match(name, input) {
            return -1
        }
        let audience = audience(kind, key, input.array(name), label, except: .none)
        guard audience.isAny else { return 0 }
        give(body, key, name, payload.dropping(length), input, id, label, audience)
        return max(1, audience.receivers.count)
    }

    // MARK: Choosing

    /// Those here whom the message is for. Each connection is there once, with the first of its topics that
    /// the message is for, and once for each of its patterns.
    private mutating func audience(
        _ kind: TopicKind, _ key: Key, _ name: [UInt8], _ label: MessageLabel,
        except sender: ClientIndex
    ) -> Audience {
        var audience = Audience()
        let first = registry.topics.find(kind, key, name.span, 0, name.count)
        if !first.isNone { audience.topics.append(first) }
        for room in label.rooms {
            let key = hasher.key(.room, room)
            let topic = registry.topics.find(.room, key, room.span, 0, room.count)
            if !topic.isNone, !audience.topics.contains(topic) { audience.topics.append(topic) }
        }
        for (place, topic) in audience.topics.enumerated() {
            let former = audience.topics[..<place]
            add(topic, to: &audience, except: sender) { receiver, subscription in
                admits(label, kind, subscription)
                    && !former.contains {
                        let other = registry.find(receiver, $0)
                        return !other.isNone && admits(label, kind, other)
                    }
            }
        }
        if kind == .channel, patterns.count > 0 {
            patterns.endMatch()
            for number in patterns.matched {
                add(patterns.topic(of: number), to: &audience, except: sender) { _, _ in true }
            }
        }
        return audience
    }

    /// The subscribers of a topic whom the message is for.
    private func add(
        _ topic: TopicIndex, to audience: inout Audience, except sender: ClientIndex,
        where isMeant: (Receiver, SubscriptionIndex) -> Bool
    ) {
        var index = registry.topics[topic].first
        while !index.isNone {
            let subscription = registry.subscription(index)
            let receiver = subscription.receiver
            if isPresent(receiver) {
                audience.isAny = true
                let isOwn = receiver.isClient && receiver.client == sender
                if !isOwn, isMeant(receiver, index) {
                    audience.receivers.append((topic, receiver))
                }
            }
            index = subscription.nextInTopic
        }
    }

    /// Whether a message is for this one of those that have its name.
    private func admits(
        _ label: MessageLabel, _ kind: TopicKind, _ index: SubscriptionIndex
    ) -> Bool {
        guard label.isChoosy else { return true }
        switch kind {
        case .user:
            let receiver = registry.subscription(index).receiver
            var id: AttachmentID?
            if receiver.isClient {
                let attachment = registry.attachment(of: index)
                if !attachment.isNone { id = registry.members[attachment].id }
            } else {
                id = sessions[mailboxes[receiver.mailbox].session].attachmentID
            }
            if !label.only.isEmpty { return id.map { label.only.contains($0) } ?? false }
            return id.map { !label.except.contains(.attachment($0)) } ?? true
        case .room:
            // A connection is left out if all that it has in the room are: of so many one is not.
            var member = registry.firstMember(of: index)
            for _ in 0...MessageLabel.namesMax {
                guard !member.isNone else { return false }
                if !isExcepted(member, by: label) { return true }
                member = registry.members.next(ofSubscription: member)
            }
            return true
        case .channel, .shardChannel, .pattern, .service, .roomWatch, .watch: return true
        }
    }

    private func isExcepted(_ member: MemberIndex, by label: MessageLabel) -> Bool {
        let attachment = registry.members[member].attachment
        // One that is hidden has no name.
        if attachment.isNone { return false }
        let id = registry.members[attachment].id
        return label.except.contains { excepted in
            switch excepted {
            case .attachment(let other): other == id
            case .user(let user):
                registry.topics.withName(registry.members[attachment].user) {
                    lexicographicOrder($0, user.span) == 0
                }
            }
        }
    }

    // MARK: Giving

    /// Copies of a message to all that it is for, unless they have had it.
    private mutating func give(
        _ body: RoutedBody, _ key: Key, _ name: Slice, _ payload: Slice, _ input: Span<UInt8>,
        _ id: MessageID, _ label: MessageLabel, _ audience: Audience
    ) {
        if let once = label.once, !audience.receivers.isEmpty {
            let note = onceMemory.note(once, most: configuration.onceMax, at: now)
            if note.forgetsEarly { counters[.onceForgottenEarly] += 1 }
            guard note.isNew else {
                counters[.onceDuplicates] += 1
                return
            }
        }
        details = label.shownBytes
        var encoded = TopicIndex.none
        for (topic, receiver) in audience.receivers {
            if topic != encoded {
                encode(body, key, topic, name, payload, input, id)
                encoded = topic
            }
            receiver.isClient
                ? copyFrame(toClient: receiver.client) : receive(receiver.mailbox)
        }
        details = []
        frame.removeAll()
    }

    /// The message at hand, for those who have this topic.
    private mutating func encode(
        _ body: RoutedBody, _ key: Key, _ topic: TopicIndex, _ name: Slice, _ payload: Slice,
        _ input: Span<UInt8>, _ id: MessageID
    ) {
        let own = registry.topics.name(topic)
        if registry.topics[topic].kind == .pattern {
            self.label = FrameLabel(MessageTitle(key, under: topic, id: id))
            self.label.parts = frame.encode(under: own.span, name, payload, input)
        } else {
            let word = MessageWord(body)
            self.label = FrameLabel(MessageTitle(word.kind, registry.topics[topic].key, id: id))
            self.label.parts = frame.encode(word, named: own, payload, input)
        }
    }
}

extension MessageLabel {
    /// The label's bytes as far as receivers are shown it; empty: they are shown nothing.
    fileprivate var shownBytes: [UInt8] {
        var shown = MessageLabel()
        shown.sender = sender
        shown.form = form
        return shown.isEmpty ? [] : shown.bytes
    }
}

extension Slice {
    /// The rest, without so many bytes at the front.
    func dropping(_ size: Int) -> Slice {
        Slice(start: Int(start) + size, count: Int(count) - size)
    }
}
