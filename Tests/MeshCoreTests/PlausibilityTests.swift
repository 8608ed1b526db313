import MeshWire
import Testing

@testable import MeshCore

/// A lie about a node's birth and refutations goes no further than the node can outbid, whenever it and those
/// that believe it were started; and a node that has stood still meanwhile comes back.
@Suite(.timeLimit(.minutes(15))) struct PlausibilityTests {
    private static let day: UInt64 = 86_400_000

    private func claim(
        _ mesh: SmallMesh, about record: MemberRecord, life: UInt64, refutations: UInt64,
        _ status: MemberStatus, to host: Int
    ) {
        var claim = record
        claim.incarnation = Incarnation(life << 16 | refutations)
        claim.status = status
        mesh.inject(.members([claim], isRepair: false), to: host, from: 1)
    }

    /// The wall clock of a host, as it counts.
    private func wall(_ mesh: SmallMesh, _ host: Int) -> UInt64 {
        let uptime = (mesh.now - mesh.hosts[host].node.join.startedAt).milliseconds
        return mesh.hosts[host].node.bootMilliseconds + UInt64(uptime)
    }

    @Test func `a member that has only just been born is not believed further than it can say`() {
        let mesh = SmallMesh(3)
        let start = mesh.hosts[0].node.join.startedAt
        // For a month this node has been up.
        mesh.hosts[0].node.join.startedAt = start - .seconds(30 * 86_400)
        let born = wall(mesh, 0)
        var young = mesh.record(2)
        young.id = NodeID(70)
        young.endpoint = Endpoint(ipv4: 70, port: 7)
        claim(mesh, about: young, life: born, refutations: 0, .alive, to: 0)
        #expect(mesh.hosts[0].node.members.index(of: young.id) != nil)
        for (life, isBelieved) in [
            (born + Self.day - 1, true), (born + Self.day + 1, false),
            (born + 25 * Self.day, false),
        ] {
            let isPlausible = mesh.hosts[0].node.isPlausible(
                Incarnation(life << 16 | 0xFFFF), of: young.id)
            #expect(isPlausible == isBelieved, "\(life - born)")
        }
    }

    @Test func `lies that build on each other come no further than one alone`() {
        let mesh = SmallMesh(4)
        let victim = mesh.record(3)
        var most: UInt64 = 0
        for step in 1...40 as ClosedRange<UInt64> {
            let life = victim.incarnation.life + step * (Self.day - 5_000)
            for host in [0, 2] {
                claim(mesh, about: victim, life: life, refutations: 9, .alive, to: host)
            }
            mesh.run(for: .milliseconds(200))
            for host in 0..<4 {
                let node = mesh.hosts[host].node.members.index(of: victim.id)
                let known = node.map { mesh.hosts[host].node.members.incarnation(of: $0).life }
                most = max(most, known ?? 0)
            }
        }
        #expect(most < wall(mesh, 0) + Self.day)
        #expect(most > victim.incarnation.life)
        mesh.attach("ann", at: 3)
        mesh.run(for: .seconds(2))
        for host in [0, 1, 2] { #expect(mesh.send([1], from: host, to: "ann") == 1) }
    }

    /// Births beside the bound, those of the future, and refutations that are used up.
    @Test(
        arguments: [
            (0, 0xFFFF), (1, 0), (60_000, 0xFFFF), (86_300_000, 0xFFFF), (90_000_000, 0),
            (90_000_000, 0xFFFF),
        ] as [(UInt64, UInt64)])
    func `a node that has stood still comes back, whatever was said meanwhile`(
        later: UInt64, refutations: UInt64
    ) {
        let mesh = SmallMesh(4)
        mesh.attach("ann", at: 3)
        let victim = mesh.record(3)
        mesh.freeze(3)
        mesh.run(for: .seconds(2))
        for round in 0..<5 as Range<UInt64> {
            for status in [.alive, .suspect, .dead] as [MemberStatus] {
                for host in [0, 2] {
                    claim(
                        mesh, about: victim,
                        life: victim.incarnation.life + later * (round + 1) / 5,
                        refutations: refutations, status, to: host)
                }
                mesh.run(for: .milliseconds(500))
            }
        }
        for host in [0, 2] {
            let index = mesh.hosts[host].node.members.index(of: victim.id)
            let status = index.map { mesh.hosts[host].node.members.status(of: $0) }
            #expect(status == .dead)
        }
        mesh.thaw(3)
        mesh.run(for: .seconds(5))
        for host in 0..<4 { #expect(mesh.memberCount(at: host) == 4, "\(host)") }
        for host in 0..<3 { #expect(mesh.send([1], from: host, to: "ann") == 1, "\(host)") }
    }

    /// Over the connection that the accused has dialled, at the highest that is believed, and again.
    @Test func `an address that goes on refusing as dead is dialled again once a second`() throws {
        let mesh = SmallMesh(3)
        var refusedCount = 0
        mesh.judge = { from, to, frame in
            if from == 0, to == 2, frame[4] == FrameKind.link.rawValue,
                frame[8] == Message.Number.hello.rawValue
            {
                return .drop
            }
            return .pass
        }
        mesh.reset(0, 2)
        let end = mesh.now + .seconds(5)
        while mesh.now < end {
            mesh.run(for: .milliseconds(1))
            for slot in 0..<mesh.hosts[0].wires.count {
                let link = LinkIndex(slot)
                guard mesh.hosts[0].node.links[link].state == .greeting else { continue }
                refusedCount += 1
                let incarnation = mesh.hosts[0].node.incarnation
                mesh.handle(
                    0, try Self.event(.refuse(.dead, holder: NodeID(0), incarnation), over: link),
                    Self.bytes(.refuse(.dead, holder: NodeID(0), incarnation)))
            }
        }
        #expect(refusedCount >= 2)
        #expect(refusedCount < 30)
        #expect(mesh.hosts[0].node.incarnation.life == mesh.hosts[0].node.bootMilliseconds)
        for host in 0..<3 { #expect(mesh.memberCount(at: host) == 3) }
    }

    private static func bytes(_ message: Message) -> [UInt8] {
        var bytes = ByteQueue()
        _ = bytes.appendLinkFrame(message)
        return bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    private static func event(_ message: Message, over link: LinkIndex) throws -> Event {
        var needed = 0
        let prefix = try FramePrefix.read(bytes(message).span, at: 0, needed: &needed)
        return .received(try #require(prefix), start: 0, from: link)
    }
}
