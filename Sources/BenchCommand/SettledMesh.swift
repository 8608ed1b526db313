import MeshCore
import MeshDriver
import MeshServer
import MeshWire

extension MemoryMesh {
    /// `count` nodes of this degree, all with the same seed, run until all know each other and two
    /// more virtual minutes for their links to settle. Where two are kept apart, the host between
    /// them in number is the seed.
    static func settled(count: Int, degree: Int, apart: (Int, Int)? = nil) -> MemoryMesh {
        var mesh = MemoryMesh(
            hasher: KeyHasher(cluster: "bench"), at: Instant(nanoseconds: 0))
        mesh.apart = apart
        let seed = apart.map { ($0.0 + $0.1) / 2 } ?? 0
        var random = Generator(state: 42)
        for number in 0..<count {
            var configuration = Configuration(
                endpoint: endpoint(number), name: "n\(number)",
                seeds: number == seed ? [] : [endpoint(seed)])
            configuration.degree = degree
            let id = NodeID(random.next())
            mesh.append(ServerOptions(node: configuration), id: id, seed: random.next())
        }
        let limit = mesh.now + .seconds(600)
        while !mesh.allKnowEachOther(count) {
            mesh.run(for: .seconds(1))
            precondition(mesh.now < limit, "the nodes do not find each other")
        }
        mesh.run(for: .seconds(120))
        return mesh
    }
}
