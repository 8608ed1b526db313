import Dispatch
import Foundation
import JSON5
import MeshCore
import MeshSimulation
import Synchronization

extension Command {
    static var fuzz: Command {
        Command(
            name: "fuzz", usage: "fuzz --seeds K [--from S] [--minutes M] [--jobs 2]",
            summary: "one random scenario per seed, with all checkers on",
            flags: [
                Flag(name: "seeds", argument: "K", help: "how many (100)"),
                Flag(name: "from", argument: "S", help: "the first (1)"),
                Flag(name: "minutes", argument: "M", help: "stops after so long"),
                Flag(name: "jobs", argument: "N", help: "at the same time (2)"),
                Flag(name: "nodes", argument: "N", help: "at most so many in a scenario (48)"),
                Flag(name: "mistake", argument: "NAME", help: "nodes make it, to test checkers"),
                Flag(name: "no-shrink", help: "prints the first failure as it is"),
                Flag(name: "quiet", help: "prints failures alone"),
            ], run: runFuzz)
    }
}

/// The mistake that nodes are to make; nil: none.
func mistake(_ arguments: Arguments) throws(UsageError) -> Mistake? {
    guard let name = arguments["mistake"] else { return nil }
    guard let mistake = Mistake(rawValue: name) else {
        let names = Mistake.allCases.map(\.rawValue).joined(separator: ", ")
        throw UsageError("--mistake is one of \(names), not '\(name)'")
    }
    return mistake
}

private func runFuzz(_ arguments: Arguments) throws -> Int32 {
    let count = try arguments.integer("seeds", 1...1_000_000_000) ?? 100
    let first = try arguments.seed("from") ?? 1
    let jobs = try arguments.integer("jobs", 1...256) ?? 2
    let nodesMax = try arguments.integer("nodes", 3...1_000) ?? 48
    let chosen = try mistake(arguments)
    let limit = try arguments.number("minutes").map { Duration.seconds($0 * 60) }
    let start = ContinuousClock().now
    let next = Atomic<Int>(0)
    let failed = Mutex<[(UInt64, Metrics)]>([])
    DispatchQueue.concurrentPerform(iterations: jobs) { _ in
        while failed.withLock({ $0.isEmpty }) {
            let index = next.add(1, ordering: .relaxed).oldValue
            guard index < count else { return }
            if let limit, ContinuousClock().now - start > limit { return }
            let seed = first &+ UInt64(index)
            var scenario = Fuzz.scenario(seed: seed, nodesMax: nodesMax)
            scenario.mistake = chosen
            let metrics = Run(scenario, seed: seed).completed()
            if metrics.exitStatus != 0 { failed.withLock { $0.append((seed, metrics)) } }
        }
    }
    let failures = failed.withLock { $0 }.sorted { $0.0 < $1.0 }
    guard let (seed, metrics) = failures.first else {
        if !arguments.has("quiet") {
            let done = min(count, next.load(ordering: .relaxed))
            print(
                "\(done) scenarios from seed \(first), no violation, "
                    + "\(decimal(seconds(ContinuousClock().now - start), places: 1)) s")
        }
        return 0
    }
    var scenario = Fuzz.scenario(seed: seed, nodesMax: nodesMax)
    scenario.mistake = chosen
    if let violation = metrics.violations.first {
        print("seed \(seed): VIOLATION \(violation.description)")
        if !arguments.has("no-shrink") {
            scenario = Fuzz.shrink(scenario, seed: seed, failing: violation.checker)
        }
    } else {
        print("seed \(seed): \(metrics.isStuck ? "STUCK" : "failed")")
    }
    print(scenario.file, terminator: "")
    let extra = chosen.map { " --mistake \($0.rawValue)" } ?? ""
    let size = nodesMax == 48 ? "" : " --nodes \(nodesMax)"
    print("again: smallworld-sim fuzz --seeds 1 --from \(seed)\(size)\(extra)")
    print("smaller: save the scenario above, smallworld-sim run FILE --seed \(seed)\(extra)")
    return metrics.exitStatus
}
