import CommandArguments
import Glibc
import MeshServer
import MeshTransport

/// To standard error, where errors belong. `print` would wait for a reader that stands still.
func say(_ text: String) {
    Log.writeAtOnce(text, to: 2)
}

/// Runs what the command line asks for; returns the exit status: 0 well, 1 failed, 64 wrong usage,
/// 78 wrong configuration file (sysexits.h).
func runCommand(_ words: [String]) -> Int32 {
    if words.first == "--version" || words.first == "-v" {
        print("smallworld \(Version.current)")
        return 0
    }
    let program = Program(
        name: "smallworld", overview: Command.overview, commands: Command.all, say: say)
    return program.run(words) { $0 is ConfigurationFileError ? 78 : 1 }
}

exit(runCommand(Array(CommandLine.arguments.dropFirst())))
