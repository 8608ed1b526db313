import MeshCore
import MeshWire

/// Users, channels and messages of a run.
extension Run {
    func userName(_ user: Int) -> String { name("user-\(user)", .user, isOdd: true) }
    func channelName(_ channel: Int) -> String {
        name("channel-\(channel)", .channel, isOdd: true)
    }
    func sessionName(_ number: Int) -> String { name("s\(number)", .user, isOdd: false) }

    /// Where names share keys, a name whose key is odd, or even: what the workload has no gateway
    /// knows of, which would take the key out with the last of its own names. So sessions share keys
    /// with sessions, and users and channels of the workload with each other.
    private func name(_ name: String, _ kind: KeyKind, isOdd: Bool) -> String {
        guard scenario.hasShortKeys else { return name }
        var suffix = 0
        var found = name
        while world.key(kind, found).rawValue & 1 != (isOdd ? 1 : 0) {
            suffix += 1
            found = "\(name).\(suffix)"
        }
        return found
    }

    /// The first session or subscriber of a name comes to a node, or the last goes. Names of one key
    /// are one entry of the directory, which changes with the first and the last of them, as a gateway
    /// has it.
    private mutating func change(
        _ host: Int, _ kind: KeyKind, _ name: String, _ change: DirectoryChange
    ) {
        truth.lastDirectoryChange = now
        if scenario.hasShortKeys,
            !load.isEdge(world.key(kind, name).rawValue, at: host, by: change == .add ? 1 : -1)
        {
            return
        }
        world.change(host, kind, name, change)
    }

    // MARK: Users

    mutating func userComes() {
        settle(load.addUser(zipf: scenario.users.zipf))
    }

    /// A user's session begins on some node.
    mutating func settle(_ user: Int) {
        guard !live.isEmpty else { return }
        let host = live[loadRandom.next(below: live.count)]
        load.settle(user, at: host)
        change(host, .user, userName(user), .add)
    }

    /// A user who is online, by chance; nil: hardly anybody is.
    private mutating func someoneOnline() -> Int? {
        guard load.onlineCount > 0 else { return nil }
        for _ in 0..<64 {
            let user = loadRandom.next(below: load.home.count)
            if !load.home[user].isNone { return user }
        }
        return nil
    }

    mutating func userDeparts() {
        guard let user = someoneOnline() else { return }
        let host = load.home[user].slot
        load.remove(user)
        change(host, .user, userName(user), .remove)
    }

    /// The new session begins before the old one ends, as with a telephone that changes networks.
    mutating func userMoves() {
        guard let user = someoneOnline() else { return }
        let host = load.home[user].slot
        load.remove(user)
        settle(user)
        // Of the same node the new session is there as well as the old one was.
        if load.home[user].slot != host || scenario.hasShortKeys {
            change(host, .user, userName(user), .remove)
        }
    }

    // MARK: Channels

    /// All subscriptions in the beginning (-1), or a new subscriber for one channel.
    mutating func subscribe(_ channel: Int) {
        guard channel < 0 else {
            if !live.isEmpty { subscribe(channel, at: live[loadRandom.next(below: live.count)]) }
            return
        }
        for channel in 0..<scenario.channels.count {
            let count = scenario.channels.subscribers.resolved(of: live.count)
            for host in loadRandom.sample(count, of: live) { subscribe(channel, at: host) }
        }
    }

    mutating func subscribe(_ channel: Int, at host: Int) {
        guard load.subscribe(host, to: channel) else { return }
        change(host, .channel, channelName(channel), .add)
    }

    // MARK: Messages

    /// A node that takes messages of clients now.
    private mutating func sender(amongFirst most: Int = .max) -> Int? {
        guard !live.isEmpty else { return nil }
        for _ in 0..<8 {
            let host = live[loadRandom.next(below: min(most, live.count))]
            if world.isReady(host), !world.isFrozen(host), !world.isBehind(host) { return host }
        }
        return nil
    }

    mutating func sendToUser(isLarge: Bool = false) {
        guard let sender = sender(), let user = load.addressee(&loadRandom) else { return }
        let home = load.home[user].slot
        // A message that has only local receivers never leaves the node.
        guard home >= 0, home != sender else { return }
        if publish(from: sender, .user, userName(user), isLarge: isLarge) == 0 {
            metrics.unknown += 1
        }
    }

    mutating func sendLarge() {
        sendToUser(isLarge: true)
        planNext(.large, scenario.messages.large, after: now)
    }

    mutating func sendToChannel() {
        let publishers = scenario.messages.publishers
        guard let sender = sender(amongFirst: publishers > 0 ? publishers : .max),
            scenario.channels.count > 0
        else { return }
        let channel = loadRandom.next(below: scenario.channels.count)
        _ = publish(from: sender, .channel, channelName(channel))
    }

    private mutating func publish(
        from host: Int, _ body: RoutedBody, _ name: String, isLarge: Bool = false
    ) -> Int {
        let number = delivery.nextNumber
        delivery.publish(from: host, at: now, isLarge: isLarge)
        let reportsBefore = world.observations.reports.count
        let outcome = world.publish(
            host, body, name, number: number,
            size: isLarge ? scenario.messages.largeSize : scenario.messages.size)
        let isHeld = outcome.verdict == .parked
        var refused = 0
        for position in reportsBefore..<world.observations.reports.count
        where world.observations.reports[position].message == Int(number) {
            world.observations.reports[position].isRefusal = true
            refused += Int(world.observations.reports[position].count)
        }
        delivery.publish(
            copies: outcome.nodeCount, refused: refused, isToChannel: body != .user, isHeld: isHeld)
        return isHeld ? 1 : outcome.nodeCount
    }
}
