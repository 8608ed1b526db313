import MeshDriver
import MeshWire
import Testing

@testable import MeshCore
@testable import MeshGateway
@testable import MeshServer

/// Three servers with clients, real bytes, and an account of what each client is to get.
///
/// A message is meant for those whose subscription the sender's node knows when it is published. A change of
/// subscriptions is therefore waited for; messages are not.
final class Scene {
    /// The messages that a client is to get of one sender through one subscription: numbers, in order.
    struct Stream: Hashable, Comparable {
        var sender: Int
        var topic: String

        static func < (one: Stream, other: Stream) -> Bool {
            (one.topic, one.sender) < (other.topic, other.sender)
        }
    }

    struct Client {
        var host: Int
        var place: ClientIndex
        var protocolVersion: Int
        /// The connection stands, and everything counts.
        var isOpen = true
        /// It reads.
        var isReading = true
        /// Of what it is to get some may be missing; what it is told of that is compared.
        var mayMiss = false
        /// Nothing is known of what it gets: its node, or a node that it came from, is dead.
        var isLost = false
        var decoder = RESPDecoder()
        var meant: [Stream: [Int]] = [:]
        var got: [Stream: [Int]] = [:]
        var announced = 0
        var presences: [String] = []
        /// Its session's topic and token.
        var session: (topic: String, token: String)?
        /// Replies that are to come, and those that came; of ECHO by their texts.
        var replyCount = 0
        var replies: [String] = []
        var echoes: [(place: Int, text: String)] = []
        var lastReply: RESPReply?
    }

    var mesh: MemoryMesh
    var clients: [Client] = []
    /// Clients by topic: "channel room", "pattern roo*", "user ann", "watch ann".
    private(set) var holders: [String: [Int]] = [:]
    /// Messages for users who are expected back, by their topic.
    private var parked: [String: [(Stream, Int)]] = [:]
    /// Sessions without a connection.
    private struct AwaySession {
        var topic: String
        var token: String
        var host: Int
        var meant: [Stream: [Int]]
    }
    private var away: [AwaySession] = []
    private(set) var dead: Set<Int> = []
    private(set) var leaving: Set<Int> = []
    private var numbers: [Int: Int] = [:]
    private var tags = 0

    init(seed: UInt64) {
        mesh = MemoryMesh(
            hasher: KeyHasher(cluster: "scene"), latency: .milliseconds(1),
            at: Instant(nanoseconds: 1_000_000_000))
        for number in 0..<3 {
            var options = ServerOptions(
                node: Configuration(
                    endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                    seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)]))
            options.gateway.clientAddress = "10.0.0.\(number + 1):7379"
            options.gateway.slowBytesMax = 40_000
            mesh.append(options, id: NodeID(UInt64(number + 1) << 60), seed: seed &+ UInt64(number))
        }
        mesh.run(for: .seconds(3))
        precondition(mesh.allKnowEachOther(3))
    }

    /// Hosts whose nodes stay.
    var live: [Int] { (0..<3).filter { !dead.contains($0) && !leaving.contains($0) } }

    // MARK: Clients

    func open(_ host: Int, protocolVersion: Int = 3) -> Int {
        // Where a node is gone its clients are at the first.
        let host = live.contains(host) ? host : 0
        clients.append(
            Client(host: host, place: mesh.open(host)!, protocolVersion: protocolVersion))
        if protocolVersion == 3 { send(clients.count - 1, "HELLO 3") }
        return clients.count - 1
    }

    /// One command, or several in one piece; behind them an ECHO that shows whether all were answered.
    func send(_ client: Int, _ commands: String..., replies: Int? = nil, echoes: Bool = true) {
        guard isHeard(client) else { return }
        var commands = commands
        clients[client].replyCount += replies ?? commands.count
        if echoes, clients[client].protocolVersion == 3 {
            tags += 1
            commands.append("ECHO tag\(tags)")
            clients[client].echoes.append((clients[client].replyCount, "tag\(tags)"))
            clients[client].replyCount += 1
        }
        let bytes = commands.flatMap {
            RESPDecoder.command($0.split(separator: " ").map(String.init))
        }
        mesh.send(bytes, from: clients[client].place, clients[client].host)
        read(client)
    }

    /// The connection stands, and the server takes commands of it.
    private func isHeard(_ client: Int) -> Bool {
        clients[client].isOpen && !mesh.isEnded(clients[client].place, clients[client].host)
    }

    func read(_ client: Int) {
        guard clients[client].isOpen, clients[client].isReading else { return }
        clients[client].decoder.append(mesh.read(clients[client].place, clients[client].host))
        while let reply = try! clients[client].decoder.next() { take(reply, client) }
    }

    private static let confirmations: Set = [
        "subscribe", "psubscribe", "unsubscribe", "punsubscribe", "watch", "unwatch",
    ]

    private func take(_ reply: RESPReply, _ client: Int) {
        var fields: [RESPReply] = []
        switch reply {
        case .push(let values): fields = values
        case .array(let values) where clients[client].protocolVersion == 2: fields = values
        default: break
        }
        let words = fields.map(\.shown)
        switch words.first {
        case "message" where words.count == 3: note("channel \(words[1])", words[2], client)
        case "pmessage" where words.count == 4: note("pattern \(words[1])", words[3], client)
        case "user" where words.count == 3: note("user \(words[1])", words[2], client)
        case "gap" where words.count >= 4: clients[client].announced += Int(words[3])!
        case "presence": clients[client].presences.append(words[2])
        case .some(let word) where Self.confirmations.contains(word): break
        default:
            clients[client].replies.append(reply.shown)
            clients[client].lastReply = reply
        }
    }

    private func note(_ topic: String, _ payload: String, _ client: Int) {
        let words = payload.split(separator: ".").map { Int($0) }
        guard words.count >= 2, let sender = words[0], let number = words[1] else { return }
        clients[client].got[Stream(sender: sender, topic: topic), default: []].append(number)
    }

    // MARK: Topics

    private func key(_ topic: String) -> Key? {
        let words = topic.split(separator: " ").map(String.init)
        let kind: [String: KeyKind] = ["channel": .channel, "user": .user, "pattern": .pattern]
        return kind[words[0]].map { mesh.hasher.key($0, Array(words[1].utf8)) }
    }

    func join(_ client: Int, _ topic: String, _ command: String, replies: Int) {
        guard isHeard(client) else { return }
        calmDown()
        holders[topic, default: []].append(client)
        send(client, command, replies: replies)
        for (stream, number) in parked.removeValue(forKey: topic) ?? [] {
            clients[client].meant[stream, default: []].append(number)
        }
        waitUntilKnown(topic)
    }

    func part(_ client: Int, _ topic: String, _ command: String, replies: Int) {
        guard isHeard(client) else { return }
        calmDown()
        holders[topic]?.removeAll { $0 == client }
        send(client, command, replies: replies)
        waitUntilKnown(topic)
    }

    /// The hosts that have a client with this topic.
    private func hosts(of topic: String) -> Set<Int> {
        Set((holders[topic] ?? []).map { clients[$0].host })
            .union(away.filter { $0.topic == topic }.map(\.host))
    }

    /// The holders of a topic as the nodes that stay know them; nil: not the same, or not as clients have asked.
    func isKnown(_ topic: String) -> Bool {
        guard let key = key(topic) else { return true }
        // A node that leaves gives sessions without a connection to one of the others.
        if away.contains(where: { $0.topic == topic && !live.contains($0.host) }) { return true }
        // Names of one key are told apart by their holders alone.
        let wanted = holders.keys.filter { self.key($0) == key }
            .reduce(into: Set<Int>()) { $0.formUnion(hosts(of: $1)) }
            .subtracting(dead).subtracting(leaving)
        return live.allSatisfy { host in
            let node = { (index: Int) in self.mesh.hosts[index].server.node.id }
            if topic.hasPrefix("pattern ") { return true }
            let known = mesh.hosts[host].server.node.holders(of: key)
            return Set(known).subtracting(leaving.map(node)).subtracting(dead.map(node))
                == Set(wanted.map(node))
        }
    }

    private func waitUntilKnown(_ topic: String) {
        for _ in 0..<300 where !isKnown(topic) { run(for: .milliseconds(10)) }
        // A pattern travels like a key; nobody can ask for it.
        if topic.hasPrefix("pattern ") { run(for: .milliseconds(20)) }
        #expect(isKnown(topic), "\(topic)")
    }

    /// Bytes under way arrive, and those that wait go: a message that comes behind a change of subscriptions
    /// has its receivers by what it finds there.
    private func calmDown() {
        for host in live {
            for link in mesh.hosts[host].server.pause.congestedLinks {
                mesh.hosts[host].server.linkHasDrained(link)
            }
        }
        for _ in 0..<500 where !isQuiet { run(for: .milliseconds(10)) }
        #expect(isQuiet)
    }

    private var isQuiet: Bool {
        live.allSatisfy { host in
            mesh.hosts[host].server.node.flowSizes().retainedCount == 0
                && mesh.hosts[host].server.pause.publishers.isEmpty
        }
    }

    func run(for delay: Delay) {
        mesh.run(for: delay)
        for client in clients.indices { read(client) }
    }

    // MARK: Messages

    /// The text of a client's next message, and its number.
    func next(_ sender: Int, size: Int = 0) -> (text: String, number: Int) {
        numbers[sender, default: 0] += 1
        let number = numbers[sender]!
        var text = "\(sender).\(number)."
        if text.utf8.count < size { text += String(repeating: "x", count: size - text.utf8.count) }
        return (text, number)
    }

    /// Notes a message that is published now.
    func mean(_ number: Int, from sender: Int, to topic: String) {
        var topics = [topic]
        if topic.hasPrefix("channel roo") { topics.append("pattern roo*") }
        for topic in topics {
            let stream = Stream(sender: sender, topic: topic)
            for client in holders[topic] ?? [] {
                clients[client].meant[stream, default: []].append(number)
            }
            for place in away.indices where away[place].topic == topic {
                away[place].meant[stream, default: []].append(number)
            }
        }
    }

    func publish(
        _ sender: Int, _ topic: String, size: Int = 0, replies: Int = 1, echoes: Bool = true
    ) {
        guard isHeard(sender) else { return }
        let (text, number) = next(sender, size: size)
        let name = topic.split(separator: " ")[1]
        mean(number, from: sender, to: topic)
        let command = topic.hasPrefix("user ") ? "MESH.SEND" : "PUBLISH"
        send(sender, "\(command) \(name) \(text)", replies: replies, echoes: echoes)
    }

    /// A message to a user who is nowhere and expected back.
    func publishParked(_ sender: Int, _ topic: String) {
        guard isHeard(sender) else { return }
        let (text, number) = next(sender)
        parked[topic, default: []].append((Stream(sender: sender, topic: topic), number))
        send(sender, "MESH.SEND \(topic.split(separator: " ")[1]) \(text)")
        #expect(clients[sender].replies.dropLast().last == "-1")
    }

    // MARK: Ends

    /// A client's connection ends, in order and with everything read.
    func close(_ client: Int) {
        guard clients[client].isOpen else { return }
        read(client)
        clients[client].isOpen = false
        for topic in holders.keys { holders[topic]!.removeAll { $0 == client } }
        mesh.close(clients[client].place, clients[client].host)
    }

    /// The same of a client with a session: what it has not got yet is for the one that goes on with it.
    func suspend(_ client: Int, _ topic: String, _ token: String) {
        guard clients[client].isOpen else { return }
        close(client)
        var session = AwaySession(
            topic: topic, token: token, host: clients[client].host, meant: [:])
        for stream in clients[client].meant.keys.sorted() where stream.topic == topic {
            let got = clients[client].got[stream] ?? []
            let meant = clients[client].meant[stream]!
            session.meant[stream] = meant.filter { !got.contains($0) }
            clients[client].meant[stream] = meant.filter { got.contains($0) }
        }
        away.append(session)
    }

    /// A session goes on with this client, wherever it was.
    func resume(_ client: Int, _ topic: String, _ token: String) {
        guard let place = away.firstIndex(where: { $0.token == token }) else { return }
        let session = away.remove(at: place)
        for stream in session.meant.keys.sorted() {
            clients[client].meant[stream, default: []] += session.meant[stream]!
        }
        holders[topic, default: []].append(client)
        send(client, "MESH.ATTACH \(topic.dropFirst(5)) RESUME \(token)")
    }

    /// A node's process ends.
    func crash(_ host: Int) {
        guard live.contains(host) else { return }
        dead.insert(host)
        for client in clients.indices where clients[client].host == host && clients[client].isOpen {
            clients[client].isOpen = false
            clients[client].isLost = true
            for topic in holders.keys { holders[topic]!.removeAll { $0 == client } }
        }
        mesh.crash(host)
    }

    /// A node begins to leave: its clients are ended.
    func leave(_ host: Int) {
        guard live.contains(host) else { return }
        leaving.insert(host)
        mesh.handle(.leave, host)
    }

    /// Clients whose server has ended them hang up.
    func hangUp() {
        for client in clients.indices where clients[client].isOpen {
            let isEnded = mesh.isEnded(clients[client].place, clients[client].host)
            if isEnded {
                // Messages that were meant for it and came after the end it does not get, but for a session.
                clients[client].mayMiss = true
                if let session = clients[client].session {
                    suspend(client, session.topic, session.token)
                } else {
                    close(client)
                }
            }
        }
    }

    // MARK: What must hold

    func check(_ what: Comment) {
        run(for: .seconds(2))
        for topic in holders.keys.sorted() { #expect(isKnown(topic), "\(what): \(topic)") }
        for client in clients.indices where !clients[client].isLost { checkClient(client, what) }
        for client in clients.indices { close(client) }
        // Longer than users are waited for, and sessions kept.
        run(for: .seconds(13))
        for host in live { checkMemory(host, what) }
    }

    private func checkClient(_ client: Int, _ what: Comment) {
        let state = clients[client]
        var missing = 0
        for stream in Set(state.meant.keys).union(state.got.keys).sorted() {
            let meant = state.meant[stream] ?? []
            let got = state.got[stream] ?? []
            // Whatever a dead node's client had sent may be lost with it.
            let isSenderLost = clients[stream.sender].isLost
            if state.mayMiss || isSenderLost {
                var rest = meant[...]
                let isPart = got.allSatisfy { number in
                    guard let place = rest.firstIndex(of: number) else { return false }
                    rest = rest[(place + 1)...]
                    return true
                }
                #expect(isPart, "\(what): client \(client), \(stream): \(got) of \(meant)")
                if !isSenderLost { missing += meant.count - got.count }
            } else {
                #expect(got == meant, "\(what): client \(client), \(stream)")
            }
        }
        if state.mayMiss, state.isOpen {
            #expect(state.announced == missing, "\(what): notices to client \(client)")
        }
        if state.isOpen, state.isReading {
            #expect(
                state.replies.count == state.replyCount,
                "\(what): replies to client \(client): \(state.replies)")
            for echo in state.echoes where echo.place < state.replies.count {
                #expect(state.replies[echo.place] == echo.text, "\(what): client \(client)")
            }
        }
    }

    private func checkMemory(_ host: Int, _ what: Comment) {
        let sizes = mesh.hosts[host].server.node.flowSizes()
        #expect(
            sizes.retainedCount == 0 && sizes.retainedBytes == 0 && sizes.reorderedBytes == 0,
            "\(what): host \(host) keeps \(sizes)")
        #expect(sizes.parkedCount == 0 && sizes.parkedBytes == 0 && sizes.congested == 0, what)
        let queries = mesh.hosts[host].server.node.queries.count
        let questions = mesh.hosts[host].server.edge.gateway.hub.questions.count
        #expect(queries == 0 && questions == 0, "\(what): host \(host)")
        let tables = mesh.hosts[host].server.node.tableSizes()
        #expect(tables.entries == 0 && tables.patterns == 0, "\(what): host \(host)")
        #expect(tables.members == live.count, "\(what): host \(host)")
        let clientCount = mesh.hosts[host].server.edge.gateway.hub.clientCount
        let hasPaused = !mesh.hosts[host].server.pause.publishers.isEmpty
        #expect(clientCount == 0 && !hasPaused, "\(what): host \(host)")
        let errors = mesh.hosts[host].server.node.counters[.protocolErrors]
        #expect(errors == 0, "\(what): host \(host)")
    }
}
