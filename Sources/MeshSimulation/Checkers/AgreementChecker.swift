import MeshCore

/// All nodes that can reach each other know the same members and the same directory, a stated time
/// after the last fault.
struct AgreementChecker {
    /// The findings of one look at all nodes.
    struct Look {
        /// Of the nodes that are up, the share whose members are exactly those that it can reach.
        var share = 1.0
        /// Every node knows exactly those that it can reach.
        var isMembershipRight = true
        /// And all of them have the same directory.
        var isDirectoryEqual = true
        /// A node that is wrong, -1: none.
        var culprit: Int?
        var text = ""
    }

    /// The last part whose members were compared id by id, and were right: with this digest they
    /// still are.
    private var proven: (digest: UInt64, hosts: [Int]) = (0, [])

    /// O(nodes): counts and digests. A digest covers ids, incarnations and directory, so the ids
    /// themselves are compared on one node of each part alone, when the digest is a new one.
    mutating func look(_ world: borrowing World, _ live: [Int]) -> Look {
        var look = Look()
        var parts: [(group: Int, hosts: [Int])] = []
        for host in live where !world.network.isIsolated(host) && !world.isFrozen(host) {
            let group = world.network.group(of: host)
            if let position = parts.firstIndex(where: { $0.group == group }) {
                parts[position].hosts.append(host)
            } else {
                parts.append((group, [host]))
            }
        }
        var right = 0
        var total = 0
        for part in parts {
            let digest = world.digest(part.hosts[0])
            for host in part.hosts {
                total += 1
                let members = world.memberCount(host)
                if members == part.hosts.count {
                    right += 1
                } else {
                    look.isMembershipRight = false
                    if look.culprit == nil {
                        look.culprit = host
                        look.text = "knows \(members) members, \(part.hosts.count) are up"
                    }
                }
                if world.digest(host) != digest {
                    look.isDirectoryEqual = false
                    if look.culprit == nil {
                        look.culprit = host
                        look.text = "has another directory than host \(part.hosts[0])"
                    }
                }
            }
            let isProven = proven.digest == digest && proven.hosts == part.hosts
            if look.isMembershipRight, look.isDirectoryEqual, !isProven {
                let known = world.members(part.hosts[0]).map(\.id)
                if known != part.hosts.map({ world.id($0) }).sorted() {
                    look.isMembershipRight = false
                    look.culprit = part.hosts[0]
                    look.text = "knows the right number of members, but not the right ones"
                } else {
                    proven = (digest, part.hosts)
                }
            }
        }
        look.share = total == 0 ? 1 : Double(right) / Double(total)
        return look
    }

    /// The violation, if the look comes after the stated time.
    func check(_ look: Look, at now: Instant, _ truth: Truth, settle: Delay) -> Violation? {
        guard now > truth.lastTrouble + settle else { return nil }
        let isQuiet = now > truth.lastDirectoryChange + .seconds(3)
        guard !look.isMembershipRight || isQuiet && !look.isDirectoryEqual else { return nil }
        return Violation(checker: .agreement, time: now, host: look.culprit, text: look.text)
    }
}
