import MeshWire

/// Lists of a node's links, for the lookahead of its neighbours and theirs.
extension Node {
    /// Links have come, gone, or are doubted: routes are stale, and others should know.
    mutating func linksChanged() {
        if !secondChoices.isEmpty { takeSecondChoices() }
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

    private func ownList(_ links: [NodeID]) -> LinkList {
        LinkList(
            owner: id, incarnation: incarnation, version: lists.ownVersion, hopsLeft: 1,
            links: links)
    }

    /// Tells all neighbours this node's own links, and of each other neighbour its new ones. What
    /// changes within a moment travels together: each list goes to d² nodes, and where a part of the
    /// mesh changes, most lists there do.
    mutating func tellLinkLists(_ effects: inout EffectBuffer) {
        lists.told(at: now, members: members.ring.count)
        var news = lists.takeUnpassed()
        guard lists.isOwnStale else {
            let owner = news.onlyOwner
            tell(news, over: links.established.filter { links[$0].peer != owner }, &effects)
            return
        }
        lists.isOwnStale = false
        let own = links.established.filter { links[$0].isUsable }.map { links[$0].peer }.sorted()
        let former = lists.tell(own)
        // A link that was there again within the moment is no news, but for its peer.
        if own != former { lists.ownVersion &+= 1 }
        let newcomers = links.established.filter { !links[$0].isListTold }
        if !newcomers.isEmpty {
            var news = news
            news.append(ownList(own), former: nil)
            tell(news, over: newcomers, &effects)
        }
        if own != former { news.append(ownList(own), former: former) }
        tell(news, over: links.established.filter { links[$0].isListTold }, &effects)
        for index in newcomers { links[index].isListTold = true }
    }

    private mutating func tell(
        _ news: LinkNews, over places: [LinkIndex], _ effects: inout EffectBuffer
    ) {
        if !news.whole.isEmpty { send(.linkLists(news.whole), over: places, &effects) }
        if !news.changes.isEmpty { send(.linkChanges(news.changes), over: places, &effects) }
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
    mutating func tellLinkLists(to index: LinkIndex, _ effects: inout EffectBuffer) {
        var known: [LinkList] = []
        for link in links.established where link != index {
            if var list = lists.list(of: links[link].peer) {
                list.hopsLeft = 0
                known.append(list)
            }
        }
        if !known.isEmpty { send(.linkLists(known), over: index, &effects) }
    }

    /// Changes of these owners' links did not fit what the peer knows. It is told their whole
    /// lists, as far as this node passes them on: however much is asked for, d + 1 lists.
    mutating func tellWholeLists(
        of owners: [NodeID], over index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        var whole: [LinkList] = []
        if owners.contains(id) { whole.append(ownList(lists.told)) }
        for link in links.established where link != index && owners.contains(links[link].peer) {
            guard var list = lists.list(of: links[link].peer) else { continue }
            list.hopsLeft = 0
            whole.append(list)
        }
        if !whole.isEmpty { send(.linkLists(whole), over: index, &effects) }
    }

    mutating func merge(_ received: [LinkList], from link: LinkIndex) {
        var isChanged = false
        members.anticipate(received.prefix(64)) { $0.owner }
        lists.anticipate(received)
        for list in received where list.owner != id {
            // Lists of strangers are no use, and would let a liar fill this node's memory.
            guard let owner = members.index(of: list.owner), members.status(of: owner).isPresent,
                list.links.count <= LinkLists.linkCountMax
            else { continue }
            let former = lists.links(of: list.owner)
            guard lists.merge(list, members) else { continue }
            isChanged = true
            passOn(list.owner, hopsLeft: list.hopsLeft, former: former, from: link)
        }
        if isChanged { listsChanged() }
    }

    /// Takes changes of lists; where one does not fit, asks its sender for the whole list.
    mutating func apply(
        _ received: [LinkListChange], from link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        var isChanged = false
        var wanted: [NodeID] = []
        for change in received where change.owner != id {
            guard let owner = members.index(of: change.owner), members.status(of: owner).isPresent
            else { continue }
            let former = lists.links(of: change.owner)
            switch lists.apply(change, members) {
            case .known: break
            case .misfit: wanted.append(change.owner)
            case .taken:
                isChanged = true
                passOn(change.owner, hopsLeft: change.hopsLeft, former: former, from: link)
            }
        }
        if !wanted.isEmpty { send(.linksWanted(wanted), over: link, &effects) }
        if isChanged { listsChanged() }
    }

    /// Only the owner's own neighbours pass its list on, one hop.
    private mutating func passOn(
        _ owner: NodeID, hopsLeft: UInt8, former: [NodeID]?, from link: LinkIndex
    ) {
        guard hopsLeft == 1, owner == links[link].peer else { return }
        lists.pass(owner, former: links[link].isListPassed ? former : nil)
        links[link].isListPassed = true
        tellLinkListsSoon()
    }

    private mutating func listsChanged() {
        router.invalidate()
        retainUsefulLists()
    }
}
