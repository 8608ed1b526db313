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
                let ranks = LongRangeLinks.Stratum(stratum, of: count, size: size)
                let rank = ranks.draw(unit: unit)
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

    @Test func `what a peer sends before it knows that this is no link is passed over`() throws {
        // A peer that is dead to a node, and was dialled by it, takes the connection for a link at once,
        // and asks and tells over it until it hears that it must refute.
        let seed = Endpoint(ipv4: 0x0A00_0001, port: 7_400)
        let start = Instant(nanoseconds: 1_000_000_000)
        let hasher = KeyHasher(cluster: "small")
        var node = Node(
            id: NodeID(1 << 60), incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000),
            seed: 1,
            configuration: Configuration(
                endpoint: Endpoint(ipv4: 0x0A00_0000, port: 7_400), name: "n", seeds: [seed]),
            hasher: hasher, at: start)
        var effects = EffectBuffer()
        node.handle(.deadline, bytes: [UInt8]().span, at: start, into: &effects)
        let dialledLink = dialled(effects)
        let link = try #require(dialledLink)
        node.handle(.connected(link), bytes: [UInt8]().span, at: start, into: &effects)
        let peer = MemberRecord(
            id: NodeID(2 << 60), incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000),
            status: .alive, endpoint: seed, name: "p", zone: "")
        func receive(_ message: Message) throws {
            var frame = ByteQueue()
            _ = frame.appendLinkFrame(message)
            let bytes = frame.withSpan { $0.array(Slice(start: 0, count: frame.count)) }
            var needed = 0
            let prefix = try #require(try FramePrefix.read(bytes.span, at: 0, needed: &needed))
            node.handle(
                .received(prefix, start: 0, from: link), bytes: bytes.span, at: start,
                into: &effects)
        }
        try receive(
            .welcome(
                Greeting(
                    cluster: node.configuration.cluster, clusterID: node.clusterID,
                    purpose: .introduce, stratum: 0, member: peer)))
        let early: [Message] = [
            .members([peer], isRepair: false), .statuses([StatusChange(peer)]),
            .linkLists([]), .linkChanges([]), .linksWanted([peer.id]),
            .heartbeat(Heartbeat(digest: 1, sentAt: 1, echo: 0, echoDelay: 0)), .role(.longRange),
            .digests([UInt64](repeating: 0, count: 64)),
            .compare(number: 1, [UInt64](repeating: 0, count: 64)),
            .compared(number: 1, isBehind: false), .logSummaries([], mask: 0),
            .origins([], mask: 0, isReply: true),
            .repair([RepairRequest(origin: peer.id, life: 1, after: 0)]),
            .records(
                DirectoryRecords(
                    origin: peer.id, life: 1, firstSequence: 1, isRepair: false,
                    records: [DirectoryRecord(.addKey, Key(1))])),
            .snapshot(
                SnapshotPart(
                    origin: peer.id, life: 1, sequence: 1, first: 0, last: 1, endsAnswer: true,
                    keys: [], patterns: [])),
            .cannotRepair(peer.id), .recordsKnown(origin: peer.id, life: 1, sequence: 1),
            .coordinates([]),
        ]
        #expect(early.filter { $0.scope == .link }.count == 16)
        for message in early {
            try receive(message)
            #expect(node.counters[.protocolErrors] == 0, "\(message)")
        }
        // A message that no link carries is still a breach.
        try receive(.accuse(subject: peer.id, peer.incarnation, .silence))
        #expect(node.counters[.protocolErrors] == 1)
    }

    private func dialled(_ effects: borrowing EffectBuffer) -> LinkIndex? {
        for index in 0..<effects.count {
            if case .dial(let link, _) = effects[index] { return link }
        }
        return nil
    }

    @Test func `after a refusal in any stratum a node may dial there again`() {
        var links = LongRangeLinks(strataCount: 3)
        for stratum in 0...links.extraStratum {
            if stratum == links.extraStratum {
                links.diallingExtra()
            } else {
                links.dialling(stratum: stratum)
            }
            links.refused(stratum: stratum, by: NodeID(7))
        }
        #expect(!links.isDiallingExtra)
        #expect(links.outgoing.allSatisfy { !$0.isDialling && $0.refusals == 1 })
    }

    private static let own = Endpoint(ipv4: 9, port: 7)

    private static func seeded(_ seeds: [Endpoint]) -> JoinState {
        let configuration = Configuration(endpoint: own, name: "", seeds: seeds + [own])
        var join = JoinState(configuration, startedAt: Instant(nanoseconds: 0))
        join.isIntroduced = true
        return join
    }

    private static func lonely() -> MemberTable {
        MemberTable(
            oneself: MemberRecord(
                id: NodeID(1), incarnation: Incarnation(1), status: .alive, endpoint: own, name: "",
                zone: ""), at: Instant(nanoseconds: 0))
    }

    private static func admit(_ id: UInt64, at endpoint: Endpoint, _ members: inout MemberTable) {
        _ = members.insert(
            Member(
                MemberRecord(
                    id: NodeID(id), incarnation: Incarnation(1), status: .alive,
                    endpoint: endpoint, name: "", zone: ""), at: Instant(nanoseconds: 0)))
    }

    @Test func `seeds that are no members are asked every five seconds, later every thirty`() {
        let seeds = (1...3).map { Endpoint(ipv4: $0, port: 7) }
        var join = Self.seeded(seeds)
        var members = Self.lonely()
        Self.admit(2, at: seeds[1], &members)
        var rounds: [Instant] = []
        for look in 0..<2_000 {
            let now = Instant(nanoseconds: 0) + .milliseconds(Int64(look) * 2_000)
            guard let asked = join.nextRound(at: now, members) else { continue }
            #expect(asked == [seeds[0], seeds[2]])
            if let last = rounds.last {
                #expect(
                    now - last <= (now.nanoseconds < 240_000_000_000 ? .seconds(5) : .seconds(31)))
            }
            rounds.append(now)
        }
        #expect(rounds.count < 200)
        // The one that was there is lost: it is asked at once.
        members.update(members.index(of: NodeID(2))!, to: .dead, at: rounds.last!)
        Self.admit(3, at: seeds[0], &members)
        Self.admit(4, at: seeds[2], &members)
        let later = rounds.last! + .seconds(40)
        let after = join.nextRound(at: later, members)
        #expect(after == [seeds[1]])
    }

    @Test func `a seed is there when the node that answered for it is, whatever address that has`()
    {
        let seed = Endpoint(ipv4: 1, port: 7)
        var join = Self.seeded([seed])
        var members = Self.lonely()
        Self.admit(2, at: Endpoint(ipv4: 2, port: 7), &members)
        let first = join.nextRound(at: Instant(nanoseconds: 0), members)
        #expect(first == [seed])
        join.heard(seed, NodeID(2))
        let then = join.nextRound(at: Instant(nanoseconds: 0) + .seconds(60), members)
        #expect(then == [])
        members.update(members.index(of: NodeID(2))!, to: .dead, at: Instant(nanoseconds: 0))
        let lost = join.nextRound(at: Instant(nanoseconds: 0) + .seconds(61), members)
        #expect(lost == [seed])
    }

    @Test func `new addresses of seeds are asked at once, old and own ones no more`() {
        let seeds = (1...3).map { Endpoint(ipv4: $0, port: 7) }
        var join = Self.seeded([seeds[0], seeds[1]])
        var members = Self.lonely()
        Self.admit(2, at: Endpoint(ipv4: 8, port: 7), &members)
        join.strike(seeds[1])
        _ = join.nextRound(at: Instant(nanoseconds: 0), members)
        let isNews = join.learn([seeds[1], seeds[2]], at: Instant(nanoseconds: 1))
        let isNewsAgain = join.learn([seeds[2], seeds[1]], at: Instant(nanoseconds: 1))
        #expect(isNews && !isNewsAgain)
        let asked = join.nextRound(at: Instant(nanoseconds: 1), members)
        #expect(asked == [seeds[2]])
    }
}
