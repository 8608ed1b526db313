import Dispatch
import Foundation
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
                    help: "balanced (ours), harmonic, fingers, random (balanced)"),
                Flag(
                    name: "routing", argument: "KIND,…",
                    help: "greedy, lookahead-1, lookahead-2 (all)"),
                Flag(
                    name: "ring-links", argument: "N",
                    help: "successors of a node (2 for ours, 1 for the others)"),
                Flag(name: "routes", argument: "N", help: "between random pairs (1000000)"),
                Flag(name: "dead", argument: "SHARE", help: "dead nodes, such as 30% (0)"),
                Flag(name: "even", help: "positions evenly on the ring instead of at random"),
                Flag(name: "seed", argument: "N", help: "for graph and pairs (1)"),
                Flag(name: "jobs", argument: "N", help: "threads (one a core)"),
                Flag(name: "json", help: "prints JSON"),
                Flag(name: "csv", help: "prints comma-separated values"),
            ], run: runTopology)
    }
}

private struct TopologyRow {
    var graph: Graph.Kind
    var routing: Routing
    var distribution: Distribution
    var loadMaxOverMean: Double
    var failedShare: Double
    var bytesPerNode: Double
    var seconds: Double
}

private func runTopology(_ arguments: Arguments) throws -> Int32 {
    let nodes = try arguments.integer("nodes", 8...10_000_000) ?? 1_000
    let degree = try arguments.integer("degree", 4...64) ?? 16
    guard degree % 2 == 0 else { throw UsageError("--degree must be even") }
    let routes = try arguments.integer("routes", 1...1_000_000_000) ?? 1_000_000
    let jobs =
        try arguments.integer("jobs", 1...1_024) ?? ProcessInfo.processInfo.activeProcessorCount
    let seed = try arguments.seed() ?? 1
    let graphs: [Graph.Kind] = try choices(arguments["graph"] ?? "balanced", "graph")
    let routings: [Routing] = try choices(
        arguments["routing"] ?? Routing.allCases.map(\.rawValue).joined(separator: ","), "routing")
    var rows: [TopologyRow] = []
    for kind in graphs {
        let start = ContinuousClock().now
        let ringLinks =
            try arguments.integer("ring-links", 1...2) ?? (kind == .balanced ? 2 : 1)
        var graph = Graph(
            kind, count: nodes, degree: degree, ringLinks: ringLinks, seed: seed,
            isEven: arguments.has("even"))
        if let dead = arguments["dead"] {
            graph = graph.killing(try share(dead), seed: seed ^ 0x6465_6164)
        }
        let built = ContinuousClock().now - start
        for routing in routings {
            let start = ContinuousClock().now
            let tally = route(graph, routing, routes: routes, jobs: jobs, seed: seed)
            rows.append(
                TopologyRow(
                    graph: kind, routing: routing, distribution: tally.distribution,
                    loadMaxOverMean: tally.loadMaxOverMean(graph),
                    failedShare: tally.failedShare,
                    bytesPerNode: Double(graph.byteCount) / Double(nodes),
                    seconds: seconds(built + (ContinuousClock().now - start))))
        }
    }
    show(rows, nodes, degree, routes, arguments)
    return 0
}

/// All cores; the sum does not depend on how many.
private func route(
    _ graph: Graph, _ routing: Routing, routes: Int, jobs: Int, seed: UInt64
) -> RouteTally {
    let batch = RouteBatch(graph, routing, seed: seed)
    let total = Mutex<RouteTally?>(nil)
    DispatchQueue.concurrentPerform(iterations: jobs) { job in
        let tally = batch.run(routeCount: routes, first: job, stride: jobs)
        total.withLock {
            if $0 == nil { $0 = tally } else { $0!.add(tally) }
        }
    }
    return total.withLock { $0! }
}

private func choices<Kind: RawRepresentable & CaseIterable>(
    _ text: String, _ flag: String
) throws(UsageError) -> [Kind] where Kind.RawValue == String {
    var kinds: [Kind] = []
    for word in text.split(separator: ",") {
        guard let kind = Kind(rawValue: String(word)) else {
            let names = Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("--\(flag) is one or more of \(names), not '\(word)'")
        }
        kinds.append(kind)
    }
    return kinds
}

private func share(_ text: String) throws(UsageError) -> Double {
    let number = Double(text.hasSuffix("%") ? String(text.dropLast()) : text)
    guard let number else { throw UsageError("--dead is a share such as 30%, not '\(text)'") }
    let share = text.hasSuffix("%") ? number / 100 : number
    guard share >= 0, share < 0.95 else { throw UsageError("--dead is from 0 to 95%") }
    return share
}

private func show(
    _ rows: [TopologyRow], _ nodes: Int, _ degree: Int, _ routes: Int, _ arguments: Arguments
) {
    if arguments.has("json") {
        let list = rows.map { row in
            "{\"graph\": \"\(row.graph.rawValue)\", \"routing\": \"\(row.routing.rawValue)\", "
                + "\"meanHops\": \(decimal(row.distribution.mean, places: 4)), "
                + "\"p50\": \(decimal(row.distribution.p50)), "
                + "\"p99\": \(decimal(row.distribution.p99)), "
                + "\"max\": \(decimal(row.distribution.max)), "
                + "\"loadMaxOverMean\": \(decimal(row.loadMaxOverMean)), "
                + "\"failedShare\": \(decimal(row.failedShare, places: 6))}"
        }.joined(separator: ", ")
        let bytes = rows.map(\.bytesPerNode).max() ?? 0
        let time = rows.reduce(0) { $0 + $1.seconds }
        print(
            "{\"nodes\": \(nodes), \"degree\": \(degree), \"routeCount\": \(routes), "
                + "\"routes\": [\(list)], \"bytesPerNode\": \(decimal(bytes)), "
                + "\"seconds\": \(decimal(time))}")
        return
    }
    let isCSV = arguments.has("csv")
    let names = [
        "nodes", "degree", "graph", "routing", "mean_hops", "p50", "p99", "max",
        "load_max_over_mean", "failed_share", "bytes_per_node", "seconds",
    ]
    let lines = rows.map { row in
        [
            "\(nodes)", "\(degree)", row.graph.rawValue, row.routing.rawValue,
            decimal(row.distribution.mean, places: 3), decimal(row.distribution.p50),
            decimal(row.distribution.p99), decimal(row.distribution.max),
            decimal(row.loadMaxOverMean, places: 2), decimal(row.failedShare, places: 6),
            decimal(row.bytesPerNode, places: 0), decimal(row.seconds, places: 1),
        ]
    }
    for line in [names] + lines {
        if isCSV {
            print(line.joined(separator: ","))
        } else {
            print(
                zip(line, names).map { text, name in
                    text + String(repeating: " ", count: max(0, max(name.count, 11) - text.count))
                }.joined(separator: "  "))
        }
    }
}
