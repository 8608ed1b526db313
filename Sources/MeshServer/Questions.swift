import MeshCore
import MeshGateway
import MeshWire

// Questions of clients to other nodes: the names of nodes in their answers, and their end.

extension Server {
    mutating func finished(_ query: QueryID) {
        let silent = edge.gateway.hub.silentHolders(query) { holders(of: $0) }
        if !silent.isEmpty {
            let members = Members(node.memberReports())
            for holder in silent { edge.gateway.hub.traced(query, members.way(to: holder, nil)) }
        }
        if let found = edge.gateway.hub.location(query, among: { holders(of: $0) }) {
            replyWhereabouts(found.nodes, to: found.client)
        }
        if let asked = edge.gateway.hub.namesNodes(query) {
            let members = Members(node.memberReports())
            edge.gateway.hub.nameNodes(query, holders: holders(of: asked)) { members.name($0) }
        }
        let isPresent = edge.gateway.hub.target(of: query).map { node.isPresent($0) } ?? true
        let unheard = edge.gateway.hub.unheard(query).map { Members(node.memberReports()).name($0) }
        if let client = edge.gateway.hub.finished(
            query, isTargetPresent: isPresent, unheard: unheard)
        {
            pause.resumable.append(client)
        }
    }

    mutating func traced(
        _ query: QueryID, _ holder: NodeID, _ path: Slice, _ bytes: Span<UInt8>
    ) {
        let members = Members(node.memberReports())
        var hops: [String] = []
        var at = Int(path.start)
        while at + 8 <= path.end {
            hops.append(members.name(NodeID(bytes.load(UInt64.self, at: at))))
            at += 8
        }
        edge.gateway.hub.traced(query, members.way(to: holder, hops))
    }
}
