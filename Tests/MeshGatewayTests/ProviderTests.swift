import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// The choice of a provider: the one with most free credits, or the one of a key.
@Suite struct ProviderTests {
    private func provider(_ number: Int, concurrency: Int) -> Provider {
        Provider(
            client: ClientIndex(number), clientID: Int64(number), concurrency: concurrency, given: 0
        )
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `the one that is chosen has most free credits, whatever came before`(seed: UInt64) throws {
        var random = RandomSource(seed: seed)
        var providers = Providers()
        var numbers: [Int] = []
        var next = 0
        func check() {
            let all = numbers.compactMap { providers.place(of: ClientIndex($0)) }
            let able = all.compactMap { providers[$0] }.filter { $0.free > 0 && !$0.isBehind }
            let chosen = providers.freest.flatMap { providers[$0] }
            #expect(chosen?.free == able.map(\.free).max())
            #expect(providers.count == numbers.count)
            #expect(providers.givenCount == all.compactMap { providers[$0]?.given }.reduce(0, +))
            #expect(providers.activeCount == all.count { (providers[$0]?.concurrency ?? 0) > 0 })
        }
        for _ in 0..<3_000 {
            let number = numbers.isEmpty ? -1 : numbers[random.next(below: numbers.count)]
            let place = number < 0 ? nil : providers.place(of: ClientIndex(number))
            switch random.next(below: 10) {
            case 0, 1:
                providers.insert(provider(next, concurrency: random.next(below: 130)))
                numbers.append(next)
                next += 1
            case 2:
                if let place {
                    let gone = providers.remove(place)
                    #expect(gone?.client == ClientIndex(number))
                    numbers.removeAll { $0 == number }
                }
            case 3: if let place { providers.setConcurrency(random.next(below: 1_025), place) }
            case 4...6: if let place = providers.freest { providers.gave(place) }
            case 7: if let place = providers.freest { providers.fallBehind(place) }
            default:
                if let place, providers[place]?.given ?? 0 > 0 { providers.ended(place) }
            }
            check()
        }
    }

    @Test func `equals are chosen in turn`() throws {
        var providers = Providers()
        for number in 0..<3 { providers.insert(provider(number, concurrency: 2)) }
        var chosen: [Int] = []
        while let place = providers.freest {
            chosen.append(place)
            providers.gave(place)
        }
        #expect(chosen == [0, 1, 2, 0, 1, 2])
        providers.ended(1)
        #expect(providers.freest == 1)
    }

    @Test func `a key moves only when its own provider goes, or a new one takes it`() {
        var providers = Providers()
        for number in 0..<50 { providers.insert(provider(number, concurrency: 1)) }
        let hashes = (0..<2_000).map { UInt64($0) &* 0x9E37_79B9_7F4A_7C15 }
        func holders() -> [ClientIndex?] {
            hashes.map { hash in providers.place(forKey: hash).flatMap { providers[$0]?.client } }
        }
        let before = holders()
        let counts = (0..<50).map { number in before.count { $0 == ClientIndex(number) } }
        // Forty each, if chance were even.
        #expect(counts.allSatisfy { (15...80).contains($0) }, "\(counts)")
        _ = providers.remove(providers.place(of: ClientIndex(7))!)
        let without = holders()
        for (one, other) in zip(before, without) where one != ClientIndex(7) {
            #expect(one == other)
        }
        providers.insert(provider(50, concurrency: 1))
        for (one, other) in zip(without, holders()) where one != other {
            #expect(other == ClientIndex(50))
        }
    }

    @Test func `a node's share of the keys is all that moves with it`() {
        let nodes = (1...9).map { NodeID(UInt64($0) << 60) }
        let hashes = (0..<2_000).map { UInt64($0) &* 0x9E37_79B9_7F4A_7C15 }
        for gone in nodes {
            for hash in hashes {
                let before = OpenRequests.choose(forKey: hash, among: nodes)
                let after = OpenRequests.choose(forKey: hash, among: nodes.filter { $0 != gone })
                if before != gone { #expect(before == after) }
            }
        }
    }
}
