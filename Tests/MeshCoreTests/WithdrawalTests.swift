import MeshWire
import Testing

@testable import MeshCore

/// Members whose entries are taken out in steps.
@Suite struct WithdrawalTests {
    /// Each member is done when the walk has been everywhere since it came in, and not before.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `a member is withdrawn when the walk has met all positions since it came`(seed: UInt64) {
        var random = RandomSource(seed: seed)
        var withdrawals = Withdrawals()
        let end = SnapshotPart.lastPosition
        let sixteenth = (end + 1) / 16
        var unmet: [MemberIndex: Set<Int>] = [:]
        var doneCount = 0
        for _ in 0..<400 {
            for _ in 0..<random.next(below: 3) {
                let index = MemberIndex(random.next(below: 40))
                withdrawals.begin(index)
                if unmet[index] == nil { unmet[index] = Set(0..<16) }
            }
            guard !withdrawals.isEmpty else { continue }
            let first = Int(withdrawals.position / sixteenth)
            let last = min(15, first + random.next(below: 5))
            let done = withdrawals.advance(to: sixteenth * UInt64(last + 1) - 1)
            for index in unmet.keys { unmet[index]!.subtract(first...last) }
            let expected = Set(unmet.keys.filter { unmet[$0]!.isEmpty })
            #expect(Set(done) == expected)
            doneCount += done.count
            for index in expected { unmet[index] = nil }
            for index in unmet.keys { #expect(withdrawals.contains(index)) }
            for index in done { #expect(!withdrawals.contains(index)) }
            #expect(withdrawals.isEmpty == unmet.isEmpty)
        }
        #expect(doneCount > 50)
    }

    @Test func `a log that went on while its former entries were taken out is asked for at once`() {
        let mesh = SmallMesh(3) { $0.bucketsPerStep = 8 }
        for number in 0..<200 { mesh.handle(1, .directory(mesh.key("user\(number)"), .add)) }
        mesh.run(for: .seconds(1))
        let member = mesh.hosts[0].node.members.index(of: mesh.hosts[1].node.id)!
        let sequence = mesh.hosts[0].node.members[member].log.sequence
        #expect(sequence == 200)
        // A later life of it is heard of, and a change in that life before the walk is over.
        var reborn = mesh.record(1)
        reborn.incarnation = Incarnation(bootMilliseconds: reborn.incarnation.life + 1)
        mesh.inject(.members([reborn], isRepair: false), to: 0, from: 2)
        let isWithdrawn = mesh.hosts[0].node.isWithdrawn(member)
        #expect(isWithdrawn)
        mesh.inject(
            .records(
                DirectoryRecords(
                    origin: reborn.id, life: reborn.incarnation.life, firstSequence: sequence,
                    isRepair: true,
                    records: [DirectoryRecord(.addKey, mesh.key("user199"))])), to: 0, from: 2)
        // Long before the next heartbeat could show what lacks.
        mesh.run(for: .milliseconds(60))
        #expect(mesh.hosts[0].node.directory.table.count == 200)
        let isLeft = mesh.hosts[0].node.isWithdrawn(member)
        #expect(!isLeft)
    }
}
