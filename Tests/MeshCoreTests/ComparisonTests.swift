import MeshWire
import Testing

@testable import MeshCore

/// Comparing what two neighbours know, after their digests have differed.
@Suite struct ComparisonTests {
    private func frame(_ message: Message) -> [UInt8] {
        var queue = ByteQueue()
        _ = queue.appendLinkFrame(message)
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    /// The words of a frame about members, if it has any.
    private func origins(in frame: [UInt8]) -> [OriginEntry]? {
        guard frame[4] == FrameKind.link.rawValue,
            case .origins(let entries, _, _) = try? Message.decode(
                frame.span, from: Frame.prefixSize, to: frame.count)
        else { return nil }
        return entries
    }

    @Test(arguments: [false, true])
    func `a member dead to one node and alive to another causes no endless news`(isReply: Bool) {
        let mesh = SmallMesh(3)
        mesh.attach("ann", at: 2)
        let member = mesh.hosts[0].node.members.index(of: mesh.hosts[2].node.id)!
        var dead = mesh.hosts[0].node.members[member].record
        dead.status = .dead
        var toldCount = 0
        mesh.judge = { from, to, frame in
            if from == 0, to == 1, origins(in: frame) != nil { toldCount += 1 }
            return .pass
        }
        mesh.inject(
            frame(
                .origins(
                    [OriginEntry(member: dead, sequence: 0, keyCount: 0, keySum: 0)], mask: 0,
                    isReply: isReply)), to: 0, from: 1)
        // Hearsay of a death is a suspicion, and no reason to say what the dead has.
        #expect(mesh.hosts[0].node.members.status(of: member) == .suspect)
        mesh.run(for: .milliseconds(20))
        #expect(toldCount == 0)
        mesh.run(for: .seconds(1))
        #expect(mesh.hosts[0].node.members.status(of: member) == .alive)
    }

    @Test func `a reply is not answered with what its sender knows to be behind`() {
        let mesh = SmallMesh(3)
        mesh.attach("ann", at: 2)
        mesh.run(for: .seconds(1))
        let member = mesh.hosts[0].node.members.index(of: mesh.hosts[2].node.id)!
        let known = mesh.hosts[0].node.members[member]
        #expect(known.log.sequence == 1)
        var toldCount = 0
        mesh.judge = { from, to, frame in
            if from == 0, to == 1, origins(in: frame) != nil { toldCount += 1 }
            return .pass
        }
        let behind = OriginEntry(member: known.record, sequence: 0, keyCount: 0, keySum: 0)
        mesh.inject(frame(.origins([behind], mask: 0, isReply: true)), to: 0, from: 1)
        mesh.run(for: .milliseconds(20))
        #expect(toldCount == 0)
        mesh.inject(frame(.origins([behind], mask: 0, isReply: false)), to: 0, from: 1)
        mesh.run(for: .milliseconds(20))
        #expect(toldCount == 1)
    }

    @Test func `a new status is told in short, and refuted in short`() {
        let mesh = SmallMesh(3)
        mesh.run(for: .seconds(1))
        let accused = mesh.hosts[2].node.id
        let member = mesh.hosts[0].node.members.index(of: accused)!
        let before = mesh.hosts[0].node.members.incarnation(of: member)
        var told: [StatusChange] = []
        var recordCount = 0
        mesh.judge = { _, _, frame in
            guard frame[4] == FrameKind.link.rawValue else { return .pass }
            switch try? Message.decode(frame.span, from: Frame.prefixSize, to: frame.count) {
            case .statuses(let changes): told += changes
            case .members(let records, isRepair: false): recordCount += records.count
            default: break
            }
            return .pass
        }
        var rumour = StatusChange(mesh.hosts[0].node.members[member].record)
        rumour.status = .suspect
        mesh.inject(frame(.statuses([rumour])), to: 0, from: 1)
        #expect(mesh.hosts[0].node.members.status(of: member) == .suspect)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.hosts[0].node.members.status(of: member) == .alive)
        #expect(mesh.hosts[0].node.members.incarnation(of: member) == before.next())
        #expect(told.contains { $0.id == accused && $0.status == .alive })
        // The accused itself is told by those who hear it.
        #expect(recordCount <= 2)
    }

    @Test func `a new status of another life, or of nobody known, is no news`() {
        let mesh = SmallMesh(3)
        mesh.run(for: .seconds(1))
        let member = mesh.hosts[0].node.members.index(of: mesh.hosts[2].node.id)!
        var other = StatusChange(mesh.hosts[0].node.members[member].record)
        other.incarnation ^= 1 << 16
        other.status = .dead
        let nobody = StatusChange(id: NodeID(99), incarnation: .max, status: .alive)
        mesh.inject(frame(.statuses([other, nobody])), to: 0, from: 1)
        #expect(mesh.hosts[0].node.members.status(of: member) == .alive)
        #expect(mesh.hosts[0].node.members.ring.count == 3)
    }

    @Test func `lists of links that change within a moment travel together`() {
        // Node 0 is linked with all; what its neighbours tell of themselves it passes on.
        let mesh = SmallMesh(8)
        mesh.run(for: .seconds(2))
        var frameCount = 0
        var listCount = 0
        mesh.judge = { from, to, frame in
            guard from == 0, to == 1, frame[4] == FrameKind.link.rawValue else { return .pass }
            switch try? Message.decode(frame.span, from: Frame.prefixSize, to: frame.count) {
            case .linkLists(let lists):
                frameCount += 1
                listCount += lists.count
            case .linkChanges(let changes):
                frameCount += 1
                listCount += changes.count
            default: break
            }
            return .pass
        }
        // Its neighbours lose a link each at once.
        mesh.crash(7)
        mesh.run(for: .milliseconds(45))
        #expect(listCount >= 6)
        #expect(frameCount <= 2)
    }
}
