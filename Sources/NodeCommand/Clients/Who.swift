import MeshGateway

/// `smallworld who`: the members of a room, or the attachments of a user.
enum Who {
    static let command = Command(
        name: "who", summary: "Show who is in a room.", usage: "ROOM [OPTIONS]",
        introduction: """
            Prints the members of a room, by user: user, sid, node, and what their clients say of
            them. With --user, the argument is a user, and its attachments are printed.
            """,
        closing: """
            Ends with 0 if somebody is there, with 1 if nobody is, if a node has not answered (it is
            named on standard error), or if the node cannot be asked.
            """,
        flags: ClientFlags.common + [
            Flag(name: "user", help: "The argument is a user."), ClientFlags.json,
        ], run: run)

    @Sendable private static func run(_ arguments: Arguments) throws -> Int32 {
        guard arguments.words.count == 1 else { throw UsageError("say which room, or user") }
        let name = arguments.words[0]
        let client = try ClientFlags.connect(arguments)
        var rows: [[RESPReply]] = []
        var missing: [String] = []
        let titles: [String]
        if arguments.has("user") {
            titles = ["sid", "node", "milliseconds", "metadata"]
            rows = try client.call(["MESH.WHERE", name, "SESSIONS"]).elements.map(\.elements)
        } else {
            titles = ["user", "sid", "node", "metadata"]
            var place: RESPReply = .null
            repeat {
                var words = ["MESH.WHO", name, "LIMIT", "1000"]
                if case .text(let text) = place { words += ["AFTER", text] }
                let page = try client.call(words).elements
                guard page.count == 3 else {
                    throw RESPClientError(description: "the node's answer is no list of members")
                }
                rows += page[0].elements.map(\.elements)
                missing = page[2].elements.map(\.shown)
                place = page[1]
            } while place != .null
        }
        if arguments.has("json") {
            for row in rows {
                print(JSONText.text(.map(zip(titles, row).map { (name: $0, value: $1) })))
            }
        } else if !rows.isEmpty {
            print(Table.text([titles] + rows.map { $0.map(\.shown) }), terminator: "")
        }
        for node in missing { say("\(node) has not answered") }
        return rows.isEmpty || !missing.isEmpty ? 1 : 0
    }
}
