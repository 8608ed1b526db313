import MeshDriver
import MeshWire
import Testing

@testable import MeshCore
@testable import MeshGateway
@testable import MeshServer

/// A subscription that is confirmed to a client is known to the other nodes.
@Suite struct ConfirmationTests {
    /// Frames that spread changes of the directory, or acknowledge them.
    private static func isChange(_ frame: [UInt8]) -> Bool { isRecords(frame) || isKnown(frame) }

    private static func isRecords(_ frame: [UInt8]) -> Bool {
        frame[4] == FrameKind.arc.rawValue || number(frame) == .records
    }

    private static func isKnown(_ frame: [UInt8]) -> Bool { number(frame) == .recordsKnown }

    private static func number(_ frame: [UInt8]) -> Message.Number? {
        switch FrameKind(rawValue: frame[4]) {
        case .link: Message.Number(rawValue: frame[Frame.prefixSize])
        case .routed where frame[7] == RoutedBody.control.rawValue:
            Message.Number(rawValue: frame[Frame.routedHeaderSize + Frame.destinationSize])
        default: nil
        }
    }

    private static let confirmation = "*3·$9·subscribe·$1·a·:1·"

    @Test(arguments: [
        ("SUBSCRIBE a", "*3·$9·subscribe·$1·a·:1·"),
        ("PSUBSCRIBE a*", "*3·$10·psubscribe·$2·a*·:1·"),
        ("SSUBSCRIBE a", "*3·$10·ssubscribe·$1·a·:1·"), ("MESH.ATTACH ann", "+OK·"),
        ("MESH.ATTACH ann SESSION", "$49·"),
    ])
    func `nothing behind a confirmation leaves until it is known`(
        command: String, confirmation: String
    ) {
        let servers = Servers(3)
        let client = servers.open()
        servers.mesh.judge = { _, _, frame in Self.isKnown(frame) ? .drop : .pass }
        #expect(servers.exchange(client, "ECHO x\r\n\(command)\r\nPING y\r\n") == "$1·x·")
        servers.run(for: .milliseconds(90))
        #expect(servers.read(client) == "")
        // The others are silent for 100 ms and somewhat more: they are behind.
        servers.run(for: .milliseconds(400))
        let rest = servers.read(client)
        #expect(rest.hasPrefix(confirmation))
        #expect(rest.hasSuffix("$1·y·"))
        #expect(servers.mesh.hosts[0].server.node.counters[.confirmedEarly] == 2)
    }

    @Test func `a confirmation leaves as soon as all nodes have answered`() {
        let servers = Servers(3)
        let client = servers.open()
        #expect(servers.exchange(client, "SUBSCRIBE a\r\n") == Self.confirmation)
        #expect(servers.mesh.hosts[0].server.node.counters[.confirmedEarly] == 0)
        #expect(servers.exchange(servers.open(1), "PUBLISH a m\r\n", 1) == ":1·")
        servers.run(for: .zero)
        #expect(servers.read(client) == "*3·$7·message·$1·a·$1·m·")
    }

    @Test func `the second subscriber of a name waits for the record of the first`() {
        let servers = Servers(2)
        let (first, second) = (servers.open(), servers.open())
        servers.mesh.judge = { _, _, frame in Self.isChange(frame) ? .drop : .pass }
        #expect(servers.exchange(first, "SUBSCRIBE a\r\n") == "")
        #expect(servers.exchange(second, "SUBSCRIBE a\r\n") == "")
        servers.mesh.judge = { _, _, _ in .pass }
        servers.run(for: .milliseconds(60))
        #expect(servers.read(first) == Self.confirmation)
        #expect(servers.read(second) == Self.confirmation)
    }

    @Test func `records that a forwarder has kept are sent again, and over another link`() {
        let servers = Servers(4)
        let client = servers.open()
        var sentCount = 0
        servers.mesh.judge = { _, to, frame in
            guard to == 2, Self.isRecords(frame) else { return .pass }
            sentCount += 1
            return sentCount <= 2 ? .drop : .pass
        }
        #expect(servers.exchange(client, "SUBSCRIBE a\r\n") == "")
        servers.run(for: .milliseconds(90))
        #expect(servers.read(client) == Self.confirmation)
        #expect(sentCount == 3)
        #expect(servers.mesh.hosts[0].server.node.counters[.confirmedEarly] == 0)
        #expect(servers.exchange(servers.open(2), "PUBLISH a m\r\n", 2) == ":1·")
    }

    @Test func `a node that stood still compares before it takes anything of its clients`() {
        let servers = Servers(4)
        let publisher = servers.open(1)
        servers.mesh.freeze(1)
        // Nothing that is sent to it while it stands still arrives.
        servers.mesh.judge = { _, to, frame in to == 1 && Self.isRecords(frame) ? .drop : .pass }
        let client = servers.open()
        servers.send("SUBSCRIBE a\r\n", from: client)
        servers.run(for: .milliseconds(900))
        #expect(servers.read(client) == Self.confirmation)
        #expect(servers.mesh.hosts[0].server.node.counters[.confirmedEarly] == 1)
        // It has the message before it has anything of its neighbours.
        servers.mesh.judge = { _, _, frame in
            Self.number(frame) == .compare ? .delay(.milliseconds(30)) : .pass
        }
        servers.mesh.thaw(1)
        servers.send("PUBLISH a m\r\n", from: publisher, 1)
        let isBehind = servers.mesh.hosts[1].server.node.isBehind
        #expect(isBehind)
        #expect(servers.read(publisher, 1) == "")
        servers.run(for: .milliseconds(200))
        #expect(servers.read(publisher, 1) == ":1·")
        #expect(servers.read(client) == "*3·$7·message·$1·a·$1·m·")
    }

    @Test func `a node that nobody answers goes on as it is`() {
        let servers = Servers(3)
        let client = servers.open(1)
        servers.mesh.judge = { _, _, frame in
            Self.number(frame) == .compare ? .drop : .pass
        }
        servers.mesh.freeze(1)
        servers.run(for: .milliseconds(900))
        servers.mesh.thaw(1)
        servers.send("PING x\r\n", from: client, 1)
        servers.run(for: .seconds(1))
        #expect(servers.read(client, 1) == "")
        servers.run(for: .milliseconds(600))
        #expect(servers.read(client, 1) == "$1·x·")
    }

    @Test func `a neighbour that is still comparing is not relied on`() {
        let servers = Servers(3)
        let client = servers.open(1)
        var answers: [Bool] = []
        servers.mesh.judge = { from, to, frame in
            if Self.number(frame) == .compared { answers.append(frame[Frame.prefixSize + 5] == 1) }
            guard Self.number(frame) == .compare, to == 0 else { return .pass }
            return .delay(.milliseconds(from == 1 ? 300 : 150))
        }
        servers.mesh.freeze(1)
        servers.mesh.freeze(2)
        servers.run(for: .milliseconds(900))
        servers.mesh.thaw(1)
        servers.mesh.thaw(2)
        servers.send("PING x\r\n", from: client, 1)
        servers.run(for: .milliseconds(120))
        #expect(answers.first == true)
        #expect(servers.read(client, 1) == "")
        servers.run(for: .milliseconds(300))
        #expect(servers.read(client, 1) == "$1·x·")
    }

    /// They stood still together, so those whom the first one asks know as little as it does, and are sure of it.
    @Test func `a node that stood still asks whoever becomes its neighbour, too`() {
        let servers = Servers(5)
        let publisher = servers.open(0)
        for host in 0..<3 { servers.mesh.freeze(host) }
        servers.run(for: .seconds(6))
        let client = servers.open(3)
        #expect(servers.exchange(client, "SUBSCRIBE a\r\n", 3) == Self.confirmation)
        servers.mesh.thaw(1)
        servers.mesh.thaw(2)
        servers.run(for: .milliseconds(10))
        servers.mesh.thaw(0)
        let other = servers.mesh.hosts[3].server.node.id
        func isLinked() -> Bool {
            servers.mesh.hosts[0].server.node.linkStatuses().contains { $0.peer == other }
        }
        // Its former links have ended meanwhile.
        servers.run(for: .milliseconds(2))
        var waited = 0
        while !isLinked(), waited < 1_400 {
            servers.run(for: .milliseconds(1))
            waited += 1
        }
        #expect(isLinked())
        servers.send("PUBLISH a m\r\n", from: publisher, 0)
        servers.run(for: .milliseconds(200))
        #expect(servers.read(publisher, 0) == ":1·", "after \(waited) ms")
        #expect(servers.read(client, 3) == "*3·$7·message·$1·a·$1·m·")
    }

    @Test func `the patience grows with the time that overdue nodes take`() {
        let servers = Servers(3)
        servers.mesh.judge = { _, _, frame in
            Self.isKnown(frame) ? .delay(.milliseconds(180)) : .pass
        }
        let client = servers.open()
        for number in 1...6 {
            servers.send("SUBSCRIBE c\(number)\r\n", from: client)
            servers.run(for: .milliseconds(400))
        }
        let early = servers.mesh.hosts[0].server.node.counters[.confirmedEarly]
        #expect(early > 0)
        for number in 7...12 {
            servers.send("SUBSCRIBE c\(number)\r\n", from: client)
            servers.run(for: .milliseconds(400))
        }
        #expect(servers.mesh.hosts[0].server.node.counters[.confirmedEarly] == early)
    }

    @Test(arguments: [1, 2])
    func `the patience is learnt from other nodes alone`(count: Int) {
        let servers = Servers(count)
        let client = servers.open()
        for number in 1...20 {
            #expect(servers.exchange(client, "SUBSCRIBE c\(number)\r\n") != "")
        }
        let learnt = servers.mesh.hosts[0].server.node.directory.confirmations.smoothed
        #expect((learnt != nil) == (count > 1))
    }

    @Test func `a client can opt out of confirmations, and watching and leaving never wait`() {
        let servers = Servers(2)
        servers.mesh.judge = { _, _, frame in Self.isChange(frame) ? .drop : .pass }
        let client = servers.open()
        #expect(servers.exchange(client, "MESH.OPTION CONFIRM LOCAL\r\n") == "+OK·")
        #expect(servers.exchange(client, "SUBSCRIBE a\r\n") == Self.confirmation)
        #expect(
            servers.exchange(client, "UNSUBSCRIBE a\r\n") == "*3·$11·unsubscribe·$1·a·:0·")
        let watcher = servers.open()
        #expect(servers.exchange(watcher, "MESH.WATCH ann\r\n").hasPrefix("*3·$5·watch·"))
        #expect(servers.exchange(client, "RESET\r\n") == "+RESET·")
        #expect(servers.exchange(client, "SUBSCRIBE a\r\n") == "")
        #expect(
            servers.exchange(watcher, "MESH.OPTION CONFIRM NEVER\r\n").hasPrefix("-ERR syntax"))
    }

    @Test func `many confirmations in one pipeline come in order`() {
        let servers = Servers(3)
        let client = servers.open()
        let commands = (1...500).map { "SUBSCRIBE c\($0)\r\nPING \($0)\r\n" }.joined()
        servers.send(commands, from: client)
        servers.run(for: .milliseconds(50))
        let expected = (1...500).map {
            "*3·$9·subscribe·$\("c\($0)".utf8.count)·c\($0)·:\($0)·"
                + "*2·$4·pong·$\("\($0)".utf8.count)·\($0)·"
        }.joined()
        #expect(servers.read(client) == expected)
    }

    @Test func `a client that goes while it waits leaves nothing behind`() {
        let servers = Servers(2)
        servers.mesh.judge = { _, _, frame in Self.isKnown(frame) ? .drop : .pass }
        let client = servers.open()
        #expect(servers.exchange(client, "SUBSCRIBE a\r\n") == "")
        _ = servers.close(client)
        let other = servers.open()
        #expect(other == client)
        #expect(servers.exchange(other, "ECHO x\r\n") == "$1·x·")
        servers.run(for: .seconds(1))
        #expect(servers.read(other) == "")
    }
}
