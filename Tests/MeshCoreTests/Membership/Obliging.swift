import MeshWire

@testable import MeshCore

extension Stage {
    /// A played part that knows what the node knows answers its handshakes, and agrees with it.
    func oblige(
        _ frame: [UInt8], _ part: Actor, _ link: LinkIndex, _ node: Actor, _ nodeLink: LinkIndex
    ) {
        guard let message = words.message(frame) else { return }
        switch message {
        case .hello(let greeting):
            answer(.welcome(words.greeting(greeting.purpose, part.record)), node, nodeLink)
            let others = actors.values.map(\.record).sorted { $0.id < $1.id }
            if greeting.purpose == .introduce {
                answer(.members(others, isRepair: true), node, nodeLink)
                answer(.refuse(.introduced, holder: NodeID(0), Incarnation(0)), node, nodeLink)
                return
            }
            answer(
                .linkLists([
                    LinkList(
                        owner: part.record.id, incarnation: part.record.incarnation, version: 1,
                        hopsLeft: 1, links: others.map(\.id).filter { $0 != part.record.id })
                ]), node, nodeLink)
            answer(.role(.mesh), node, nodeLink)
        case .heartbeat(let heartbeat):
            answer(
                .heartbeat(
                    Heartbeat(digest: heartbeat.digest, sentAt: 1, echo: 0, echoDelay: 0)),
                node, nodeLink)
        default: break
        }
    }

    private func answer(_ message: Message, _ node: Actor, _ link: LinkIndex) {
        let frame = words.frame(message, from: NodeID(0), to: node.record.id)
        schedule(.frame(frame), node.name, link)
    }
}
