import Glibc
import MeshGateway

/// `smallworld request` and `serve`: questions to a service, and answers.
enum Requests {
    static let request = Command(
        name: "request", summary: "Ask a service, a user or a room, and print the answer.",
        usage: "NAME [PAYLOAD] [OPTIONS]",
        introduction: """
            Sends PAYLOAD to one provider of the service NAME, on whatever node, and prints the answer.
            Without PAYLOAD each line of standard input is a request, one after another.
            """,
        closing: """
            Ends with 0 if each request is answered, and with 1 at the first that is not; the
            reason is on standard error.
            """,
        flags: ClientFlags.common + [
            Flag(
                name: "timeout", argument: "MILLISECONDS",
                help: "How long an answer may take, 1 … 3600000 (5000)."),
            Flag(name: "user", help: "NAME is a user: its connection that acted last is asked."),
            Flag(name: "room", help: "NAME is a room: one of its members is asked."),
            Flag(
                name: "all",
                help: "Ask all there are, and print a line for each: who, status and payload."),
            Flag(name: "key", argument: "KEY", help: "The same provider for the same key."),
            Flag(name: "wait", help: "Wait for a provider if there is none."),
            Flag(name: "retry", help: "Ask another provider if one dies with the request."),
        ], run: ask)

    static let serve = Command(
        name: "serve", summary: "Answer requests to a service, line by line.",
        usage: "SERVICE [OPTIONS]",
        introduction: """
            Serves the service: prints each request as a line, and takes the next line of standard
            input for its answer. One request is at hand at a time; others wait, or go to other
            providers.
            """,
        closing: """
            Ends with 0 when it is stopped by SIGINT or SIGTERM, or when standard input ends where
            an answer should come: that request ends by DIED. Ends with 1 if the node ends the
            connection. Line ends in a request are shown as spaces.
            """,
        flags: ClientFlags.common, run: serve)

    @Sendable private static func ask(_ arguments: Arguments) throws -> Int32 {
        guard (1...2).contains(arguments.words.count) else {
            throw UsageError("say which service, and what to ask, or nothing more")
        }
        let kinds = ["user", "room"].filter { arguments.has($0) }
        guard kinds.count < 2 else { throw UsageError("a name is a user or a room, not both") }
        if let key = arguments["key"], key.isEmpty || arguments.has("all") || !kinds.isEmpty {
            throw UsageError("--key goes with a service, and without --all")
        }
        if arguments.has("all"), arguments.has("retry") {
            throw UsageError("--all asks each once: --retry does not go with it")
        }
        let milliseconds = try arguments.integer("timeout", 1...3_600_000) ?? 5_000
        let client = try ClientFlags.connect(arguments)
        // The node knows the deadline, and says when it is over.
        client.waitForever()
        func ask(_ payload: String) throws {
            var words = ["MESH.REQUEST", kinds.first ?? "SERVICE", arguments.words[0], payload]
            words += ["TIMEOUT", String(milliseconds)]
            words += ["wait", "retry", "all"].filter { arguments.has($0) }
            if let key = arguments["key"] { words += ["KEY", key] }
            let reply = try client.call(words)
            guard arguments.has("all"), case .array(let answers) = reply else {
                return ClientFlags.write(reply.shown)
            }
            for case .array(let fields) in answers {
                ClientFlags.write(fields.map(\.shown).joined(separator: " "))
            }
        }
        if arguments.words.count == 2 {
            try ask(arguments.words[1])
        } else {
            while let line = readLine() { try ask(line) }
        }
        return 0
    }

    @Sendable private static func serve(_ arguments: Arguments) throws -> Int32 {
        guard arguments.words.count == 1 else { throw UsageError("say which service") }
        let client = try ClientFlags.connect(arguments)
        ClientFlags.endWellWhenStopped()
        _ = try client.call(["MESH.SERVE", arguments.words[0], "CONCURRENCY", "1"])
        client.waitForever()
        while true {
            let push = try client.nextPush().map(\.shown)
            guard push.first == "request", push.count == 5 else { continue }
            ClientFlags.write(String(push[4].map { $0.isNewline ? " " : $0 }))
            guard let answer = readLine() else { return 0 }
            _ = try client.call(["MESH.REPLY", push[1], answer])
        }
    }
}
