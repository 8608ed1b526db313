import JSON5
import MeshCore
import MeshWire

/// The needs of a node, from a model whose parts are measured (`SizingTests` compares it with
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

    /// Mean hops of our graph by lookahead 2: between the columns of `hopTable` by the logarithm of
    /// the degree, between its rows by that of the number of nodes. Below 100 nodes almost everybody
    /// who is not a neighbour is a neighbour's neighbour. With fewer than 6 links there is a ring, of
    /// two links on either side, and nothing across it.
    public var hops: Double {
        guard nodes > degree + 1 else { return 1 }
        let size = Double(nodes)
        if isBareRing { return size / 8 + 0.5 }
        let first = Self.hopTable[0]
        if size < first.nodes {
            func nearly(_ size: Double) -> Double { 2 - Double(degree) / (size - 1) }
            let rest = column(of: first.hops) - nearly(first.nodes)
            // From three times the degree on some are farther. A fit to graphs of 20 to 80 nodes.
            let knee = min(Double(degree) * 3, 90)
            let share = max(0, log2(size / knee) / log2(first.nodes / knee))
            return nearly(size) + max(0, rest) * share
        }
        for (low, high) in zip(Self.hopTable, Self.hopTable.dropFirst())
        where size <= high.nodes {
            let share = log2(size / low.nodes) / log2(high.nodes / low.nodes)
            return column(of: low.hops) * (1 - share) + column(of: high.hops) * share
        }
        return column(of: Self.hopTable[Self.hopTable.count - 1].hops)
    }

    private var isBareRing: Bool { degree < 6 }

    /// The obstacle to such a mesh; nil: none.
    public var obstacle: String? {
        let most = Int(Frame.hopLimit) * 4
        guard isBareRing, nodes > most else { return nil }
        return "\(degree) links make a ring with nothing across it: of more than \(most) nodes the "
            + "farthest are beyond \(Frame.hopLimit) hops, where messages end; take 6 links or more"
    }

    private static let degrees = [6.0, 8, 12, 16, 24, 32]
    /// As the graphs were measured (MeshCore.docc/Overlay.md), two ring links on either side, by degree;
    /// for 6 and 32 links, and for ten million nodes, `smallworld-sim topology` with seed 1.
    private static let hopTable: [(nodes: Double, hops: [Double])] = [
        (100, [3.063, 2.426, 2.091, 1.900, 1.759, 1.678]),
        (1_000, [5.891, 4.189, 3.219, 2.862, 2.593, 2.422]),
        (10_000, [9.486, 6.419, 4.725, 4.053, 3.398, 3.095]),
        (100_000, [13.797, 9.023, 6.416, 5.479, 4.577, 4.118]),
        (1_000_000, [18.701, 11.918, 8.278, 6.925, 5.757, 5.176]),
        (10_000_000, [24.307, 15.057, 10.244, 8.520, 6.943, 6.192]),
    ]

    private func column(of hops: [Double]) -> Double {
        let degrees = Self.degrees
        let degree = min(max(Double(self.degree), degrees[0]), degrees[degrees.count - 1])
        var position = 0
        while position < degrees.count - 2, degree > degrees[position + 1] { position += 1 }
        let share =
            log2(degree / degrees[position]) / log2(degrees[position + 1] / degrees[position])
        return hops[position] * (1 - share) + hops[position + 1] * share
    }

    /// A heartbeat of 29 bytes over each link every 0.45 s.
    public var heartbeatBytesPerSecond: Double { links * 29 / 0.45 }

    /// Each change reaches each node once, in 7 bytes; what its node gathers for 10 ms shares a
    /// frame with 53 more, and an acknowledgement of 33. What comes in is passed on once, on average.
    public var directoryBytesPerSecond: Double {
        churn * 7 + min(churn, Double(nodes) * 100) * 86
    }

    /// Sent by a node: its own messages, and those that it passes on for others. Frame and name take
    /// 60 bytes; what has its receiver on the sender's own node does not travel.
    public var messageBytesPerSecond: Double {
        let share = Double(nodes - 1) / Double(nodes)
        return messageRate * share / Double(nodes) * hops * (messageSize + 60)
    }

    public var bytesPerSecond: Double {
        heartbeatBytesPerSecond + directoryBytesPerSecond + messageBytesPerSecond
    }

    /// The directory: 11.5 bytes a user (`DirectoryTable`), 2.2 KB where there are few.
    public var directoryMemoryBytes: Double { 2_200 + users * 11.5 }

    /// The directory, 420 bytes a member, 1.6 MB of recent records, and what a process takes before
    /// it does anything.
    public var memoryBytes: Double {
        directoryMemoryBytes + Double(nodes) * 420 + 65_536 * 24 + 16e6
    }

    /// Seconds until a crash is known to all: the reset and the refused address are seen at once, and
    /// the news goes over as many links as the farthest message, a millisecond each.
    public var detectionSeconds: Double { 0.05 + hops * 0.002 }

    /// The same if a machine falls silent and no connection is reset: 1.45 s of silence, 2.5 s in
    /// which it may still refute, up to a heartbeat and a look at the clock: 5 at the most.
    public var silentDetectionSeconds: Double { 5 }

    /// Seconds until a user's arrival is known to all: what is gathered for 10 ms, and the way.
    public var convergenceSeconds: Double { 0.01 + hops * 0.002 }

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
        object["silentDetectionSeconds"] = decimal(silentDetectionSeconds)
        object["convergenceSeconds"] = decimal(convergenceSeconds)
        object["obstacle"] = obstacle.map { quoted($0) } ?? "null"
        return object.text
    }

    public var table: String {
        let text = """
            each of \(nodes) nodes will need about
              memory       \(decimal(memoryBytes / 1e6, places: 1)) MB
              bandwidth    \(decimal(bytesPerSecond * 8e-6, places: 3)) Mbit/s in, and as much out
                             heartbeats \(decimal(heartbeatBytesPerSecond, places: 0)) bytes/s, \
            directory \(decimal(directoryBytesPerSecond, places: 0)), \
            messages \(decimal(messageBytesPerSecond, places: 0))
              links        \(decimal(links))
              hops         \(decimal(hops, places: 2)) for a message on average
              convergence  \(decimal(convergenceSeconds, places: 2)) s until all know that a user has come, \
            \(decimal(detectionSeconds, places: 2)) s of a crash, \
            \(decimal(silentDetectionSeconds)) s of a machine that fell silent
            """
        return obstacle.map { text + "\n  BUT          " + $0 } ?? text
    }
}
