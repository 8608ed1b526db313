import MeshCore
import MeshWire

// PUBSUB: what others subscribe to.

extension Gateway {
    /// MESH.ROOMS.
    mutating func listRooms(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard arguments.count <= 2 else { return answer(client, .refused(usage(.meshRooms))) }
        let pattern = arguments.count == 2 ? bytes(1, input) : nil
        return answer(client, hub.askChannels(.room, pattern: pattern, client))
    }

    /// PUBSUB CHANNELS and SHARDCHANNELS.
    mutating func listChannels(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        guard arguments.count <= 3 else { return wrongPubSub(input, client) }
        let pattern = arguments.count == 3 ? bytes(2, input) : nil
        return answer(client, hub.askChannels(kind, pattern: pattern, client))
    }

    /// PUBSUB NUMSUB and SHARDNUMSUB.
    mutating func countSubscribers(
        _ kind: TopicKind, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> Request {
        var size = 0
        for index in 2..<arguments.count { size += Int(arguments[index].count) }
        guard arguments.count - 2 <= Hub.countedNamesMax, size <= Hub.countedBytesMax else {
            return answer(client, .refused(.limit(.channelsAskedFor)))
        }
        var names = NameList()
        names.reserve(arguments.count - 2, bytes: size)
        for index in 2..<arguments.count { names.append(arguments[index], input) }
        return answer(client, hub.askCounts(kind, names, client))
    }

    private mutating func wrongPubSub(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        answer(client, .refused(.redis(.wrongPubSub(name: excerpt(1, input)))))
    }
}
