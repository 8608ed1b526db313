import MeshWire
import Testing

@testable import MeshGateway

@Suite struct TransactionTests {
    @Test func `queued commands are carried out by EXEC`() {
        var harness = Harness()
        let client = harness.open()
        let answers = ["MULTI", "PING", "PUBLISH a b", "ECHO x"].map {
            harness.exchange(client, $0 + "\r\n")
        }
        #expect(answers == ["+OK·", "+QUEUED·", "+QUEUED·", "+QUEUED·"])
        #expect(harness.publicationCount == 0)
        let results = harness.exchange(client, "EXEC\r\nPING\r\n")
        #expect(results == "*3·+PONG·:0·$1·x·+PONG·")
        #expect(harness.publicationCount == 1)
    }

    @Test func `a pipeline in one piece is a transaction`() {
        var harness = Harness(peerCount: 2)
        for number in 1...2 {
            var peer = harness.peer(number)
            let subscriber = peer.open(3)
            _ = peer.exchange(subscriber, "SUBSCRIBE a\r\nSSUBSCRIBE b\r\n")
        }
        harness.pass(.milliseconds(500))
        let client = harness.open()
        let bytes =
            command("MULTI") + command("PUBLISH", "a", "1") + command("SPUBLISH", "b", "2")
            + command("EXEC") + command("PING")
        harness.send(client, bytes)
        let answer = harness.read(client)
        #expect(answer == "+OK·+QUEUED·+QUEUED·*2·:2·:2·+PONG·")
    }

    @Test func `a transaction that comes byte by byte is carried out once`() {
        var harness = Harness()
        let client = harness.open()
        let bytes =
            command("MULTI") + command("PUBLISH", "a", "1") + Array("PING\r\n\r\n".utf8)
            + command("EXEC") + command("PING")
        for byte in bytes { harness.send(client, [byte]) }
        let answer = harness.read(client)
        #expect(answer == "+OK·+QUEUED·+QUEUED·*2·:0·+PONG·+PONG·")
        #expect(harness.publicationCount == 1)
    }

    @Test func `what a transaction publishes to its own client follows the replies`() {
        var harness = Harness()
        let client = harness.open(3)
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        let answer = harness.exchange(
            client, "MULTI\r\nPUBLISH a 1\r\nPUBLISH a 2\r\nPING\r\nEXEC\r\nPING\r\n")
        #expect(
            answer == "+OK·+QUEUED·+QUEUED·+QUEUED·*3·:1·:1·+PONG·"
                + ">3·$7·message·$1·a·$1·1·>3·$7·message·$1·a·$1·2·+PONG·")
    }

    @Test func `a wrong command discards the transaction`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(
            client, "MULTI\r\nPUBLISH a 1\r\nFOO\r\nECHO\r\nEXEC\r\nEXEC\r\n")
        #expect(
            answer == "+OK·+QUEUED·-ERR unknown command 'FOO', with args beginning with: ·"
                + "-ERR wrong number of arguments for 'echo' command·"
                + "-EXECABORT Transaction discarded because of previous errors.·"
                + "-ERR EXEC without MULTI·")
        #expect(harness.publicationCount == 0)
    }

    @Test func `MULTI in MULTI and WATCH in MULTI are refused and change nothing`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(
            client, "MULTI\r\nMULTI\r\nPING\r\nWATCH a\r\nEXEC\r\nPING\r\n")
        #expect(
            answer == "+OK·-ERR MULTI calls can not be nested·+QUEUED·"
                + "-ERR WATCH inside MULTI is not allowed·*1·+PONG·+PONG·")
    }

    @Test func `DISCARD, RESET and QUIT end a transaction`() {
        var harness = Harness()
        let client = harness.open()
        let discarded = harness.exchange(
            client, "DISCARD\r\nMULTI\r\nPUBLISH a 1\r\nDISCARD\r\nPING\r\n")
        #expect(discarded == "-ERR DISCARD without MULTI·+OK·+QUEUED·+OK·+PONG·")
        let reset = harness.exchange(client, "MULTI\r\nPING\r\nRESET\r\nEXEC\r\n")
        #expect(reset == "+OK·+QUEUED·+RESET·-ERR EXEC without MULTI·")
        let quit = harness.exchange(client, "MULTI\r\nPING\r\nQUIT\r\n")
        #expect(quit == "+OK·+QUEUED·+OK·")
        #expect(harness.ended == [client])
        #expect(harness.publicationCount == 0)
    }

    @Test func `an empty transaction answers an empty array`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "MULTI\r\nEXEC\r\nPING\r\n")
        #expect(answer == "+OK·*0·+PONG·")
    }

    @Test func `questions to the mesh are answered in their place`() {
        var harness = Harness(peerCount: 1)
        var peer = harness.peer(1)
        _ = peer.exchange(peer.open(), "MESH.ATTACH ann\r\n")
        harness.pass(.milliseconds(500))
        let client = harness.open(3)
        let answer = harness.exchange(
            client,
            "MULTI\r\nPUBSUB NUMSUB a\r\nMESH.ONLINE ann\r\nPUBSUB NUMPAT\r\nPING\r\nEXEC\r\n")
        #expect(
            answer == "+OK·+QUEUED·+QUEUED·+QUEUED·+QUEUED·"
                + "*4·*2·$1·a·:0·*1·:1·:0·+PONG·")
    }

    @Test func `a question that is open holds the transaction, and what comes meanwhile`() {
        var harness = Harness(peerCount: 1)
        var peer = harness.peer(1)
        _ = peer.exchange(peer.open(), "SUBSCRIBE a\r\n")
        harness.pass(.milliseconds(500))
        let client = harness.open(3)
        _ = harness.exchange(client, "SUBSCRIBE a\r\n")
        harness.freezePeers()
        let before = harness.exchange(
            client, "MULTI\r\nPUBSUB NUMSUB a\r\nPING\r\nEXEC\r\nECHO x\r\n")
        #expect(before == "+OK·+QUEUED·+QUEUED·*2·")
        harness.deliver(.channel, "a", "m")
        let meanwhile = harness.read(client)
        #expect(meanwhile == "")
        harness.thawPeers()
        harness.pass(.zero)
        let after = harness.read(client)
        #expect(after == "*2·$1·a·:2·+PONG·>3·$7·message·$1·a·$1·m·$1·x·")
    }

    @Test func `in a transaction one can subscribe, but for shard channels, as in Redis`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(
            client, "MULTI\r\nSUBSCRIBE a\r\nSSUBSCRIBE s\r\nECHO x\r\nUNSUBSCRIBE a\r\nEXEC\r\n")
        #expect(
            answer == "+OK·+QUEUED·+QUEUED·+QUEUED·+QUEUED·*4·*3·$9·subscribe·$1·a·:1·"
                + "-ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client·$1·x·"
                + "*3·$11·unsubscribe·$1·a·:0·")
    }

    @Test func `an EXEC that is refused ends the transaction and says why`() {
        var harness = Harness()
        let client = harness.open()
        let answer = harness.exchange(client, "MULTI\r\nPUBLISH a 1\r\nEXEC now\r\nPING\r\n")
        #expect(
            answer == "+OK·+QUEUED·-EXECABORT Transaction discarded because of: "
                + "wrong number of arguments for 'exec' command·+PONG·")
        let subscribed = harness.exchange(client, "SUBSCRIBE a\r\nEXEC\r\n")
        #expect(
            subscribed == "*3·$9·subscribe·$1·a·:1·-EXECABORT Transaction discarded because of: "
                + "Can't execute 'exec': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                + "RESET are allowed in this context·")
        #expect(harness.publicationCount == 0)
    }

    @Test func `what changes who a connection is stays out of transactions`() {
        var harness = Harness()
        let client = harness.open(3)
        let answer = harness.exchange(client, "MULTI\r\nMESH.ATTACH ann\r\nEXEC\r\n")
        #expect(
            answer == "+OK·-ERR Command not allowed inside a transaction·"
                + "-EXECABORT Transaction discarded because of previous errors.·")
    }

    @Test func `a transaction larger than a request may be ends the connection`() {
        var configuration = GatewayConfiguration()
        configuration.requestBytesMax = 1_000
        var harness = Harness(configuration)
        let client = harness.open()
        harness.send(client, command("MULTI"))
        for _ in 0..<30 where !harness.ended.contains(client) {
            harness.send(client, command("PUBLISH", "channel", String(repeating: "x", count: 50)))
        }
        let answer = harness.read(client)
        #expect(answer.hasSuffix("-ERR Protocol error: too big request·"))
        #expect(harness.ended == [client])
    }

    @Test func `an EXEC that is silenced is silent in all its parts`() {
        var harness = Harness()
        let client = harness.open()
        _ = harness.exchange(client, "MULTI\r\nPING\r\nPUBLISH a 1\r\n")
        let skipped = harness.exchange(client, "CLIENT REPLY OFF\r\nEXEC\r\nPING\r\n")
        #expect(skipped == "+QUEUED·*3·+PONG·:0·")
    }

    @Test(arguments: [
        command("NOSUCH", String(repeating: "x", count: 90)),
        command("MULTI"), command("WATCH", "a"), command("PING"), Array("\r\n".utf8),
        Array("*0\r\n".utf8),
    ])
    func `whatever comes after MULTI counts towards the transaction's bound`(_ bytes: [UInt8]) {
        var configuration = GatewayConfiguration()
        configuration.requestBytesMax = 1_000
        var harness = Harness(configuration)
        let client = harness.open()
        _ = harness.exchange(client, "MULTI\r\n")
        var sent = 0
        while sent + bytes.count < 1_000 {
            harness.send(client, bytes)
            sent += bytes.count
            let isOpen = !harness.ended.contains(client)
            #expect(isOpen, "ended after \(sent) bytes")
        }
        harness.send(client, bytes)
        #expect(harness.ended.contains(client))
        #expect(harness.read(client).hasSuffix("-ERR Protocol error: too big request·"))
    }

    @Test func `a command that the transaction has no room for is refused by its announcement`() {
        var configuration = GatewayConfiguration()
        configuration.requestBytesMax = 1_000
        var harness = Harness(configuration)
        let client = harness.open()
        _ = harness.exchange(client, "MULTI\r\n")
        harness.send(client, command("ECHO", String(repeating: "x", count: 600)))
        harness.send(client, Array("*2\r\n$4\r\nECHO\r\n$600\r\nx".utf8))
        #expect(harness.ended.contains(client))
    }
}
