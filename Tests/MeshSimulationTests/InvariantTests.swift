import MeshWire
import Testing

@testable import MeshCore
@testable import MeshServer
@testable import MeshSimulation

/// Invariants of every node after every event, whatever happens: looked at while nodes crash, return,
/// stand still and are parted.
@Suite struct InvariantTests {
    @Test(arguments: [1, 2, 3] as [UInt64])
    func `after whatever event, no part of a node contradicts another`(seed: UInt64) {
        var world = mesh(of: 16, seed: seed, degree: 6)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        for host in world.everyone { world.change(host, .user, "user\(host)", .add) }
        world.run(for: .seconds(6))
        var random = RandomSource(seed: seed)
        var found: Set<String> = []

        /// Lets time pass, with messages from everybody to anybody, and looks at all nodes meanwhile.
        func pass(_ world: inout World, _ delay: Delay) {
            let end = world.now + delay
            while world.now < end {
                _ = world.run(until: end, eventsAtMost: 25)
                for host in world.everyone where !world.isFrozen(host) {
                    found.formUnion(world.hosts[host]!.server.node.contradictions())
                }
                let hosts = world.everyone
                let host = hosts[random.next(below: hosts.count)]
                guard !world.isFrozen(host) else { continue }
                world.publish(host, .user, "user\(random.next(below: 16))", [1])
                for other in hosts where other != host { _ = world.nextHop(host, to: other) }
            }
        }

        pass(&world, .seconds(1))
        for host in [3, 8] { world.crash(host) }
        pass(&world, .seconds(2))
        // One comes back at its address before anybody misses it.
        world.crash(5)
        world.start(seeds: [0], degree: 6, at: world.endpoint(5))
        pass(&world, .seconds(3))
        for other in 0..<14 where other != 2 { world.reset(2, other) }
        pass(&world, .seconds(1))
        for (from, to) in [(1, 2), (4, 6), (7, 9)] { world.cut(from: from, to: to) }
        world.freeze(10, for: .seconds(8))
        pass(&world, .seconds(12))
        world.heal()
        world.leave(11)
        pass(&world, .seconds(3))
        world.partition { $0 % 2 }
        pass(&world, .seconds(9))
        world.heal()
        pass(&world, .seconds(9))
        #expect(found == [])
        #expect(world.everyone.count > 10)
        // All is well again: nobody holds a link's former troubles against its peer.
        for host in world.everyone {
            for link in world.hosts[host]!.server.node.links.established {
                let member = world.hosts[host]!.server.node.links[link].member
                let failures = world.hosts[host]!.server.node.members[member].dialFailures
                #expect(failures == 0)
            }
        }
    }

    @Test func `a newcomer makes the links that it wants with those who were there before`() {
        var world = mesh(of: 6, seed: 4)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(2))
        let fresh = world.start(seeds: [3])
        world.run(for: .seconds(3))
        let links = world.hosts[fresh]!.server.node.links.established
        #expect(links.count == 6)
        for link in links {
            let isDialled = world.hosts[fresh]!.server.node.links[link].isDialled
            #expect(isDialled)
        }
    }

    /// No link is silent then: there is none. The first node, which had no seeds, is no exception.
    @Test(arguments: [24, 60], [0, 5])
    func `a node without any link left strikes the others within ten seconds`(
        count: Int, host: Int
    ) {
        var world = mesh(of: count, seed: 57)
        let ready = world.run(atMost: .seconds(10)) { $0.allReady() && $0.agree() }
        #expect(ready)
        world.run(for: .seconds(6))
        world.partition { $0 == host ? 1 : 0 }
        for other in 0..<count where other != host { world.reset(host, other) }
        let parted = world.run(atMost: .seconds(10)) { $0.members(host).count == 1 }
        #expect(parted)
    }
}

extension Node {
    /// The contradictions; empty: there are none.
    fileprivate mutating func contradictions() -> Set<String> {
        memberContradictions().union(linkContradictions()).union(routeContradictions())
            .union(flowContradictions())
    }

    private mutating func memberContradictions() -> Set<String> {
        var found: Set<String> = []
        for steps in 1...MemberTable.nearCount {
            for steps in [steps, -steps]
            where members.neighbour(steps) != members.clockwise(from: id, steps: steps) {
                found.insert("a neighbour on the ring is not the one that is there")
            }
        }
        var absent: Set<MemberIndex> = []
        for slot in 0..<members.slotCount where members.contains(MemberIndex(slot)) {
            let index = MemberIndex(slot)
            guard members.status(of: index).isPresent else {
                absent.insert(index)
                continue
            }
            if let other = members.index(at: members.endpoint(of: index)),
                !members.status(of: other).isPresent
                    || members.endpoint(of: other) != members.endpoint(of: index)
            {
                found.insert("an address leads to a member that is not there")
            }
        }
        let gone = departed.indices
        if Set(gone) != absent || gone.count != absent.count {
            found.insert("the list of the departed is not of those who are not present, each once")
        }
        for owner in lists.owners {
            guard let index = members.index(of: owner), members.status(of: index).isPresent
            else {
                found.insert("links are known of a member that is not present")
                continue
            }
        }
        return found
    }

    private func linkContradictions() -> Set<String> {
        var found: Set<String> = []
        for link in links.indices {
            switch links[link].state {
            case .free, .established: break
            case .dialling, .awaiting:
                if gossip.pending.contains(where: { $0.knowers & PendingChange.bit(link) != 0 }) {
                    found.insert("a peer that has said nothing knows news")
                }
                fallthrough
            case .greeting, .introducing, .closing:
                // Deadlines are looked at with the next event.
                if now > handshakeDue(link) + .milliseconds(500) {
                    found.insert("a link begins or ends for too long")
                }
            }
        }
        for (one, other) in zip(links.established, links.established.dropFirst())
        where links[one].peer >= links[other].peer {
            found.insert("established links are not in the order of their peers")
        }
        for link in links.established {
            let member = links[link].member
            if members.link(of: member) != link {
                found.insert("a member's link is not the one that leads to it")
            }
            let isDialled = links.handshake(with: links[link].peer, at: links[link].endpoint) != nil
            if members[member].wantedSince != nil, !isDialled {
                found.insert("a member that is linked is wanted")
            }
        }
        return found
    }

    private func routeContradictions() -> Set<String> {
        var found: Set<String> = []
        var fresh = router
        fresh.invalidate()
        for entry in members.ring where entry.index != .oneself {
            guard let known = router.cached(entry.index) else { continue }
            let route = fresh.find(
                entry.id, entry.index, members: members, links: links, lists: lists)
            if route.link != known.link || route.potential != known.potential {
                found.insert("a way that is remembered is not the one that would be found")
            }
        }
        return found
    }

    private func flowContradictions() -> Set<String> {
        var found: Set<String> = []
        var waitingBytes = 0
        for slot in 0..<members.slotCount where members.contains(MemberIndex(slot)) {
            let index = MemberIndex(slot)
            let flow = flows.flow(from: members.id(of: index))
            guard !flow.isNone else { continue }
            waitingBytes += flows.incoming[flow].waitingBytes
            if members.status(of: index) == .dead,
                flows.incoming[flow].waitingBytes > 0
            {
                found.insert("messages wait for one of a member that is dead")
            }
        }
        if waitingBytes != flows.reorderBytes.messages {
            found.insert("what waits in flows is not what is counted")
        }
        return found
    }
}
