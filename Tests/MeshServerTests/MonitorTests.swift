import MeshGateway
import MeshServer
import Testing

@Suite struct MonitorTests {
    /// The commands of the lines, without time, database and address.
    private func commands(_ text: String) -> [String] {
        text.split(separator: "·").compactMap { line in
            line.firstIndex(of: "]").map { String(line[line.index($0, offsetBy: 2)...]) }
        }
    }

    @Test func `a monitoring client reads all commands and no secrets`() {
        let servers = Servers()
        let monitor = servers.open()
        #expect(servers.exchange(monitor, "MONITOR\r\n") == "+OK·")
        let client = servers.open()
        _ = servers.exchange(
            client,
            "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$4\r\n\u{1}\"\n\\\r\nSPUBLISH b y\r\nMESH.SEND ann hello\r\n"
                + "AUTH default secret\r\nHELLO 3 AUTH default secret SETNAME me\r\n"
                + "MESH.ATTACH ann RESUME 0123 SEEN 4\r\nCONFIG SET timeout 0\r\nNONSENSE\r\n")
        _ = servers.exchange(
            client, "EVAL \"redis.call('publish', 'c', ARGV[1])\" 0 z\r\n")
        _ = servers.exchange(client, "MULTI\r\nPUBLISH d 1\r\nEXEC\r\n")
        let seen = commands(servers.read(monitor))
        #expect(
            seen == [
                "\"PUBLISH\" \"a\" \"\\x01\\\"\\n\\\\\"", "\"SPUBLISH\" \"b\" \"y\"",
                "\"MESH.SEND\" \"ann\" \"hello\"", "\"AUTH\" \"(redacted)\" \"(redacted)\"",
                "\"HELLO\" \"3\" \"AUTH\" \"(redacted)\" \"(redacted)\" \"SETNAME\" \"me\"",
                "\"MESH.ATTACH\" \"ann\" \"RESUME\" \"(redacted)\" \"SEEN\" \"4\"",
                "\"EVAL\" \"redis.call('publish', 'c', ARGV[1])\" \"0\" \"z\"",
                "\"publish\" \"c\" \"z\"", "\"MULTI\"", "\"PUBLISH\" \"d\" \"1\"", "\"EXEC\"",
            ], "\(seen)")
        #expect(servers.exchange(monitor, "RESET\r\n").hasSuffix("+RESET·"))
        _ = servers.exchange(client, "PUBLISH a x\r\n")
        #expect(servers.read(monitor) == "")
    }

    @Test func `a monitoring client that goes is forgotten`() {
        let servers = Servers()
        let monitor = servers.open()
        _ = servers.exchange(monitor, "MONITOR\r\nMONITOR\r\n")
        _ = servers.close(monitor)
        let client = servers.open()
        #expect(servers.exchange(client, "PUBLISH a x\r\nPING\r\n") == ":0·+PONG·")
    }

    @Test func `a pause holds all commands until it ends`() {
        let servers = Servers()
        let (one, other) = (servers.open(), servers.open())
        #expect(servers.exchange(one, "CLIENT PAUSE 500\r\nPING\r\n") == "+OK·")
        #expect(servers.exchange(other, "PUBLISH a x\r\nECHO y\r\n") == "")
        servers.run(for: .milliseconds(400))
        #expect(servers.read(other) == "" && servers.read(one) == "")
        servers.run(for: .milliseconds(200))
        #expect(servers.read(other) == ":0·$1·y·" && servers.read(one) == "+PONG·")
        #expect(servers.exchange(other, "PUBLISH a x\r\n") == ":0·")
    }

    @Test func `a pause for writers holds what publishes, and can be ended`() {
        let servers = Servers()
        let (one, other, third) = (servers.open(), servers.open(), servers.open())
        _ = servers.exchange(third, "SUBSCRIBE a\r\n")
        #expect(servers.exchange(one, "CLIENT PAUSE 100000 WRITE\r\nPING\r\n") == "+OK·+PONG·")
        #expect(servers.exchange(other, "ECHO x\r\nPUBLISH a x\r\nECHO y\r\n") == "$1·x·")
        #expect(servers.exchange(one, "MULTI\r\nPUBLISH a z\r\nEXEC\r\n") == "+OK·+QUEUED·*1·")
        let gone = servers.open()
        #expect(servers.exchange(gone, "EVAL 'return 1' 0\r\n") == "")
        _ = servers.close(gone)
        servers.run(for: .seconds(5))
        #expect(servers.read(third) == "")
        #expect(servers.exchange(servers.open(), "CLIENT UNPAUSE\r\n") == "+OK·")
        servers.run(for: .zero)
        #expect(servers.read(other) == ":1·$1·y·" && servers.read(one) == ":1·")
        #expect(servers.read(third).hasSuffix("$1·z·") || servers.read(third).hasSuffix("$1·x·"))
        for wrong in ["x", "-1", "1 SOME", "1 ALL 2", "99999999999999999999"] {
            let answer = servers.exchange(servers.open(), "CLIENT PAUSE \(wrong)\r\n")
            #expect(answer.hasPrefix("-ERR "), "\(wrong)")
        }
    }
}
