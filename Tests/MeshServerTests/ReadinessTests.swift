import MeshCore
import MeshServer
import Testing

@Suite struct ReadinessTests {
    @Test func `a server that has not joined answers LOADING, and is ready once it has`() {
        let servers = Servers(2, areApart: true)
        let client = servers.open(1)
        let early = servers.exchange(client, "PING\r\nPUBLISH a b\r\n", 1)
        let loading = "-LOADING Smallworld is joining the mesh·"
        #expect(early == loading + loading)
        let reason = servers.mesh.hosts[1].server.unreadyReason
        #expect(reason == "joining: no seed has answered yet")
        let isReady = servers.mesh.hosts[1].server.isReady
        #expect(!isReady)
        #expect(servers.get("/readyz", 1).hasPrefix("HTTP/1.1 503 "))
        #expect(servers.get("/healthz", 1).hasPrefix("HTTP/1.1 200 "))
        servers.mesh.apart = nil
        servers.run(for: .seconds(20))
        let late = servers.exchange(client, "PING\r\nPUBLISH a b\r\n", 1)
        #expect(late == "+PONG·:0·")
        let none = servers.mesh.hosts[1].server.unreadyReason
        #expect(none == nil)
        #expect(servers.get("/readyz", 1).hasPrefix("HTTP/1.1 200 "))
    }

    @Test func `the first node of a mesh is ready at once`() {
        let servers = Servers()
        let client = servers.open()
        #expect(servers.exchange(client, "PING\r\n") == "+PONG·")
    }

    @Test func `a server that leaves is not ready, and says why`() {
        let servers = Servers()
        let client = servers.open()
        servers.mesh.handle(.leave, 0)
        #expect(servers.get("/readyz").hasSuffix("leaving\n"))
        // It still serves those that it sends away.
        #expect(servers.exchange(client, "PING\r\n").hasSuffix("+PONG·"))
    }
}
