import MeshWire

/// Who has which links, as far as this node has been told: its neighbours and theirs (DESIGN §2,
/// lookahead 2). At most d + d² lists matter; others are forgotten in `retain`.
struct LinkLists {
    private var lists: [NodeID: LinkList] = [:]

    /// Takes a list if it is newer than what is known. Returns whether it was.
    mutating func adopt(_ list: LinkList) -> Bool {
        if let known = lists[list.owner] {
            let isNewer =
                (known.incarnation.life, known.version) < (list.incarnation.life, list.version)
            guard isNewer else { return false }
        }
        lists[list.owner] = list
        return true
    }

    func links(of id: NodeID) -> [NodeID]? { lists[id]?.links }
    func list(of id: NodeID) -> LinkList? { lists[id] }

    mutating func remove(_ id: NodeID) {
        lists[id] = nil
    }

    var count: Int { lists.count }

    /// Forgets all lists but those of `owners`.
    mutating func retain(_ owners: [NodeID]) {
        var kept: [NodeID: LinkList] = [:]
        for owner in owners {
            if let list = lists[owner] { kept[owner] = list }
        }
        lists = kept
    }
}
