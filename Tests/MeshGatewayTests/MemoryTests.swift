import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// All that clients take together has bounds too: those that take most lose first, and all others are
/// served.
@Suite struct MemoryTests {
    private static let mebibyte = 1 << 20

    /// Shares of 32 MiB for output, 16 for mailboxes, 8 for sessions and 9 for unfinished commands.
    private static func configuration() -> GatewayConfiguration {
        var configuration = GatewayConfiguration()
        configuration.memory = MemoryShares(total: 64 << 20)
        return configuration
    }

    @Test func `the shares are less than the whole, whatever it is`() {
        for total in [0, 64 << 20, 256 << 20, 1 << 30, 24 << 30, 1 << 40] {
            let shares = MemoryShares(total: total)
            #expect(shares.total == max(total, MemoryShares.totalMin))
            #expect(shares.output + shares.mailboxes + shares.input < shares.total)
            #expect(shares.sessions <= shares.mailboxes && shares.sessions <= 256 << 20)
            #expect(shares.input > min(shares.messageMax, Frame.payloadMax))
            #expect(shares.crowdedOutput < shares.output)
            #expect((64 << 10...1 << 20).contains(shares.muchOutput))
        }
    }

    // MARK: Output

    @Test func `the clients with most output are ended when all of it is too much`() {
        var harness = Harness(Self.configuration())
        let share = Self.configuration().memory.output
        var clients: [ClientIndex] = []
        for number in 0..<8 {
            let client = harness.open()
            _ = harness.exchange(client, "SUBSCRIBE news-\(number)\r\n")
            clients.append(client)
        }
        let text = String(repeating: "x", count: Self.mebibyte)
        // The last one is hardly behind.
        harness.deliver(.channel, "news-7", text)
        for _ in 0..<5 {
            for number in 0..<7 {
                harness.deliver(.channel, "news-\(number)", text)
                let output = harness.gateway.hub.memory.output
                #expect(output <= share)
            }
        }
        let cuts = harness.gateway.hub.outbox.cuts
        #expect(!cuts.isEmpty && cuts.count < 7)
        #expect(cuts.map(\.isForMemory) == cuts.map { _ in true })
        #expect(!cuts.contains { $0.id == Int64(clients[7].slot + 1) })
        let counted = harness.gateway.hub.counters[.clientsEndedForMemory]
        #expect(Int(counted) == cuts.count)
        let isSound = harness.gateway.hub.hasSoundMailboxes()
        #expect(isSound)
        #expect(harness.exchange(harness.open(), "PING\r\n") == "+PONG·")
    }

    @Test func `output that has left does not count`() {
        var harness = Harness(Self.configuration())
        let client = harness.open()
        _ = harness.exchange(client, "SUBSCRIBE news\r\n")
        let text = String(repeating: "x", count: Self.mebibyte)
        for _ in 0..<100 {
            harness.deliver(.channel, "news", text)
            #expect(harness.readBytes(client).count > Self.mebibyte)
        }
        #expect(harness.gateway.hub.outbox.cuts.isEmpty)
        harness.close(client)
        let output = harness.gateway.hub.memory.output
        #expect(output == 0)
    }

    // MARK: Mailboxes

    @Test func `clients that may lose messages lose the oldest, and are told`() {
        var configuration = Self.configuration()
        configuration.slowBytesMax = 8 << 20
        var harness = Harness(configuration)
        let share = configuration.memory.mailboxes
        let text = String(repeating: "x", count: 64 * 1024)
        var clients: [ClientIndex] = []
        for number in 0..<6 {
            let client = harness.open()
            _ = harness.exchange(
                client, "MESH.POLICY drop-oldest\r\nMESH.GAPS ON\r\nSUBSCRIBE news-\(number)\r\n")
            clients.append(client)
        }
        for _ in 0..<70 {
            for number in 0..<6 {
                harness.deliver(.channel, "news-\(number)", text)
                let stored = harness.gateway.hub.stored.byteCount
                #expect(stored <= share)
            }
        }
        #expect(harness.gateway.hub.outbox.cuts.isEmpty)
        let shed = harness.gateway.hub.counters[.mailboxesShed]
        #expect(shed > 0)
        // The log names the first of them.
        let troubles = harness.gateway.hub.outbox.complaints.filter { $0.counter == .mailboxesShed }
        #expect(troubles.count == 1 && troubles.first?.client != nil)
        for client in clients {
            let words = harness.read(client).split(separator: "·")
            let received = words.count { $0.hasPrefix("xxx") }
            // Each notice: gap, kind, name, count, milliseconds.
            let missed = words.indices.filter { words[$0] == "gap" }
                .map { Int(words[$0 + 5].dropFirst())! }.reduce(0, +)
            #expect(received + missed == 70)
        }
    }

    @Test func `sessions without a connection share a bound, and are told what they lost`() {
        var harness = Harness(Self.configuration())
        let share = Self.configuration().memory.sessions
        let first = harness.open()
        var tokens: [String] = []
        for number in 0..<20 {
            tokens.append(
                String(
                    harness.exchange(first, "MESH.ATTACH u\(number) SESSION\r\n")
                        .split(separator: "·")[1]))
        }
        harness.close(first)
        let text = String(repeating: "x", count: 32 * 1024)
        for _ in 0..<30 {
            for number in 0..<20 {
                harness.deliver(.user, "u\(number)", text)
                let waiting = harness.gateway.hub.mailboxes.slots.reduce(0) {
                    $0 + harness.gateway.hub.mailboxes[$1].messages.waiting.cost
                }
                #expect(waiting <= share)
            }
        }
        for number in 0..<20 {
            let client = harness.open()
            let words = harness.exchange(
                client, "MESH.ATTACH u\(number) RESUME \(tokens[number])\r\n"
            ).split(separator: "·")
            let received = words.count { $0.hasPrefix("xxx") }
            let missed = words.indices.filter { words[$0] == "gap" }
                .map { Int(words[$0 + 5].dropFirst())! }.reduce(0, +)
            #expect(received + missed == 30, "\(received) and \(missed)")
        }
    }

    // MARK: Input

    private static let beginning = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1000\r\nabc"
    private static let refusal =
        "-OOM the commands that clients have begun to send take more than 9437184 bytes, and this "
        + "one is among the longest: send it again later·"

    @Test func `the longest unfinished command is given up, and its connection goes on`() {
        var harness = Harness(Self.configuration())
        let clients = [harness.open(), harness.open(), harness.open()]
        for client in clients { _ = harness.exchange(client, Self.beginning) }
        // As if so much of them had come.
        for (client, megabytes) in [(clients[0], 2), (clients[1], 4)] {
            let victim = harness.gateway.noteInput(megabytes << 20, of: client)
            #expect(victim == nil)
        }
        let victim = harness.gateway.noteInput(4 << 20, of: clients[2])
        #expect(victim == clients[1])
        harness.run(clients[1])
        #expect(harness.read(clients[1]) == Self.refusal)
        let next = harness.gateway.noteInput(4 << 20, of: clients[2])
        #expect(next == nil)
        // The rest of it says nothing, wherever it is cut.
        let rest = Array(String(repeating: "x", count: 997).utf8)
        for byte in rest { harness.send(clients[1], [byte]) }
        harness.send(clients[1], [0x0D])
        #expect(harness.exchange(clients[1], "\nPING\r\n") == "+PONG·")
        harness.send(clients[0], rest)
        #expect(harness.exchange(clients[0], "\r\n") == ":0·")
        let (givenUp, failures) = (
            harness.gateway.hub.counters[.commandsGivenUp],
            harness.gateway.hub.counters[.clientProtocolErrors]
        )
        #expect(givenUp == 1 && failures == 0)
        // The log names the client.
        #expect(harness.troubles("commandsGivenUp", "client") == ["\(clients[1].slot + 1)"])
        for client in clients { harness.close(client) }
        let input = harness.gateway.hub.memory.input
        #expect(input == 0)
    }

    @Test func `a transaction that takes too much of the input ends with its connection`() {
        var harness = Harness(Self.configuration())
        let client = harness.open()
        _ = harness.exchange(client, "MULTI\r\nPUBLISH c x\r\n")
        let victim = harness.gateway.noteInput(10 << 20, of: client)
        #expect(victim == nil)
        #expect(harness.read(client) == Self.refusal)
        #expect(harness.gateway.hub.outbox.farewells == [client])
    }

    @Test(arguments: [false, true])
    func `a command that is carried out in part is not given up as long as another can be`(
        isAnother: Bool
    ) {
        var harness = Harness(Self.configuration())
        let (client, idle) = (harness.open(), harness.open())
        let count = 2 * Gateway.namesPerEvent
        let names = (0..<count).map { "n\($0)" }
        let bytes = command((["SUBSCRIBE"] + names).map { Array($0.utf8) })
        var offset = 0
        _ = harness.gateway.next(bytes.span, at: &offset, from: client, now: harness.now)
        for _ in 0..<2 {
            if offset > 0 {
                _ = harness.gateway.carryOut(
                    bytes.span, at: &offset, from: client, now: harness.now)
            } else {
                _ = harness.gateway.next(bytes.span, at: &offset, from: client, now: harness.now)
            }
        }
        let begun = harness.gateway.hub.subscriptionCount
        #expect(begun > 0 && begun < count && offset == 0)
        _ = harness.exchange(idle, Self.beginning)
        if isAnother {
            let none = harness.gateway.noteInput(1 << 20, of: idle)
            #expect(none == nil)
        }
        let victim = harness.gateway.noteInput(9 << 20, of: client)
        if isAnother {
            // It has less, but nothing is lost with it.
            #expect(victim == idle)
            while offset == 0 {
                _ = harness.gateway.next(bytes.span, at: &offset, from: client, now: harness.now)
            }
            #expect(offset == bytes.count)
            let subscriptions = harness.gateway.hub.subscriptionCount
            #expect(subscriptions == count)
        } else {
            // Its connection goes, and what it has begun with it.
            #expect(victim == nil)
            #expect(harness.gateway.hub.outbox.farewells == [client])
        }
    }

    @Test func `a command of very many names that has done nothing yet is given up`() {
        var configuration = Self.configuration()
        configuration.subscriptionCountMax = 4_000
        var harness = Harness(configuration)
        let client = harness.open()
        let names = (0..<4_001).map { "n\($0)" }
        let bytes = command((["SUBSCRIBE"] + names).map { Array($0.utf8) })
        var offset = 0
        _ = harness.gateway.next(bytes.span, at: &offset, from: client, now: harness.now)
        _ = harness.gateway.carryOut(bytes.span, at: &offset, from: client, now: harness.now)
        _ = harness.gateway.next(bytes.span, at: &offset, from: client, now: harness.now)
        #expect(offset == 0)
        let known = harness.gateway.conversations[client].partial.growth?.seen.count ?? 0
        #expect(known == Gateway.namesPerEvent)
        // The names that it has gathered count with the input.
        let victim = harness.gateway.noteInput(8 << 20, of: client)
        let charge = harness.gateway.hub.memory.input
        let nameBytes = names.prefix(known).reduce(0) { $0 + $1.count }
        #expect(victim == nil && charge == (8 << 20) + 4_002 * 8 + known * 48 + nameBytes)
        let next = harness.gateway.noteInput(10 << 20, of: client)
        #expect(next == client)
        _ = harness.gateway.next(bytes.span, at: &offset, from: client, now: harness.now)
        #expect(offset == bytes.count)
        let (reply, subscriptions) = (
            harness.read(client), harness.gateway.hub.subscriptionCount
        )
        #expect(reply == Self.refusal && subscriptions == 0)
    }

    @Test func `a command that is passed over ends where it would have ended, however it is cut`()
        throws
    {
        for command in [
            "*1\r\n$4\r\nPING\r\n", "*0\r\n", "*3\r\n$0\r\n\r\n$2\r\n\r\n\r\n$1\r\n*\r\n",
            "*2\r\n$10\r\n0123456789\r\n$1\r\na\r\n",
        ] {
            let bytes = Array((command + "*1\r\n$4\r\nPING\r\n").utf8)
            for cut in 0...bytes.count {
                var skip = CommandSkip()
                var offset = 0
                let isPassed = try skip.advance(Array(bytes[..<cut]).span, &offset)
                #expect(isPassed == (cut >= command.utf8.count))
                if isPassed {
                    #expect(offset == command.utf8.count)
                } else {
                    let rest = Array(bytes[offset...])
                    var passed = 0
                    let isPassed = try skip.advance(rest.span, &passed)
                    #expect(isPassed && offset + passed == command.utf8.count)
                }
            }
        }
        for wrong in ["*x", "PING\r\n", "*1\r\nPING", "*1\r\n$-1\r\n", "*-1\r\n"] {
            var skip = CommandSkip()
            var offset = 0
            #expect(throws: RESPError.self) {
                _ = try skip.advance(Array(wrong.utf8).span, &offset)
            }
        }
    }
}
