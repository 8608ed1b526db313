import MeshCore

/// The scheduled faults of a run.
extension Run {
    /// A fault's next round.
    mutating func makeFault(_ index: Int, round: Int) {
        let fault = scenario.faults[index]
        if round + 1 < fault.times {
            agenda.schedule(
                ScheduledAction(kind: .fault, index: Int32(index), count: Int32(round + 1)),
                at: now + fault.every)
        }
        // The nodes that are left can still be a mesh.
        let most = max(0, live.count - 2)
        let count = min(fault.amount.resolved(of: live.count), most)
        switch fault.kind {
        case .crash: takeDownSome(count, .crash)
        case .vanish: takeDownSome(count, .vanish)
        case .leave: takeDownSome(count, .leave)
        case .join:
            join(fault.amount.resolved(of: live.count, countMax: Scenario.nodesMax))
        case .restart:
            for host in faultRandom.sample(count, of: live) where !isNeeded(host) {
                takeDown(host, .crash)
                agenda.schedule(
                    ScheduledAction(kind: .restart, index: Int32(host)), at: now + fault.lasts)
                truth.trouble(from: now, to: now + fault.lasts)
            }
        case .freeze:
            for host in faultRandom.sample(count, of: live) {
                world.freeze(host, for: fault.lasts)
                let thaw = now + fault.lasts
                truth.freeze(host, until: thaw, over: thaw + scenario.settle)
            }
            excuseCornered()
            lasting(index, fault)
        case .slow:
            overHosts(count, fault, index) { run, host in run.world.slow(host, by: fault.by) }
        case .partition: part(fault, index)
        case .cut:
            overLinks(fault.amount) { run, one, other in
                run.world.cut(from: one, to: other)
                run.cutLinks[index].append((one, other))
                // The connection's own retries come at twice the time each (RFC 6298): it may stand as
                // long again as it was cut.
                run.cuts.append(CutLink(one, other, until: run.now + fault.lasts + fault.lasts))
            }
            excuseCornered()
            lasting(index, fault)
        case .reset:
            overLinks(fault.amount) { run, one, other in run.world.reset(one, other) }
            truth.trouble(from: now, to: now)
            note("reset")
        case .reject:
            overLinks(fault.amount) { run, one, other in
                run.world.reject(one, other)
                run.cutLinks[index].append((one, other))
                // The two dial each other again at most 10 s after it.
                run.cuts.append(CutLink(one, other, until: run.now + fault.lasts + .seconds(10)))
            }
            excuseCornered()
            lasting(index, fault)
        case .hole:
            overLinks(fault.amount) { run, one, other in
                run.world.narrow(one, other, to: fault.bytes)
                run.cutLinks[index].append((one, other))
                run.cuts.append(CutLink(one, other, until: run.now + fault.lasts + fault.lasts))
            }
            excuseCornered()
            lasting(index, fault)
        case .narrow:
            overHosts(count, fault, index) { run, host in run.world.narrow(host, to: fault.bytes) }
        case .refuse:
            let hosts = faultRandom.sample(count, of: live)
            for host in hosts { world.refuse(to: host, true) }
            hurtHosts[index] += hosts
            lasting(index, fault)
        case .skew:
            for host in faultRandom.sample(count, of: live) {
                world.skew(host, jump: fault.by, partsPerMillion: fault.drift)
                hurt(host, for: .zero)
            }
            truth.trouble(from: now, to: now)
            note("skew")
        }
        readObservations()
    }

    mutating func takeDown(_ host: Int, _ departure: Departure) {
        guard let position = live.firstIndex(of: host) else { return }
        if departure != .leave { missLinks() }
        live.remove(at: position)
        switch departure {
        case .crash: world.crash(host)
        case .vanish: world.vanish(host)
        case .leave: world.leave(host)
        }
        readObservations()
        if departure == .leave {
            truth.hurt(host, until: Instant(nanoseconds: .max))
        } else {
            crashedAt[host] = now
        }
        truth.departed(host, at: now)
        truth.trouble(from: now, to: now)
        note("\(departure)")
        // Clients look for another node.
        excuseCornered()
        let (users, channels) = load.clear(host)
        if departure != .leave { noteDeath(of: host, users: users, channels: channels) }
        for user in users {
            let pause = Delay(nanoseconds: 200_000_000) + loadRandom.wait(perSecond: 2)
            agenda.schedule(ScheduledAction(kind: .userArrives, index: user), at: now + pause)
        }
        for channel in channels where scenario.channels.subscribers != .share(1) {
            agenda.schedule(
                ScheduledAction(kind: .subscribe, index: channel), at: now + .milliseconds(500))
        }
    }

    mutating func takeDownSome(_ count: Int, _ departure: Departure) {
        for host in faultRandom.sample(count, of: live) where !isNeeded(host) {
            takeDown(host, departure)
        }
    }

    /// Cut links, and the ends of those beside them, that leave some without any link to the others
    /// are a partition: nodes dial others only when they know of those ends. A node that says good-bye
    /// is no way any more, nor is one that stands still; one that is joining is, when it has links, or had
    /// such as are cut.
    mutating func excuseCornered() {
        let now = now
        cuts.removeAll { $0.until < now }
        guard let until = cuts.map(\.until).max() else { return }
        let linked = live.filter { host in
            !world.isFrozen(host)
                && (world.isReady(host) || !world.links(host).isEmpty
                    || cuts.contains { $0.isOf(host) })
        }
        guard let first = linked.first else { return }
        var reached = [first]
        var isReached = [Bool](repeating: true, count: world.hostCount)
        for host in live { isReached[host] = false }
        isReached[first] = true
        var at = 0
        while at < reached.count {
            let host = reached[at]
            at += 1
            for link in world.links(host) {
                guard let other = world.host(of: link.peer), !isReached[other],
                    !world.isFrozen(other),
                    !cuts.contains(where: { $0.isBetween(host, other) })
                else {
                    continue
                }
                reached.append(other)
                isReached[other] = true
            }
        }
        guard linked.contains(where: { !isReached[$0] }) else { return }
        for host in live { truth.hurt(host, until: until + scenario.settle) }
    }

    /// Hearsay of what happened to a host dies down within the time to settle.
    private mutating func hurt(_ host: Int, for lasts: Delay) {
        truth.hurt(host, until: now + lasts + scenario.settle)
    }

    private mutating func lasting(_ index: Int, _ fault: Scenario.Fault) {
        truth.trouble(from: now, to: now + fault.lasts)
        agenda.schedule(ScheduledAction(kind: .unfault, index: Int32(index)), at: now + fault.lasts)
    }

    /// Hurts some of those that live, for as long as the fault lasts.
    private mutating func overHosts(
        _ count: Int, _ fault: Scenario.Fault, _ index: Int, _ change: (inout Run, Int) -> Void
    ) {
        let hosts = faultRandom.sample(count, of: live)
        for host in hosts {
            change(&self, host)
            hurt(host, for: fault.lasts)
        }
        hurtHosts[index] += hosts
        lasting(index, fault)
    }

    /// Does something to some links between hosts that are up, from a random end of each.
    ///
    /// A number draws so many times, and may draw a link twice. A share takes different ones of those
    /// that stand now.
    private mutating func overLinks(
        _ amount: Scenario.Amount, _ body: (inout Run, Int, Int) -> Void
    ) {
        switch amount {
        case .count(let count):
            for _ in 0..<count {
                if let (one, other) = someLink() { body(&self, one, other) }
            }
        case .share:
            let links = standingLinks()
            for link in faultRandom.sample(amount.resolved(of: links.count), of: links) {
                let isReversed = faultRandom.next(below: 2) == 1
                body(&self, isReversed ? link.1 : link.0, isReversed ? link.0 : link.1)
            }
        }
    }

    /// Each link between two hosts that are up, once, the lower host first.
    private func standingLinks() -> [(Int, Int)] {
        var links: [(Int, Int)] = []
        for host in live {
            for link in world.links(host) {
                guard let other = world.host(of: link.peer), world.isUp(other) else { continue }
                links.append((min(host, other), max(host, other)))
            }
        }
        links.sort { $0 < $1 }
        // Both ends have told of it.
        return links.indices.filter { $0 == 0 || links[$0] != links[$0 - 1] }.map { links[$0] }
    }

    /// A random link between two hosts that are up.
    private mutating func someLink() -> (Int, Int)? {
        for _ in 0..<8 {
            let host = live[faultRandom.next(below: live.count)]
            let links = world.links(host)
            guard !links.isEmpty else { continue }
            let peer = links[faultRandom.next(below: links.count)].peer
            if let other = world.host(of: peer), world.isUp(other) { return (host, other) }
        }
        return nil
    }

    private mutating func part(_ fault: Scenario.Fault, _ index: Int) {
        let total = fault.parts.reduce(0, +)
        let shuffled = faultRandom.sample(live.count, of: live)
        var group = [Int](repeating: 0, count: world.hostCount)
        var sum = 0.0
        var position = 0
        for (part, share) in fault.parts.enumerated() {
            sum += share / total
            // 0.29 of a hundred is 28.999… in binary.
            let end =
                part == fault.parts.count - 1
                ? live.count : min(live.count, Int(sum * Double(live.count) + 1e-9))
            while position < end {
                group[shuffled[position]] = part
                position += 1
            }
        }
        world.partition { group[$0] }
        partedSince = partedSince ?? now
        for host in live { hurt(host, for: fault.lasts) }
        note("partition")
        lasting(index, fault)
    }

    mutating func endFault(_ index: Int) {
        let fault = scenario.faults[index]
        switch fault.kind {
        case .slow:
            for host in hurtHosts[index] { world.slow(host, by: .zero) }
            hurtHosts[index] = []
        case .partition:
            world.partition { _ in 0 }
            for host in live { truth.hurt(host, until: now + scenario.settle) }
            beginRepair()
        case .cut:
            for (one, other) in cutLinks[index] { world.network.mend(from: one, to: other) }
            cutLinks[index] = []
        case .reject:
            for (one, other) in cutLinks[index] { world.admit(one, other) }
            cutLinks[index] = []
        case .hole:
            for (one, other) in cutLinks[index] { world.narrow(one, other, to: nil) }
            cutLinks[index] = []
        case .narrow:
            for host in hurtHosts[index] { world.narrow(host, to: nil) }
            hurtHosts[index] = []
        case .refuse:
            for host in hurtHosts[index] { world.refuse(to: host, false) }
            hurtHosts[index] = []
        default: break
        }
        truth.trouble(from: now, to: now)
        note("end of \(fault.kind.rawValue)")
    }

    /// A host's process starts again at its address.
    mutating func restart(_ former: Int) {
        startHost(at: world.endpoint(former), zone: world.network.zone(of: former))
        note("restart")
    }
}

/// A link that lets nothing through, in one direction at least, or is not there.
struct CutLink {
    private let one: Int
    private let other: Int
    /// Its connection moves again then.
    let until: Instant

    init(_ one: Int, _ other: Int, until: Instant) {
        self.one = one
        self.other = other
        self.until = until
    }

    func isOf(_ host: Int) -> Bool { one == host || other == host }

    func isBetween(_ host: Int, _ peer: Int) -> Bool {
        one == host && other == peer || one == peer && other == host
    }
}
