import Foundation
import Glibc
import MeshWire
import Testing

@testable import MeshTransport
@testable import NodeCommand

@Suite struct StopRequestTests {
    @Test func `a request within one second of the first only repeats it`() {
        let requests = StopRequests()
        let counted = [5, 6, 1_000_000_004].map { requests.note(atNanoseconds: $0) }
        #expect(counted == [true, false, false])
        let count = requests.count
        #expect(count == 1)
    }

    @Test func `a second request counts from one second after the first on`() {
        let requests = StopRequests()
        let counted = [5, 900_000_000, 1_000_000_005].map { requests.note(atNanoseconds: $0) }
        #expect(counted == [true, false, true])
        let count = requests.count
        #expect(count == 2)
    }
}

@Suite(.timeLimit(.minutes(15)), .serialized) struct SignalTests {
    /// A node with a client and another node to send it to, so that it takes its time to leave.
    private struct Draining {
        let other: TestReactor
        let node: TestProcess
        let client: TestSocket

        init(seconds: Int) throws {
            other = try TestReactor()
            node = try TestProcess.node(
                seeds: [other.mesh], ["--drain-seconds", String(seconds)])
            _ = try node.line("ready")
            try other.waitForMetric("links", 1)
            client = try TestSocket(try node.endpoint("redis"))
            try client.subscribe("news")
        }
    }

    /// As `timeout` does: it signals the child, and then the child's group.
    @Test func `a signal that comes twice at once lets a node leave all the same`() throws {
        let draining = try Draining(seconds: 1)
        draining.node.signal(SIGTERM)
        usleep(20_000)
        // Another number, so that the kernel does not make one of the two.
        draining.node.signal(SIGINT)
        #expect(try draining.node.waitForEnd() == 0)
        try draining.other.waitForMetric("members", 1)
        #expect(try draining.other.metric("deaths_total") == 0)
        #expect(try draining.node.logged("leaving").count == 1)
    }

    @Test func `a second signal ends a node at once, from one second after the first on`() throws {
        let draining = try Draining(seconds: 600)
        let start = ContinuousClock.now
        draining.node.signal(SIGTERM)
        // When the process has seen the first one is not known: it is told until it obeys.
        try eventually(seconds: 20, "ended") {
            usleep(50_000)
            draining.node.signal(SIGTERM)
            return !draining.node.isRunning
        }
        #expect(ContinuousClock.now - start >= .seconds(1))
        #expect(try draining.node.waitForEnd() == SIGTERM + 128)
        #expect(try draining.node.logged("endedAtOnce").count == 1)
        #expect(try draining.node.logged("leaving").isEmpty)
    }

    /// A file that is written anew for each step.
    @Test func `SIGHUP reads the configuration file again`() throws {
        let path = "/tmp/smallworld-test-\(getpid())-\(UInt32.random(in: 0...(.max))).json5"
        func write(_ text: String) throws {
            try text.write(toFile: path, atomically: true, encoding: .utf8)
        }
        defer { unlink(path) }
        try write("{ 'log-level': 'debug', 'max-clients': 50 }")
        let node = try TestProcess.node(seeds: [], ["--config", path, "--slow-queue", "2mb"])
        _ = try node.line("ready")
        let client = try TestSocket(try node.endpoint("redis"))
        try client.call(
            "CONFIG", "GET", "maxclients", expecting: "*2\r\n$10\r\nmaxclients\r\n$2\r\n50\r\n")
        try write("{ 'log-level': 'info', 'max-clients': 60, 'output-limit': '16mb 8mb 30' }")
        node.signal(SIGHUP)
        try eventually("reloaded") { try !node.logged("reloaded").isEmpty }
        try client.call(
            "CONFIG", "GET", "maxclients", expecting: "*2\r\n$10\r\nmaxclients\r\n$2\r\n60\r\n")
        try client.call(
            "CONFIG", "GET", "loglevel", expecting: "*2\r\n$8\r\nloglevel\r\n$7\r\nverbose\r\n")
        try write("{ 'max-clients': 0 }")
        node.signal(SIGHUP)
        try eventually("told") { try !node.logged("notReloaded").isEmpty }
        try client.call(
            "CONFIG", "GET", "maxclients", expecting: "*2\r\n$10\r\nmaxclients\r\n$2\r\n60\r\n")
        node.signal(SIGTERM)
        #expect(try node.waitForEnd() == 0)
    }

    @Test func `without a configuration file SIGHUP does nothing but a line in the log`() throws {
        let node = try TestProcess.node()
        _ = try node.line("ready")
        node.signal(SIGHUP)
        try eventually("logged") { try !node.logged("signalIgnored").isEmpty }
        let client = try TestSocket(try node.endpoint("redis"))
        try client.call("PING", expecting: "+PONG\r\n")
        node.signal(SIGTERM)
        #expect(try node.waitForEnd() == 0)
        #expect(try node.logged("signalIgnored").count == 1)
    }

    @Test func `SIGPIPE ends no node`() throws {
        let node = try TestProcess.node()
        _ = try node.line("ready")
        node.signal(SIGPIPE)
        let client = try TestSocket(try node.endpoint("redis"))
        try client.call("PING", expecting: "+PONG\r\n")
    }

    @Test func `a demo signalled twice at once still ends with its summary`() throws {
        let demo = try TestProcess(["demo", "--nodes", "3"])
        _ = try demo.line(" 0:01")
        demo.signal(SIGTERM)
        demo.signal(SIGINT)
        #expect(try demo.waitForEnd(seconds: 20) == 0)
        #expect(demo.printed().contains("Sound."))
    }
}
