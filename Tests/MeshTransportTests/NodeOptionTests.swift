import Foundation
import MeshGateway
import MeshWire
import Smallworld
import Testing

@testable import NodeCommand

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
        ("log-level", "loud"), ("max-clients", "0"), ("max-clients", "1000001"),
        ("max-clients", "x"), ("roster-max", "0"), ("roster-max", "10001"), ("once-max", "0"),
        ("once-max", "10000001"), ("log-format", "xml"),
        ("memory", "63mb"), ("memory", "much"),
        ("message-max", "65mb"), ("message-max", "1"), ("password-file", "/no/such/file"),
        ("operator-password-file", "/dev/null"), ("trusted-proxy", "proxy1"),
        ("trusted-proxy", "10.0.0.0/33"), ("trusted-proxy", "10.0.0.0/"),
        ("trusted-proxy", "::/129"),
        ("trusted-proxy", "10.0.0.0/8/8"), ("trusted-proxy", ""), ("trusted-proxy", "10.0.0.0/-1"),
        ("user-limit", ""), ("user-limit", "sessions"), ("user-limit", "sessions 0"),
        ("user-limit", "sessions 10000001"), ("user-limit", "sessions x"), ("user-limit", "tabs 3"),
        ("user-limit", "sessions 3 patterns"),
    ]) func `a wrong value is an error that names the setting`(name: String, value: String) {
        #expect {
            try options([name: [value]])
        } throws: {
            "\($0)".hasPrefix("\(name): ")
        }
    }

    @Test func `the number of clients is a setting`() throws {
        #expect(try options(["max-clients": ["1"]]).gateway.clientCountMax == 1)
        #expect(try options(["max-clients": ["1000000"]]).gateway.clientCountMax == 1_000_000)
    }

    @Test func `the number of remembered ids is a setting`() throws {
        #expect(try options(["once-max": ["7"]]).gateway.onceMax == 7)
        #expect(try options([:]).gateway.onceMax == 131_072)
    }

    @Test func `the members of a room that others are told is a setting`() throws {
        #expect(try options(["roster-max": ["7"]]).gateway.rosterMax == 7)
        #expect(try options([:]).gateway.rosterMax == 2_000)
    }

    @Test func `the limits of one user are a setting, those that are not named stay`() throws {
        let limits = try options(["user-limit": ["sessions 8 patterns 9", "connections 7"]]).gateway
            .userLimits
        let counts = UserLimits.Kind.allCases.map { limits[$0] }
        #expect(counts == [7, 8, UserLimits()[.subscriptions], 9])
    }

    @Test func `proxies are addresses and networks`() throws {
        let proxies = try options(["trusted-proxy": ["10.0.0.5", "2001:db8::/32"]]).gateway
            .trustedProxies
        #expect(proxies.count == 2)
        #expect(proxies[0].contains(Endpoint(ipv4: 0x0A00_0005, port: 1)))
        #expect(!proxies[0].contains(Endpoint(ipv4: 0x0A00_0006, port: 1)))
        #expect(proxies[1].contains(Endpoint(ipv6High: 0x2001_0DB8 << 32 | 1, low: 2, port: 1)))
    }

    @Test func `memory and the largest message are settings`() throws {
        let some = try options(["memory": ["3gb"], "message-max": ["1mb"]])
        #expect(some.memory == 3 << 30 && some.gateway.messageBytesMax == 1 << 20)
        #expect(try options([:]).memory == nil)
    }

    @Test func `a password is the first line of a file`() throws {
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("password-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        func credentials(_ text: String) throws -> Credentials {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
            return try options([
                "password-file": [path], "operator-password-file": [path],
            ]).gateway.credentials
        }
        for text in ["secret", "secret\n", "secret\r\nmore\n"] {
            let found = try credentials(text)
            #expect(found.password == "secret" && found.operatorPassword == "secret")
        }
        #expect(try credentials(" spaces too \n").password == " spaces too ")
        #expect(
            try credentials(String(repeating: "x", count: 1_024)).password?.utf8.count == 1_024)
        for text in ["", "\nsecret\n", "se\0cret\n", String(repeating: "x", count: 1_025)] {
            #expect {
                _ = try credentials(text)
            } throws: {
                "\($0)".contains("holds no password")
            }
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

    @Test func `where clients of other nodes connect is checked before the node starts`() throws {
        func node(_ address: String?, advertise: String? = nil) throws -> MeshNode {
            var values = ["mesh": ["127.0.0.1:0"], "redis": ["127.0.0.1:0"], "http": ["off"]]
            values["advertise-redis"] = address.map { [$0] }
            if let advertise {
                values["advertise"] = [advertise]
                values["insecure"] = ["true"]
            }
            return try MeshNode(try options(values))
        }
        for address in [nil, "off", "127.0.0.1:0", "localhost:7379", "db.example:0"] {
            _ = try node(address)
        }
        for address in [nil, "off", "192.0.2.1:0", "[2001:db8::1]:7379", "db.example:7379"] {
            _ = try node(address, advertise: "192.0.2.1:7400")
        }
        for (address, advertise, words) in [
            ("127.0.0.1:7379", "192.0.2.1:7400", "its own machine"),
            ("localhost:7379", "192.0.2.1:7400", "its own machine"),
            ("[::1]:7379", "192.0.2.1:7400", "its own machine"), ("0.0.0.0:7379", nil, "nowhere"),
            ("192.0.2.1:7379", nil, "--insecure"),
            (String(repeating: "d", count: 60) + ":7379", nil, "65 bytes"),
            ("dé.example:7379", nil, "ASCII"),
        ] {
            #expect {
                try node(address, advertise: advertise)
            } throws: {
                "\($0)".hasPrefix("--advertise-redis ") && "\($0)".contains(words)
            }
        }
        #expect {
            try MeshNode(
                try options([
                    "mesh": ["127.0.0.1:0"], "redis": ["off"], "http": ["off"],
                    "advertise-redis": ["127.0.0.1:0"],
                ]))
        } throws: {
            "\($0)".contains("--redis is off")
        }
    }

    @Test func `IPv6 addresses stand in brackets`() throws {
        let address = try HostPort("[::1]:7400")
        #expect(address.host == "::1" && address.port == 7400)
        #expect(address.description == "[::1]:7400")
    }
}
