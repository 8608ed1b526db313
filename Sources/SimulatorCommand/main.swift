import Foundation
import MeshSimulation

/// Runs what the command line asks for; returns the exit status: 0 well, 1 an expectation missed,
/// 2 a checker found a violation, 3 stuck, 64 wrong usage or scenario.
func runCommand(_ words: [String]) -> Int32 {
    guard let name = words.first else {
        say(Command.overview)
        return 64
    }
    if ["--help", "-h", "help"].contains(name) {
        if words.count > 1, let command = Command.all.first(where: { $0.name == words[1] }) {
            print(command.help, terminator: "")
        } else {
            print(Command.overview, terminator: "")
        }
        return 0
    }
    guard let command = Command.all.first(where: { $0.name == name }) else {
        say("smallworld-sim: there is no command '\(name)'; see smallworld-sim --help\n")
        return 64
    }
    let rest = Array(words.dropFirst())
    if rest.contains("--help") || rest.contains("-h") {
        print(command.help, terminator: "")
        return 0
    }
    do {
        return try command.run(Arguments.parse(rest, command.flags))
    } catch let error as UsageError {
        say("smallworld-sim \(name): \(error); see smallworld-sim \(name) --help\n")
        return 64
    } catch {
        say("smallworld-sim \(name): \(error)\n")
        return 64
    }
}

/// To standard error, where errors and progress belong.
func say(_ text: String) {
    FileHandle.standardError.write(Data(text.utf8))
}

exit(runCommand(Array(CommandLine.arguments.dropFirst())))
