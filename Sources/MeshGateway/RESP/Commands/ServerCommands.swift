import MeshCore
import MeshWire

// Questions about the server: INFO, COMMAND, ACL, and help.

extension Gateway {
    // MARK: INFO

    func infoSections(_ input: Span<UInt8>) -> [String] {
        // More than Redis has sections are not asked for by anybody who wants an answer.
        (1..<max(1, min(arguments.count, 33))).map {
            text($0, input, countMax: 64).lowercased()
        }
    }

    /// The text of INFO, for the driver's answer to `.report(.info)`: `reply(client, .verbatim(…))`.
    ///
    /// - Parameters:
    ///   - sections: as `Report.info` names them; none, `all`, `everything` or `default` mean all.
    ///   - additional: the driver's own lines (`name:value`), by section; sections that are not
    ///     the gateway's come last.
    public mutating func information(
        sections: [String], additional: [(section: String, lines: [String])]
    ) -> String {
        var pubsubClients = 0
        for slot in hub.clients.slots
        where hub.clients[slot].flags.contains(.open) && hub.clients[slot].lists.redisCount > 0 {
            pubsubClients += 1
        }
        var largestOutput = 0
        for slot in hub.clients.slots where hub.clients[slot].flags.contains(.open) {
            largestOutput = max(largestOutput, hub.outputCount(ClientIndex(slot)))
        }
        var parts: [(section: String, lines: [String])] = [
            (
                "Server",
                [
                    "redis_version:\(Self.redisVersion)", "redis_git_sha1:00000000",
                    "redis_git_dirty:0", "redis_build_id:0", "redis_mode:standalone",
                    "server_name:smallworld",
                ]
            ),
            (
                "Clients",
                [
                    "connected_clients:\(hub.clientCount)", "cluster_connections:0",
                    "maxclients:\(hub.configuration.clientCountMax)",
                    "client_recent_max_output_buffer:\(largestOutput)",
                    "blocked_clients:\(hub.questions.count)", "tracking_clients:0",
                    "pubsub_clients:\(pubsubClients)",
                ]
            ),
            (
                "Memory",
                [
                    "subscription_bytes:\(hub.registry.byteCapacity + hub.patterns.index.byteCapacity)",
                    "maxmemory:0", "maxmemory_policy:noeviction",
                ]
            ),
            (
                "Persistence",
                [
                    "loading:\(hub.isReady ? 0 : 1)", "rdb_changes_since_last_save:0",
                    "rdb_bgsave_in_progress:0", "rdb_last_save_time:0",
                    "rdb_last_bgsave_status:ok", "aof_enabled:0", "aof_rewrite_in_progress:0",
                    "aof_last_write_status:ok",
                ]
            ),
            (
                "Stats",
                [
                    "total_connections_received:\(hub.counters[.connectionsAccepted])",
                    "total_commands_processed:\(hub.counters[.commands])",
                    "rejected_connections:\(hub.counters[.connectionsRefused])",
                    "pubsub_channels:\(hub.registry.topics.count(.channel))",
                    "pubsub_patterns:\(hub.patterns.count)",
                    "pubsubshard_channels:\(hub.registry.topics.count(.shardChannel))",
                    "total_error_replies:\(hub.counters[.commandErrors])",
                    "expired_keys:0", "evicted_keys:0", "keyspace_hits:0", "keyspace_misses:0",
                    "number_of_cached_scripts:\(redis.scripts.count)",
                    "client_output_buffer_limit_disconnections:"
                        + "\(hub.counters[.clientsOverdue])",
                    "acl_access_denied_auth:\(hub.counters[.authenticationFailures])",
                    "published_messages:\(hub.counters[.messagesPublished])",
                    "delivered_messages:\(hub.counters[.clientCopies])",
                    "dropped_messages:\(hub.counters[.droppedClientCopies])",
                    "protocol_errors:\(hub.counters[.clientProtocolErrors])",
                ]
            ),
            ("Replication", ["role:master", "connected_slaves:0"]),
            ("Cluster", ["cluster_enabled:0"]),
            ("Modules", []), ("Keyspace", []),
        ]
        for extra in additional {
            if let index = parts.firstIndex(where: {
                $0.section.lowercased() == extra.section.lowercased()
            }) {
                parts[index].lines += extra.lines
            } else {
                parts.append(extra)
            }
        }
        let wantsAll =
            sections.isEmpty
            || sections.contains { ["all", "everything", "default"].contains($0) }
        return
            parts
            .filter { wantsAll || sections.contains($0.section.lowercased()) }
            .map { part in
                "# \(part.section)\r\n" + part.lines.map { "\($0)\r\n" }.joined()
            }
            .joined(separator: "\r\n")
    }

    /// FLUSHALL and FLUSHDB: there is nothing to remove.
    mutating func removeKeys(_ input: Span<UInt8>, _ client: ClientIndex) {
        let isPlain = arguments.count == 1
        let isHow =
            arguments.count == 2 && (equals(1, "async", input) || equals(1, "sync", input))
        if isPlain || isHow { ok(client) } else { fail(client, .syntax(.unknownArgument)) }
    }

    // MARK: COMMAND

    var topLevelCommands: [Command] {
        redis.table.specs.filter { !$0.fullName.contains("|") }.map(\.command)
    }

    private func subcommands(of command: Command) -> [Command] {
        let prefix = redis.table[command].fullName + "|"
        return redis.table.specs.filter { $0.fullName.hasPrefix(prefix) }.map(\.command)
    }

    mutating func describeCommands(_ commands: [Command], _ client: ClientIndex) {
        reply(
            client,
            .array(
                commands.filter { !redis.table[$0].fullName.contains("|") }.map {
                    description(of: $0)
                }))
    }

    /// Name, arity, flags, keys (none), categories, hints, key specifications, subcommands.
    private func description(of command: Command) -> ReplyValue {
        let spec = redis.table[command]
        var flags: [String] = []
        let name = spec.fullName
        let isPubSub =
            name.hasPrefix("mesh.") || name.hasPrefix("pubsub") || name.hasSuffix("publish")
            || name.hasSuffix("subscribe")
        if isPubSub { flags.append("pubsub") }
        if spec.traits.contains(.open) { flags.append("no_auth") }
        if spec.traits.contains(.alone) { flags.append("no_multi") }
        if !spec.traits.contains(.mesh) { flags += ["loading", "stale"] }
        return .array([
            .text(spec.fullName), .integer(spec.arity), .array(flags.map { .simple($0) }),
            .integer(0), .integer(0), .integer(0),
            .array([.simple(isPubSub ? "@pubsub" : "@connection")]), .array([]), .array([]),
            .array(subcommands(of: command).map { description(of: $0) }),
        ])
    }

    private func find(_ index: Int, _ input: Span<UInt8>) -> Command? {
        let parts = text(index, input, countMax: 64).lowercased().split(separator: "|")
        guard let first = parts.first,
            let command = PackedName(String(first)).flatMap({
                redis.table.find($0)
            })
        else { return nil }
        if parts.count == 1 { return command }
        guard parts.count == 2 else { return nil }
        return PackedName(String(parts[1])).flatMap { redis.table.find($0, parent: command) }
    }

    mutating func commandInfo(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count > 2 else {
            describeCommands(topLevelCommands, client)
            return
        }
        guard canList(client) else { return }
        reply(
            client,
            .array(
                (2..<arguments.count).map { index in
                    find(index, input).map { description(of: $0) } ?? .null
                }))
    }

    mutating func documentCommands(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard canList(client) else { return }
        let wanted =
            arguments.count == 2
            ? topLevelCommands : (2..<arguments.count).compactMap { find($0, input) }
        reply(client, .map(wanted.map { (redis.table[$0].fullName, documentation(of: $0)) }))
    }

    private func documentation(of command: Command) -> ReplyValue {
        let spec = redis.table[command]
        let isMesh = spec.fullName.hasPrefix("mesh.")
        var fields: [(String, ReplyValue)] = [
            ("summary", .text(spec.summary)), ("since", .text("1.0.0")),
            ("group", .text(isMesh ? "mesh" : "connection")), ("complexity", .text("O(1)")),
        ]
        let parts = subcommands(of: command)
        if !parts.isEmpty {
            fields.append(
                (
                    "subcommands",
                    .map(parts.map { (redis.table[$0].fullName, documentation(of: $0)) })
                ))
        }
        return .map(fields)
    }

    /// A thousand names in one question would make an answer of megabytes.
    private mutating func canList(_ client: ClientIndex) -> Bool {
        if arguments.count <= 1_024 { return true }
        fail(client, .limit(.commandsAskedFor))
        return false
    }

    mutating func listCommands(_ input: Span<UInt8>, _ client: ClientIndex) {
        var names = topLevelCommands.map { redis.table[$0].fullName }
        if arguments.count == 5, equals(2, "filterby", input) {
            let value = bytes(4, input, countMax: 1_024)
            if equals(3, "pattern", input) {
                let pattern = Array(String(decoding: value, as: UTF8.self).lowercased().utf8)
                names = names.filter { Glob.matches(pattern, Array($0.utf8)) }
            } else if equals(3, "module", input) || equals(3, "aclcat", input) {
                names = []
            } else {
                fail(client, .syntax(.unknownArgument))
                return
            }
        } else if arguments.count != 2 {
            fail(client, .syntax(.unknownArgument))
            return
        }
        reply(client, .array(names.map { .text($0) }))
    }

    // MARK: ACL and help

    /// The users that a client can become.
    var users: [Credentials.User] {
        hub.configuration.credentials.operatorPassword == nil
            ? [.standard] : [.standard, .administrator]
    }

    /// The rights of each user, in Redis's language.
    func accessRules(_ client: ClientIndex) -> [String] {
        users.map { user in
            let password = hasPassword(user) ? "#hidden" : "nopass"
            let commands = allowedCommands(user, client)
            return "user \(user.rawValue) on \(password) ~* &* \(commands)"
        }
    }

    func hasPassword(_ user: Credentials.User) -> Bool {
        user == .administrator || hub.configuration.credentials.password != nil
    }

    /// The commands of a user, in Redis's language: all, or all but the operator's. Without passwords that
    /// depends on where the client is.
    func allowedCommands(_ user: Credentials.User, _ client: ClientIndex) -> String {
        if mayAdminister(user, client) { return "+@all" }
        let reserved = redis.table.specs.filter {
            $0.command.operation.isReserved && !$0.traits.contains(.container)
        }
        return "+@all" + reserved.map { " -\($0.fullName)" }.joined()
    }

    func mayAdminister(_ user: Credentials.User, _ client: ClientIndex) -> Bool {
        if user == .administrator { return true }
        let origin = hub.clients[client.slot].origin
        return hub.configuration.credentials.principal(from: origin) == .administrator
    }

    mutating func help(_ command: Command, _ client: ClientIndex) {
        var lines: [String]
        if command == .meshHelp {
            lines = ["MESH commands are:"]
            for spec in redis.table.specs where spec.fullName.hasPrefix("mesh.") {
                lines.append(spec.summary)
            }
        } else {
            let parent = redis.table[command].fullName.prefix { $0 != "|" }
            lines = [
                parent.uppercased() + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
            ]
            for spec in redis.table.specs where spec.fullName.hasPrefix(parent + "|") {
                lines.append(spec.fullName.dropFirst(parent.count + 1).uppercased())
                lines.append("    " + spec.summary)
            }
        }
        reply(client, .array(lines.map { .simple($0) }))
    }
}
