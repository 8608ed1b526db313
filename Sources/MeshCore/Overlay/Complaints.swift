import MeshWire

/// Mistakes of addresses and names that the log was told of, so that each stands there once in a while and
/// not at every attempt.
struct Complaints {
    /// The name of the other cluster whose node was refused last: log events have no room for it.
    var cluster = ""
    private var made: [(subject: UInt64, until: Instant)] = []

    /// Guesses. While there are so many others nothing more is told: the log is for people.
    private static var countMax: Int { 64 }
    private static var pause: Delay { .seconds(600) }

    /// Whether the log is to be told of it now.
    mutating func isNews(_ subject: UInt64, at now: Instant) -> Bool {
        made.removeAll { $0.until <= now }
        if made.count >= Self.countMax || made.contains(where: { $0.subject == subject }) {
            return false
        }
        made.append((subject, now + Self.pause))
        return true
    }
}

extension Node {
    /// Tells the log of a mistake that concerns an address, once in ten minutes.
    mutating func complain(
        of endpoint: Endpoint, _ event: LogEvent, _ effects: inout EffectBuffer
    ) {
        complain(of: endpoint.hash(members.secret), event, &effects)
    }

    mutating func complain(of subject: UInt64, _ event: LogEvent, _ effects: inout EffectBuffer) {
        if complaints.isNews(subject, at: now) { effects.append(.log(event)) }
    }

    /// Somebody has greeted who is of another cluster.
    mutating func complain(
        of cluster: String, _ clusterID: UInt64, on link: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        complaints.cluster = cluster
        complain(of: clusterID, .otherCluster(link), &effects)
    }

    /// Tells the log who is refused. An address of another cluster, or of another version, is asked again
    /// and again, and needs a person once.
    mutating func tellRefusal(
        _ endpoint: Endpoint, _ reason: RefusalReason, _ effects: inout EffectBuffer
    ) {
        switch reason {
        case .wrongCluster, .wrongVersion:
            complain(of: endpoint, .refused(endpoint, reason), &effects)
        default: effects.append(.log(.refused(endpoint, reason)))
        }
    }
}
