/// The keys of a scenario file: the one list that the reader checks keys against and that
/// `smallworld-sim schema` prints.
public enum Schema {
    public struct Key: Sendable {
        /// Sections are joined by points; `*` stands for any name.
        public var path: String
        public var type: String
        /// Empty: the key is needed, or there is nothing without it.
        public var fallback: String
        public var meaning: String

        init(_ path: String, _ type: String, _ fallback: String, _ meaning: String) {
            self.path = path
            self.type = type
            self.fallback = fallback
            self.meaning = meaning
        }
    }

    public static let keys: [Key] = [
        Key("name", "text", "", "what the report calls it"),
        Key("about", "text", "", "what it is for"),
        Key("nodes", "1 … 20000", "", "nodes that start in the beginning"),
        Key("degree", "4 … 64", "16", "links that a node may have"),
        Key("duration", "seconds", "30", "virtual time for load, faults and churn"),
        Key("settle", "seconds", "10", "after the last fault all must agree within this time"),
        Key(
            "keyBits", "8 … 64", "64", "of names' hashes; with 8, different names share keys often"),
        Key("timerLooks", "a second", "0", "at the timers of each node, 20 at most"),
        Key("start", "object", "", "how the nodes start"),
        Key("start.over", "seconds", "0", "one after the other within this time; 0: all at once"),
        Key("start.seeds", "1 … 64", "2", "earlier nodes that each node is told"),
        Key("zones", "object", "", "zones by name"),
        Key("zones.*", "object", "", "one zone"),
        Key("zones.*.share", "number", "1", "of the nodes, relative to the others' shares"),
        Key("zones.*.latency", "milliseconds", "", "one way, inside the zone"),
        Key("network", "object", "", "what lies between the nodes"),
        Key("network.latency", "milliseconds", "0.2", "one way"),
        Key("network.jitter", "milliseconds", "0.1", "up to this much more, uniformly"),
        Key("network.connectTimeout", "seconds", "127", "to fail at a silent address"),
        Key("network.megabitsPerSecond", "number", "", "what each node can send; else unbounded"),
        Key("network.between", "list", "", "latency between zones, both ways"),
        Key("network.between.from", "zone", "", "one zone"),
        Key("network.between.to", "zone", "", "the other"),
        Key("network.between.latency", "milliseconds", "", "one way"),
        Key("churn", "object", "", "nodes that come and go at random times"),
        Key("churn.from", "seconds", "0", "begins"),
        Key("churn.to", "seconds", "duration", "ends"),
        Key("churn.joins", "a minute", "0", "new nodes"),
        Key("churn.leaves", "a minute", "0", "nodes that say good-bye"),
        Key("churn.crashes", "a minute", "0", "nodes whose process ends"),
        Key("faults", "list", "", "each with `at` and one kind"),
        Key("faults.at", "seconds", "", "when"),
        Key("faults.crash", "amount", "", "processes end, connections are reset"),
        Key("faults.vanish", "amount", "", "machines end, nobody is told"),
        Key("faults.leave", "amount", "", "nodes say good-bye"),
        Key("faults.join", "amount", "", "new nodes start; \"30%\": of as many as are up"),
        Key("faults.restart", "amount", "", "processes end, and start again after `for`"),
        Key("faults.freeze", "amount", "", "processes stand still `for` so long"),
        Key("faults.slow", "amount", "", "what they send takes `by` longer, `for` so long"),
        Key("faults.partition", "shares", "", "the network falls into parts, `for` so long"),
        Key("faults.cut", "amount of links", "", "they carry nothing one way, `for` so long"),
        Key("faults.reset", "amount of links", "", "their connections are reset"),
        Key("faults.reject", "amount of links", "", "reset; new ones refused, `for` so long"),
        Key("faults.refuse", "amount", "", "addresses refuse new connections, `for` so long"),
        Key("faults.hole", "amount of links", "", "drop packets above `bytes`, `for` so long"),
        Key("faults.narrow", "amount", "", "the same on all paths of these nodes"),
        Key("faults.skew", "amount", "", "clocks jump ahead `by` and then `drift`"),
        Key("faults.for", "seconds", "5", "how long it lasts (restart: 1)"),
        Key("faults.by", "milliseconds", "100", "see slow and skew"),
        Key("faults.bytes", "number", "1200", "see hole and narrow"),
        Key("faults.drift", "parts in a million", "0", "see skew"),
        Key("faults.times", "number", "1", "how often"),
        Key("faults.every", "seconds", "1", "between one time and the next"),
        Key("users", "object", "", "users who have a session on one node each"),
        Key("users.count", "number", "0", "in the beginning"),
        Key("users.over", "seconds", "1", "in which they arrive, after the last node's start"),
        Key("users.arrivals", "a second", "0", "more users"),
        Key("users.departures", "a second", "0", "users who go"),
        Key("users.moves", "a second", "0", "users who go to another node"),
        Key("users.zipf", "exponent", "0", "of Zipf's law for who is written to"),
        Key("channels", "object", "", "channels with subscribers on several nodes"),
        Key("channels.count", "number", "0", "channels"),
        Key(
            "channels.subscribers", "amount", "3",
            "nodes that subscribe to each; \"all\": also those that join later"),
        Key("messages", "object", "", "what is sent, from random nodes"),
        Key("messages.toUsers", "a second", "0", "to users"),
        Key("messages.toChannels", "a second", "0", "to channels"),
        Key("messages.publishers", "number", "0", "nodes that publish to channels; 0: all"),
        Key("messages.size", "bytes", "128", "of payload"),
        Key("messages.large", "a second", "0", "large ones to users, besides the others"),
        Key("messages.largeSize", "bytes", "1048576", "of payload of a large one"),
        Key("messages.from", "seconds", "0", "begins"),
        Key("messages.to", "seconds", "duration", "ends"),
        Key("sessions", "object", "", "programs with sessions of users, over RESP"),
        Key("sessions.count", "number", "0", "users, each with a session on some node"),
        Key("sessions.counted", "0 … 1", "0", "the share that counts what comes (COUNTED)"),
        Key("sessions.slow", "0 … 1", "0", "the share that reads slowly"),
        Key("sessions.breaks", "a second", "0", "connections that break; they come back anywhere"),
        Key("sessions.messages", "a second", "0", "messages to them, from random nodes"),
        Key("sessions.size", "bytes", "0", "of a message, at least"),
        Key("sessions.kept", "messages", "a node's", "kept for one session or slow reader"),
        Key("sessions.watchers", "number", "0", "nodes with a program that watches all users"),
        Key("sessions.probes", "a second", "0", "tokens shown that were exchanged"),
        Key("rooms", "object", "", "programs that are users in rooms, over RESP"),
        Key("rooms.count", "number", "0", "rooms"),
        Key("rooms.members", "number", "0", "programs, each a user that is in half of the rooms"),
        Key("rooms.watchers", "number", "0", "programs that watch who is in them"),
        Key("rooms.changes", "a second", "0", "joins, departures and connections that break"),
        Key("rooms.says", "a second", "0", "words, said again under one id if need be"),
        Key("flows", "object", "", "what a node keeps for messages under way (`FlowLimits`)"),
        Key("flows.windowBytes", "65536 …", "8388608", "not acknowledged, of a flow"),
        Key("flows.windowCount", "1 … 65536", "65536", "the same in messages"),
        Key("flows.totalBytes", "65536 …", "268435456", "the same for all flows of a node"),
        Key("flows.reorderCount", "power of two", "1024", "ahead of a missing one, of a flow"),
        Key("flows.reorderBytes", "number", "4194304", "the same in bytes"),
        Key("flows.parkedCount", "number", "1024", "for a user whose node has died"),
        Key("flows.parkedBytes", "number", "4194304", "the same in bytes"),
        Key("expect", "object", "", "bounds by metric: the highest value, or [lowest, highest]"),
        Key("tolerate", "list", "", "checkers whose findings are no violations here"),
    ]

    /// The whole of it, for people.
    public static var text: String {
        var lines = [
            "A scenario is one JSON5 object. Times count from the start of the run.", "",
            "An amount is a number, a share such as \"30%\", or \"all\", which is \"100%\". A share is one of",
            "the nodes that are up at the time of the fault, each time that it happens (of links: of",
            "those between them), rounded to the nearest whole number, halves up: 33% of 9 is 3. A",
            "number of links is drawn one by one and may hit the same link twice. What befalls nodes spares",
            "two of them, except a partition, whose parts take their shares rounded down and the last one the",
            "rest. At most \(Scenario.nodesMax) nodes may be up at once: a run that is to start more ends",
            "with status 64.", "",
        ]
        let width = keys.map(\.path.count).max() ?? 0
        for key in keys {
            let name = key.path + String(repeating: " ", count: width - key.path.count)
            let fallback = key.fallback.isEmpty ? "" : " (\(key.fallback))"
            lines.append("  \(name)  \(key.type)\(fallback): \(key.meaning)")
        }
        lines += ["", "Metrics for expect:", ""]
        for metric in Metrics.all {
            lines.append("  \(metric.name): \(metric.meaning)")
        }
        lines += ["", "Checkers: " + CheckerName.allCases.map(\.rawValue).joined(separator: ", ")]
        return lines.joined(separator: "\n")
    }
}
