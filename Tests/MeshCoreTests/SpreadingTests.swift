import MeshDriver
import MeshServer
import MeshWire
import Testing

@testable import MeshCore

@Suite struct SpreadingTests {
    /// The way round from a node to the one right before it is as long as the ring: it was taken for no
    /// part of the ring, and heard of the change with the next comparison alone.
    @Test(arguments: [0, 1])
    func `a change comes at once to a node whose id is next to the origin's`(origin: Int) {
        let hasher = KeyHasher(cluster: "spread")
        var mesh = MemoryMesh(hasher: hasher, at: Instant(nanoseconds: 1_000_000_000))
        for number in 0..<2 {
            let options = ServerOptions(
                node: Configuration(
                    endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                    seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)]))
            mesh.append(options, id: NodeID(UInt64(number + 1)), seed: UInt64(number))
        }
        mesh.run(for: .seconds(3))
        mesh.handle(.directory(hasher.key(.user, Array("ann".utf8)), .add), origin)
        mesh.run(for: .milliseconds(20))
        let entries = mesh.hosts[1 - origin].server.node.tableSizes().entries
        #expect(entries == 1)
    }

    /// One neighbour may lack what another has.
    @Test func `a node is not ready before it has compared what it knows with each neighbour`() {
        let hasher = KeyHasher(cluster: "ready")
        var mesh = MemoryMesh(hasher: hasher, at: Instant(nanoseconds: 1_000_000_000))
        // The second node does not tell the third what it knows.
        var isReticent = true
        mesh.judge = { from, to, frame in
            guard from == 1, to == 2, isReticent, frame[4] == FrameKind.link.rawValue,
                let message = try? Message.decode(
                    frame.span, from: Frame.prefixSize, to: frame.count)
            else { return .pass }
            switch message {
            case .heartbeat, .digests, .origins, .logSummaries: return .drop
            default: return .pass
            }
        }
        for number in 0..<3 {
            let options = ServerOptions(
                node: Configuration(
                    endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                    seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)]))
            mesh.append(options, id: NodeID(UInt64(number + 1)), seed: UInt64(number))
        }
        mesh.run(for: .milliseconds(1_200))
        let (links, isReady) = (
            mesh.hosts[2].server.node.tableSizes().links, mesh.hosts[2].server.node.isReady
        )
        #expect(links == 2 && !isReady)
        isReticent = false
        mesh.run(for: .seconds(1))
        let isReadyNow = mesh.hosts[2].server.node.isReady
        #expect(isReadyNow)
    }
}
