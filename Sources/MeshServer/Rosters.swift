import MeshGateway

// Rosters: the hub knows who is in a room here and who watches it, the node which other nodes have members and
// which ones watch.

extension Server {
    /// Tells the hub the holders of the keys that it follows, where they have changed.
    mutating func lookUpHolders() {
        while let lookup = edge.gateway.hub.nextRosterLookup() {
            edge.gateway.hub.found(lookup, holders(of: lookup.holders))
        }
    }
}
