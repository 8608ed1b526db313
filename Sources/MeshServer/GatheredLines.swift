import MeshCore
import MeshWire

/// Lines of the log that strangers and clients can cause as often as they like: scanners and health checks
/// on the wrong port, clients that read too slowly again and again.
///
/// The first of a kind from a host is written at once; what follows in ten seconds is counted, and told by
/// one line: the latest, with `count`. A host that is quiet for ten seconds is forgotten. Beyond `hostMax` of
/// them all others share one such line.
///
///     misbehaved address=10.0.0.7:50123 reason=…
///     misbehaved address=10.0.0.7:50977 reason=… count=118
///     misbehaved address=10.9.1.4:40001 reason=… count=2304 hosts=others
struct GatheredLines {
    private struct Entry {
        /// Empty in the entry that hosts beyond `hostMax` share.
        var host: String
        /// The latest line that was not written.
        var line: LogLine
        /// The number of lines that were not written.
        var count: Int
        var nextLine: Instant
    }

    private var entries: [Entry] = []
    private(set) var nextDeadline: Instant?

    /// Both are guesses, not yet measured.
    static var hostMax: Int { 64 }
    static var pause: Delay { .seconds(10) }

    /// A line about somebody at `address`, which may end with a port.
    ///
    /// - Returns: whether it is to be written now.
    mutating func admit(_ line: LogLine, from address: String, at now: Instant) -> Bool {
        var host = address.lastIndex(of: ":").map { String(address[..<$0]) } ?? address
        var found = entries.firstIndex { $0.host == host && $0.line.event == line.event }
        if found == nil, entries.count >= Self.hostMax {
            host = ""
            found = entries.firstIndex { $0.host.isEmpty }
        }
        if let found {
            entries[found].line = line
            entries[found].count += 1
            return false
        }
        let next = now + Self.pause
        entries.append(Entry(host: host, line: line, count: 0, nextLine: next))
        nextDeadline = min(nextDeadline ?? next, next)
        return true
    }

    /// The lines that are due.
    mutating func take(at now: Instant) -> [LogLine] {
        guard let due = nextDeadline, due <= now else { return [] }
        var lines: [LogLine] = []
        entries.removeAll { $0.nextLine <= now && $0.count == 0 }
        for place in entries.indices where entries[place].nextLine <= now {
            var line = entries[place].line
            line.fields.append(("count", .integer(entries[place].count)))
            if entries[place].host.isEmpty { line.fields.append(("hosts", .text("others"))) }
            lines.append(line)
            entries[place].count = 0
            entries[place].nextLine = now + Self.pause
        }
        nextDeadline = entries.map(\.nextLine).min()
        return lines
    }
}

extension Server {
    /// A line about a peer at this address, to be written now; nil: it is one of many, and told with them.
    public mutating func gathered(
        _ line: LogLine, at endpoint: Endpoint, now: Instant
    ) -> LogLine? {
        gatheredLines.admit(line, from: endpoint.description, at: now) ? line : nil
    }

    /// The log's line for an event of the node; nil: it is one of many, and told with them.
    ///
    /// - Parameter endpoint: where the peer of a link connects from, or was dialled.
    public mutating func lineNow(
        for event: LogEvent, now: Instant, endpoint: (LinkIndex) -> Endpoint
    ) -> LogLine? {
        let line = line(for: event, endpoint: endpoint)
        switch event {
        case .protocolError(let link, _, _), .wrongVersion(let link, _), .otherCluster(let link),
            .greetingDisplaced(let link):
            return gathered(line, at: endpoint(link), now: now)
        default: return line
        }
    }

    /// Lines that tell of many.
    mutating func tellGathered(at now: Instant, _ effects: inout ServerEffects) {
        for line in gatheredLines.take(at: now) { effects.orders.append(.log(line)) }
    }
}
