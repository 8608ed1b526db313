import MeshCore
import MeshWire

/// A client that was ended because too much output waited for it, for the driver's log.
public struct CutClient: Equatable, Sendable {
    /// As in CLIENT LIST.
    public var id: Int64
    /// Where it came from: `127.0.0.1:50123`.
    public var address: String
    /// The name that it gave itself (CLIENT SETNAME); mostly empty.
    public var name: String
    /// The channel or user of the message that was too much, at most
    /// `Hub.cutChannelBytesMax` bytes of it; empty: it was a reply, or nobody knows.
    public var channel: String
    /// Output that was thrown away with it. What waits for a session is kept.
    public var discardedBytes: Int
    /// It was within its own bounds, and had more than others when all together had too much.
    public var isForMemory: Bool
}

/// The cause of a client's output growing.
enum Culprit {
    /// A reply, or several messages.
    case unknown
    /// A message to this topic.
    case topic(TopicIndex)
    /// The message in `Hub.frame`.
    case frame
}

extension Hub {
    /// A log line is for people: longer names are cut.
    static let cutChannelBytesMax = 128

    /// More waits for the client than may: it is ended, and the driver is told.
    @inline(never)
    mutating func cut(
        _ client: ClientIndex, _ culprit: Culprit, isForMemory: Bool = false
    ) {
        let slot = client.slot
        guard !clients[slot].flags.contains(.doomed) else { return }
        counters[.clientsOverdue] += 1
        let channel = name(of: culprit)
        let discarded = doom(client)
        outbox.hasWork = true
        outbox.cuts.append(
            CutClient(
                id: clients[slot].identity.id, address: clients[slot].identity.address,
                name: String(decoding: clients[slot].identity.name, as: UTF8.self),
                channel: String(
                    decoding: channel.prefix(Self.cutChannelBytesMax), as: UTF8.self),
                discardedBytes: discarded, isForMemory: isForMemory))
    }

    private func name(of culprit: Culprit) -> [UInt8] {
        switch culprit {
        case .unknown: []
        case .topic(let topic): registry.topics.name(topic)
        case .frame: frame.withSpan { $0.array(label.parts.name) }
        }
    }
}
