/// A subcommand of `smallworld-sim`.
struct Command {
    var name: String
    var usage: String
    var summary: String
    var flags: [Flag]
    var run: (Arguments) throws -> Int32

    static var all: [Command] { [.runScenario, .topology, .size, .fuzz, .soak, .trace, .schema] }

    static var overview: String {
        var text = """
            smallworld-sim: simulates clusters offline, with the node's own code

            Usage: smallworld-sim COMMAND …


            """
        for command in all {
            let gap = String(repeating: " ", count: max(1, 10 - command.name.count))
            text += "  \(command.name)\(gap)\(command.summary)\n"
        }
        return text + """

            Exit status: 0 all expectations met, 1 an expectation missed, 2 a checker found a
            violation, 3 stuck, 64 wrong usage. 'smallworld-sim COMMAND --help' says more.

            """
    }

    var help: String {
        var text = "smallworld-sim \(name): \(summary)\n\nUsage: smallworld-sim \(usage)\n"
        if !flags.isEmpty { text += "\n" }
        let names = flags.map { "--\($0.name)" + ($0.argument.map { " \($0)" } ?? "") }
        let width = names.map(\.count).max() ?? 0
        for (flag, name) in zip(flags, names) {
            text +=
                "  \(name)\(String(repeating: " ", count: width - name.count))  \(flag.help)\n"
        }
        return text
    }
}
