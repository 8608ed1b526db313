import MeshWire
import Testing

@testable import MeshCore

@Suite struct OverlayTests {
    @Test(arguments: [20, 100, 1_000, 1_000_000])
    func `strata are contiguous and end at half the ring`(size: Int) {
        let count = 6
        #expect(LongRangeLinks.boundary(0, of: count, size: size) == 3)
        let last = LongRangeLinks.boundary(count, of: count, size: size)
        #expect(abs(last - Double(size) / 2) < 1e-6 * last)
        for stratum in 0..<count {
            let low = LongRangeLinks.boundary(stratum, of: count, size: size)
            let high = LongRangeLinks.boundary(stratum + 1, of: count, size: size)
            #expect(low < high)
            for unit in [0, 0.25, 0.5, 0.999_999] {
                let rank = LongRangeLinks.draw(
                    stratum: stratum, of: count, size: size, unit: unit)
                #expect(Double(rank) >= low.rounded(.down) && Double(rank) <= high)
                #expect(
                    LongRangeLinks.serves(rank: rank, stratum: stratum, of: count, size: size))
            }
        }
    }

    @Test(arguments: [1.0, 1.5, 2, 3, 10, 500_000.5])
    func `powers are exact to twelve digits`(x: Double) {
        // x^(1/2) squared and x^(1/3) cubed give x back.
        let half = MeshCore.power(x, 0.5)
        #expect(abs(half * half / x - 1) < 1e-12)
        let third = MeshCore.power(x, 1.0 / 3)
        #expect(abs(third * third * third / x - 1) < 1e-12)
    }

    @Test func `a stratum has one incoming holder until it lets go`() {
        var links = LongRangeLinks(strataCount: 3)
        links.accept(NodeID(1), stratum: 1)
        #expect(links.holder(of: 1) == NodeID(1))
        links.accept(NodeID(2), stratum: 1)
        #expect(links.holder(of: 1) == NodeID(1))
        #expect(links.acceptedCount == 2)
        links.released(by: NodeID(1))
        #expect(links.holder(of: 1) == nil)
        links.unlinked(NodeID(2))
        #expect(links.acceptedCount == 0)
    }

    @Test func `recent records give back what came after a sequence, or nothing`() {
        var recent = RecentRecords(capacity: 100)
        let ann = NodeID(1)
        let bob = NodeID(2)
        for sequence in 1...90 as ClosedRange<UInt64> {
            recent.append(
                DirectoryRecord(.addKey, Key(sequence)), origin: ann, sequence: sequence)
            recent.append(
                DirectoryRecord(.removeKey, Key(sequence)), origin: bob, sequence: sequence)
        }
        let kept = recent.records(of: ann, after: 80, through: 90)
        #expect(kept?.map { $0.key } == (81...90).map { Key($0) })
        #expect(recent.records(of: bob, after: 40, through: 90)?.count == 50)
        #expect(recent.records(of: ann, after: 10, through: 90) == nil)
        #expect(recent.records(of: ann, after: 90, through: 90) == nil)
        #expect(recent.records(of: NodeID(3), after: 0, through: 5) == nil)
    }
}
