import MeshWire
import Testing

@testable import MeshCore

/// Two names of one key. Finding two takes 2^24 tries, so the tests say that they share one.
@Suite struct KeyCollisionTests {
    private let mesh = SmallMesh(3)

    /// Sends to a name under the key of `ann`, who is at the second node.
    private func send(to name: String) -> Int {
        let bytes = Array(name.utf8)
        let count = mesh.publish(
            0,
            OutgoingMessage(
                .user, mesh.key("ann"), name: Slice(start: 0, count: bytes.count),
                payload: .empty, sender: 0, isVolatile: false), bytes)
        mesh.run(for: .milliseconds(50))
        return count
    }

    /// The second node's driver has found nobody of that name.
    private func disown(_ name: String) {
        let bytes = Array(name.utf8)
        mesh.handle(
            1,
            .wrongName(
                .user, mesh.key("ann"), name: Slice(start: 0, count: bytes.count),
                from: mesh.hosts[0].node.id), bytes)
        mesh.run(for: .milliseconds(50))
    }

    @Test func `a node that has another name of the same key is left out once it has said so`() {
        mesh.attach("ann", at: 1)
        #expect(send(to: "bob") == 1)
        disown("bob")
        #expect(mesh.hosts[1].node.counters[.keyCollisions] == 1)
        mesh.forget()
        #expect(send(to: "bob") == 0)
        #expect(mesh.deliveries.isEmpty)
        #expect(send(to: "ann") == 1)
        #expect(mesh.payloads(at: 1).count == 1)
    }

    @Test func `others who hold the key still get the message`() {
        mesh.attach("ann", at: 1)
        mesh.attach("ann", at: 2)
        #expect(send(to: "bob") == 2)
        disown("bob")
        mesh.forget()
        #expect(send(to: "bob") == 1)
        #expect(mesh.payloads(at: 1).isEmpty)
        #expect(mesh.payloads(at: 2).count == 1)
    }

    @Test func `a node that means another user is not told of as the user's place`() {
        mesh.attach("ann", at: 1)
        mesh.attach("ann", at: 2)
        disown("bob")
        let key = mesh.key("ann")
        func places(_ host: Int, _ name: String, isHere: Bool = false) -> Set<NodeID> {
            let bytes = Array(name.utf8)
            let digest = mesh.hasher.nameDigest(.user, bytes.span, 0, bytes.count)
            let places = mesh.hosts[host].node.holders(of: key, name: digest, isHere: isHere)
            let isHeld = mesh.hosts[host].node.hasHolder(key, name: digest, isHere: isHere)
            #expect(isHeld == !places.isEmpty)
            return Set(places)
        }
        let ids = mesh.ids(0..<mesh.hosts.count)
        #expect(places(0, "ann") == [ids[1], ids[2]])
        #expect(places(0, "bob") == [ids[2]])
        mesh.detach("ann", at: 2)
        #expect(places(0, "bob") == [])
        #expect(places(0, "ann") == [ids[1]])
        // The names of its own clients a node knows as they are.
        #expect(places(1, "bob") == [])
        #expect(places(1, "ann", isHere: true) == [ids[1]])
    }

    @Test func `the name comes to be there, and the key is told again`() {
        mesh.attach("ann", at: 1)
        disown("bob")
        #expect(send(to: "bob") == 0)
        mesh.attach("ann", at: 1)
        #expect(send(to: "bob") == 1)
        let digests = Set((0..<mesh.hosts.count).map { mesh.hosts[$0].node.stateDigest })
        #expect(digests.count == 1)
    }

    @Test func `a node's statement is void once its log has gone on`() {
        mesh.attach("ann", at: 1)
        let bytes = Array("bob".utf8)
        mesh.handle(
            1,
            .wrongName(
                .user, mesh.key("ann"), name: Slice(start: 0, count: 3),
                from: mesh.hosts[0].node.id), bytes)
        // Told before, and known before what was said came: bob may be there now.
        mesh.hosts[0].node.receivedWrongName(
            mesh.key("ann"), name: 1, sequence: 0, from: mesh.hosts[1].node.id)
        #expect(mesh.hosts[0].node.directory.collisions.isEmpty)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.hosts[0].node.directory.collisions.count == 1)
    }

    @Test
    func
        `a node that does not hold the key has nothing to say of it, and one that dies is forgotten`()
    {
        mesh.attach("ann", at: 1)
        let key = mesh.key("ann")
        mesh.hosts[0].node.receivedWrongName(
            key, name: 1, sequence: .max, from: mesh.hosts[2].node.id)
        mesh.hosts[0].node.receivedWrongName(key, name: 1, sequence: .max, from: NodeID(77))
        #expect(mesh.hosts[0].node.directory.collisions.isEmpty)
        disown("bob")
        #expect(mesh.hosts[0].node.directory.collisions.count == 1)
        mesh.crash(1)
        mesh.run(for: .seconds(6))
        #expect(mesh.hosts[0].node.directory.collisions.isEmpty)
    }

    @Test func `a bounded number of pairs is remembered, the latest`() {
        var keyCollisions = KeyCollisions()
        let total = KeyCollisions.countMax * 3
        for number in 0..<total {
            keyCollisions.insert(Key(UInt64(number)), name: 5, at: NodeID(9))
            if number % 3 == 0 { keyCollisions.forget(Key(UInt64(number)), at: NodeID(9)) }
        }
        #expect(keyCollisions.count <= KeyCollisions.countMax)
        #expect(keyCollisions.contains(Key(UInt64(total - 1)), name: 5, at: NodeID(9)))
        #expect(!keyCollisions.mayHave(Key(1)))
        keyCollisions.forget(at: NodeID(9))
        #expect(keyCollisions.isEmpty)
    }

    @Test func `a node that means another channel by a key gets what its pattern matches`() {
        let key = mesh.hasher.key(.channel, Array("ann".utf8))
        let pattern = Array("b*".utf8)
        mesh.handle(1, .directory(key, .add))
        mesh.handle(
            1,
            .pattern(
                mesh.hasher.key(.pattern, pattern),
                name: Slice(start: 0, count: pattern.count), .add), pattern)
        mesh.run(for: .milliseconds(50))
        for (name, expected) in [("bob", 1), ("cid", 0)] {
            let bytes = Array(name.utf8)
            let slice = Slice(start: 0, count: bytes.count)
            let message = OutgoingMessage(.channel, key, name: slice, payload: .empty)
            #expect(mesh.publish(0, message, bytes) == 1)
            mesh.handle(
                1, .wrongName(.channel, key, name: slice, from: mesh.hosts[0].node.id), bytes)
            mesh.run(for: .milliseconds(50))
            #expect(mesh.publish(0, message, bytes) == expected, "\(name)")
        }
    }
}
