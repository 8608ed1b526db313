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
            gateway.hub.questions.isEmpty && gateway.hub.questions.channels.open.isEmpty
                && gateway.hub.questions.channels.partsAsked == 0
                && gateway.hub.questions.channels.waiting.ids.isEmpty
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

    @Test func `names that are hard to match come in more parts`() {
        let scene = Scene()
        scene.subscribe((0..<10).map { String(repeating: "a", count: 10_000) + "\($0)" })
        let pattern = "*" + String(repeating: "[^b]", count: 250) + "x*"
        scene.servers.send("PUBSUB CHANNELS \(pattern)\r\n", from: scene.client)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(scene.client) == "*0·")
        // Some 29,000 units a match, 100,000 an answer; and nothing of the third server.
        #expect(scene.answers.count == 1 + 3)
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
            open = max(open, scene.gateway.hub.questions.channels.open.count)
            parts = max(parts, scene.gateway.hub.questions.channels.partsAsked)
            if scene.isIdle() { break }
        }
        #expect(open == ChannelQuestions.openMax && parts == ChannelQuestions.growingMax)
        for client in clients {
            #expect(scene.servers.read(client).hasPrefix("*4000·$43·channel-100000-"))
        }
        #expect(scene.isIdle())
    }

    @Test func `questions of clients that have gone are asked no further`() {
        let scene = Scene()
        scene.subscribe(names(4_000))
        scene.servers.mesh.judge = { _, _, _ in .delay(.milliseconds(1)) }
        for _ in 0..<5_000 {
            let client = scene.servers.open(0)
            scene.servers.send("PUBSUB CHANNELS\r\n", from: client)
            _ = scene.servers.close(client, .inOrder)
        }
        #expect(scene.gateway.hub.questions.channels.waiting.ids.count <= 1_024)
        #expect(scene.gateway.hub.questions.count <= 1_024 + ChannelQuestions.openMax)
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

/// PUBSUB NUMSUB for many names at once: they are asked for in parts, and few large parts at once.
@Suite struct CountQuestionTests {
    private final class Scene {
        let servers = Servers(3)
        /// Bytes of each question's frame that came to the second server.
        var questions: [Int] = []

        init() {
            let reader = servers.open(1)
            for name in ["m1000", "m1999", "m2000"] {
                _ = servers.exchange(reader, "SUBSCRIBE \(name)\r\n", 1)
            }
            // Names that nobody has are asked of nobody.
            let other = servers.open(1)
            for start in stride(from: 1_000, to: 3_000, by: 500) {
                let names = (start..<start + 500).map { "m\($0)" }.joined(separator: " ")
                _ = servers.exchange(other, "SUBSCRIBE \(names)\r\n", 1)
            }
            servers.run(for: .milliseconds(500))
            servers.mesh.judge = { [unowned self] _, to, frame in
                if to == 1, frame[7] == 4, frame.count > 48,
                    frame[48] == Message.Number.query.rawValue
                {
                    questions.append(frame.count)
                }
                return .delay(.milliseconds(1))
            }
        }

        var gateway: Gateway {
            _read { yield servers.mesh.hosts[0].server.edge.gateway }
        }
    }

    private let words = (1_000..<3_000).map { "m\($0)" }

    private func right(_ reply: String) -> Bool {
        let twice: Set = ["m1000", "m1999", "m2000"]
        return reply
            == "*4000·" + words.map { "$5·\($0)·:\(twice.contains($0) ? 2 : 1)·" }.joined()
    }

    @Test func `each name has its number, in parts of 2,048 names and 64 KiB`() {
        let scene = Scene()
        let client = scene.servers.open(0)
        let names = words.joined(separator: " ")
        scene.servers.send("PUBSUB NUMSUB \(names)\r\n", from: client)
        scene.servers.run(for: .seconds(1))
        #expect(right(scene.servers.read(client)))
        // The keys, 8 bytes of each name, do not travel: 2,000 names of 5 bytes and 2 do.
        #expect(scene.questions.count == 1)
        scene.questions = []
        // Each name again as often as a line takes: 8,001 names.
        scene.servers.send("PUBSUB NUMSUB \(names) \(names) \(names) \(names) ", from: client)
        scene.servers.send("m1000\r\n", from: client)
        scene.servers.run(for: .seconds(1))
        #expect(scene.servers.read(client).hasPrefix("*16002·$5·m1000·:2·$5·m1001·:1·"))
        #expect(scene.questions.count == 4)
        scene.questions = []
        // With their keys and lengths 312 of these fit into 64 KiB.
        let long = (1_000..<2_000).map { "\($0)" + String(repeating: "x", count: 196) }
        let far = scene.servers.open(1)
        for start in stride(from: 0, to: long.count, by: 250) {
            let names = long[start..<start + 250].joined(separator: " ")
            scene.servers.send("SUBSCRIBE \(names)\r\n", from: far, 1)
        }
        scene.servers.run(for: .seconds(1))
        scene.questions = []
        let command = ["PUBSUB", "NUMSUB"] + long
        scene.servers.send(
            "*1002\r\n" + command.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined(), from: client)
        scene.servers.run(for: .seconds(1))
        #expect(
            scene.servers.read(client)
                == "*2000·" + long.map { "$200·\($0)·:1·" }.joined())
        #expect(scene.questions.count == 4 && scene.questions.max()! < 65 * 1024)
        #expect(
            scene.gateway.hub.questions.isEmpty && scene.gateway.hub.questions.counts.largeOpen == 0
        )
    }

    @Test func `few large parts are open at once, and small ones pass`() {
        let scene = Scene()
        let names = words.joined(separator: " ")
        let clients = (0..<100).map { _ in scene.servers.open(0) }
        for client in clients {
            scene.servers.send("PUBSUB NUMSUB \(names)\r\n", from: client)
        }
        #expect(scene.gateway.hub.questions.counts.largeOpen == CountQuestions.largeMax)
        #expect(
            scene.gateway.hub.questions.counts.waiting.ids.count == 100 - CountQuestions.largeMax)
        let quick = scene.servers.open(0)
        scene.servers.send("PUBSUB NUMSUB m1000\r\n", from: quick)
        _ = scene.servers.close(clients[99], .inOrder)
        scene.servers.run(for: .milliseconds(3))
        #expect(scene.servers.read(quick) == "*2·$5·m1000·:2·")
        scene.servers.run(for: .seconds(1))
        for client in clients.dropLast() { #expect(right(scene.servers.read(client))) }
        #expect(
            scene.gateway.hub.questions.isEmpty && scene.gateway.hub.questions.counts.largeOpen == 0
        )
        #expect(scene.gateway.hub.questions.counts.waiting.ids.isEmpty)
    }

    @Test func `no further part is asked for when one was not answered`() {
        let scene = Scene()
        scene.servers.mesh.judge = { [unowned scene] _, to, frame in
            if to == 1, frame[7] == 4, frame.count > 48,
                frame[48] == Message.Number.query.rawValue
            {
                scene.questions.append(frame.count)
            }
            let isAnswer = frame.count > 48 && frame[48] == Message.Number.answer.rawValue
            return to == 0 && frame[7] == 4 && isAnswer ? .drop : .pass
        }
        let client = scene.servers.open(0)
        let names = words.joined(separator: " ")
        scene.servers.send("PUBSUB NUMSUB \(names) \(names) \(names) \(names)\r\n", from: client)
        scene.servers.run(for: .milliseconds(1_100))
        #expect(scene.servers.read(client) == "-TRYAGAIN n1 has not answered·")
        #expect(scene.questions.count == 1)
        #expect(
            scene.gateway.hub.questions.isEmpty && scene.gateway.hub.questions.counts.largeOpen == 0
        )
    }
}
