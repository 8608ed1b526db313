/// A message of a session that was given to the session's connection.
struct GivenMessage {
    var message: StoredMessageIndex
    /// Its place in all that was ever written for the connection.
    var start: UInt64
    var end: UInt64
    /// Its session's place, and that place's life: another one says that the session has ended, and
    /// nobody counts its messages any more.
    var session: UserSessionIndex
    var life: UInt32
    /// Its number among the messages of a counted session; 0: nobody counts.
    var number: UInt64
}

/// The messages of sessions that were given to a connection and may be wanted again, oldest first.
struct GivenMessages {
    private var messages: [GivenMessage] = []
    private var head = 0
    /// Of them the kernel has so many wholly, the first.
    private(set) var passedCount = 0

    var first: GivenMessage? { head < messages.count ? messages[head] : nil }

    mutating func append(_ message: GivenMessage) { messages.append(message) }

    /// The kernel has all bytes before this position.
    mutating func pass(_ position: UInt64) {
        while head + passedCount < messages.count, messages[head + passedCount].end <= position {
            passedCount += 1
        }
    }

    /// Forgets the oldest, which the kernel has.
    mutating func removeFirst() {
        head += 1
        passedCount -= 1
        if head == messages.count {
            messages.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1_024, head * 2 > messages.count {
            messages.removeFirst(head)
            head = 0
        }
    }

    var all: ArraySlice<GivenMessage> { messages[head...] }

    mutating func takeAll() -> ArraySlice<GivenMessage> {
        let all = all
        messages = []
        head = 0
        passedCount = 0
        return all
    }
}
