import MeshWire

/// Every command that a client can send; subcommands are commands of their own, as in Redis.
enum Command: UInt8, CaseIterable {
    case publish, spublish, subscribe, psubscribe, ssubscribe, unsubscribe, punsubscribe
    case sunsubscribe, pubsub, ping, echo, hello, auth, select, quit, reset, info, client, config
    case command, acl, cluster, multi, exec, discard, watch, unwatch, role, readonly, readwrite
    case asking, dbsize, flushall, flushdb, module
    case monitor, time, wait, slowLog, latency, memory, function
    case eval, evalSHA, evalReadOnly, evalSHAReadOnly, script, call, callReadOnly
    case pubsubChannels, pubsubShardChannels, pubsubNumSub, pubsubShardNumSub, pubsubNumPat
    case pubsubHelp
    case clientID, clientGetName, clientSetName, clientSetInfo, clientInfo, clientList, clientKill
    case clientReply, clientNoEvict, clientNoTouch, clientTracking, clientGetRedirection
    case clientPause, clientUnpause, clientTrackingInfo, clientUnblock, clientHelp
    case configGet, configSet, configResetStatistics, configRewrite, configHelp
    case commandCount, commandDocs, commandInfo, commandList, commandGetKeys, commandHelp
    case aclWhoAmI, aclList, aclUsers, aclSetUser, aclDeleteUser, aclCategories, aclGetUser, aclLog
    case aclDryRun, aclHelp
    case moduleList
    case slowLogGet, slowLogLength, slowLogReset, slowLogHelp
    case latencyLatest, latencyHistory, latencyReset, latencyDoctor, latencyHistogram, latencyHelp
    case memoryUsage, memoryStatistics, memoryDoctor, memoryPurge, memoryAllocator, memoryHelp
    case functionList, functionStatistics, functionFlush, functionLoad, functionDelete
    case functionKill, functionHelp
    case scriptLoad, scriptExists, scriptFlush, scriptKill, scriptHelp
    case meshAttach, meshDetach, meshAck, meshSend, meshOnline, meshWhere, meshWatch, meshUnwatch
    case meshMembers, meshLinks, meshStatus, meshTrace
    case meshPublish, meshPolicy, meshGaps, meshReports, meshMoves, meshOption, meshDetails
    case meshMeta, meshJoin, meshLeave, meshSay, meshWho, meshCount, meshRooms, meshRoomsOf
    case meshOrder, meshKick
    case meshHelp
    case meshRequest, meshCancel, meshServe, meshUnserve, meshReply, meshReject, meshFail
    case meshServices
    case meshWatchRoom, meshUnwatchRoom
}

/// The facts about a command that are known before it runs.
struct CommandSpec {
    struct Traits: OptionSet {
        var rawValue: UInt8
        /// Needs the mesh: answers LOADING until the node is ready.
        static let mesh = Traits(rawValue: 1)
        /// May be sent before AUTH.
        static let open = Traits(rawValue: 2)
        /// May be sent by a RESP2 client in the subscribed state.
        static let subscribed = Traits(rawValue: 4)
        /// Is refused between MULTI and EXEC.
        static let alone = Traits(rawValue: 8)
        /// Answers with frames that CLIENT REPLY OFF does not silence.
        static let pushes = Traits(rawValue: 16)
        /// Is carried out at once between MULTI and EXEC.
        static let unqueued = Traits(rawValue: 32)
        /// Only holds subcommands.
        static let container = Traits(rawValue: 64)
    }

    var command: Command
    /// Lower case; `client|list` for a subcommand.
    var fullName: String
    /// The number of arguments with the name itself; negative: at least so many.
    var arity: Int
    var traits: Traits
    var summary: String

    init(_ command: Command, _ fullName: String, _ arity: Int, _ traits: Traits, _ summary: String)
    {
        self.command = command
        self.fullName = fullName
        self.arity = arity
        self.traits = traits
        self.summary = summary
    }

    func accepts(_ argumentCount: Int) -> Bool {
        arity >= 0 ? argumentCount == arity : argumentCount >= -arity
    }

    /// All commands, in the order of `Command`.
    static let all: [CommandSpec] = [
        CommandSpec(
            .publish, "publish", 3, [.mesh],
            "Sends a message to a channel, for its subscribers on any node."),
        CommandSpec(
            .spublish, "spublish", 3, [.mesh],
            "Sends a message to a shard channel, for its subscribers on any node."),
        CommandSpec(
            .subscribe, "subscribe", -2, [.subscribed, .pushes],
            "Listens for messages of channels."),
        CommandSpec(
            .psubscribe, "psubscribe", -2, [.subscribed, .pushes],
            "Listens for messages of channels whose names match patterns."),
        CommandSpec(
            .ssubscribe, "ssubscribe", -2, [.subscribed, .pushes],
            "Listens for messages of shard channels."),
        CommandSpec(
            .unsubscribe, "unsubscribe", -1, [.subscribed, .pushes],
            "Stops listening to channels, or to all."),
        CommandSpec(
            .punsubscribe, "punsubscribe", -1, [.subscribed, .pushes],
            "Stops listening to patterns, or to all."),
        CommandSpec(
            .sunsubscribe, "sunsubscribe", -1, [.subscribed, .pushes],
            "Stops listening to shard channels, or to all."),
        CommandSpec(.pubsub, "pubsub", -2, [.container], "Tells of subscriptions in the mesh."),
        CommandSpec(.ping, "ping", -1, [.mesh, .subscribed], "Answers PONG, or its argument."),
        CommandSpec(.echo, "echo", 2, [], "Answers its argument."),
        CommandSpec(
            .hello, "hello", -1, [.open], "Chooses the protocol, 2 or 3, and greets."),
        CommandSpec(.auth, "auth", -2, [.open], "Authenticates the connection."),
        CommandSpec(.select, "select", 2, [], "Chooses a database; messages know none."),
        CommandSpec(
            .quit, "quit", -1, [.open, .subscribed, .unqueued], "Ends the connection."),
        CommandSpec(
            .reset, "reset", 1, [.open, .subscribed, .unqueued],
            "Takes the connection back to its first state."),
        CommandSpec(.info, "info", -1, [], "Tells about the node in sections."),
        CommandSpec(.client, "client", -2, [.container], "Tells about connections."),
        CommandSpec(.config, "config", -2, [.container], "Reads and sets parameters."),
        CommandSpec(.command, "command", -1, [], "Tells about commands."),
        CommandSpec(.acl, "acl", -2, [.container], "Tells about users of the server."),
        CommandSpec(.cluster, "cluster", -2, [], "Is refused: every node answers for the mesh."),
        CommandSpec(.multi, "multi", 1, [.unqueued], "Begins to queue commands."),
        CommandSpec(.exec, "exec", 1, [.unqueued], "Carries out the queued commands."),
        CommandSpec(.discard, "discard", 1, [.unqueued], "Forgets the queued commands."),
        CommandSpec(.watch, "watch", -2, [.unqueued], "Is accepted: there are no keys to watch."),
        CommandSpec(.unwatch, "unwatch", 1, [], "Is accepted: there are no keys to watch."),
        CommandSpec(.role, "role", 1, [], "Answers master: every node takes messages."),
        CommandSpec(.readonly, "readonly", 1, [], "Is refused: this is no cluster node."),
        CommandSpec(.readwrite, "readwrite", 1, [], "Is refused: this is no cluster node."),
        CommandSpec(.asking, "asking", 1, [], "Is refused: this is no cluster node."),
        CommandSpec(.dbsize, "dbsize", 1, [], "Answers 0: there are no keys."),
        CommandSpec(
            .flushall, "flushall", -1, [], "Is accepted: there are no keys to remove."),
        CommandSpec(.flushdb, "flushdb", -1, [], "Is accepted: there are no keys to remove."),
        CommandSpec(.module, "module", -2, [.container], "Tells about modules."),
        CommandSpec(
            .monitor, "monitor", 1, [.alone],
            "From now on this connection reads the commands of all clients of this node."),
        CommandSpec(.time, "time", 1, [], "The time of day: seconds and microseconds."),
        CommandSpec(.wait, "wait", 3, [], "Answers 0 at once: there are no replicas."),
        CommandSpec(.slowLog, "slowlog", -2, [.container], "Tells of slow commands: none."),
        CommandSpec(.latency, "latency", -2, [.container], "Tells of delays: none are noted."),
        CommandSpec(.memory, "memory", -2, [.container], "Tells about memory."),
        CommandSpec(.function, "function", -2, [.container], "Tells of functions: none."),
        CommandSpec(.eval, "eval", -3, [.mesh], "Runs a script that does nothing but publish."),
        CommandSpec(.evalSHA, "evalsha", -3, [.mesh], "Runs such a script by its name."),
        CommandSpec(
            .evalReadOnly, "eval_ro", -3, [], "Is refused: scripts here do nothing but publish."),
        CommandSpec(
            .evalSHAReadOnly, "evalsha_ro", -3, [],
            "Is refused: scripts here do nothing but publish."),
        CommandSpec(.script, "script", -2, [.container], "Keeps scripts on this node."),
        CommandSpec(.call, "fcall", -3, [], "Is refused: there are no functions."),
        CommandSpec(.callReadOnly, "fcall_ro", -3, [], "Is refused: there are no functions."),

        CommandSpec(
            .pubsubChannels, "pubsub|channels", -2, [.mesh],
            "The channels with a subscriber in the mesh."),
        CommandSpec(
            .pubsubShardChannels, "pubsub|shardchannels", -2, [.mesh],
            "The shard channels with a subscriber in the mesh."),
        CommandSpec(
            .pubsubNumSub, "pubsub|numsub", -2, [.mesh],
            "The subscribers of channels in the mesh."),
        CommandSpec(
            .pubsubShardNumSub, "pubsub|shardnumsub", -2, [.mesh],
            "The subscribers of shard channels in the mesh."),
        CommandSpec(
            .pubsubNumPat, "pubsub|numpat", 2, [.mesh],
            "The different patterns subscribed to in the mesh."),
        CommandSpec(.pubsubHelp, "pubsub|help", 2, [], "Prints help."),

        CommandSpec(.clientID, "client|id", 2, [], "The connection's number."),
        CommandSpec(.clientGetName, "client|getname", 2, [], "The connection's name."),
        CommandSpec(.clientSetName, "client|setname", 3, [], "Names the connection."),
        CommandSpec(
            .clientSetInfo, "client|setinfo", 4, [], "Notes the client library and its version."),
        CommandSpec(.clientInfo, "client|info", 2, [], "Describes the connection."),
        CommandSpec(.clientList, "client|list", -2, [], "Describes the connections to this node."),
        CommandSpec(.clientKill, "client|kill", -3, [], "Ends connections to this node."),
        CommandSpec(.clientReply, "client|reply", 3, [], "Silences replies."),
        CommandSpec(.clientNoEvict, "client|no-evict", 3, [], "Is noted."),
        CommandSpec(.clientNoTouch, "client|no-touch", 3, [], "Is noted."),
        CommandSpec(
            .clientTracking, "client|tracking", -3, [],
            "OFF is accepted, ON is refused: there are no keys to track."),
        CommandSpec(.clientGetRedirection, "client|getredir", 2, [], "Answers -1."),
        CommandSpec(
            .clientPause, "client|pause", -3, [],
            "For so many milliseconds no command of a client is carried out, or none that publishes."
        ),
        CommandSpec(.clientUnpause, "client|unpause", 2, [], "Ends such a pause."),
        CommandSpec(
            .clientTrackingInfo, "client|trackinginfo", 2, [], "Answers that tracking is off."),
        CommandSpec(
            .clientUnblock, "client|unblock", -3, [], "Answers 0: no command here blocks."),
        CommandSpec(.clientHelp, "client|help", 2, [], "Prints help."),

        CommandSpec(.configGet, "config|get", -3, [], "Parameters whose names match."),
        CommandSpec(.configSet, "config|set", -4, [], "Sets parameters."),
        CommandSpec(.configResetStatistics, "config|resetstat", 2, [], "Is accepted."),
        CommandSpec(.configRewrite, "config|rewrite", 2, [], "Is refused."),
        CommandSpec(.configHelp, "config|help", 2, [], "Prints help."),

        CommandSpec(.commandCount, "command|count", 2, [], "The number of commands."),
        CommandSpec(.commandDocs, "command|docs", -2, [], "Summaries of commands."),
        CommandSpec(.commandInfo, "command|info", -2, [], "Arities and flags of commands."),
        CommandSpec(.commandList, "command|list", -2, [], "The names of the commands."),
        CommandSpec(
            .commandGetKeys, "command|getkeys", -4, [],
            "The keys of a script; nothing else has any."),
        CommandSpec(.commandHelp, "command|help", 2, [], "Prints help."),

        CommandSpec(.aclWhoAmI, "acl|whoami", 2, [], "The connection's user: default."),
        CommandSpec(.aclList, "acl|list", 2, [], "The rules of the users."),
        CommandSpec(.aclUsers, "acl|users", 2, [], "The users: default."),
        CommandSpec(.aclSetUser, "acl|setuser", -3, [], "Is refused: there is one user."),
        CommandSpec(.aclDeleteUser, "acl|deluser", -3, [], "Is refused: there is one user."),
        CommandSpec(.aclCategories, "acl|cat", -2, [], "Categories, or the commands of one."),
        CommandSpec(.aclGetUser, "acl|getuser", 3, [], "The rules of a user; null: there is none."),
        CommandSpec(.aclLog, "acl|log", -2, [], "Answers an empty list."),
        CommandSpec(.aclDryRun, "acl|dryrun", -4, [], "Whether a user may give a command."),
        CommandSpec(.aclHelp, "acl|help", 2, [], "Prints help."),

        CommandSpec(.moduleList, "module|list", 2, [], "Answers an empty list."),

        CommandSpec(.slowLogGet, "slowlog|get", -2, [], "Answers an empty list."),
        CommandSpec(.slowLogLength, "slowlog|len", 2, [], "Answers 0."),
        CommandSpec(.slowLogReset, "slowlog|reset", 2, [], "Is accepted."),
        CommandSpec(.slowLogHelp, "slowlog|help", 2, [], "Prints help."),
        CommandSpec(.latencyLatest, "latency|latest", 2, [], "Answers an empty list."),
        CommandSpec(.latencyHistory, "latency|history", 3, [], "Answers an empty list."),
        CommandSpec(.latencyReset, "latency|reset", -2, [], "Answers 0."),
        CommandSpec(.latencyDoctor, "latency|doctor", 2, [], "Says where to look instead."),
        CommandSpec(.latencyHistogram, "latency|histogram", -2, [], "Answers an empty map."),
        CommandSpec(.latencyHelp, "latency|help", 2, [], "Prints help."),
        CommandSpec(.memoryUsage, "memory|usage", -3, [], "Answers null: there are no keys."),
        CommandSpec(.memoryStatistics, "memory|stats", 2, [], "What the client side takes."),
        CommandSpec(.memoryDoctor, "memory|doctor", 2, [], "Says where to look instead."),
        CommandSpec(.memoryPurge, "memory|purge", 2, [], "Is accepted."),
        CommandSpec(.memoryAllocator, "memory|malloc-stats", 2, [], "Says where to look instead."),
        CommandSpec(.memoryHelp, "memory|help", 2, [], "Prints help."),
        CommandSpec(.functionList, "function|list", -2, [], "Answers an empty list."),
        CommandSpec(.functionStatistics, "function|stats", 2, [], "No script runs for long."),
        CommandSpec(.functionFlush, "function|flush", -2, [], "Is accepted: there are none."),
        CommandSpec(.functionLoad, "function|load", -3, [], "Is refused."),
        CommandSpec(.functionDelete, "function|delete", 3, [], "Is refused: there are none."),
        CommandSpec(.functionKill, "function|kill", 2, [], "Is refused: none runs."),
        CommandSpec(.functionHelp, "function|help", 2, [], "Prints help."),
        CommandSpec(
            .scriptLoad, "script|load", 3, [], "Keeps a script on this node; answers its name."),
        CommandSpec(
            .scriptExists, "script|exists", -3, [], "1 or 0 for each name that this node knows."),
        CommandSpec(.scriptFlush, "script|flush", -2, [], "Forgets this node's scripts."),
        CommandSpec(.scriptKill, "script|kill", 2, [], "Is refused: no script runs for long."),
        CommandSpec(.scriptHelp, "script|help", 2, [], "Prints help."),

        CommandSpec(
            .meshAttach, "mesh.attach", -2, [.alone],
            "MESH.ATTACH user [META metadata] [SESSION [COUNTED] | RESUME token [SEEN count]]: this "
                + "connection receives what is sent to the user; with a session it may break and go "
                + "on, here or at another node."),
        CommandSpec(
            .meshDetach, "mesh.detach", -1, [.alone],
            "MESH.DETACH [user ...]: no longer, or for no user; answers how many."),
        CommandSpec(
            .meshAck, "mesh.ack", 3, [.subscribed],
            "MESH.ACK user count: so many messages of a counted session have come since the token; "
                + "answers how many more were sent."),
        CommandSpec(
            .meshSend, "mesh.send", -3, [.mesh],
            "MESH.SEND user payload [VOLATILE] [TEXT|JSON] [FROM user] [ONCE id] [ONLY sid] "
                + "[EXCEPT sid]: to all connections of the user, or to these attachments alone, or "
                + "not to those; answers to how many nodes; 0: the user is nowhere; -1: its node "
                + "has just died, and the message waits for the user to come back."),
        CommandSpec(
            .meshOnline, "mesh.online", -2, [.mesh],
            "MESH.ONLINE user ...: 1 or 0 for each, whether a connection is attached anywhere."),
        CommandSpec(
            .meshWhere, "mesh.where", -2, [.mesh],
            "MESH.WHERE user [SESSIONS]: the nodes that the user is attached to; or the sid, node, "
                + "age in milliseconds and metadata of each attachment."),
        CommandSpec(
            .meshWatch, "mesh.watch", -2, [.mesh, .alone, .pushes],
            "MESH.WATCH user ...: be told when users come and go, and how it is now."),
        CommandSpec(
            .meshUnwatch, "mesh.unwatch", -1, [.alone, .pushes],
            "MESH.UNWATCH [user ...]: no longer, or for no user."),
        CommandSpec(.meshMembers, "mesh.members", 1, [], "MESH.MEMBERS: the nodes."),
        CommandSpec(.meshLinks, "mesh.links", 1, [], "MESH.LINKS: this node's links."),
        CommandSpec(.meshStatus, "mesh.status", 1, [], "MESH.STATUS: this node's state."),
        CommandSpec(
            .meshTrace, "mesh.trace", 3, [.mesh],
            "MESH.TRACE USER|CHANNEL|ROOM name: the paths to the nodes that have it; null: no answer."
        ),
        CommandSpec(
            .meshPublish, "mesh.publish", -3, [.mesh],
            "MESH.PUBLISH channel payload [VOLATILE] [NOECHO] [TEXT|JSON] [FROM user] [ONCE id]: as "
                + "PUBLISH; a volatile message is sent once and not again when it is lost; without "
                + "an echo this connection does not get it, though it listens; one with an id that "
                + "has come already is not given again."),
        CommandSpec(
            .meshPolicy, "mesh.policy", -1, [.subscribed],
            "MESH.POLICY [disconnect|drop-oldest|drop-newest|latest]: what becomes of this "
                + "connection when it reads too slowly."),
        CommandSpec(
            .meshGaps, "mesh.gaps", 2, [.subscribed],
            "MESH.GAPS ON|OFF: be told how many messages of which channel were missed."),
        CommandSpec(
            .meshReports, "mesh.reports", 2, [.subscribed],
            "MESH.REPORTS ON|OFF: be told of messages of this connection that were not delivered."),
        CommandSpec(
            .meshMoves, "mesh.moves", 2, [.subscribed],
            "MESH.MOVES ON|OFF: be told where to go when this node is about to leave."),
        CommandSpec(
            .meshOption, "mesh.option", 3, [.subscribed],
            "MESH.OPTION CONFIRM MESH|LOCAL: confirm subscriptions when all nodes know, or at once."
        ),
        CommandSpec(
            .meshDetails, "mesh.details", -1, [.subscribed],
            "MESH.DETAILS [ON|OFF]: be shown with messages to users and rooms who has sent them, "
                + "when, and in which form; and why users that are watched have gone."),
        CommandSpec(
            .meshMeta, "mesh.meta", 3, [.subscribed],
            "MESH.META user metadata: what others are shown of this attachment, up to 1,024 bytes."),
        CommandSpec(
            .meshJoin, "mesh.join", -2, [.mesh, .alone],
            "MESH.JOIN room [AS user] [META metadata] | room HIDDEN: this connection receives what "
                + "is said in the room, and is seen there as the user that it is attached as; "
                + "answers 1, or 0 if it was there."),
        CommandSpec(
            .meshLeave, "mesh.leave", -1, [.alone, .subscribed],
            "MESH.LEAVE [room [AS user]]: no longer, or no room; answers how many rooms."),
        CommandSpec(
            .meshSay, "mesh.say", -3, [.mesh],
            "MESH.SAY room payload [VOLATILE] [ECHO] [TEXT|JSON] [FROM user] [ONCE id] "
                + "[EXCEPT sid|USER user] [AND room]: to all in the room and in the others, each "
                + "once, with ECHO to this connection too; answers to how many nodes."),
        CommandSpec(
            .meshWho, "mesh.who", -2, [.mesh],
            "MESH.WHO room [AFTER place] [LIMIT count]: who is in the room (user, sid, node and "
                + "metadata of each, by user), the place where the next ones begin, null after the "
                + "last; and the nodes that have not answered."),
        CommandSpec(
            .meshCount, "mesh.count", 2, [.mesh],
            "MESH.COUNT room: the members of the room, how many users they are (-1: too many to "
                + "tell apart), and the nodes that have not answered."),
        CommandSpec(
            .meshRooms, "mesh.rooms", -1, [.mesh],
            "MESH.ROOMS [pattern]: the rooms in the mesh whose names match."),
        CommandSpec(
            .meshRoomsOf, "mesh.roomsof", 2, [.mesh],
            "MESH.ROOMSOF user: the rooms that the user is in."),
        CommandSpec(
            .meshOrder, "mesh.order", 4, [.mesh],
            "MESH.ORDER user JOIN|LEAVE room: all attachments of the user join the room, or leave "
                + "it; answers how many did."),
        CommandSpec(
            .meshKick, "mesh.kick", -2, [.mesh],
            "MESH.KICK user [SESSION sid] [REASON text]: ends the user's attachments and sessions, "
                + "or that one; answers how many."),
        CommandSpec(.meshHelp, "mesh.help", 1, [], "MESH.HELP: this."),
        CommandSpec(
            .meshRequest, "mesh.request", -4, [.mesh, .alone],
            "MESH.REQUEST SERVICE|USER|ROOM name payload [TIMEOUT ms] [KEY key] [WAIT] [RETRY] "
                + "[ALL] [ASYNC tag|STREAM tag]: asks one provider of the service, one connection "
                + "of the user or in the room, or all, and answers what it answers, or by a push; "
                + "KEY: the same provider for the same key; WAIT: for one to come; RETRY: another "
                + "gets it if one dies with it; STREAM: the answer may come in parts."),
        CommandSpec(
            .meshCancel, "mesh.cancel", 2, [.subscribed],
            "MESH.CANCEL tag: gives up an open request of this connection; answers 1 or 0."),
        CommandSpec(
            .meshServe, "mesh.serve", -2, [.mesh, .alone],
            "MESH.SERVE service [CONCURRENCY n]: this connection gets requests, at most so many, "
                + "usually 16, that it has not answered."),
        CommandSpec(
            .meshUnserve, "mesh.unserve", -1, [.alone],
            "MESH.UNSERVE [service ...]: no more requests, or of no service; answers how many "
                + "services."),
        CommandSpec(
            .meshReply, "mesh.reply", -3, [.subscribed],
            "MESH.REPLY request payload [MORE]: answers a request, or a part of it; 0: nobody "
                + "awaits it any more."),
        CommandSpec(
            .meshReject, "mesh.reject", -2, [.subscribed],
            "MESH.REJECT request [reason]: does not take a request, which another node may."),
        CommandSpec(
            .meshFail, "mesh.fail", -2, [.subscribed],
            "MESH.FAIL request [payload]: a request came to nothing."),
        CommandSpec(
            .meshServices, "mesh.services", -1, [.mesh],
            "MESH.SERVICES [pattern]: the services in the mesh whose names match, at each node: "
                + "service, node, providers, requests given and waiting, served, failed, mean "
                + "microseconds."),
        CommandSpec(
            .meshWatchRoom, "mesh.watchroom", -2, [.mesh, .alone, .pushes],
            "MESH.WATCHROOM room [COUNTS]: be told who is in the room, and who comes and goes; with "
                + "COUNTS how many they are alone."),
        CommandSpec(
            .meshUnwatchRoom, "mesh.unwatchroom", -1, [.alone, .subscribed, .pushes],
            "MESH.UNWATCHROOM [room ...]: no longer, or of no room."),
    ]
}

/// A name of at most 16 bytes in two words, in lower case.
struct PackedName: Equatable {
    var low: UInt64 = 0
    var high: UInt64 = 0

    /// Nil when no command has such a name.
    @inline(__always)
    init?(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) {
        guard count > 0, count <= 16 else { return nil }
        for index in 0..<count {
            var byte = bytes[start + index]
            if byte &- UInt8(ascii: "A") < 26 { byte |= 0x20 }
            let shift = UInt64((index & 7) * 8)
            if index < 8 {
                low |= UInt64(byte) << shift
            } else {
                high |= UInt64(byte) << shift
            }
        }
    }

    init?(_ text: String) {
        let bytes = Array(text.utf8)
        self.init(bytes.span, 0, bytes.count)
    }
}

/// Finds commands by name.
struct CommandTable {
    private struct Entry {
        var name: PackedName
        var parent: Command?
        var command: Command
    }

    /// All gateways of a process have the same.
    static let shared = CommandTable()

    private var entries: [Entry] = []
    private var map = IndexMap()
    /// By `Command.rawValue`.
    let specs: [CommandSpec]

    init() {
        specs = CommandSpec.all
        precondition(specs.count == Command.allCases.count)
        for (index, spec) in specs.enumerated() {
            precondition(Int(spec.command.rawValue) == index, "\(spec.fullName) is out of order")
            let parts = spec.fullName.split(separator: "|")
            let parent = parts.count == 2 ? find(parts[0]) : nil
            guard let name = PackedName(String(parts[parts.count - 1])) else {
                preconditionFailure("\(spec.fullName) is too long")
            }
            entries.append(Entry(name: name, parent: parent, command: spec.command))
            map.insert(index, Self.hash(name, parent)) {
                Self.hash(entries[$0].name, entries[$0].parent)
            }
        }
    }

    @inline(__always)
    subscript(command: Command) -> CommandSpec { specs[Int(command.rawValue)] }

    /// The command of this name; with a parent, its subcommand.
    func find(_ name: PackedName, parent: Command? = nil) -> Command? {
        let found = map.find(Self.hash(name, parent)) {
            entries[$0].name == name && entries[$0].parent == parent
        }
        return found.map { entries[$0].command }
    }

    private func find(_ text: Substring) -> Command? {
        PackedName(String(text)).flatMap { find($0) }
    }

    private static func hash(_ name: PackedName, _ parent: Command?) -> UInt64 {
        var word = name.low ^ (name.high &* 0xC4CE_B9FE_1A85_EC53)
        word ^= UInt64(parent?.rawValue ?? 0xFF) << 56
        // The product's upper bits depend on all of the word.
        return (word &* 0x9E37_79B9_7F4A_7C15).byteSwapped
    }
}
