import MeshCore
import MeshWire

/// The actions of a node's clients.
extension World {
    public func key(_ kind: KeyKind, _ name: String) -> Key {
        hasher.key(kind, Array(name.utf8))
    }

    /// The first local session of a user, or subscriber of a channel, comes to a node; or the last
    /// goes.
    public mutating func change(
        _ host: Int, _ kind: KeyKind, _ name: String, _ change: DirectoryChange
    ) {
        let bytes = Array(name.utf8)
        let key = hasher.key(kind, bytes)
        trafficCount.changed(host, at: now)
        if kind == .pattern {
            handle(
                host, .pattern(key, name: Slice(start: 0, count: bytes.count), change),
                bytes: bytes)
        } else {
            handle(host, .directory(key, change))
            if change == .add {
                noteAnnounced(key, by: host)
            } else {
                confirmations.withdraw(key, by: host)
            }
        }
    }

    /// The nodes that hold a key, as a host knows them.
    public func holders(_ host: Int, of key: Key) -> [NodeID] {
        hosts[host]!.server.node.holders(of: key)
    }

    public mutating func watch(_ host: Int, _ user: String) {
        handle(host, .watch(key(.user, user), .add))
    }

    /// Returns to how many other nodes it went.
    @discardableResult
    public mutating func publish(
        _ host: Int, _ body: RoutedBody, _ name: String, _ payload: [UInt8],
        sender: UInt64 = 0, isVolatile: Bool = false
    ) -> Int {
        message.removeAll(keepingCapacity: true)
        message.append(contentsOf: name.utf8)
        let nameCount = message.count
        message.append(contentsOf: payload)
        return publish(host, body, nameCount, sender: sender, isVolatile: isVolatile).nodeCount
    }

    /// A message of the workload: its payload is its number and zeros, its sender says which; nothing is
    /// allocated for it.
    mutating func publish(
        _ host: Int, _ body: RoutedBody, _ name: String, number: UInt32, size: Int
    ) -> PublishOutcome {
        message.removeAll(keepingCapacity: true)
        message.append(contentsOf: name.utf8)
        let nameCount = message.count
        if let kind = body.keyKind {
            checkAwareness(of: hasher.key(kind, message.span, 0, nameCount), host)
        }
        for shift in [0, 8, 16, 24] as [UInt32] {
            message.append(UInt8(truncatingIfNeeded: number >> shift))
        }
        while message.count < nameCount + size { message.append(0) }
        return publish(
            host, body, nameCount, sender: Observations.Report.sender(of: number), isVolatile: false
        )
    }

    /// Publishes `message`, which begins with the name.
    private mutating func publish(
        _ host: Int, _ body: RoutedBody, _ nameCount: Int, sender: UInt64, isVolatile: Bool
    ) -> PublishOutcome {
        guard let kind = body.keyKind else { preconditionFailure("clients send no control") }
        let outgoing = OutgoingMessage(
            body, hasher.key(kind, message.span, 0, nameCount),
            name: Slice(start: 0, count: nameCount),
            payload: Slice(start: nameCount, count: message.count - nameCount), sender: sender,
            isVolatile: isVolatile)
        let parcel = pool.parcel(count: message.count, pathCount: 0)
        parcel.write(message.span, 0, message.count, at: 0)
        let outcome = publish(host, outgoing, parcel)
        pool.release(parcel)
        return outcome
    }

    public mutating func ask(_ host: Int, _ query: QueryID, everyone subject: [UInt8]) {
        handle(
            host, .query(query, .everyone(subject: Slice(start: 0, count: subject.count))),
            bytes: subject)
    }
}
