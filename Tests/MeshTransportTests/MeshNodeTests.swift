import Smallworld
import Testing

@Suite(.timeLimit(.minutes(15))) struct MeshNodeTests {
    private func options(_ seeds: [HostPort] = []) -> MeshNode.Options {
        var options = MeshNode.Options(seeds: seeds)
        options.mesh.port = 0
        options.redis?.port = 0
        options.http?.port = 0
        options.log.level = .error
        return options
    }

    @Test func `a node runs until its task is cancelled`() async throws {
        let (ready, whenReady) = AsyncStream.makeStream(of: Void.self)
        var options = options()
        options.onReady = { whenReady.yield() }
        let node = try MeshNode(options)
        let run = Task { try await node.run() }
        for await _ in ready { break }
        run.cancel()
        try await run.value
    }

    @Test func `a node runs once`() async throws {
        let node = try MeshNode(options())
        node.stop()
        try await node.run()
        await #expect(throws: MeshNodeError.self) { try await node.run() }
    }

    @Test func `its ports are free again when it has ended`() async throws {
        let node = try MeshNode(options())
        node.leave()
        try await node.run()
        var again = options()
        again.mesh.port = node.ports.mesh.port
        _ = try MeshNode(again)
    }

    @Test func `addresses of other machines need permission, also to be dialled or told`() {
        for option in ["--seed", "--advertise"] {
            var options = options()
            if option == "--seed" {
                options.seeds = [
                    HostPort(host: "127.0.0.1", port: 1), HostPort(host: "192.0.2.1", port: 7400),
                ]
            } else {
                options.advertise = HostPort(host: "192.0.2.1", port: 7400)
            }
            #expect {
                _ = try MeshNode(options)
            } throws: {
                "\($0)".hasPrefix("\(option) 192.0.2.1:7400") && "\($0)".contains("--insecure")
            }
            options.allowsInsecureAddresses = true
            #expect(throws: Never.self) { _ = try MeshNode(options) }
        }
    }

    @Test func `a node that is its own seed is a first node`() async throws {
        let port = try MeshNode(options()).ports.mesh.port
        let (ready, whenReady) = AsyncStream.makeStream(of: Void.self)
        var options = options([HostPort(host: "localhost", port: port)])
        options.mesh.port = port
        options.onReady = { whenReady.yield() }
        let node = try MeshNode(options)
        let run = Task { try await node.run() }
        for await _ in ready { break }
        node.leave()
        try await run.value
    }
}
