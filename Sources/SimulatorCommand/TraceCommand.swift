import MeshCore
import MeshSimulation

extension Command {
    static var trace: Command {
        Command(
            name: "trace",
            usage: "trace FILE [--seed N] --message ID | --node ID [--from S] [--to S]",
            summary: "what happened to a message or a node, hop by hop, event by event",
            flags: [
                Flag(name: "seed", argument: "N", help: "the run's (1)"),
                Flag(
                    name: "message", argument: "ID",
                    help: "its number, as in a violation: 0, 1, 2, … in the order of sending"),
                Flag(name: "node", argument: "ID", help: "the host's number"),
                Flag(name: "from", argument: "S", help: "virtual seconds (0)"),
                Flag(name: "to", argument: "S", help: "virtual seconds (the end)"),
                Flag(name: "mistake", argument: "NAME", help: "nodes make it, to test checkers"),
            ]
        ) { arguments in
            guard arguments.words.count == 1 else { throw UsageError("name one scenario file") }
            var scenario = try readScenario(arguments.words[0])
            scenario.mistake = try mistake(arguments)
            let message = try arguments.integer("message", 0...Int(UInt32.max))
            let node = try arguments.integer("node", 0...1_000_000)
            guard (message == nil) != (node == nil) else {
                throw UsageError("give either --message or --node")
            }
            let from = try arguments.number("from", 0...1e6) ?? 0
            let to = try arguments.number("to", 0...1e6) ?? 1e6
            let lines = Run.traced(
                scenario, seed: try arguments.seed() ?? 1, message: message.map(UInt32.init),
                host: node, from: Instant(nanoseconds: Int64(from * 1e9)),
                to: Instant(nanoseconds: Int64(to * 1e9)))
            for line in lines { print(line) }
            return 0
        }
    }

    static var size: Command {
        Command(
            name: "size",
            usage: "size --nodes N [--users U] [--churn R] [--message-rate M] [--json]",
            summary: "what a node will need: memory, bandwidth, links, hops, convergence",
            flags: [
                Flag(name: "nodes", argument: "N", help: "of the mesh"),
                Flag(name: "degree", argument: "D", help: "links of a node (16)"),
                Flag(name: "users", argument: "U", help: "online in the mesh (0)"),
                Flag(name: "churn", argument: "R", help: "arrivals and departures a second (0)"),
                Flag(name: "message-rate", argument: "M", help: "messages a second (0)"),
                Flag(name: "message-size", argument: "B", help: "bytes of payload (128)"),
                Flag(name: "json", help: "prints JSON"),
            ]
        ) { arguments in
            guard let nodes = try arguments.integer("nodes", 2...10_000_000) else {
                throw UsageError("--nodes is needed")
            }
            var sizing = Sizing(
                nodes: nodes, users: try arguments.number("users") ?? 0,
                churn: try arguments.number("churn") ?? 0,
                messageRate: try arguments.number("message-rate") ?? 0)
            sizing.degree = try arguments.integer("degree", 4...64) ?? 16
            sizing.messageSize = try arguments.number("message-size") ?? 128
            print(arguments.has("json") ? sizing.json : sizing.table)
            return 0
        }
    }
}
