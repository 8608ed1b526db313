import Glibc
import MeshServer
import MeshWire
import Testing

@testable import MeshTransport

/// The output of `smallworld status` and `smallworld trace`, and how they end.
@Suite(.timeLimit(.minutes(15)), .serialized) struct ExitStatusTests {
    private func ask(
        _ words: String..., at redis: Endpoint
    ) throws -> (printed: String, status: Int32) {
        let command = try TestProcess(words + ["--redis", redis.description])
        let printed = command.printed()
        return (printed, try command.waitForEnd())
    }

    @Test func `trace names a holder that does not answer, and ends with 1`() throws {
        let first = try TestReactor {
            // The frozen node shall stay a member.
            $0.server.node.timing.suspicion = .seconds(60)
        }
        let second = try TestProcess.node(seeds: [first.mesh], ["--name", "frozen"])
        _ = try second.line("ready")
        let client = try TestSocket(try second.endpoint("redis"))
        try client.call("MESH.ATTACH", "ann", expecting: "+OK\r\n")
        try first.waitForMetric("directory_entries", 1)
        let before = try ask("trace", "ann", at: first.redis)
        #expect(before.status == 0)
        #expect(before.printed.contains("frozen") && !before.printed.contains("no answer"))

        second.signal(SIGSTOP)
        let after = try ask("trace", "ann", at: first.redis)
        #expect(after.status == 1)
        #expect(after.printed.contains("user ann"))
        #expect(after.printed.contains("frozen"))
        #expect(after.printed.contains("no answer in 1 s"))
        let json = try ask("trace", "user", "ann", "--json", at: first.redis)
        #expect(json.status == 1)
        #expect(json.printed.hasPrefix(#"{"name":"ann","user":[{"holder":"frozen","id":""#))
        #expect(json.printed.hasSuffix(#""hops":null,"path":null}]}"# + "\n"))

        try first.waitForMetric("suspicions_total", 1)
        let start = ContinuousClock.now
        let suspected = try ask("trace", "user", "ann", at: first.redis)
        #expect(suspected.status == 1)
        // It was asked all the same: a suspicion may be wrong.
        #expect(ContinuousClock.now - start >= .seconds(1))
        #expect(suspected.printed.contains("suspect") && suspected.printed.contains("no answer"))
        second.signal(SIGCONT)
        try eventually("answered") { try ask("trace", "ann", at: first.redis).status == 0 }
    }

    @Test func `trace of a name that nobody has ends with 1`() throws {
        let reactor = try TestReactor()
        let nobody = try ask("trace", "nobody", at: reactor.redis)
        #expect(nobody.status == 1)
        #expect(nobody.printed == "no node has user or channel or room nobody\n")
        let json = try ask("trace", "nobody", "--json", at: reactor.redis)
        #expect(json.status == 1)
        #expect(json.printed == #"{"name":"nobody","user":[],"channel":[],"room":[]}"# + "\n")
    }

    @Test(arguments: [[], ["--json"]])
    func `status of a node that is not ready yet ends with 1`(flags: [String]) throws {
        // Nobody listens there. A port that was just given back could become the node's own, and a
        // node that is its only seed needs nobody.
        let seed = Endpoint(ipv4: 0x7F00_0002, port: 9)
        let joining = try TestReactor(seeds: [seed])
        let status = try TestProcess(
            ["status", "--redis", joining.redis.description] + flags)
        let printed = status.printed()
        #expect(try status.waitForEnd() == 1)
        #expect(printed.contains(flags.isEmpty ? "\n  ready" : "\"ready\":0"))
    }

    @Test func `status of a node that leaves ends with 1, of a ready one with 0`() throws {
        let other = try TestReactor()
        let node = try TestReactor(seeds: [other.mesh]) { $0.server.drainTime = .seconds(60) }
        try node.waitUntilReady()
        #expect(try ask("status", at: node.redis).status == 0)
        // Somebody to wait for.
        let client = try TestSocket(node.redis)
        try client.subscribe("news")
        node.inbox.leave()
        try eventually("leaving") { try node.get("/readyz") == "leaving\n" }
        let leaving = try ask("status", at: node.redis)
        #expect(leaving.status == 1)
        #expect(leaving.printed.contains("\nMembers\n"))
    }
}
