import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

@Suite struct HostileTests {
    private static let words: [String] =
        CommandSpec.all.flatMap { spec in
            [spec.fullName.split(separator: "|").map { Array($0.utf8) }]
        }.map { $0.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ") }

    @Test(arguments: [UInt64](1...3))
    func `random commands from many clients leave a consistent gateway`(_ seed: UInt64) {
        var dice = Dice(state: seed)
        var harness = Harness()
        var clients: [ClientIndex] = []
        for _ in 0..<8_000 {
            if clients.count < 5 || dice.roll(50) == 0 {
                clients.append(harness.open(dice.roll(2) == 0 ? 2 : 3))
            }
            // Among many clients a name is hardly ever the first or the last of its kind.
            if clients.count > 12 { harness.close(clients.removeFirst()) }
            let client = clients[dice.roll(clients.count)]
            let words = Self.words[dice.roll(Self.words.count)].split(separator: " ")
            var arguments = words.map { Array($0.utf8) }
            for _ in 0..<dice.roll(4) {
                let candidates = ["a", "b", "c*", "", "on", "off", "yes", "ID", "1", "2", "TYPE"]
                arguments.append(Array(candidates[dice.roll(candidates.count)].utf8))
            }
            // Commands that silence or end clients would make the rest of the run dull.
            let name = words.joined(separator: " ")
            if ["quit", "client kill"].contains(name), dice.roll(10) > 0 { continue }
            var bytes = command(arguments)
            if dice.roll(100) == 0 { bytes[dice.roll(bytes.count)] = UInt8(dice.roll(256)) }
            harness.send(client, bytes)
            // Time does not pass here.
            harness.gateway.endPause()
            if dice.roll(3) == 0 { _ = harness.readBytes(client) }
            let gone = Set(harness.gateway.hub.overdue(at: harness.now)).union(harness.ended)
            for client in gone where clients.contains(client) {
                harness.close(client)
                clients.removeAll { $0 == client }
            }
        }
        for client in clients { harness.close(client) }
        let count = harness.gateway.hub.subscriptionCount
        #expect(count == 0)
        let patterns = harness.gateway.hub.patternCount
        #expect(patterns == 0)
        // The directory has been told of as many departures as arrivals, of each key.
        #expect(harness.changeCount > 100)
        let sizes = harness.shared.mesh.hosts[0].server.node.tableSizes()
        #expect(sizes.entries == 0 && sizes.patterns == 0)
        let clientCount = harness.gateway.hub.clientCount
        #expect(clientCount == 0)
    }

    @Test func `random bytes end a connection or are waited for, never trap`() {
        var dice = Dice(state: 5)
        var harness = Harness()
        let alphabet = Array("*$0123456789\r\n -abcPING'\"\\\u{0}".utf8)
        for _ in 0..<3_000 {
            let client = harness.open()
            let bytes = (0..<dice.roll(60)).map { _ in alphabet[dice.roll(alphabet.count)] }
            let cut = dice.roll(bytes.count + 1)
            harness.send(client, Array(bytes[..<cut]))
            if !harness.ended.contains(client) { harness.send(client, Array(bytes[cut...])) }
            _ = harness.readBytes(client)
            harness.close(client)
        }
        let open = harness.gateway.hub.clientCount
        #expect(open == 0)
    }

    @Test func `a long command in pieces leaves room for the commands of others`() {
        var harness = Harness()
        let slow = harness.open(3)
        let quick = harness.open()
        let names = (0..<1_000).map { Array("channel \($0)".utf8) }
        let bytes = command([Array("SUBSCRIBE".utf8)] + names)
        for start in stride(from: 0, to: bytes.count, by: 700) {
            harness.send(slow, Array(bytes[start..<min(start + 700, bytes.count)]))
            let answer = harness.exchange(quick, "PING\r\n")
            #expect(answer == "+PONG·")
        }
        let count = harness.gateway.hub.channelCount
        #expect(count == 1_000)
    }
}
