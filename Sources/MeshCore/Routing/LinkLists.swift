import MeshWire

/// Who has which links, as far as this node has been told: its neighbours and theirs (DESIGN §2,
/// lookahead 2). At most d + d² lists matter; others are forgotten in `retain`.
///
/// Sorted by owner, 40 bytes a list and the links themselves, which nodes of one process share
/// (`MemberBook`).
struct LinkLists {
    private struct Entry {
        var owner: NodeID
        var incarnation: Incarnation
        var links: [NodeID]
        var version: UInt32
        var hopsLeft: UInt8
    }
    private var entries: [Entry] = []
    /// This node's own links have changed since they were last told.
    var isOwnStale = false
    /// Neighbours whose new list is to be passed on.
    private var unpassed: [NodeID] = []

    /// The neighbour's list is to be passed on, once, however often it changes until then.
    mutating func pass(_ owner: NodeID) {
        if !unpassed.contains(owner) { unpassed.append(owner) }
    }

    /// The lists to pass on now.
    mutating func takeUnpassed() -> [LinkList] {
        var lists: [LinkList] = []
        for owner in unpassed {
            guard var list = list(of: owner) else { continue }
            list.hopsLeft = 0
            lists.append(list)
        }
        unpassed.removeAll(keepingCapacity: true)
        return lists
    }

    /// Where the list of `id` is, or would be inserted.
    @inline(__always)
    private func place(of id: NodeID) -> Int {
        partitionPoint(entries.count) { entries[$0].owner < id }
    }

    @inline(__always)
    private func find(_ id: NodeID) -> Int? {
        let place = place(of: id)
        return place < entries.count && entries[place].owner == id ? place : nil
    }

    /// Takes a list if it is newer than what is known. Returns whether it was.
    mutating func adopt(_ list: LinkList, _ members: borrowing MemberTable) -> Bool {
        let place = place(of: list.owner)
        let isKnown = place < entries.count && entries[place].owner == list.owner
        if isKnown {
            let known = (entries[place].incarnation.life, entries[place].version)
            guard known < (list.incarnation.life, list.version) else { return false }
        }
        let entry = Entry(
            owner: list.owner, incarnation: list.incarnation, links: members.shared(list),
            version: list.version, hopsLeft: list.hopsLeft)
        if isKnown { entries[place] = entry } else { entries.insert(entry, at: place) }
        return true
    }

    func links(of id: NodeID) -> [NodeID]? { find(id).map { entries[$0].links } }

    func list(of id: NodeID) -> LinkList? {
        find(id).map { place in
            let entry = entries[place]
            return LinkList(
                owner: entry.owner, incarnation: entry.incarnation, version: entry.version,
                hopsLeft: entry.hopsLeft, links: entry.links)
        }
    }

    mutating func remove(_ id: NodeID) {
        if let place = find(id) { entries.remove(at: place) }
    }

    var count: Int { entries.count }

    /// Forgets all lists but those of `owners`, in any order and more than once.
    mutating func retain(_ owners: [NodeID]) {
        let wanted = owners.sorted()
        var place = 0
        entries.removeAll { entry in
            while place < wanted.count, wanted[place] < entry.owner { place += 1 }
            return place == wanted.count || wanted[place] != entry.owner
        }
    }
}
