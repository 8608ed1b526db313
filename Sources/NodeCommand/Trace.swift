import MeshCore
import MeshGateway
import MeshTransport

/// `smallworld trace`: which way a message would take.
enum Trace {
    static let command = Command(
        name: "trace", summary: "Show the way of a message to a user, channel or room.",
        usage: "[user|channel|room] NAME [OPTIONS]",
        introduction: """
            Sends a probe from one node to every node that has the user, a subscriber of the channel
            or a member of the room of this name, and prints the nodes on each way, the first hop
            first. The node that is asked may have it itself: 0 hops. A node that has it and does
            not answer is named too.
            """,
        closing: """
            Ends with 0 if all nodes that have it answered, and with 1 if one did not, if no node
            has it, or if the node cannot be asked.
            """,
        flags: [
            Status.redisFlag, Status.passwordFlag,
            Flag(
                name: "json", argument: nil,
                help: "Print one JSON object with the ways to user, channel and room;\n"
                    + "the path of a node that did not answer is null."),
        ], run: run)

    @Sendable private static func run(_ arguments: Arguments) throws -> Int32 {
        var kinds = ["user", "channel", "room"]
        var words = arguments.words
        if words.count == 2, kinds.contains(words[0]) { kinds = [words.removeFirst()] }
        guard words.count == 1 else {
            throw UsageError("say what to trace: NAME, user NAME, channel NAME or room NAME")
        }
        let client = try Status.connect(arguments)
        var found: [(name: String, value: RESPReply)] = []
        for kind in kinds {
            let reply = try client.call(["MESH.TRACE", kind.uppercased(), words[0]])
            found.append((name: kind, value: reply))
        }
        if arguments["json"] != nil {
            print(JSONText.text(.map([(name: "name", value: .text(words[0]))] + found)))
        } else {
            print(report(words[0], found), terminator: "")
        }
        let ways = found.flatMap(\.value.elements)
        return ways.isEmpty || ways.contains { $0["path"] == .null } ? 1 : 0
    }

    /// The findings of each kind as a table; one line if nothing was.
    static func report(_ name: String, _ found: [(name: String, value: RESPReply)]) -> String {
        let tables = found.filter { !$0.value.elements.isEmpty }.map { kind in
            "\(kind.name) \(name)\n" + table(kind.value.elements)
        }
        if tables.isEmpty {
            return "no node has \(found.map(\.name).joined(separator: " or ")) \(name)\n"
        }
        return tables.joined()
    }

    private static func table(_ ways: [RESPReply]) -> String {
        let silence = "no answer in \(Timing().query.nanoseconds / 1_000_000_000) s"
        return Table.text(
            [["holder", "id", "status", "hops", "way"]]
                + ways.map { way in
                    ["holder", "id", "status", "hops"].map { way[$0]?.shown ?? "-" }
                        + [way["path"] == .null ? silence : way["path"]?.shown ?? "-"]
                })
    }
}
