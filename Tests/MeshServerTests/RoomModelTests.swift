import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Rooms of three servers beside lists of who is in them, under thousands of random commands.
@Suite struct RoomModelTests {
    private struct Connection {
        var client: ClientIndex
        var host: Int
        /// Metadata by user.
        var users: [String: String?] = [:]
        /// By room and user, the empty one for one that is hidden: metadata of their own.
        var rooms: [String: [String: String?]] = [:]
    }

    private struct Trial {
        static let users = ["ann", "bob", "eve", "kim"]
        static let rooms = ["lobby", "kitchen", "hall"]
        let servers = Servers(3)
        var random: RandomSource
        var connections: [Connection] = []
        var askedCount = 0

        init(seed: UInt64) {
            random = RandomSource(seed: seed)
            for number in 0..<9 { connections.append(open(number % 3)) }
        }

        func open(_ host: Int) -> Connection {
            Connection(client: servers.open(host), host: host)
        }

        func exchange(_ place: Int, _ command: String) -> String {
            let connection = connections[place]
            return servers.exchange(connection.client, command + "\r\n", connection.host)
        }

        mutating func pick(_ words: [String]) -> String { words[random.next(below: words.count)] }

        mutating func metadata() -> String? {
            random.next(below: 2) == 0 ? nil : "m\(random.next(below: 100))"
        }

        mutating func step() {
            let place = random.next(below: connections.count)
            let user = pick(Self.users)
            let room = pick(Self.rooms)
            switch random.next(below: 30) {
            case 0:
                _ = servers.close(connections[place].client, .inOrder, connections[place].host)
                servers.run(for: .milliseconds(5))
                connections[place] = open(random.next(below: 3))
            case 1:
                #expect(exchange(place, "RESET") == "+RESET·")
                connections[place].users = [:]
                connections[place].rooms = [:]
            case 2..<8: attach(place, user)
            case 8: detach(place, user)
            case 9..<18: join(place, room, user)
            case 18..<22: leave(place, room, user)
            case 22: describe(place, user)
            case 23..<26: say(place, room)
            default: ask(place, room)
            }
        }

        mutating func attach(_ place: Int, _ user: String) {
            let metadata = metadata()
            let options = metadata.map { " META \($0)" } ?? ""
            #expect(exchange(place, "MESH.ATTACH \(user)\(options)") == "+OK·")
            if metadata != nil || connections[place].users[user] == nil {
                connections[place].users[user] = .some(metadata)
            }
        }

        mutating func detach(_ place: Int, _ user: String) {
            let was = connections[place].users[user] != nil
            #expect(exchange(place, "MESH.DETACH \(user)") == ":\(was ? 1 : 0)·")
            connections[place].users[user] = nil
            for room in Self.rooms { connections[place].rooms[room]?[user] = nil }
            connections[place].rooms = connections[place].rooms.filter { !$0.value.isEmpty }
        }

        mutating func join(_ place: Int, _ room: String, _ user: String) {
            let metadata = metadata()
            let options = metadata.map { " META \($0)" } ?? ""
            var (name, command) = (user, "MESH.JOIN \(room) AS \(user)\(options)")
            var own = metadata
            switch random.next(below: 4) {
            case 0:
                (name, own, command) = ("", nil, "MESH.JOIN \(room) HIDDEN")
            case 1:
                command = "MESH.JOIN \(room)\(options)"
                guard let only = connections[place].users.keys.first,
                    connections[place].users.count == 1
                else {
                    let word = connections[place].users.isEmpty ? "-NOUSER" : "-AMBIGUOUS"
                    #expect(exchange(place, command).hasPrefix(word))
                    return
                }
                name = only
            default: break
            }
            guard name.isEmpty || connections[place].users[name] != nil else {
                #expect(exchange(place, command).hasPrefix("-NOUSER"))
                return
            }
            let isNew = connections[place].rooms[room]?[name] == nil
            #expect(exchange(place, command) == ":\(isNew ? 1 : 0)·", "\(command)")
            if isNew || own != nil {
                connections[place].rooms[room, default: [:]][name] = .some(own)
            }
        }

        mutating func leave(_ place: Int, _ room: String, _ user: String) {
            switch random.next(below: 3) {
            case 0:
                let count = connections[place].rooms.count
                #expect(exchange(place, "MESH.LEAVE") == ":\(count)·")
                connections[place].rooms = [:]
            case 1:
                let was = connections[place].rooms[room] != nil
                #expect(exchange(place, "MESH.LEAVE \(room)") == ":\(was ? 1 : 0)·")
                connections[place].rooms[room] = nil
            default:
                let was = connections[place].rooms[room]?[user] != nil
                #expect(exchange(place, "MESH.LEAVE \(room) AS \(user)") == ":\(was ? 1 : 0)·")
                connections[place].rooms[room]?[user] = nil
                if connections[place].rooms[room]?.isEmpty == true {
                    connections[place].rooms[room] = nil
                }
            }
        }

        mutating func describe(_ place: Int, _ user: String) {
            let answer = exchange(place, "MESH.META \(user) new")
            guard connections[place].users[user] != nil else {
                #expect(answer.hasPrefix("-NOUSER"))
                return
            }
            #expect(answer == "+OK·")
            connections[place].users[user] = .some("new")
        }

        mutating func say(_ place: Int, _ room: String) {
            let isEchoed = random.next(below: 2) == 0
            let receivers = connections.indices.filter {
                connections[$0].rooms[room] != nil && (isEchoed || $0 != place)
            }
            let hosts = Set(receivers.map { connections[$0].host })
            let answer = exchange(place, "MESH.SAY \(room) hi\(isEchoed ? " ECHO" : "")")
            let message = "*3·$4·room·$\(room.count)·\(room)·$2·hi·"
            let own = receivers.contains(place) ? message : ""
            #expect(answer == ":\(hosts.count)·" + own)
            for other in connections.indices where other != place {
                let text = servers.read(connections[other].client, connections[other].host)
                #expect(text == (receivers.contains(other) ? message : ""))
            }
        }

        mutating func ask(_ place: Int, _ room: String) {
            askedCount += 1
            var members: [String] = []
            var users: Set<String> = []
            for connection in connections {
                for (user, own) in connection.rooms[room] ?? [:] where !user.isEmpty {
                    let metadata = own ?? connection.users[user] ?? nil
                    members.append("\(user) n\(connection.host) \(metadata ?? "-")")
                    users.insert(user)
                }
            }
            let shown = shownMembers(exchange(place, "MESH.WHO \(room) LIMIT 1000"))
            #expect(shown.sorted() == members.sorted())
            // By user; sids are those of the servers, in the order of their names here.
            #expect(shown.map { $0.split(separator: " ")[0] }.isSorted)
            let count = exchange(place, "MESH.COUNT \(room)")
            #expect(count == "*3·:\(members.count)·:\(users.count)·*0·")
        }

        /// Nothing of rooms is left when all have gone.
        mutating func end() {
            for connection in connections {
                _ = servers.close(connection.client, .inOrder, connection.host)
            }
            servers.run(for: .milliseconds(50))
            for host in 0..<3 {
                let left = servers.mesh.hosts[host].server.edge.gateway.hub.registry.members.count
                let bytes =
                    servers.mesh.hosts[host].server.edge.gateway.hub.registry.members.metadataBytes
                #expect(left == 0 && bytes == 0)
            }
        }
    }

    @Test(arguments: 1...3)
    func `members are those that the commands have made`(seed: UInt64) {
        var trial = Trial(seed: seed)
        for _ in 0..<600 { trial.step() }
        #expect(trial.askedCount > 40)
        trial.end()
    }
}

extension Sequence where Element: Comparable {
    fileprivate var isSorted: Bool { zip(self, dropFirst()).allSatisfy { $0 <= $1 } }
}
