import MeshCore

/// Every message to a session comes, in order and once, or is covered by a notice of the right size;
/// a token that was not exchanged is good; nobody sees a user gone whose session lives.
///
/// A notice without a number (`gap user NAME 0 …`) covers what was sent before it came. The size of
/// those with a number is checked where there is none without.
struct SessionChecker {
    private struct Message {
        var user: Int32
        var host: Int32
        var time: Instant
        /// MESH.SEND's answer; nil: none yet.
        var answer: Int?
        var isReceived = false
    }

    private struct User {
        var messages: [Int] = []
        /// The last message that came of each sender.
        var last: [Int32: Int] = [:]
        /// Of notices with a number.
        var announced = 0
        /// Of them those that may be told a second time.
        var retold = 0
        /// When the last notice without a number came; nil: there was none.
        var unknownAt: Instant?
        var undelivered = 0
        /// Since when it has a session; nil: it has none.
        var since: Instant?
        /// Messages before this one are not asked for: its session began later, or was lost.
        var first = 0
    }

    private var messages: [Message] = []
    private var users: [User]
    /// Messages of each host that are not answered yet, in order.
    private var unanswered: [Int: [Int]] = [:]
    private(set) var lastEvent = Instant(nanoseconds: 0)
    private(set) var receivedCount = 0
    private(set) var missingCount = 0
    private(set) var noticeCount = 0

    init(count: Int) {
        users = Array(repeating: User(), count: count)
    }

    var nextNumber: Int { messages.count }
    var sentCount: Int { messages.count }

    mutating func began(_ user: Int, at now: Instant) {
        users[user].since = now
        users[user].first = messages.count
        users[user].announced = 0
        users[user].retold = 0
        users[user].undelivered = 0
        users[user].unknownAt = nil
    }

    /// A session has a connection.
    mutating func attached(at now: Instant) { lastEvent = now }

    /// NOSESSION for the newest token that its client knows.
    mutating func refused(_ user: Int, at now: Instant, isExcused: Bool) -> Violation? {
        users[user].since = nil
        users[user].first = messages.count
        guard !isExcused else { return nil }
        return violation("a token of s\(user) that was not exchanged is refused", at: now)
    }

    /// A watcher beside this host was told that the user is gone.
    mutating func gone(
        _ user: Int, for host: Int, at now: Instant, isExcused: Bool
    ) -> Violation? {
        guard !isExcused, let since = users[user].since, now - since > .seconds(2) else {
            return nil
        }
        return violation(
            "host \(host) says that s\(user) is gone, though its session lives", at: now)
    }

    mutating func tookSpentToken(of user: Int, _ host: Int, at now: Instant) -> Violation {
        violation("host \(host) takes a token of s\(user) that was exchanged", at: now)
    }

    mutating func sent(_ number: Int, to user: Int, from host: Int, at now: Instant) {
        precondition(number == messages.count)
        messages.append(Message(user: Int32(user), host: Int32(host), time: now))
        users[user].messages.append(number)
        unanswered[host, default: []].append(number)
        lastEvent = now
    }

    /// MESH.SEND's answers come in the order of the commands.
    mutating func answered(
        _ count: Int, from host: Int, at now: Instant, isExcused: Bool
    ) -> Violation? {
        guard let number = unanswered[host]?.first else { return nil }
        unanswered[host]!.removeFirst()
        messages[number].answer = count
        let user = Int(messages[number].user)
        guard count == 0, !isExcused, let since = users[user].since,
            now - since > .seconds(2)
        else { return nil }
        return violation("s\(user) is nowhere for host \(host), though its session lives", at: now)
    }

    mutating func received(_ number: Int, by user: Int, at now: Instant) -> Violation? {
        lastEvent = now
        guard messages.indices.contains(number), Int(messages[number].user) == user else {
            return violation("s\(user) has got message \(number), which is not its own", at: now)
        }
        if messages[number].isReceived {
            return violation("s\(user) has got message \(number) twice", at: now)
        }
        messages[number].isReceived = true
        receivedCount += 1
        let host = messages[number].host
        let last = users[user].last[host] ?? -1
        users[user].last[host] = max(last, number)
        guard number < last else { return nil }
        return violation(
            "s\(user) has got message \(number) of host \(host) after \(last)",
            by: .sessionOrder, at: now)
    }

    mutating func noticed(_ count: Int, by user: Int, at now: Instant) {
        lastEvent = now
        noticeCount += 1
        if count == 0 { users[user].unknownAt = now } else { users[user].announced += count }
    }

    /// The user's connection ended before a message came behind notices of so many: its node cannot know that
    /// they came, and tells of them again.
    mutating func retells(_ count: Int, to user: Int) { users[user].retold += count }

    mutating func undelivered(_ count: Int, to user: Int) { users[user].undelivered += count }

    /// All sessions are attached and calm. What is missing was announced, or reported to its sender, or
    /// ended with its sender's node.
    mutating func finish(at now: Instant, isUp: (Int) -> Bool) -> [Violation] {
        var found: [Violation] = []
        for (number, user) in users.enumerated() where user.since != nil {
            var missing = 0
            var firstMissing = 0
            // Those of senders whose nodes are gone may be lost with them.
            var orphaned = 0
            for position in user.messages where position >= user.first {
                let message = messages[position]
                if message.isReceived { continue }
                if message.answer == nil || message.answer == 0 || !isUp(Int(message.host)) {
                    orphaned += 1
                    continue
                }
                if let unknown = user.unknownAt, message.time < unknown { continue }
                if missing == 0 { firstMissing = position }
                missing += 1
            }
            missingCount += missing
            if missing > user.announced + user.undelivered {
                found.append(
                    violation(
                        "s\(number) misses \(missing) messages, the first is \(firstMissing); "
                            + "notices tell of \(user.announced), reports of "
                            + "\(user.undelivered)", at: now))
            } else if user.unknownAt == nil, user.announced > missing + orphaned + user.retold {
                found.append(
                    violation(
                        "s\(number) was told of \(user.announced) lost messages and misses "
                            + "\(missing)", at: now))
            }
        }
        return found
    }

    private func violation(
        _ text: String, by checker: CheckerName = .session, at now: Instant
    ) -> Violation {
        Violation(checker: checker, time: now, host: nil, text: text)
    }
}
