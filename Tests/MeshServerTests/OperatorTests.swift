import MeshCore
import MeshServer
import Testing

/// The operator's commands are the operator's: who that is follows from the two passwords and from where
/// a client connects.
@Suite struct OperatorTests {
    /// Commands that others than the operator are refused, with what the operator is answered first.
    private static let reserved = [
        ("CONFIG SET timeout 0", "+OK"), ("CLIENT KILL TYPE pubsub", ":"),
        ("CLIENT UNPAUSE", "+OK"), ("MESH.MEMBERS", "*"), ("MESH.LINKS", "*"),
        ("MESH.TRACE CHANNEL a", "*"), ("MONITOR", "+OK"),
    ]

    private static func servers(password: String? = nil, operators: String? = nil) -> Servers {
        Servers(1) { options in
            options.gateway.credentials.password = password
            options.gateway.credentials.operatorPassword = operators
        }
    }

    private static func isOperator(_ servers: Servers, _ client: ClientIndex) -> Bool {
        var answers: [Bool] = []
        for (command, answer) in reserved {
            let reply = servers.exchange(client, command + "\r\n")
            if reply.hasPrefix("-NOPERM User ") {
                answers.append(false)
            } else {
                #expect(reply.hasPrefix(answer), "\(command): \(reply)")
                answers.append(true)
            }
        }
        #expect(Set(answers).count == 1, "some work and some do not: \(answers)")
        return answers[0]
    }

    /// - Parameters:
    ///   - origin: of the client.
    ///   - words: what it says first.
    ///   - user: of the one that it is then; nil: it is let in by nobody.
    @Test(
        arguments: [
            // No passwords.
            (nil, nil, .machine, "PING", "default", true),
            (nil, nil, .elsewhere, "PING", "default", false),
            (nil, nil, .machine, "AUTH default anything", "default", true),
            (nil, nil, .elsewhere, "AUTH default anything", "default", false),
            (nil, nil, .elsewhere, "AUTH operator anything", "default", false),
            (nil, nil, .unixSocket, "PING", "default", true),
            // The first alone: nobody is operator but over the Unix socket.
            ("p", nil, .machine, "PING", nil, false),
            ("p", nil, .machine, "AUTH p", "default", false),
            ("p", nil, .unixSocket, "PING", "operator", true),
            ("p", nil, .unixSocket, "AUTH p", "operator", true),
            ("p", nil, .unixSocket, "AUTH x", "operator", true),
            ("p", nil, .unixSocket, "HELLO 2 AUTH operator p", "operator", true),
            ("p", nil, .elsewhere, "AUTH default p", "default", false),
            ("p", nil, .machine, "AUTH operator p", nil, false),
            ("p", nil, .machine, "AUTH operator ''", nil, false),
            // The second alone: nobody needs AUTH, and it alone is operator.
            (nil, "o", .machine, "PING", "default", false),
            (nil, "o", .elsewhere, "PING", "default", false),
            (nil, "o", .elsewhere, "AUTH operator o", "operator", true),
            (nil, "o", .machine, "AUTH operator x", "default", false),
            (nil, "o", .machine, "AUTH o", "default", false),
            (nil, "o", .unixSocket, "PING", "default", false),
            (nil, "o", .unixSocket, "AUTH operator o", "operator", true),
            // Both.
            ("p", "o", .machine, "PING", nil, false),
            ("p", "o", .machine, "AUTH p", "default", false),
            ("p", "o", .unixSocket, "PING", nil, false),
            ("p", "o", .unixSocket, "AUTH p", "default", false),
            ("p", "o", .unixSocket, "AUTH operator o", "operator", true),
            ("p", "o", .elsewhere, "AUTH operator o", "operator", true),
            ("p", "o", .elsewhere, "HELLO 2 AUTH operator o", "operator", true),
            ("p", "o", .elsewhere, "HELLO 2 AUTH default p", "default", false),
            ("p", "o", .machine, "AUTH operator p", nil, false),
            ("p", "o", .machine, "AUTH default o", nil, false),
        ] as [(String?, String?, ClientOrigin, String, String?, Bool)])
    func `a client is the user that its origin and passwords make it`(
        password: String?, operators: String?, from origin: ClientOrigin, words: String,
        user: String?, isOperator: Bool
    ) {
        let servers = Self.servers(password: password, operators: operators)
        let client = servers.open(from: origin)
        _ = servers.exchange(client, words + "\r\n")
        let name = servers.exchange(client, "ACL WHOAMI\r\n")
        guard let user else {
            #expect(name == "-NOAUTH Authentication required.·")
            return
        }
        #expect(name == "$\(user.utf8.count)·\(user)·")
        #expect(Self.isOperator(servers, client) == isOperator)
    }

    @Test func `the operator can step back, and RESET makes a client what it was at first`() {
        let servers = Self.servers(operators: "o")
        let client = servers.open()
        _ = servers.exchange(client, "AUTH operator o\r\n")
        _ = servers.exchange(client, "AUTH default x\r\n")
        #expect(servers.exchange(client, "ACL WHOAMI\r\n") == "$7·default·")
        _ = servers.exchange(client, "AUTH operator o\r\n")
        #expect(servers.exchange(client, "ACL WHOAMI\r\n") == "$8·operator·")
        #expect(servers.exchange(client, "RESET\r\n") == "+RESET·")
        #expect(!Self.isOperator(servers, client))

        let local = Self.servers()
        let near = local.open()
        _ = local.exchange(near, "RESET\r\n")
        #expect(Self.isOperator(local, near))
    }

    @Test func `others do what clients do, within a transaction too`() {
        let servers = Self.servers(operators: "o")
        let client = servers.open()
        #expect(servers.exchange(client, "PUBLISH a x\r\n") == ":0·")
        #expect(servers.exchange(client, "MESH.ATTACH ann\r\n") == "+OK·")
        #expect(servers.exchange(client, "PSUBSCRIBE *\r\n").hasPrefix("*3·$10·psubscribe·"))
        #expect(servers.exchange(servers.open(), "INFO server\r\n").hasPrefix("$"))
        #expect(servers.exchange(servers.open(), "MESH.STATUS\r\n").hasPrefix("*"))
        #expect(servers.exchange(servers.open(), "CONFIG GET timeout\r\n").hasPrefix("*2·"))
        let denial =
            "-NOPERM User default has no permissions to run the 'config|set' command·"
        #expect(
            servers.exchange(servers.open(), "MULTI\r\nCONFIG SET timeout 9\r\nEXEC\r\n")
                == "+OK·+QUEUED·*1·" + denial)
    }

    @Test func `CLIENT LIST shows all to the operator, and themselves to others`() {
        let servers = Self.servers(operators: "o")
        let (one, other) = (servers.open(), servers.open())
        func lines(_ client: ClientIndex) -> Int {
            servers.exchange(client, "CLIENT LIST\r\n").split(separator: "·").dropFirst().joined()
                .split(separator: "\n").count
        }
        #expect(lines(one) == 1)
        #expect(
            servers.exchange(other, "CLIENT LIST ID 1\r\n") == "$0··", "it is not its own")
        _ = servers.exchange(other, "AUTH operator o\r\n")
        #expect(lines(other) == 2)
        #expect(servers.exchange(other, "CLIENT KILL USER default\r\n") == ":1·")
    }

    @Test func `ACL tells what each user may do`() {
        let alone = Self.servers()
        #expect(
            alone.exchange(alone.open(), "ACL LIST\r\n")
                == "*1·$34·user default on nopass ~* &* +@all·")
        let servers = Self.servers(password: "p", operators: "o")
        let client = servers.open()
        _ = servers.exchange(client, "AUTH p\r\n")
        #expect(servers.exchange(client, "ACL USERS\r\n") == "*2·$7·default·$8·operator·")
        let rules = servers.exchange(client, "ACL LIST\r\n")
        #expect(rules.contains("user default on #hidden ~* &* +@all -monitor -client|kill"))
        #expect(rules.contains(" -config|set") && rules.contains(" -mesh.trace"))
        #expect(!rules.contains(" -publish") && !rules.contains(" -client|id"))
        #expect(rules.hasSuffix("user operator on #hidden ~* &* +@all·"))
        let words = "User default has no permissions to run the 'config|set' command"
        #expect(
            servers.exchange(client, "ACL DRYRUN default CONFIG SET timeout 1\r\n")
                == "$\(words.utf8.count)·\(words)·")
        #expect(servers.exchange(client, "ACL DRYRUN operator CONFIG SET timeout 1\r\n") == "+OK·")
        #expect(servers.exchange(client, "ACL DRYRUN default PUBLISH a b\r\n") == "+OK·")
        #expect(
            servers.exchange(client, "ACL GETUSER operator\r\n").hasPrefix("*12·$5·flags·*1·$2·on·")
        )
        #expect(servers.exchange(client, "ACL GETUSER nobody\r\n") == "$-1·")
    }
}
