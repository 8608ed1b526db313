import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Clients that come and go, serve, ask one or all, answer, stand still and die with their nodes, at random, against an account of
/// what each of them may be told.
private final class Market {
    struct Client {
        let host: Int
        let place: ClientIndex
        var decoder = RESPDecoder()
        var isOpen = true
        /// By service, the same each time that it serves it.
        var concurrency: [String: Int] = [:]
        var services: Set<String> = []
        var user: String?
        /// Requests that it has been given and has not answered: names, services, numbers of asks.
        var held: [(id: String, service: String, ask: Int)] = []
    }

    struct Ask {
        let client: Int
        let deadline: Instant
        let retries: Bool
        let isToAll: Bool
        var end: String?
        /// Clients that have it and have not answered.
        var holders: Set<Int> = []
        /// All that have ever had it.
        var receivers: Set<Int> = []
        /// A client or node has died with it.
        var hasDied = false
        /// One that could have it unread has.
        var mayHaveDied = false
        /// Providers have said these for it.
        var words: Set<String> = []
    }

    let servers = Servers(4)
    var clients: [Client] = []
    var asks: [Ask] = []
    var dead: Set<Int> = []
    var frozen: Set<Int> = []
    /// Requests that two had at once, which RETRY allows.
    var doubled = 0
    var random: RandomSource
    var ends: [String: Int] = [:]
    static let services = ["sum", "mul"]

    init(seed: UInt64, losesFrames: Bool) {
        random = RandomSource(seed: seed)
        var weather = RandomSource(seed: seed ^ 0x5555)
        if losesFrames {
            servers.mesh.judge = { _, _, frame in
                guard frame[4] == FrameKind.routed.rawValue else { return .pass }
                switch weather.next(below: 40) {
                case 0: return .drop
                case 1...8: return .delay(.microseconds(Int64(weather.next(below: 4_000))))
                default: return .pass
                }
            }
        }
    }

    var live: [Int] { (0..<4).filter { !dead.contains($0) } }
    /// Those that can do something.
    var open: [Int] {
        clients.indices.filter { clients[$0].isOpen && !frozen.contains(clients[$0].host) }
    }

    func pick(_ places: [Int]) -> Int? {
        places.isEmpty ? nil : places[random.next(below: places.count)]
    }

    func send(_ client: Int, _ words: String...) {
        servers.mesh.send(
            RESPDecoder.command(words), from: clients[client].place, clients[client].host)
        servers.mesh.settle()
        readAll()
    }

    func readAll() {
        for client in open { read(client) }
        let now = servers.now
        for (number, ask) in asks.enumerated()
        where ask.end == nil && clients[ask.client].isOpen
            && !frozen.contains(clients[ask.client].host)
        {
            #expect(ask.deadline >= now, "request \(number) is open after its time")
        }
    }

    private func read(_ client: Int) {
        clients[client].decoder.append(
            servers.mesh.read(clients[client].place, clients[client].host))
        while let reply = try! clients[client].decoder.next() {
            guard case .push(let fields) = reply else { continue }
            let words = fields.map(\.shown)
            switch words[0] {
            case "request": take(words[1], words[2], words[3], Int(words[4])!, client)
            case "reply":
                let number = Int(words[1])!
                if asks[number].isToAll, words[2] == "OK" {
                    check(words[3], of: number)
                    end(number, "ALL", "", client)
                } else {
                    end(number, words[2], words[3], client)
                }
            default: break
            }
        }
    }

    private func take(
        _ id: String, _ kind: String, _ name: String, _ number: Int, _ client: Int
    ) {
        clients[client].held.append((id, kind == "user" ? "" : name, number))
        if kind == "user" {
            #expect(clients[client].user == name)
            #expect(asks[number].client != client, "it is asked what it asks")
        } else {
            let count = clients[client].held.count { $0.service == name }
            #expect(count <= clients[client].concurrency[name]!, "more than its concurrency")
        }
        let isFirst = asks[number].receivers.insert(client).inserted
        if asks[number].isToAll {
            #expect(isFirst, "request \(number) comes twice")
        } else if !asks[number].retries {
            #expect(asks[number].holders.isEmpty, "request \(number) has two providers")
            #expect(!asks[number].hasDied, "request \(number) is given again")
        }
        doubled += !asks[number].isToAll && asks[number].holders.count == 1 ? 1 : 0
        asks[number].holders.insert(client)
    }

    /// The answers of all.
    private func check(_ list: String, of number: Int) {
        let words = list.components(separatedBy: " → ")
        #expect(words.count % 3 == 0 && !words.isEmpty, "request \(number)")
        var told: [String: Int] = [:]
        for place in stride(from: 0, to: words.count - 2, by: 3) {
            let (status, payload) = (words[place + 1], words[place + 2])
            told["\(status) \(payload)", default: 0] += 1
            switch status {
            case "OK", "FAILED", "REJECTED":
                #expect(asks[number].words.contains("\(status) \(payload)"), "request \(number)")
                #expect(told["\(status) \(payload)"] == 1, "request \(number) has it twice")
            case "DIED":
                #expect(asks[number].hasDied || asks[number].mayHaveDied, "request \(number)")
            case "TIMEOUT":
                #expect(servers.now + .milliseconds(1) >= asks[number].deadline)
            default: #expect(["BUSY", "NOSERVICE"].contains(status), "\(status)")
            }
        }
    }

    private func end(_ number: Int, _ status: String, _ payload: String, _ client: Int) {
        #expect(asks[number].client == client)
        #expect(asks[number].end == nil, "request \(number) ends twice")
        asks[number].end = status
        ends[status, default: 0] += 1
        switch status {
        case "OK", "FAILED", "REJECTED":
            #expect(asks[number].words.contains("\(status) \(payload)"), "request \(number)")
        case "DIED": #expect(asks[number].hasDied || asks[number].mayHaveDied, "request \(number)")
        case "TIMEOUT": #expect(servers.now >= asks[number].deadline)
        default: break
        }
    }

    // MARK: Steps

    func step() {
        switch random.next(below: 100) {
        case 0..<6: if clients.count < 5_000 { arrive() }
        case 6..<14: serve()
        case 14..<17:
            if let client = pick(open.filter { !clients[$0].services.isEmpty }) {
                clients[client].services.removeAll()
                send(client, "MESH.UNSERVE")
            }
        case 17..<45: ask()
        case 45..<85: settle()
        case 85..<88: if let client = pick(open), open.count > 4 { leave(client) }
        case 88..<89:
            if let client = pick(open),
                let number = asks.lastIndex(where: {
                    $0.client == client && $0.end == nil
                })
            {
                send(client, "MESH.CANCEL", "\(number)")
            }
        default:
            servers.run(for: .microseconds(Int64(random.next(below: 15_000))))
            readAll()
        }
    }

    private func arrive() {
        guard let host = pick(live.filter { !frozen.contains($0) }) else { return }
        clients.append(Client(host: host, place: servers.open(host)))
        send(clients.count - 1, "HELLO", "3")
        guard random.next(below: 2) == 0 else { return }
        let user = "u\(random.next(below: 6))"
        clients[clients.count - 1].user = user
        send(clients.count - 1, "MESH.ATTACH", user)
    }

    private func serve() {
        guard let client = pick(open) else { return }
        let service = Self.services[random.next(below: 2)]
        guard clients[client].services.insert(service).inserted else { return }
        let concurrency = clients[client].concurrency[service] ?? 1 + random.next(below: 3)
        clients[client].concurrency[service] = concurrency
        send(client, "MESH.SERVE", service, "CONCURRENCY", "\(concurrency)")
    }

    private func ask() {
        guard let client = pick(open), asks.count < 20_000 else { return }
        let milliseconds = [20, 200, 2_000, 5_000][random.next(below: 4)]
        let isToAll = random.next(below: 6) == 0
        let retries = !isToAll && random.next(below: 2) == 0
        let number = asks.count
        asks.append(
            Ask(
                client: client,
                deadline: servers.now + .milliseconds(Int64(milliseconds)), retries: retries,
                isToAll: isToAll))
        let isToUser = random.next(below: 4) == 0
        let target =
            isToUser
            ? ["USER", "u\(random.next(below: 6))"]
            : ["SERVICE", Self.services[random.next(below: 2)]]
        var words = [
            "MESH.REQUEST", target[0], target[1], "\(number)", "TIMEOUT", "\(milliseconds)",
            "ASYNC",
            "\(number)",
        ]
        if retries { words.append("RETRY") }
        if isToAll { words.append("ALL") }
        if !isToUser, !isToAll, random.next(below: 4) == 0 {
            words += ["KEY", "k\(random.next(below: 5))"]
        }
        if random.next(below: 3) == 0 { words.append("WAIT") }
        servers.mesh.send(
            RESPDecoder.command(words), from: clients[client].place, clients[client].host)
        servers.mesh.settle()
        readAll()
    }

    /// A provider is done with one of its requests.
    private func settle() {
        guard let client = pick(open.filter { !clients[$0].held.isEmpty }) else { return }
        let place = random.next(below: clients[client].held.count)
        let (id, _, number) = clients[client].held.remove(at: place)
        asks[number].holders.remove(client)
        let word = "w\(random.next(below: 1_000_000))"
        switch random.next(below: 10) {
        case 0:
            asks[number].words.insert("REJECTED \(word)")
            send(client, "MESH.REJECT", id, word)
        case 1:
            asks[number].words.insert("FAILED \(word)")
            send(client, "MESH.FAIL", id, word)
        default:
            asks[number].words.insert("OK \(word)")
            send(client, "MESH.REPLY", id, word)
        }
    }

    private func leave(_ client: Int) {
        note(gone: client)
        servers.mesh.close(clients[client].place, clients[client].host)
        servers.mesh.settle()
        readAll()
    }

    private func note(gone client: Int) {
        clients[client].isOpen = false
        for (_, _, number) in clients[client].held {
            asks[number].holders.remove(client)
            asks[number].hasDied = true
        }
        clients[client].held.removeAll()
        guard !clients[client].concurrency.isEmpty || clients[client].user != nil else { return }
        for number in asks.indices where asks[number].end == nil {
            asks[number].mayHaveDied = true
        }
    }

    /// A node stands still until all others suspect it, and goes on before they take it for dead.
    func freeze(_ host: Int) {
        frozen.insert(host)
        servers.mesh.freeze(host)
        for _ in 0..<80 {
            step()
            servers.run(for: .milliseconds(28))
            readAll()
        }
        servers.mesh.thaw(host)
        servers.mesh.settle()
        frozen.remove(host)
        servers.run(for: .milliseconds(1))
        readAll()
    }

    func crash(_ host: Int) {
        dead.insert(host)
        for client in open where clients[client].host == host { note(gone: client) }
        // Requests that were on their way to it, or had just come, died with it.
        for number in asks.indices where asks[number].end == nil {
            asks[number].mayHaveDied = true
        }
        servers.mesh.crash(host)
        servers.mesh.settle()
        readAll()
    }

    /// All that is open ends.
    func finish() {
        for _ in 0..<40 {
            servers.run(for: .milliseconds(100))
            readAll()
        }
        for client in open {
            while !clients[client].held.isEmpty {
                let (id, _, number) = clients[client].held.removeFirst()
                asks[number].holders.remove(client)
                asks[number].words.insert("OK end\(client)")
                send(client, "MESH.REPLY", id, "end\(client)")
            }
        }
        servers.run(for: .seconds(6))
        readAll()
        for (number, ask) in asks.enumerated() where clients[ask.client].isOpen {
            #expect(ask.end != nil, "request \(number) has not ended")
        }
        for host in live {
            let counts = servers.mesh.hosts[host].server.edge.gateway.hub.serviceCounts
            let open = servers.mesh.hosts[host].server.edge.gateway.hub.openRequestCount
            let bytes = servers.mesh.hosts[host].server.edge.gateway.hub.memory.requests
            #expect(counts.requests == 0 && open == 0 && bytes == 0, "host \(host)")
        }
    }
}

@Suite(.timeLimit(.minutes(10))) struct RequestModelTests {
    @Test(arguments: [(1 as UInt64, false), (2, true)])
    func `each request ends once and in time, and no provider has too much`(
        seed: UInt64, losesFrames: Bool
    ) {
        let market = Market(seed: seed, losesFrames: losesFrames)
        for _ in 0..<1_500 { market.step() }
        market.freeze(2)
        for _ in 0..<500 { market.step() }
        market.freeze(1)
        market.crash(3)
        for _ in 0..<800 { market.step() }
        market.finish()
        // The run was worth it.
        #expect(market.doubled > 0 || losesFrames)
        let told = ["OK", "FAILED", "DIED", "TIMEOUT", "ALL"]
        for word in told { #expect(market.ends[word, default: 0] > 0, "\(word) \(market.ends)") }
    }
}
