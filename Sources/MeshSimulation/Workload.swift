import MeshCore
import MeshWire

/// A host's number, in the order in which they came, where a table has one for each of many.
struct HostNumber: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// The places and subscriptions of all users, as the clients themselves know them: the truth that the
/// directory is to spread.
struct Workload {
    /// The host of each user's session; none: offline.
    private(set) var home: [HostNumber] = []
    /// Where in `usersAt[home]` the user stands.
    private var position: [Int32] = []
    private(set) var usersAt: [[Int32]] = []
    /// The channels that each host subscribes to.
    private(set) var channelsAt: [[Int32]] = []
    /// How many names of each key a host has, where names share keys.
    private var nameCounts: [[UInt64: Int]] = []
    private(set) var onlineCount = 0
    /// Running sums of the users' shares of messages, by Zipf's law; empty: all alike.
    private var popularity: [Double] = []

    mutating func addHost() {
        usersAt.append([])
        channelsAt.append([])
        nameCounts.append([:])
    }

    /// A name of this key comes to a host or goes. Returns whether it is the first, or was the last.
    mutating func isEdge(_ key: UInt64, at host: Int, by change: Int) -> Bool {
        let count = nameCounts[host][key, default: 0] + change
        precondition(count >= 0, "a name went that was not there")
        nameCounts[host][key] = count > 0 ? count : nil
        return count == 0 || count == 1 && change > 0
    }

    mutating func addUser(zipf: Double) -> Int {
        home.append(.none)
        position.append(-1)
        if zipf > 0 {
            let weight = 1 / power(Double(home.count), zipf)
            popularity.append((popularity.last ?? 0) + weight)
        }
        return home.count - 1
    }

    mutating func settle(_ user: Int, at host: Int) {
        home[user] = HostNumber(host)
        position[user] = Int32(usersAt[host].count)
        usersAt[host].append(Int32(user))
        onlineCount += 1
    }

    mutating func remove(_ user: Int) {
        let host = home[user].slot
        let hole = Int(position[user])
        let last = usersAt[host].removeLast()
        if Int(last) != user {
            usersAt[host][hole] = last
            position[Int(last)] = Int32(hole)
        }
        home[user] = .none
        onlineCount -= 1
    }

    mutating func subscribe(_ host: Int, to channel: Int) -> Bool {
        if channelsAt[host].contains(Int32(channel)) { return false }
        channelsAt[host].append(Int32(channel))
        return true
    }

    /// The users and channels that a host had, which it has no more.
    mutating func clear(_ host: Int) -> (users: [Int32], channels: [Int32]) {
        let users = usersAt[host]
        for user in users { home[Int(user)] = .none }
        onlineCount -= users.count
        usersAt[host] = []
        let channels = channelsAt[host]
        channelsAt[host] = []
        nameCounts[host] = [:]
        return (users, channels)
    }

    /// Somebody to write to; nil: there are no users.
    func addressee(_ random: inout RandomSource) -> Int? {
        guard !home.isEmpty else { return nil }
        guard let total = popularity.last else { return random.next(below: home.count) }
        let wanted = random.nextUnit() * total
        return partitionPoint(popularity.count - 1) { popularity[$0] <= wanted }
    }
}

extension RandomSource {
    /// The time until the next of events that come independently, so many a second.
    mutating func wait(perSecond rate: Double) -> Delay {
        let unit = max(nextUnit(), 0x1p-60)
        let seconds = -log2(unit) * 0.6931471805599453 / rate
        return Delay(nanoseconds: Int64(min(seconds, 1e9) * 1e9))
    }

    /// `count` different ones of `items`, in random order.
    mutating func sample<Item>(_ count: Int, of items: [Item]) -> [Item] {
        var pool = items
        let count = min(count, pool.count)
        for position in 0..<count {
            pool.swapAt(position, position + next(below: pool.count - position))
        }
        return Array(pool[..<count])
    }
}
