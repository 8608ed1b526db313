import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Rooms on three servers: who is in them, what is said, and what others are told.
@Suite struct RoomMemberTests {
    private struct Scene {
        let servers: Servers
        var lines: [String: (ClientIndex, Int)] = [:]

        init(_ count: Int = 3) { servers = Servers(count) }

        /// A connection that is attached as the user of this name.
        mutating func attach(_ user: String, _ host: Int, _ more: String = "") {
            let client = servers.open(host)
            lines[user] = (client, host)
            #expect(say(user, "MESH.ATTACH \(user)\(more)") == "+OK·")
        }

        @discardableResult
        func say(_ user: String, _ command: String) -> String {
            let (client, host) = lines[user]!
            return servers.exchange(client, command + "\r\n", host)
        }

        func read(_ user: String) -> String {
            let (client, host) = lines[user]!
            return servers.read(client, host)
        }

        func leave(_ user: String) {
            let (client, host) = lines[user]!
            _ = servers.close(client, .inOrder, host)
        }

        /// The members that MESH.WHO tells.
        func members(_ asker: String, _ room: String, _ options: String = "") -> [String] {
            shownMembers(say(asker, "MESH.WHO \(room)\(options)"))
        }
    }

    private func message(_ room: String, _ text: String) -> String {
        "*3·$4·room·$\(room.utf8.count)·\(room)·$\(text.utf8.count)·\(text)·"
    }

    @Test func `what is said in a room reaches its members on every node, and not the speaker`() {
        var scene = Scene()
        scene.attach("ann", 0)
        scene.attach("bob", 1)
        scene.attach("cleo", 1)
        scene.attach("dan", 2)
        for user in ["ann", "bob", "cleo"] { #expect(scene.say(user, "MESH.JOIN lobby") == ":1·") }
        #expect(scene.say("ann", "MESH.JOIN lobby") == ":0·")

        #expect(scene.say("ann", "MESH.SAY lobby hi") == ":1·")
        for user in ["bob", "cleo"] { #expect(scene.read(user) == message("lobby", "hi")) }
        for user in ["ann", "dan"] { #expect(scene.read(user) == "") }
        // Its own node, and another; from outside, two nodes.
        #expect(scene.say("bob", "MESH.SAY lobby ho VOLATILE") == ":2·")
        for user in ["ann", "cleo"] { #expect(scene.read(user) == message("lobby", "ho")) }
        #expect(scene.read("bob") == "")
        #expect(scene.say("dan", "MESH.SAY lobby he") == ":2·")
        for user in ["ann", "bob", "cleo"] { #expect(scene.read(user) == message("lobby", "he")) }
        #expect(scene.say("ann", "MESH.SAY lobby hu ECHO") == ":2·" + message("lobby", "hu"))
    }

    @Test func `a room is neither a channel nor a user`() {
        var scene = Scene(2)
        scene.attach("lobby", 0)
        scene.attach("ann", 1)
        #expect(scene.say("ann", "MESH.JOIN lobby") == ":1·")
        let listener = scene.servers.open(0)
        #expect(scene.servers.exchange(listener, "SUBSCRIBE lobby\r\n").hasSuffix(":1·"))
        #expect(scene.servers.exchange(listener, "PSUBSCRIBE *\r\n").hasSuffix(":2·"))
        #expect(scene.say("lobby", "MESH.SAY lobby hi") == ":1·")
        #expect(scene.read("ann") == message("lobby", "hi"))
        #expect(scene.servers.read(listener) == "")
        #expect(scene.say("ann", "PUBLISH lobby x") == ":1·")
        #expect(scene.say("ann", "MESH.SEND lobby x") == ":1·")
        #expect(scene.read("ann") == "")
    }

    @Test
    func `members are listed by user, with node and metadata, and leave with their connections`() {
        var scene = Scene()
        scene.attach("bob", 1, " META {b}")
        scene.attach("ann", 0)
        scene.attach("cleo", 2)
        scene.attach("watcher", 2)
        #expect(scene.say("bob", "MESH.JOIN lobby") == ":1·")
        #expect(scene.say("ann", "MESH.JOIN lobby META tablet") == ":1·")
        #expect(scene.say("cleo", "MESH.JOIN lobby HIDDEN") == ":1·")
        #expect(scene.members("watcher", "lobby") == ["ann n0 tablet", "bob n1 {b}"])
        #expect(scene.say("watcher", "MESH.COUNT lobby") == "*3·:2·:2·*0·")

        #expect(scene.say("bob", "MESH.META bob away") == "+OK·")
        #expect(scene.say("ann", "MESH.JOIN lobby META phone") == ":0·")
        #expect(scene.members("watcher", "lobby") == ["ann n0 phone", "bob n1 away"])

        // One that is hidden hears, and is seen from then on when it joins as somebody.
        #expect(scene.say("ann", "MESH.SAY lobby hi") == ":2·")
        #expect(scene.read("cleo") == message("lobby", "hi"))
        #expect(scene.say("cleo", "MESH.JOIN lobby") == ":1·")
        #expect(scene.say("cleo", "MESH.LEAVE lobby AS cleo") == ":1·")
        #expect(scene.say("cleo", "MESH.LEAVE lobby AS cleo") == ":0·")
        #expect(scene.members("watcher", "lobby") == ["ann n0 phone", "bob n1 away"])
        #expect(scene.say("ann", "MESH.SAY lobby ho") == ":2·")
        #expect(scene.say("cleo", "MESH.LEAVE lobby") == message("lobby", "ho") + ":1·")

        scene.leave("bob")
        scene.servers.run(for: .milliseconds(50))
        #expect(scene.members("watcher", "lobby") == ["ann n0 phone"])
        #expect(scene.say("ann", "MESH.DETACH ann") == ":1·")
        #expect(scene.members("watcher", "lobby") == [])
        #expect(scene.say("watcher", "MESH.SAY lobby nobody") == ":0·")
    }

    @Test func `a connection that is several users says as which it joins`() {
        var scene = Scene(1)
        scene.attach("ann", 0)
        let (client, _) = scene.lines["ann"]!
        #expect(scene.servers.exchange(client, "MESH.ATTACH bob\r\n") == "+OK·")
        #expect(scene.say("ann", "MESH.JOIN lobby").hasPrefix("-AMBIGUOUS "))
        #expect(scene.say("ann", "MESH.JOIN lobby AS eve").hasPrefix("-NOUSER "))
        #expect(scene.say("ann", "MESH.JOIN lobby AS bob") == ":1·")
        #expect(scene.say("ann", "MESH.JOIN lobby AS ann META x") == ":1·")
        #expect(scene.members("ann", "lobby") == ["ann n0 x", "bob n0 -"])
        #expect(scene.say("ann", "MESH.COUNT lobby") == "*3·:2·:2·*0·")
        // It gets what is said once.
        let other = scene.servers.open(0)
        #expect(scene.servers.exchange(other, "MESH.JOIN lobby\r\n").hasPrefix("-NOUSER "))
        #expect(scene.servers.exchange(other, "MESH.SAY lobby hi\r\n") == ":1·")
        #expect(scene.read("ann") == message("lobby", "hi"))
        #expect(scene.say("ann", "MESH.LEAVE lobby AS bob") == ":1·")
        #expect(scene.members("ann", "lobby") == ["ann n0 x"])
        #expect(scene.say("ann", "MESH.LEAVE") == ":1·")
        #expect(scene.say("ann", "MESH.LEAVE") == ":0·")
    }

    @Test func `pages of members follow one another, each member once`() {
        var scene = Scene()
        for number in 0..<25 {
            scene.attach("u\(number)", number % 3)
            #expect(scene.say("u\(number)", "MESH.JOIN lobby") == ":1·")
        }
        var found: [String] = []
        var place = ""
        for page in 0..<4 {
            let options = " LIMIT 7" + (page == 0 ? "" : " AFTER \(place)")
            let answer = scene.say("u1", "MESH.WHO lobby\(options)")
            found += scene.members("u1", "lobby", options)
            let tail = answer.split(separator: "·").map(String.init).suffix(3)
            if page == 3 {
                #expect(tail.last == "*0" && tail.dropLast().last == "$-1", "\(answer)")
            } else {
                place = tail.dropLast().last!
            }
        }
        let expected = (0..<25).map { "u\($0)" }.sorted().map {
            "\($0) n\(Int($0.dropFirst())! % 3) -"
        }
        #expect(found == expected)
        for wrong in ["AFTER x", "AFTER 1.1:u", "LIMIT 0", "LIMIT 1001", "LIMIT", "SIDEWAYS 1"] {
            #expect(scene.say("u1", "MESH.WHO lobby \(wrong)").hasPrefix("-ERR "), "\(wrong)")
        }
    }

    @Test func `a user's attachments and rooms are told from everywhere`() {
        var scene = Scene()
        scene.attach("ann", 0, " META {desk}")
        let phone = scene.servers.open(1)
        #expect(scene.servers.exchange(phone, "MESH.ATTACH ann\r\n", 1) == "+OK·")
        scene.attach("bob", 2)
        #expect(scene.say("ann", "MESH.JOIN lobby") == ":1·")
        #expect(scene.servers.exchange(phone, "MESH.JOIN kitchen\r\n", 1) == ":1·")
        #expect(scene.servers.exchange(phone, "MESH.JOIN lobby\r\n", 1) == ":1·")
        scene.servers.run(for: .milliseconds(500))
        let sessions = scene.say("bob", "MESH.WHERE ann SESSIONS").split(separator: "·")
        #expect(sessions.count == 16)
        #expect(sessions[0] == "*2" && sessions[3] == "1000000000000000.1" && sessions[5] == "n0")
        #expect(sessions[8] == "{desk}" && sessions[11] == "2000000000000000.1")
        #expect(sessions[14].hasPrefix(":5") && sessions[15] == "$-1", "\(sessions)")
        let rooms = scene.say("bob", "MESH.ROOMSOF ann")
        #expect(rooms.hasPrefix("*2·") && rooms.contains("lobby") && rooms.contains("kitchen"))
        #expect(scene.say("bob", "MESH.ROOMSOF bob") == "*0·")
        // One user with two attachments.
        #expect(scene.say("bob", "MESH.COUNT lobby") == "*3·:2·:1·*0·")
        let all = scene.say("bob", "MESH.ROOMS")
        #expect(all.hasPrefix("*2·") && all.contains("lobby") && all.contains("kitchen"))
        #expect(scene.say("bob", "MESH.ROOMS k*") == "*1·$7·kitchen·")
    }

    @Test func `a session keeps its sid and metadata from connection to connection`() {
        let servers = Servers(2)
        let first = servers.open(0)
        let answer = servers.exchange(first, "MESH.ATTACH ann META {x} SESSION\r\n")
        let token = String(answer.split(separator: "·")[1])
        let before = servers.exchange(first, "MESH.WHERE ann SESSIONS\r\n")
        #expect(before.hasPrefix("*1·*4·$18·1000000000000000.1·$2·n0·"))
        _ = servers.close(first)
        servers.run(for: .milliseconds(100))
        let second = servers.open(0)
        _ = servers.exchange(second, "MESH.ATTACH ann RESUME \(token)\r\n")
        let after = servers.exchange(second, "MESH.WHERE ann SESSIONS\r\n")
        #expect(after.hasPrefix("*1·*4·$18·1000000000000000.1·$2·n0·"))
        #expect(after.hasSuffix("$3·{x}·"))
    }

    @Test func `nobody waits for a dead node, and a silent one is named`() {
        var scene = Scene()
        scene.attach("ann", 0)
        scene.attach("bob", 1)
        scene.attach("cleo", 2)
        for user in ["ann", "bob", "cleo"] { scene.say(user, "MESH.JOIN lobby") }
        scene.servers.mesh.judge = { from, to, _ in from == 1 || to == 1 ? .drop : .pass }
        let answer = scene.say("ann", "MESH.WHO lobby")
        #expect(answer == "")
        scene.servers.run(for: .milliseconds(1_100))
        #expect(scene.read("ann").hasSuffix("$-1·*1·$2·n1·"))
        #expect(scene.say("ann", "MESH.COUNT lobby") == "")
        scene.servers.run(for: .milliseconds(1_100))
        #expect(scene.read("ann") == "*3·:2·:2·*1·$2·n1·")
        // Long silent, it is suspect or dead: at once, and in the end not even named.
        scene.servers.run(for: .seconds(20))
        #expect(scene.say("ann", "MESH.COUNT lobby") == "*3·:2·:2·*0·")
        #expect(scene.members("cleo", "lobby") == ["ann n0 -", "cleo n2 -"])
    }

    @Test func `rooms end with their connection, by RESET too`() {
        var scene = Scene(2)
        scene.attach("ann", 0)
        scene.attach("bob", 1)
        for room in 0..<300 { #expect(scene.say("ann", "MESH.JOIN r\(room)") == ":1·") }
        #expect(scene.say("bob", "MESH.ROOMS").hasPrefix("*300·"))
        #expect(scene.say("ann", "RESET") == "+RESET·")
        #expect(scene.say("bob", "MESH.ROOMS") == "*0·")
        #expect(scene.servers.mesh.hosts[0].server.edge.gateway.hub.registry.members.count == 0)
    }

    @Test func `wrong arguments are refused with the usage`() {
        var scene = Scene(1)
        scene.attach("ann", 0)
        let long = String(repeating: "x", count: 513)
        let metadata = String(repeating: "x", count: 1_025)
        for (command, words) in [
            ("MESH.JOIN lobby AS", "syntax error: MESH.JOIN room"),
            ("MESH.JOIN lobby HIDDEN META x", "syntax error: MESH.JOIN room"),
            ("MESH.JOIN lobby HIDDEN HIDDEN", "syntax error: MESH.JOIN room"),
            ("MESH.JOIN \(long)", "room names have 1 to 512 bytes"),
            ("MESH.JOIN \"\"", "room names have 1 to 512 bytes"),
            ("MESH.JOIN lobby META \(metadata)", "metadata has at most 1024 bytes"),
            ("MESH.META ann \(metadata)", "metadata has at most 1024 bytes"),
            ("MESH.ATTACH bob META \(metadata)", "metadata has at most 1024 bytes"),
            ("MESH.SAY lobby x LOUD", "syntax error: MESH.SAY room payload [VOLATILE] [ECHO]"),
            ("MESH.SAY lobby x ECHO ECHO", "syntax error: MESH.SAY"),
            ("MESH.LEAVE lobby ann", "syntax error: MESH.LEAVE [room [AS user]]"),
            ("MESH.ROOMS a b", "syntax error: MESH.ROOMS [pattern]"),
            ("MESH.WHERE ann NOW", "syntax error: MESH.WHERE user [SESSIONS]"),
        ] {
            #expect(scene.say("ann", command).hasPrefix("-ERR " + words), "\(command.prefix(40))")
        }
        #expect(scene.say("ann", "MESH.META bob x").hasPrefix("-NOUSER "))
    }

    @Test func `a message too large for one frame reaches the members of a room`() {
        var scene = Scene(2)
        scene.attach("ann", 0)
        scene.attach("bob", 1)
        scene.say("bob", "MESH.JOIN lobby")
        let text = String(repeating: "m", count: 1_000_000)
        scene.servers.send(
            "*3\r\n$8\r\nMESH.SAY\r\n$5\r\nlobby\r\n$1000000\r\n\(text)\r\n",
            from: scene.lines["ann"]!.0)
        scene.servers.run(for: .seconds(1))
        #expect(scene.read("ann") == ":1·")
        #expect(scene.read("bob") == message("lobby", text))
    }
}

/// The members in an answer to MESH.WHO, each as user, node and metadata.
func shownMembers(_ answer: String) -> [String] {
    let texts = answer.split(separator: "·").map(String.init)
    var found: [String] = []
    var index = 2
    while index < texts.count, texts[index] == "*4" {
        // Each text stands behind its length; metadata that are not there have none.
        let metadata = texts[index + 7] == "$-1" ? "-" : texts[index + 8]
        found.append("\(texts[index + 2]) \(texts[index + 6]) \(metadata)")
        index += texts[index + 7] == "$-1" ? 8 : 9
    }
    return found
}
