import CommandArguments
import MeshServer
import MeshTransport

typealias Flag = CommandArguments.Flag
typealias Arguments = CommandArguments.Arguments
typealias UsageError = CommandArguments.UsageError

/// A subcommand of `smallworld`.
struct Command: Subcommand, Sendable {
    var name: String
    /// One line for the list of subcommands.
    var summary: String
    /// The words that follow the name.
    var usage: String
    /// Paragraphs that stand before and after the flags in the help.
    var introduction: String
    var closing: String
    var flags: [Flag]
    /// Returns the exit status.
    var run: @Sendable (Arguments) throws -> Int32

    /// In the order of the help.
    static let all: [Command] =
        [
            Demo.command, NodeSubcommand.command, Status.command, Trace.command,
        ] + Publish.commands + [
            Listen.subscription, Listen.watch, Who.command, Requests.request, Requests.serve,
        ]

    func execute(_ arguments: Arguments) throws -> Int32 { try run(arguments) }

    var help: String {
        let all = flags + [Flag(name: "help", help: "Print this and end.")]
        return "Usage: smallworld \(name) \(usage)\n\n\(introduction)\n\nOptions:\n"
            + Flag.list(all) + (closing.isEmpty ? "" : "\n\(closing)\n")
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

            Try it with two nodes; any Redis client does the same:
              smallworld node
              smallworld node --mesh 127.0.0.1:7401 --redis 127.0.0.1:7380 --http off \\
                --seed 127.0.0.1:7400
              smallworld sub news --room lobby --user ann
              smallworld pub news hello --redis 127.0.0.1:7380

            `smallworld COMMAND --help` says more; `smallworld --version` prints the version.

            """
    }
}
