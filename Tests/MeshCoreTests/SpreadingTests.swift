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
}
