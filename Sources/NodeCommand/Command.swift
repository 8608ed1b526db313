import MeshTransport

/// A subcommand of `smallworld`.
struct Command: Sendable {
    var name: String
    /// One line for the list of subcommands.
    var summary: String
    /// What follows the name.
    var usage: String
    /// Paragraphs that stand before and after the flags in the help.
    var introduction: String
    var closing: String
    var flags: [Flag]
    /// Returns the exit status.
    var run: @Sendable (Arguments) throws -> Int32

    /// In the order of the help.
    static let all: [Command] = [
        Demo.command, NodeSubcommand.command, Status.command, Trace.command,
    ]

    var help: String {
        var text = "Usage: smallworld \(name) \(usage)\n\n\(introduction)\n\nOptions:\n"
        let all = flags + [Flag(name: "help", argument: nil, help: "Print this and end.")]
        let titles = all.map { "  --\($0.name)" + ($0.argument.map { " \($0)" } ?? "") }
        let width = (titles.map(\.count).max() ?? 0) + 2
        for (title, flag) in zip(titles, all) {
            let lines = flag.help.split(separator: "\n", omittingEmptySubsequences: false)
            text += title + String(repeating: " ", count: width - title.count) + lines[0] + "\n"
            for line in lines.dropFirst() {
                text += String(repeating: " ", count: width) + line + "\n"
            }
        }
        return text + (closing.isEmpty ? "" : "\n\(closing)\n")
    }

    static var overview: String {
        let width = (all.map(\.name.count).max() ?? 0) + 2
        let list = all.map { command in
            "  \(command.name)" + String(repeating: " ", count: width - command.name.count)
                + command.summary
        }
        return """
            Smallworld \(Version.current): a brokerless message mesh that Redis clients can use.

            Usage: smallworld COMMAND [OPTIONS]

            Commands:
            \(list.joined(separator: "\n"))

            Try it with two nodes and any Redis client:
              smallworld node
              smallworld node --mesh 127.0.0.1:7401 --redis 127.0.0.1:7380 --http off \\
                --seed 127.0.0.1:7400
              redis-cli -p 7379 SUBSCRIBE news
              redis-cli -p 7380 PUBLISH news hello

            `smallworld COMMAND --help` says more; `smallworld --version` prints the version.

            """
    }
}
