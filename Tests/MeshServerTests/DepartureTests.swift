import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// A watcher that asks for details is told why a user has gone.
@Suite struct DepartureTests {
    private static func push(_ state: String, _ reason: String?) -> String {
        let map =
            reason.map { "*2·$6·reason·$\($0.utf8.count)·\($0)·" } ?? "*0·"
        return "*4·$8·presence·$3·bob·$\(state.utf8.count)·\(state)·" + map
    }

    /// Bob comes to the second server, and goes in some way; the watchers are at the first and the third.
    private static func reasons(
        _ commands: [String] = ["MESH.ATTACH bob"], after delay: Delay = .milliseconds(400),
        _ go: (Servers, ClientIndex) -> Void
    ) -> [String] {
        let servers = Servers(3)
        let watchers = [0, 2].map { ($0, servers.open($0)) }
        for (host, watcher) in watchers {
            #expect(servers.exchange(watcher, "MESH.DETAILS ON\r\n", host) == "+OK·")
            let answer = servers.exchange(watcher, "MESH.WATCH bob\r\n", host)
            #expect(answer.hasSuffix(push("offline", nil)))
        }
        let bob = servers.open(1)
        for command in commands { _ = servers.exchange(bob, command + "\r\n", 1) }
        servers.run(for: .milliseconds(100))
        for (host, watcher) in watchers {
            #expect(servers.read(watcher, host) == push("online", nil))
        }
        go(servers, bob)
        servers.run(for: delay)
        return watchers.map { servers.read($1, $0) }
    }

    private static func both(_ reason: String) -> [String] {
        [push("offline", reason), push("offline", reason)]
    }

    @Test func `a user that ends its last attachment quits`() {
        for command in ["MESH.DETACH bob", "MESH.DETACH", "RESET", "QUIT"] {
            let told = Self.reasons { servers, bob in
                _ = servers.exchange(bob, command + "\r\n", 1)
                // The node ends the connection then.
                if command == "QUIT" { _ = servers.close(bob, .inOrder, 1) }
            }
            #expect(told == Self.both("quit"), "\(command)")
        }
    }

    @Test func `one whose connection ends is lost, after its session's grace if it has one`() {
        let plain = Self.reasons { servers, bob in _ = servers.close(bob, .inOrder, 1) }
        #expect(plain == Self.both("lost"))
        let session = Self.reasons(["MESH.ATTACH bob SESSION"], after: .seconds(5)) {
            servers, bob in
            _ = servers.close(bob, .inOrder, 1)
        }
        #expect(session == ["", ""])
        let later = Self.reasons(["MESH.ATTACH bob SESSION"], after: .seconds(11)) {
            servers, bob in
            _ = servers.close(bob, .inOrder, 1)
        }
        #expect(later == Self.both("lost"))
    }

    @Test func `one that is ended by another is kicked, also while its session waits`() {
        let told = Self.reasons { servers, _ in
            let teller = servers.open(0)
            #expect(servers.exchange(teller, "MESH.KICK bob\r\n", 0) == ":1·")
        }
        #expect(told == Self.both("kicked"))
        let waiting = Self.reasons(["MESH.ATTACH bob SESSION"]) { servers, bob in
            _ = servers.close(bob, .inOrder, 1)
            servers.run(for: .milliseconds(50))
            let teller = servers.open(0)
            #expect(servers.exchange(teller, "MESH.KICK bob\r\n", 0) == ":1·")
        }
        #expect(waiting == Self.both("kicked"))
    }

    @Test func `one whose node dies, or leaves, goes with it`() {
        let died = Self.reasons(after: .seconds(8)) { servers, _ in servers.mesh.crash(1) }
        #expect(died == Self.both("node"))
    }

    /// The reason is that of the last one: it is the user who has gone.
    @Test func `of several attachments the last one says why`() {
        let told = Self.reasons { servers, bob in
            let other = servers.open(2)
            _ = servers.exchange(other, "MESH.ATTACH bob\r\n", 2)
            servers.run(for: .milliseconds(50))
            _ = servers.close(bob, .inOrder, 1)
            servers.run(for: .milliseconds(400))
            _ = servers.exchange(other, "MESH.DETACH bob\r\n", 2)
        }
        #expect(told == Self.both("quit"))
    }

    @Test func `a watcher that has not asked gets what it always got`() {
        let servers = Servers(1)
        let watcher = servers.open()
        let bob = servers.open()
        _ = servers.exchange(watcher, "MESH.WATCH bob\r\n")
        _ = servers.exchange(bob, "MESH.ATTACH bob\r\n")
        #expect(servers.read(watcher) == "*3·$8·presence·$3·bob·$6·online·")
        _ = servers.exchange(bob, "MESH.DETACH bob\r\n")
        servers.run(for: .milliseconds(400))
        #expect(servers.read(watcher) == "*3·$8·presence·$3·bob·$7·offline·")
    }

    @Test func `a reason costs no byte`() {
        for operation: DirectoryRecord.Operation in [.removeKey, .loseKey, .kickKey] {
            #expect(DirectoryRecord.Operation(rawValue: operation.rawValue) == operation)
        }
        #expect(DirectoryRecord.Operation(rawValue: 4) == .loseKey)
        #expect(DirectoryRecord.Operation(rawValue: 5) == .kickKey)
    }
}
