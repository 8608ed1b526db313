// Nothing else: the examples must do with what their readers have.
import Smallworld
import Testing

/// Examples of the documentation, as programs. `TidyTests` compares them with the comments, line by
/// line; lines that end with `// test` are left out.
@Suite(.timeLimit(.minutes(15))) struct ExampleTests {
    @Test func `a node that is made as the documentation says joins a mesh`() async throws {
        var options = MeshNode.Options()
        options.mesh.port = 0
        options.redis = nil
        options.http = nil
        options.log.level = .error
        let first = try MeshNode(options)
        let running = Task { try await first.run() }

        for example in [Self.join, Self.beside] {
            let (ready, whenReady) = AsyncStream.makeStream(of: Void.self)
            let joining = Task {
                defer { whenReady.finish() }
                try await example(first.ports.mesh.port) { whenReady.yield() }
            }
            for await _ in ready { break }
            joining.cancel()
            try await joining.value
        }
        first.leave()
        try await running.value
    }

    private static func beside(
        _ seed: UInt16, _ onReady: @escaping @Sendable () -> Void
    ) async throws {
        // Example of README.md
        var options = MeshNode.Options(seeds: [try HostPort("127.0.0.1:7400")])
        options.mesh.port = 7401  // beside the node that has 7400
        options.redis = nil  // this one has no clients
        options.http = nil
        options = try onThisMachine(options, seed)  // test
        options.onReady = onReady  // test
        let node = try MeshNode(options)
        try await node.run()  // until its task is cancelled; then it leaves the mesh
        // The end of the example.
    }

    private static func join(
        _ seed: UInt16, _ onReady: @escaping @Sendable () -> Void
    ) async throws {
        // Example of Sources/Smallworld/MeshNode.swift
        var options = MeshNode.Options(seeds: [try HostPort("10.0.0.5:7400")])
        // Where the others reach it: at every address of this machine. The links are not encrypted,
        // so this is for a network that you trust.
        options.mesh = try HostPort("0.0.0.0:7400")
        options.allowsInsecureAddresses = true
        options = try onThisMachine(options, seed)  // test
        options.onReady = onReady  // test
        let node = try MeshNode(options)
        try await node.run()
        // The end of the example.
    }

    /// The same node on free ports, and with a seed that is there.
    private static func onThisMachine(
        _ options: MeshNode.Options, _ seed: UInt16
    ) throws -> MeshNode.Options {
        var options = options
        options.mesh.port = 0
        options.redis?.port = 0
        options.http?.port = 0
        options.log.level = .error
        // A machine of tests may have no other address.
        options.advertise = HostPort(host: "127.0.0.1", port: 0)
        // The seed of the example is taken, though nobody is there to be asked.
        _ = try MeshNode(options)
        options.seeds = [HostPort(host: "127.0.0.1", port: seed)]
        return options
    }
}
