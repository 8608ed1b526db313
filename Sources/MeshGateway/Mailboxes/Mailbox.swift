import MeshCore
import MeshWire

/// The messages of one receiver, oldest first, with the policy for what does not fit and the losses that
/// the receiver was not told of.
///
///     given to the connection │ waiting
///                             ▲ as far as the connection has come
///
/// A client has one of its own, which is empty as long as it keeps up. A session without a connection has
/// one, and nothing in it is given.
struct Mailbox: ~Copyable {
    var policy = SlowConsumerPolicy.disconnect
    /// Of these only what a session may want again is kept.
    var given = GivenMessages()
    var waiting = WaitingMessages()
    var gaps = UntoldGaps()

    /// The most that waits.
    struct Bound {
        /// As `WaitingMessages.cost` counts them.
        var bytes: Int
        var count = Int.max
    }

    /// A message that does not wait any more and was not given.
    struct Loss {
        var message: StoredMessageIndex
        /// It was at the front.
        var isOldest = false
    }

    /// Appends a message as the policy says.
    ///
    /// - Returns: what is lost of it and of what waited; whoever asked releases it.
    mutating func admit(
        _ message: StoredMessageIndex, _ bound: Bound, _ messages: borrowing StoredMessages
    ) -> [Loss] {
        let size = messages[message].size
        if policy == .disconnect {
            waiting.append(message, size: size)
            return []
        }
        let cost = size + WaitingMessages.entryCost
        // Not even alone.
        if cost > bound.bytes { return [Loss(message: message)] }
        if policy == .dropNewest {
            if waiting.cost + cost > bound.bytes || waiting.count >= bound.count {
                return [Loss(message: message)]
            }
            waiting.append(message, size: size)
            return []
        }
        var losses: [Loss] = []
        if policy == .latest {
            if let superseded = waiting.appendLatest(message, messages) {
                losses.append(Loss(message: superseded))
            }
        } else {
            waiting.append(message, size: size)
        }
        while waiting.cost > bound.bytes || waiting.count > bound.count {
            losses.append(Loss(message: waiting.takeFirst(messages), isOldest: true))
        }
        return losses
    }

    /// Forgets all messages.
    mutating func empty(_ messages: inout StoredMessages) {
        for message in waiting.takeAll() { messages.release(message) }
        for given in given.takeAll() { messages.release(given.message) }
    }
}
