import MeshDriver
import MeshServer
import MeshWire
import Testing

@testable import MeshCore

/// A newcomer does not wait for ever for what it has only been told of.
@Suite struct StuckJoinTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    @Test func `what does not come is waited for ten seconds`() {
        var join = JoinState(
            Configuration(endpoint: Endpoint(ipv4: 1, port: 1), name: "a"), startedAt: start)
        var stuckAt: [Int64] = []
        for step in 0...30 as ClosedRange<Int64> {
            // Something comes in the third second.
            let isStuck = join.isStuck(step < 6 ? 7 : 8, at: start + .milliseconds(step * 500))
            if isStuck { stuckAt.append(step * 500) }
        }
        #expect(stuckAt == [13_000, 13_500, 14_000, 14_500, 15_000])
    }

    @Test func `what comes without end is waited for five minutes`() {
        var join = JoinState(
            Configuration(endpoint: Endpoint(ipv4: 1, port: 1), name: "a"), startedAt: start)
        let stuckAt = (0...400 as ClosedRange<Int64>).first {
            join.isStuck(UInt64($0), at: start + .seconds($0))
        }
        #expect(stuckAt == 300)
    }

    /// One of those that it links with says in its heartbeats that it has something else, and compares nothing.
    @Test(arguments: [false, true])
    func `a newcomer whose neighbour compares nothing is ready all the same`(
        isMute: Bool
    ) throws {
        let hasher = KeyHasher(cluster: "smallworld")
        var mesh = MemoryMesh(hasher: hasher, latency: .milliseconds(1), at: start)
        mesh.judge = { from, to, frame in
            guard isMute, from == 2, to == 3, frame[4] == FrameKind.link.rawValue else {
                return .pass
            }
            let said: [Message.Number] = [.hello, .welcome, .members, .refuse, .bye]
            return said.contains { $0.rawValue == frame[8] } ? .pass : .drop
        }
        for number in 0..<4 {
            mesh.append(
                ServerOptions(
                    node: Configuration(
                        endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                        seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)])),
                id: NodeID(UInt64(number + 1) << 60), seed: UInt64(number))
            if number == 2 { mesh.run(for: .seconds(3)) }
        }
        var frame = ByteQueue()
        _ = frame.appendLinkFrame(
            .heartbeat(Heartbeat(digest: 7, sentAt: 1, echo: 0, echoDelay: 0)))
        let heartbeat = frame.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        var readyAfter: Int64?
        for millisecond in 0..<15_000 as Range<Int64> where readyAfter == nil {
            mesh.run(for: .milliseconds(1))
            if isMute, let link = mesh.hosts[3].link(to: 2),
                mesh.hosts[3].node.links[link].state == .established
            {
                mesh.inject(heartbeat, to: 3, from: 2)
            }
            if mesh.hosts[3].node.isReady { readyAfter = millisecond }
        }
        let took = try #require(readyAfter)
        #expect(isMute ? (10_000...12_500).contains(took) : took < 1_000, "\(took) ms")
    }
}
