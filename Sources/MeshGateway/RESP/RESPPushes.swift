import MeshCore
import MeshWire

// Pushes and messages for clients that read RESP, and the outcomes of their operations. Pushes
// of RESP2 and RESP3 differ in their first byte.

extension ByteQueue {
    /// `[word, name, payload]`: a message for a subscriber. Room is made once for all of it.
    @inline(__always)
    mutating func appendMessage(
        _ word: MessageWord, isRESP3: Bool, name: Slice, payload: Slice, _ input: Span<UInt8>
    ) {
        let nameCount = Int(name.count)
        let payloadCount = Int(payload.count)
        precondition(
            name.start >= 0 && nameCount >= 0 && name.end <= input.count && payload.start >= 0
                && payloadCount >= 0 && payload.end <= input.count)
        let nameHeader = BulkHeader(nameCount)
        let payloadHeader = BulkHeader(payloadCount)
        let startCount = word.startCount
        let size =
            startCount &+ nameHeader.count &+ nameCount &+ payloadHeader.count &+ payloadCount &+ 4
        var target = unsafe reserve(size, slack: HeaderWord.slack)
        unsafe input.withUnsafeBufferPointer { buffer in
            // The frame is longer than these three words.
            let start = unsafe UnsafeRawPointer(word.start.utf8Start)
            for at in stride(from: 0, to: 24, by: 8) {
                unsafe target.storeBytes(
                    of: (start + at).loadUnaligned(as: UInt64.self), toByteOffset: at,
                    as: UInt64.self)
            }
            if isRESP3 { unsafe target.storeBytes(of: UInt8(ascii: ">"), as: UInt8.self) }
            unsafe target += startCount
            // Not empty: the command that the slices are of stands in it.
            let bytes = unsafe UnsafeRawPointer(buffer.baseAddress.unsafelyUnwrapped)
            unsafe writeBulk(&target, bytes + Int(name.start), nameCount, nameHeader)
            unsafe writeBulk(&target, bytes + Int(payload.start), payloadCount, payloadHeader)
        }
    }

    /// The elements before pattern, name and payload of a message to the subscribers of a pattern.
    private mutating func appendPatternStart(isRESP3: Bool) {
        appendPush(4, isRESP3: isRESP3)
        append("$8\r\npmessage\r\n")
    }

    /// The elements before a user's name and state.
    private mutating func appendPresenceStart(isRESP3: Bool, hasDetails: Bool = false) {
        appendPush(hasDetails ? 4 : 3, isRESP3: isRESP3)
        append("$8\r\npresence\r\n")
    }

    // MARK: One frame for many

    /// In place of what was there: a message for the subscribers of its name.
    ///
    /// - Returns: where its parts stand.
    @inline(__always)
    mutating func encode(
        _ word: MessageWord, _ name: Slice, _ payload: Slice, _ input: Span<UInt8>
    ) -> MessageSlices {
        removeAll()
        appendMessage(word, isRESP3: false, name: name, payload: payload, input)
        var parts = MessageSlices()
        parts.name = word.name(Int(name.count))
        parts.payload = lastBulk(Int(payload.count))
        return parts
    }

    /// The same for the subscribers of a pattern.
    mutating func encode(
        under pattern: Span<UInt8>, _ name: Slice, _ payload: Slice, _ input: Span<UInt8>
    ) -> MessageSlices {
        removeAll()
        appendPatternStart(isRESP3: false)
        var parts = MessageSlices()
        parts.pattern = appendPart(pattern, Slice(start: 0, count: pattern.count))
        parts.name = appendPart(input, name)
        parts.payload = appendPart(input, payload)
        return parts
    }

    /// The same for those who have a name that does not stand in the input.
    mutating func encode(
        _ word: MessageWord, named name: [UInt8], _ payload: Slice, _ input: Span<UInt8>
    ) -> MessageSlices {
        removeAll()
        appendArray(3)
        appendBulk(word.text)
        var parts = MessageSlices()
        parts.name = appendPart(name.span, Slice(start: 0, count: name.count))
        parts.payload = appendPart(input, payload)
        return parts
    }

    /// The same for those who watch a user that has come or gone.
    mutating func encodePresence(of user: Span<UInt8>, isOnline: Bool) -> MessageSlices {
        removeAll()
        appendPresenceStart(isRESP3: false)
        var parts = MessageSlices()
        parts.name = appendPart(user, Slice(start: 0, count: user.count))
        let state: StaticString = isOnline ? "online" : "offline"
        appendBulk(state)
        parts.payload = lastBulk(state.utf8CodeUnitCount)
        return parts
    }

    private mutating func appendPart(_ bytes: Span<UInt8>, _ slice: Slice) -> Slice {
        appendBulk(bytes, slice)
        return lastBulk(Int(slice.count))
    }

    /// Where the bulk string at the back, of `count` bytes, stands without its header and end.
    private func lastBulk(_ count: Int) -> Slice {
        Slice(start: self.count - 2 - count, count: count)
    }

    /// A message that waited, as a client of this protocol gets it.
    mutating func append(
        _ message: borrowing StoredMessage, showsDetails: Bool, isRESP3: Bool
    ) {
        let hasDetails = showsDetails && message.title.kind.hasDetails
        append(
            message.title.kind, message.slices, message.bytes.span,
            details: hasDetails ? message.details : nil, isRESP3: isRESP3)
    }

    /// A message whose parts stand in `bytes`.
    ///
    /// - Parameter details: see `Hub.details`; nil: the client has not asked for any.
    mutating func append(
        _ kind: MessageKind, _ slices: MessageSlices, _ bytes: Span<UInt8>, details: [UInt8]?,
        isRESP3: Bool
    ) {
        let word: MessageWord
        switch kind {
        case .channel, .node: word = .message
        case .shard: word = .shardMessage
        case .user: word = .user
        case .room: word = .room
        case .pattern:
            appendPatternStart(isRESP3: isRESP3)
            appendBulk(bytes, slices.pattern)
            appendBulk(bytes, slices.name)
            appendBulk(bytes, slices.payload)
            return
        case .presence:
            appendPresenceStart(isRESP3: isRESP3, hasDetails: details != nil)
            appendBulk(bytes, slices.name)
            appendBulk(bytes, slices.payload)
            if let details { appendReason(details, isRESP3: isRESP3) }
            return
        }
        guard let details else {
            appendMessage(
                word, isRESP3: isRESP3, name: slices.name, payload: slices.payload, bytes)
            return
        }
        appendPush(4, isRESP3: isRESP3)
        appendBulk(kind.name)
        appendBulk(bytes, slices.name)
        appendBulk(bytes, slices.payload)
        appendDetails(details, isRESP3: isRESP3)
    }

    /// A map of why a user has gone.
    private mutating func appendReason(_ bytes: [UInt8], isRESP3: Bool) {
        let departure = bytes.first.flatMap { Absence(rawValue: $0) }
        appendMap(departure == nil ? 0 : 1, isRESP3: isRESP3)
        guard let departure else { return }
        appendBulk("reason")
        switch departure {
        case .quit: appendBulk("quit")
        case .lost: appendBulk("lost")
        case .kicked: appendBulk("kicked")
        case .node: appendBulk("node")
        }
    }

    /// A map of what a message says besides its payload.
    private mutating func appendDetails(_ bytes: [UInt8], isRESP3: Bool) {
        var length = 0
        let whole = Slice(start: 0, count: bytes.count)
        let label = MessageLabel(bytes.span, whole, length: &length) ?? MessageLabel()
        let sender = label.sender
        var count = sender == nil ? 0 : 2
        if sender?.id != nil { count += 1 }
        if label.form != nil { count += 1 }
        appendMap(count, isRESP3: isRESP3)
        if let sender {
            appendBulk("from")
            appendBulk(sender.user)
            if let id = sender.id {
                appendBulk("sid")
                appendBulk(id.text)
            }
            appendBulk("at")
            appendInteger(Int(sender.at))
        }
        if let form = label.form {
            appendBulk("form")
            appendBulk(form == .json ? "json" : "text")
        }
    }

    /// Overwrites the first byte of a frame at `offset` from the front: array or push.
    @inline(__always)
    mutating func setFrame(at offset: Int, isRESP3: Bool) {
        overwrite(integer: isRESP3 ? UInt8(ascii: ">") : UInt8(ascii: "*"), at: offset)
    }

    /// As many elements as a message has, where that can be: clients take an unknown kind apart as one.
    mutating func append(_ push: Push, isRESP3: Bool) {
        switch push {
        case .gap(let kind, let name, let count, let age):
            appendLoss("$3\r\ngap\r\n", kind, name, count, isRESP3: isRESP3)
            appendInteger(Int(age.milliseconds))
        case .undelivered(let kind, let name, let count, let reason):
            appendLoss("$11\r\nundelivered\r\n", kind, name, count, isRESP3: isRESP3)
            switch reason {
            case .expired: append("$7\r\nexpired\r\n")
            case .unreachable: append("$11\r\nunreachable\r\n")
            }
        case .moved(let address, let delay):
            appendPush(3, isRESP3: isRESP3)
            append("$5\r\nmoved\r\n")
            appendBulk(address)
            appendInteger(Int(max(0, delay.nanoseconds) / 1_000_000))
        case .order(let order, let user, let text):
            appendPush(4, isRESP3: isRESP3)
            append("$5\r\norder\r\n")
            appendBulk(user)
            appendBulk(order.word)
            appendBulk(text)
        case .request(let id, let target, let payload):
            appendRequest(id, target, payload, isRESP3: isRESP3)
        case .cancel(let id, let reason): appendCancel(id, reason, isRESP3: isRESP3)
        case .reply(let tag, let outcome, let answers):
            appendReply(tag, outcome, answers, isRESP3: isRESP3)
        case .part(let tag, let payload):
            appendPush(3, isRESP3: isRESP3)
            append("$4\r\npart\r\n")
            appendBulk(tag)
            appendBulk(payload)
        }
    }

    /// The first four of five elements of a notice: so many messages of this name.
    private mutating func appendLoss(
        _ word: StaticString, _ kind: MessageKind, _ name: [UInt8], _ count: Int, isRESP3: Bool
    ) {
        appendPush(5, isRESP3: isRESP3)
        append(word)
        appendBulk(kind.name)
        appendBulk(name)
        appendInteger(count)
    }

    mutating func append(_ outcome: Outcome, isRESP3: Bool) {
        switch outcome {
        case .done: append("+OK\r\n")
        case .bytes(let bytes): appendBulk(bytes)
        case .requestAnswers(let answers): append(answers)
        case .services(let rows): append(rows)
        case .refused(let refusal): appendError(refusal.inRESP)
        case .count(let count): appendInteger(count)
        case .token(let token): appendBulk(token.text)
        case .names(let names):
            appendArray(names.count)
            names.forEach { appendBulk($0, $1, $2) }
        case .subscribers(let names, let counts):
            // A flat list in RESP3 too, as in Redis.
            appendArray(names.count * 2)
            for index in 0..<names.count {
                appendBulk(names.bytes.span, names[index])
                appendInteger(counts[index])
            }
        case .ways(let ways):
            appendReply(.array(ways.map { $0.reply }), isRESP3: isRESP3)
        case .members(let members, let names, let place, let missing):
            appendArray(3)
            appendArray(members.count)
            for member in members {
                appendArray(4)
                appendBulk(member.user)
                appendBulk(member.id.text)
                appendBulk(names[member.node] ?? member.node.description)
                append(metadata: member.metadata, isRESP3: isRESP3)
            }
            if let place { appendBulk(place.text) } else { appendNull(isRESP3: isRESP3) }
            append(texts: missing)
        case .memberCount(let count, let users, let missing):
            appendArray(3)
            appendInteger(count)
            appendInteger(users ?? -1)
            append(texts: missing)
        case .attachments(let attachments, let names):
            appendArray(attachments.count)
            for attachment in attachments {
                appendArray(4)
                appendBulk(attachment.id.text)
                appendBulk(names[attachment.node] ?? attachment.node.description)
                appendInteger(attachment.age)
                append(metadata: attachment.metadata, isRESP3: isRESP3)
            }
        case .asks, .waits: break
        }
    }

    private mutating func append(texts: [String]) {
        appendArray(texts.count)
        for text in texts { appendBulk(text) }
    }

    private mutating func append(metadata: [UInt8]?, isRESP3: Bool) {
        if let metadata { appendBulk(metadata) } else { appendNull(isRESP3: isRESP3) }
    }
}

extension TracedWay {
    fileprivate var reply: ReplyValue {
        .map([
            ("holder", .text(name)), ("id", .text(holder.description)), ("status", .text(status)),
            ("hops", path.map { .integer($0.count) } ?? .null),
            ("path", path.map { .array($0.map { .text($0) }) } ?? .null),
        ])
    }
}

/// The first element of a message to a subscriber, with the frame's start.
enum MessageWord {
    case message
    case shardMessage
    case user
    case room

    /// As an array; a push differs in the first byte. With blanks behind it, three words of eight bytes.
    @inline(__always)
    var start: StaticString {
        switch self {
        case .message: "*3\r\n$7\r\nmessage\r\n       "
        case .shardMessage: "*3\r\n$8\r\nsmessage\r\n      "
        case .user: "*3\r\n$4\r\nuser\r\n          "
        case .room: "*3\r\n$4\r\nroom\r\n          "
        }
    }

    /// The element itself.
    var text: StaticString {
        switch self {
        case .message: "message"
        case .shardMessage: "smessage"
        case .user: "user"
        case .room: "room"
        }
    }

    /// Where a name of `count` bytes stands in a frame that begins so.
    func name(_ count: Int) -> Slice {
        Slice(start: startCount + BulkHeader(count).count, count: count)
    }

    /// Without the blanks.
    @inline(__always)
    var startCount: Int {
        switch self {
        case .message: 17
        case .shardMessage: 18
        case .user, .room: 14
        }
    }
}
