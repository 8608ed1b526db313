import MeshGateway
import MeshTransport
import Smallworld

/// `smallworld status`: what a node knows, for people or as JSON.
enum Status {
    static let redisFlag = Flag(
        name: "redis", argument: "ADDRESS",
        help: "The redis port of the node to ask (127.0.0.1:7379): HOST:PORT or\n"
            + "unix:/PATH.")

    static let passwordFlag = Flag(
        name: "operator-password-file", argument: "FILE",
        help: "The node's operator password is the first line of FILE\n"
            + "($SMALLWORLD_OPERATOR_PASSWORD, if there is no FILE).")

    static let command = Command(
        name: "status", summary: "Show a node, its members and its links.", usage: "[OPTIONS]",
        introduction: """
            Asks one node for its state, the members that it knows and the links that it has.
            """,
        closing: """
            Ends with 0 if the node is ready, with 1 if it is joining or leaving the mesh (what is
            printed is the same), and with 1 if it cannot be asked.
            """,
        flags: [
            redisFlag, passwordFlag,
            Flag(
                name: "json", argument: nil,
                help: "Print one JSON object with status, members and links."),
        ], run: run)

    static func address(_ arguments: Arguments) throws(UsageError) -> RedisAddress {
        do throws(MeshNodeError) {
            return try RedisAddress(arguments["redis"] ?? "127.0.0.1:7379")
        } catch {
            throw UsageError("redis: \(error)")
        }
    }

    static func connect(_ arguments: Arguments) throws -> RESPClient {
        let address = try address(arguments)
        let password = try Secret.read(
            passwordFlag.name, arguments[passwordFlag.name],
            variable: NodeSubcommand.operatorVariable)
        return try RESPClient(
            address, proof: password.map { ["AUTH", "operator", $0] } ?? [],
            passwordFlag: passwordFlag.name, seconds: 5)
    }

    @Sendable private static func run(_ arguments: Arguments) throws -> Int32 {
        try arguments.refuseWords()
        let client = try connect(arguments)
        let status = try client.call(["MESH.STATUS"])
        let members = try client.call(["MESH.MEMBERS"])
        let links = try client.call(["MESH.LINKS"])
        if arguments["json"] != nil {
            let all = RESPReply.map([
                (name: "status", value: status), (name: "members", value: members),
                (name: "links", value: links),
            ])
            print(JSONText.text(all))
        } else {
            print(report(status, members, links), terminator: "")
        }
        return status["ready"] == .integer(1) ? 0 : 1
    }

    /// Shown when they are 0 too; other figures of the status are counters, and nobody reads forty
    /// zeros.
    private static let alwaysShown = ["ready", "members", "links", "entries", "clients"]

    /// The three answers as tables.
    static func report(_ status: RESPReply, _ members: RESPReply, _ links: RESPReply) -> String {
        var text = ""
        if case .map(let fields) = status {
            let shown = fields.filter {
                $0.value != .integer(0) && $0.value != .text("") || alwaysShown.contains($0.name)
            }
            text += Table.text(shown.map { [$0.name, $0.value.shown] }) + "\n"
        }
        let memberColumns = [
            "name", "zone", "endpoint", "status", "keys", "stalledMilliseconds", "id",
        ]
        text += "Members\n" + table(members, memberColumns) + "\n"
        let linkColumns = [
            "name", "endpoint", "role", "roundTripMicroseconds", "doubted", "secondChoice",
            "queuedBytes", "framesIn", "framesOut", "bytesIn", "bytesOut",
        ]
        return text + "Links\n" + table(named(links, members), linkColumns)
    }

    /// The links with the names of their peers: ids tell people little.
    private static func named(_ links: RESPReply, _ members: RESPReply) -> RESPReply {
        .array(
            links.elements.map { link in
                let peer = members.elements.first { $0["id"] == link["peer"] }
                guard case .map(let fields) = link else { return link }
                return .map([(name: "name", value: peer?["name"] ?? .text("?"))] + fields)
            })
    }

    private static func table(_ reply: RESPReply, _ columns: [String]) -> String {
        guard case .array(let rows) = reply, !rows.isEmpty else { return "  none\n" }
        return Table.text(
            [columns] + rows.map { row in columns.map { row[$0]?.shown ?? "-" } })
    }
}

/// Columns of equal width.
enum Table {
    static func text(_ rows: [[String]]) -> String {
        let columnCount = rows.map(\.count).max() ?? 0
        let widths = (0..<columnCount).map { column in
            rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            var line = " "
            for (column, cell) in row.enumerated() {
                let cell = cell.isEmpty ? "-" : cell
                line += " " + cell
                if column < row.count - 1 {
                    line += String(repeating: " ", count: max(0, widths[column] - cell.count) + 1)
                }
            }
            return line + "\n"
        }.joined()
    }
}

/// Replies as JSON, in the node's order.
enum JSONText {
    static func text(_ reply: RESPReply) -> String {
        switch reply {
        case .text(let text), .error(let text): Log.quoted(text)
        case .integer(let number): String(number)
        case .double(let number): number.isFinite ? String(number) : "null"
        case .null: "null"
        case .array(let values), .push(let values):
            "[" + values.map(text).joined(separator: ",") + "]"
        case .map(let fields):
            "{"
                + fields.map { Log.quoted($0.name) + ":" + text($0.value) }.joined(separator: ",")
                + "}"
        }
    }
}
