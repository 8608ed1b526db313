import Glibc
import MeshCore
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

@Suite(.timeLimit(.minutes(15))) struct MeshPortTests {
    @Test func `bytes that no node sends close the connection and are counted`() throws {
        let reactor = try TestReactor()
        for garbage in ["GET / HTTP/1.1\r\n\r\n", "\0\0\0\0\u{1}\0\0\0", "\u{FF}\u{FF}garbage"] {
            let before = try reactor.metric("links_misbehaved_total")
            let socket = try TestSocket(reactor.mesh)
            try socket.send(garbage)
            #expect(try socket.receiveAll() == "")
            #expect(try reactor.metric("links_misbehaved_total") == before + 1)
        }
        #expect(try reactor.get("/readyz") == "ready\n")
    }

    @Test func `a frame that claims to be longer than allowed closes the connection`() throws {
        let reactor = try TestReactor()
        let socket = try TestSocket(reactor.mesh)
        let length = UInt32(Frame.lengthMax + 1)
        try socket.send(
            (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + [1, 0, 0, 0])
        #expect(try socket.receiveAll() == "")
    }

    /// A node of the reactor's cluster that a test plays.
    private func hello(_ purpose: Greeting.Purpose) -> [UInt8] {
        let clusterID = KeyHasher(cluster: "smallworld").key(.room, Array("smallworld".utf8))
        var bytes = ByteQueue()
        _ = bytes.appendLinkFrame(
            .hello(
                Greeting(
                    cluster: "smallworld", clusterID: clusterID.rawValue, purpose: purpose,
                    stratum: 0,
                    member: MemberRecord(
                        id: NodeID(1 << 63 + 7),
                        incarnation: Incarnation(bootMilliseconds: Clock.wallMilliseconds),
                        status: .alive, endpoint: Endpoint(ipv4: 0x7F00_0001, port: 1),
                        name: "peer", zone: ""))))
        return bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    private func prefix(length: Int, _ kind: FrameKind) -> [UInt8] {
        var bytes = ByteQueue()
        bytes.appendPrefix(length: length, kind, [], hopsLeft: 9, body: RoutedBody.user.rawValue)
        return bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    @Test func `large frames are taken only after a hello`() throws {
        let reactor = try TestReactor()
        let stranger = try TestSocket(reactor.mesh)
        try stranger.send(prefix(length: Frame.greetingLengthMax + 1, .link))
        #expect(try stranger.receiveAll() == "")
        #expect(try reactor.metric("links_misbehaved_total") == 1)

        let peer = try TestSocket(reactor.mesh)
        try peer.send(hello(.neighbour) + prefix(length: Frame.lengthMax, .routed))
        try reactor.waitForMetric("links", 1)
        // It waits for the rest of the frame, and answers others.
        #expect(try reactor.get("/readyz") == "ready\n")
        #expect(try reactor.metric("links_misbehaved_total") == 1)
    }

    @Test func `a peer whose frame takes long to arrive is not silent`() throws {
        let reactor = try TestReactor {
            $0.server.node.timing.silence = .milliseconds(300)
            $0.server.node.timing.heartbeat = .milliseconds(100)
        }
        let peer = try TestSocket(reactor.mesh)
        try peer.send(hello(.neighbour))
        try reactor.waitForMetric("links", 1)
        // Well over the reactor's bound for input that it copies together.
        let size = 1 << 20
        try peer.send(prefix(length: size, .routed))
        let end = Clock.now + .milliseconds(1_500)
        var sent = Frame.prefixSize
        while Clock.now < end {
            try peer.send([UInt8](repeating: 0, count: 4_096))
            sent += 4_096
            usleep(20_000)
        }
        #expect(sent < size)
        #expect(try reactor.metric("suspicions_total") == 0)
        #expect(try reactor.metric("links") == 1)
    }

    @Test func `a connection that says nothing is given up and its slot is free again`() throws {
        let reactor = try TestReactor {
            $0.server.node.timing.handshake = .milliseconds(200)
            $0.server.node.degree = 4
        }
        let slots = Configuration(endpoint: reactor.mesh, name: "").linkSlotCount
        var silent: [TestSocket] = []
        for _ in 0..<(slots + 20) { silent.append(try TestSocket(reactor.mesh)) }
        for socket in silent { #expect(try socket.receiveAll() == "") }
        let late = try TestSocket(reactor.mesh)
        try late.send("not a frame of ours")
        #expect(try late.receiveAll() == "")
        #expect(try reactor.metric("links_misbehaved_total") == 1)
    }

    @Test func `strangers that hold all places and come again keep no node out`() throws {
        let first = try TestReactor()
        var strangers: [TestSocket] = []
        for _ in 0..<200 { strangers.append(try TestSocket(first.mesh)) }
        // Sixty of the last say a byte.
        for socket in strangers.suffix(60) { try socket.send("\0") }
        try first.waitForMetric("greetings_displaced_total", 136)
        let second = try TestReactor(seeds: [first.mesh])
        for _ in 0..<200 { strangers.append(try TestSocket(first.mesh)) }
        try second.waitUntilReady()
        try first.waitForMetric("members", 2)
        try first.waitForMetric("links", 1)
        // The first to come were the first to go.
        #expect(try strangers[0].receiveAll() == "")
    }

    @Test func `three nodes find each other through one seed`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        let third = try TestReactor(seeds: [second.mesh])
        for reactor in [first, second, third] {
            try reactor.waitForMetric("members", 3)
            try reactor.waitForMetric("links", 2)
            try reactor.waitUntilReady()
        }
    }

    @Test func `a node that leaves is gone for the others at once and ends`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try first.waitForMetric("links", 1)
        try second.waitForMetric("links", 1)
        second.inbox.leave()
        #expect(try second.waitForEnd() == .left)
        try first.waitForMetric("members", 1, seconds: 1)
        #expect(try first.metric("deaths_total") == 0)
    }

    @Test func `a node that ends without a goodbye is declared dead`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try first.waitForMetric("links", 1)
        second.inbox.stop()
        #expect(try second.waitForEnd() == .stopped)
        try first.waitForMetric("members", 1)
        #expect(try first.metric("deaths_total") == 1)
    }

    @Test func `a seed that appears later is found`() throws {
        let reserved = try Listeners(
            mesh: Endpoint(ipv4: 0x7F00_0001, port: 0), redis: nil, http: nil)
        let endpoint = reserved.meshEndpoint
        _ = consume reserved
        let second = try TestReactor(seeds: [endpoint])
        #expect(try second.get("/readyz") != "ready\n")
        let first = try TestReactor(meshAt: endpoint)
        try first.waitForMetric("members", 2)
        try second.waitUntilReady()
    }
}
