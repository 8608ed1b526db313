import CommandArguments
import Foundation

/// Runs what the command line asks for; returns the exit status: 0 well, 1 an expectation missed,
/// 2 a checker found a violation, 3 stuck, 64 wrong usage or scenario.
func runCommand(_ words: [String]) -> Int32 {
    let program = Program(
        name: "smallworld-sim", overview: Command.overview, commands: Command.all, say: say)
    return program.run(words) { _ in 64 }
}

/// To standard error, where errors and progress belong.
func say(_ text: String) {
    FileHandle.standardError.write(Data(text.utf8))
}

exit(runCommand(Array(CommandLine.arguments.dropFirst())))
