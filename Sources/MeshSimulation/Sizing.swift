/// What a node will need, from a model whose parts are measured (`SizingTests` compares it with
/// runs).
public struct Sizing: Sendable {
    public var nodes: Int
    public var degree = 16
    /// Users online in the whole mesh.
    public var users: Double
    /// Directory changes a second, of the whole mesh.
    public var churn: Double
    /// Messages a second to users, of the whole mesh, and their bytes of payload.
    public var messageRate: Double
    public var messageSize = 128.0

    public init(nodes: Int, users: Double, churn: Double, messageRate: Double) {
        self.nodes = nodes
        self.users = users
        self.churn = churn
        self.messageRate = messageRate
    }

    public var links: Double { Double(min(degree, nodes - 1)) }

    /// Mean hops of our graph by lookahead 2: the mean at d = 16 of `hops.csv`, between whose rows
    /// it is interpolated by the logarithm of the number of nodes.
    public var hops: Double {
        guard nodes > degree + 1 else { return 1 }
        let rows: [(Double, Double)] = [
            (17, 1), (100, 1.91), (1_000, 2.87), (10_000, 4.05), (100_000, 5.48),
            (1_000_000, 6.93), (10_000_000, 8.4),
        ]
        let x = log2(Double(nodes))
        for (low, high) in zip(rows, rows.dropFirst()) where Double(nodes) <= high.0 {
            let share = (x - log2(low.0)) / (log2(high.0) - log2(low.0))
            return low.1 + share * (high.1 - low.1)
        }
        return rows[rows.count - 1].1
    }

    /// A heartbeat of 29 bytes over each link every 0.45 s.
    public var heartbeatBytesPerSecond: Double { links * 29 / 0.45 }

    /// Each change reaches each node once, in 7 bytes; what is gathered for 10 ms shares a frame of
    /// 60 bytes. What comes in is passed on once, on average.
    public var directoryBytesPerSecond: Double {
        let origins = min(Double(nodes), churn)
        let batches = min(churn, origins * 100)
        return churn * 7 + batches * 60
    }

    /// Sent by a node: its own messages, and those that it passes on for others.
    public var messageBytesPerSecond: Double {
        messageRate / Double(nodes) * hops * (messageSize + 60)
    }

    public var bytesPerSecond: Double {
        heartbeatBytesPerSecond + directoryBytesPerSecond + messageBytesPerSecond
    }

    /// 11.5 bytes a user (`DirectoryTable`), 420 bytes a member, 1.6 MB of recent records, and what a
    /// process takes before it does anything.
    public var memoryBytes: Double {
        users * 11.5 + Double(nodes) * 420 + 65_536 * 24 + 16e6
    }

    /// Seconds until a crash is known to all: the flood's depth at a millisecond a hop, after the
    /// reset has been seen and the address has refused.
    public var detectionSeconds: Double { 0.05 + hops * 0.001 }

    public var json: String {
        var object = JSONObject()
        object["nodes"] = String(nodes)
        object["links"] = decimal(links)
        object["hops"] = decimal(hops)
        object["memoryBytes"] = decimal(memoryBytes, places: 0)
        object["bytesOutPerSecond"] = decimal(bytesPerSecond, places: 0)
        object["bytesInPerSecond"] = decimal(bytesPerSecond, places: 0)
        object["heartbeatBytesPerSecond"] = decimal(heartbeatBytesPerSecond, places: 0)
        object["directoryBytesPerSecond"] = decimal(directoryBytesPerSecond, places: 0)
        object["messageBytesPerSecond"] = decimal(messageBytesPerSecond, places: 0)
        object["detectionSeconds"] = decimal(detectionSeconds)
        return object.text
    }

    public var table: String {
        """
        each of \(nodes) nodes will need about
          memory       \(decimal(memoryBytes / 1e6, places: 1)) MB
          bandwidth    \(decimal(bytesPerSecond * 8e-6, places: 3)) Mbit/s in, and as much out
                         heartbeats \(decimal(heartbeatBytesPerSecond, places: 0)) bytes/s, \
        directory \(decimal(directoryBytesPerSecond, places: 0)), \
        messages \(decimal(messageBytesPerSecond, places: 0))
          links        \(decimal(links))
          hops         \(decimal(hops, places: 2)) for a message on average
          convergence  \(decimal(detectionSeconds, places: 2)) s until all know of a crash, \
        5 s if a machine falls silent
        """
    }
}
