import Foundation
import Glibc
import MeshCore
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

/// The log's lines on peers that break the link protocol.
@Suite(.timeLimit(.minutes(15)), .serialized) struct BreachTests {
    @Test(arguments: [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP requests"), ("POST / HTTP/1.1\r\n", "HTTP requests"),
        ("*1\r\n$4\r\nPING\r\n", "Redis commands"), ("PING\r\nPING\r\n", "Redis commands"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "SSH"), ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "PROXY"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}", "TLS"),
    ]) func `a stray connection is one line with its address and what it speaks`(
        bytes: String, hint: String
    ) throws {
        let node = try TestProcess.node()
        let stray = try TestSocket(try node.endpoint("mesh"))
        let address = stray.localEndpoint.description
        try stray.send(bytes)
        #expect(try stray.receiveAll() == "")
        try eventually("logged") { try !node.logged("misbehaved").isEmpty }
        let lines = try node.logged("warning")
        #expect(lines.count == 1)
        #expect(lines[0].contains(" misbehaved address=\(address) reason="))
        #expect(lines[0].contains("hint=") && lines[0].contains(hint))
    }

    @Test func `unknown bytes are logged without a hint`() throws {
        let node = try TestProcess.node()
        let stray = try TestSocket(try node.endpoint("mesh"))
        try stray.send("\u{7F}\u{7F}garbage")
        #expect(try stray.receiveAll() == "")
        try eventually("logged") { try !node.logged("misbehaved").isEmpty }
        let line = try node.logged("warning")[0]
        #expect(line.contains(stray.localEndpoint.description) && !line.contains("hint="))
    }

    @Test func `a seed's redis port is told by what it answers`() throws {
        let first = try TestReactor()
        let node = try TestProcess.node(seeds: [first.redis])
        try eventually("logged") { try !node.logged("misbehaved").isEmpty }
        let line = try node.logged("misbehaved")[0]
        #expect(line.contains("address=\(first.redis)"))
        #expect(line.contains("it answers like a Redis server"))
    }

    @Test func `a known peer is named`() throws {
        let node = try TestProcess.node()
        _ = try node.line("ready")
        let peer = try TestSocket(try node.endpoint("mesh"))
        try peer.send(hello(NodeID(0xABC), name: "odd one"))
        // The welcome.
        _ = try peer.receive()
        try peer.send([9, 0, 0, 0, 1, 0, 0, 0, 250])
        try eventually("logged") { try !node.logged("protocolError").isEmpty }
        let line = try node.logged("protocolError")[0]
        #expect(line.contains("address=\(peer.localEndpoint) name=\"odd one\""))
        #expect(line.contains("node=0000000000000abc reason=\"unknown message 250\""))
    }

    @Test func `a peer that does not read is told once, with its name`() throws {
        let log = try LogFile()
        let reactor = try TestReactor {
            $0.log = Log(level: .warning, format: .text, descriptor: log.descriptor)
            // All control traffic is too much.
            $0.limits.linkControlBytes = -1
        }
        let peer = try TestSocket(reactor.mesh)
        try peer.send(hello(NodeID(0xABC), name: "deaf"))
        #expect(try peer.receiveAll() == "")
        try eventually("logged") { try !log.text().isEmpty }
        #expect(try reactor.metric("links_misbehaved_total") == 1)
        let lines = try log.text().split(separator: "\n").filter { $0.contains(" misbehaved ") }
        #expect(lines.count == 1)
        #expect(lines[0].contains("address=\(peer.localEndpoint) name=deaf"))
        #expect(lines[0].contains("does not read"))
    }

    /// The frame with which a node asks for a link.
    private func hello(_ id: NodeID, name: String) -> [UInt8] {
        let cluster = Configuration(endpoint: Endpoint(ipv4: 0, port: 0), name: "").cluster
        let record = MemberRecord(
            id: id, incarnation: Incarnation(bootMilliseconds: Clock.wallMilliseconds),
            status: .alive, endpoint: Endpoint(ipv4: 0x7F00_0001, port: 1), name: name, zone: "")
        var message = ByteQueue()
        message.append(
            .hello(
                Greeting(
                    cluster: cluster,
                    clusterID: KeyHasher(cluster: cluster).key(.room, Array(cluster.utf8)).rawValue,
                    purpose: .neighbour, stratum: 0, member: record)))
        var frame = ByteQueue()
        frame.appendPrefix(
            length: Frame.prefixSize + message.count, .link, [], hopsLeft: 0, body: 0)
        message.withSpan { frame.append($0, 0, $0.count) }
        return frame.withSpan { bytes in bytes.indices.map { bytes[$0] } }
    }
}

@Suite struct OtherProtocolTests {
    @Test(arguments: [
        "", "GE", "\0\0\0\0", "*x\r\n", "+ok\r\n", "- ERR", "get ", "\u{16}\u{4}\u{1}\0",
    ]) func `bytes that are no known protocol's are not taken for one`(bytes: String) {
        #expect(OtherProtocol(Array(bytes.utf8).span, at: 0) == nil)
    }

    @Test(arguments: [
        ("+PONG\r\n", OtherProtocol.redisAnswer), ("-NOAUTH x", .redisAnswer),
        ("HTTP/1.1 400 Bad Request", .httpAnswer), ("\u{15}\u{3}\u{1}\0", .tls),
    ]) func `the first bytes of a seed's answer tell its protocol`(
        bytes: String, found: OtherProtocol
    ) {
        #expect(OtherProtocol(Array(("x" + bytes).utf8).span, at: 1) == found)
    }
}

/// A file for a log.
private final class LogFile {
    let descriptor: Int32
    private let path = FileManager.default.temporaryDirectory
        .appendingPathComponent("smallworld-test-\(UUID().uuidString)").path

    init() throws {
        descriptor = try SystemError.check(
            open(path, O_CREAT | O_WRONLY | O_APPEND, 0o600), "create \(path)")
    }

    deinit {
        close(descriptor)
        unlink(path)
    }

    func text() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }
}
