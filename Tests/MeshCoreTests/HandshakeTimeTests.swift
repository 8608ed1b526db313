import MeshWire
import Testing

@testable import MeshCore

/// How long a connection may take to become a link, from the moment that it stands: 2 s for the first
/// byte, 3 s for each pause, 10 s in all; and 7 s to come about.
@Suite struct HandshakeTimeTests {
    private static let start = Instant(nanoseconds: 1_000_000_000)

    /// A node that asks one seed, or waits to be asked.
    private func node(seeds: [Endpoint] = []) -> Node {
        let configuration = Configuration(
            endpoint: Endpoint(ipv4: 1, port: 7_400), name: "a", seeds: seeds)
        return Node(
            id: NodeID(1), incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000), seed: 1,
            configuration: configuration, hasher: KeyHasher(cluster: configuration.cluster),
            at: Self.start)
    }

    /// After how many milliseconds the node gives a link up over which bytes come at these times, in
    /// milliseconds too; nil: not within 15 s. And what it logs of its seeds meanwhile.
    private func end(
        of link: LinkIndex, _ node: inout Node, bytesAt times: [Int64], connectedAt: Int64? = nil
    ) -> (end: Int64?, failure: SeedFailure?) {
        var effects = EffectBuffer()
        var failure: SeedFailure?
        for millisecond in 0...15_000 as ClosedRange<Int64> {
            let now = Self.start + .milliseconds(millisecond)
            if connectedAt == millisecond {
                node.handle(.connected(link), bytes: Span(), at: now, into: &effects)
            }
            if times.contains(millisecond) {
                node.handle(.heard(link), bytes: Span(), at: now, into: &effects)
            }
            if let due = node.nextDeadline, due <= now {
                node.handle(.deadline, bytes: Span(), at: now, into: &effects)
            }
            var isEnd = false
            for position in 0..<effects.count {
                switch effects[position] {
                case .close(link): isEnd = true
                case .log(.seedsSilent(_, let found)): failure = found
                default: break
                }
            }
            effects.removeAll()
            if isEnd { return (millisecond, failure) }
        }
        return (nil, failure)
    }

    @Test(
        arguments: [
            ([], 2_000), ([1_900], 4_900), ([1_900, 4_800], 7_800),
            ([1_000, 3_900, 6_800, 9_700], 10_000), ([1_000, 2_000, 3_000], 6_000),
        ] as [([Int64], Int64)])
    func `an accepted connection has its time from byte to byte`(_ times: [Int64], _ due: Int64) {
        var node = node()
        var effects = EffectBuffer()
        guard let link = node.acceptLink(at: Self.start, into: &effects) else { return }
        let ended = end(of: link, &node, bytesAt: times).end
        #expect(ended == due)
    }

    @Test(
        arguments: [
            (nil, [], 7_000), (1_600, [], 3_600), (1_600, [3_200], 6_200), (6_900, [8_800], 11_800),
        ] as [(Int64?, [Int64], Int64)])
    func `a dialled one has 7 s to come about, and then the same`(
        _ connectedAt: Int64?, _ times: [Int64], _ due: Int64
    ) {
        var node = node(seeds: [Endpoint(ipv4: 2, port: 7_400)])
        var effects = EffectBuffer()
        node.handle(.deadline, bytes: Span(), at: Self.start, into: &effects)
        var dialled: LinkIndex?
        for position in 0..<effects.count {
            if case .dial(let link, _) = effects[position] { dialled = link }
        }
        guard let dialled else {
            Issue.record("the seed is not dialled")
            return
        }
        let ended = end(of: dialled, &node, bytesAt: times, connectedAt: connectedAt).end
        #expect(ended == due)
    }

    @Test func `the log says what seeds do: nothing yet, or answer too late`() {
        for (connectedAt, expected) in [(nil, .waiting), (500, .late)] as [(Int64?, SeedFailure)] {
            var node = node(seeds: [Endpoint(ipv4: 2, port: 7_400)])
            var effects = EffectBuffer()
            node.handle(.deadline, bytes: Span(), at: Self.start, into: &effects)
            let first = LinkIndex(0)
            _ = end(of: first, &node, bytesAt: [], connectedAt: connectedAt)
            let failure = end(of: LinkIndex(40), &node, bytesAt: []).failure
            #expect(connectedAt == nil || failure == expected)
            #expect(connectedAt != nil || failure == nil || failure == .silent)
        }
    }
}
