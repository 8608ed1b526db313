/// `smallworld demo`: a whole mesh on this machine, with users who talk, and a node that dies.
enum Demo {
    struct Options: Equatable, Sendable {
        var nodeCount = 5
        /// Nil: until it is interrupted.
        var seconds: Int?
    }

    static let command = Command(
        name: "demo", summary: "Watch a mesh of several nodes on this machine.",
        usage: "[OPTIONS]",
        introduction: """
            Starts some nodes on free ports of this machine, attaches users to them and lets them
            talk across the mesh: each user to others, and all of them in a channel. Every message
            is checked by those who receive it. On the way one node is killed hard; its users go on
            at others, and a new node joins. Ctrl-C ends it.
            """,
        closing: """
            At the end it prints a summary. The exit status is 0 when that is sound: nothing lost,
            doubled or out of order, but for messages that died with the killed node; and the death
            noticed by all others within a second.
            """,
        flags: [
            Flag(name: "nodes", argument: "N", help: "How many nodes, 2 … 60 (5)."),
            Flag(
                name: "seconds", argument: "S",
                help: "End by itself after so many seconds of talk, 3 … 86400."),
        ], run: run)

    static func options(_ arguments: Arguments) throws(UsageError) -> Options {
        try arguments.refuseWords()
        var options = Options()
        options.nodeCount = try arguments.integer("nodes", 2...60) ?? options.nodeCount
        options.seconds = try arguments.integer("seconds", 3...86_400)
        return options
    }

    @Sendable private static func run(_ arguments: Arguments) throws -> Int32 {
        try DemoConductor(try options(arguments)).run()
    }
}

/// Why the demo cannot go on.
struct DemoError: Error, CustomStringConvertible {
    var description: String
}
