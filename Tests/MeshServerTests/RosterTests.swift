import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Servers with clients that are in rooms and watch them, and what each watcher has been told.
final class Gallery {
    struct Person {
        let host: Int
        let client: ClientIndex
        var isOpen = true
        var decoder = RESPDecoder()
        /// Pushes about rosters since they were asked for last, without members.
        var states: [String] = []
        var words: [String] = []
        /// Users and metadata by room and sid, as the pushes say, and the last count.
        var members: [String: [String: String]] = [:]
        var counts: [String: Int] = [:]
        fileprivate var gathered: [String: [String: String]] = [:]
    }

    let servers: Servers
    var people: [Person] = []
    private var frozen: Int?

    init(_ count: Int = 3, configure: (inout ServerOptions) -> Void = { _ in }) {
        servers = Servers(count, configure: configure)
    }

    func open(_ host: Int, protocolVersion: Int = 3) -> Int {
        people.append(Person(host: host, client: servers.open(host)))
        if protocolVersion == 3 { say(people.count - 1, "HELLO 3") }
        return people.count - 1
    }

    /// A connection that is attached as a user.
    func attach(_ user: String, _ host: Int) -> Int {
        let person = open(host)
        say(person, "MESH.ATTACH \(user)")
        return person
    }

    /// Sends commands, one a line, and takes what has come then.
    func say(_ person: Int, _ commands: String...) {
        let bytes = commands.flatMap {
            RESPDecoder.command($0.split(separator: " ").map(String.init))
        }
        servers.mesh.send(bytes, from: people[person].client, people[person].host)
        servers.mesh.settle()
        servers.run(for: .zero)
        read(person)
    }

    func run(_ milliseconds: Int) {
        servers.run(for: .milliseconds(Int64(milliseconds)))
        for person in people.indices { read(person) }
    }

    func close(_ person: Int) {
        read(person)
        people[person].isOpen = false
        _ = servers.close(people[person].client, .inOrder, people[person].host)
    }

    func freeze(_ host: Int) {
        frozen = host
        servers.mesh.freeze(host)
    }

    func thaw(_ host: Int) {
        frozen = nil
        servers.mesh.thaw(host)
    }

    func crash(_ host: Int) {
        for person in people.indices where people[person].host == host {
            people[person].isOpen = false
        }
        servers.mesh.crash(host)
    }

    /// The words of the pushes since, with their members.
    func heard(_ person: Int) -> [String] {
        defer {
            people[person].words = []
            people[person].states = []
        }
        return people[person].words
    }

    private func read(_ person: Int) {
        guard people[person].isOpen, people[person].host != frozen else { return }
        let bytes = servers.mesh.read(people[person].client, people[person].host)
        people[person].decoder.append(bytes)
        while let reply = try! people[person].decoder.next() {
            let fields: [RESPReply]
            switch reply {
            case .push(let values), .array(let values): fields = values
            default: continue
            }
            guard fields.first?.shown == "roster" else { continue }
            take(fields, person)
        }
    }

    private func take(_ fields: [RESPReply], _ person: Int) {
        let (room, state) = (fields[1].shown, fields[2].shown)
        guard fields.count == 6, case .integer(let count) = fields[3],
            case .array(let joined) = fields[4], case .array(let left) = fields[5]
        else {
            Issue.record("\(fields)")
            return
        }
        var words = [state, "\(count)"]
        var members = people[person].members[room] ?? [:]
        if state == "all" || state == "more" { members = people[person].gathered[room] ?? [:] }
        for member in joined {
            guard case .array(let parts) = member, parts.count == 3 else {
                Issue.record("\(fields)")
                return
            }
            words.append("+\(parts[0].shown)/\(parts[2].shown)")
            members[parts[1].shown] = "\(parts[0].shown)/\(parts[2].shown)"
        }
        for member in left {
            guard case .array(let parts) = member, parts.count == 3 else {
                Issue.record("\(fields)")
                return
            }
            words.append("-\(parts[0].shown)/\(parts[2].shown)")
            #expect(members.removeValue(forKey: parts[1].shown) != nil, "\(words)")
        }
        #expect(joined.count <= (state == "change" ? 1_000 : 512))
        people[person].states.append(state)
        people[person].words.append(words.joined(separator: " "))
        people[person].counts[room] = Int(count)
        if state == "more" {
            people[person].gathered[room] = members
            return
        }
        people[person].gathered[room] = nil
        if state == "count" { return }
        people[person].members[room] = members
        #expect(members.count == Int(count), "\(words)")
    }

    /// The things that a person knows of a room, in order.
    func known(_ person: Int, _ room: String) -> [String] {
        (people[person].members[room] ?? [:]).values.sorted()
    }

    func counter(_ counter: GatewayCounter, _ host: Int) -> UInt64 {
        servers.mesh.hosts[host].server.edge.gateway.hub.counters[counter]
    }

    func bytes(_ host: Int) -> Int {
        servers.mesh.hosts[host].server.edge.gateway.hub.memory.rosters
    }
}

/// Rosters on a few servers: the pushes, word by word.
@Suite struct RosterTests {
    @Test func `a watcher is told all, then each change, with its reason`() {
        let gallery = Gallery()
        let ann = gallery.attach("ann", 0)
        let bob = gallery.attach("bob", 1)
        let cleo = gallery.attach("cleo", 2)
        let watcher = gallery.open(2)
        gallery.say(ann, "MESH.JOIN lobby META m1")
        gallery.say(bob, "MESH.JOIN lobby")
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(5)
        #expect(gallery.heard(watcher) == ["all 2 +ann/m1 +bob/-"])
        gallery.run(200)
        #expect(gallery.heard(watcher) == [])

        gallery.say(cleo, "MESH.JOIN lobby", "MESH.META cleo m2")
        gallery.run(1)
        // Of this node, and so at once.
        #expect(gallery.heard(watcher) == ["change 3 +cleo/m2"])
        gallery.say(ann, "MESH.JOIN lobby META m3")
        gallery.say(bob, "MESH.LEAVE lobby")
        gallery.run(50)
        #expect(gallery.heard(watcher) == [])
        gallery.run(60)
        #expect(gallery.heard(watcher) == ["change 2 +ann/m3 -bob/quit"])

        gallery.run(100)
        gallery.say(bob, "MESH.JOIN lobby")
        gallery.run(15)
        #expect(gallery.heard(watcher) == ["change 3 +bob/-"])
        gallery.run(100)
        gallery.say(watcher, "MESH.KICK bob")
        gallery.run(15)
        #expect(gallery.heard(watcher) == ["change 2 -bob/kicked"])
        gallery.run(100)
        gallery.close(ann)
        gallery.run(15)
        #expect(gallery.heard(watcher) == ["change 1 -ann/lost"])
        gallery.run(100)
        gallery.say(cleo, "MESH.DETACH")
        gallery.run(1)
        #expect(gallery.heard(watcher) == ["change 0 -cleo/quit"])
    }

    @Test func `pushes in the words of both protocols, behind the confirmation`() {
        let gallery = Gallery(1)
        let ann = gallery.attach("ann", 0)
        gallery.say(ann, "MESH.JOIN hall")
        let sid = "1000000000000000"
        for (version, first, null) in [(2, "*", "$-1·"), (3, ">", "_·")] {
            let watcher = gallery.servers.open()
            if version == 3 { _ = gallery.servers.exchange(watcher, "HELLO 3\r\n") }
            let told = gallery.servers.exchange(watcher, "MESH.WATCHROOM hall\r\n")
            let id = told.split(separator: "·").first { $0.hasPrefix("0") || $0.hasPrefix(sid) }
            #expect(
                told == "\(first)3·$9·watchroom·$4·hall·:1·"
                    + "\(first)6·$6·roster·$4·hall·$3·all·:1·"
                    + "*1·*3·$3·ann·$\(id?.count ?? 0)·\(id ?? "")·\(null)*0·")
            let end = gallery.servers.exchange(watcher, "MESH.UNWATCHROOM hall\r\n")
            #expect(end == "\(first)3·$11·unwatchroom·$4·hall·:0·")
            let none = gallery.servers.exchange(watcher, "MESH.UNWATCHROOM\r\n")
            #expect(none == "\(first)3·$11·unwatchroom·\(null):0·")
        }
        #expect(gallery.bytes(0) == 0)
    }

    @Test func `wrong words are refused`() {
        let servers = Servers()
        let client = servers.open()
        for command in ["MESH.WATCHROOM a b", "MESH.WATCHROOM a COUNTS x"] {
            let answer = servers.exchange(client, command + "\r\n")
            #expect(answer.hasPrefix("-ERR") && answer.contains("MESH.WATCHROOM room [COUNTS]"))
        }
        let long = String(repeating: "x", count: 513)
        #expect(servers.exchange(client, "MESH.WATCHROOM \(long)\r\n").hasPrefix("-ERR"))
    }

    @Test func `one that wants counts alone is told no more`() {
        let gallery = Gallery()
        let watcher = gallery.open(0)
        gallery.say(watcher, "MESH.WATCHROOM lobby COUNTS")
        gallery.run(5)
        #expect(gallery.heard(watcher) == ["count 0"])
        let people = (0..<9).map { gallery.attach("u\($0)", $0 % 3) }
        for person in people { gallery.say(person, "MESH.JOIN lobby") }
        gallery.run(300)
        let heard = gallery.heard(watcher)
        #expect(heard.last == "count 9" && heard.count <= 3, "\(heard)")
        // It changes its mind.
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(5)
        #expect(gallery.known(watcher, "lobby").count == 9)
    }

    @Test func `members of a node that dies leave at once, and those that hide are never seen`() {
        let gallery = Gallery()
        let watcher = gallery.open(0)
        let people = (0..<4).map { gallery.attach("u\($0)", 1 + $0 % 2) }
        for person in people { gallery.say(person, "MESH.JOIN lobby") }
        let hidden = gallery.open(1)
        gallery.say(hidden, "MESH.JOIN lobby HIDDEN")
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(200)
        #expect(gallery.heard(watcher) == ["all 4 +u0/- +u2/- +u1/- +u3/-"])
        gallery.crash(2)
        gallery.run(10_000)
        #expect(gallery.heard(watcher) == ["change 2 -u1/node -u3/node"])
    }

    @Test func `a watch that nobody has any more is forgotten, and costs nothing`() {
        let gallery = Gallery(2)
        let ann = gallery.attach("ann", 0)
        let watcher = gallery.open(1)
        gallery.say(ann, "MESH.JOIN lobby")
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(100)
        #expect(gallery.bytes(0) > 0 && gallery.bytes(1) > 0)
        let sent = gallery.counter(.rosterBatches, 0)
        gallery.close(watcher)
        gallery.run(10_000)
        gallery.say(ann, "MESH.LEAVE lobby", "MESH.JOIN lobby")
        gallery.run(1_000)
        #expect(gallery.counter(.rosterBatches, 0) == sent)
        #expect(gallery.bytes(0) == 0 && gallery.bytes(1) == 0)
    }

    @Test func `a roster of many members comes in pieces`() {
        let gallery = Gallery(2)
        let person = gallery.open(1)
        let names = (0..<1_200).map { "user\($0)" }
        for name in names { gallery.say(person, "MESH.ATTACH \(name)") }
        for name in names { gallery.say(person, "MESH.JOIN lobby AS \(name)") }
        gallery.run(100)
        let watcher = gallery.open(0)
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(100)
        #expect(gallery.people[watcher].states == ["more", "more", "all"])
        #expect(gallery.known(watcher, "lobby") == names.map { "\($0)/-" }.sorted())
    }

    // MARK: Storms

    @Test(arguments: [1_900, 5_000])
    func `many members that leave at once are few pushes`(count: Int) {
        let gallery = Gallery(2)
        let person = gallery.open(1)
        for number in 0..<count {
            gallery.say(person, "MESH.ATTACH u\(number)", "MESH.JOIN lobby AS u\(number)")
        }
        let watchers = (0..<3).map { gallery.open($0 % 2) }
        for watcher in watchers { gallery.say(watcher, "MESH.WATCHROOM lobby") }
        gallery.run(3_000)
        for watcher in watchers {
            let known = gallery.known(watcher, "lobby").count
            #expect(known == (count > 2_000 ? 0 : count))
            #expect(gallery.people[watcher].counts["lobby"] == count)
            _ = gallery.heard(watcher)
        }
        gallery.close(person)
        gallery.run(5_000)
        for watcher in watchers {
            let states = gallery.people[watcher].states
            #expect(states.count <= 5, "\(states)")
            #expect(states.count { $0 == "count" } <= 3, "\(states)")
            #expect(states.last != "count", "\(states)")
            #expect(gallery.people[watcher].counts["lobby"] == 0)
        }
    }

    @Test func `a storm of other metadata ends with all of them`() {
        let gallery = Gallery(2)
        let person = gallery.open(1)
        for number in 0..<1_200 {
            gallery.say(person, "MESH.ATTACH u\(number)", "MESH.JOIN lobby AS u\(number)")
        }
        gallery.run(100)
        let watcher = gallery.open(0)
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(300)
        _ = gallery.heard(watcher)
        for number in 0..<1_200 {
            gallery.say(person, "MESH.JOIN lobby AS u\(number) META m\(number)")
        }
        gallery.run(4_000)
        #expect(gallery.people[watcher].states == ["count", "more", "more", "all"])
        #expect(gallery.known(watcher, "lobby") == (0..<1_200).map { "u\($0)/m\($0)" }.sorted())
        _ = gallery.heard(watcher)
        gallery.say(person, "MESH.LEAVE lobby AS u7")
        gallery.run(50)
        #expect(gallery.heard(watcher) == ["change 1199 -u7/quit"])
    }

    @Test func `members that all watch one another cost each of them ten pushes a second`() {
        let gallery = Gallery(3)
        let people = (0..<60).map { gallery.attach("u\($0)", $0 % 3) }
        for person in people { gallery.say(person, "MESH.WATCHROOM lobby") }
        for person in people { gallery.say(person, "MESH.JOIN lobby") }
        gallery.run(500)
        for person in people { _ = gallery.heard(person) }
        for turn in 0..<100 {
            gallery.say(people[turn % 60], "MESH.META u\(turn % 60) m\(turn)")
            gallery.run(10)
        }
        gallery.run(150)
        for person in people {
            let pushes = gallery.heard(person).count
            #expect((5...13).contains(pushes), "\(pushes)")
            #expect(gallery.known(person, "lobby") == gallery.known(people[0], "lobby"))
        }
        #expect(gallery.known(people[0], "lobby").contains("u39/m99"))
    }

    @Test func `one that does not read is told all when it has read`() {
        let gallery = Gallery(1)
        let person = gallery.open(0)
        let metadata = String(repeating: "m", count: 900)
        for number in 0..<100 {
            gallery.say(
                person, "MESH.ATTACH u\(number)", "MESH.JOIN lobby AS u\(number) META \(metadata)")
        }
        let slow = gallery.servers.open(0)
        gallery.servers.send("MESH.WATCHROOM lobby\r\n", from: slow)
        gallery.servers.run(for: .milliseconds(200))
        for number in 0..<100 {
            gallery.say(person, "MESH.JOIN lobby AS u\(number) META n\(number)\(metadata)")
            gallery.servers.run(for: .milliseconds(120))
        }
        let before = gallery.servers.read(slow)
        #expect(before.count < 250_000)
        gallery.servers.run(for: .seconds(2))
        let after = gallery.servers.read(slow)
        #expect(after.contains("$3·all·:100") && after.contains("n99\(metadata)"))
    }

    @Test func `an owner with too many members tells how many they are, until they are fewer`() {
        let gallery = Gallery(2) { $0.gateway.rosterMax = 8 }
        let people = (0..<12).map { gallery.attach("u\($0)", 0) }
        let watcher = gallery.open(1)
        for person in people.prefix(8) { gallery.say(person, "MESH.JOIN lobby") }
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(100)
        #expect(gallery.known(watcher, "lobby").count == 8)
        for person in people { gallery.say(person, "MESH.JOIN lobby") }
        gallery.run(2_500)
        #expect(gallery.people[watcher].counts["lobby"] == 12)
        #expect(gallery.people[watcher].states.last == "count")
        for person in people.prefix(6) { gallery.say(person, "MESH.LEAVE lobby") }
        gallery.run(3_500)
        #expect(gallery.people[watcher].states.last == "all")
        #expect(gallery.known(watcher, "lobby").count == 6)
    }

    @Test func `where memory is short members are counted, and told again when there is some`() {
        let gallery = Gallery(2) {
            $0.gateway.rosterMax = 10_000
            $0.gateway.memory = MemoryShares(total: 0)
        }
        let metadata = String(repeating: "m", count: 1_000)
        let people = [gallery.open(1), gallery.open(1)]
        for number in 0..<4_800 {
            gallery.say(
                people[number % 2], "MESH.ATTACH u\(number)",
                "MESH.JOIN lobby AS u\(number) META \(metadata)")
        }
        let watcher = gallery.open(0)
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(3_000)
        #expect(gallery.people[watcher].counts["lobby"] == 4_800)
        #expect(gallery.known(watcher, "lobby").isEmpty && gallery.bytes(0) < 4 << 20)
        gallery.close(people[0])
        gallery.run(5_000)
        #expect(gallery.known(watcher, "lobby").count == 2_400)
        #expect(gallery.people[watcher].states.last != "count")
        gallery.close(people[1])
        gallery.run(5_000)
        #expect(gallery.people[watcher].counts["lobby"] == 0)
    }

    // MARK: Forgeries

    @Test func `malformed rosters are counted, and the node is asked again at times`() {
        let gallery = Gallery(2)
        let ann = gallery.attach("ann", 1)
        let watcher = gallery.open(0)
        gallery.say(ann, "MESH.JOIN lobby")
        gallery.say(watcher, "MESH.WATCHROOM lobby")
        gallery.run(100)
        _ = gallery.heard(watcher)
        let name = Array("lobby".utf8)
        func inject(_ payload: [UInt8], from node: UInt64 = 2) {
            let bytes = name + payload
            gallery.servers.mesh.hosts[0].server.edge.gateway.hub.deliver(
                .roster, Key(7), name: Slice(start: 0, count: name.count),
                payload: Slice(start: name.count, count: payload.count), bytes.span,
                id: MessageID(origin: NodeID(node << 60), number: 1))
        }
        var random = RandomSource(seed: 7)
        for size in 0..<2_000 {
            inject(
                (0..<(size % 90)).map { _ in UInt8(random.next(below: size % 3 == 0 ? 4 : 256)) })
        }
        #expect(gallery.counter(.postsMalformed, 0) > 500)
        // Of a version that cannot be, and of nobody's.
        let header = RosterHeader(epoch: 9, version: 9, count: 1 << 31)
        let change = RosterChange(id: AttachmentID(node: NodeID(3), number: 3), user: [1])
        inject(RosterMessage.batch(header, [change]).payload)
        inject(RosterMessage.batch(header, [change]).payload, from: 5)
        inject(RosterMessage.page(1, header, [change]).payload)
        let before = gallery.counter(.rosterResyncs, 0)
        #expect(before > 0)
        gallery.run(3_000)
        #expect(gallery.known(watcher, "lobby") == ["ann/-"])
        #expect(gallery.people[watcher].counts["lobby"] == 1)
        gallery.say(ann, "MESH.LEAVE lobby")
        gallery.run(500)
        #expect(gallery.known(watcher, "lobby") == [])
    }

    @Test func `messages between nodes are read as they are written`() {
        let id = AttachmentID(node: NodeID(77), number: 5)
        let header = RosterHeader(epoch: 1, version: 2, count: 3, flags: .counted)
        let more = RosterHeader(epoch: 1, version: 2, count: 3, flags: .continues)
        let change = RosterChange(id: id, user: [1, 2], metadata: [3])
        let gone = RosterChange(id: id, reason: .kicked)
        let messages: [RosterMessage] = [
            .batch(header, [change, gone]), .batch(header, []),
            .question(RosterQuestion(number: 9, limit: 1_000)),
            .question(RosterQuestion(number: 9, limit: 0, after: MemberPlace(user: [1], id: id))),
            .page(4, more, [change]), .page(4, header, []),
        ]
        for message in messages {
            let bytes = message.payload
            let whole = RosterMessage(bytes.span, Slice(start: 0, count: bytes.count))
            #expect(whole == message)
            for count in 0..<bytes.count {
                let part = RosterMessage(bytes.span, Slice(start: 0, count: count))
                #expect(part == nil || part != message)
            }
        }
    }
}
