import MeshCore
import MeshWire

// MESH.SEND, MESH.SAY and MESH.PUBLISH. Options stand behind the payload, in any order, each once but EXCEPT
// and AND. What they say of the message goes with it in a label (`MessageLabel`); without any of those the
// message takes the short way.

/// The options of a message.
private struct SendingOptions {
    var isVolatile = false
    /// ECHO, NOECHO.
    var echo: Bool?
    var sender: [UInt8]?
    var once: [UInt8]?
    var label = MessageLabel()

    /// Something of it goes with the message.
    var isLabelled: Bool { sender != nil || once != nil || !label.isEmpty }
}

extension Gateway {
    /// The most bytes of an id that a client chooses (ONCE).
    static var onceIDMax: Int { 64 }

    mutating func send(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client) else { return .handled }
        return publish(.user, .meshSend, input, client)
    }

    mutating func say(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard room(1, client) != nil else { return .handled }
        return publish(.room, .meshSay, input, client)
    }

    /// MESH.PUBLISH.
    mutating func publishToMesh(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        publish(.channel, .meshPublish, input, client)
    }

    private mutating func publish(
        _ body: RoutedBody, _ command: Command, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        // In a room one does not hear oneself, in a channel one does.
        guard arguments.count > 3 else {
            return publish(body, isVolatile: false, skipsSender: body == .room, input, client)
        }
        var options = SendingOptions()
        if let refusal = read(&options, command, input) {
            return answer(client, .refused(refusal))
        }
        let skipsSender = body == .room ? options.echo != true : options.echo == false
        if !options.isLabelled {
            return publish(
                body, isVolatile: options.isVolatile, skipsSender: skipsSender, input, client)
        }
        let name = bytes(1, input)
        if let user = options.sender {
            let attachment = hub.attachment(of: client, to: user)
            options.label.sender = MessageLabel.Sender(
                user: user, id: attachment.isNone ? nil : hub.registry.members[attachment].id,
                at: hub.wallOffset + hub.now.nanoseconds / 1_000_000)
        }
        if let once = options.once {
            options.label.once = hub.onceNumber(body, name, options.sender ?? [], once)
        }
        guard name.count <= Frame.nameLengthMax else {
            fail(client, .syntax(.name(.channel, bytesMax: Frame.nameLengthMax)))
            return .handled
        }
        if hub.registry.hasGone, let kind = TopicKind(body) {
            hub.endGone(kind, arguments[1], input)
        }
        var (publication, line) = hub.publication(
            body, name, arguments[2], input, options.label, by: client)
        arguments.line = line
        publication.message.isVolatile = options.isVolatile
        publication.skipsSender = skipsSender
        return .publish(publication)
    }

    /// A message without a label, which takes the short way.
    private mutating func publish(
        _ body: RoutedBody, isVolatile: Bool, skipsSender: Bool, _ input: Span<UInt8>,
        _ client: ClientIndex
    ) -> Request {
        let request = publish(body, input, client)
        guard case .publish(var publication) = request else { return request }
        publication.message.isVolatile = isVolatile
        publication.skipsSender = skipsSender
        return .publish(publication)
    }

    /// Reads the options behind the payload; nil: they are well.
    private mutating func read(
        _ options: inout SendingOptions, _ command: Command, _ input: Span<UInt8>
    ) -> ClientRefusal? {
        var index = 3
        while index < arguments.count {
            if equals(index, "volatile", input), !options.isVolatile {
                options.isVolatile = true
                index += 1
            } else if command == .meshSay, equals(index, "echo", input), options.echo == nil {
                options.echo = true
                index += 1
            } else if command == .meshPublish, equals(index, "noecho", input), options.echo == nil {
                options.echo = false
                index += 1
            } else if options.label.form == nil, equals(index, "text", input) {
                options.label.form = .text
                index += 1
            } else if options.label.form == nil, equals(index, "json", input) {
                options.label.form = .json
                index += 1
            } else {
                guard index + 1 < arguments.count else { return usage(command) }
                var size = 2
                if let refusal = readPair(&options, command, at: index, &size, input) {
                    return refusal
                }
                index += size
            }
        }
        return nil
    }

    /// Reads an option of more than one word.
    ///
    /// - Parameter size: how many words it has.
    private mutating func readPair(
        _ options: inout SendingOptions, _ command: Command, at index: Int, _ size: inout Int,
        _ input: Span<UInt8>
    ) -> ClientRefusal? {
        let value = bytes(index + 1, input, countMax: Hub.userNameLengthMax + 1)
        if equals(index, "from", input), options.sender == nil {
            guard isName(value) else { return .syntax(.user(bytesMax: Hub.userNameLengthMax)) }
            options.sender = value
        } else if equals(index, "once", input), options.once == nil {
            guard (1...Self.onceIDMax).contains(value.count) else {
                return .syntax(.onceID(bytesMax: Self.onceIDMax))
            }
            options.once = value
        } else if command == .meshSend, equals(index, "only", input) {
            guard let id = AttachmentID(value) else { return .syntax(.notASid) }
            guard options.label.only.count < MessageLabel.namesMax else {
                return .syntax(.tooManyTargets(max: MessageLabel.namesMax))
            }
            options.label.only.append(id)
        } else if command != .meshPublish, equals(index, "except", input) {
            return readExcept(&options, command, at: index, value, &size, input)
        } else if command == .meshSay, equals(index, "and", input) {
            guard isName(value) else {
                return .syntax(.name(.room, bytesMax: Hub.userNameLengthMax))
            }
            guard options.label.rooms.count < MessageLabel.roomsMax else {
                return .syntax(.tooManyTargets(max: MessageLabel.roomsMax))
            }
            if value != bytes(1, input), !options.label.rooms.contains(value) {
                options.label.rooms.append(value)
            }
        } else {
            return usage(command)
        }
        return nil
    }

    private mutating func readExcept(
        _ options: inout SendingOptions, _ command: Command, at index: Int, _ value: [UInt8],
        _ size: inout Int, _ input: Span<UInt8>
    ) -> ClientRefusal? {
        guard options.label.except.count < MessageLabel.namesMax else {
            return .syntax(.tooManyTargets(max: MessageLabel.namesMax))
        }
        if command == .meshSay, equals(index + 1, "user", input), index + 2 < arguments.count {
            let user = bytes(index + 2, input, countMax: Hub.userNameLengthMax + 1)
            guard isName(user) else { return .syntax(.user(bytesMax: Hub.userNameLengthMax)) }
            options.label.except.append(.user(user))
            size = 3
            return nil
        }
        guard let id = AttachmentID(value) else { return .syntax(.notASid) }
        options.label.except.append(.attachment(id))
        return nil
    }

    private func isName(_ bytes: [UInt8]) -> Bool {
        (1...Hub.userNameLengthMax).contains(bytes.count)
    }
}
