import MeshCore
import MeshGateway
import MeshWire

// Requests of clients, and replies: the hub knows who waits for what, the node who holds a service.

extension Server {
    /// Has nodes chosen for the requests that seek one, and sends what goes to nodes, until nothing is left.
    ///
    /// - Returns: the last thing that was too full.
    mutating func settleRequests(_ effects: inout ServerEffects) -> Congestion? {
        var congestion: Congestion?
        while true {
            if let sought = edge.gateway.hub.nextSought() {
                let holders = holders(of: sought.name)
                let nodes =
                    sought.prefersNear && holders.count > 1 ? node.byDistance(holders) : holders
                let suspects = node.hasSuspects ? nodes.filter { node.isSuspect($0) } : []
                edge.gateway.hub.place(sought.number, among: nodes, suspects: suspects)
            } else if let post = edge.gateway.hub.outbox.posts.popFirst() {
                congestion = send(post, &effects) ?? congestion
            } else {
                return congestion
            }
        }
    }

    private mutating func send(_ post: Post, _ effects: inout ServerEffects) -> Congestion? {
        if post.destination == node.id {
            edge.gateway.hub.deliver(
                post.body, post.key, name: post.name, payload: post.payload, post.bytes.span,
                id: MessageID(origin: node.id, number: 0))
            return nil
        }
        let outcome = node.post(
            OutgoingMessage(
                post.body, post.key, name: post.name, payload: post.payload, sender: post.sender),
            to: post.destination, bytes: post.bytes.span, at: now, into: &effects.own)
        edge.gateway.hub.posted(post, fate(of: post, outcome.verdict))
        transfer(post.bytes.span, &effects)
        return outcome.congestion
    }

    private func fate(of post: Post, _ verdict: PublishOutcome.Verdict) -> PostFate {
        switch verdict {
        case .sent, .parked: .sent
        case .refused: .refused
        case .nowhere: node.takesPosts(post.destination) ? .nowhere : .unsupported
        }
    }
}
