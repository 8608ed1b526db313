import MeshCore
import MeshDriver
import MeshServer
import MeshWire

/// A client program: it has at most one connection, and goes on with its sessions at any node.
struct Actor {
    struct Token {
        var text: String
        var user: String
        var isCounted: Bool
        /// The connection that was told it.
        var connection: Int
        /// Messages of the user that this connection has read since.
        var seen = 0
    }

    let isRESP3: Bool
    let user: String
    var connection: Connection?
    /// The latest last.
    var tokens: [Token] = []
    /// The host that a leaving node has told it to go to.
    var destination: Int?

    static let tokenCountMax = 6
}

/// One connection of an actor.
struct Connection {
    let serial: Int
    let host: Int
    let place: ClientIndex
    /// Bytes that its socket takes until it is read from again.
    var room: Int
    /// Bytes that its socket has taken.
    var taken = 0
    var reader = ClientReader()
    /// Messages that it has published.
    var published = 0
    /// The user that it has last asked a token for.
    var asked: (user: String, isCounted: Bool)?
    /// Users that it has attached, or asked for.
    var attached: Set<String> = []
    /// The latest message of a publisher to a user that it has read.
    var latest: [String: Int] = [:]
    /// The rest of a command of which the beginning was sent.
    var unsent: [UInt8] = []
    var isQueueing = false
}

/// One random schedule: a few servers, a few clients, and what happens to them.
///
/// Everything is drawn from the seed, and from what the clients have read. The driver's part is the
/// reactor's: after each turn it offers the clients' output to their sockets, which take as much as
/// there is room, and it closes a connection as soon as the server wants that.
final class Schedule {
    var mesh: MemoryMesh
    var random: RandomSource
    var record: Record
    var actors: [Actor] = []
    /// Connections that have ended, and of which more may be told.
    var doubts: [(number: UInt32, host: Int)] = []
    /// Connections that were opened, by host.
    var openCounts: [Int] = []
    var connectionCount = 0
    var faults: [String] = []
    var leaving: Set<Int> = []
    var frozen: Set<Int> = []
    /// Users whose messages may come twice and out of order: a connection has attached them twice,
    /// and keeps what comes for each of the two sessions.
    var muddledUsers: Set<String> = []
    /// No node and no link has failed: after that what was sent again may come twice.
    var isCalm = true
    /// Many messages are long, up to 300 KB, and many clients read slowly.
    let isLarge: Bool
    /// Clients mostly have sessions, not subscriptions.
    let hasSessions: Bool
    let latency: Delay
    let grace: Delay
    let seed: UInt64
    let startedAt = Instant(nanoseconds: 1_000_000_000)
    private(set) var stepCount = 0
    private let leftOut: Set<String>
    let steps: Choice<Step>
    let words: Choice<Word>

    init(seed: UInt64, leftOut: Set<String>, isRead: Bool) {
        self.seed = seed
        self.leftOut = leftOut
        random = RandomSource(seed: seed)
        record = Record(isRead: isRead)
        words = Choice(Word.allCases.map { ($0, $0.weight) }, without: leftOut)
        isLarge = random.next(below: 3) == 0
        hasSessions = random.next(below: 2) == 0 || !isLarge
        // Where bytes take no time nodes neither die nor leave: what they ask one another without a
        // pause, because the one that they need is gone, would have no end.
        latency = random.next(below: 2) == 0 ? .milliseconds(1) : .zero
        let fatal = latency > .zero ? [] : [Step.drain, .crash, .freeze, .thaw].map(\.rawValue)
        steps = Choice(Step.allCases.map { ($0, $0.weight) }, without: leftOut.union(fatal))
        grace = random.pick([.seconds(1), .seconds(3), .seconds(10)])
        mesh = MemoryMesh(
            hasher: KeyHasher(cluster: "schedules"), latency: latency, at: startedAt)
        let hostCount = 2 + random.next(below: 2)
        if hostCount == 3, random.next(below: 8) == 0 { mesh.apart = (1, 2) }
        let bounds = drawBounds()
        for number in 0..<hostCount {
            var options = bounds
            options.node.endpoint = MemoryMesh.endpoint(number)
            options.node.name = "n\(number)"
            options.node.seeds = number == 0 ? [] : [MemoryMesh.endpoint(0)]
            options.gateway.clientAddress = "10.0.0.\(number):7379"
            mesh.append(
                options, id: NodeID(UInt64(number + 1) << 60), seed: seed &+ UInt64(number))
            openCounts.append(0)
        }
        for _ in 0..<200 where !mesh.allKnowEachOther(hostCount) {
            mesh.run(for: .milliseconds(20))
        }
        precondition(mesh.allKnowEachOther(hostCount))
        for number in 0..<2 + random.next(below: 5) {
            actors.append(
                Actor(
                    isRESP3: random.next(below: 5) < 3,
                    user: Self.users[number % Self.users.count]))
        }
    }

    /// Bounds that the messages of some steps fill.
    private func drawBounds() -> ServerOptions {
        var options = ServerOptions(
            node: Configuration(endpoint: MemoryMesh.endpoint(0), name: ""))
        options.node.recentRecordCount = 1_024
        options.node.degree = 4
        if random.next(below: 4) == 0 { options.node.flows.windowBytes = 256 * 1024 }
        options.drainTime = random.pick([.zero, .milliseconds(200), .seconds(2)])
        options.clientOutputBytes = random.pick([64 * 1024, 1024 * 1024])
        options.gateway.slowBytesMax = random.pick([500, 5_000, 60_000, 300_000])
        options.gateway.sessionCountMax = random.pick([1, 3, 8, 50])
        options.gateway.sessionBytesMax = random.pick([700, 8_000, 100_000, 1_000_000])
        options.gateway.sessionGrace = grace
        options.gateway.sessionsMax = random.pick([3, 1_000, 1_000, 1_000, 1_000, 1_000])
        options.gateway.pubsubOutputLimit.hard = random.pick([0, 200_000, 600_000, 2_000_000])
        options.gateway.pubsubOutputLimit.soft = random.pick([0, 0, 50_000, 250_000])
        options.gateway.pubsubOutputLimit.softDuration = .seconds(2)
        options.gateway.slowConsumerPolicy = random.pick([
            .disconnect, .disconnect, .disconnect, .dropOldest, .dropNewest, .latest,
        ])
        record.note(
            "bounds: slow \(options.gateway.slowBytesMax), session "
                + "\(options.gateway.sessionCountMax) / \(options.gateway.sessionBytesMax), output "
                + "\(options.gateway.pubsubOutputLimit.hard), grace \(grace.milliseconds) ms, "
                + "drain \(options.drainTime.milliseconds) ms, "
                + "policy \(options.gateway.slowConsumerPolicy.name)")
        return options
    }

    func play() {
        for actor in actors.indices { open(actor) }
        let end = 40 + random.next(below: isLarge ? 60 : 120)
        while stepCount < end {
            stepCount += 1
            perform(steps.draw(&random))
            turn()
        }
        finish()
    }

    // MARK: The driver's part

    /// Frames that are sent now arrive, mostly, and the sockets take their share.
    func turn() {
        if random.next(below: 8) > 0 { mesh.settle() }
        if latency > .zero, random.next(below: 2) == 0 { mesh.run(for: .milliseconds(2)) }
        offer()
    }

    /// Offers the clients' output to their sockets, and closes connections that are to be ended.
    func offer() {
        for actor in actors.indices {
            guard let connection = actors[actor].connection else { continue }
            let (place, host) = (connection.place, connection.host)
            guard mesh.hosts[host].isUp else {
                drop(actor, "its node is gone")
                continue
            }
            if frozen.contains(host) { continue }
            let isToEnd = mesh.isEnded(place, host)
            take(actor)
            guard mesh.isEnded(place, host) else { continue }
            // A client that has lost its output is closed at once; of others the output leaves.
            if isToEnd, random.next(below: 4) > 0 {
                actors[actor].connection!.room = .max
                take(actor)
            }
            record.add("\(connection.serial) ended")
            close(actor)
        }
    }

    /// The socket of an actor takes what there is room for.
    private func take(_ actor: Int) {
        var connection = actors[actor].connection!
        let bytes = mesh.read(connection.place, connection.host, countMax: connection.room)
        if bytes.isEmpty { return }
        if connection.room != .max { connection.room -= bytes.count }
        connection.taken += bytes.count
        record.took(bytes, connection.serial)
        record.note("  \(name(actor)) ◂ \(shown(bytes))")
        var items: [ClientReader.Item] = []
        if !connection.reader.take(bytes, { items.append($0) }) {
            faults.append("connection \(connection.serial) has read what is no RESP")
        }
        actors[actor].connection = connection
        for item in items { read(item, actor) }
    }

    private func read(_ item: ClientReader.Item, _ actor: Int) {
        switch item {
        case .moved(let address):
            actors[actor].destination = (0..<openCounts.count).first {
                address == "10.0.0.\($0):7379"
            }
        case .token(let text):
            guard let asked = actors[actor].connection!.asked else { return }
            actors[actor].tokens.append(
                Actor.Token(
                    text: text, user: asked.user, isCounted: asked.isCounted,
                    connection: actors[actor].connection!.serial))
            if actors[actor].tokens.count > Actor.tokenCountMax {
                actors[actor].tokens.removeFirst()
            }
            // The messages that a session has kept may have come to this connection before.
            actors[actor].connection!.latest = [:]
        case .user(let user, let payload):
            let serial = actors[actor].connection!.serial
            if let place = actors[actor].tokens.lastIndex(where: { $0.user == user }),
                actors[actor].tokens[place].connection == serial
            {
                actors[actor].tokens[place].seen += 1
            }
            checkOrder(user, payload, actor)
        }
    }

    /// Of one publisher a user's messages come in order, and once (`publisher.number.…`). Behind a
    /// token they may begin anew.
    private func checkOrder(_ user: String, _ payload: ArraySlice<UInt8>, _ actor: Int) {
        let words = payload.prefix(24).split(separator: UInt8(ascii: "."), maxSplits: 2)
        guard isCalm, !muddledUsers.contains(user), words.count >= 2,
            let number = Int(String(decoding: words[1], as: UTF8.self))
        else {
            return
        }
        let stream = user + " " + String(decoding: words[0], as: UTF8.self)
        if let before = actors[actor].connection!.latest[stream], before >= number {
            faults.append(
                "\(name(actor)) has read \(number) of \(stream) after \(before)")
        }
        actors[actor].connection!.latest[stream] = number
    }

    // MARK: Connections

    /// Hosts that take clients.
    var openHosts: [Int] {
        (0..<openCounts.count).filter {
            mesh.hosts[$0].isUp && mesh.hosts[$0].takesClients && !frozen.contains($0)
        }
    }

    /// Hosts that stay.
    var stayingHosts: [Int] {
        (0..<openCounts.count).filter { mesh.hosts[$0].isUp && !leaving.contains($0) }
    }

    func name(_ actor: Int) -> String {
        guard let connection = actors[actor].connection else { return "c\(actor)" }
        return "c\(actor)#\(connection.serial)@\(connection.host)"
    }

    /// The connection ends, as its socket tells.
    func close(_ actor: Int) {
        guard let connection = actors[actor].connection else { return }
        let parting = drawParting(connection)
        record.note(
            "  \(name(actor)) closes: \(parting.wasBroken ? "broken" : "in order"), "
                + "\(parting.unacknowledgedBytes) bytes unacknowledged")
        if let number = mesh.close(connection.place, connection.host, parting) {
            doubts.append((number, connection.host))
        }
        // Bytes that are not acknowledged may not have been read.
        if parting != .inOrder, random.next(below: 2) == 0 {
            for token in actors[actor].tokens.indices
            where actors[actor].tokens[token].connection == connection.serial {
                let seen = actors[actor].tokens[token].seen
                actors[actor].tokens[token].seen = max(0, seen - random.next(below: 4))
            }
        }
        actors[actor].connection = nil
    }

    func drawParting(_ connection: Connection?) -> Parting {
        switch random.next(below: 10) {
        case 0..<5: return .inOrder
        case 5..<7: return Parting(unacknowledgedBytes: 0, wasBroken: true)
        case 7..<9:
            let taken = min(connection?.taken ?? 500, 2_000)
            return Parting(
                unacknowledgedBytes: random.next(below: taken + 1),
                wasBroken: random.next(below: 2) == 0)
        default: return Parting(unacknowledgedBytes: .max, wasBroken: true)
        }
    }

    /// The connection is gone with its node.
    private func drop(_ actor: Int, _ reason: String) {
        record.note("  \(name(actor)): \(reason)")
        actors[actor].connection = nil
    }

    // MARK: The end

    /// All read, all who have a session come back for it, and time passes until nothing is kept.
    private func finish() {
        record.note("finish")
        for host in frozen.sorted() { mesh.thaw(host) }
        frozen = []
        for doubt in doubts where mesh.hosts[doubt.host].isUp {
            mesh.conclude(doubt.number, .inOrder, doubt.host)
        }
        doubts = []
        for actor in actors.indices { actors[actor].connection?.room = .max }
        pass(.milliseconds(300))
        for actor in actors.indices where actors[actor].connection == nil {
            if random.next(below: 8) > 0 { open(actor, isReturning: true) }
        }
        for actor in actors.indices { actors[actor].connection?.room = .max }
        for delay in [.milliseconds(20), .seconds(2), grace + .seconds(1)] as [Delay] {
            pass(delay)
            for actor in actors.indices { actors[actor].connection?.room = .max }
        }
        for host in openCounts.indices where mesh.hosts[host].isUp { addFigures(host) }
    }

    func pass(_ delay: Delay) {
        record.note("pass \(delay.milliseconds) ms")
        mesh.run(for: delay)
        offer()
    }

    /// The counters that others see, as MESH.STATUS tells them.
    private func addFigures(_ host: Int) {
        guard let client = mesh.open(host) else { return }
        mesh.send(Array("MESH.STATUS\r\n".utf8), from: client, host)
        let lines = mesh.read(client, host).split(separator: 0x0A, omittingEmptySubsequences: true)
        var text = ["figures of n\(host)"]
        var place = 0
        while place + 1 < lines.count {
            let name = String(decoding: lines[place].dropLast(), as: UTF8.self)
            if Self.figures.contains(name), !leftOut.contains(name) {
                text.append(name + String(decoding: lines[place + 1].dropLast(), as: UTF8.self))
            }
            place += 1
        }
        record.add(text.joined(separator: " "))
        record.note(text.joined(separator: "\n    "))
    }

    /// A server's report of itself, as far as it is of clients and their messages.
    static let figureNames = [
        "sessions", "sessionsWaiting", "clients", "slowDroppedOldest", "slowDroppedNewest",
        "slowDroppedLatest", "slowDisconnected", "messagesOriginated", "messagesDelivered",
        "undelivered", "gaps", "deaths", "parked", "foundNobody", "foundNoSubscriber", "takenBack",
        "commands",
        "commandErrors", "messagesPublished", "clientCopies", "droppedClientCopies",
        "discardedOutputBytes", "undeliveredReports", "sessionsOpened", "sessionsResumed",
        "sessionsEnded", "sessionsExpired", "sessionsMovedIn", "sessionsMovedOut", "sessionsLost",
        "sessionsRefused", "sessionTokensRefused", "sessionMessagesDropped",
        "sessionMessagesRepeated", "sessionTwins", "sessionDeparturesLost", "movedNotices",
        "gapNotices", "sessionPartingsLost", "clientsOverdue", "clientProtocolErrors",
        "clientsKilled", "questions", "publishersPaused",
    ]
    private static let figures = Set(figureNames)

    static let names = Set(
        figureNames + Step.allCases.map(\.rawValue) + Word.allCases.map(\.rawValue))
}

/// A draw among cases, each with its weight.
struct Choice<Case: RawRepresentable> where Case.RawValue == String {
    private let cases: [(value: Case, end: Int)]

    init(_ weights: [(Case, Int)], without leftOut: Set<String>) {
        var end = 0
        cases = weights.filter { !leftOut.contains($0.0.rawValue) }.map { value, weight in
            end += weight
            return (value, end)
        }
    }

    func draw(_ random: inout RandomSource) -> Case {
        let number = random.next(below: cases.last!.end)
        return cases.first { number < $0.end }!.value
    }
}

extension RandomSource {
    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[next(below: elements.count)]
    }
}
