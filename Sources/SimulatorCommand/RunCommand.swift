import Dispatch
import Foundation
import JSON5
import MeshCore
import MeshSimulation
import Synchronization

extension Command {
    static var runScenario: Command {
        Command(
            name: "run",
            usage: "run FILE… [--seed N] [--out DIR] [--json] [--quiet] [--times N] "
                + "[--jobs N] [--check-hash FILE] [--write-hash FILE]",
            summary: "runs scenarios on the production node in virtual time",
            flags: [
                Flag(name: "seed", argument: "N", help: "repeats the run of this seed (1)"),
                Flag(
                    name: "out", argument: "DIR",
                    help: "writes report.json and report.html there, per scenario if several"),
                Flag(name: "json", help: "prints the report as JSON on standard output"),
                Flag(name: "mistake", argument: "NAME", help: "nodes make it, to test checkers"),
                Flag(name: "quiet", help: "prints what went wrong alone, and no progress"),
                Flag(
                    name: "times", argument: "N",
                    help: "runs each N times; a run hash that differs is status 2"),
                Flag(
                    name: "jobs", argument: "N",
                    help: "of those times, so many at once after the first (1)"),
                Flag(
                    name: "check-hash", argument: "FILE",
                    help: "a run hash other than in this file is status 2; says what has changed"),
                Flag(
                    name: "write-hash", argument: "FILE",
                    help: "writes the runs' hashes and figures there, in place of their former"),
            ]
        ) { arguments in
            guard !arguments.words.isEmpty else { throw UsageError("name a scenario file") }
            let seed = try arguments.seed() ?? 1
            let times = try arguments.integer("times", 1...1_000_000) ?? 1
            let jobs = try arguments.integer("jobs", 1...256) ?? 1
            let records = try arguments["check-hash"].map { try RunRecord.read($0) }
            var written = try arguments["write-hash"].map { path -> [String: RunRecord] in
                FileManager.default.fileExists(atPath: path) ? try RunRecord.read(path) : [:]
            }
            // Every file is read before the first run: a mistake in the last costs no hour.
            var scenarios = try arguments.words.map(readScenario)
            let chosen = try mistake(arguments)
            for place in scenarios.indices { scenarios[place].mistake = chosen }
            var status: Int32 = 0
            var reports: [String] = []
            for (path, scenario) in zip(arguments.words, scenarios) {
                let metrics = simulate(scenario, seed: seed, isQuiet: arguments.has("quiet"))
                let record = RunRecord(metrics)
                written?[scenario.name] = record
                if let records, !isAsBefore(record, records[scenario.name], scenario.name) {
                    status = max(status, 2)
                }
                let count = Atomic<Int>(times - 1)
                let different = Atomic<Int>(0)
                DispatchQueue.concurrentPerform(iterations: jobs) { _ in
                    while count.subtract(1, ordering: .relaxed).newValue >= 0 {
                        let again = simulate(scenario, seed: seed, isQuiet: true)
                        if !isAsBefore(RunRecord(again), record, scenario.name) {
                            different.add(1, ordering: .relaxed)
                        }
                    }
                }
                if different.load(ordering: .relaxed) > 0 { status = max(status, 2) }
                if let folder = arguments["out"] {
                    let name =
                        URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
                    try write(metrics, to: scenarios.count > 1 ? "\(folder)/\(name)" : folder)
                }
                reports.append(metrics.json())
                if !arguments.has("json"), !arguments.has("quiet") || metrics.exitStatus != 0 {
                    print(metrics.table)
                }
                if let reason = metrics.scenarioError { say("\(path): \(reason)\n") }
                status = max(status, metrics.exitStatus)
            }
            if let written, let path = arguments["write-hash"] {
                try RunRecord.write(written, to: path)
            }
            if arguments.has("json") {
                print(
                    reports.count == 1
                        ? reports[0] : "[" + reports.joined(separator: ",\n") + "]")
            }
            return status
        }
    }

    /// Whether a run came out as it did before, and a line if not.
    private static func isAsBefore(_ now: RunRecord, _ before: RunRecord?, _ name: String) -> Bool {
        guard let before else {
            say("\(name): run hash \(now.runHash), and none is written down\n")
            return false
        }
        if now.runHash == before.runHash { return true }
        say(
            "\(name): run hash \(now.runHash), expected \(before.runHash); "
                + before.changes(to: now) + "\n")
        return false
    }

    static var schema: Command {
        Command(
            name: "schema", usage: "schema", summary: "documents every key of a scenario file",
            flags: []
        ) { _ in
            print(Schema.text)
            return 0
        }
    }
}

/// - Throws: `UsageError` that names file, line, column and what was expected.
func readScenario(_ path: String) throws(UsageError) -> Scenario {
    guard let data = FileManager.default.contents(atPath: path) else {
        throw UsageError("cannot read \(path)")
    }
    guard let text = String(data: data, encoding: .utf8) else {
        throw UsageError("\(path) is not UTF-8")
    }
    do {
        var scenario = try ScenarioReader.read(text)
        if scenario.name == "unnamed" {
            scenario.name = URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
        }
        return scenario
    } catch {
        throw UsageError("\(path): \(error)")
    }
}

/// Runs to the end, with a bar on standard error if a person may be reading it.
func simulate(_ scenario: Scenario, seed: UInt64, isQuiet: Bool) -> Metrics {
    var run = Run(scenario, seed: seed)
    let isShown = !isQuiet && isatty(2) == 1
    let clock = ContinuousClock()
    let start = clock.now
    var shownAt = start
    var startedAt: ContinuousClock.Instant?
    while !run.isFinished {
        run.advance(until: run.now + .milliseconds(100))
        if startedAt == nil, run.hasStarted { startedAt = clock.now }
        guard isShown, clock.now - shownAt > .milliseconds(200) else { continue }
        shownAt = clock.now
        say(progress(run, elapsed: shownAt - start))
    }
    if isShown { say("\r\u{1B}[K") }
    var metrics = run.result
    metrics.seconds = seconds(clock.now - start)
    metrics.calmSeconds = startedAt.map { seconds(clock.now - $0) } ?? 0
    if !isQuiet {
        say(
            "\(scenario.name): \(decimal(metrics.seconds, places: 1)) s, "
                + "\(decimal(metrics.eventsPerSecond / 1e6, places: 2)) M events/s, "
                + "\(decimal(metrics.speed, places: 1)) × real time\n")
    }
    return metrics
}

private func progress(_ run: borrowing Run, elapsed: Duration) -> String {
    let now = Double(run.now.nanoseconds) / 1e9
    let end = max(Double(run.end.nanoseconds) / 1e9, 1e-9)
    let share = min(1, now / end)
    let filled = Int(share * 30)
    let bar =
        String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
    let rate = Double(run.eventCount) / max(seconds(elapsed), 1e-9) / 1e6
    let left = share > 0.01 ? seconds(elapsed) / share * (1 - share) : 0
    return "\r\u{1B}[K\(bar) \(decimal(now, places: 1)) of \(decimal(end, places: 0)) s, "
        + "\(decimal(rate, places: 2)) M events/s, \(decimal(left, places: 0)) s left"
}

func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}

private func write(_ metrics: Metrics, to folder: String) throws(UsageError) {
    do {
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        try Data((metrics.json(isWhole: true) + "\n").utf8).write(
            to: URL(fileURLWithPath: folder + "/report.json"))
        try Data(metrics.page.utf8).write(to: URL(fileURLWithPath: folder + "/report.html"))
    } catch {
        throw UsageError("cannot write to \(folder): \(error.localizedDescription)")
    }
}
