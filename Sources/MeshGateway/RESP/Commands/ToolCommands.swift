import MeshCore
import MeshWire

// Questions of tools that have hardly a meaning here, or none: the answers have the shape that tools
// expect of a Redis server, and say how it is.

extension Gateway {
    /// WAIT: no replica has anything, and none ever will.
    mutating func wait(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard integer(1, input) != nil else {
            fail(client, .syntax(.notAnInteger))
            return
        }
        guard let milliseconds = integer(2, input) else {
            fail(client, .redis(.waitTime(.value)))
            return
        }
        guard milliseconds >= 0 else {
            fail(client, .redis(.waitTime(.negative)))
            return
        }
        integer(0, client)
    }

    /// SLOWLOG, LATENCY, MEMORY and FUNCTION.
    mutating func figures(_ command: Command, _ input: Span<UInt8>, _ client: ClientIndex) {
        let elsewhere = "This node keeps no such figures: see INFO, MESH.STATUS and /metrics."
        switch command {
        case .slowLogGet:
            if arguments.count > 3 {
                fail(client, .syntax(.argumentCount(command: "slowlog|get")))
            } else if arguments.count == 3, integer(2, input).map({ $0 >= -1 }) != true {
                fail(client, .syntax(.notAnInteger))
            } else {
                reply(client, .array([]))
            }
        case .slowLogLength, .latencyReset: integer(0, client)
        case .slowLogReset, .memoryPurge: ok(client)
        case .latencyLatest, .latencyHistory: reply(client, .array([]))
        case .latencyHistogram: reply(client, .map([]))
        case .latencyDoctor, .memoryDoctor, .memoryAllocator:
            reply(client, .verbatim(elsewhere))
        case .memoryUsage: reply(client, .null)
        case .memoryStatistics: reply(client, .map(memoryFigures))
        case .functionList: reply(client, .array([]))
        case .functionStatistics:
            reply(client, .map([("running_script", .null), ("engines", .map([]))]))
        case .functionFlush:
            let isPlain = arguments.count == 2
            let isHow =
                arguments.count == 3 && (equals(2, "async", input) || equals(2, "sync", input))
            if isPlain || isHow {
                ok(client)
            } else {
                fail(client, .script(.functionFlushOption))
            }
        case .functionLoad: fail(client, .script(.noFunctions))
        case .functionDelete: fail(client, .script(.noLibrary))
        default: fail(client, .script(.notBusy))
        }
    }

    /// Bytes of the client side, as far as it knows them.
    private var memoryFigures: [(String, ReplyValue)] {
        var outputBytes = 0
        for slot in hub.clients.slots where hub.clients[slot].flags.contains(.open) {
            outputBytes +=
                hub.clients[slot].output.byteCapacity + hub.clients[slot].held.byteCapacity
        }
        return [
            ("clients.normal", .integer(outputBytes)),
            (
                "subscriptions",
                .integer(hub.registry.byteCapacity + hub.patterns.index.byteCapacity)
            ),
            ("scripts", .integer(redis.scripts.byteCount)), ("keys.count", .integer(0)),
        ]
    }

    // MARK: CLIENT

    mutating func tellTracking(_ client: ClientIndex) {
        reply(
            client,
            .map([
                ("flags", .array([.text("off")])), ("redirect", .integer(-1)),
                ("prefixes", .array([])),
            ]))
    }

    mutating func unblock(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count <= 4 else {
            fail(client, .syntax(.argumentCount(command: "client|unblock")))
            return
        }
        if arguments.count == 4, !equals(3, "timeout", input), !equals(3, "error", input) {
            fail(client, .redis(.unblockReason))
            return
        }
        guard integer(2, input) != nil else {
            fail(client, .syntax(.notAnInteger))
            return
        }
        integer(0, client)
    }

    // MARK: COMMAND GETKEYS

    /// Scripts name keys, which are channels; no other command has any.
    mutating func findKeys(_ input: Span<UInt8>, _ client: ClientIndex) {
        let name = arguments[2]
        let found = PackedName(input, Int(name.start), Int(name.count)).flatMap {
            redis.table.find($0)
        }
        guard let command = found else {
            fail(client, .redis(.noKeys(isKnown: false)))
            return
        }
        guard command == .eval || command == .evalSHA, arguments.count >= 5,
            let count = integer(4, input), count > 0, count <= arguments.count - 5
        else {
            fail(client, .redis(.noKeys(isKnown: true)))
            return
        }
        reply(client, .array((5..<(5 + count)).map { .bulk(bytes($0, input)) }))
    }

    // MARK: ACL

    private static let categories = [
        "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap",
        "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous",
        "connection", "transaction", "scripting",
    ]

    /// The category of Redis that a command belongs to here.
    private func category(of command: Command) -> String {
        let name = redis.table[command].fullName
        switch command {
        case .multi, .exec, .discard, .watch, .unwatch: return "transaction"
        case .eval, .evalSHA, .evalReadOnly, .evalSHAReadOnly, .call, .callReadOnly:
            return "scripting"
        default: break
        }
        if name.hasPrefix("script") || name.hasPrefix("function") { return "scripting" }
        if name.hasPrefix("mesh.") || name.hasPrefix("pubsub") || name.hasSuffix("publish")
            || name.hasSuffix("subscribe")
        {
            return "pubsub"
        }
        return command.operation == .connect ? "connection" : "admin"
    }

    mutating func listCategories(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count <= 3 else {
            fail(client, .syntax(.argumentCount(command: "acl|cat")))
            return
        }
        if arguments.count == 2 {
            reply(client, .array(Self.categories.map { .text($0) }))
            return
        }
        let wanted = text(2, input, countMax: 64).lowercased()
        guard Self.categories.contains(wanted) else {
            fail(client, .redis(.unknownCategory(name: excerpt(2, input))))
            return
        }
        let names = redis.table.specs.filter { category(of: $0.command) == wanted }.map(\.fullName)
        reply(client, .array(names.map { .text($0) }))
    }

    mutating func describeUser(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard let user = user(2, input) else {
            reply(client, .null)
            return
        }
        let flags = hasPassword(user) ? ["on"] : ["on", "nopass"]
        reply(
            client,
            .map([
                ("flags", .array(flags.map { .text($0) })),
                // The password does not go out.
                ("passwords", .array([])),
                ("commands", .text(allowedCommands(user, client))), ("keys", .text("~*")),
                ("channels", .text("&*")), ("selectors", .array([])),
            ]))
    }

    /// The user of this name; nil: there is none.
    func user(_ index: Int, _ input: Span<UInt8>) -> Credentials.User? {
        Credentials.User(rawValue: text(index, input, countMax: 16))
            .flatMap { users.contains($0) ? $0 : nil }
    }

    mutating func tellAccessLog(_ input: Span<UInt8>, _ client: ClientIndex) {
        if arguments.count == 2 {
            reply(client, .array([]))
        } else if arguments.count == 3, equals(2, "reset", input) {
            ok(client)
        } else if arguments.count == 3 {
            if let count = integer(2, input) {
                if count < 0 {
                    fail(client, .redis(.logCount))
                } else {
                    reply(client, .array([]))
                }
            } else {
                fail(client, .syntax(.notAnInteger))
            }
        } else {
            fail(client, .syntax(.argumentCount(command: "acl|log")))
        }
    }

    mutating func tryAccess(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard let user = user(2, input) else {
            fail(client, .redis(.dryRunUser(name: excerpt(2, input))))
            return
        }
        let name = arguments[3]
        guard
            var command = PackedName(input, Int(name.start), Int(name.count)).flatMap({
                redis.table.find($0)
            })
        else {
            fail(client, .redis(.dryRunCommand(name: excerpt(3, input))))
            return
        }
        if arguments.count > 4, hasSubcommands(command),
            let found = subcommand(of: command, at: 4, input)
        {
            command = found
        }
        if command.operation.isReserved, !mayAdminister(user, client) {
            let full = redis.table[command].fullName
            reply(
                client,
                .text(
                    "User \(user.rawValue) has no permissions to run the '\(full)' command"))
            return
        }
        ok(client)
    }
}
