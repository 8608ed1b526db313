import Glibc

/// Exit codes: 0 all is well, 1 `--check` failed, 2 wrong arguments.
func run(_ arguments: [String]) -> Int32 {
    let usage = """
        usage: smallworld-bench [options]

        Measures the paths that every message takes: time and allocations, in one thread, with no
        network. Figures are those of the fastest of several rounds.

          --filter NAME   only benchmarks whose name contains NAME
          --quick         leave out what needs more than 200 MB or ten seconds
          --check         exit with 1 if the hot path allocates, or if that cannot be counted
          --json          print JSON instead of a table
          --help          print this
        """
    var filter: String?
    var isQuick = false
    var checks = false
    var printsJSON = false
    var rest = arguments.dropFirst()
    while let argument = rest.popFirst() {
        switch argument {
        case "--help", "-h":
            print(usage)
            return 0
        case "--quick": isQuick = true
        case "--check": checks = true
        case "--json": printsJSON = true
        case "--filter":
            guard let name = rest.popFirst() else { return complain("--filter needs a name") }
            filter = name
        default: return complain("unknown argument \(argument)")
        }
    }

    var bench = Bench(
        filter: filter, isQuick: isQuick, canCount: AllocationCounter.install())
    benchWire(&bench)
    benchGateway(&bench)
    benchPath(&bench)
    benchDirectory(&bench)
    guard !bench.rows.isEmpty else { return complain("no benchmark is called \(filter ?? "")") }
    print(printsJSON ? json(bench.rows) : table(bench.rows))

    let faults = bench.rows.filter(\.isFault)
    if checks, !faults.isEmpty {
        for row in faults {
            let count = row.allocations.map { "\($0) allocations" } ?? "allocations not counted"
            writeError("\(row.name): \(count) on the hot path")
        }
        return 1
    }
    return 0
}

func complain(_ problem: String) -> Int32 {
    writeError("smallworld-bench: \(problem); see --help")
    return 2
}

func writeError(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
}

exit(run(CommandLine.arguments))
