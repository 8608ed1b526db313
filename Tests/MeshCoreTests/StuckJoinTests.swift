import MeshDriver
import MeshServer
import MeshWire
import Testing

@testable import MeshCore

/// A newcomer does not wait for ever for what it has only been told of.
@Suite struct StuckJoinTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    @Test func `what does not come is waited for for five seconds`() {
        var join = JoinState(
            Configuration(endpoint: Endpoint(ipv4: 1, port: 1), name: "a"), startedAt: start)
        var stuckAt: [Int64] = []
        for step in 0...20 as ClosedRange<Int64> {
            // Something comes in the third second.
            let isStuck = join.isStuck(step < 6 ? 7 : 8, at: start + .milliseconds(step * 500))
            if isStuck { stuckAt.append(step * 500) }
        }
        #expect(stuckAt == [8_000, 8_500, 9_000, 9_500, 10_000])
    }

    @Test func `what comes without end is waited for for a minute`() {
        var join = JoinState(
            Configuration(endpoint: Endpoint(ipv4: 1, port: 1), name: "a"), startedAt: start)
        let stuckAt = (0...70 as ClosedRange<Int64>).first {
            join.isStuck(UInt64($0), at: start + .seconds($0))
        }
        #expect(stuckAt == 60)
    }

    /// Of an honest member's log, by another that has greeted.
    @Test(arguments: [false, true])
    func `a newcomer that is told of a longer log is ready all the same`(lies: Bool) throws {
        let hasher = KeyHasher(cluster: "smallworld")
        var mesh = MemoryMesh(hasher: hasher, latency: .milliseconds(1), at: start)
        for number in 0..<4 {
            mesh.append(
                ServerOptions(
                    node: Configuration(
                        endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                        seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)])),
                id: NodeID(UInt64(number + 1) << 60), seed: UInt64(number))
            if number == 2 { mesh.run(for: .seconds(3)) }
        }
        let entry = OriginEntry(
            member: mesh.hosts[1].node.members[.oneself].record, sequence: 1 << 40, keyCount: 1,
            keySum: 1)
        var frame = ByteQueue()
        _ = frame.appendLinkFrame(.origins([entry], mask: 0, isReply: false))
        let bytes = frame.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        var hasLied = false
        var readyAfter: Int64?
        for millisecond in 0..<9_000 as Range<Int64> {
            mesh.run(for: .milliseconds(1))
            if lies, !hasLied, mesh.hosts[3].link(to: 2) != nil {
                mesh.inject(bytes, to: 3, from: 2)
                hasLied = true
            }
            if readyAfter == nil, mesh.hosts[3].node.isReady { readyAfter = millisecond }
        }
        #expect(hasLied == lies)
        let took = try #require(readyAfter)
        #expect(lies ? (5_000...7_500).contains(took) : took < 1_000, "\(took) ms")
    }
}
