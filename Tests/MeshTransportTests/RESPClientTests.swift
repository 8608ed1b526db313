import MeshGateway
import MeshWire
import Smallworld
import Testing

@testable import MeshTransport
@testable import NodeCommand

@Suite(.timeLimit(.minutes(15))) struct RESPClientTests {
    private static func address(_ endpoint: Endpoint) -> RedisAddress {
        .network(HostPort(host: "127.0.0.1", port: endpoint.port))
    }

    @Test func `a node's status is read and shown`() throws {
        let reactor = try TestReactor()
        let client = try RESPClient(
            Self.address(reactor.redis), seconds: 5)
        let status = try client.call(["MESH.STATUS"])
        #expect(status["ready"] == .integer(1))
        let report = Status.report(
            status, try client.call(["MESH.MEMBERS"]), try client.call(["MESH.LINKS"]))
        #expect(report.contains("\n  members"))
        #expect(report.contains("alive"))
        #expect(!report.contains("droppedNoRoute"))
        #expect(report.hasSuffix("Links\n  none\n"))
    }

    /// A node's account of the member that listens there.
    private func member(_ mesh: Endpoint, _ client: RESPClient) throws -> RESPReply {
        let members = try client.call(["MESH.MEMBERS"]).elements
        return try #require(members.first { $0["endpoint"] == .text(mesh.description) })
    }

    @Test func `the way to a direct neighbour is one hop`() throws {
        let first = try TestReactor()
        let second = try TestReactor(seeds: [first.mesh])
        try second.waitUntilReady()
        let subscriber = try TestSocket(second.redis)
        try subscriber.subscribe("far")
        try first.waitForMetric("directory_entries", 1)
        let client = try RESPClient(
            Self.address(first.redis), seconds: 5)
        let name = "test:\(second.mesh.port)"
        #expect(
            try client.call(["MESH.TRACE", "CHANNEL", "far"])
                == .array([
                    .map([
                        (name: "holder", value: .text(name)),
                        (name: "id", value: try member(second.mesh, client)["id"]!),
                        (name: "status", value: .text("alive")),
                        (name: "hops", value: .integer(1)),
                        (name: "path", value: .array([.text(name)])),
                    ])
                ]))
    }

    @Test func `an error reply is thrown in the node's words`() throws {
        let reactor = try TestReactor()
        let client = try RESPClient(
            Self.address(reactor.redis), seconds: 5)
        #expect {
            _ = try client.call(["NOSUCH"])
        } throws: {
            "\($0)".contains("unknown command")
        }
    }

    @Test func `a port where nobody listens gives an error that says so`() throws {
        let listeners = try Listeners(
            mesh: Endpoint(ipv4: 0x7F00_0001, port: 0), redis: nil, http: nil)
        let address = Self.address(listeners.meshEndpoint)
        listeners.close()
        #expect {
            _ = try RESPClient(address, seconds: 1)
        } throws: {
            "\($0)".contains("Is a node running there?")
        }
    }

    @Test func `a peer that never answers is given up`() throws {
        let listeners = try Listeners(
            mesh: Endpoint(ipv4: 0x7F00_0001, port: 0), redis: nil, http: nil)
        #expect {
            _ = try RESPClient(
                Self.address(listeners.meshEndpoint), seconds: 1)
        } throws: {
            "\($0)".contains("no answer in time")
        }
    }

    @Test func `replies become JSON`() {
        let reply = RESPReply.map([
            (name: "a\"b", value: .array([.integer(1), .null, .text("x\n")])),
            (name: "c", value: .double(0.5)),
        ])
        #expect(JSONText.text(reply) == "{\"a\\\"b\":[1,null,\"x\\n\"],\"c\":0.5}")
    }
}
