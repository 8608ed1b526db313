/// A subcommand of a program.
public protocol Subcommand {
    var name: String { get }
    /// The text that `--help` prints.
    var help: String { get }
    var flags: [Flag] { get }
    /// Returns the exit status.
    func execute(_ arguments: Arguments) throws -> Int32
}

/// A program that consists of subcommands.
public struct Program<Command: Subcommand> {
    public var name: String
    /// The text that `--help` prints, and that somebody who gave no subcommand reads on standard error.
    public var overview: String
    public var commands: [Command]
    /// Writes to standard error.
    public var say: (String) -> Void

    public init(
        name: String, overview: String, commands: [Command], say: @escaping (String) -> Void
    ) {
        self.name = name
        self.overview = overview
        self.commands = commands
        self.say = say
    }

    /// Runs what the words ask for; returns the exit status: that of the subcommand, 64 for wrong
    /// usage, or what `failure` makes of an error.
    public func run(_ words: [String], failure: (any Error) -> Int32) -> Int32 {
        guard let first = words.first else {
            say(overview)
            return 64
        }
        if ["--help", "-h", "help"].contains(first) {
            let command = words.dropFirst().first.flatMap(command)
            print(command?.help ?? overview, terminator: "")
            return 0
        }
        guard let command = command(first) else {
            say("\(name): there is no command '\(first)'; see \(name) --help\n")
            return 64
        }
        let rest = Array(words.dropFirst())
        if rest.contains("--help") || rest.contains("-h") {
            print(command.help, terminator: "")
            return 0
        }
        do {
            return try command.execute(Arguments.parse(rest, command.flags))
        } catch let error as UsageError {
            say("\(name) \(first): \(error); see \(name) \(first) --help\n")
            return 64
        } catch {
            say("\(name) \(first): \(error)\n")
            return failure(error)
        }
    }

    private func command(_ name: String) -> Command? {
        commands.first { $0.name == name }
    }
}
