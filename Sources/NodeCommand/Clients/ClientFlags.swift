import Glibc
import MeshTransport
import Smallworld

/// The flags that the subcommands have in common that are clients of a node.
enum ClientFlags {
    static let password = Flag(
        name: "password-file", argument: "FILE",
        help: "The node's password is the first line of FILE\n"
            + "($SMALLWORLD_PASSWORD, if there is no FILE).")

    static let json = Flag(name: "json", help: "One JSON object a line.")

    static let common = [Status.redisFlag, password]

    static func connect(_ arguments: Arguments) throws -> RESPClient {
        let secret = try Secret.read(
            password.name, arguments[password.name], variable: NodeSubcommand.passwordVariable)
        return try RESPClient(
            try Status.address(arguments), proof: secret.map { ["AUTH", "default", $0] } ?? [],
            passwordFlag: password.name, seconds: 5)
    }

    /// Writes a line at once: whoever reads it may be a program that waits for it.
    static func write(_ line: String) {
        print(line)
        fflush(nil)
    }

    /// SIGTERM and SIGINT end the program with 0 from now on: to be told to stop is how it ends.
    static func endWellWhenStopped() {
        for number in [SIGTERM, SIGINT] {
            signal(number) { _ in _exit(0) }
        }
    }
}
