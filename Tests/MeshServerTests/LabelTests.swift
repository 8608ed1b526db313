import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Messages with a label on three servers: those who are chosen get them, once, and are shown what they say.
@Suite struct LabelledMessageTests {
    private final class Scene {
        let servers = Servers(3)
        private(set) var clients: [String: (client: ClientIndex, host: Int)] = [:]

        func open(_ name: String, at host: Int, _ commands: String...) {
            let client = servers.open(host)
            clients[name] = (client, host)
            for command in commands { _ = tell(name, command) }
        }

        func settle() { servers.run(for: .milliseconds(200)) }

        func tell(_ name: String, _ command: String) -> String {
            servers.exchange(clients[name]!.client, command + "\r\n", clients[name]!.host)
        }

        func read(_ name: String) -> String {
            servers.read(clients[name]!.client, clients[name]!.host)
        }

        /// The sids of a user, in order.
        func ids(of user: String, by name: String) -> [String] {
            tell(name, "MESH.WHERE \(user) SESSIONS").split(separator: "·").map(String.init)
                .filter { $0.count >= 18 && $0.contains(".") && !$0.contains(":") }
        }

        func counter(_ counter: GatewayCounter, _ host: Int) -> UInt64 {
            servers.mesh.hosts[host].server.edge.gateway.hub.counters[counter]
        }
    }

    private static func room(_ room: String, _ text: String) -> String {
        "*3·$4·room·$\(room.utf8.count)·\(room)·$\(text.utf8.count)·\(text)·"
    }

    private static func user(_ user: String, _ text: String) -> String {
        "*3·$4·user·$\(user.utf8.count)·\(user)·$\(text.utf8.count)·\(text)·"
    }

    @Test func `who is in several rooms hears what is said in all of them once`() {
        let scene = Scene()
        scene.open("ann", at: 0, "MESH.ATTACH ann", "MESH.JOIN a")
        scene.open("bob", at: 1, "MESH.ATTACH bob", "MESH.JOIN b", "MESH.JOIN c", "MESH.JOIN a")
        scene.open("cat", at: 1, "MESH.ATTACH cat", "MESH.JOIN c")
        scene.open("dan", at: 2, "MESH.ATTACH dan", "MESH.JOIN b")
        scene.open("eve", at: 2, "MESH.ATTACH eve", "MESH.JOIN d")
        scene.settle()
        #expect(scene.tell("eve", "MESH.SAY a hi AND b AND c AND b AND nobody") == ":3·")
        scene.settle()
        #expect(scene.read("ann") == Self.room("a", "hi"))
        #expect(scene.read("bob") == Self.room("a", "hi"))
        #expect(scene.read("cat") == Self.room("c", "hi"))
        #expect(scene.read("dan") == Self.room("b", "hi"))
        #expect(scene.read("eve") == "")
        // By one who is in them, without and with an echo; and where nobody has the first.
        #expect(scene.tell("bob", "MESH.SAY nobody hi AND b AND c") == ":2·")
        scene.settle()
        #expect(scene.read("bob") == "" && scene.read("cat") == Self.room("c", "hi"))
        #expect(scene.read("dan") == Self.room("b", "hi"))
        #expect(
            scene.tell("bob", "MESH.SAY nobody hi ECHO AND c VOLATILE") == ":1·"
                + Self.room("c", "hi"))
        #expect(scene.tell("bob", "MESH.SAY nobody hi AND nowhere") == ":0·")
    }

    @Test func `a room is spoken to but for attachments and users that are left out`() throws {
        let scene = Scene()
        scene.open("ann", at: 0, "MESH.ATTACH ann", "MESH.JOIN r")
        scene.open("ann2", at: 1, "MESH.ATTACH ann", "MESH.JOIN r")
        scene.open(
            "both", at: 1, "MESH.ATTACH ann", "MESH.ATTACH bob", "MESH.JOIN r AS ann",
            "MESH.JOIN r AS bob")
        scene.open("ghost", at: 2, "MESH.JOIN r HIDDEN")
        scene.open("dan", at: 2, "MESH.ATTACH dan")
        scene.settle()
        let said = Self.room("r", "m")
        _ = scene.tell("dan", "MESH.SAY r m EXCEPT USER ann")
        scene.settle()
        // A connection that is there as others too is not left out.
        #expect(["ann", "ann2", "both", "ghost"].map { scene.read($0) } == ["", "", said, said])
        _ = scene.tell("dan", "MESH.SAY r m EXCEPT USER ann EXCEPT USER bob")
        scene.settle()
        #expect(["ann", "ann2", "both", "ghost"].map { scene.read($0) } == ["", "", "", said])
        let members = scene.tell("dan", "MESH.WHO r").split(separator: "·").map(String.init)
        let ids = members.filter { $0.count >= 18 && $0.contains(".") && !$0.contains(":") }
        try #require(ids.count == 4)
        for (place, id) in ids.enumerated() {
            _ = scene.tell("dan", "MESH.SAY r m EXCEPT \(id)")
            scene.settle()
            let heard = ["ann", "ann2", "both", "ghost"].map { scene.read($0) == said }
            // Of the one with two users no sid alone is enough.
            #expect(heard.count { $0 } >= 3 && heard[3], "\(place)")
        }
    }

    @Test func `some of a user's attachments alone get a message, or all but some`() throws {
        let scene = Scene()
        scene.open("phone", at: 0, "MESH.ATTACH ann")
        scene.open("tablet", at: 1, "MESH.ATTACH ann")
        scene.open("desk", at: 2, "MESH.ATTACH ann SESSION")
        scene.open("dan", at: 2)
        scene.settle()
        let names = ["phone", "tablet", "desk"]
        let ids = scene.ids(of: "ann", by: "dan")
        try #require(ids.count == 3)
        let said = Self.user("ann", "m")
        var owners: [String] = []
        for id in ids {
            _ = scene.tell("dan", "MESH.SEND ann m ONLY \(id)")
            scene.settle()
            owners += names.filter { scene.read($0) == said }
        }
        #expect(owners.sorted() == names.sorted())
        _ = scene.tell("dan", "MESH.SEND ann m ONLY \(ids[0]) ONLY \(ids[1])")
        scene.settle()
        #expect(
            names.filter { scene.read($0) == said } == names.filter { owners[..<2].contains($0) })
        _ = scene.tell("dan", "MESH.SEND ann m EXCEPT \(ids[0])")
        scene.settle()
        #expect(names.filter { scene.read($0) == said } == names.filter { $0 != owners[0] })
        // Nothing comes back because the one that was meant is not there.
        #expect(scene.tell("dan", "MESH.SEND ann m ONLY 00000000000000ff.1") == ":2·")
        scene.settle()
        #expect(names.allSatisfy { scene.read($0) == "" })
    }

    @Test func `what is sent again under one id comes once, over whatever node`() {
        let scene = Scene()
        scene.open(
            "bob", at: 2, "MESH.ATTACH bob", "MESH.JOIN r", "SUBSCRIBE news", "PSUBSCRIBE n*")
        scene.open("here", at: 2)
        scene.open("dan", at: 0)
        scene.open("eve", at: 1)
        scene.settle()
        let senders = ["dan", "eve", "here", "dan"]
        for command in ["MESH.SEND bob m", "MESH.SAY r m", "MESH.PUBLISH news m"] {
            for sender in senders {
                let answer = scene.tell(sender, "\(command) ONCE 1 FROM ann")
                #expect(answer.hasPrefix(":") && answer != ":0·", "\(command): \(answer)")
            }
            scene.settle()
            let got = scene.read("bob").components("·$1·m·")
            #expect(got == (command.contains("news") ? 2 : 1), "\(command)")
        }
        // Another id, another sender, another name: another message.
        for more in ["ONCE 2 FROM ann", "ONCE 1 FROM zoe", "ONCE 1"] {
            _ = scene.tell("dan", "MESH.SEND bob m " + more)
        }
        scene.settle()
        #expect(scene.read("bob").components("·$1·m·") == 3)
        #expect(scene.counter(.onceDuplicates, 2) == 9)
        #expect(scene.counter(.onceForgottenEarly, 2) == 0)
    }

    /// The first copy waits at its node for the user, the second at another.
    @Test func `what waits for its user at two nodes comes once`() {
        let scene = Scene()
        scene.open("bob", at: 2, "MESH.ATTACH bob")
        scene.open("dan", at: 0)
        scene.open("eve", at: 1)
        scene.settle()
        scene.servers.mesh.crash(2)
        scene.servers.run(for: .seconds(8))
        for sender in ["dan", "eve"] {
            #expect(scene.tell(sender, "MESH.SEND bob m ONCE 1") == ":-1·")
        }
        scene.open("bob again", at: 0)
        let answer = scene.tell("bob again", "MESH.ATTACH bob")
        scene.servers.run(for: .seconds(1))
        #expect((answer + scene.read("bob again")).components("·$1·m·") == 1)
        #expect(scene.counter(.onceDuplicates, 0) == 1)
    }

    @Test func `a receiver that asks is shown who has sent a message, when, and its form`() throws {
        let scene = Scene()
        scene.open(
            "bob", at: 1, "MESH.ATTACH bob", "MESH.JOIN r", "MESH.DETAILS ON", "SUBSCRIBE news")
        scene.open("cat", at: 1, "MESH.ATTACH cat", "MESH.JOIN r")
        scene.open("ann", at: 0, "MESH.ATTACH ann")
        #expect(scene.tell("bob", "MESH.DETAILS") == "*1·$2·on·")
        #expect(scene.tell("cat", "MESH.DETAILS") == "*1·$3·off·")
        #expect(scene.tell("cat", "MESH.DETAILS LOUD").hasPrefix("-ERR syntax error: MESH.DETAILS"))
        scene.servers.mesh.hosts[0].server.setWallClock(
            milliseconds: 1_700_000_000_000, at: scene.servers.mesh.now)
        scene.settle()
        let id = try #require(scene.ids(of: "ann", by: "ann").first)
        _ = scene.tell("ann", "MESH.SAY r {} FROM ann JSON")
        scene.settle()
        let pushed = scene.read("bob")
        #expect(
            pushed.hasPrefix(
                "*4·$4·room·$1·r·$2·{}·*8·$4·from·$3·ann·$3·sid·$\(id.utf8.count)·\(id)·"))
        let match = try #require(pushed.firstMatch(of: /·\$2·at·:(\d+)·\$4·form·\$4·json·$/))
        #expect((1_700_000_000_000...1_700_000_001_000).contains(Int(match.1)!))
        #expect(scene.read("cat") == Self.room("r", "{}"))
        // For another than the one that it is attached as there is no sid; without a label all is empty.
        _ = scene.tell("ann", "MESH.SEND bob x FROM zoe")
        _ = scene.tell("ann", "MESH.SEND bob y TEXT")
        _ = scene.tell("ann", "MESH.SEND bob z")
        _ = scene.tell("ann", "MESH.PUBLISH news n FROM ann")
        scene.settle()
        let rest = scene.read("bob")
        #expect(rest.contains("*4·$4·user·$3·bob·$1·x·*4·$4·from·$3·zoe·$2·at·:17"))
        #expect(rest.contains("*4·$4·user·$3·bob·$1·y·*2·$4·form·$4·text·"))
        #expect(rest.contains("*4·$4·user·$3·bob·$1·z·*0·"))
        #expect(rest.hasSuffix("*3·$7·message·$4·news·$1·n·"))
        #expect(scene.tell("bob", "MESH.DETAILS OFF") == "+OK·")
        _ = scene.tell("ann", "MESH.SEND bob x FROM zoe")
        scene.settle()
        #expect(scene.read("bob") == Self.user("bob", "x"))
    }

    @Test func `details come with what has waited in a session, and in RESP3 as a map`() {
        let scene = Scene()
        scene.open("bob", at: 1)
        scene.open("ann", at: 0)
        let token = scene.tell("bob", "MESH.ATTACH bob SESSION").split(separator: "·")[1]
        scene.settle()
        _ = scene.servers.close(scene.clients["bob"]!.client, .inOrder, 1)
        _ = scene.tell("ann", "MESH.SEND bob m FROM ann")
        scene.settle()
        scene.open("bob", at: 1, "HELLO 3", "MESH.DETAILS ON")
        let answer = scene.tell("bob", "MESH.ATTACH bob RESUME \(token)")
        #expect(answer.contains(">4·$4·user·$3·bob·$1·m·%2·$4·from·$3·ann·$2·at·:"))
    }

    /// More than a frame takes: it goes in parts.
    @Test func `a large message keeps its label`() {
        let scene = Scene()
        scene.open("bob", at: 1, "MESH.ATTACH bob", "MESH.DETAILS ON")
        scene.open("ann", at: 0)
        scene.settle()
        let words = [
            "MESH.SEND", "bob", String(repeating: "x", count: 300_000), "ONCE", "1", "FROM", "ann",
        ]
        let command =
            "*7\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)" }.joined(separator: "\r\n")
        for _ in 0..<2 { #expect(scene.tell("ann", command) == ":1·") }
        scene.servers.run(for: .seconds(2))
        let pushed = scene.read("bob")
        #expect(pushed.hasPrefix("*4·$4·user·$3·bob·$300000·x"))
        #expect(pushed.components("·$4·from·$3·ann·") == 1)
    }

    @Test func `wrong options are refused, and so is too much of one`() {
        let scene = Scene()
        scene.open("ann", at: 0)
        let id = "00000000000000ff.1"
        for wrong in ["FROM", "ONCE", "ONLY x", "EXCEPT USER ann", "TEXT JSON", "AND r", "ECHO"] {
            let answer = scene.tell("ann", "MESH.SEND bob m \(wrong)")
            #expect(answer.hasPrefix("-ERR "), "\(wrong): \(answer)")
        }
        let most = String(repeating: " EXCEPT \(id)", count: 16)
        #expect(scene.tell("ann", "MESH.SAY r m" + most) == ":0·")
        #expect(
            scene.tell("ann", "MESH.SAY r m" + most + " EXCEPT \(id)").hasPrefix(
                "-ERR not more than 16"))
        let long = String(repeating: "i", count: 65)
        #expect(
            scene.tell("ann", "MESH.SAY r m ONCE \(long)").hasPrefix("-ERR an id to send again by"))
        let rooms = (0..<16).map { " AND r\($0)" }.joined()
        #expect(scene.tell("ann", "MESH.SAY r m" + rooms).hasPrefix("-ERR not more than 15"))
    }

    /// A member that forges labels: nothing is given to anybody, and nothing else stops.
    @Test func `a label that cannot be read is counted, and what comes behind it is delivered`() {
        let scene = Scene()
        scene.open("bob", at: 1, "MESH.ATTACH bob")
        scene.open("ann", at: 0)
        scene.settle()
        scene.servers.mesh.hosts[1].server.edge.gateway.hub.now = scene.servers.mesh.now
        let forged: [[UInt8]] = [
            [3, 0, 1, 9], [4, 0, 4, 0, 9], [3, 0, 128, 9], [6, 0, 16, 1, 0, 0, 9], [],
        ]
        for label in forged {
            let bytes = Array("bob".utf8) + label
            let key = scene.servers.mesh.hosts[1].server.edge.gateway.hub.hasher.key(
                .user, Array("bob".utf8))
            let count = scene.servers.mesh.hosts[1].server.edge.gateway.hub.deliverLabelled(
                .user, key, name: Slice(start: 0, count: 3),
                payload: Slice(start: 3, count: label.count), bytes.span,
                id: MessageID(origin: NodeID(9), number: 1))
            #expect(count == 1)
        }
        #expect(scene.counter(.labelsMalformed, 1) == UInt64(forged.count))
        _ = scene.tell("ann", "MESH.SEND bob m FROM ann")
        scene.settle()
        #expect(scene.read("bob") == Self.user("bob", "m"))
    }
}

extension String {
    /// How often a text is in this one.
    fileprivate func components(_ text: String) -> Int { ranges(of: text).count }
}
