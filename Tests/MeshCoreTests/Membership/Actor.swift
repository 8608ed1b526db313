import MeshWire

@testable import MeshCore

/// Somebody on the stage: a node, or a part that the script plays.
final class Actor {
    /// One end of a connection.
    struct Wire {
        /// Nil: it has not got there yet.
        var peer: String?
        var peerLink = LinkIndex.none
        /// Rises with each connection: what is meant for a former one is dropped.
        var use: Int
    }

    /// The fate of those who dial a played part.
    enum Door { case open, shut, mute }

    let name: String
    /// Its record of itself at first.
    let record: MemberRecord
    private var nodes = Slab<Node>(capacity: 1)
    var effects = EffectBuffer()
    var wires: [LinkIndex: Wire] = [:]
    var view = NodeView()
    var isUp = true
    var isFrozen = false
    /// The frames that have come while it was frozen.
    var waiting: [() -> Void] = []
    /// Of a played part.
    var door = Door.open
    /// A played part answers what is asked of it, as a node would that knows what the asker knows.
    var isObliging = false
    private var uses = 0

    init(_ name: String, _ record: MemberRecord) {
        self.name = name
        self.record = record
    }

    func begin(_ configuration: Configuration, seed: UInt64, at now: Instant) {
        nodes.append(
            Node(
                id: record.id, incarnation: record.incarnation, seed: seed,
                configuration: configuration, hasher: KeyHasher(cluster: "transcript"), at: now))
    }

    /// It is a node and no part that the script plays.
    var hasNode: Bool { nodes.count > 0 }

    var node: Node {
        _read { yield nodes[0] }
        _modify { yield &nodes[0] }
    }

    /// The sum of what a member holds, as this node knows it.
    func keySum(of id: NodeID) -> UInt64 {
        node.members.index(of: id).map { node.members[$0].log.keySum } ?? 0
    }

    var isRunning: Bool { isUp && !isFrozen }

    func nextUse() -> Int {
        uses += 1
        return uses
    }

    /// The bytes of a frame that it sends.
    func frame(_ head: Slice, _ body: Slice, _ bytes: [UInt8]) -> [UInt8] {
        effects.bytes.withSpan { $0.array(head) } + bytes.span.array(body)
    }

    func peer(of link: LinkIndex) -> String? { wires[link]?.peer }
}
