import CommandArguments

typealias Flag = CommandArguments.Flag
typealias Arguments = CommandArguments.Arguments
typealias UsageError = CommandArguments.UsageError

/// A subcommand of `smallworld-sim`.
struct Command: Subcommand {
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

    func execute(_ arguments: Arguments) throws -> Int32 { try run(arguments) }

    var help: String {
        var text = "smallworld-sim \(name): \(summary)\n\nUsage: smallworld-sim \(usage)\n"
        if !flags.isEmpty { text += "\n" }
        return text + Flag.list(flags)
    }
}
