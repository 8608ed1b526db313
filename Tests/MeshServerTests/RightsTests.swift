import MeshCore
import MeshServer
import Testing

/// One door: an operation that a client has no right to does not happen, by whatever words it is asked for.
@Suite struct RightsTests {
    private static let denied = "-NOPERM User default has no permissions to run the '"

    private static func servers(without operations: Operation...) -> Servers {
        Servers(2) { options in
            for operation in operations {
                for principal in Principal.allCases { options.rights.refuse(operation, principal) }
            }
        }
    }

    @Test func `at first the operator may do everything, and all others what is not reserved`() {
        let reserved: Set<Operation> = [.survey, .administer]
        for operation in Operation.allCases {
            for principal in Principal.allCases {
                var rights = Rights()
                let isFree = principal == .administrator || !reserved.contains(operation)
                #expect(rights.allow(operation, principal) == isFree)
                rights.refuse(operation, principal)
                for other in Operation.allCases {
                    for somebody in Principal.allCases {
                        let isRefused =
                            other == operation && somebody == principal
                            || somebody != .administrator && reserved.contains(other)
                        #expect(rights.allow(other, somebody) == !isRefused)
                    }
                }
            }
        }
    }

    @Test(arguments: [
        (Operation.publish, "PUBLISH a x"), (.publish, "SPUBLISH a x"),
        (.publish, "MESH.SEND ann x"),
        (.publish, "MESH.PUBLISH a x VOLATILE"), (.subscribe, "SUBSCRIBE a"),
        (.subscribe, "PSUBSCRIBE a*"), (.subscribe, "SSUBSCRIBE a"), (.attach, "MESH.ATTACH ann"),
        (.request, "MESH.REQUEST SERVICE a x"), (.serve, "MESH.SERVE a"),
        (.watch, "MESH.WATCH ann"), (.watch, "MESH.WATCHROOM a"), (.locate, "PUBSUB NUMSUB a"),
        (.locate, "MESH.WHERE ann"),
        (.locate, "MESH.ONLINE ann"), (.survey, "MESH.TRACE USER ann"), (.inspect, "INFO"),
        (.survey, "MESH.MEMBERS"), (.survey, "MESH.LINKS"),
        (.inspect, "CLIENT LIST"), (.inspect, "MESH.STATUS"),
        (.administer, "CONFIG SET maxmemory 1"),
        (.administer, "CLIENT KILL ID 99"), (.connect, "PING"),
    ])
    func `a command of an operation that is refused is denied`(
        operation: Operation, command: String
    ) {
        let servers = Self.servers(without: operation)
        let words = command.split(separator: " ").map(String.init)
        let array = "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
        for text in [command + "\r\n", array] {
            let reply = servers.exchange(servers.open(), text)
            #expect(reply.hasPrefix(Self.denied) && reply.hasSuffix("' command·"), "\(reply)")
        }
        servers.run(for: .milliseconds(500))
        for host in 0..<2 {
            let entries = servers.mesh.hosts[host].server.node.tableSizes().entries
            #expect(entries == 0)
        }
    }

    @Test func `a denied command reaches nobody, in a pipeline or within a transaction`() {
        let servers = Self.servers(without: .publish)
        let subscriber = servers.open(1)
        _ = servers.exchange(subscriber, "SUBSCRIBE a\r\n", 1)
        servers.run(for: .milliseconds(500))
        let client = servers.open()
        let array = "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nx\r\n"
        let denial = Self.denied + "publish' command·"
        #expect(
            servers.exchange(client, array + array + "ECHO on\r\n") == denial + denial + "$2·on·")
        #expect(
            servers.exchange(client, "MULTI\r\n" + array + "ECHO on\r\nEXEC\r\n")
                == "+OK·+QUEUED·+QUEUED·*2·" + denial + "$2·on·")
        #expect(
            servers.exchange(client, "CLIENT REPLY SKIP\r\n" + array + "ECHO on\r\n") == "$2·on·")
        servers.run(for: .milliseconds(500))
        #expect(servers.read(subscriber, 1) == "")
        let counters = servers.mesh.hosts[0].server.node.counters
        #expect(counters[.messagesOriginated] == 0)
    }

    @Test func `a script may publish no more than its client`() {
        let servers = Self.servers(without: .publish)
        let client = servers.open()
        func run(_ text: String) -> String {
            let words = ["EVAL", text, "0"]
            return servers.exchange(
                client,
                "*3\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
                    + "ECHO on\r\n")
        }
        let denied = run("redis.call('publish', 'a', 'x') return 'end'")
        #expect(denied.hasPrefix(Self.denied + "publish' command script: "), "\(denied)")
        #expect(denied.hasSuffix(", on @user_script:1.·$2·on·"))
        #expect(run("redis.pcall('publish', 'a', 'x') return 'end'") == "$3·end·$2·on·")
        #expect(
            run("return redis.pcall('publish', 'a', 'x')")
                == Self.denied + "publish' command·$2·on·")
        #expect(run("return 'nothing'") == "$7·nothing·$2·on·")
        let counters = servers.mesh.hosts[0].server.node.counters
        #expect(counters[.messagesOriginated] == 0)
    }

    @Test func `other operations go on`() {
        let servers = Self.servers(without: .publish, .administer)
        let client = servers.open()
        #expect(servers.exchange(client, "SUBSCRIBE a\r\n") == "*3·$9·subscribe·$1·a·:1·")
        #expect(servers.exchange(servers.open(), "PUBSUB NUMPAT\r\n") == ":0·")
        #expect(servers.exchange(servers.open(), "INFO server\r\n").hasPrefix("$"))
    }
}
