import MeshCore
import MeshDriver
import MeshGateway
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// PUBSUB CHANNELS when the names are many: they come in parts, few at once.
@Suite struct ChannelQuestionTests {
    /// Three servers. What the second and third answer to the first is counted.
    private final class Scene {
        let servers = Servers(3)
        let client: ClientIndex
        let reader: ClientIndex
        /// Bytes of each answer's frame that came to the first server.
        var answers: [Int] = []
        /// Changes what happens to the next answers.
        var judgeAnswer: (Int) -> MemoryMesh.Verdict = { _ in .pass }

        init() {
            client = servers.open(0)
            reader = servers.open(1)
            servers.mesh.judge = { [unowned self] _, to, frame in
                guard to == 0, frame[7] == 4, frame.count > 48,
                    frame[48] == Message.Number.answer.rawValue
                else { return .pass }
                answers.append(frame.count)
                return judgeAnswer(answers.count)
            }
        }

        func subscribe(_ names: [String]) {
            // A line has at most 64 KiB.
            let count = 60_000 / (names[0].utf8.count + 1)
            for start in stride(from: 0, to: names.count, by: count) {
                let some = names[start..<min(start + count, names.count)].joined(separator: " ")
                servers.send("SUBSCRIBE \(some)\r\n", from: reader, 1)
                _ = servers.read(reader, 1)
            }
            servers.run(for: .milliseconds(500))
        }

        var gateway: Gateway {
            _read { yield servers.mesh.hosts[0].server.edge.gateway }
        }

        /// Nothing is remembered of any question.
        func isIdle() -> Bool {
            gateway.questions.isEmpty && gateway.channels.open.isEmpty
                && gateway.channels.partsAsked == 0
                && gateway.channels.waiting.isEmpty
        }
    }

    /// Each has 43 bytes.
    private func names(_ count: Int) -> [String] {
        (0..<count).map { "channel-\(100_000 + $0)-" + String(repeating: "x", count: 28) }
    }

    /// The elements of an array of bulk strings.
    private func elements(_ reply: String) -> [String] {
        let parts = reply.split(separator: "·")
        guard let count = parts.first, count.hasPrefix("*") else { return [reply] }
        let names = stride(from: 2, to: parts.count, by: 2).map { String(parts[$0]) }
        #expect(names.count == Int(count.dropFirst()))
        return names
    }

    @Test func `all names come, in parts that are small`() {
        let scene = Scene()
        let names = names(10_000)
        scene.subscribe(names)
        scene.servers.send("PUBSUB CHANNELS\r\n", from: scene.client)
        scene.servers.run(for: .seconds(1))
        #expect(elements(scene.servers.read(scene.client)) == names)
        // 450,000 bytes: 16 KiB, then 128 KiB each; and one answer of the third server.
        #expect(scene.answers.count == 2 + 4)
        #expect(scene.answers.min()! < 100)
        #expect(scene.answers.max()! > 120 * 1024 && scene.answers.max()! < 129 * 1024)
        #expect(scene.answers.filter { $0 > 17 * 1024 }.count == 4)
        #expect(scene.isIdle())
        scene.servers.send("PUBSUB CHANNELS *-1000*\r\n", from: scene.client)
        scene.servers.run(for: .seconds(1))
        #expect(elements(scene.servers.read(scene.client)) == Array(names[..<100]))
        scene.servers.send("PUBSUB SHARDCHANNELS\r\n", from: scene.client)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(scene.client) == "*0·")
    }

    @Test func `a name that is larger than a part is one by itself`() {
        let scene = Scene()
        let names = ["a", "b", "c"].map { $0 + String(repeating: "x", count: 40_000) }
        scene.subscribe(names)
        scene.servers.send("PUBSUB CHANNELS\r\n", from: scene.client)
        scene.servers.run(for: .seconds(1))
        #expect(elements(scene.servers.read(scene.client)) == names)
        #expect(scene.answers.count == 2 + 1)
    }

    @Test func `what is hard to match comes in more parts`() {
        let scene = Scene()
        scene.subscribe((0..<10).map { String(repeating: "a", count: 10_000) + "\($0)" })
        let pattern = "*" + String(repeating: "a", count: 4_000) + "x*"
        scene.servers.send("PUBSUB CHANNELS \(pattern)\r\n", from: scene.client)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(scene.client) == "*0·")
        // Two matches of at most `Glob.stepMax` steps each, and nothing of the third server.
        #expect(scene.answers.count == 1 + 5)
        #expect(scene.isIdle())
    }

    @Test func `few questions and few parts are under way at once`() {
        let scene = Scene()
        scene.subscribe(names(4_000))
        let clients = (0..<40).map { _ in scene.servers.open(0) }
        scene.servers.mesh.judge = { _, _, _ in .delay(.milliseconds(1)) }
        for client in clients { scene.servers.send("PUBSUB CHANNELS\r\n", from: client) }
        var (open, parts) = (0, 0)
        for _ in 0..<2_000 {
            scene.servers.run(for: .milliseconds(1))
            open = max(open, scene.gateway.channels.open.count)
            parts = max(parts, scene.gateway.channels.partsAsked)
            if scene.isIdle() { break }
        }
        #expect(open == ChannelQuestions.openMax && parts == ChannelQuestions.growingMax)
        for client in clients {
            #expect(scene.servers.read(client).hasPrefix("*4000·$43·channel-100000-"))
        }
        #expect(scene.isIdle())
    }

    @Test func `what clients asked that have gone is asked no further`() {
        let scene = Scene()
        scene.subscribe(names(4_000))
        scene.servers.mesh.judge = { _, _, _ in .delay(.milliseconds(1)) }
        for _ in 0..<5_000 {
            let client = scene.servers.open(0)
            scene.servers.send("PUBSUB CHANNELS\r\n", from: client)
            _ = scene.servers.close(client, .inOrder)
        }
        #expect(scene.gateway.channels.waiting.count <= 1_024)
        #expect(scene.gateway.questions.count <= 1_024 + ChannelQuestions.openMax)
        scene.servers.send("PUBSUB CHANNELS\r\n", from: scene.client)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(scene.client).hasPrefix("*4000·"))
        #expect(scene.isIdle())
    }

    @Test
    func
        `a node that falls silent between two parts is named, and one that dies is not waited for`()
    {
        let scene = Scene()
        scene.subscribe(names(10_000))
        scene.judgeAnswer = { $0 == 5 ? .drop : .pass }
        scene.servers.send("PUBSUB CHANNELS\r\n", from: scene.client)
        scene.servers.run(for: .milliseconds(900))
        #expect(scene.servers.read(scene.client) == "")
        scene.servers.run(for: .milliseconds(200))
        #expect(scene.servers.read(scene.client) == "-TRYAGAIN n1 has not answered·")
        #expect(scene.isIdle())

        scene.answers = []
        scene.servers.send("PUBSUB CHANNELS\r\n", from: scene.client)
        scene.servers.mesh.crash(1)
        scene.servers.run(for: .milliseconds(800))
        // The names that it has told before are told.
        #expect(scene.servers.read(scene.client).hasPrefix("*"))
        #expect(scene.isIdle())
    }
}
