import MeshWire
import Smallworld
import Testing

@testable import MeshTransport
@testable import NodeCommand

private let flags = [
    Flag(name: "seed", argument: "HOST:PORT", isRepeatable: true, help: ""),
    Flag(name: "degree", argument: "N", help: ""),
    Flag(name: "insecure", argument: nil, help: ""),
]

@Suite struct ArgumentTests {
    @Test func `flags take their value after a space or an equals sign`() throws {
        let arguments = try Arguments.parse(
            ["--seed", "a:1", "--seed=b:2", "--insecure", "--degree=8", "word"], flags)
        #expect(arguments.flags["seed"] == ["a:1", "b:2"])
        #expect(arguments["insecure"] == "true")
        #expect(arguments["degree"] == "8")
        #expect(arguments.words == ["word"])
    }

    @Test func `what follows two dashes is no flag`() throws {
        let arguments = try Arguments.parse(["--", "--degree"], flags)
        #expect(arguments.words == ["--degree"])
    }

    @Test(arguments: [
        ["--degre", "4"], ["--degree"], ["--degree", "--insecure"], ["--insecure=yes"],
        ["--degree=4", "--degree=5"], ["-x"],
    ]) func `wrong flags are errors`(words: [String]) {
        #expect(throws: UsageError.self) { try Arguments.parse(words, flags) }
    }

    @Test func `a misspelled flag is answered with the one that was meant`() {
        #expect {
            try Arguments.parse(["--degre", "4"], flags)
        } throws: {
            "\($0)".contains("did you mean --degree?")
        }
    }

    @Test func `every command has help for each of its flags`() {
        for command in Command.all {
            for flag in command.flags {
                #expect(command.help.contains("--\(flag.name)"))
                #expect(!flag.help.isEmpty)
            }
            #expect(Command.overview.contains(command.summary))
            #expect(command.help.split(separator: "\n").allSatisfy { $0.count <= 100 })
        }
    }
}

@Suite struct ConfigurationFileTests {
    private func parse(_ text: String) throws(ConfigurationFileError) -> [String: [String]] {
        try ConfigurationFile.parse(text, "f.json5", flags)
    }

    @Test func `a JSON5 file has the names of the flags`() throws {
        let values = try parse(
            "{ // seeds\n seed: ['a:1', \"b:2\"], degree: 8, insecure: true, }")
        #expect(values == ["seed": ["a:1", "b:2"], "degree": ["8"], "insecure": ["true"]])
    }

    @Test func `one seed needs no list`() throws {
        #expect(try parse("{seed: 'a:1'}") == ["seed": ["a:1"]])
    }

    @Test(arguments: [
        "", "[]", "{", "{sead: 'a:1'}", "{degree: ['4', '5']}", "{insecure: 'maybe'}",
        "{degree: {}}", "{degree: null}", "{degree: true}", "{seed: [['a:1']]}", "{insecure: 1}",
        "{degree: 4, degree: 5}",
    ]) func `a wrong file is an error that names it`(text: String) {
        #expect {
            try parse(text)
        } throws: {
            ($0 as? ConfigurationFileError)?.description.contains("f.json5") == true
        }
    }

    @Test func `an unknown key is answered with those that there are`() {
        #expect {
            try parse("{sead: 'a:1'}")
        } throws: {
            "\($0)".contains("unknown key 'sead'; there are degree, insecure, seed")
        }
    }

    @Test func `a mistake is told with its line and column`() {
        #expect {
            try parse("{\n  degree: 8\n  insecure: true\n}")
        } throws: {
            "\($0)" == "f.json5, line 3, column 3: expected ',' or '}', found 'i'"
        }
        #expect {
            try parse("{ degree: 8,\n  insecure: 'yes' }")
        } throws: {
            "\($0)" == "f.json5, line 2, column 13: 'insecure' is true or false"
        }
    }

    @Test func `numbers may have a fraction, as flags may`() throws {
        #expect(try parse("{degree: 0.5}") == ["degree": ["0.5"]])
    }

    @Test(arguments: ["/nonexistent/file", "/"])
    func `a file that cannot be read is told with the system's reason`(path: String) {
        #expect {
            _ = try ConfigurationFile.read(path, flags)
        } throws: {
            "\($0)".contains("cannot read \(path): ")
                && ("\($0)".contains("No such file") || "\($0)".contains("Is a directory"))
        }
    }
}

@Suite struct NodeOptionTests {
    private func options(_ values: [String: [String]]) throws(UsageError) -> MeshNode.Options {
        try NodeSubcommand.options(values)
    }

    @Test func `without settings the standard ports are used`() throws {
        let options = try options([:])
        #expect(options.mesh.description == "127.0.0.1:7400")
        #expect(options.redis?.description == "127.0.0.1:7379")
        #expect(options.http?.description == "127.0.0.1:7480")
        #expect(options.degree == 16 && options.seeds.isEmpty)
    }

    @Test func `ports can be switched off`() throws {
        let options = try options(["redis": ["off"], "http": ["off"]])
        #expect(options.redis == nil && options.http == nil)
    }

    @Test(arguments: [
        ("mesh", "7400"), ("mesh", "a:65536"), ("mesh", ":1"), ("mesh", "a:"), ("mesh", "::1:1"),
        ("mesh", "off"), ("seed", "a"), ("degree", "3"), ("degree", "65"), ("degree", "x"),
        ("log-level", "loud"), ("log-format", "xml"),
    ]) func `a wrong value is an error that names the setting`(name: String, value: String) {
        #expect {
            try options([name: [value]])
        } throws: {
            "\($0)".hasPrefix("\(name): ")
        }
    }

    @Test func `an address others can reach needs permission`() throws {
        var options = MeshNode.Options()
        options.mesh = HostPort(host: "0.0.0.0", port: 0)
        options.redis = nil
        options.http = nil
        #expect {
            try MeshNode(options)
        } throws: {
            "\($0)".contains("--insecure")
        }
        options.allowsInsecureAddresses = true
        options.advertise = HostPort(host: "127.0.0.1", port: 0)
        let node = try MeshNode(options)
        #expect(node.advertised.description == "127.0.0.1:\(node.ports.mesh.port)")
    }

    @Test func `a taken port is answered with what to do`() throws {
        var options = MeshNode.Options()
        options.mesh.port = 0
        options.redis = nil
        options.http = nil
        let first = try MeshNode(options)
        options.mesh.port = first.ports.mesh.port
        #expect {
            try MeshNode(options)
        } throws: {
            "\($0)".contains("another process has that port")
        }
    }

    @Test func `IPv6 addresses stand in brackets`() throws {
        let address = try HostPort("[::1]:7400")
        #expect(address.host == "::1" && address.port == 7400)
        #expect(address.description == "[::1]:7400")
    }
}

@Suite(.timeLimit(.minutes(1))) struct MeshNodeTests {
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

@Suite(.timeLimit(.minutes(1))) struct RESPClientTests {
    @Test func `a node's status is read and shown`() throws {
        let reactor = try TestReactor()
        let client = try RESPClient(
            HostPort(host: "127.0.0.1", port: reactor.redis.port), seconds: 5)
        let status = try client.call(["MESH.STATUS"])
        #expect(status["ready"] == .integer(1))
        let report = Status.report(
            status, try client.call(["MESH.MEMBERS"]), try client.call(["MESH.LINKS"]))
        #expect(report.contains("\n  members"))
        #expect(report.contains("alive"))
        #expect(!report.contains("droppedNoRoute"))
        #expect(report.hasSuffix("Links\n  none\n"))
    }

    /// What a node says of the member that listens there.
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
            HostPort(host: "127.0.0.1", port: first.redis.port), seconds: 5)
        let name = "test:\(second.mesh.port)"
        #expect(
            try client.call(["MESH.TRACE", "CHANNEL", "far"])
                == .array([
                    .map([
                        (name: "holder", value: .text(name)),
                        (name: "id", value: try member(second.mesh, client)["id"]!),
                        (name: "standing", value: .text("alive")),
                        (name: "hops", value: .integer(1)),
                        (name: "path", value: .array([.text(name)])),
                    ])
                ]))
    }

    @Test func `an error reply is thrown in the node's words`() throws {
        let reactor = try TestReactor()
        let client = try RESPClient(
            HostPort(host: "127.0.0.1", port: reactor.redis.port), seconds: 5)
        #expect {
            _ = try client.call(["NOSUCH"])
        } throws: {
            "\($0)".contains("unknown command")
        }
    }

    @Test func `a port where nobody is says so`() throws {
        let listeners = try Listeners(
            mesh: Endpoint(ipv4: 0x7F00_0001, port: 0), redis: nil, http: nil)
        let port = listeners.meshEndpoint.port
        listeners.close()
        #expect {
            _ = try RESPClient(HostPort(host: "127.0.0.1", port: port), seconds: 1)
        } throws: {
            "\($0)".contains("Is a node running there?")
        }
    }

    @Test func `a peer that never answers is given up`() throws {
        let listeners = try Listeners(
            mesh: Endpoint(ipv4: 0x7F00_0001, port: 0), redis: nil, http: nil)
        #expect {
            _ = try RESPClient(
                HostPort(host: "127.0.0.1", port: listeners.meshEndpoint.port), seconds: 1)
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
