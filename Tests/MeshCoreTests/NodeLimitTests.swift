import MeshDriver
import MeshWire
import Testing

@testable import MeshCore
@testable import MeshServer

/// Bounds of what a node keeps: one below each bound, at it, and one beyond, as its clients and peers see it:
/// by what is taken, held and delivered. The numbers are those of the documentation (`FlowLimits`, Flows,
/// Directory); in the window a message counts with 32 bytes besides its name and its payload, 64 where it
/// waits for an earlier one, 48 where it waits for a user.
@Suite struct NodeLimitTests {
    private func payload(_ count: Int) -> [UInt8] { [UInt8](repeating: 1, count: count) }

    /// Nothing is acknowledged.
    private func silence(_ mesh: SmallMesh) {
        mesh.judge = { _, _, frame in classify(frame) == .acknowledge ? .drop : .pass }
    }

    // MARK: Windows

    @Test
    func `a flow has room for ten messages, for ten more of a publisher that goes on, and no more`()
    {
        let mesh = SmallMesh(3) { $0.flows.windowCount = 10 }
        mesh.attach("bob", at: 1)
        mesh.attach("cid", at: 2)
        mesh.forget()
        silence(mesh)
        for number in 1...21 {
            let count = mesh.send([1], from: 0, to: "bob", sender: 4)
            #expect((mesh.congestion == nil) == (number <= 10), "message \(number)")
            #expect(count == (number <= 20 ? 1 : 0), "message \(number)")
        }
        #expect(mesh.reports == [.init(host: 0, sender: 4, count: 1, name: "bob")])
        // The window is one flow's.
        #expect(mesh.send([1], from: 0, to: "cid") == 1)
        #expect(mesh.congestion == nil)
    }

    @Test(arguments: [4, 5, 6])
    func `half of a full window relieves`(left: Int) {
        let mesh = pairWithBob { $0.flows.windowCount = 10 }
        silence(mesh)
        for _ in 1...11 { mesh.send([1], from: 0, to: "bob") }
        #expect(mesh.uncongestedCount == 0)
        mesh.run(for: .milliseconds(15))
        // The words of bob's node, forged: all but so many have come.
        mesh.inject(
            acknowledgement(UInt32(11 - left), from: mesh.hosts[1].node.id, mesh), to: 0, from: 1)
        #expect(mesh.uncongestedCount == (left <= 5 ? 1 : 0))
    }

    private func acknowledgement(_ last: UInt32, from origin: NodeID, _ mesh: SmallMesh) -> [UInt8]
    {
        var queue = ByteQueue()
        queue.appendRoutedHeader(
            length: 0, [], hopsLeft: 3, body: RoutedBody.control.rawValue, origin: origin,
            key: Key(0), destinationCount: 1, number: 0, nameLength: 0, hopsTaken: 0)
        queue.append(Destination(id: mesh.hosts[0].node.id, sequence: 0, potential: 0))
        queue.append(.acknowledge(Acknowledgement(cumulative: last, missing: 0)))
        queue.overwrite(integer: UInt32(queue.count), at: 0)
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    /// 64 KiB are 64 messages of 1,024 bytes each: 32, a name of three, and 989.
    @Test(arguments: [(988, 64), (989, 64), (990, 63)])
    func `a window of 64 KiB counts names, payloads and 32 bytes a message`(size: Int, room: Int) {
        let mesh = pairWithBob { $0.flows.windowBytes = 65_536 }
        silence(mesh)
        var free = 0
        while mesh.reports.isEmpty, free < 200 {
            mesh.send(payload(size), from: 0, to: "bob", sender: 4)
            if mesh.congestion == nil { free += 1 }
        }
        #expect(free == room)
        // Twice as many bytes are taken.
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(3))
        #expect(mesh.payloads(at: 1).count == 2 * 65_536 / (size + 35))
    }

    /// Of all flows together: half of the messages go to another node.
    @Test func `all flows keep 64 messages of a kibibyte, and as many again of one that goes on`() {
        let mesh = SmallMesh(3) { $0.flows.totalBytes = 65_536 }
        mesh.attach("bob", at: 1)
        mesh.attach("cid", at: 2)
        mesh.forget()
        silence(mesh)
        var taken = 0
        for number in 1...140 {
            let user = number.isMultiple(of: 2) ? "bob" : "cid"
            taken += mesh.send(payload(989), from: 0, to: user, sender: 4)
            #expect((mesh.congestion == nil) == (number <= 64), "message \(number)")
        }
        // Above twice the bound nothing is taken; the one that comes to lie above it is.
        #expect(taken == 129)
        #expect(mesh.reports.count == 11)
    }

    // MARK: Behind a gap

    /// The first message is lost, and then comes alone: with it come those that have waited.
    private func waiting(
        _ mesh: SmallMesh, from origins: [Int], messages: Int, size: Int
    ) -> [Int] {
        var isLost = true
        mesh.judge = { _, _, frame in
            guard case .message(let sequence) = classify(frame) else { return .pass }
            return (sequence == 1) == isLost ? .drop : .pass
        }
        for origin in origins {
            for _ in 0..<messages { mesh.send(payload(size), from: origin, to: "bob") }
            mesh.run(for: .milliseconds(2))
        }
        #expect(mesh.payloads(at: 1) == [])
        isLost = false
        // Long enough to ask for the first, not for those that were dropped.
        var counts: [Int] = []
        for _ in origins {
            let before = mesh.payloads(at: 1).count
            mesh.run(for: .milliseconds(50))
            counts.append(mesh.payloads(at: 1).count - before)
        }
        return counts
    }

    @Test(arguments: [(8, 7, 8), (8, 8, 8), (8, 9, 8), (8, 12, 8)])
    func `behind a gap eight places are kept, the missing one's among them`(
        places: Int, messages: Int, delivered: Int
    ) {
        let mesh = pairWithBob { $0.flows.reorderCount = places }
        let counts = waiting(mesh, from: [0], messages: messages, size: 1)
        #expect(counts == [min(messages, delivered)])
    }

    /// A hundred bytes each: 64, a name of three, and 33.
    @Test(arguments: [(299, 2), (300, 3), (399, 3), (400, 4)])
    func `behind a gap as many bytes are kept as a flow may have`(bytes: Int, kept: Int) {
        let mesh = pairWithBob { $0.flows.reorderBytes = bytes }
        let counts = waiting(mesh, from: [0], messages: 10, size: 33)
        #expect(counts == [1 + kept])
    }

    @Test(arguments: [(499, 4), (500, 5), (501, 5)])
    func `behind gaps of two flows as many bytes are kept as all may have`(bytes: Int, kept: Int) {
        let mesh = SmallMesh(3) {
            $0.flows.reorderBytes = 300
            $0.flows.reorderTotalBytes = bytes
        }
        mesh.attach("bob", at: 1)
        mesh.forget()
        let counts = waiting(mesh, from: [0, 2], messages: 10, size: 33)
        // The first of each, and those that have waited for it.
        #expect(counts.reduce(0, +) == 2 + kept)
    }
}

/// Messages that wait for users whose node is gone, and connections.
extension NodeLimitTests {
    private func widowed(_ configure: (inout Configuration) -> Void) -> SmallMesh {
        let mesh = SmallMesh(3, configure: configure)
        for user in ["bob", "cid", "dan"] { mesh.attach(user, at: 1) }
        mesh.crash(1)
        mesh.run(for: .seconds(1))
        mesh.forget()
        return mesh
    }

    /// The messages that were held, by what comes when the users are somewhere again.
    private func held(_ mesh: SmallMesh, _ users: String...) -> [Int] {
        users.map { user in
            let before = mesh.payloads(at: 2).count
            mesh.attach(user, at: 2)
            return mesh.payloads(at: 2).count - before
        }
    }

    @Test func `for one user ten messages wait, for another ten more`() {
        let mesh = widowed { $0.flows.parkedCount = 10 }
        for number in 1...11 {
            mesh.send([1], from: 0, to: "bob", sender: 4)
            #expect(mesh.isHeld == (number <= 10))
        }
        for _ in 1...9 { mesh.send([1], from: 0, to: "cid") }
        #expect(mesh.reports.count == 1)
        #expect(held(mesh, "bob", "cid") == [10, 9])
    }

    /// A hundred bytes each: 48, a name of three, and 49.
    @Test(arguments: [(299, 2), (300, 3), (301, 3)])
    func `for one user so many bytes wait`(bytes: Int, kept: Int) {
        let mesh = widowed { $0.flows.parkedBytes = bytes }
        for _ in 1...5 { mesh.send(payload(49), from: 0, to: "bob", sender: 4) }
        mesh.send(payload(49), from: 0, to: "cid", sender: 4)
        #expect(mesh.reports.count == 5 - kept)
        #expect(held(mesh, "bob", "cid") == [kept, 1])
    }

    @Test(arguments: [(499, 4), (500, 5), (501, 5)])
    func `for all users together so many bytes wait`(bytes: Int, kept: Int) {
        let mesh = widowed { $0.flows.parkedTotalBytes = bytes }
        for number in 1...6 {
            mesh.send(payload(49), from: 0, to: number % 2 == 0 ? "bob" : "cid", sender: 4)
        }
        #expect(mesh.reports.count == 6 - kept)
        #expect(held(mesh, "bob", "cid").reduce(0, +) == kept)
    }

    @Test(arguments: [1, 2, 3, 4])
    func `so many users whose node is gone are remembered`(count: Int) {
        let mesh = widowed { $0.flows.rememberedUserCount = count }
        var heldCount = 0
        for user in ["bob", "cid", "dan"] {
            mesh.send([1], from: 0, to: user)
            if mesh.isHeld { heldCount += 1 }
        }
        #expect(heldCount == min(3, count))
    }

    /// Ten seconds; the death of the node takes some milliseconds to be known.
    @Test(arguments: [(8_900, 1), (9_100, 0)])
    func `a message waits ten seconds for its user`(milliseconds: Int64, delivered: Int) {
        let mesh = widowed { _ in }
        mesh.send([1], from: 0, to: "bob", sender: 4)
        mesh.run(for: .milliseconds(milliseconds))
        #expect(mesh.reports.count == 1 - delivered)
        #expect(held(mesh, "bob") == [delivered])
    }

    /// Whatever the degree, 64 places are for greetings; the other slots are for the degree's links, and as
    /// many under way.
    @Test(arguments: [(4, 72), (16, 96), (64, 192)])
    func `a node takes so many connections at once that have not greeted`(
        degree: Int, slots: Int
    ) {
        let mesh = SmallMesh(1) { $0.degree = degree }
        var effects = EffectBuffer()
        for _ in 0..<slots * 2 {
            let link = mesh.hosts[0].node.acceptLink(at: mesh.now, into: &effects)
            #expect(link != nil)
        }
        let indices = mesh.hosts[0].node.links.indices
        let awaiting = indices.count { mesh.hosts[0].node.links[$0].state == .awaiting }
        #expect(awaiting == 64)
        #expect(mesh.hosts[0].node.counters[.greetingsDisplaced] == UInt64(slots * 2 - 64))
        #expect(mesh.hosts[0].node.configuration.linkSlotCount == slots)
    }
}
