import MeshWire
import Testing

@testable import MeshCore

/// Connections that have not greeted hold at most 64 places. Strangers can take them all, and keep nobody out.
@Suite struct GreetingTests {
    private static let start = Instant(nanoseconds: 1_000_000_000)

    /// A node that 64 connections have come to, one each millisecond.
    private static func crowded() -> Node {
        let configuration = Configuration(
            endpoint: Endpoint(ipv4: 1, port: 7_400), name: "a")
        var node = Node(
            id: NodeID(1), incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000), seed: 1,
            configuration: configuration, hasher: KeyHasher(cluster: configuration.cluster),
            at: start)
        var effects = EffectBuffer()
        for number in 0..<64 {
            let link = node.acceptLink(at: at(Int64(number)), into: &effects)
            precondition(link == LinkIndex(number) && effects.isEmpty)
        }
        return node
    }

    private static func at(_ milliseconds: Int64) -> Instant {
        start + .milliseconds(milliseconds)
    }

    /// The connection that gives its place to one that comes then.
    private static func displaced(_ node: inout Node, at milliseconds: Int64) -> Int? {
        var effects = EffectBuffer()
        let link = node.acceptLink(at: at(milliseconds), into: &effects)
        guard effects.count == 2, case .log(.greetingDisplaced(let told)) = effects[0],
            case .close(let closed) = effects[1], told == closed, link == closed
        else { return nil }
        return closed.slot
    }

    private static func hear(_ slots: Range<Int>, _ node: inout Node, at milliseconds: Int64) {
        var effects = EffectBuffer()
        for slot in slots {
            node.handle(
                .heard(LinkIndex(slot)), bytes: Span(), at: at(milliseconds), into: &effects)
        }
    }

    @Test func `the one silent longest goes, of those that have brought nothing first`() {
        var node = Self.crowded()
        Self.hear(0..<10, &node, at: 100)
        var gone: [Int?] = []
        for number in 0..<4 { gone.append(Self.displaced(&node, at: 200 + Int64(number))) }
        #expect(gone == [10, 11, 12, 13])
        #expect(node.counters[.greetingsDisplaced] == 4)
    }

    @Test func `of those that have all brought something the one silent longest goes`() {
        var node = Self.crowded()
        Self.hear(0..<64, &node, at: 100)
        Self.hear(0..<5, &node, at: 150)
        Self.hear(6..<64, &node, at: 160)
        let gone = Self.displaced(&node, at: 200)
        #expect(gone == 5)
    }

    /// Its words may wait to be read.
    @Test(arguments: [(4, 7), (5, 40), (6, 40)] as [(Int64, Int)])
    func `one that has only just come keeps its place before those that have brought something`(
        age: Int64, gone: Int
    ) {
        var node = Self.crowded()
        Self.hear(0..<64, &node, at: 100)
        // One ends, and another takes its slot.
        var effects = EffectBuffer()
        node.handle(
            .disconnected(LinkIndex(40), .closed), bytes: Span(), at: Self.at(200),
            into: &effects)
        Self.hear(0..<7, &node, at: 200)
        Self.hear(8..<40, &node, at: 200)
        Self.hear(41..<64, &node, at: 200)
        let newcomer = node.acceptLink(at: Self.at(200), into: &effects)
        #expect(newcomer == LinkIndex(40))
        let displaced = Self.displaced(&node, at: 200 + age)
        #expect(displaced == gone)
    }

    @Test func `where all have only just come the first of them goes`() {
        var node = Self.crowded()
        for link in node.links.indices { node.links[link].since = Self.at(63) }
        for link in node.links.indices { node.links[link].heardAt = Self.at(63) }
        node.links[LinkIndex(20)].since = Self.at(62)
        node.links[LinkIndex(20)].heardAt = Self.at(62)
        let gone = Self.displaced(&node, at: 64)
        #expect(gone == 20)
    }

    @Test func `a connection that is told who is here has a place too, one of our own none`() {
        var node = Self.crowded()
        var effects = EffectBuffer()
        node.links[LinkIndex(3)].state = .introducing
        node.links[LinkIndex(4)].state = .introducing
        node.links[LinkIndex(4)].isDialled = true
        // 63 are left, so one more has room.
        let link = node.acceptLink(at: Self.at(100), into: &effects)
        #expect(link == LinkIndex(64) && effects.isEmpty)
        // The one that is introduced has said hello.
        Self.hear(0..<3, &node, at: 101)
        Self.hear(5..<65, &node, at: 102)
        let gone = Self.displaced(&node, at: 200)
        #expect(gone == 3)
    }

    /// 5,000 connections a second, each of which may say a byte now and then.
    @Test(arguments: [0, 63]) func `a peer gets in while strangers hold all places`(talkers: Int) {
        let mesh = SmallMesh(3)
        var strangers: [LinkIndex] = []
        func flood(_ count: Int) {
            for _ in 0..<count { if let link = mesh.accept(at: 0) { strangers.append(link) } }
        }
        func talk() {
            let (first, last) = (strangers.count - talkers, strangers.count)
            for link in strangers[max(0, first)..<last] { mesh.handle(0, .heard(link)) }
        }
        flood(200)
        mesh.run(for: .milliseconds(10))
        talk()
        let greeted = mesh.hosts[0].node.links.indices.count {
            mesh.hosts[0].node.links[$0].isGreeted
        }
        #expect(greeted == 64)
        mesh.reset(0, 1)
        mesh.reset(0, 2)
        #expect(mesh.link(from: 0, to: 1) == nil)
        for _ in 0..<200 {
            flood(5)
            mesh.run(for: .milliseconds(1))
        }
        #expect(mesh.link(from: 0, to: 1) != nil && mesh.link(from: 0, to: 2) != nil)
        #expect(mesh.hosts[0].node.counters[.greetingsDisplaced] > 1_000)
        for host in 0..<3 { #expect(mesh.hosts[host].node.counters[.deaths] == 0) }
    }
}
