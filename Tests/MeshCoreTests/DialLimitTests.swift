import MeshWire
import Testing

@testable import MeshCore

/// Others cannot make a node dial whomever they like as often as they like.
@Suite(.timeLimit(.minutes(15))) struct DialLimitTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    @Test func `a burst of dials, and then one each 8 ms`() {
        var limits = DialLimits(at: start)
        var taken = 0
        for _ in 0..<1_000 where limits.take(at: start) { taken += 1 }
        #expect(taken == 512)
        for millisecond in 1...1_600 as ClosedRange<Int64> {
            for _ in 0..<3 where limits.take(at: start + .milliseconds(millisecond)) { taken += 1 }
        }
        #expect(taken == 712)
        taken = 0
        for _ in 0..<1_000 where limits.take(at: start + .seconds(60)) { taken += 1 }
        #expect(taken == 512)
    }

    @Test func `an address that refuses as dead is dialled again once a second`() {
        var limits = DialLimits(at: start)
        let address = Endpoint(ipv4: 1, port: 1)
        var repeated = 0
        for millisecond in 0..<3_000 as Range<Int64> {
            if limits.mayRepeat(address, at: start + .milliseconds(millisecond)) { repeated += 1 }
        }
        #expect(repeated == 3)
        // Sixteen others at a time.
        let now = start + .seconds(10)
        repeated = 0
        for host in 0..<100 as Range<UInt32> {
            if limits.mayRepeat(Endpoint(ipv4: host, port: 1), at: now) { repeated += 1 }
        }
        #expect(repeated == 16)
    }

    @Test func `beyond the bound nobody is dialled but this node's own seeds`() {
        let seed = Endpoint(ipv4: 7, port: 7)
        let configuration = Configuration(
            endpoint: Endpoint(ipv4: 1, port: 7_400), name: "a", seeds: [seed])
        var node = Node(
            id: NodeID(1), incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000), seed: 1,
            configuration: configuration, hasher: KeyHasher(cluster: configuration.cluster),
            at: start)
        var effects = EffectBuffer()
        var dialled: [Endpoint] = []
        for address in Array(1_000..<1_600 as Range<UInt32>) + [7] {
            node.dial(
                Endpoint(ipv4: address, port: 7), peer: nil, .introduce, stratum: 0, &effects)
            for position in 0..<effects.count {
                guard case .dial(let link, let endpoint) = effects[position] else { continue }
                dialled.append(endpoint)
                node.links.release(link)
            }
            effects.removeAll()
        }
        #expect(dialled.count == 513)
        #expect(dialled.last == seed)
        #expect(node.counters[.dialsWithheld] == 88)
    }
}
