import MeshCore
import MeshWire

/// A confirmation is true: when a node says that all know that it holds a key, every other node that
/// serves clients finds the node under the key.
///
/// The check looks into the others' own tables, in the moment in which the node says so. A node that stands
/// still, or has no way to the other, cannot know: where a fault has hurt one of the two it is counted and
/// no more. Where a link was cut, or a node went, within the time to settle, somebody may be late; those
/// are counted too.
struct ConfirmationChecker {
    /// Of a larger mesh so many nodes are looked at for each change.
    static let hostCountMax = 64

    /// Changes that others need not have been told of, by host, in order.
    private var announced: [FIFO<Announcement>] = []
    private(set) var latency = LatencyHistogram()
    private(set) var count = 0
    /// Nodes that did not know, and could not.
    private(set) var excusedCount = 0
    /// Those that did not know, and could have.
    private(set) var lateCount = 0
    /// The hosts whose holding of a key is known to all, by what they say.
    private var known: [Key: [Int32]] = [:]
    /// Messages that nodes took without knowing of a receiver that all should know of.
    private(set) var unawareCount = 0

    private struct Announcement {
        var key: Key
        var made: Instant
        var batch: UInt64
    }

    /// A node has said that others know of a key, and one does not.
    struct Surprise {
        var time: Instant
        var made: Instant
        var host: Int32
        var other: Int32
    }

    /// A host holds a key from now on; others know of it when this batch of its changes is known.
    mutating func announce(_ key: Key, by host: Int, in batch: UInt64, at now: Instant) {
        while announced.count <= host { announced.append(FIFO()) }
        announced[host].append(Announcement(key: key, made: now, batch: batch))
    }

    /// The keys that others know of now, by what the host says.
    mutating func confirm(through batch: UInt64, by host: Int, at now: Instant) -> [(Key, Instant)]
    {
        guard host < announced.count else { return [] }
        var known: [(Key, Instant)] = []
        while let first = announced[host].first, first.batch <= batch {
            _ = announced[host].popFirst()
            known.append((first.key, first.made))
            if self.known[first.key]?.contains(Int32(host)) != true {
                self.known[first.key, default: []].append(Int32(host))
            }
            latency.add(now - first.made)
            count += 1
        }
        return known
    }

    /// Clients of a host hold a key no longer.
    mutating func withdraw(_ key: Key, by host: Int) {
        if host < announced.count { announced[host].removeAll { $0.key == key } }
        guard known[key] != nil else { return }
        known[key]!.removeAll { $0 == host }
        if known[key]!.isEmpty { known[key] = nil }
    }

    func hosts(of key: Key) -> [Int32] { known[key] ?? [] }

    /// A node took a message for a key and did not know of a holder of which all should know, though a
    /// neighbour did.
    struct Unaware {
        var time: Instant
        var host: Int32
        var holder: Int32
    }

    /// A node that stood still a moment ago knows that it may have missed something.
    mutating func check(_ unaware: Unaware, _ truth: Truth) -> Violation? {
        let (host, holder) = (Int(unaware.host), Int(unaware.holder))
        if truth.departedAt[host] != nil || truth.departedAt[holder] != nil { return nil }
        unawareCount += 1
        let since = unaware.time - truth.thawsAt[host]
        guard since >= .zero, since < .seconds(1), truth.thawsAt[holder] < truth.thawsAt[host],
            truth.harmedUntil[host] < unaware.time, truth.harmedUntil[holder] < unaware.time
        else { return nil }
        return Violation(
            checker: .confirmation, time: unaware.time, host: host,
            text: "takes a message and does not know of host \(holder), as a neighbour does")
    }

    mutating func check(_ surprise: Surprise, _ truth: Truth, settle: Delay) -> Violation? {
        let (host, other) = (Int(surprise.host), Int(surprise.other))
        // A node that leaves takes no client's messages any more.
        if truth.departedAt[host] != nil || truth.departedAt[other] != nil { return nil }
        if truth.hurtUntil[host] >= surprise.made || truth.hurtUntil[other] >= surprise.made {
            excusedCount += 1
            return nil
        }
        if truth.isTroubled(from: surprise.made - settle, to: surprise.time) {
            lateCount += 1
            return nil
        }
        return Violation(
            checker: .confirmation, time: surprise.time, host: host,
            text: "says that all know what came to it, and host \(other) does not")
    }
}

extension World {
    /// A node takes a message for a key: it knows of all of whom all should know.
    mutating func checkAwareness(of key: Key, _ number: Int) {
        let server = hosts[number]!
        var holders: [NodeID]?
        for holder in confirmations.hosts(of: key) where Int(holder) != number {
            guard let other = hosts[Int(holder)], other.frozenUntil == nil,
                other.server.node.isHeldHere(key)
            else { continue }
            if holders == nil { holders = server.server.node.holders(of: key) }
            if holders!.contains(ids[Int(holder)]) { continue }
            let isKnownNearby = server.server.node.linkStatuses().contains {
                guard let neighbour = host(of: $0.peer), let peer = hosts[neighbour] else {
                    return false
                }
                return peer.frozenUntil == nil && !peer.server.node.isBehind
                    && peer.server.node.linkStatuses().contains { $0.peer == ids[number] }
                    && peer.server.node.holders(of: key).contains(ids[Int(holder)])
            }
            guard isKnownNearby else { continue }
            observations.unaware.append(
                ConfirmationChecker.Unaware(time: now, host: Int32(number), holder: holder))
        }
    }

    /// Clients of a host have held a key since now.
    mutating func noteAnnounced(_ key: Key, by host: Int) {
        let node = hosts[host]!
        // A node that joins takes no commands of clients yet.
        guard node.server.node.isReady else { return }
        let batch = node.server.node.latestBatch
        confirmations.announce(key, by: host, in: batch, at: now)
        if batch <= node.server.node.knownBatch { lookAround(host) }
    }

    /// A host says that more of its changes are known to all.
    mutating func lookAround(_ number: Int) {
        let host = hosts[number]!
        let known = confirmations.confirm(
            through: host.server.node.knownBatch, by: number, at: now)
        if known.isEmpty { return }
        let lookCount = min(hosts.count, ConfirmationChecker.hostCountMax)
        for (key, made) in known where host.server.node.isHeldHere(key) {
            // Others of a large mesh with each key.
            let first = Int(key.rawValue % UInt64(hosts.count))
            let step = max(1, hosts.count / lookCount)
            for place in 0..<lookCount {
                let other = (first + place * step) % hosts.count
                guard other != number, let peer = hosts[other], peer.server.node.isReady,
                    !peer.server.node.holders(of: key).contains(ids[number])
                else { continue }
                observations.surprises.append(
                    ConfirmationChecker.Surprise(
                        time: now, made: made, host: Int32(number), other: Int32(other)))
            }
        }
    }
}
