import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// The client side of one node as a list of clients with sets of names: what each command answers, and
/// who gets what.
private struct ClientModel {
    struct Client {
        var isRESP3: Bool
        /// Names by kind: channel, pattern, shard, user.
        var names: [String: Set<String>] = [:]
        /// The lines that it is to read, in order.
        var lines: [String] = []

        func count(_ kinds: String...) -> Int { kinds.reduce(0) { $0 + (names[$1]?.count ?? 0) } }

        var isRestricted: Bool { !isRESP3 && count("channel", "pattern", "shard") > 0 }
    }

    var clients: [Client]

    /// `SUBSCRIBE` and its kin.
    mutating func subscribe(_ client: Int, _ kind: String, _ names: [String], isJoining: Bool) {
        let initial = ["channel": "", "pattern": "p", "shard": "s"][kind]!
        let word = initial + (isJoining ? "subscribe" : "unsubscribe")
        for name in names {
            if isJoining {
                clients[client].names[kind, default: []].insert(name)
            } else {
                clients[client].names[kind, default: []].remove(name)
            }
            let count =
                kind == "shard"
                ? clients[client].count("shard") : clients[client].count("channel", "pattern")
            clients[client].lines.append("\(word) → \(name) → \(count)")
        }
    }

    /// How many get a message, and those.
    mutating func publish(_ client: Int, _ kind: String, _ name: String, _ payload: String) {
        var count = 0
        for index in clients.indices where clients[index].names[kind]?.contains(name) ?? false {
            count += 1
        }
        if kind == "channel" {
            for other in clients {
                count += other.names["pattern"]?.count { Glob.matches($0, name) } ?? 0
            }
        }
        clients[client].lines.append(String(kind == "user" ? min(count, 1) : count))
        let word = ["channel": "message", "shard": "smessage", "user": "user"][kind]!
        for index in clients.indices {
            if clients[index].names[kind]?.contains(name) ?? false {
                clients[index].lines.append("\(word) → \(name) → \(payload)")
            }
        }
        guard kind == "channel" else { return }
        for index in clients.indices {
            // In the order of their names; the node's own is another.
            for pattern in (clients[index].names["pattern"] ?? []).sorted()
            where Glob.matches(pattern, name) {
                clients[index].lines.append("pmessage → \(pattern) → \(name) → \(payload)")
            }
        }
    }
}

extension Glob {
    fileprivate static func matches(_ pattern: String, _ name: String) -> Bool {
        matches(Array(pattern.utf8), Array(name.utf8))
    }
}

/// Clients of one node, and the model that says what they read.
private struct Comparison: ~Copyable {
    private static let names = ["a", "ab", "b", "news.x", "news.y", ""]
    private static let patterns = ["*", "a*", "?", "news.?", "[ab]", "*b"]
    private static let refused = "a client with subscriptions may not"

    var dice: Dice
    var harness = Harness()
    var places: [ClientIndex] = []
    var model = ClientModel(clients: [])
    private var payload = 0

    init(seed: UInt64) {
        dice = Dice(state: seed)
        for number in 0..<5 {
            places.append(harness.open(number % 2 == 0 ? 3 : 2))
            model.clients.append(ClientModel.Client(isRESP3: number % 2 == 0))
        }
    }

    /// A command of any client, or the end of its connection and another one in its place.
    mutating func step() {
        let client = dice.roll(places.count)
        if dice.roll(12) == 0 {
            harness.close(places[client])
            places[client] = harness.open(client % 2 == 0 ? 3 : 2)
            model.clients[client] = ClientModel.Client(isRESP3: client % 2 == 0)
        } else if dice.roll(5) < 2 {
            subscribe(client)
        } else {
            payload += 1
            let name = Self.names[dice.roll(Self.names.count)]
            if model.clients[client].isRestricted {
                run(client, "PUBLISH", name, String(payload))
                model.clients[client].lines.append(Self.refused)
            } else if dice.roll(2) == 0 {
                publish(client, name, String(payload))
            } else {
                changeAttachments(client, name.isEmpty ? "a" : name)
            }
        }
    }

    private mutating func subscribe(_ client: Int) {
        let kind = ["channel", "pattern", "shard"][dice.roll(3)]
        let all = kind == "pattern" ? Self.patterns : Self.names
        var names: [String] = []
        for _ in 0...dice.roll(3) { names.append(all[dice.roll(all.count)]) }
        let isJoining = dice.roll(2) == 0
        let initial = ["channel": "", "pattern": "P", "shard": "S"][kind]!
        run(client, [initial + (isJoining ? "SUBSCRIBE" : "UNSUBSCRIBE")] + names)
        model.subscribe(client, kind, names, isJoining: isJoining)
    }

    private mutating func publish(_ client: Int, _ name: String, _ text: String) {
        switch dice.roll(3) {
        case 0:
            run(client, "SPUBLISH", name, text)
            model.publish(client, "shard", name, text)
        case 1 where !name.isEmpty:
            run(client, "MESH.SEND", name, text)
            model.publish(client, "user", name, text)
        default:
            run(client, "PUBLISH", name, text)
            model.publish(client, "channel", name, text)
        }
    }

    private mutating func changeAttachments(_ client: Int, _ user: String) {
        switch dice.roll(4) {
        case 0, 1:
            run(client, "MESH.ATTACH", user)
            model.clients[client].names["user", default: []].insert(user)
            model.clients[client].lines.append("OK")
        case 2:
            run(client, "MESH.DETACH", user)
            let gone = model.clients[client].names["user", default: []].remove(user)
            model.clients[client].lines.append(gone == nil ? "0" : "1")
        default:
            // The messages that wait stay within the bounds of each.
            run(client, "MESH.POLICY", ["drop-oldest", "drop-newest", "disconnect"][dice.roll(3)])
            model.clients[client].lines.append("OK")
        }
    }

    private mutating func run(_ client: Int, _ words: String...) { run(client, words) }

    private mutating func run(_ client: Int, _ words: [String]) {
        harness.send(places[client], command(words.map { Array($0.utf8) }))
    }

    /// The lines that a client has read, and those of the model.
    mutating func read(_ client: Int) throws -> (got: [String], meant: [String]) {
        var decoder = RESPDecoder()
        decoder.append(harness.readBytes(places[client]))
        var lines: [String] = []
        while let reply = try decoder.next() {
            let isRefusal = reply.shown.hasPrefix("ERR Can't execute")
            lines.append(isRefusal ? Self.refused : reply.shown)
        }
        defer { model.clients[client].lines = [] }
        return (Self.inOrder(lines), Self.inOrder(model.clients[client].lines))
    }

    /// The lines that tell of one message to several patterns are put in the order of the patterns.
    private static func inOrder(_ lines: [String]) -> [String] {
        var result: [String] = []
        var run: [String] = []
        func payload(_ line: String) -> Substring? { line.split(separator: " ").last }
        for line in lines {
            if !run.isEmpty, !line.hasPrefix("pmessage") || payload(run[0]) != payload(line) {
                result += run.sorted()
                run = []
            }
            if line.hasPrefix("pmessage") { run.append(line) } else { result.append(line) }
        }
        return result + run.sorted()
    }
}

@Suite struct ClientModelTests {
    /// Clients read at times, so that messages wait in outputs and mailboxes; places are used again.
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `random commands do what a list of clients with sets of names would`(
        _ seed: UInt64
    ) throws {
        var comparison = Comparison(seed: seed)
        for step in 0..<3_000 {
            comparison.step()
            for client in comparison.places.indices
            where step == 2_999 || comparison.dice.roll(20) == 0 {
                let (got, meant) = try comparison.read(client)
                try #require(got == meant, "client \(client) after step \(step)")
            }
        }
    }
}
