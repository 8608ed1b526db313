import MeshWire
import Testing

@testable import MeshCore
import MeshDriver
@testable import MeshGateway

/// A node that leaves: its clients, and their sessions, go elsewhere.
@Suite struct LeavingNodeTests {
    @Test func `a node that leaves tells clients where to go and hands over what is left`() {
        var pair = Pair()
        let mover = pair.here.open(3)
        let sleeper = pair.here.open()
        let plain = pair.here.open()
        _ = pair.here.exchange(mover, "MESH.MOVES ON\r\n")
        let old = sessionToken(pair.here.exchange(sleeper, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.gateway.hub.beginDrain(.seconds(2), longest: .seconds(30), at: pair.here.now)
        pair.settle()
        pair.pass(.milliseconds(1_000))
        let told = pair.here.read(mover)
        #expect(told.hasPrefix(">3·$5·moved·$13·10.0.0.2:7379·:"))
        let left = Int(told.dropLast().split(separator: ":").last ?? "")
        #expect(left.map { (1_000...2_000).contains($0) } == true)
        let toldToo = pair.here.read(sleeper)
        #expect(toldToo.hasPrefix("*3·$5·moved·$13·10.0.0.2:7379·:"))
        let late = pair.here.exchange(plain, "MESH.ATTACH bob\r\n")
        #expect(late == "-DRAINING this node is leaving: attach at 10.0.0.2:7379·")
        pair.pass(.milliseconds(1_000))
        #expect(pair.here.ended == [mover, sleeper, plain])
        pair.here.deliver(.user, "ann", "a")
        for client in [mover, sleeper, plain] { pair.here.close(client) }
        pair.pass(.milliseconds(10))
        pair.pass(.milliseconds(10))
        pair.here.deliver(.user, "ann", "b")
        let early = pair.here.gateway.hub.hasMovedAll
        #expect(!early)
        pair.pass(.milliseconds(300))
        let hasMovedAll = pair.here.gateway.hub.hasMovedAll
        #expect(hasMovedAll)
        pair.here.gateway.hub.endMoves()
        pair.settle()
        let isDrained = pair.here.gateway.hub.isDrained
        #expect(isDrained)
        let back = pair.there.open()
        let reply = pair.there.exchange(back, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(reply.hasSuffix("·" + message("a") + message("b")))
    }

    @Test func `a loopback address of another machine is told to no client`() {
        func said(_ told: String, _ sharesMachine: Bool) -> String? {
            ClientAddress.read(Array(told.utf8), sharesMachine: sharesMachine).map { $0 ?? "" }
        }
        for address in [
            "10.0.0.2:7379", "mesh-1.db:7379", "[2001:db8::1]:7379", "[1::]:7379",
            "127.example:7379", "1.127.0.0:7379", "localhost.example:7379", "nonsense",
        ] {
            #expect(said(address, false) == address)
            #expect(said(address, true) == address)
        }
        for address in [
            "127.0.0.1:7379", "127.9.9.9:1", "LocalHost:7379", "a.localhost.:7379", "[::1]:7379",
            "[0:0:0:0:0:0:0:1]:7379", "[::ffff:127.0.0.1]:7379", "0.0.0.0:7379", "[::]:7379",
            "127.1:7379", "0:7379",
        ] {
            #expect(said(address, false) == "", "\(address)")
            #expect(said(address, true) == address)
        }
        #expect(said("\0", false) == "")
        for malformed in ["", " ", "\0\0", "a b:1", String(repeating: "1", count: 65)] {
            #expect(said(malformed, true) == nil)
        }
    }

    @Test func `sessions go to a node without an address to tell, and clients are told none`() {
        var pair = Pair()
        pair.there.gateway.hub.clientAddress = nil
        let sleeper = pair.here.open()
        let plain = pair.here.open()
        let old = sessionToken(pair.here.exchange(sleeper, "MESH.ATTACH ann SESSION\r\n"))
        pair.here.gateway.hub.beginDrain(.seconds(2), longest: .seconds(30), at: pair.here.now)
        pair.settle()
        pair.pass(.milliseconds(1_000))
        #expect(pair.here.read(sleeper).hasPrefix("*3·$5·moved·$0··:"))
        let late = pair.here.exchange(plain, "MESH.ATTACH bob\r\n")
        #expect(late == "-DRAINING this node is leaving: attach at another·")
        pair.here.close(sleeper)
        pair.pass(.milliseconds(1_000))
        pair.here.deliver(.user, "ann", "a")
        pair.pass(.milliseconds(300))
        let back = pair.there.open()
        let reply = pair.there.exchange(back, "MESH.ATTACH ann RESUME \(old)\r\n")
        #expect(reply.hasSuffix("·" + message("a")))
    }

    @Test func `a node with nobody to go to, or nobody to send, has nothing to wait for`() {
        var pair = Pair()
        let client = pair.here.open()
        pair.there.leave()
        pair.here.leave()
        // From here there is nowhere to go: the client is ended at once.
        pair.settle()
        #expect(pair.here.ended == [client])
        pair.here.close(client)
        let isDrained = pair.here.gateway.hub.isDrained
        #expect(isDrained)
        // From there nobody had to be sent anywhere. Neither waits longer.
        pair.pass(.milliseconds(500))
        let areUp = [0, 1].map { pair.here.shared.mesh.hosts[$0].isUp }
        #expect(areUp == [false, false])
    }
}
