import Glibc

/// Exit codes: 0 all is well, 1 `--check` failed, 2 wrong arguments.
func run(_ arguments: [String]) -> Int32 {
    let usage = """
        usage: smallworld-bench [options]
               smallworld-bench --path [--messages N] [--fan-out N]

        Measures the paths that every message takes: time and allocations, in one thread, with no
        network. Figures are those of the fastest of several rounds.

          --filter NAME   only benchmarks whose name contains NAME
          --quick         leave out what needs more than 200 MB or ten seconds
          --check         exit with 1 if the hot path allocates, or if that cannot be counted
          --json          print JSON instead of a table
          --path          measure nothing, but send messages from client to client over three nodes,
                          for a tool that counts instructions; exit with 1 if a byte is not right
          --messages N    so many, in batches of 16 (16384)
          --fan-out N     1: on 16 channels with a subscriber each; else on one channel with N (1)
          --help          print this
        """
    var filter: String?
    var isQuick = false
    var checks = false
    var printsJSON = false
    var isPath = false
    var messageCount = 16_384
    var fanOut = 1
    var rest = arguments.dropFirst()
    while let argument = rest.popFirst() {
        switch argument {
        case "--help", "-h":
            print(usage)
            return 0
        case "--quick": isQuick = true
        case "--check": checks = true
        case "--json": printsJSON = true
        case "--path": isPath = true
        case "--messages", "--fan-out":
            guard let number = rest.popFirst().flatMap({ Int($0) }), number > 0 else {
                return complain("\(argument) needs a number")
            }
            if argument == "--messages" { messageCount = number } else { fanOut = number }
        case "--filter":
            guard let name = rest.popFirst() else { return complain("--filter needs a name") }
            filter = name
        default: return complain("unknown argument \(argument)")
        }
    }

    if isPath { return runPath(messageCount, fanOut: fanOut) }
    var bench = Bench(
        filter: filter, isQuick: isQuick, canCount: AllocationCounter.install())
    benchWire(&bench)
    benchClients(&bench)
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

private func runPath(_ messageCount: Int, fanOut: Int) -> Int32 {
    guard messageCount % MessagePath.batch == 0, fanOut <= 10_000 else {
        return complain("messages go in batches of 16, to 10000 clients at most")
    }
    var path = MessagePath(fanOut: fanOut)
    for turn in 0..<messageCount / MessagePath.batch {
        if let fault = path.publishBatch() {
            writeError("batch \(turn): \(fault)")
            return 1
        }
    }
    if let fault = path.finish() {
        writeError(fault)
        return 1
    }
    print("\(messageCount) messages published, \(messageCount * fanOut) delivered")
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
