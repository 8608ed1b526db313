import MeshCore
import MeshGateway
import MeshWire
import Testing

@testable import MeshServer
@testable import MeshSimulation

/// Runs in which nothing goes wrong: every counter has bounds there (`CalmWork`), and what repairs is not
/// to be used. A fault that something else mends is seen nowhere else: its end is right.
@Suite struct CalmTests {
    @Test(arguments: [(1, 16), (2, 16), (12, 16), (40, 8)])
    func `an idle mesh sends heartbeats and nothing else`(nodes: Int, degree: Int) {
        var calm = CalmMesh(nodes: nodes, degree: degree, settle: .seconds(20))
        calm.run(for: .seconds(30))
        calm.check()
    }

    /// Where nodes are far apart, each finds its place among them and tells the others: after 4 s at the
    /// earliest, and then half as often each time, 4 times in a minute. Those are no changes of the directory.
    @Test
    func `a mesh that is far apart tells where nodes are, and counts no change of the directory`() {
        var world = World(seed: 2)
        world.network.latency = .milliseconds(30)
        for number in 0..<12 { world.start(seeds: number == 0 ? [] : [0]) }
        var calm = CalmMesh(world)
        calm.run(for: .seconds(10))
        let frames = calm.world.trafficCount.frameCount(.changes)
        #expect(frames > 0)
        calm.run(for: .seconds(50))
        calm.work.linksOpened = 132...132
        calm.work.linksRefused = 0...132
        calm.work.spreadsMax = 12 * 4
        calm.work.boundNews(others: 11, degree: 11)
        // Neighbours are told with a heartbeat at most.
        calm.work.linkFrames = 1...calm.work.linkFrames.upperBound + 132 * 134
        calm.work.boundComparisons(links: 132)
        calm.work.repairFrames = 0...0
        calm.check()
    }

    @Test func `users that come and go are told of once to each`() {
        var calm = CalmMesh(nodes: 12)
        let watcher = calm.open(0)
        calm.exchange(watcher, "MESH.WATCH u1 u2 u3 u40")
        var lines: [Int] = []
        for number in 0..<60 {
            lines.append(calm.open(number % 12))
            calm.join(lines[number], "user u\(number)", "MESH.ATTACH u\(number)")
        }
        calm.run(for: .seconds(1))
        for number in stride(from: 0, to: 60, by: 2) {
            // Half of them say that they go.
            let isSaid = number.isMultiple(of: 4)
            calm.part(lines[number], "user u\(number)", isSaid ? "MESH.DETACH u\(number)" : nil)
        }
        calm.run(for: .seconds(3))
        // The watcher is told of four at first, of the four when they come, and of the two that go.
        calm.work.copies = 10
        calm.check()
    }

    @Test func `a published message comes once, over the one link that leads there`() {
        var calm = CalmMesh(nodes: 12)
        // Four channels with five subscribers on four nodes each, and a pattern for two of the channels.
        for number in 0..<20 {
            let line = calm.open(number * 5 % 12)
            calm.join(line, "channel c\(number % 4)", "SUBSCRIBE c\(number % 4)")
        }
        let follower = calm.open(7)
        calm.join(follower, "pattern c[01]", "PSUBSCRIBE c[01]")
        let publishers = (0..<12).map { calm.open($0) }
        for number in 0..<300 {
            let channel = number % 4
            let patterns = channel < 2 ? ["pattern c[01]"] : []
            calm.publish(
                publishers[number % 12], "PUBLISH c\(channel) m\(number)",
                to: ["channel c\(channel)"] + patterns)
            calm.run(for: .milliseconds(3))
        }
        calm.run(for: .seconds(3))
        calm.check()
    }

    @Test func `messages to users, in both directions and in bursts, are sent once`() {
        var calm = CalmMesh(nodes: 6)
        let lines = (0..<6).map { calm.open($0) }
        for number in 0..<6 {
            calm.join(lines[number], "user u\(number)", "MESH.ATTACH u\(number)")
        }
        for round in 0..<40 {
            for number in 0..<6 {
                let other = (number + 1 + round % 5) % 6
                // One of three rounds is a burst of more than are acknowledged at once.
                for part in 0..<(round.isMultiple(of: 3) ? 40 : 1) {
                    calm.publish(
                        lines[number], "MESH.SEND u\(other) \(round).\(part)",
                        to: ["user u\(other)"])
                }
            }
            calm.run(for: .milliseconds(7))
        }
        calm.run(for: .seconds(3))
        calm.check()
    }

    /// Nothing goes the other way that could carry acknowledgements.
    @Test(arguments: [1, 4, 30] as [Int64])
    func `a stream is acknowledged for each sixteen messages or each 20 ms`(pause: Int64) {
        var calm = CalmMesh(nodes: 3)
        calm.join(calm.open(1), "channel c", "SUBSCRIBE c")
        let publisher = calm.open(0)
        for number in 0..<320 {
            calm.publish(publisher, "PUBLISH c m\(number)", to: ["channel c"])
            calm.run(for: .milliseconds(pause))
        }
        calm.run(for: .seconds(1))
        calm.check()
    }

    /// A newcomer asks for changes; who does not keep all of them any more sends the whole set.
    @Test(arguments: [(99, 0), (100, 0), (101, 1)])
    func `a hundred recent changes are kept`(changes: Int, wholeSets: Int) {
        var world = World(seed: 3)
        world.start(seeds: []) { $0.recentRecordCount = 100 }
        world.run(for: .seconds(2))
        var calm = CalmMesh(world)
        for number in 0..<changes { calm.world.change(0, .user, "u\(number)", .add) }
        calm.run(for: .seconds(1))
        calm.begin()
        calm.world.start(seeds: [0])
        calm.run(for: .seconds(6))
        calm.work.linksOpened = 2...2
        calm.work.recordsRepaired = changes
        calm.work.wholeSets = wholeSets
        calm.work.boundNews(others: 1, degree: 1)
        calm.work.boundComparisons(links: 1)
        calm.check()
    }

    /// A burst that fits in the window pauses nobody. One of 200 finds room for 64 at first and for half
    /// of it, 32, after each pause.
    @Test(arguments: [(60, 0), (200, 5)])
    func `small windows repair nothing`(burst: Int, pausesMax: Int) {
        var world = World(seed: 3)
        for number in 0..<4 {
            world.start(seeds: number == 0 ? [] : [0]) {
                $0.flows.windowCount = 64
                $0.flows.windowBytes = 65_536
                $0.flows.reorderCount = 64
                $0.flows.reorderBytes = 65_536
            }
        }
        world.run(for: .seconds(6))
        var calm = CalmMesh(world)
        calm.join(calm.open(1), "channel c", "SUBSCRIBE c")
        let publisher = calm.open(0)
        for _ in 0..<10 {
            for number in 0..<burst {
                calm.publish(publisher, "PUBLISH c m\(number)", to: ["channel c"])
            }
            calm.run(for: .milliseconds(500))
        }
        calm.run(for: .seconds(2))
        calm.work.pausesMax = 10 * pausesMax
        calm.check()
    }

    @Test func `questions are asked once and answered in time`() {
        var calm = CalmMesh(nodes: 5)
        for host in 1..<5 { calm.join(calm.open(host), "channel c", "SUBSCRIBE c") }
        let asker = calm.open(0)
        for _ in 0..<10 {
            #expect(calm.exchange(asker, "PUBSUB NUMSUB c") == "*2\r\n$1\r\nc\r\n:4\r\n")
            #expect(calm.exchange(asker, "PUBSUB CHANNELS") == "*1\r\n$1\r\nc\r\n")
            calm.work.questions += 2
            calm.work.questionsTo += 8
        }
        calm.check()
    }
}

/// Nodes come and go in order.
extension CalmTests {
    /// Twelve keys came and four of them went again.
    private func withKeys(_ nodes: Int, degree: Int, settle: Delay) -> CalmMesh {
        var calm = CalmMesh(nodes: nodes, degree: degree, settle: settle)
        for number in 0..<12 {
            let line = calm.open(number % nodes)
            calm.join(line, "user u\(number)", "MESH.ATTACH u\(number)")
            if number.isMultiple(of: 3) {
                calm.part(line, "user u\(number)", "MESH.DETACH u\(number)")
            }
        }
        calm.run(for: .seconds(3))
        calm.begin()
        return calm
    }

    /// A node has come to a full mesh of so many, and nothing else has happened.
    private func check(
        _ calm: inout CalmMesh, newcomerAmong others: Int, repaired: Int, wholeSets: Int = 0
    ) {
        // A link has two ends, and each opens it.
        calm.work.linksOpened = 2 * others...2 * others
        calm.work.recordsRepaired = repaired
        calm.work.wholeSets = wholeSets
        calm.work.boundNews(others: others, degree: others)
        calm.work.boundComparisons(links: others)
        calm.check()
    }

    @Test func `a newcomer to a full mesh links with each once and gets each change once`() {
        var calm = withKeys(9, degree: 16, settle: .seconds(6))
        calm.world.start(seeds: [4])
        calm.run(for: .seconds(10))
        let agree = calm.world.agree()
        #expect(agree)
        check(&calm, newcomerAmong: 9, repaired: 16)
    }

    @Test func `a newcomer gets a set of thousands of keys once, as a whole`() {
        var calm = CalmMesh(nodes: 3)
        for number in 0..<3_000 { calm.world.change(1, .user, "u\(number)", .add) }
        calm.run(for: .seconds(3))
        calm.begin()
        calm.world.start(seeds: [0])
        calm.run(for: .seconds(6))
        let agree = calm.world.agree()
        #expect(agree)
        check(&calm, newcomerAmong: 3, repaired: 3_000, wholeSets: 1)
    }

    @Test func `from a full mesh a node goes with its links and nothing else`() {
        var calm = withKeys(9, degree: 16, settle: .seconds(6))
        calm.world.leave(6)
        calm.run(for: .seconds(10))
        let isUp = calm.world.isUp(6)
        #expect(!isUp)
        let agree = calm.world.agree()
        #expect(agree)
        calm.work.linksLost = 8...8
        // It has a client, and asks the others where it can go.
        calm.work.questionsTo = 8
        calm.work.boundNews(others: 8, degree: 8)
        calm.check()
    }

    /// A newcomer has eight links at most, and each may cost one of those whom it links with another, so
    /// that two are short of one and find each other, or a third: three links for each.
    @Test func `a newcomer to a mesh of forty changes its surroundings alone`() {
        var calm = withKeys(40, degree: 8, settle: .seconds(20))
        calm.world.start(seeds: [4], degree: 8)
        calm.run(for: .seconds(20))
        let agree = calm.world.agree()
        #expect(agree)
        calm.work.linksOpened = 4...2 * 3 * 8
        calm.work.linksLost = 0...2 * 2 * 8
        calm.work.linksRefused = 0...33 * 8
        calm.work.recordsRepaired = 16
        calm.work.boundNews(others: 40, degree: 8)
        calm.work.boundComparisons(links: 8)
        calm.check()
    }

    @Test func `from a mesh of forty a node goes, and its neighbours take others`() {
        var calm = withKeys(40, degree: 8, settle: .seconds(20))
        calm.world.leave(39)
        calm.run(for: .seconds(20))
        let agree = calm.world.agree()
        #expect(agree)
        calm.work.linksOpened = 0...2 * 2 * 8
        calm.work.linksLost = 4...3 * 8
        calm.work.linksRefused = 0...33 * 8
        calm.work.boundNews(others: 39, degree: 8)
        calm.check()
    }
}

extension CalmWork {
    /// News of one member are told once over each link, or twice where both ends tell it; a link begins with
    /// a greeting and its answer, twice where one had to ask who is there, and ends with a good-bye each way.
    /// A link that comes or goes changes the lists of both ends, which all are told that are at most two steps
    /// away; and each end says what the link is to it, when that changes.
    mutating func boundNews(others: Int, degree: Int) {
        let changed = linksOpened.upperBound + linksLost.upperBound
        membershipFrames = 1...2 * others * degree + 4 * changed + 2 * linksRefused.upperBound
        linkFrames = 1...changed * (1 + degree + degree * degree)
    }

    /// Newcomers compare themselves with each neighbour: digests, summaries and entries, each at most once
    /// both ways; and once more before they are ready. They ask for what they lack, and get it.
    mutating func boundComparisons(links: Int) {
        comparisonFrames = 1...12 * links
        repairFrames = 2...2 * links
    }
}

/// Many nodes, and sessions.
extension CalmTests {
    @Test func `in a mesh of forty messages take shortest ways, and none comes twice`() {
        var calm = CalmMesh(nodes: 40, degree: 8, settle: .seconds(20))
        let lines = (0..<40).map { calm.open($0) }
        for host in 0..<40 {
            calm.join(lines[host], "channel all", "SUBSCRIBE all")
            let user = calm.open(host)
            calm.join(user, "user u\(host)", "MESH.ATTACH u\(host)")
        }
        let publishers = (0..<40).map { calm.open($0) }
        for number in 0..<80 {
            let user = (number * 7 + 3) % 40
            calm.publish(publishers[number % 40], "PUBLISH all m\(number)", to: ["channel all"])
            calm.publish(
                publishers[number % 40], "MESH.SEND u\(user) m\(number)", to: ["user u\(user)"])
            calm.run(for: .milliseconds(10))
        }
        calm.run(for: .seconds(3))
        calm.check()
    }

    private func token(_ reply: String) -> String {
        let lines = reply.split(separator: "\r\n")
        return lines.first == "$49" ? String(lines[1]) : "none in \(reply)"
    }

    /// Each connection ends in order and with everything read: nothing is lost, repeated or announced.
    @Test func `sessions that end their connections in order lose and repeat nothing`() {
        var calm = CalmMesh(nodes: 4)
        let sender = calm.open(3)
        var lines: [Int] = []
        var tokens: [String] = []
        for number in 0..<8 {
            lines.append(calm.open(0))
            let reply = calm.join(
                lines[number], "user s\(number)", "MESH.ATTACH s\(number) SESSION")
            tokens.append(token(reply))
            calm.work.sessions += 1
        }
        // To the same node, then to another.
        for host in [0, 1] {
            for number in 0..<8 {
                let user = "user s\(number)"
                calm.publish(sender, "MESH.SEND s\(number) m\(host)", to: [user])
                calm.run(for: .milliseconds(100))
                #expect(calm.read(lines[number]).contains("m\(host)"))
                calm.world.close(line: lines[number])
                calm.run(for: .milliseconds(500))
                lines[number] = calm.open(host)
                let attach = "MESH.ATTACH s\(number) RESUME \(tokens[number])"
                if host == 0 {
                    tokens[number] = token(calm.exchange(lines[number], attach))
                    calm.work.sessionsResumed += 1
                } else {
                    tokens[number] = token(calm.join(lines[number], user, attach))
                    calm.leave(0, user)
                    calm.work.sessionsMoved += 1
                }
                calm.run(for: .seconds(5))
            }
        }
        for number in 0..<8 {
            calm.part(lines[number], "user s\(number)", "MESH.DETACH s\(number)")
            calm.work.sessionsEnded += 1
        }
        calm.run(for: .seconds(3))
        calm.check()
    }
}

/// Scenarios without faults: much at once, with amounts that are drawn. What repairs has the bound zero.
extension CalmTests {
    @Test(arguments: [(1, 8), (2, 8), (3, 24)] as [(UInt64, Int)])
    func `users that move, channels and sessions need no repair`(seed: UInt64, nodes: Int) throws {
        let scenario = try ScenarioReader.read(
            """
            { nodes: \(nodes), degree: 8, start: { over: 4 }, duration: 24, settle: 6,
              users: { count: 60, over: 2, moves: 8 }, channels: { count: 4, subscribers: 4 },
              messages: { toUsers: 60, toChannels: 20, from: 12 },
              sessions: { count: 8, messages: 60, counted: 0.5, watchers: 2 } }
            """)
        var run = Run(scenario, seed: seed)
        run.advance(until: Instant(nanoseconds: 10_000_000_000))
        let before = CalmMesh.Counts(run.world)
        while !run.isFinished { run.advance(until: run.now + .seconds(1)) }
        let metrics = run.result
        #expect(metrics.violations == [] && !metrics.isStuck)
        #expect(metrics.delivered > 500 && metrics.sessionDelivered > 500)
        let after = CalmMesh.Counts(run.world)
        let all = CalmWork.all
        for host in run.live {
            for counter in NodeCounter.allCases where all.bounds(of: counter) == 0...0 {
                let count = after.nodes[host]![counter] - before.nodes[host]![counter]
                #expect(count == 0, "\(counter) of host \(host)")
            }
            for counter in GatewayCounter.allCases where all.bounds(of: counter) == 0...0 {
                let count = after.gateways[host]![counter] - before.gateways[host]![counter]
                #expect(count == 0, "\(counter) of host \(host)")
            }
        }
        // Neighbours differ while a change is between them: 16 a second for the 1.2 ms of four steps, 2 % of
        // the time. Two heartbeats in a row fall into that by chance, 0.04 % of them; then six frames are
        // exchanged that show no difference any more. Five times as much as is to be expected.
        let heartbeats = Double(after.frames[TrafficCount.Purpose.heartbeats.rawValue])
        let comparisonsMax = Int(6 * 5 * max(1, heartbeats * 0.0004))
        for purpose in TrafficCount.Purpose.allCases where all.bounds(of: purpose) == 0...0 {
            let count = after.frames[purpose.rawValue] - before.frames[purpose.rawValue]
            #expect(
                count <= (purpose == .comparison ? comparisonsMax : 0), "frames: \(purpose)")
        }
    }
}
