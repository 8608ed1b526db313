import Glibc
import MeshTransport

/// Runs what the command line asks for; returns the exit status: 0 well, 1 failed, 64 wrong usage,
/// 78 wrong configuration file (sysexits.h).
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
    if name == "--version" || name == "-v" {
        print("smallworld \(Version.current)")
        return 0
    }
    guard let command = Command.all.first(where: { $0.name == name }) else {
        say("smallworld: there is no command '\(name)'; see smallworld --help\n")
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
        say("smallworld \(name): \(error); see smallworld \(name) --help\n")
        return 64
    } catch let error as ConfigurationFileError {
        say("smallworld \(name): \(error)\n")
        return 78
    } catch {
        say("smallworld \(name): \(error)\n")
        return 1
    }
}

/// To standard error, where errors belong. `print` would wait for a
/// reader that stands still.
func say(_ text: String) {
    Log.writeAtOnce(text, to: 2)
}

exit(runCommand(Array(CommandLine.arguments.dropFirst())))
