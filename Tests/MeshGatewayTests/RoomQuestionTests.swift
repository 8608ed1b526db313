import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// Questions about rooms, and answers to them, from nodes that say anything.
@Suite struct RoomQuestionTests {
    /// A node with two members in the room `r`, ann and bob.
    private func scene(peerCount: Int = 0) -> Harness {
        var harness = Harness(peerCount: peerCount)
        for user in ["ann", "bob"] {
            let client = harness.open()
            #expect(harness.exchange(client, "MESH.ATTACH \(user) META m\r\n") == "+OK·")
            #expect(harness.exchange(client, "MESH.JOIN r\r\n") == ":1·")
        }
        return harness
    }

    private func malformed(_ harness: borrowing Harness) -> UInt64 {
        harness.gateway.hub.counters[.answersMalformed]
    }

    @Test func `questions are answered as the layout says`() {
        var harness = scene()
        let node = [UInt8](littleEndian: harness.nodeID.rawValue)
        let ann = node + [1, 0, 0, 0, 3, 0] + Array("ann".utf8) + [1, 0, 109]
        let bob = node + [2, 0, 0, 0, 3, 0] + Array("bob".utf8) + [1, 0, 109]
        #expect(harness.asked([16, 9, 0, 0, 114]) == [0] + ann + bob)
        #expect(harness.asked([16, 1, 0, 0, 114]) == [1] + ann)
        let place = node + [1, 0, 0, 0, 3, 0] + Array("ann".utf8)
        #expect(harness.asked([16, 1, 0, 1] + place + [114]) == [0] + bob)
        #expect(harness.asked([16, 1, 0, 0, 120]) == [0])
        let count = harness.asked([17, 114])
        #expect(count.count == 20 && Array(count[..<8]) == [2, 0, 0, 0, 2, 0, 0, 0])
        #expect(harness.asked([18] + Array("ann".utf8)) == [0, 1, 0, 114])
        let sessions = harness.asked([19] + Array("bob".utf8))
        #expect(
            sessions == [0] + node + [2, 0, 0, 0] + Array(repeating: 0, count: 8) + [1, 0, 109])
        let count0 = malformed(harness)
        #expect(count0 == 0)
    }

    @Test func `no subject ends a node, and those that are malformed are counted`() {
        var harness = scene()
        let place = [UInt8](repeating: 0xFF, count: 12)
        for subject: [UInt8] in [
            [16], [16, 1], [16, 1, 0], [16, 0, 0, 0], [16, 0xFF, 0xFF, 0], [16, 1, 0, 2],
            [16, 1, 0, 1], [16, 1, 0, 1] + place, [16, 1, 0, 1] + place + [9, 0, 1],
        ] {
            let before = malformed(harness)
            #expect(harness.asked(subject) == [])
            let after = malformed(harness)
            #expect(after == before + 1, "\(subject)")
        }
        #expect(harness.asked([16, 1, 0, 1] + place + [0, 0] + [114]).count > 1)
        // A name that nobody can have is one that nobody has.
        let long = [UInt8](repeating: 7, count: 70_000)
        #expect(harness.asked([17] + long) == [0, 0, 0, 0, 0, 0, 0, 0])
        #expect(harness.asked([18]) == [0])
        #expect(harness.asked([19] + long) == [0])
    }

    @Test(
        arguments: [
            ("MESH.WHO r", [[2], [1], [0, 1], [0] + [UInt8](repeating: 0xFF, count: 14)]),
            ("MESH.COUNT r", [[0], [1, 0, 0, 0, 2, 0, 0, 0], [9, 0, 0, 0, 2, 0, 0, 0, 1]]),
            ("MESH.ROOMSOF eve", [[0, 1], [0, 9, 0, 1]]),
            ("MESH.WHERE eve SESSIONS", [[2], [0] + [UInt8](repeating: 1, count: 21)]),
        ] as [(String, [[UInt8]])])
    func `a forged answer counts for nothing`(command: String, answers: [[UInt8]]) {
        for answer in answers {
            var harness = scene(peerCount: 1)
            var peer = harness.peer(1)
            let member = peer.open()
            _ = peer.exchange(member, "MESH.ATTACH eve\r\n")
            _ = peer.exchange(member, "MESH.JOIN r\r\n")
            harness.pass(.milliseconds(100))
            harness.freezePeers()
            let asker = harness.open()
            #expect(harness.exchange(asker, command + "\r\n") == "")
            let before = malformed(harness)
            harness.forge(answer, from: 1)
            let after = malformed(harness)
            #expect(after == before + 1, "\(command) \(answer)")
            let text = harness.read(asker)
            if command.contains("WHO") || command.contains("COUNT") {
                #expect(text.hasPrefix("*3·") && !text.hasSuffix("*0·"), "\(text)")
            } else {
                #expect(text.hasPrefix("-TRYAGAIN "), "\(text)")
            }
        }
    }
}
