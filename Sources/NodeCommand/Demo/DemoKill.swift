/// A node that the demo has killed, and how the others got over it.
struct DemoKill {
    var node: Int
    var killedAt: Duration
    /// The users that were attached to it.
    var users: [Int]
    /// When the last of the other nodes had dropped it from its members.
    var droppedAt: Duration?
    /// When the last of its users was attached to another node.
    var usersBackAt: Duration?
    /// When the first message from another node reached one of them there.
    var flowingAt: Duration?
    /// When the last of the other nodes knew where each of them is now. From here on each message
    /// to them must arrive, whether or not the dead node is still taken for a member.
    var knownAt: Duration?

    /// Messages that lay in queues and sockets when it died were sent a little before. Generous: on an
    /// idle machine it is less than a millisecond.
    static let inFlight = Duration.milliseconds(100)

    /// At this time some node may have known its users at the dead node alone.
    func hidesUsers(at time: Duration) -> Bool {
        time >= killedAt - Self.inFlight && (knownAt.map { time <= $0 } ?? true)
    }

    /// At this time some node may have sent messages on by way of the dead node.
    func blocksWays(at time: Duration) -> Bool {
        time >= killedAt - Self.inFlight && (droppedAt.map { time <= $0 } ?? true)
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
            let time = copy.sentAt
            let hasMoved = kills.contains {
                $0.users.contains(course.receiver) && $0.hidesUsers(at: time)
            }
            if hasMoved {
                if copy.answer == 0 { refused += 1 } else { toKilled += 1 }
            } else if kills.contains(where: { $0.node == copy.node && $0.hidesUsers(at: time) }) {
                fromKilled += 1
            } else if !isFullMesh, copy.answer != 0,
                kills.contains(where: { $0.blocksWays(at: time) })
            {
                throughKilled += 1
            } else {
                unexplained += 1
            }
        }
    }

    init() {}
}
