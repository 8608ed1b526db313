import JSON5

/// The figures of a run about the protocol's own promises: detection, withdrawal, idle traffic, the
/// spread of changes, the cost of repair, and how few copies a channel's message needs.
public struct Figures: Sendable {
    /// Seconds from a crash to each survivor's suspecting the node, of those that were suspected.
    public var suspicion = Distribution()
    /// Seconds from the first word of a death to each survivor's knowing none of the dead node's
    /// users any more.
    public var withdrawal = Distribution()
    /// Seconds from the death of nodes until the others have as many links as nodes had before, but
    /// for what chance makes of fewer nodes: 98 % on average, and nobody two fewer than the one with
    /// the fewest. Looked at in scenarios that expect something of it.
    public var linksBack = Distribution()
    /// Times a node declared another dead that was up, frozen or slow ones included.
    public var falseRemovals = 0
    /// Virtual hours of all nodes together.
    public var nodeHours = 0.0
    /// Bytes a second that a node sends for each of its links, in the time in which
    /// `bytesPerNodeSecond` is counted.
    public var bytesPerLinkSecond = 0.0
    /// Bytes and frames of the whole run, by what they were for (`TrafficCount.Purpose`).
    public var traffic: [(purpose: String, bytes: Int, frames: Int)] = []
    /// Milliseconds from a change of the directory to each other node's having it.
    public var spread = Distribution()
    /// Milliseconds from a key's coming to a node until the node says that all others know of it.
    public var confirmation = Distribution()
    /// Nodes that did not know then and could not, because of a fault.
    public var confirmationsExcused = 0
    /// Nodes that did not know then and could, in the time of some fault.
    public var confirmationsLate = 0
    /// Changes that came to a node beside those that were news to it, of all that were.
    public var redundancy = 0.0
    /// Bytes for comparing and repairing, of those that spread changes.
    public var comparisonShare = 0.0
    /// After partitions, until all agree.
    public var repair = Repair()
    public var channels = Channels()
    /// Acknowledgements in frames of their own that destinations have sent, of messages that they
    /// have delivered; each counts once, however many links it travels.
    public var acknowledgementsPerMessage = 0.0

    public struct Repair: Sendable {
        /// Entries that came to nodes by repair.
        public var changes = 0
        /// Requests for them and what answered these.
        public var bytes = 0
        /// Digests and lists of origins: finding what differs.
        public var comparisonBytes = 0
        /// Pairs of nodes that were neighbours when all agreed again, over all partitions.
        public var pairs = 0
        /// Of 14 bytes for each entry and 16 KiB for each pair.
        public var shareOfBound: Double {
            let bound = 14 * changes + 16_384 * pairs
            return bound == 0 ? 0 : Double(bytes + comparisonBytes) / Double(bound)
        }
        public var bytesPerChange: Double { changes == 0 ? 0 : Double(bytes) / Double(changes) }
        public var bytesPerPair: Double {
            pairs == 0 ? 0 : Double(comparisonBytes) / Double(pairs)
        }
    }

    public struct Channels: Sendable {
        /// Copies of messages to channels, each over one link.
        public var transmissions = 0
        /// Beside one over each link.
        public var copiesAgain = 0
        /// Beside one to each node that such a message came to: the edges of a tree.
        public var copiesBeyondTree = 0
        public var perSubscriber = 0.0
    }

    static let all: [Metrics.Named] = [
        named("suspicion.mean", "seconds from a crash to a survivor's suspecting") {
            $0.suspicion.mean
        },
        named("suspicion.max", "the longest") { $0.suspicion.max },
        named("withdrawal.mean", "seconds from the first word of a death to no users of it") {
            $0.withdrawal.mean
        },
        named("withdrawal.max", "the longest") { $0.withdrawal.max },
        named("withdrawal.count", "pairs of survivor and dead node with users") {
            Double($0.withdrawal.count)
        },
        named("linksBack.max", "the longest from deaths until the others had as many links again") {
            $0.linksBack.max
        },
        named("linksBack.count", "times that they had") { Double($0.linksBack.count) },
        named("falseRemovals", "times a node that was up was declared dead") {
            Double($0.falseRemovals)
        },
        named("nodeHours", "virtual hours of all nodes together") { $0.nodeHours },
        named("bytesPerLinkSecond", "sent by a node, for each of its links") {
            $0.bytesPerLinkSecond
        },
        named("spread.mean", "milliseconds from a change to another node's having it") {
            $0.spread.mean
        },
        named("spread.p99", "of 100 pairs of change and node 99 take at most this") {
            $0.spread.p99
        },
        named("spread.max", "the longest") { $0.spread.max },
        named("spread.count", "pairs of change and other node") { Double($0.spread.count) },
        named("confirmation.mean", "milliseconds until a node says that all know of a key") {
            $0.confirmation.mean
        },
        named("confirmation.p99", "of 100 times 99 are at most this") { $0.confirmation.p99 },
        named("confirmation.max", "the longest") { $0.confirmation.max },
        named("confirmation.count", "keys of which a node has said so") {
            Double($0.confirmation.count)
        },
        named("confirmation.excused", "nodes that could not know, because of a fault") {
            Double($0.confirmationsExcused)
        },
        named("confirmation.late", "nodes that could and did not, in the time of a fault") {
            Double($0.confirmationsLate)
        },
        named("redundancy", "changes that came again, of those that were news") { $0.redundancy },
        named("comparisonShare", "bytes to compare and repair, of those that spread changes") {
            $0.comparisonShare
        },
        named("repair.changes", "entries that came by repair after partitions") {
            Double($0.repair.changes)
        },
        named("repair.bytesPerChange", "bytes to ask for and send such an entry") {
            $0.repair.bytesPerChange
        },
        named("repair.shareOfBound", "of 14 bytes an entry and 16 KiB a pair of neighbours") {
            $0.repair.shareOfBound
        },
        named("repair.bytesPerPair", "bytes to find what differs, by pair of neighbours") {
            $0.repair.bytesPerPair
        },
        named("channels.perSubscriber", "copies of a message, by node that subscribes") {
            $0.channels.perSubscriber
        },
        named("channels.copiesAgain", "copies over a link that had carried the message") {
            Double($0.channels.copiesAgain)
        },
        named("channels.copiesBeyondTree", "copies to a node that had been sent the message") {
            Double($0.channels.copiesBeyondTree)
        },
        named("acknowledgementsPerMessage", "that travelled by themselves") {
            $0.acknowledgementsPerMessage
        },
    ]

    private static func named(
        _ name: String, _ meaning: String, _ value: @escaping @Sendable (Figures) -> Double
    ) -> Metrics.Named {
        Metrics.Named(name: name, meaning: meaning) { value($0.figures) }
    }

    /// The same for programs.
    var json: String {
        var object = JSONObject()
        object["suspicion"] = suspicion.json
        object["withdrawal"] = withdrawal.json
        object["linksBack"] = linksBack.json
        object["falseRemovals"] = String(falseRemovals)
        object["nodeHours"] = decimal(nodeHours)
        object["bytesPerLinkSecond"] = decimal(bytesPerLinkSecond)
        object["traffic"] = list(
            traffic.map {
                "{\"purpose\": \(quoted($0.purpose)), \"bytes\": \($0.bytes), "
                    + "\"frames\": \($0.frames)}"
            })
        object["spread"] = spread.json
        object["confirmation"] = confirmation.json
        object["confirmationsExcused"] = String(confirmationsExcused)
        object["confirmationsLate"] = String(confirmationsLate)
        object["redundancy"] = decimal(redundancy, places: 6)
        object["comparisonShare"] = decimal(comparisonShare, places: 6)
        object["repair"] =
            "{\"changes\": \(repair.changes), \"bytes\": \(repair.bytes), "
            + "\"comparisonBytes\": \(repair.comparisonBytes), \"pairs\": \(repair.pairs)}"
        object["channels"] =
            "{\"transmissions\": \(channels.transmissions), "
            + "\"copiesAgain\": \(channels.copiesAgain), "
            + "\"copiesBeyondTree\": \(channels.copiesBeyondTree), "
            + "\"perSubscriber\": \(decimal(channels.perSubscriber))}"
        object["acknowledgementsPerMessage"] = decimal(acknowledgementsPerMessage, places: 4)
        return object.text
    }
}

extension Distribution {
    /// The same figures in another unit.
    func scaled(by factor: Double) -> Distribution {
        var scaled = self
        scaled.mean *= factor
        scaled.p50 *= factor
        scaled.p99 *= factor
        scaled.max *= factor
        return scaled
    }

    var json: String {
        "{\"mean\": \(decimal(mean)), \"p50\": \(decimal(p50)), \"p99\": \(decimal(p99)), "
            + "\"max\": \(decimal(max)), \"count\": \(count)}"
    }
}
