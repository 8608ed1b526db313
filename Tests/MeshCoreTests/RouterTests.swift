import MeshWire
import Testing

@testable import MeshCore

/// The ways that a router finds, compared with looking at everything.
@Suite struct RouterTests {
    /// A node with six links whose peers have told of four links each, and those of four.
    private struct Surroundings: ~Copyable {
        var members: MemberTable
        var links = LinkTable(slotCount: 8)
        var lists = LinkLists()
        var router = Router()
        let ids: [NodeID]
        let own: NodeID
        let peers: [NodeID]
        /// All within three steps.
        var reachable: Set<NodeID> = []

        init(seed: UInt64) {
            var random = RandomSource(seed: seed)
            func record(_ id: NodeID, _ number: Int) -> MemberRecord {
                MemberRecord(
                    id: id, incarnation: Incarnation(bootMilliseconds: 1), status: .alive,
                    endpoint: Endpoint(ipv4: UInt32(number), port: 1), name: "", zone: "")
            }
            var made: [NodeID] = []
            for _ in 0..<400 { made.append(NodeID(random.next())) }
            // Some at either end of the numbers, where the ring closes.
            made += [0, 1, 1 << 40, .max, .max - (1 << 40)].map { NodeID($0) }
            ids = made
            own = made[0]
            let start = Instant(nanoseconds: 0)
            members = MemberTable(oneself: record(made[0], 0), at: start)
            for number in 1..<made.count {
                _ = members.insert(Member(record(made[number], number), at: start))
            }
            func draw(_ count: Int) -> [NodeID] {
                (0..<count).map { _ in made[1 + random.next(below: 60)] }.sorted()
            }
            peers = Array(Set(draw(6))).sorted()
            for peer in peers {
                let link = links.free()!
                links[link].peer = peer
                links[link].member = members.index(of: peer)!
                links.establish(link)
                members.adjust(members.index(of: peer)!) { $0.link = link }
            }
            reachable = Set(peers)
            for owner in peers {
                let second = draw(4)
                tell(owner, second)
                for next in second where lists.links(of: next) == nil { tell(next, draw(4)) }
            }
            for owner in peers {
                for next in lists.links(of: owner) ?? [] {
                    reachable.insert(next)
                    reachable.formUnion(lists.links(of: next) ?? [])
                }
            }
            reachable.remove(own)
        }

        private mutating func tell(_ owner: NodeID, _ links: [NodeID]) {
            _ = lists.merge(
                LinkList(
                    owner: owner, incarnation: Incarnation(bootMilliseconds: 1), version: 1,
                    hopsLeft: 0, links: links), members)
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `a way leads to the nearest of all in sight, also where the ring closes`(seed: UInt64) {
        var around = Surroundings(seed: seed)
        for id in around.ids where id != around.own {
            for side in [nil, .before, .after] as [Side?] {
                let route = around.router.find(
                    id, around.members.index(of: id)!, from: side, members: around.members,
                    links: around.links, lists: around.lists)
                let nearest = around.reachable.map { $0.distance(to: id, from: side) }.min()!
                guard nearest < around.own.distance(to: id, from: side) else {
                    #expect(route.link.isNone)
                    continue
                }
                let expected = Potential.make(distance: nearest, steps: 0, from: side)
                #expect(!route.link.isNone && route.potential >> 4 == expected >> 4, "\(id)")
            }
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `along the ring a copy goes to the neighbour that is furthest on, if that knows a way on`(
        seed: UInt64
    ) {
        let around = Surroundings(seed: seed)
        var onwardCount = 0
        for id in around.ids where id != around.own {
            let side: Side = around.own.clockwise(to: id) < 1 << 63 ? .before : .after
            let link = around.router.alongArc(
                to: id, from: around.own, links: around.links, lists: around.lists, except: .none)
            let between = around.peers.filter {
                $0.distance(to: id, from: side) < around.own.distance(to: id, from: side)
            }
            let furthest = between.min {
                $0.distance(to: id, from: side) < $1.distance(to: id, from: side)
            }
            guard let furthest else {
                #expect(link.isNone)
                continue
            }
            let left = furthest.distance(to: id, from: side)
            let knowsWay =
                furthest == id
                || (around.lists.links(of: furthest) ?? []).contains {
                    $0.distance(to: id, from: side) < left
                }
            #expect(link.isNone == !knowsWay)
            if !link.isNone {
                #expect(around.links[link].peer == furthest)
                onwardCount += 1
            }
        }
        #expect(onwardCount > 20)
    }

    /// An arc of a broadcast: its receiver serves the positions from itself to its end, both exclusive.
    private struct Arc: Hashable {
        var from: Int
        var to: Int
        var end: NodeID
    }

    /// With one link there is one part, which ends at the origin.
    @Test(arguments: 3...8)
    func `the parts of a broadcast cover the ring once, and nobody is told twice`(count: Int) {
        let mesh = SmallMesh(count)
        mesh.run(for: .seconds(2))
        let ids = mesh.ids(0..<count)
        var random = RandomSource(seed: UInt64(count))
        for origin in 0..<count {
            var arcs: [Arc] = []
            mesh.judge = { from, to, frame in
                if frame[4] == FrameKind.arc.rawValue {
                    arcs.append(
                        Arc(from: from, to: to, end: NodeID(frame.span.load(UInt64.self, at: 16))))
                }
                return .pass
            }
            mesh.attach("user\(origin)", at: origin)
            #expect(Set(arcs.map(\.to)) == Set(0..<count).subtracting([origin]))
            #expect(arcs.count == count - 1)
            let parts = arcs.filter { $0.from == origin }
            for _ in 0..<100 {
                // Every node that is there, linked with the origin or not yet.
                let somebody = NodeID(random.next())
                guard !ids.contains(somebody) else { continue }
                let serving = parts.filter {
                    let length = ids[$0.to].clockwise(to: $0.end)
                    return ids[$0.to].clockwise(to: somebody) < (length == 0 ? .max : length)
                }
                #expect(serving.count == 1, "\(somebody) is served by \(serving)")
            }
        }
        for host in 0..<count {
            #expect(mesh.hosts[host].node.counters[.recordsDuplicate] == 0)
        }
    }
}
