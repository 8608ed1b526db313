import MeshWire

/// What a node tells of its links, for the lookahead of its neighbours and theirs.
extension Node {
    /// Links have come, gone, or are doubted: routes are stale, and others should know.
    mutating func linksChanged() {
        router.invalidate()
        ownListChanged()
    }

    /// What this node tells of its links is to be told, with what changes in the next moment.
    mutating func ownListChanged() {
        let due = max(now + .milliseconds(20), listNews.toldAt + listNews.pause)
        listNews.ownDue = listNews.ownDue ?? due
        timers.schedule(.linkList, at: due)
    }

    private var ownList: LinkList {
        LinkList(
            owner: id, incarnation: incarnation, version: listVersion, hopsLeft: 1,
            links: links.established.filter { links[$0].isUsable }.map { links[$0].peer })
    }

    /// Tells the neighbours this node's own list, if it is time, and those to be passed on.
    mutating func tellLinkLists(_ effects: inout EffectBuffer) {
        var told: [LinkList] = []
        if let due = listNews.ownDue, due <= now {
            listNews.ownDue = nil
            listVersion &+= 1
            told.append(ownList)
        }
        let source = told.isEmpty ? listNews.source : -1
        for owner in listNews.owners {
            guard var list = lists.list(of: owner) else { continue }
            list.hopsLeft = 0
            told.append(list)
        }
        listNews.told(at: now)
        timers[.linkList] = nil
        if let due = listNews.ownDue {
            timers.schedule(.linkList, at: max(due, now + listNews.pause))
        }
        if told.isEmpty { return }
        let frame = effects.bytes.appendLinkFrame(.linkLists(told))
        for link in links.established where link != source {
            transmit(frame, .empty, .control, over: link, &effects)
        }
    }

    /// A neighbour's list goes one hop further: at once, or with others while there are many.
    private mutating func passOn(_ owner: NodeID, from link: LinkIndex) {
        listNews.passOn(owner, from: link)
        timers.schedule(.linkList, at: max(now, listNews.toldAt + listNews.pause))
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

    mutating func adopt(
        _ received: [LinkList], from link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        var isChanged = false
        for list in received where list.owner != id {
            // Lists of strangers are no use, and would let a liar fill this node's memory.
            guard let owner = members.index(of: list.owner), members.standing(of: owner).isPresent,
                list.links.count <= 64, lists.adopt(list, members)
            else { continue }
            isChanged = true
            // Only the owner's own neighbours pass its list on, one hop.
            if list.hopsLeft == 1, list.owner == links[link].peer {
                passOn(list.owner, from: link)
            }
        }
        if isChanged {
            router.invalidate()
            retainUsefulLists()
        }
        if !listNews.owners.isEmpty, now >= listNews.toldAt + listNews.pause {
            tellLinkLists(&effects)
        }
    }
}

/// Link lists that the neighbours are to be told.
///
/// A single change travels at once. While links change all the time, as in the start of a thousand
/// nodes, changes are gathered, so that a node tells its neighbours no more than six times a second:
/// each by itself, they were two thirds of the bytes and of the frames of such a start.
struct ListNews {
    /// When this node's own list is to be told; nil: all know it.
    var ownDue: Instant?
    /// Neighbours whose lists are to be passed on.
    private(set) var owners: [NodeID] = []
    /// The link that all of them came over, which need not be told; -1: over several.
    private(set) var source: LinkIndex = -1
    private(set) var toldAt: Instant
    /// At least so long between one telling and the next.
    private(set) var pause = pauseMin

    /// Guesses: what a message loses by a list that is so old, in the middle of many changes, is a
    /// detour.
    static var pauseMin: Delay { .milliseconds(10) }
    static var pauseMax: Delay { .milliseconds(160) }

    init(at now: Instant) { toldAt = now - .seconds(1) }

    mutating func passOn(_ owner: NodeID, from link: LinkIndex) {
        source = owners.isEmpty || source == link ? link : -1
        if !owners.contains(owner) { owners.append(owner) }
    }

    mutating func told(at now: Instant) {
        owners.removeAll(keepingCapacity: true)
        pause = now - toldAt > pause * 2 ? Self.pauseMin : min(pause * 2, Self.pauseMax)
        toldAt = now
    }
}
