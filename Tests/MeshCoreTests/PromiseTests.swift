import MeshWire
import Testing

@testable import MeshCore

/// The words of a message that keep it from going in a loop, true or forged.
@Suite struct PromiseTests {
    @Test
    func `two bits tell from which side a message comes, and the rest orders as it always did`() {
        for low in 0..<16 as Range<UInt32> {
            let side = Potential.side(0xABC0 | low)
            #expect(side == (low >> 2 == 1 ? .before : low >> 2 == 2 ? .after : nil))
            #expect(Potential.isOneSided(0xABC0 | low) == (side != nil))
        }
        #expect(!Potential.isOneSided(.max))
        for side in [nil, .before, .after] as [Side?] {
            let far = Potential.make(distance: .max, steps: 3, from: side)
            let near = Potential.make(distance: 5 << 36, steps: 1, from: side)
            #expect(Potential.side(far) == side && Potential.side(near) == side)
            #expect(Potential.side(near - 1) == side)
            #expect(near - 1 < near)
            #expect(near < Potential.make(distance: 5 << 36, steps: 2, from: side))
            #expect(Potential.make(distance: 5 << 36, steps: 3, from: side) < far)
            #expect(Potential.make(distance: 4 << 36, steps: 3, from: side) < near)
        }
    }

    @Test func `from one side the distance is the way round that does not pass the destination`() {
        let here = NodeID(10)
        #expect(here.distance(to: NodeID(13), from: nil) == 3)
        #expect(here.distance(to: NodeID(13), from: .before) == 3)
        #expect(here.distance(to: NodeID(13), from: .after) == UInt64.max - 2)
        #expect(here.distance(to: here, from: .before) == 0)
        #expect(here.distance(to: here, from: .after) == 0)
    }

    private struct Passage {
        var to: Int
        var hopsLeft: UInt8
        var isStrict: Bool
        var potential: UInt32
    }

    /// A message to a user in no flow, with any potential, as a liar would begin it.
    private func forged(
        _ mesh: SmallMesh, to destination: NodeID, potential: UInt32, _ flags: FrameFlags
    ) -> [UInt8] {
        var queue = ByteQueue()
        queue.appendRoutedHeader(
            length: Frame.routedHeaderSize + Frame.destinationSize, flags.union(.volatile),
            hopsLeft: 255, body: RoutedBody.user.rawValue, origin: mesh.hosts[1].node.id,
            key: mesh.key("ann"), destinationCount: 1, number: 1, nameLength: 0, hopsTaken: 0)
        queue.append(Destination(id: destination, sequence: 0, potential: potential))
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    @Test(arguments: [FrameFlags(), .strictlyGreedy])
    func `a message comes nearer at each hop whatever potential is claimed`(
        flags: FrameFlags
    ) {
        let mesh = SmallMesh(7) { $0.degree = 4 }
        var passages: [Passage] = []
        mesh.judge = { _, to, frame in
            guard frame[4] == FrameKind.routed.rawValue, frame[7] == RoutedBody.user.rawValue
            else { return .pass }
            passages.append(
                Passage(
                    to: to, hopsLeft: frame[6],
                    isStrict: FrameFlags(rawValue: frame[5]).contains(.strictlyGreedy),
                    potential: Destination.read(frame.span, frame: 0, index: 0).potential))
            return .pass
        }
        var turnedCount = 0
        for destination in 1..<7 {
            for distance in [0, 1 << 24, 1 << 26, 0xFFF_FFFF] as [UInt32] {
                for low in 0..<16 as Range<UInt32> {
                    passages = []
                    mesh.forget()
                    let potential = distance << 4 | low
                    mesh.inject(
                        forged(
                            mesh, to: mesh.hosts[destination].node.id, potential: potential, flags),
                        to: 0, from: 1)
                    mesh.run(for: .milliseconds(20))
                    #expect(mesh.deliveries.count <= 1)
                    #expect(passages.count <= 7)
                    #expect(passages.first?.hopsLeft ?? Frame.hopLimit - 1 == Frame.hopLimit - 1)
                    var side = Potential.side(potential)
                    var last = potential
                    for passage in passages {
                        let next = Potential.side(passage.potential)
                        #expect(side == nil || next == side)
                        if side != nil { turnedCount += 1 }
                        if next == side, !passage.isStrict { #expect(passage.potential < last) }
                        (side, last) = (next, passage.potential)
                    }
                    for (one, other) in zip(passages, passages.dropFirst()) {
                        #expect(other.hopsLeft == one.hopsLeft - 1)
                    }
                }
            }
        }
        #expect(turnedCount > 50)
        for host in 0..<7 { #expect(mesh.hosts[host].node.counters[.droppedHopLimit] == 0) }
    }

    /// A forwarder that has just lost its link to the destination accuses it; others still send there.
    @Test func `a node that its watchers accuse is not looked for on the other side`() {
        let mesh = SmallMesh(7) { $0.degree = 4 }
        mesh.attach("ann", at: 3)
        var passageCount = 0
        var turnedCount = 0
        mesh.judge = { _, _, frame in
            guard frame[4] == FrameKind.routed.rawValue, frame[7] == RoutedBody.user.rawValue
            else { return .pass }
            passageCount += 1
            let potential = Destination.read(frame.span, frame: 0, index: 0).potential
            if Potential.isOneSided(potential) { turnedCount += 1 }
            return .pass
        }
        mesh.crash(3)
        for _ in 0..<20 {
            for host in 0..<7 where host != 3 {
                mesh.send([1], from: host, to: "ann", isVolatile: true)
            }
            mesh.run(for: .microseconds(200))
        }
        #expect(passageCount > 20)
        // Some while those that have lost their link dial again; 80 if they went on after that.
        #expect(turnedCount < 30)
    }
}
