import Glibc
import MeshGateway
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

@Suite(.timeLimit(.minutes(15))) struct SlowConsumerLogTests {
    @Test func `a client that is cut for reading too slowly has a line with name and address`()
        throws
    {
        var ends: [Int32] = [-1, -1]
        #expect(unsafe pipe(&ends) == 0)
        let (reading, writing) = (ends[0], ends[1])
        // The reactor may write until the end of its thread.
        defer { close(reading) }
        _ = fcntl(reading, F_SETFL, O_NONBLOCK)
        let reactor = try TestReactor {
            $0.log = Log(level: .warning, format: .text, descriptor: writing)
            $0.server.gateway.pubsubOutputLimit = OutputLimit(
                hard: 1 << 20, soft: 0, softDuration: .seconds(0))
        }
        try reactor.waitUntilReady()
        let subscriber = try TestSocket(reactor.redis)
        try subscriber.call("CLIENT", "SETNAME", "worker-7", expecting: "+OK\r\n")
        try subscriber.subscribe("news")
        let publisher = try TestSocket(reactor.redis)
        let text = String(repeating: "x", count: 1_000_000)
        var log = ""
        // The kernel takes some megabytes for a client that does not read.
        for _ in 0..<200 where !log.contains("slowConsumerCut") {
            try publisher.send(TestSocket.command(["PUBLISH", "news", text]))
            _ = try publisher.receive(until: "\r\n")
            var bytes = [UInt8](repeating: 0, count: 65_536)
            let count = unsafe read(reading, &bytes, bytes.count)
            if count > 0 { log += String(decoding: bytes[..<count], as: UTF8.self) }
        }
        let line = try #require(log.split(separator: "\n").first { $0.contains("slowConsumerCut") })
        #expect(line.contains(" warning slowConsumerCut client="))
        #expect(line.contains(" address=127.0.0.1:"))
        #expect(line.contains(" name=worker-7 channel=news discardedBytes="))
        let field = line.split(separator: " ").first { $0.hasPrefix("discardedBytes=") }
        let discarded = Int(field?.split(separator: "=").last ?? "") ?? 0
        #expect(discarded > 1 << 20)
        // Each line ends with the name of the node that writes it.
        #expect(line.split(separator: " ").last?.hasPrefix("self=") == true)
    }
}
