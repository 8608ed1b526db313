import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// Exact answers. `·` is CR LF. Rows without a remark are those of redis-server 7.0.15.
@Suite struct CommandTests {
    @Test(arguments: [
        ("PING", "+PONG·"),
        ("PING hello", "$5·hello·"),
        ("ping a b", "-ERR wrong number of arguments for 'ping' command·"),
        ("ECHO hi", "$2·hi·"),
        ("ECHO", "-ERR wrong number of arguments for 'echo' command·"),
        ("SELECT 3", "+OK·"),
        ("SELECT 16", "-ERR DB index is out of range·"),
        ("SELECT -1", "-ERR DB index is out of range·"),
        ("SELECT x", "-ERR value is not an integer or out of range·"),
        ("FOO a 'b c'", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b c' ·"),
        ("foo", "-ERR unknown command 'foo', with args beginning with: ·"),
        (
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. "
                + "Are you sure your configuration is correct?·"
        ),
        ("AUTH default x", "+OK·"),
        ("AUTH joe x", "-WRONGPASS invalid username-password pair or user is disabled.·"),
        ("AUTH a b c", "-ERR syntax error·"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range·"),
        ("HELLO 4", "-NOPROTO unsupported protocol version·"),
        ("HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'·"),
        ("HELLO 2 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'·"),
        (
            "HELLO 3 SETNAME 'a b'",
            "-ERR Client names cannot contain spaces, newlines or special characters.·"
        ),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command·"),
        ("CLIENT FOO BAR", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.·"),
        (
            "CLIENT MAINT_NOTIFICATIONS ON",
            "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.·"
        ),
        ("CLIENT GETNAME", "$-1·"),
        ("CLIENT SETNAME bob", "+OK·"),
        ("CLIENT ID", ":1·"),
        ("CLIENT GETREDIR", ":-1·"),
        ("CLIENT NO-EVICT on", "+OK·"),
        ("CLIENT NO-TOUCH off", "+OK·"),
        ("CLIENT NO-EVICT maybe", "-ERR syntax error·"),
        ("CLIENT REPLY maybe", "-ERR syntax error·"),
        ("CLIENT SETINFO LIB-NAME redis-py", "+OK·"),
        ("CLIENT SETINFO lib-ver 8.0.0", "+OK·"),
        ("CLIENT SETINFO foo 1", "-ERR Unrecognized option 'foo'·"),
        (
            "CLIENT SETINFO lib-name 'a b'",
            "-ERR lib-name cannot contain spaces, newlines or special characters.·"
        ),
        ("CLIENT TRACKING ON", "-ERR client tracking is not offered: there are no keys to track·"),
        ("CLIENT TRACKING OFF", "+OK·"),
        ("client tracking off bcast prefix a noloop redirect 0", "+OK·"),
        ("CLIENT TRACKING MAYBE", "-ERR syntax error·"),
        ("CLIENT TRACKING OFF SIDEWAYS", "-ERR syntax error·"),
        ("CLIENT TRACKING OFF PREFIX", "-ERR syntax error·"),
        ("CLIENT TRACKING OFF REDIRECT x", "-ERR value is not an integer or out of range·"),
        ("FLUSHALL", "+OK·"), ("FLUSHDB", "+OK·"), ("flushall ASYNC", "+OK·"),
        ("FLUSHDB sync", "+OK·"), ("FLUSHALL now", "-ERR syntax error·"),
        ("FLUSHDB ASYNC SYNC", "-ERR syntax error·"),
        ("CLIENT KILL foo", "-ERR No such client·"),
        ("CLIENT KILL ID x", "-ERR client-id should be greater than 0·"),
        ("CLIENT KILL ID 999", ":0·"),
        ("CLIENT KILL TYPE x", "-ERR Unknown client type 'x'·"),
        ("CLIENT KILL FOO x", "-ERR syntax error·"),
        ("CLIENT KILL ID 1 ADDR", "-ERR syntax error·"),
        ("CLIENT LIST TYPE x", "-ERR Unknown client type 'x'·"),
        ("CLIENT LIST ID 1 x", "-ERR Invalid client ID·"),
        ("CLIENT LIST FOO", "-ERR syntax error·"),
        ("CONFIG GET nothing", "*0·"),
        ("CONFIG GET notify-keyspace-events", "*2·$22·notify-keyspace-events·$0··"),
        ("CONFIG GET data?ases", "*2·$9·databases·$2·16·"),
        (
            "CONFIG SET foo bar",
            "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'·"
        ),
        ("CONFIG SET a", "-ERR wrong number of arguments for 'config|set' command·"),
        ("CONFIG SET a b c", "-ERR syntax error·"),
        ("CONFIG SET notify-keyspace-events ''", "+OK·"),
        (
            "CONFIG SET notify-keyspace-events Egx",
            "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - "
                + "there are no keys here whose changes could be told·"
        ),
        ("CONFIG SET client-output-buffer-limit 'pubsub 1mb 2mb 60'", "+OK·"),
        (
            "CONFIG SET client-output-buffer-limit 'pubsub 1mb 2mb'",
            "-ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit') - "
                + "Wrong number of arguments in buffer limit configuration.·"
        ),
        ("CONFIG RESETSTAT", "+OK·"),
        ("PUBSUB", "-ERR wrong number of arguments for 'pubsub' command·"),
        ("PUBSUB FOO", "-ERR unknown subcommand 'FOO'. Try PUBSUB HELP.·"),
        ("PUBSUB NUMPAT x", "-ERR wrong number of arguments for 'pubsub|numpat' command·"),
        ("PUBSUB NUMPAT", ":0·"),
        ("PUBSUB CHANNELS", "*0·"),
        (
            "PUBSUB CHANNELS a b",
            "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. "
                + "Try PUBSUB HELP.·"
        ),
        ("PUBSUB NUMSUB", "*0·"),
        ("PUBSUB NUMSUB b a b", "*6·$1·b·:0·$1·a·:0·$1·b·:0·"),
        ("PUBSUB SHARDNUMSUB s", "*2·$1·s·:0·"),
        ("CLUSTER NODES", "-ERR This instance has cluster support disabled·"),
        ("READONLY", "-ERR This instance has cluster support disabled·"),
        (
            "SENTINEL MASTERS",
            "-ERR unknown command 'SENTINEL', with args beginning with: 'MASTERS' ·"
        ),
        ("ACL WHOAMI", "$7·default·"),
        ("ACL LIST", "*1·$34·user default on nopass ~* &* +@all·"),
        ("ACL SETUSER joe", "-ERR the users of this server, default and operator, are fixed·"),
        ("MODULE LIST", "*0·"),
        ("ROLE", "*3·$6·master·:0·*0·"),
        ("DBSIZE", ":0·"),
        ("COMMAND LIST FILTERBY PATTERN pi*", "*1·$4·ping·"),
        ("COMMAND LIST foo", "-ERR syntax error·"),
        ("COMMAND DOCS foo", "*0·"),
        ("INFO nothing", "$0··"),
        ("WATCH a", "+OK·"),
        ("UNWATCH", "+OK·"),
        ("PUBLISH a b", ":0·"),
        ("SPUBLISH a b", ":0·"),
        ("PUBLISH a", "-ERR wrong number of arguments for 'publish' command·"),
        ("RESET", "+RESET·"),
    ])
    func `each command has its exact answer in RESP2`(_ row: (String, String)) {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, row.0 + "\r\n")
        #expect(answer == row.1)
    }

    @Test(arguments: [
        ("PING", "+PONG·"),
        ("CLIENT GETNAME", "_·"),
        ("CONFIG GET nothing", "%0·"),
        ("CONFIG GET save", "%1·$4·save·$0··"),
        ("COMMAND INFO foo", "*1·_·"),
        ("COMMAND DOCS foo", "%0·"),
        ("PUBSUB NUMSUB a", "*2·$1·a·:0·"),
        ("UNSUBSCRIBE", ">3·$11·unsubscribe·_·:0·"),
        ("RESET", "+RESET·"),
    ])
    func `each command has its exact answer in RESP3`(_ row: (String, String)) {
        var harness = Harness()
        let client = harness.open(3)
        let answer = harness.exchange(client, row.0 + "\r\n")
        #expect(answer == row.1)
    }

    @Test func `reports on the node are a verbatim text and a map in RESP3`() {
        var harness = Harness()
        let client = harness.open(3)
        let info = harness.exchange(client, "INFO mesh\r\n")
        #expect(info.hasPrefix("="))
        #expect(info.contains("·txt:# Mesh·node_id:0000000000000001·node_name:n0·"))
        #expect(info.contains("·members:1·links:0·") && info.hasSuffix("·ready:1··"))
        let status = harness.exchange(client, "MESH.STATUS\r\n")
        #expect(status.hasPrefix("%"))
        #expect(status.contains("·$5·ready·:1·"))
    }

    @Test func `HELLO greets in the protocol that it chooses`() {
        var harness = Harness()
        let client = harness.open()
        let two = harness.exchange(client, "HELLO\r\n")
        #expect(
            two == "*14·$6·server·$5·redis·$7·version·$5·7.2.5·$5·proto·:2·$2·id·:1·"
                + "$4·mode·$10·standalone·$4·role·$6·master·$7·modules·*0·")
        let three = harness.exchange(client, "HELLO 3 SETNAME bob\r\n")
        #expect(
            three == "%7·$6·server·$5·redis·$7·version·$5·7.2.5·$5·proto·:3·$2·id·:1·"
                + "$4·mode·$10·standalone·$4·role·$6·master·$7·modules·*0·")
        let name = harness.exchange(client, "CLIENT GETNAME\r\n")
        #expect(name == "$3·bob·")
    }

    @Test func `with a password little works before AUTH`() {
        var configuration = GatewayConfiguration()
        configuration.credentials.password = "secret"
        var harness = Harness(configuration)
        let client = harness.open()
        for line in ["PING", "SUBSCRIBE a", "CLIENT ID", "PUBLISH a b", "MESH.ATTACH u"] {
            let answer = harness.exchange(client, line + "\r\n")
            #expect(answer == "-NOAUTH Authentication required.·")
        }
        let unknown = harness.exchange(client, "FOO\r\n")
        #expect(unknown == "-ERR unknown command 'FOO', with args beginning with: ·")
        let hello = harness.exchange(client, "HELLO 3\r\n")
        #expect(hello.hasPrefix("-NOAUTH HELLO must be called with the client already "))
        let wrong = harness.exchange(client, "HELLO 3 AUTH default wrong\r\n")
        #expect(wrong == "-WRONGPASS invalid username-password pair or user is disabled.·")
        let empty = harness.exchange(client, "AUTH ''\r\n")
        #expect(empty == "-WRONGPASS invalid username-password pair or user is disabled.·")
        // A failed greeting has left the protocol as it was.
        let null = harness.exchange(client, "AUTH secret\r\nCLIENT GETNAME\r\n")
        #expect(null == "+OK·$-1·")
        let failures = harness.gateway.hub.counters[.authenticationFailures]
        #expect(failures == 2)
        let reset = harness.exchange(client, "RESET\r\nPING\r\n")
        #expect(reset == "+RESET·-NOAUTH Authentication required.·")
        let greeted = harness.exchange(client, "HELLO 3 AUTH default secret\r\nPING\r\n")
        #expect(greeted.hasSuffix("+PONG·"))
    }

    @Test func `who has not authenticated cannot send much`() {
        var configuration = GatewayConfiguration()
        configuration.credentials.password = "secret"
        var harness = Harness(configuration)
        let client = harness.open()
        let answer = harness.exchange(client, "*11\r\n")
        #expect(answer == "-ERR Protocol error: unauthenticated multibulk length·")
        #expect(harness.ended.contains(client))
    }

    @Test func `a node that is not ready answers LOADING to what needs the mesh`() {
        var harness = Harness(isReady: false)
        let client = harness.open()
        for line in ["PING", "PUBLISH a b", "SPUBLISH a b", "MESH.SEND u x", "PUBSUB NUMPAT"] {
            let answer = harness.exchange(client, line + "\r\n")
            #expect(answer == "-LOADING Smallworld is joining the mesh·")
        }
        let hello = harness.exchange(client, "HELLO 3\r\n")
        #expect(hello.hasPrefix("%7·"))
        let subscribed = harness.exchange(client, "SUBSCRIBE a\r\n")
        #expect(subscribed == ">3·$9·subscribe·$1·a·:1·")
        let info = harness.exchange(client, "INFO persistence\r\n")
        #expect(info.contains("·loading:1·"))
        // The node that it is to join comes up.
        harness.shared.append(GatewayConfiguration(), seeds: [])
        harness.pass(.seconds(30))
        let ready = harness.exchange(client, "INFO persistence\r\nPUBLISH a b\r\n")
        #expect(ready.contains("·loading:0·"))
        #expect(ready.hasSuffix(":1·>3·$7·message·$1·a·$1·b·"))
    }

    @Test func `INFO has what clients and tools look for`() {
        var harness = Harness()
        let client = harness.open()
        let other = harness.open()
        _ = harness.exchange(other, "SUBSCRIBE a b\r\nPSUBSCRIBE x*\r\nSSUBSCRIBE s\r\n")
        let info = harness.exchange(client, "INFO\r\n")
        for field in [
            "redis_version:7.2.5", "redis_mode:standalone", "role:master", "loading:0",
            "connected_clients:2", "pubsub_clients:1", "pubsub_channels:2", "pubsub_patterns:1",
            "pubsubshard_channels:1", "cluster_enabled:0", "members:1",
        ] {
            #expect(info.contains("·\(field)·"), "\(field)")
        }
        let sections = harness.exchange(client, "INFO CLIENTS Cluster\r\n")
        #expect(sections.contains("# Clients·") && sections.contains("# Cluster·"))
        #expect(!sections.contains("# Server·"))
    }

    @Test func `COMMAND counts, lists and describes the same commands`() {
        var harness = Harness()
        let client = harness.open()
        let count = harness.exchange(client, "COMMAND COUNT\r\n").dropFirst().dropLast()
        let list = harness.exchange(client, "COMMAND LIST\r\n")
        let all = harness.exchange(client, "COMMAND\r\n")
        let docs = harness.exchange(client, "COMMAND DOCS\r\n")
        #expect(list.hasPrefix("*\(count)·"))
        #expect(all.hasPrefix("*\(count)·*10·"))
        #expect(docs.hasPrefix("*\(Int(count)! * 2)·"))
        let info = harness.exchange(client, "COMMAND INFO publish\r\n")
        #expect(
            info == "*1·*10·$7·publish·:3·*1·+pubsub·:0·:0·:0·*1·+@pubsub·*0·*0·*0·")
    }

    /// The fields of the only other client, as CLIENT LIST tells them.
    private func fields(_ harness: inout Harness) -> [Substring: Substring] {
        let list = harness.exchange(harness.open(), "CLIENT LIST TYPE pubsub\r\n")
        let line = list.split(separator: "·")[1].split(separator: "\n")[0]
        var fields: [Substring: Substring] = [:]
        for word in line.split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            fields[parts[0]] = parts[1]
        }
        return fields
    }

    @Test(arguments: ["disconnect", "drop-oldest", "drop-newest", "latest"])
    func `CLIENT LIST tells what waits, under each policy`(policy: String) {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "MESH.POLICY \(policy)\r\nSUBSCRIBE a\r\n")
        let before = fields(&harness)
        #expect(before["obl"] == "0" && before["oll"] == "0" && before["omem"] == "0")
        let payload = String(repeating: "x", count: 100_000)
        for number in 0..<20 {
            harness.deliver(.channel, "a", payload + "\(number)")
        }
        let after = fields(&harness)
        let waiting = Int(after["obl"]!)! + Int(after["omem"]!)!
        #expect(after["obl"] == "16384" && Int(after["oll"]!)! > 10, "\(after)")
        // Of one channel, the latest alone waits behind what is on its way.
        #expect(policy == "latest" ? waiting > 300_000 : waiting > 1_990_000, "\(after)")
        #expect(after["policy"]! == policy)
        _ = harness.readBytes(client)
        while Int(fields(&harness)["omem"]!)! > 0 { _ = harness.readBytes(client) }
        let read = fields(&harness)
        #expect(read["oll"] == "0")
    }

    @Test func `CLIENT LIST names attached users in one word, and counts sessions`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        #expect(fields(&harness)["attached"] == "" && fields(&harness)["sessions"] == "0")
        _ = harness.exchange(client, ["MESH.ATTACH", "a b=%\n\u{e9}"].map { Array($0.utf8) })
        #expect(fields(&harness)["attached"] == "a%20b=%25%0a%c3%a9")
        _ = harness.exchange(client, "MESH.ATTACH ann SESSION\r\n")
        let attached = fields(&harness)
        #expect(attached["attached"]!.hasSuffix("+1") && attached["sessions"] == "1")
        #expect(attached["marks"] == "0")
    }

    @Test func `CLIENT LIST describes every connection`() {
        var harness = Harness()
        let client = harness.open()
        let other = harness.open(3)
        _ = harness.exchange(
            other, "CLIENT SETNAME bob\r\nCLIENT SETINFO lib-name x\r\nSUBSCRIBE a b\r\n")
        harness.pass(.seconds(5))
        let list = harness.exchange(client, "CLIENT LIST\r\n")
        let lines = list.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[1].contains("id=2 addr=127.0.0.1:50001 "))
        #expect(lines[1].contains(" name=bob age=5 idle=5 flags=P db=0 sub=2 psub=0 ssub=0 "))
        #expect(lines[1].contains(" cmd=subscribe user=default redir=-1 resp=3 lib-name=x "))
        let pubsub = harness.exchange(client, "CLIENT LIST TYPE pubsub\r\n")
        #expect(pubsub.split(separator: "\n").count == 2)
        #expect(pubsub.contains("id=2 "))
        let byID = harness.exchange(client, "CLIENT LIST ID 1 7\r\n")
        #expect(byID.contains("id=1 ") && !byID.contains("id=2 "))
    }

    @Test func `CLIENT KILL ends others at once and itself after the answer`() {
        var harness = Harness()
        let client = harness.open()
        let other = harness.open()
        let third = harness.open()
        _ = harness.exchange(other, "SUBSCRIBE a\r\n")
        let one = harness.exchange(client, "CLIENT KILL TYPE pubsub\r\n")
        #expect(one == ":1·")
        let isDoomed = harness.gateway.hub.isDoomed(other)
        #expect(isDoomed)
        let overdue = harness.gateway.hub.overdue(at: harness.now)
        #expect(overdue == [other])
        harness.close(other)
        let old = harness.exchange(client, "CLIENT KILL 127.0.0.1:50002\r\n")
        #expect(old == "+OK·")
        let overdueThen = harness.gateway.hub.overdue(at: harness.now)
        #expect(overdueThen == [third])
        let own = harness.exchange(client, "CLIENT KILL SKIPME no ID 1\r\nPING\r\n")
        #expect(own == ":1·")
        #expect(harness.ended == [client])
        let killed = harness.gateway.hub.counters[.clientsKilled]
        #expect(killed == 3)
    }

    @Test func `CLIENT REPLY silences replies but no messages and confirmations`() {
        var harness = Harness()
        let client = harness.open(3)
        let off = harness.exchange(client, "CLIENT REPLY OFF\r\nPING\r\nFOO\r\nPUBLISH q x\r\n")
        #expect(off == "")
        let confirmed = harness.exchange(client, "SUBSCRIBE a\r\n")
        #expect(confirmed == ">3·$9·subscribe·$1·a·:1·")
        let echo = harness.exchange(client, "PUBLISH a x\r\nPUBSUB CHANNELS\r\nINFO\r\n")
        #expect(echo == ">3·$7·message·$1·a·$1·x·")
        let on = harness.exchange(client, "CLIENT REPLY ON\r\nPING\r\n")
        #expect(on == "+OK·+PONG·")
        let skip = harness.exchange(client, "CLIENT REPLY SKIP\r\nPING a\r\nPING b\r\n")
        #expect(skip == "$1·b·")
        let publish = harness.exchange(
            client, "CLIENT REPLY SKIP\r\nPUBLISH q a\r\nPUBLISH q b\r\n")
        #expect(publish == ":0·")
        let twice = harness.exchange(
            client, "CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING a\r\nPING b\r\n")
        #expect(twice == "$1·b·")
    }

    @Test func `QUIT answers and ends`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "QUIT\r\nPING\r\n")
        #expect(answer == "+OK·")
        #expect(harness.ended == [client])
    }

    @Test(arguments: ["POST / HTTP/1.1", "Host: localhost", "host: x", "post x"])
    func `the words of another protocol end the connection without an answer`(_ line: String) {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, line + "\r\nPING\r\n")
        #expect(answer == "")
        #expect(harness.ended == [client])
        let errors = harness.gateway.hub.counters[.clientProtocolErrors]
        #expect(errors == 1)
    }

    @Test func `bytes that are no command get an error and end the connection`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "PING\r\n*1\r\nPING\r\nPING\r\n")
        #expect(answer == "+PONG·-ERR Protocol error: expected '$', got 'P'·")
        #expect(harness.ended == [client])
    }

    @Test func `connections beyond the bound are refused and counted`() {
        var configuration = GatewayConfiguration()
        configuration.clientCountMax = 2
        var harness = Harness(configuration)
        let first = harness.open()
        _ = harness.open()
        let third = harness.gateway.hub.open(address: "x", origin: .machine, at: harness.now)
        #expect(third == nil)
        let refused = harness.gateway.hub.counters[.connectionsRefused]
        #expect(refused == 1)
        harness.close(first)
        let again = harness.open()
        #expect(again == first)
        // The slot's new client has nothing of the former.
        let id = harness.exchange(again, "CLIENT ID\r\n")
        #expect(id == ":3·")
    }

    @Test func `arguments that are no text come back as they are`() {
        var harness = Harness()
        let client = harness.open()
        let strange: [UInt8] = [0, 13, 10, 255, 36]
        harness.send(client, command([Array("ECHO".utf8), strange]))
        let answer = harness.readBytes(client)
        #expect(answer == Array("$5\r\n".utf8) + strange + [13, 10])
    }

    @Test func `words with escapes are commands too, and messages`() {
        var harness = Harness()
        let client = harness.open()
        let echo = harness.exchange(client, #"ECHO "a\x42\"""# + "\r\nPING\r\n")
        #expect(echo == "$3·aB\"·+PONG·")
        let subscribed = harness.exchange(client, #"MESH.ATTACH "u\x41""# + "\r\n")
        #expect(subscribed == "+OK·")
        let sent = harness.exchange(client, "MESH.SEND uA x\r\n")
        #expect(sent == ":1·*3·$4·user·$2·uA·$1·x·")
        let told = harness.exchange(client, #"MESH.SEND "u\x41" "a\n""# + "\r\n")
        #expect(told == ":1·*3·$4·user·$2·uA·$2·a\n·")
        let reader = harness.open()
        _ = harness.exchange(reader, "SUBSCRIBE news\r\n")
        let publish = harness.exchange(client, #"PUBLISH news "a\n""# + "\r\n")
        #expect(publish == ":1·")
        let read = harness.read(reader)
        #expect(read == "*3·$7·message·$4·news·$2·a\n·")
        #expect(harness.publicationCount == 3)
        let queued = harness.exchange(
            client, "MULTI\r\n" + #"ECHO "\x41""# + "\r\nPING\r\nEXEC\r\n")
        #expect(queued == "+OK·+QUEUED·+QUEUED·*2·$1·A·+PONG·")
    }

    @Test func `errors quote what is no UTF-8 byte by byte, up to the first zero`() {
        var harness = Harness()
        let client = harness.open()
        for (argument, quoted) in [
            ([0xFF, 0x41], [0xFF, 0x41]), ([0xC3, 0xA9], [0xC3, 0xA9]), ([0x41, 0, 0x42], [0x41]),
        ] as [([UInt8], [UInt8])] {
            harness.send(client, command([Array("FOO".utf8), argument]))
            let answer = harness.readBytes(client)
            let start = Array("-ERR unknown command 'FOO', with args beginning with: '".utf8)
            #expect(answer == start + quoted + Array("' \r\n".utf8))
        }
    }

    @Test func `errors hold no line ends of the client's`() {
        var harness = Harness()
        let client = harness.open()
        harness.send(client, command("a\r\nb", "c\nd"))
        let answer = harness.read(client)
        #expect(answer == "-ERR unknown command 'a  b', with args beginning with: 'c d' ·")
    }
}
