import Glibc
import MeshGateway

/// `smallworld pub`, `send` and `say`: messages to a channel, a user or a room.
enum Publish {
    /// The kind of what a message is sent to.
    private enum Target: String {
        case channel, user, room

        func command(_ name: String, _ payload: String) -> [String] {
            switch self {
            case .channel: ["MESH.PUBLISH", name, payload]
            case .user: ["MESH.SEND", name, payload]
            case .room: ["MESH.SAY", name, payload]
            }
        }

        /// The things that the node's answer counts, in a word.
        var unit: String { self == .channel ? "receivers" : "nodes" }

        /// The same in words.
        var counted: String {
            self == .channel ? "subscribers here and of other nodes" : "nodes"
        }
    }

    static let commands = [
        command("pub", .channel, "Publish to a channel.", "its subscribers on any node"),
        command("send", .user, "Send to a user.", "all connections of the user"),
        command("say", .room, "Speak in a room.", "all who are in the room"),
    ]

    private static func command(
        _ name: String, _ target: Target, _ summary: String, _ receivers: String
    ) -> Command {
        Command(
            name: name, summary: summary,
            usage: "\(target.rawValue.uppercased()) [PAYLOAD] [OPTIONS]",
            introduction: """
                Sends PAYLOAD to \(receivers). Without PAYLOAD each line of standard input is a
                message, until it ends. For each message the number of \(target.counted) that it
                goes to is printed\(target == .user ? "; -1: it waits for the user to come back" : "").
                """,
            closing: """
                Ends with 0 if each message goes to somebody, with 1 if one goes to nobody, or if
                the node cannot be asked.
                """,
            flags: ClientFlags.common + [
                Flag(name: "from", argument: "USER", help: "The messages are of this user."),
                Flag(
                    name: "once", argument: "ID",
                    help: "Receivers that have had ID do not get it again; of several lines the\n"
                        + "first is ID-1, the next ID-2, and so on."),
                ClientFlags.json,
            ]
        ) { try run($0, target) }
    }

    private static func run(_ arguments: Arguments, _ target: Target) throws -> Int32 {
        guard (1...2).contains(arguments.words.count) else {
            throw UsageError("say which \(target.rawValue), and what to send, or nothing more")
        }
        let client = try ClientFlags.connect(arguments)
        let name = arguments.words[0]
        let sender = arguments["from"].map { ["FROM", $0] } ?? []
        var status: Int32 = 0
        func send(_ payload: String, id: String?) throws {
            let options = sender + (id.map { ["ONCE", $0] } ?? [])
            let count = try client.call(target.command(name, payload) + options).number ?? 0
            if count == 0 { status = 1 }
            ClientFlags.write(
                arguments.has("json")
                    ? JSONText.text(
                        .map([
                            (name: target.rawValue, value: .text(name)),
                            (name: target.unit, value: .integer(count)),
                        ]))
                    : String(count))
        }
        if arguments.words.count == 2 {
            try send(arguments.words[1], id: arguments["once"])
        } else {
            var number = 0
            while let line = readLine() {
                number += 1
                try send(line, id: arguments["once"].map { "\($0)-\(number)" })
            }
        }
        return status
    }
}
