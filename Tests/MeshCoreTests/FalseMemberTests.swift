import MeshWire
import Testing

@testable import MeshCore

/// A member tells of thousands that are not there.
@Suite(.timeLimit(.minutes(15))) struct FalseMemberTests {
    /// Three nodes, and what one of them is told.
    private func flooded(with count: Int) -> SmallMesh {
        let mesh = SmallMesh(3)
        mesh.run(for: .seconds(6))
        var random = RandomSource(seed: 5)
        for _ in 0..<(count / 200) {
            let records = (0..<200).map { _ in
                MemberRecord(
                    id: NodeID(random.next()),
                    incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000), status: .alive,
                    endpoint: Endpoint(
                        ipv4: UInt32(truncatingIfNeeded: random.next()) | 1 << 31, port: 7_400),
                    name: "false", zone: "")
            }
            mesh.inject(.members(records, isRepair: false), to: 0, from: 1)
        }
        return mesh
    }

    @Test func `the many that refuse are agreed on as each for itself`() {
        let mesh = flooded(with: 400)
        var (looks, open) = (0, 0)
        for _ in 0..<800 {
            mesh.run(for: .milliseconds(5))
            let count = mesh.hosts[0].node.suspicions.accusations.count
            open = max(open, count)
            guard count > 64, looks < 10 else { continue }
            looks += 1
            let together = mesh.hosts[0].node.agreedRefusals()
            for place in 0..<count {
                let accusation = mesh.hosts[0].node.suspicions.accusations[place]
                guard accusation.evidence == .refused, !accusation.isVouched else { continue }
                let singly = mesh.hosts[0].node.isAgreed(place)
                #expect(singly == together.contains(accusation.subject))
            }
        }
        #expect(looks == 10, "at most \(open) were accused at once")
        // Those that were struck, and the true ones not.
        let deaths = mesh.hosts[0].node.counters[.deaths]
        #expect(deaths > 50)
        for other in 1..<3 {
            let isPresent = mesh.link(from: 0, to: other) != nil
            #expect(isPresent)
        }
    }
}
