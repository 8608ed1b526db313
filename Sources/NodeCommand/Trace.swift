/// `smallworld trace`: which way a message would take.
enum Trace {
    static let command = Command(
        name: "trace", summary: "Show the way of a message to a user or channel.",
        usage: "[user|channel] NAME [OPTIONS]",
        introduction: """
            Sends a probe from one node to every node that has the user or a subscriber of the
            channel of this name, and prints the nodes on each way, the first hop first. The node
            that is asked may have it itself: 0 hops.
            """,
        closing: "", flags: [Status.redisFlag], run: run)

    @Sendable private static func run(_ arguments: Arguments) throws -> Int32 {
        var kinds = ["user", "channel"]
        var words = arguments.words
        if words.count == 2, kinds.contains(words[0]) { kinds = [words.removeFirst()] }
        guard words.count == 1 else {
            throw UsageError("say what to trace: NAME, user NAME, or channel NAME")
        }
        let client = try Status.connect(arguments)
        var isAnywhere = false
        for kind in kinds {
            let reply = try client.call(["MESH.TRACE", kind.uppercased(), words[0]])
            guard case .array(let ways) = reply, !ways.isEmpty else { continue }
            isAnywhere = true
            print("\(kind) \(words[0])")
            show(ways)
        }
        if !isAnywhere {
            print("no node has \(kinds.joined(separator: " or ")) \(words[0])")
        }
        return 0
    }

    private static func show(_ ways: [RESPReply]) {
        var rows = [["holder", "hops", "way"]]
        for way in ways {
            let path: [RESPReply] = if case .array(let hops)? = way["path"] { hops } else { [] }
            rows.append([
                way["holder"]?.shown ?? "-", String(path.count),
                path.map(\.shown).joined(separator: " → "),
            ])
        }
        print(Table.text(rows), terminator: "")
    }
}
