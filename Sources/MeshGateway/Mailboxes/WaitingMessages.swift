import MeshWire

/// Messages that wait for one receiver, oldest first.
///
///     number, number + 1, …          each a stored message, or gone
///
/// They are numbered from 1 on in the order in which they came. One that is taken out of the middle
/// leaves its number until it is at the front, or until such gaps are more than the messages that wait.
struct WaitingMessages: ~Copyable {
    /// None: gone.
    private var entries: [StoredMessageIndex] = []
    /// The entries before this one have been taken.
    private var head = 0
    /// The number of the newest waiting message of each group; kept only by `appendLatest`.
    private var newest: [UInt64: UInt64] = [:]

    /// The number of the message at the front, or of the next one that will come.
    private(set) var firstNumber: UInt64 = 1
    /// Messages that wait.
    private(set) var count = 0
    /// Their bytes in a client's output.
    private(set) var byteCount = 0
    /// Bytes and bookkeeping: what the bound of a mailbox is compared with.
    var cost: Int { byteCount + count * Self.entryCost }

    /// The cost of a message beside its bytes.
    static let entryCost = 32

    var isEmpty: Bool { count == 0 }

    var nextNumber: UInt64 { firstNumber + UInt64(entries.count - head) }

    /// The message at the front; nil: nothing waits.
    var first: StoredMessageIndex? { count > 0 ? entries[head] : nil }

    /// Appends a message of this size.
    mutating func append(_ message: StoredMessageIndex, size: Int) {
        entries.append(message)
        byteCount += size
        count += 1
    }

    /// Appends a message that takes the place of the one of its group that waits; returns that one.
    mutating func appendLatest(
        _ message: StoredMessageIndex, _ messages: borrowing StoredMessages
    ) -> StoredMessageIndex? {
        let group = messages[message].title.group
        var superseded: StoredMessageIndex?
        if let number = newest[group], number >= firstNumber {
            superseded = takeOut(head + Int(number - firstNumber), messages)
        }
        newest[group] = nextNumber
        append(message, size: messages[message].size)
        if superseded != nil { settle(messages) }
        return superseded
    }

    /// Takes a message out; nil when it does not wait. A walk from the front, where what is looked for
    /// is when both sides keep the same order.
    mutating func remove(
        _ id: MessageID, _ messages: borrowing StoredMessages
    ) -> StoredMessageIndex? {
        for index in head..<entries.count
        where !entries[index].isNone && messages[entries[index]].title.id == id {
            let removed = takeOut(index, messages)
            settle(messages)
            return removed
        }
        return nil
    }

    /// Takes the message at the front. There must be one.
    mutating func takeFirst(_ messages: borrowing StoredMessages) -> StoredMessageIndex {
        precondition(count > 0)
        let message = entries[head]
        head += 1
        firstNumber += 1
        count -= 1
        byteCount -= messages[message].size
        settle(messages)
        return message
    }

    /// All that waits, oldest first.
    var all: [StoredMessageIndex] { entries[head...].filter { !$0.isNone } }

    /// Takes all that waits.
    mutating func takeAll() -> [StoredMessageIndex] {
        let all = all
        firstNumber = nextNumber
        entries = []
        newest = [:]
        head = 0
        count = 0
        byteCount = 0
        return all
    }

    /// Gives memory back that is not needed.
    mutating func trim() {
        if count == 0, entries.capacity > 0 {
            firstNumber = nextNumber
            entries = []
            newest = [:]
            head = 0
        }
    }

    private mutating func takeOut(
        _ index: Int, _ messages: borrowing StoredMessages
    ) -> StoredMessageIndex? {
        let message = entries[index]
        guard !message.isNone else { return nil }
        entries[index] = .none
        byteCount -= messages[message].size
        count -= 1
        return message
    }

    /// Keeps a message that waits at the front, and the entries worth their room.
    private mutating func settle(_ messages: borrowing StoredMessages) {
        while head < entries.count, entries[head].isNone {
            head += 1
            firstNumber += 1
        }
        if head > 1_024, head * 2 > entries.count {
            entries.removeFirst(head)
            head = 0
        }
        if entries.count - head > 2 * count + 1_024 { compact(messages) }
        // Groups whose message has left are forgotten with the last of them, or when they are many.
        if count == 0 {
            newest.removeAll(keepingCapacity: true)
        } else if newest.count > 2 * count + 1_024 {
            index(messages)
        }
    }

    /// Gives the last numbers to the messages that wait, so that none between them is gone.
    private mutating func compact(_ messages: borrowing StoredMessages) {
        firstNumber = nextNumber - UInt64(count)
        entries = all
        head = 0
        index(messages)
    }

    private mutating func index(_ messages: borrowing StoredMessages) {
        newest.removeAll(keepingCapacity: true)
        for index in head..<entries.count where !entries[index].isNone {
            newest[messages[entries[index]].title.group] = firstNumber + UInt64(index - head)
        }
    }
}
