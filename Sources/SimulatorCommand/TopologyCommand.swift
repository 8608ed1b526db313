import Dispatch
import Foundation
import JSON5
import MeshSimulation
import Synchronization

extension Command {
    static var topology: Command {
        Command(
            name: "topology",
            usage: "topology [--nodes N] [--degree D] [--graph KIND,…] [--routing KIND,…] …",
            summary: "graph and routing alone, up to a million nodes and more",
            flags: [
                Flag(name: "nodes", argument: "N", help: "8 … 10000000 (1000)"),
                Flag(name: "degree", argument: "D", help: "4 … 64, even (16)"),
                Flag(
                    name: "graph", argument: "KIND,…",
                    help: "ours, random-harmonic, geometric-fingers, random-regular (ours)"),
                Flag(
                    name: "routing", argument: "KIND,…",
                    help: "greedy, lookahead-1, lookahead-2 (all)"),
                Flag(
                    name: "ring-links", argument: "N",
                    help: "successors of a node (2 for ours, 1 for the others)"),
                Flag(name: "routes", argument: "N", help: "between random pairs (1000000)"),
                Flag(name: "dead", argument: "SHARE", help: "dead nodes, such as 30% (0)"),
                Flag(
                    name: "turns", argument: "N",
                    help: "past the destination where nothing is nearer, 0 … 9 (1, as nodes do)"),
                Flag(name: "even", help: "positions evenly on the ring instead of at random"),
                Flag(name: "zones", argument: "N", help: "nodes are in so many, at random (1)"),
                Flag(
                    name: "candidates", argument: "N",
                    help: "for a long link; one in the own zone is taken (1: zones are ignored)"),
                Flag(name: "seed", argument: "N", help: "for graph and pairs (1)"),
                Flag(name: "jobs", argument: "N", help: "threads (one a core)"),
                Flag(name: "json", help: "prints JSON"),
                Flag(name: "csv", help: "prints comma-separated values"),
            ]
        ) { arguments in
            let order = try TopologyOrder(arguments)
            let progress = Progress()
            let report = try TopologyReport(order, progress)
            progress.clear()
            print(
                arguments.has("json")
                    ? report.json : arguments.has("csv") ? report.csv : report.table)
            return 0
        }
    }
}

/// The wishes of the command line.
struct TopologyOrder {
    var plans: [Graph.Plan] = []
    var routings: [Routing]
    var nodes: Int
    var degree: Int
    var routes: Int
    var deadShare = 0.0
    var turns: Int
    var seed: UInt64
    var jobs: Int

    init(_ arguments: Arguments) throws(UsageError) {
        if let word = arguments.words.first { throw UsageError("'\(word)' means nothing here") }
        if arguments.has("json"), arguments.has("csv") {
            throw UsageError("--json and --csv do not go together")
        }
        nodes = try arguments.integer("nodes", 8...10_000_000) ?? 1_000
        degree = try arguments.integer("degree", 4...64) ?? 16
        guard degree % 2 == 0 else { throw UsageError("--degree must be even") }
        routes = try arguments.integer("routes", 1...1_000_000_000) ?? 1_000_000
        turns = try arguments.integer("turns", 0...9) ?? 1
        seed = try arguments.seed() ?? 1
        jobs =
            try arguments.integer("jobs", 1...256) ?? ProcessInfo.processInfo.activeProcessorCount
        routings = try choices(arguments, "routing", Routing.allCases)
        if let text = arguments["dead"] { deadShare = try share(text) }
        guard nodes - Graph.count(of: deadShare, among: nodes) >= 2 else {
            throw UsageError("--dead must leave two nodes alive")
        }
        let ringLinks = try arguments.integer("ring-links", 1...2)
        let zones = try arguments.integer("zones", 1...255) ?? 1
        let candidates = try arguments.integer("candidates", 1...64) ?? 1
        guard candidates == 1 || zones > 1 else {
            throw UsageError("--candidates is of no use without --zones")
        }
        for kind in try choices(arguments, "graph", [Graph.Kind.ours]) {
            guard candidates == 1 || kind == .ours else {
                throw UsageError("--candidates is for --graph ours alone")
            }
            var plan = Graph.Plan(kind, count: nodes)
            plan.degree = degree
            plan.ringLinks = ringLinks ?? (kind == .ours ? 2 : 1)
            plan.isEven = arguments.has("even")
            plan.zoneCount = zones
            plan.candidateCount = candidates
            plans.append(plan)
        }
    }
}

private func choices<Kind: RawRepresentable & CaseIterable & Equatable>(
    _ arguments: Arguments, _ flag: String, _ standard: [Kind]
) throws(UsageError) -> [Kind] where Kind.RawValue == String {
    guard let text = arguments[flag] else { return standard }
    var kinds: [Kind] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
        guard let kind = Kind(rawValue: String(word)) else {
            let names = Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("--\(flag) is one or more of \(names), not '\(word)'")
        }
        guard !kinds.contains(kind) else { throw UsageError("--\(flag) has '\(word)' twice") }
        kinds.append(kind)
    }
    return kinds
}

private func share(_ text: String) throws(UsageError) -> Double {
    let number = Double(text.hasSuffix("%") ? String(text.dropLast()) : text)
    guard let number else { throw UsageError("--dead is a share such as 30%, not '\(text)'") }
    let share = text.hasSuffix("%") ? number / 100 : number
    guard share >= 0, share <= 0.95 else {
        throw UsageError("--dead is from 0 to 95%, not '\(text)'")
    }
    return share
}

/// The results, and how they are printed.
struct TopologyReport {
    struct Row {
        var graph: Graph.Kind
        var routing: Routing
        var distribution: Distribution
        var loadMaxOverMean: Double
        var failedShare: Double
        /// Hops from one zone to another, of a route on average.
        var crossings: Double
        var bytesPerNode: Double
        var seconds: Double
    }

    var order: TopologyOrder
    var rows: [Row] = []
    /// The most memory that the process has had.
    var memoryBytes = 0
    var seconds = 0.0

    init(_ order: TopologyOrder, _ progress: Progress) throws {
        self.order = order
        let clock = ContinuousClock()
        let start = clock.now
        for plan in order.plans {
            progress.show("building \(plan.kind.rawValue) of \(plan.count) nodes")
            let graph = build(plan)
            for routing in order.routings {
                let start = clock.now
                let tally = route(graph, plan, routing, progress)
                rows.append(
                    Row(
                        graph: plan.kind, routing: routing, distribution: tally.distribution,
                        loadMaxOverMean: tally.loadMaxOverMean(graph),
                        failedShare: tally.failedShare, crossings: tally.meanCrossings,
                        bytesPerNode: Double(graph.byteCount) / Double(plan.count),
                        seconds: SimulatorCommand.seconds(clock.now - start)))
            }
        }
        memoryBytes = peakMemoryBytes()
        seconds = SimulatorCommand.seconds(clock.now - start)
    }

    private func build(_ plan: Graph.Plan) -> Graph {
        let graph = Graph(plan, seed: order.seed)
        if order.deadShare == 0 { return graph }
        return graph.killing(order.deadShare, seed: order.seed ^ 0x6465_6164)
    }

    /// On all cores; the sum does not depend on how many there are.
    private func route(
        _ graph: Graph, _ plan: Graph.Plan, _ routing: Routing, _ progress: Progress
    ) -> RouteTally {
        let batch = RouteBatch(
            graph, routing, routes: order.routes, turns: order.turns, seed: order.seed)
        let next = Atomic<Int>(0)
        let total = Mutex(RouteTally(graph))
        DispatchQueue.concurrentPerform(iterations: min(order.jobs, batch.chunkCount)) { _ in
            var tally = RouteTally(graph)
            while true {
                let chunk = next.add(1, ordering: .relaxed).oldValue
                guard chunk < batch.chunkCount else { break }
                batch.run(chunk: chunk, into: &tally)
                progress.show(
                    "\(plan.kind.rawValue), \(routing.rawValue)",
                    share: Double(chunk) / Double(batch.chunkCount))
            }
            total.withLock { $0.add(tally) }
        }
        return total.withLock { $0 }
    }

    var json: String {
        let list = rows.map { row in
            "{\"graph\": \"\(row.graph.rawValue)\", \"routing\": \"\(row.routing.rawValue)\", "
                + "\"meanHops\": \(decimal(row.distribution.mean, places: 4)), "
                + "\"p50\": \(decimal(row.distribution.p50)), "
                + "\"p99\": \(decimal(row.distribution.p99)), "
                + "\"max\": \(decimal(row.distribution.max)), "
                + "\"loadMaxOverMean\": \(decimal(row.loadMaxOverMean)), "
                + "\"failedShare\": \(decimal(row.failedShare, places: 6)), "
                + "\"zoneCrossings\": \(decimal(row.crossings, places: 4)), "
                + "\"seconds\": \(decimal(row.seconds))}"
        }
        return "{\"nodes\": \(order.nodes), \"degree\": \(order.degree), "
            + "\"seed\": \(order.seed), \"deadShare\": \(decimal(order.deadShare, places: 6)), "
            + "\"turns\": \(order.turns), \"routeCount\": \(order.routes), \"routes\": [\(list.joined(separator: ", "))], "
            + "\"bytesPerNode\": \(decimal(rows.map(\.bytesPerNode).max() ?? 0)), "
            + "\"memoryBytes\": \(memoryBytes), \"seconds\": \(decimal(seconds))}"
    }

    private static let names = [
        "nodes", "degree", "graph", "routing", "mean_hops", "p50", "p99", "max",
        "load_max_over_mean", "failed_share", "zone_crossings", "bytes_per_node", "seconds",
    ]

    private var lines: [[String]] {
        rows.map { row in
            [
                "\(order.nodes)", "\(order.degree)", row.graph.rawValue, row.routing.rawValue,
                decimal(row.distribution.mean), decimal(row.distribution.p50),
                decimal(row.distribution.p99), decimal(row.distribution.max),
                decimal(row.loadMaxOverMean, places: 2), decimal(row.failedShare, places: 6),
                decimal(row.crossings), decimal(row.bytesPerNode, places: 0),
                decimal(row.seconds, places: 2),
            ]
        }
    }

    var csv: String {
        ([Self.names] + lines).map { $0.joined(separator: ",") }.joined(separator: "\n")
    }

    /// The same for people: the columns that say something, each as wide as it must be.
    var table: String {
        var hidden: Set = ["nodes", "degree"]
        if order.plans.allSatisfy({ $0.zoneCount == 1 }) { hidden.insert("zone_crossings") }
        let shown = Self.names.indices.filter { !hidden.contains(Self.names[$0]) }
        let all = [Self.names.map { $0.replacingOccurrences(of: "_", with: " ") }] + lines
        let widths = shown.map { column in all.map { $0[column].count }.max() ?? 0 }
        var text =
            "\(order.nodes) nodes of degree \(order.degree), \(order.routes) routes"
            + (order.deadShare == 0
                ? "\n" : ", \(decimal(order.deadShare * 100)) % of the nodes dead\n")
        for line in all {
            let cells = zip(shown, widths).map { column, width in
                let gap = String(repeating: " ", count: width - line[column].count)
                // Words to the left, numbers to the right.
                return column == 2 || column == 3 ? line[column] + gap : gap + line[column]
            }
            text += cells.joined(separator: "  ") + "\n"
        }
        return text
            + "\(decimal(seconds, places: 1)) s, \(decimal(Double(memoryBytes) / 1e6, places: 0)) MB"
    }
}

private func peakMemoryBytes() -> Int {
    var usage = rusage()
    guard unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
    return usage.ru_maxrss * 1_024
}

/// One line on standard error that says how far the work is, if a person may be reading it.
final class Progress: Sendable {
    private let isShown = isatty(2) == 1
    private let state = Mutex<(work: String, at: ContinuousClock.Instant)?>(nil)

    /// - Parameter share: of the work that is done; nil: unknown.
    func show(_ work: String, share: Double? = nil) {
        guard isShown else { return }
        let now = ContinuousClock().now
        state.withLock { last in
            if let last, last.work == work, now - last.at < .milliseconds(200) { return }
            last = (work, now)
            let percent = share.map { " \(decimal($0 * 100, places: 0)) %" } ?? " …"
            say("\r\u{1B}[K\(work)\(percent)")
        }
    }

    func clear() {
        if isShown { say("\r\u{1B}[K") }
    }
}
