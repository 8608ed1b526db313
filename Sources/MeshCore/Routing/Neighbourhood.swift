import MeshWire

/// What a node tells of its links, for the lookahead of its neighbours and theirs.
extension Node {
    /// Links have come, gone, or are doubted: routes are stale, and others should know.
    mutating func linksChanged() {
        router.invalidate()
        ownListChanged()
    }

    mutating func ownListChanged() {
        lists.isOwnStale = true
        tellLinkListsSoon()
    }

    private mutating func tellLinkListsSoon() {
        timers.schedule(.linkList, at: lists.due(now))
    }

    private var ownList: LinkList {
        LinkList(
            owner: id, incarnation: incarnation, version: listVersion, hopsLeft: 1,
            links: links.established.filter { links[$0].isUsable }.map { links[$0].peer })
    }

    /// Tells all neighbours this node's own links, and of each other neighbour its new ones. What
    /// changes within a moment travels together: each list goes to d² nodes, and where a part of the
    /// mesh changes, most lists there do.
    mutating func tellLinkLists(_ effects: inout EffectBuffer) {
        lists.told(at: now, members: members.ring.count)
        var told = lists.takeUnpassed()
        if lists.isOwnStale {
            lists.isOwnStale = false
            listVersion &+= 1
            told.append(ownList)
        } else if told.count == 1 {
            let owner = told[0].owner
            send(
                .linkLists(told), over: links.established.filter { links[$0].peer != owner },
                &effects)
            return
        }
        if !told.isEmpty { send(.linkLists(told), over: links.established, &effects) }
    }

    /// d + d² lists are of use; the others are forgotten when there are more than twice as many.
    private mutating func retainUsefulLists() {
        let bound = 2 * configuration.degree * (configuration.degree + 1) + 64
        guard lists.count > bound else { return }
        var owners: [NodeID] = []
        for index in links.established {
            owners.append(links[index].peer)
            owners += lists.links(of: links[index].peer) ?? []
        }
        lists.retain(owners)
    }

    /// A new neighbour learns the lists of the others.
    mutating func tellNeighbourhood(to index: LinkIndex, _ effects: inout EffectBuffer) {
        var known: [LinkList] = []
        for link in links.established where link != index {
            if var list = lists.list(of: links[link].peer) {
                list.hopsLeft = 0
                known.append(list)
            }
        }
        if !known.isEmpty { send(.linkLists(known), over: index, &effects) }
    }

    mutating func adopt(_ received: [LinkList], from link: LinkIndex) {
        var isChanged = false
        members.anticipate(received.prefix(64)) { $0.owner }
        lists.anticipate(received)
        for list in received where list.owner != id {
            // Lists of strangers are no use, and would let a liar fill this node's memory.
            guard let owner = members.index(of: list.owner), members.standing(of: owner).isPresent,
                list.links.count <= 64, lists.adopt(list, members)
            else { continue }
            isChanged = true
            // Only the owner's own neighbours pass its list on, one hop.
            if list.hopsLeft == 1, list.owner == links[link].peer {
                lists.pass(list.owner)
                tellLinkListsSoon()
            }
        }
        if isChanged {
            router.invalidate()
            retainUsefulLists()
        }
    }
}
