import MeshWire
import Testing

@testable import MeshCore

@Suite struct `Members that were lost` {
    private let start = Instant(nanoseconds: 1_000_000_000_000)

    private func endpoint(_ number: Int) -> Endpoint {
        Endpoint(ipv4: 0x0A00_0000 + UInt32(number), port: 7)
    }

    /// Positions that are spread over the ring as ids are.
    private func position(_ number: Int) -> NodeID {
        NodeID(RandomSource.mix(UInt64(number)))
    }

    @Test func `of those lost together eight are kept, spread over the ring`() {
        var lost = LostMembers(at: start)
        for number in 0..<1_000 {
            lost.insert(
                endpoint(number), at: position(number), start + .milliseconds(9 * Int64(number)))
        }
        #expect(lost.entries.count == 8)
        let places = lost.entries.map { $0.position.rawValue }.sorted()
        for index in places.indices {
            let gap = places[(index + 1) % 8] &- places[index]
            // An eighth of the ring each, but for what it was too late to mend.
            #expect(gap > UInt64.max / 24 && gap < UInt64.max / 4)
        }
    }

    @Test func `fewer than nine that are lost within ten seconds are all kept`() {
        var lost = LostMembers(at: start)
        for number in 0..<80 {
            lost.insert(
                endpoint(number), at: position(number), start + .milliseconds(1_300 * Int64(number))
            )
        }
        #expect(lost.entries.count == 80)
    }

    @Test func `a thousand losses after it do not flush a group, nor the last one the first`() {
        var lost = LostMembers(at: start)
        for number in 0..<8 { lost.insert(endpoint(number), at: position(number), start) }
        for number in 8..<4_000 {
            lost.insert(
                endpoint(number), at: position(number), start + .milliseconds(2_000 * Int64(number))
            )
            #expect(lost.entries.count <= 1_024)
        }
        #expect(lost.entries.contains { $0.begun == start })
        let last = (0..<8).map { 4_000 + $0 }
        for number in last {
            lost.insert(endpoint(number), at: position(number), start + .seconds(9_000))
        }
        #expect(lost.entries.suffix(8).map(\.endpoint) == last.map(endpoint))
    }

    @Test(arguments: [1, 8, 100, 1_024])
    func `one is asked every ten seconds at least, and each in ten minutes`(count: Int) {
        var lost = LostMembers(at: start)
        for number in 0..<count {
            lost.insert(
                endpoint(number), at: position(number), start + .seconds(11 * Int64(number)))
        }
        var now = start + .seconds(11 * Int64(count))
        let begun = now
        var asked: [Endpoint: Instant] = [:]
        var last = now
        while now - begun < .seconds(1_800) {
            // As late as a node looks.
            now = now + .milliseconds(2_250)
            while let endpoint = lost.nextToAsk(at: now) {
                #expect(now - (asked[endpoint] ?? begun) <= .seconds(600))
                #expect(now - last <= .seconds(10))
                asked[endpoint] = now
                last = now
            }
        }
        #expect(asked.count == count)
    }

    @Test func `a member that is back is asked no more, and the others are not passed over`() {
        var lost = LostMembers(at: start)
        for number in 0..<4 { lost.insert(endpoint(number), at: position(number), start) }
        var now = start + .seconds(8)
        #expect(lost.nextToAsk(at: now) == endpoint(0))
        lost.remove(endpoint(0))
        for expected in [1, 2, 3, 1] {
            now = now + .seconds(8)
            #expect(lost.nextToAsk(at: now) == endpoint(expected))
        }
    }
}
