import Glibc
import MeshGateway

/// `smallworld sub` and `watch`: what comes, line by line, until the program is stopped.
enum Listen {
    private static let count = Flag(
        name: "count", argument: "N", help: "End with 0 after N lines (never).")

    static let subscription = Command(
        name: "sub", summary: "Print what comes on channels, in rooms, and to a user.",
        usage: "[CHANNEL...] [OPTIONS]",
        introduction: """
            Subscribes to the channels, joins the rooms and is attached as the user, on one
            connection. Prints each message as a line: channel, user or room, the name, the
            message. With --user the rooms are joined as that user, who is seen there; without,
            nobody is seen. With --json the sender and the time of a message to a user or room
            are in its line, if the message tells them.
            """,
        closing: """
            Ends with 0 when it is stopped by SIGINT or SIGTERM, and with 1 if the node ends the
            connection. A message that is no text in UTF-8 is shown with U+FFFD in it.
            """,
        flags: ClientFlags.common + [
            Flag(
                name: "pattern", argument: "PATTERN", isRepeatable: true,
                help: "Channels whose names match, as by PSUBSCRIBE; repeat it for several."),
            Flag(
                name: "room", argument: "ROOM", isRepeatable: true,
                help: "Join this room; repeat it for several."),
            Flag(name: "user", argument: "USER", help: "What is sent to this user."),
            count, ClientFlags.json,
        ], run: subscribe)

    static let watch = Command(
        name: "watch", summary: "Print when users come and go, or members of rooms.",
        usage: "[USER...] [OPTIONS]",
        introduction: """
            Prints a line for each user now, and whenever its first connection anywhere comes or
            its last one goes: the user, online or offline. Of each room: the room, here or gone,
            the user and the sid of a member that is there, now and whenever one comes or its
            metadata change, or that has gone, and then the reason (quit, lost, kicked, node). Of
            a room that is too large: the room, count, the number of its members.
            """,
        closing: """
            Ends with 0 when it is stopped by SIGINT or SIGTERM, and with 1 if the node ends the
            connection.
            """,
        flags: ClientFlags.common + [
            Flag(
                name: "room", argument: "ROOM", isRepeatable: true,
                help: "Who is in this room; repeat it for several."),
            count, ClientFlags.json,
        ], run: watch)

    @Sendable private static func subscribe(_ arguments: Arguments) throws -> Int32 {
        let patterns = arguments.flags["pattern"] ?? []
        let rooms = arguments.flags["room"] ?? []
        guard
            !arguments.words.isEmpty || !patterns.isEmpty || !rooms.isEmpty || arguments.has("user")
        else { throw UsageError("say what to listen to: channels, --pattern, --room or --user") }
        let lineCount = try arguments.integer("count", 1...Int.max)
        let client = try ClientFlags.connect(arguments)
        ClientFlags.endWellWhenStopped()
        if arguments.has("json") { _ = try client.call(["MESH.DETAILS", "ON"]) }
        if let user = arguments["user"] { _ = try client.call(["MESH.ATTACH", user]) }
        for room in rooms {
            _ = try client.call(["MESH.JOIN", room] + (arguments.has("user") ? [] : ["HIDDEN"]))
        }
        if !patterns.isEmpty { try client.send(["PSUBSCRIBE"] + patterns) }
        if !arguments.words.isEmpty { try client.send(["SUBSCRIBE"] + arguments.words) }
        return try follow(client, lineCount) { push in
            let texts = push.map(\.shown)
            switch (texts.first, texts.count) {
            case ("message", 3): return line("channel", texts[1], texts[2], arguments)
            case ("pmessage", 4): return line("channel", texts[2], texts[3], arguments)
            case ("user", 3), ("room", 3): return line(texts[0], texts[1], texts[2], arguments)
            case ("user", 4), ("room", 4):
                return line(
                    texts[0], texts[1], texts[2], details: push[3], arguments)
            default: return nil
            }
        }
    }

    private static func line(
        _ kind: String, _ name: String, _ message: String, details: RESPReply = .null,
        _ arguments: Arguments
    ) -> String {
        guard arguments.has("json") else { return "\(kind) \(name) \(message)" }
        var fields: [(name: String, value: RESPReply)] = [
            (name: kind, value: .text(name)), (name: "message", value: .text(message)),
        ]
        if case .map(let shown) = details { fields += shown }
        return JSONText.text(.map(fields))
    }

    @Sendable private static func watch(_ arguments: Arguments) throws -> Int32 {
        let rooms = arguments.flags["room"] ?? []
        guard !arguments.words.isEmpty || !rooms.isEmpty else {
            throw UsageError("say which users to watch, or --room")
        }
        let lineCount = try arguments.integer("count", 1...Int.max)
        let client = try ClientFlags.connect(arguments)
        ClientFlags.endWellWhenStopped()
        if !arguments.words.isEmpty { try client.send(["MESH.WATCH"] + arguments.words) }
        for room in rooms { try client.send(["MESH.WATCHROOM", room]) }
        return try followLines(client, lineCount) { push in
            let texts = push.map(\.shown)
            if texts.first == "roster", push.count == 6 { return roster(push, arguments) }
            guard texts.first == "presence", texts.count >= 3 else { return [] }
            guard arguments.has("json") else { return ["\(texts[1]) \(texts[2])"] }
            return [
                JSONText.text(
                    .map([
                        (name: "user", value: .text(texts[1])),
                        (name: "online", value: .integer(texts[2] == "online" ? 1 : 0)),
                    ]))
            ]
        }
    }

    /// The lines of a push about a room: one for each member in it, or for their number.
    private static func roster(_ push: [RESPReply], _ arguments: Arguments) -> [String] {
        let room = push[1].shown
        guard case .array(let joined) = push[4], case .array(let left) = push[5] else { return [] }
        func line(_ word: String, _ fields: [(name: String, value: RESPReply)]) -> String {
            guard arguments.has("json") else {
                let texts = fields.filter { $0.name != "metadata" }.map(\.value.shown)
                return ([room, word] + texts).joined(separator: " ")
            }
            return JSONText.text(
                .map(
                    [(name: "room", value: .text(room)), (name: "is", value: .text(word))] + fields)
            )
        }
        if push[2].shown == "count" { return [line("count", [(name: "members", value: push[3])])] }
        func lines(_ members: [RESPReply], _ word: String, _ last: String) -> [String] {
            members.compactMap { member in
                guard case .array(let parts) = member, parts.count == 3 else { return nil }
                return line(
                    word,
                    [
                        (name: "user", value: parts[0]), (name: "sid", value: parts[1]),
                        (name: last, value: parts[2]),
                    ])
            }
        }
        return lines(joined, "here", "metadata") + lines(left, "gone", "reason")
    }

    /// Prints what is made of each push, as long as the connection stands.
    private static func follow(
        _ client: RESPClient, _ lineCount: Int?, _ line: ([RESPReply]) -> String?
    ) throws -> Int32 {
        try followLines(client, lineCount) { push in line(push).map { [$0] } ?? [] }
    }

    /// The same, where several lines are made of one push.
    private static func followLines(
        _ client: RESPClient, _ lineCount: Int?, _ lines: ([RESPReply]) -> [String]
    ) throws -> Int32 {
        client.waitForever()
        var printed = 0
        while true {
            for line in lines(try client.nextPush()) {
                ClientFlags.write(line)
                printed += 1
                if printed == lineCount { return 0 }
            }
        }
    }
}
