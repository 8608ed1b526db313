/// `smallworld trace`: which way a message would take.
enum Trace {
    static let command = Command(
        name: "trace", summary: "Show the way of a message to a user or channel.",
        usage: "user|channel NAME [OPTIONS]",
        introduction: """
            Sends a probe from one node to every other node that has the user or a subscriber of the
            channel, and prints the nodes on each way, the first hop first.
            """,
        closing: "", flags: [Status.redisFlag], run: run)

    @Sendable private static func run(_ arguments: Arguments) throws -> Int32 {
        guard arguments.words.count == 2, ["user", "channel"].contains(arguments.words[0]) else {
            throw UsageError("say what to trace: user NAME, or channel NAME")
        }
        let client = try Status.connect(arguments)
        let kind = arguments.words[0]
        let name = arguments.words[1]
        let reply = try client.call(["MESH.TRACE", kind.uppercased(), name])
        guard case .array(let ways) = reply, !ways.isEmpty else {
            print("no other node has \(kind) \(name)")
            return 0
        }
        var rows = [["holder", "hops", "way"]]
        for way in ways {
            let path: [RESPReply] = if case .array(let hops)? = way["path"] { hops } else { [] }
            rows.append([
                way["holder"]?.shown ?? "-", String(path.count),
                path.map(\.shown).joined(separator: " → "),
            ])
        }
        print(Table.text(rows), terminator: "")
        return 0
    }
}
