import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Orders to a user's connections on three servers.
@Suite struct OrderTests {
    private struct Scene {
        let servers = Servers(3)
        /// Two of bob's, at the second server and the third; the one who orders is at the first.
        let bobs: [ClientIndex]
        let teller: ClientIndex

        init() {
            bobs = [servers.open(1), servers.open(2)]
            teller = servers.open(0)
            for (index, bob) in bobs.enumerated() {
                #expect(servers.exchange(bob, "MESH.ATTACH bob\r\n", index + 1) == "+OK·")
            }
            servers.run(for: .milliseconds(100))
        }

        func tell(_ command: String) -> String { servers.exchange(teller, command + "\r\n") }

        func read() -> [String] {
            bobs.enumerated().map { servers.read($1, $0 + 1) }
        }
    }

    @Test func `an order puts a user's connections into a room, wherever they are`() {
        let scene = Scene()
        #expect(scene.tell("MESH.ORDER bob JOIN lobby") == ":2·")
        let pushed = "*4·$5·order·$3·bob·$4·JOIN·$5·lobby·"
        #expect(scene.read() == [pushed, pushed])
        #expect(scene.tell("MESH.SAY lobby hi") == ":2·")
        let message = "*3·$4·room·$5·lobby·$2·hi·"
        #expect(scene.read() == [message, message])
        #expect(scene.tell("MESH.ORDER bob LEAVE lobby") == ":2·")
        #expect(scene.tell("MESH.ORDER bob LEAVE lobby") == ":0·")
        #expect(scene.tell("MESH.SAY lobby hi") == ":0·")
        #expect(scene.tell("MESH.ORDER eve JOIN lobby") == ":0·")
        #expect(scene.tell("MESH.ORDER bob DANCE lobby").hasPrefix("-ERR syntax error: MESH.ORDER"))
    }

    /// A node that knows late of a room may be asked by anybody to speak in it: so the order is not answered
    /// before it knows.
    @Test func `whatever is said after an order was answered reaches those that it counts`() {
        let scene = Scene()
        let speaker = scene.servers.open(2)
        // All from the second server takes 40 ms to the third.
        scene.servers.mesh.judge = { from, to, _ in
            (from, to) == (1, 2) ? .delay(.milliseconds(40)) : .pass
        }
        scene.servers.mesh.send(Array("MESH.ORDER bob JOIN lobby\r\n".utf8), from: scene.teller, 0)
        var answer = ""
        var waited = 0
        while answer.isEmpty, waited < 500 {
            scene.servers.run(for: .milliseconds(1))
            waited += 1
            answer = scene.servers.read(scene.teller)
        }
        #expect(answer == ":2·" && waited >= 40, "after \(waited) ms: \(answer)")
        _ = scene.read()
        #expect(scene.servers.exchange(speaker, "MESH.SAY lobby hi\r\n", 2) == ":2·")
        scene.servers.run(for: .milliseconds(100))
        let message = "*3·$4·room·$5·lobby·$2·hi·"
        #expect(scene.read() == [message, message])
    }

    @Test func `a kick ends attachments, and sessions that wait`() {
        let scene = Scene()
        let phone = scene.servers.open(1)
        let answer = scene.servers.exchange(phone, "MESH.ATTACH bob SESSION\r\n", 1)
        let token = String(answer.split(separator: "·")[1])
        _ = scene.servers.close(phone, .inOrder, 1)
        scene.servers.run(for: .milliseconds(100))
        let sessions = scene.tell("MESH.WHERE bob SESSIONS").split(separator: "·").map(String.init)
        // One of them alone, by its sid; then the rest, of which one is at no connection.
        #expect(scene.tell("MESH.KICK bob SESSION \(sessions[3]) REASON rude") == ":1·")
        let pushed = "*4·$5·order·$3·bob·$4·KICK·$4·rude·"
        #expect(scene.read().sorted() == ["", pushed])
        #expect(scene.tell("MESH.KICK bob") == ":2·")
        #expect(scene.tell("MESH.ONLINE bob") == "*1·:0·")
        let again = scene.servers.open(1)
        let refused = scene.servers.exchange(again, "MESH.ATTACH bob RESUME \(token)\r\n", 1)
        #expect(refused.hasPrefix("-NOSESSION "))
        #expect(scene.tell("MESH.KICK bob") == ":0·")
        // The connections stand.
        #expect(scene.servers.exchange(scene.bobs[0], "PING\r\n", 1).hasSuffix("+PONG·"))
        for wrong in ["SESSION x", "SESSION", "REASON", "NOW 1", "REASON a REASON b"] {
            #expect(scene.tell("MESH.KICK bob \(wrong)").hasPrefix("-ERR "), "\(wrong)")
        }
    }

    @Test func `a node that does not answer is named, with how many did it`() {
        let scene = Scene()
        scene.servers.mesh.judge = { from, to, _ in from == 2 || to == 2 ? .drop : .pass }
        #expect(scene.tell("MESH.ORDER bob LEAVE lobby") == "")
        scene.servers.run(for: .milliseconds(1_100))
        #expect(
            scene.servers.read(scene.teller) == "-TIMEOUT 0 sessions did it; n2 has not answered·")
        #expect(scene.tell("MESH.KICK bob") == "")
        scene.servers.run(for: .milliseconds(1_100))
        #expect(
            scene.servers.read(scene.teller) == "-TIMEOUT 1 sessions did it; n2 has not answered·")
    }

    @Test func `a malformed order does nothing`() {
        let scene = Scene()
        func ask(_ subject: [UInt8]) -> Bool {
            scene.servers.mesh.hosts[1].server.edge.gateway.hub.takeOrder(
                Slice(start: 0, count: subject.count), subject.span, from: NodeID(9), QueryID(1))
        }
        let bob = Array("bob".utf8)
        let sid = [UInt8](repeating: 1, count: 12)
        for subject: [UInt8] in [
            [], [20], [20, 1], [20, 1, 0], [20, 0, 0, 1, 0, 65] + bob, [20, 4, 0, 1, 0, 65] + bob,
            [20, 1, 2, 1, 0, 65] + bob, [20, 1, 1] + sid, [20, 1, 0, 0, 0] + bob,
            [20, 1, 0, 1, 2] + [UInt8](repeating: 65, count: 513) + bob, [20, 3, 1, 5],
        ] {
            #expect(!ask(subject), "\(subject.prefix(6))")
        }
        #expect(ask([20, 3, 1] + sid + [0, 0] + bob))
        #expect(ask([20, 1, 0, 1, 0, 65] + [UInt8](repeating: 66, count: 70_000)))
        #expect(scene.read() == ["", ""])
    }
}
