import MeshWire

/// The links of others, as far as this node has been told: of its neighbours and theirs (<doc:Routing>,
/// lookahead 2). At most d + d² lists matter; others are forgotten in `retain`.
///
/// Sorted by owner, 40 bytes a list and the links themselves, which nodes of one process share
/// (`RecordInterner`). The owners stand by themselves, so that a search stays within a few lines of the
/// cache.
struct LinkLists {
    struct Entry {
        var incarnation: Incarnation
        var links: [NodeID]
        var version: UInt32
        var hopsLeft: UInt8
    }
    private(set) var entries: [Entry] = []
    private(set) var owners: [NodeID] = []
    /// The version of this node's own list.
    var ownVersion: UInt32 = 0
    /// This node's own links have changed since they were last told.
    var isOwnStale = false
    /// This node's own links as they were last told, in order.
    private(set) var told: [NodeID] = []
    /// Neighbours whose new list is to be passed on, and the list that was passed on before.
    private var unpassed: [(owner: NodeID, former: [NodeID]?)] = []
    /// When lists were last told, and at least how long before they are told again.
    private var toldAt: Instant?
    private var pause = pauseMin
    /// See `anticipate`.
    var anticipated: UInt64 = 0

    /// The neighbour's list is to be passed on, once, however often it changes until then.
    ///
    /// - Parameter former: what was known of its links before; nil: nothing that the others know too.
    mutating func pass(_ owner: NodeID, former: [NodeID]?) {
        if !unpassed.contains(where: { $0.owner == owner }) { unpassed.append((owner, former)) }
    }

    /// There is something to tell neighbours.
    var hasNews: Bool { isOwnStale || !unpassed.isEmpty }

    /// When what changes now is to be told: with all else of the next moment. In a large mesh whose
    /// links change all the time, as in the start of a thousand nodes, with all of a longer time: a
    /// frame a link every 20 ms is most of what such a start does, and a list that is so much older
    /// costs a message a detour.
    func due(_ now: Instant) -> Instant {
        let soon = now + Self.pauseMin
        return toldAt.map { max(soon, $0 + pause) } ?? soon
    }

    /// Lists are told now.
    mutating func told(at now: Instant, members: Int) {
        let isBusy = members > 512 && toldAt.map { now - $0 <= pause * 2 } ?? false
        pause = isBusy ? min(pause * 2, Self.pauseMax) : Self.pauseMin
        toldAt = now
    }

    /// Guesses.
    private static var pauseMin: Delay { .milliseconds(20) }
    private static var pauseMax: Delay { .milliseconds(160) }

    /// The lists to pass on now.
    mutating func takeUnpassed() -> LinkNews {
        var news = LinkNews()
        for (owner, former) in unpassed {
            guard var list = list(of: owner) else { continue }
            list.hopsLeft = 0
            news.append(list, former: former)
        }
        unpassed.removeAll(keepingCapacity: true)
        return news
    }

    /// Nobody may remember this node's own links: they are told whole.
    mutating func forgetTold() { told = [] }

    /// This node's own links are told now; returns what was told before.
    mutating func tell(_ links: [NodeID]) -> [NodeID] {
        defer { told = links }
        return told
    }

    @inline(__always)
    private func find(_ id: NodeID) -> Int? {
        let position = id.lowerBound(in: owners)
        return position < owners.count && owners[position] == id ? position : nil
    }

    /// Takes a list if it is newer than what is known. Returns whether it was.
    mutating func merge(_ list: LinkList, _ members: borrowing MemberTable) -> Bool {
        let position = list.owner.lowerBound(in: owners)
        let isKnown = position < owners.count && owners[position] == list.owner
        if isKnown {
            let known = (entries[position].incarnation.life, entries[position].version)
            guard known < (list.incarnation.life, list.version) else { return false }
        }
        let entry = Entry(
            incarnation: list.incarnation, links: members.shared(list), version: list.version,
            hopsLeft: list.hopsLeft)
        if isKnown {
            entries[position] = entry
        } else {
            entries.insert(entry, at: position)
            owners.insert(list.owner, at: position)
        }
        return true
    }

    /// The outcome of a change that was told.
    enum Outcome { case taken, known, misfit }

    /// Takes a change of a list, if the list that it makes of the one known here is its owner's.
    mutating func apply(_ change: LinkListChange, _ members: borrowing MemberTable) -> Outcome {
        guard let position = find(change.owner) else { return .misfit }
        if change.version <= entries[position].version { return .known }
        guard change.removed.count <= Self.linkCountMax, change.added.count <= Self.linkCountMax
        else { return .misfit }
        var links = entries[position].links.filter { link in
            !change.removed.contains(UInt32(truncatingIfNeeded: link.rawValue >> 32))
        }
        for link in change.added where !links.contains(link) { links.append(link) }
        links.sort()
        guard links.count <= Self.linkCountMax, LinkNews.check(links) == change.check else {
            return .misfit
        }
        entries[position].version = change.version
        entries[position].hopsLeft = change.hopsLeft
        entries[position].links = links
        if let list = list(of: change.owner) { entries[position].links = members.shared(list) }
        return .taken
    }

    /// Nobody has more.
    static var linkCountMax: Int { 64 }

    func links(of id: NodeID) -> [NodeID]? { find(id).map { entries[$0].links } }

    func list(of id: NodeID) -> LinkList? {
        find(id).map { position in
            let entry = entries[position]
            return LinkList(
                owner: id, incarnation: entry.incarnation, version: entry.version,
                hopsLeft: entry.hopsLeft, links: entry.links)
        }
    }

    mutating func remove(_ id: NodeID) {
        guard let position = find(id) else { return }
        entries.remove(at: position)
        owners.remove(at: position)
    }

    var count: Int { entries.count }

    /// Forgets all lists but those of `useful` nodes, in any order and more than once.
    mutating func retain(_ useful: [NodeID]) {
        let wanted = useful.sorted()
        var next = 0
        var kept = 0
        for position in owners.indices {
            while next < wanted.count, wanted[next] < owners[position] { next += 1 }
            guard next < wanted.count, wanted[next] == owners[position] else { continue }
            owners[kept] = owners[position]
            entries[kept] = entries[position]
            kept += 1
        }
        owners.removeSubrange(kept...)
        entries.removeSubrange(kept...)
    }
}

/// News of links for neighbours: the changes alone, where they know the lists of before.
struct LinkNews {
    private(set) var whole: [LinkList] = []
    private(set) var changes: [LinkListChange] = []

    var isEmpty: Bool { whole.isEmpty && changes.isEmpty }
    /// The owner of the links, if they are those of one node.
    var onlyOwner: NodeID? {
        whole.count + changes.count == 1 ? whole.first?.owner ?? changes.first?.owner : nil
    }

    /// - Parameter former: the links that the neighbours know; nil: they may know none.
    mutating func append(_ list: LinkList, former: [NodeID]?) {
        guard let former else { return whole.append(list) }
        let removed = former.filter { !list.links.contains($0) }
        let added = list.links.filter { !former.contains($0) }
        // Four bytes, and eight, against eight for each link there is.
        guard removed.count + 2 * added.count < 2 * list.links.count else {
            return whole.append(list)
        }
        changes.append(
            LinkListChange(
                owner: list.owner, version: list.version, hopsLeft: list.hopsLeft,
                check: Self.check(list.links),
                removed: removed.map { UInt32(truncatingIfNeeded: $0.rawValue >> 32) },
                added: added))
    }

    /// Of equal sets of links the same, of others another but for one time in 2^32.
    static func check(_ links: [NodeID]) -> UInt32 {
        var sum: UInt64 = 0
        for link in links { sum &+= RandomSource.mix(link.rawValue) }
        return UInt32(truncatingIfNeeded: sum)
    }
}
