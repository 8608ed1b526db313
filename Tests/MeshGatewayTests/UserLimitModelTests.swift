import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

/// Users, connections and sessions of a node as lists, counted anew for each command.
private struct UserModel {
    struct Client {
        /// In the order in which they were attached.
        var users: [String] = []
        /// Sessions by user, as places in `tokens`.
        var sessions: [String: Int] = [:]
        /// Names by the word that subscribes to them.
        var names: [String: Set<String>] = [:]
        var payer: String?

        var subscriptionCount: Int {
            names.reduce(0) { $0 + ($1.key == "PSUBSCRIBE" ? 0 : $1.value.count) }
        }
        var patternCount: Int { names["PSUBSCRIBE"]?.count ?? 0 }

        mutating func attach(_ user: String) {
            if users.contains(user) { return }
            users.append(user)
            if payer == nil { payer = user }
        }

        mutating func detach(_ user: String) {
            users.removeAll { $0 == user }
            sessions[user] = nil
            if payer == user { payer = users.last }
        }
    }

    struct Session {
        var user: String
        var token: String
        /// Its client; nil: it waits.
        var client: Int?
    }

    let limits: UserLimits
    var clients: [Client]
    var sessions: [Int: Session] = [:]
    var lastSession = 0

    func placeCount(_ user: String) -> Int {
        clients.count { $0.users.contains(user) }
            + sessions.values.count { $0.user == user && $0.client == nil }
    }

    func sessionCount(_ user: String) -> Int { sessions.values.count { $0.user == user } }

    func charge(_ user: String, without leaver: Int? = nil) -> UserCharges.Charge {
        var charge = UserCharges.Charge()
        for (place, client) in clients.enumerated() where client.payer == user && place != leaver {
            charge.subscriptions += client.subscriptionCount
            charge.patterns += client.patternCount
        }
        return charge
    }

    /// The limit that a client's being attached as the user would exceed.
    func lackOfCredit(_ client: Int, _ user: String, from leaver: Int? = nil) -> UserLimits.Kind? {
        if clients[client].payer != nil { return nil }
        let charge = charge(user, without: leaver)
        let (more, patterns) = (clients[client].subscriptionCount, clients[client].patternCount)
        if more > 0, charge.subscriptions + more > limits[.subscriptions] { return .subscriptions }
        return patterns > 0 && charge.patterns + patterns > limits[.patterns] ? .patterns : nil
    }

    func lackOfPlace(_ client: Int, _ user: String) -> UserLimits.Kind? {
        if clients[client].users.contains(user) { return nil }
        if placeCount(user) >= limits[.connections] { return .connections }
        return lackOfCredit(client, user)
    }

    func lackOfRoom(_ client: Int, _ word: String, _ names: Set<String>) -> UserLimits.Kind? {
        guard let payer = clients[client].payer else { return nil }
        let more = names.subtracting(clients[client].names[word] ?? []).count
        let kind: UserLimits.Kind = word == "PSUBSCRIBE" ? .patterns : .subscriptions
        let charge = charge(payer)
        let count = kind == .patterns ? charge.patterns : charge.subscriptions
        return more > 0 && count + more > limits[kind] ? kind : nil
    }

    /// The connection is gone; its sessions wait.
    mutating func close(_ client: Int) {
        for number in clients[client].sessions.values { sessions[number]!.client = nil }
        clients[client] = Client()
    }
}

/// Clients of one node, and the model that says what they are refused.
private struct Trial: ~Copyable {
    private static let users = ["ann", "bob", "eve"]
    private static let names: [String: [String]] = [
        "SUBSCRIBE": ["a", "b", "c", "d", "e"], "SSUBSCRIBE": ["a", "b", "c"],
        "PSUBSCRIBE": ["a*", "b*", "*", "?", "c?"], "MESH.WATCH": ["ann", "bob", "max"],
    ]
    private static let leaving = [
        "SUBSCRIBE": "UNSUBSCRIBE", "SSUBSCRIBE": "SUNSUBSCRIBE", "PSUBSCRIBE": "PUNSUBSCRIBE",
        "MESH.WATCH": "MESH.UNWATCH",
    ]

    var dice: Dice
    var harness: Harness
    var places: [ClientIndex] = []
    var model: UserModel
    /// How often each limit was met.
    var met: [UserLimits.Kind: Int] = [:]

    init(seed: UInt64) {
        dice = Dice(state: seed)
        var configuration = GatewayConfiguration()
        for (kind, count) in [
            (UserLimits.Kind.connections, 5), (.sessions, 3), (.subscriptions, 9),
            (.patterns, 4),
        ] {
            configuration.userLimits[kind] = count
        }
        harness = Harness(configuration)
        model = UserModel(
            limits: configuration.userLimits, clients: Array(repeating: .init(), count: 8))
        for _ in model.clients { places.append(harness.open(3)) }
    }

    /// A command of any client, or the end of its connection, or of the time of sessions.
    mutating func step() {
        let client = dice.roll(places.count)
        let user = Self.users[dice.roll(Self.users.count)]
        switch dice.roll(40) {
        case 0: close(client)
        case 1:
            _ = harness.exchange(places[client], "RESET\r\nHELLO 3\r\n")
            for number in model.clients[client].sessions.values { model.sessions[number] = nil }
            model.clients[client] = UserModel.Client()
        case 2 where dice.roll(4) == 0:
            harness.pass(.seconds(11))
            model.sessions = model.sessions.filter { $0.value.client != nil }
        case 3..<10: attach(client, user)
        case 10..<15: beginSession(client, user)
        case 15..<19: resume(client)
        case 19..<23: detach(client, dice.roll(4) == 0 ? nil : user)
        case 23..<30: unsubscribe(client)
        default: subscribe(client)
        }
    }

    // MARK: Commands

    private mutating func attach(_ client: Int, _ user: String) {
        if run(client, "MESH.ATTACH", [user], unless: model.lackOfPlace(client, user)) != nil {
            model.clients[client].attach(user)
        }
    }

    private mutating func beginSession(_ client: Int, _ user: String) {
        var lack = model.lackOfPlace(client, user)
        let has = model.clients[client].sessions[user]
        if lack == nil, has == nil, model.sessionCount(user) >= model.limits[.sessions] {
            lack = .sessions
        }
        guard let reply = run(client, "MESH.ATTACH", [user, "SESSION"], unless: lack) else {
            return
        }
        model.clients[client].attach(user)
        if let has {
            model.sessions[has]!.token = sessionToken(reply)
            return
        }
        model.lastSession += 1
        model.clients[client].sessions[user] = model.lastSession
        model.sessions[model.lastSession] = UserModel.Session(
            user: user, token: sessionToken(reply), client: client)
    }

    private mutating func resume(_ client: Int) {
        let numbers = model.sessions.keys.sorted()
        guard !numbers.isEmpty else { return }
        let number = numbers[dice.roll(numbers.count)]
        let session = model.sessions[number]!
        // A connection has one session of a user.
        guard session.client == client || model.clients[client].sessions[session.user] == nil
        else { return }
        let lack =
            session.client == client
            ? nil : model.lackOfCredit(client, session.user, from: session.client)
        guard
            let reply = run(
                client, "MESH.ATTACH", [session.user, "RESUME", session.token], unless: lack)
        else { return }
        if let other = session.client, other != client { close(other) }
        model.sessions[number]!.client = client
        model.sessions[number]!.token = sessionToken(reply)
        model.clients[client].sessions[session.user] = number
        model.clients[client].attach(session.user)
    }

    private mutating func detach(_ client: Int, _ user: String?) {
        run(client, "MESH.DETACH", user.map { [$0] } ?? [], unless: nil)
        for user in user.map({ [$0] }) ?? model.clients[client].users.reversed() {
            if let number = model.clients[client].sessions[user] { model.sessions[number] = nil }
            model.clients[client].detach(user)
        }
    }

    private mutating func subscribe(_ client: Int) {
        let word = Self.names.keys.sorted()[dice.roll(Self.names.count)]
        let names = (0...dice.roll(3)).map { _ in
            Self.names[word]![dice.roll(Self.names[word]!.count)]
        }
        if run(client, word, names, unless: model.lackOfRoom(client, word, Set(names))) != nil {
            model.clients[client].names[word, default: []].formUnion(names)
        }
    }

    private mutating func unsubscribe(_ client: Int) {
        let word = Self.names.keys.sorted()[dice.roll(Self.names.count)]
        var names = model.clients[client].names[word, default: []].sorted()
        if dice.roll(3) > 0 { names = names.filter { _ in dice.roll(2) == 0 } }
        run(client, Self.leaving[word]!, names, unless: nil)
        // Without a name it is all of them.
        if names.isEmpty { model.clients[client].names[word] = [] }
        model.clients[client].names[word]?.subtract(names)
    }

    private mutating func close(_ client: Int) {
        harness.close(places[client])
        model.close(client)
        places[client] = harness.open(3)
    }

    /// Lets a client give a command, which is refused for the limit, or not.
    ///
    /// - Returns: the reply; nil: it was refused, as it had to be.
    @discardableResult
    private mutating func run(
        _ client: Int, _ word: String, _ arguments: [String], unless lack: UserLimits.Kind?
    ) -> String? {
        let words = ([word] + arguments).map { Array($0.utf8) }
        _ = harness.read(places[client])
        let reply = harness.exchange(places[client], words)
        let refused = UserLimits.Kind.allCases.first {
            reply.contains("-LIMIT a user has at most \(model.limits[$0]) \($0.rawValue) at a node")
        }
        #expect(refused == lack, "\(word) \(arguments) of client \(client): \(reply)")
        guard refused == nil else {
            met[refused!, default: 0] += 1
            return nil
        }
        #expect(!reply.hasPrefix("-"), "\(word) \(arguments): \(reply)")
        return reply
    }

    /// All counts are those of the model.
    mutating func compare(_ step: Int) throws {
        var chargedCount = 0
        for user in Self.users {
            let charge = harness.gateway.hub.charge(of: user)
            try #require(charge == model.charge(user), "of \(user) after step \(step)")
            if charge != UserCharges.Charge() { chargedCount += 1 }
            let places = harness.gateway.hub.placeCount(of: user)
            try #require(places == model.placeCount(user), "of \(user) after step \(step)")
            let sessions = harness.gateway.hub.sessions.count(of: Array(user.utf8))
            try #require(sessions == model.sessionCount(user), "of \(user) after step \(step)")
        }
        let count = harness.gateway.hub.userCharges.count
        try #require(count == chargedCount, "after step \(step)")
    }
}

@Suite struct UserLimitModelTests {
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `random commands meet the limits of users that lists would`(_ seed: UInt64) throws {
        var trial = Trial(seed: seed)
        for step in 0..<2_000 {
            trial.step()
            try trial.compare(step)
        }
        // All limits were met, and more than once.
        #expect(UserLimits.Kind.allCases.allSatisfy { trial.met[$0, default: 0] > 5 })
    }
}
