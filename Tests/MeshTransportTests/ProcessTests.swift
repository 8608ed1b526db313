import Foundation
import Glibc
import MeshCore
import MeshWire
import Testing

@testable import MeshTransport

/// `smallworld node` as a process of its own, which can be frozen and killed.
final class TestProcess {
    private let process = Foundation.Process()
    private let output = Pipe()
    private var lines: [String] = []
    private var rest = ""

    init(_ words: [String]) throws {
        // Built beside the tests.
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        process.executableURL = URL(fileURLWithPath: tests).deletingLastPathComponent()
            .appendingPathComponent("smallworld")
        process.arguments = words
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
    }

    static func node(seeds: [Endpoint]) throws -> TestProcess {
        try TestProcess(
            ["node", "--mesh", "127.0.0.1:0", "--redis", "127.0.0.1:0", "--http", "127.0.0.1:0"]
                + seeds.flatMap { ["--seed", $0.description] })
    }

    deinit {
        signal(SIGKILL)
        process.waitUntilExit()
    }

    /// The rest of the first line that starts with this word.
    func line(_ word: String) throws -> String {
        while true {
            if let line = lines.first(where: { $0 == word || $0.hasPrefix(word + " ") }) {
                return String(line.dropFirst(word.count + 1))
            }
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { throw TestTimeout(description: "the end instead of '\(word)'") }
            rest += String(decoding: data, as: UTF8.self)
            while let end = rest.firstIndex(of: "\n") {
                lines.append(String(rest[..<end]))
                rest = String(rest[rest.index(after: end)...])
            }
        }
    }

    func endpoint(_ word: String) throws -> Endpoint {
        let line = try line(word)
        let port = UInt16(line.split(separator: ":").last ?? "") ?? 0
        return Endpoint(ipv4: 0x7F00_0001, port: port)
    }

    func signal(_ number: Int32) {
        if process.isRunning { kill(process.processIdentifier, number) }
    }

    func waitForEnd() throws -> Int32 {
        try eventually("ended") { !process.isRunning }
        return process.terminationStatus
    }
}

@Suite(.timeLimit(.minutes(1)), .serialized) struct ProcessTests {
    @Test func `a signal lets a node leave, and it ends well`() throws {
        let first = try TestReactor()
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        try first.waitForMetric("links", 1)
        second.signal(SIGTERM)
        #expect(try second.waitForEnd() == 0)
        try first.waitForMetric("members", 1)
        #expect(try first.metric("deaths_total") == 0)
    }

    @Test func `a killed node is declared dead within a second`() throws {
        let first = try TestReactor()
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        try first.waitForMetric("links", 1)
        second.signal(SIGKILL)
        try first.waitForMetric("members", 1, seconds: 1)
    }

    @Test func `wrong flags end with 64 and a wrong file with 78`() throws {
        #expect(try TestProcess(["node", "--nothing"]).waitForEnd() == 64)
        #expect(try TestProcess(["node", "--mesh", "0.0.0.0:0"]).waitForEnd() == 64)
        #expect(try TestProcess(["nothing"]).waitForEnd() == 64)
        #expect(try TestProcess(["node", "--config", "/dev/null"]).waitForEnd() == 78)
        #expect(try TestProcess(["--version"]).waitForEnd() == 0)
    }

    @Test func `a publisher waits for a frozen node and nothing is lost`() throws {
        let first = try TestReactor {
            // The frozen node shall stay a member.
            $0.node.timing.silence = .seconds(60)
            $0.limits.congestionBytes = 256 * 1024
        }
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        let subscriber = try TestSocket(try second.endpoint("redis"))
        try subscriber.subscribe("flood")
        let publisher = try TestSocket(first.redis)
        try publisher.publishUntilHeard("flood", "begin")
        var expected = TestSocket.message("flood", "begin")
        _ = try subscriber.receive(count: expected.count)

        second.signal(SIGSTOP)
        let payload = String(repeating: "x", count: 9_990)
        var commands: [UInt8] = []
        expected = []
        for number in 1000..<4000 {
            commands += TestSocket.command(["PUBLISH", "flood", payload + String(number)])
            expected += TestSocket.message("flood", payload + String(number))
        }
        var sent = 0
        try eventually("paused") {
            sent += publisher.sendSome(Array(commands[sent...]))
            return try first.metric("publishers_paused_total") > 0
        }
        #expect(try first.metric("dropped_queue_full_total") == 0)
        second.signal(SIGCONT)
        var received: [UInt8] = []
        while received.count < expected.count {
            if sent < commands.count { sent += publisher.sendSome(Array(commands[sent...])) }
            if sent < commands.count || received.count < expected.count {
                received += try subscriber.receive()
            }
        }
        #expect(received == expected)
    }

    @Test func `messages above a link's bound are dropped and counted`() throws {
        let first = try TestReactor {
            $0.node.timing.silence = .seconds(60)
            $0.limits.congestionBytes = 64 * 1024
            $0.limits.linkMessageBytes = 1024 * 1024
            // On a busy machine filling the kernel's buffers takes longer than the 200 ms after
            // which a flow would send again what waits, and nothing new.
            $0.node.timing.retransmit = .seconds(60)
        }
        let second = try TestProcess.node(seeds: [first.mesh])
        _ = try second.line("ready")
        let subscriber = try TestSocket(try second.endpoint("redis"))
        try subscriber.subscribe("flood")
        let probe = try TestSocket(first.redis)
        try probe.publishUntilHeard("flood", "begin")
        second.signal(SIGSTOP)
        // Each publisher gets one message in before it has to wait.
        let payload = String(repeating: "x", count: 500_000)
        let publishers = try (0..<40).map { _ in try TestSocket(first.redis) }
        for publisher in publishers {
            try publisher.send(TestSocket.command(["PUBLISH", "flood", payload]))
        }
        try eventually("dropped") { try first.metric("dropped_queue_full_total") > 0 }
        #expect(
            try first.metric("dropped_queue_full_bytes_total")
                >= 500_000 * first.metric("dropped_queue_full_total"))
        second.signal(SIGCONT)
    }
}
