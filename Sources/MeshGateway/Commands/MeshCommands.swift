import MeshCore
import MeshWire

// MESH.*: what Redis has no word for.

extension Gateway {
    /// The longest name of a user.
    static let userNameLengthMax = 512

    /// True when the arguments from `first` on are names of users; otherwise an error is written.
    mutating func areUsers(
        _ range: Range<Int>, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        for index in range {
            let count = Int(arguments[index].count)
            if count == 0 || count > Self.userNameLengthMax {
                fail(client, .syntax(.user(bytesMax: Self.userNameLengthMax)))
                return false
            }
        }
        return true
    }

    private func askedUser(_ index: Int, _ input: Span<UInt8>) -> AskedUser {
        let name = arguments[index]
        let start = Int(name.start)
        let count = Int(name.count)
        let key = hasher.key(.user, input, start, count)
        return AskedUser(
            key: key, name: hasher.nameDigest(.user, input, start, count),
            isHere: !registry.topics.find(.user, key, input, start, count).isNone)
    }

    mutating func detach(_ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        guard areUsers(1..<arguments.count, input, client) else { return }
        releaseMailbox(client)
        var count = 0
        if arguments.count == 1 {
            endHolding(at: client)
            while !clients[slot].lists[first: .user].isNone {
                leave(client, clients[slot].lists[first: .user])
                count += 1
            }
        } else {
            for index in 1..<arguments.count {
                endHolding(at: client, of: bytes(index, input))
                if leave(client, .user, input, arguments[index]) { count += 1 }
            }
        }
        integer(count, client)
    }

    mutating func send(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client) else { return .handled }
        return publishVolatile(.user, input, client)
    }

    /// MESH.SEND and MESH.PUBLISH: a third argument can be VOLATILE.
    mutating func publishVolatile(
        _ body: RoutedBody, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        var isVolatile = false
        if arguments.count > 3 {
            guard arguments.count == 4, equals(3, "volatile", input) else {
                fail(client, .syntax(.unknownPublishOption))
                return .handled
            }
            isVolatile = true
        }
        let request = publish(body, input, client)
        guard isVolatile, case .publish(var publication) = request else { return request }
        publication.message.isVolatile = true
        return .publish(publication)
    }

    mutating func online(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<arguments.count, input, client) else { return .handled }
        return asks(.online((1..<arguments.count).map { askedUser($0, input) }))
    }

    mutating func whereabouts(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client) else { return .handled }
        return asks(.whereabouts(askedUser(1, input), user: bytes(1, input)))
    }

    /// Confirms each user, then asks the driver how they are.
    mutating func watch(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<arguments.count, input, client),
            hasRoom(.watch, 1..<arguments.count, input, client)
        else { return .handled }
        let slot = client.slot
        var users: [AskedUser] = []
        users.reserveCapacity(arguments.count - 1)
        _ = subscribe(.watch, input, client)
        clients[slot].watching.removeAll()
        for index in 1..<arguments.count {
            let name = arguments[index]
            let user = askedUser(index, input)
            let topic = registry.topics.find(
                .watch, user.key, input, Int(name.start), Int(name.count))
            clients[slot].watching.append(topic)
            users.append(user)
        }
        return asks(.watch(users))
    }

    mutating func unwatch(_ input: Span<UInt8>, _ client: ClientIndex) {
        // Topics that are gone may be used again for others.
        clients[client.slot].watching.removeAll()
        _ = unsubscribe(.watch, input, client)
    }
}
