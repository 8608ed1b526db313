/// A node that the demo has killed, and how the others got over it.
struct DemoKill {
    var node: Int
    var killedAt: Duration
    /// Who was attached to it.
    var users: [Int]
    /// When the last of the other nodes had dropped it from its members.
    var droppedAt: Duration?
    /// When the last of its users was attached to another node.
    var usersBackAt: Duration?
    /// When the first message from another node reached one of them there.
    var flowingAt: Duration?
    /// When the last of the other nodes knew where each of them is now. From here on each message
    /// to them must arrive.
    var knownAt: Duration?

    /// What lay in queues and sockets when it died was sent a little before. Generous: on an idle
    /// machine it is less than a millisecond.
    static let inFlight = Duration.milliseconds(100)

    /// A copy sent at this time could have been for the dead node, as far as its sender's node knew.
    func covers(_ time: Duration) -> Bool {
        time >= killedAt - Self.inFlight && (knownAt.map { time <= $0 } ?? true)
    }
}

/// Why copies are missing.
struct DemoLosses: Equatable {
    /// Addressed to users of a killed node, before every node knew where they are now.
    var toKilled = 0
    /// Sent through a killed node's own clients, just before it died.
    var fromKilled = 0
    /// On their way while a node that could have been on it was dying; in a full mesh there is none.
    var throughKilled = 0
    /// Refused at once, the sender knows: the answer was 0, nobody there. Only around a kill.
    var refused = 0
    /// None of these: lost.
    var unexplained = 0

    var withKilled: Int { toKilled + fromKilled + throughKilled }

    /// - Parameter isFullMesh: each node has a link to each other: no third one is on any way.
    init(
        _ missing: [(course: DemoLedger.Course, copy: DemoLedger.Copy)], _ kills: [DemoKill],
        isFullMesh: Bool
    ) {
        for (course, copy) in missing {
            let around = kills.filter { $0.covers(copy.sentAt) }
            if around.contains(where: { $0.users.contains(course.receiver) }) {
                if copy.answer == 0 { refused += 1 } else { toKilled += 1 }
            } else if around.contains(where: { $0.node == copy.node }) {
                fromKilled += 1
            } else if copy.answer != 0, !isFullMesh, !around.isEmpty {
                throughKilled += 1
            } else {
                unexplained += 1
            }
        }
    }

    init() {}
}
