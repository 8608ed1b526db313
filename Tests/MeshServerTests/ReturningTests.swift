import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshServer

/// A message to a user whose last client has gone by the time it arrives goes back to its origin, and
/// on to where the user is, in order. Frames take 5 ms here.
@Suite struct ReturningTests {
    /// Three servers; bob is at the first, ann at the second.
    private struct Scene {
        let servers: Servers
        let bob: ClientIndex
        var ann: ClientIndex

        init(dropping isDropped: ((Int, Int, [UInt8]) -> Bool)? = nil) {
            servers = Servers(3)
            bob = servers.open(0)
            ann = servers.open(1)
            #expect(servers.exchange(ann, "MESH.ATTACH ann\r\n", 1).hasPrefix("+OK"))
            _ = servers.exchange(bob, "MESH.REPORTS ON\r\n", 0)
            servers.run(for: .milliseconds(100))
            servers.mesh.judge = { from, to, frame in
                isDropped?(from, to, frame) == true ? .drop : .delay(.milliseconds(5))
            }
        }

        /// Bob's answer.
        @discardableResult
        func send(_ text: String, after delay: Int64 = 0) -> String {
            servers.run(for: .milliseconds(delay))
            return servers.exchange(bob, "MESH.SEND ann \(text)\r\n", 0)
        }

        /// Ann's client goes, a moment later.
        func leave() {
            servers.run(for: .milliseconds(1))
            _ = servers.close(ann, .inOrder, 1)
        }

        func attach(_ host: Int) -> ClientIndex {
            let client = servers.open(host)
            servers.send("MESH.ATTACH ann\r\n", from: client, host)
            return client
        }

        /// The messages that a client of ann's has been sent.
        func received(_ client: ClientIndex, _ host: Int) -> [String] {
            servers.read(client, host).matches(of: /\$2·(m\d)·/).map { String($0.1) }
        }

        func counter(_ counter: NodeCounter, _ host: Int) -> UInt64 {
            servers.mesh.hosts[host].server.node.counters[counter]
        }

        /// Nothing is kept anywhere for what is under way.
        func isEmpty() -> Bool {
            (0..<3).allSatisfy {
                let sizes = servers.mesh.hosts[$0].server.node.flowSizes()
                return sizes.retainedCount == 0 && sizes.parkedCount == 0
            }
        }
    }

    @Test func `a returned message goes on to the user's new node, once`() {
        let scene = Scene()
        for number in 1...3 { scene.send("m\(number)") }
        scene.leave()
        let ann = scene.attach(2)
        for number in 4...9 { scene.send("m\(number)", after: 3) }
        scene.servers.run(for: .seconds(1))
        #expect(scene.received(ann, 2).sorted() == (1...9).map { "m\($0)" })
        #expect(scene.counter(.foundNobody, 1) >= 3)
        #expect(scene.counter(.takenBack, 0) == scene.counter(.foundNobody, 1))
        #expect(scene.counter(.messagesDelivered, 1) == 0)
        #expect(scene.isEmpty())
    }

    @Test func `a returned message waits for a user who is nowhere, and later ones wait behind it`()
    {
        let scene = Scene()
        #expect(scene.send("m1") == ":1·")
        scene.leave()
        #expect(scene.send("m2", after: 20) == ":-1·")
        #expect(scene.send("m3", after: 3_000) == ":-1·")
        scene.servers.run(for: .seconds(5))
        let ann = scene.attach(2)
        scene.servers.run(for: .seconds(1))
        #expect(scene.received(ann, 2) == ["m1", "m2", "m3"])
        #expect(scene.isEmpty())
    }

    @Test func `the sender of a returned message is told if the user does not come back`() {
        let scene = Scene()
        scene.send("m1")
        scene.leave()
        scene.servers.run(for: .seconds(9))
        #expect(scene.servers.read(scene.bob, 0) == "")
        scene.servers.run(for: .seconds(2))
        #expect(scene.servers.read(scene.bob, 0).contains("undelivered"))
        #expect(scene.isEmpty())
    }

    @Test
    func `messages behind a returned one go back too, though the user is there again`() {
        var scene = Scene()
        scene.send("m1")
        scene.servers.run(for: .milliseconds(2))
        _ = scene.servers.close(scene.ann, .inOrder, 1)
        scene.send("m2", after: 2)
        scene.servers.run(for: .milliseconds(2))
        scene.ann = scene.attach(1)
        for number in 3...6 { scene.send("m\(number)", after: 4) }
        scene.servers.run(for: .seconds(1))
        #expect(scene.received(scene.ann, 1) == (1...6).map { "m\($0)" })
        #expect(scene.counter(.takenBack, 0) >= 2)
        // The user is served there again without a detour.
        let before = scene.counter(.takenBack, 0)
        scene.send("m7")
        scene.servers.run(for: .milliseconds(50))
        #expect(scene.received(scene.ann, 1) == ["m7"])
        #expect(scene.counter(.takenBack, 0) == before)
    }

    @Test func `messages to others are not held up by it`() {
        let scene = Scene()
        let eve = scene.servers.open(1)
        _ = scene.servers.exchange(eve, "MESH.ATTACH eve\r\n", 1)
        scene.servers.run(for: .milliseconds(100))
        scene.send("m1")
        scene.leave()
        for number in 2...5 {
            scene.servers.run(for: .milliseconds(3))
            _ = scene.servers.exchange(scene.bob, "MESH.SEND eve m\(number)\r\n", 0)
        }
        scene.servers.run(for: .milliseconds(6))
        #expect(scene.received(eve, 1) == ["m2", "m3", "m4", "m5"])
        #expect(scene.counter(.foundNobody, 1) == 1)
    }

    @Test func `of a user on two nodes each message comes once when one client goes`() {
        let scene = Scene()
        let other = scene.attach(2)
        scene.servers.run(for: .milliseconds(100))
        for number in 1...3 { scene.send("m\(number)", after: 1) }
        _ = scene.servers.close(scene.ann, .inOrder, 1)
        scene.send("m4", after: 20)
        scene.servers.run(for: .seconds(12))
        #expect(scene.received(other, 2) == ["m1", "m2", "m3", "m4"])
        #expect(scene.counter(.foundNobody, 1) == 3)
        #expect(!scene.servers.read(scene.bob, 0).contains("undelivered"))
        #expect(scene.isEmpty())
    }

    @Test func `a user who is at the sender's node too gets it once`() {
        let scene = Scene()
        let other = scene.attach(0)
        scene.servers.run(for: .milliseconds(100))
        scene.send("m1")
        scene.leave()
        scene.servers.run(for: .seconds(12))
        #expect(scene.received(other, 0) == ["m1"])
        #expect(scene.counter(.takenBack, 0) == 1)
        #expect(scene.isEmpty())
    }

    @Test func `when every copy has found nobody, one goes on`() {
        let scene = Scene()
        let other = scene.attach(2)
        scene.servers.run(for: .milliseconds(100))
        scene.send("m1")
        scene.leave()
        _ = scene.servers.close(other, .inOrder, 2)
        scene.servers.run(for: .milliseconds(500))
        let ann = scene.attach(2)
        scene.servers.run(for: .seconds(1))
        #expect(scene.received(ann, 2) == ["m1"])
        #expect(scene.isEmpty())
    }

    /// The first bytes of a frame's message, if it is a control message.
    private static func control(_ frame: [UInt8]) -> UInt8? {
        guard frame[4] == 2, frame[7] == 4, frame.count > 48 else { return nil }
        return frame[48]
    }

    @Test(arguments: [Message.Number.nobody, .takenBack, .acknowledge])
    func `a returned message comes once though both nodes' words about it are lost`(
        lost: Message.Number
    ) {
        var left = 3
        let scene = Scene { _, _, frame in
            guard Self.control(frame) == lost.rawValue, left > 0 else { return false }
            left -= 1
            return true
        }
        for number in 1...3 { scene.send("m\(number)") }
        scene.leave()
        let ann = scene.attach(2)
        for number in 4...6 { scene.send("m\(number)", after: 10) }
        scene.servers.run(for: .seconds(3))
        #expect(left < 3)
        #expect(scene.received(ann, 2).sorted() == (1...6).map { "m\($0)" })
        #expect(scene.isEmpty())
    }

    @Test func `the death of the node that returned a message does not report it`() {
        let scene = Scene { _, _, frame in Self.control(frame) == Message.Number.takenBack.rawValue
        }
        scene.send("m1")
        scene.leave()
        scene.servers.run(for: .milliseconds(200))
        scene.servers.mesh.crash(1)
        scene.servers.run(for: .seconds(3))
        let ann = scene.attach(2)
        scene.servers.run(for: .seconds(1))
        #expect(scene.received(ann, 2) == ["m1"])
        #expect(scene.servers.read(scene.bob, 0) == "")
        #expect(scene.isEmpty())
    }

    @Test func `from the first that has come back on, all wait for those that are still to come`() {
        let scene = Scene()
        scene.send("m1")
        scene.leave()
        let ann = scene.attach(2)
        // The news of the move takes 5 ms, as the message does that it is too late for.
        scene.send("m2", after: 3)
        scene.send("m3", after: 4)
        // The first has come back after 10 ms, the second after 14.
        scene.send("m4", after: 3)
        let held = scene.servers.mesh.hosts[0].server.node.flowSizes().parkedCount
        #expect(held == 2)
        scene.servers.run(for: .seconds(1))
        #expect(scene.received(ann, 2) == ["m3", "m1", "m2", "m4"])
        #expect(scene.isEmpty())
    }

    @Test
    func `later ones wait for the last that is still to come, though all but it have come back`() {
        var isLost = false
        let scene = Scene { from, _, frame in
            // The payload of what the first node has sent for the first time.
            guard from == 0, !isLost, frame.suffix(2) == Array("m2".utf8)[...] else { return false }
            isLost = true
            return true
        }
        scene.send("m1")
        scene.leave()
        let ann = scene.attach(2)
        // Sent before the news of the move, and lost: it is sent again much later than the first
        // has come back and has been acknowledged.
        scene.send("m2", after: 3)
        #expect(isLost)
        scene.send("m3", after: 10)
        scene.servers.run(for: .seconds(3))
        #expect(scene.received(ann, 2) == ["m1", "m2", "m3"])
        #expect(scene.isEmpty())
    }

    @Test func `a channel message that finds no subscriber is counted, and does not go back`() {
        let scene = Scene()
        let reader = scene.servers.open(1)
        _ = scene.servers.exchange(reader, "SUBSCRIBE news\r\n", 1)
        scene.servers.run(for: .milliseconds(100))
        _ = scene.servers.exchange(scene.bob, "PUBLISH news m1\r\n", 0)
        scene.servers.run(for: .milliseconds(1))
        _ = scene.servers.exchange(reader, "UNSUBSCRIBE news\r\n", 1)
        scene.servers.run(for: .milliseconds(500))
        #expect(scene.counter(.foundNoSubscriber, 1) == 1)
        #expect(scene.counter(.foundNobody, 1) == 0)
        #expect(scene.counter(.messagesDelivered, 1) == 0)
        #expect(scene.isEmpty())
    }
}
