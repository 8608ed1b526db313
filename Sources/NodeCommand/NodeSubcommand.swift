import CLinux
import Glibc
import MeshGateway
import MeshServer
import MeshTransport
import MeshWire
import Smallworld

/// `smallworld node`: runs one node until a signal.
enum NodeSubcommand {
    static let command = Command(
        name: "node", summary: "Run a node of the mesh.", usage: "[OPTIONS]",
        introduction: """
            Runs one node: other nodes connect to its mesh port, Redis clients to its redis port.
            Prints a line with the address of each listener, and "ready" when it serves. SIGTERM and
            SIGINT let it say goodbye to the others and end; a second one ends it at once, from one
            second after the first on. SIGHUP reads the configuration file again:
            log level, seeds and limits of clients hold from then on.
            """,
        closing: """
            Port 0 takes a free port. Addresses that other machines can reach need --insecure.
            A configuration file has the names of these flags as its keys; flags win over it:
              { mesh: "10.0.0.7:7400", seed: ["10.0.0.5:7400"], "log-level": "debug" }
            """,
        flags: flags, run: run)

    /// These may stand in the configuration file too.
    static let settings: [Flag] = [
        Flag(
            name: "mesh", argument: "HOST:PORT",
            help: "Where other nodes connect (127.0.0.1:7400)."),
        Flag(
            name: "seed", argument: "HOST:PORT", isRepeatable: true,
            help: "A live node to join through; repeat it for several. Names are\n"
                + "resolved again and again. The node's own address is ignored."),
        Flag(
            name: "alone-after", argument: "SECONDS|off",
            help: "A node none of whose seeds answers serves alone after this (10)."),
        Flag(
            name: "state", argument: "FILE",
            help: "Keep where members are in FILE, to find them after a restart."),
        Flag(
            name: "redis", argument: "ADDRESS", isRepeatable: true,
            help: "Where Redis clients connect (127.0.0.1:7379): HOST:PORT, or\n"
                + "unix:/PATH, or both, with the flag twice; or off. Clients of the\n"
                + "Unix socket are the operator without an operator's password."),
        Flag(
            name: "redis-socket-mode", argument: "MODE",
            help: "The mode of the Unix socket's file, in octal (0660)."),
        Flag(
            name: "redis-socket-owner", argument: "OWNER",
            help: "The owner of the Unix socket's file: USER, USER:GROUP or :GROUP."),
        Flag(
            name: "http", argument: "HOST:PORT|off",
            help: "/healthz, /readyz and /metrics (127.0.0.1:7480)."),
        Flag(
            name: "advertise", argument: "HOST:PORT",
            help: "Where other nodes reach this one, if not at --mesh."),
        Flag(
            name: "advertise-redis", argument: "ADDRESS",
            help: "Where clients of other nodes reach this one, if not at --redis;\n"
                + "off: nowhere, and sessions that come here are told no address."),
        Flag(
            name: "name", argument: "NAME",
            help: "The node's name for people (host name and mesh port)."),
        Flag(name: "zone", argument: "NAME", help: "Where the node runs, for people."),
        Flag(
            name: "cluster", argument: "NAME",
            help: "The mesh's name (smallworld); others are refused."),
        Flag(
            name: "degree", argument: "N",
            help: "At most N links to other nodes, 4 … 64 (16). Fewer than 6 make a\n"
                + "ring with nothing across it, for at most 960 nodes."),
        Flag(
            name: "slow-consumer", argument: "POLICY",
            help: "What becomes of clients that read too slowly: disconnect,\n"
                + "drop-oldest, drop-newest or latest (disconnect); each may choose\n"
                + "with MESH.POLICY."),
        Flag(
            name: "slow-queue", argument: "BYTES",
            help: "What waits for a slow client that drops (8mb), 1kb … 1gb."),
        Flag(
            name: "max-clients", argument: "N",
            help: "Connections of Redis clients at once, 1 … 1000000 (10000); half as\n"
                + "many from one host of another machine."),
        Flag(
            name: "trusted-proxy", argument: "NETWORK",
            help: "An address, or a network as 10.0.0.0/8, of which connections are\n"
                + "not counted so: many clients are behind it. Repeat it for several."),
        Flag(
            name: "user-limit", argument: "LIMITS",
            help: "What one user may have at this node, any of \"connections 1000\n"
                + "sessions 64 subscriptions 100000 patterns 1024\"."),
        Flag(
            name: "once-max", argument: "N",
            help: "Ids of messages to remember, each for two minutes (131072),\n"
                + "1 … 10000000; some 50 bytes each (MESH.SEND … ONCE)."),
        Flag(
            name: "roster-max", argument: "N",
            help: "Members of a room at this node of which those that watch the room\n"
                + "are told (2000), 1 … 10000; of more they are told the number."),
        Flag(
            name: "memory", argument: "BYTES",
            help: "What clients may take together, 64mb or more (a quarter of the\n"
                + "machine's or the control group's memory, at least 256mb)."),
        Flag(
            name: "message-max", argument: "BYTES",
            help: "The largest message (64mb), 1kb … 64mb; never more than an eighth\n"
                + "of --memory."),
        Flag(
            name: "password-file", argument: "FILE",
            help: "Clients must give AUTH the first line of FILE\n"
                + "($SMALLWORLD_PASSWORD, if there is no FILE)."),
        Flag(
            name: "operator-password-file", argument: "FILE",
            help: "The same for AUTH operator PASSWORD: CONFIG SET, CLIENT KILL\n"
                + "and the like are the operator's ($SMALLWORLD_OPERATOR_PASSWORD).\n"
                + "Without either, clients on this machine are the operator."),
        Flag(
            name: "output-limit", argument: "LIMITS",
            help: "Output at which a slow client is disconnected, as in Redis's\n"
                + "client-output-buffer-limit pubsub: \"32mb 8mb 60\"."),
        Flag(
            name: "reattach-grace", argument: "SECONDS",
            help: "How long a session waits for its user to come back (10)."),
        Flag(
            name: "session-messages", argument: "N",
            help: "Messages that wait for a session without a connection (1000)."),
        Flag(
            name: "session-bytes", argument: "BYTES",
            help: "The same in bytes (4mb), 1kb … 512mb."),
        Flag(
            name: "drain-seconds", argument: "SECONDS",
            help: "How long a node that ends takes to send its clients to others (2)."),
        Flag(
            name: "drain-max", argument: "SECONDS",
            help: "The longest that this goes on while others take its sessions (30)."),
        Flag(
            name: "log-level", argument: "LEVEL",
            help: "\(LogLevel.allCases.map(\.name).joined(separator: ", ")) (info)."),
        Flag(name: "log-format", argument: "text|json", help: "How log lines look (text)."),
        Flag(
            name: "insecure", argument: nil,
            help: "Allow addresses that other machines can reach."),
    ]

    private static let flags =
        settings + [
            Flag(name: "config", argument: "FILE", help: "Read settings from a JSON5 file.")
        ]

    @Sendable private static func run(_ arguments: Arguments) throws -> Int32 {
        try arguments.refuseWords()
        var options = try options(try values(arguments))
        options.onReady = { printLine("ready") }
        Process.prepare()
        // Before anything that may take long: a terminal that is closed ends no node.
        _ = block([SIGHUP])

        let node: MeshNode
        do {
            node = try MeshNode(options)
        } catch {
            switch error {
            case .system: throw error
            default: throw UsageError(error.description)
            }
        }
        // Before anybody is told that the node is there, and could signal it.
        try obeySignals(node, options.log, arguments)
        printLine("mesh \(node.ports.mesh)")
        if let redis = node.ports.redis { printLine("redis \(redis)") }
        if let path = node.ports.redisSocket { printLine("redis unix:\(path)") }
        if let http = node.ports.http { printLine("http \(http)") }

        try node.runBlocking()
        return 0
    }

    /// The settings of the flags, and of the configuration file where there is none.
    private static func values(_ arguments: Arguments) throws -> [String: [String]] {
        guard let path = arguments["config"] else { return arguments.flags }
        let file = try ConfigurationFile.read(path, settings)
        do throws(UsageError) {
            // Checked by itself first, so that an error names the file and not a flag.
            _ = try options(file)
        } catch {
            throw ConfigurationFileError(description: "\(path): \(error)")
        }
        return arguments.flags.merging(file) { flag, _ in flag }
    }

    /// SIGHUP: what can change while a node runs is taken from the configuration file again. A file that
    /// is wrong changes nothing.
    private static func reload(_ node: MeshNode, _ arguments: Arguments, _ log: inout Log) {
        guard arguments["config"] != nil else {
            log.write(
                .notice, "signalIgnored",
                [
                    ("signal", .text("SIGHUP")),
                    ("hint", .text("there is no --config to read; SIGTERM lets the node leave")),
                ])
            return
        }
        do {
            let values = try values(arguments)
            let options = try options(values)
            if values["log-level"] != nil { log.level = options.log.level }
            try node.reconfigure(
                logLevel: values["log-level"] == nil ? nil : options.log.level,
                seeds: values["seed"] == nil ? nil : options.seeds
            ) { gateway in
                // They have been read without a fault.
                try? setClientOptions(values, &gateway)
            }
        } catch {
            log.write(.warning, "notReloaded", [("reason", .text("\(error)"))])
        }
    }

    /// The first SIGTERM or SIGINT lets the node leave, the second one ends the process
    /// (`StopRequests`). SIGHUP reads the configuration file again.
    ///
    /// A thread waits for them, because hardly anything is allowed in a signal's handler. They are
    /// blocked in this thread, and so in all that come after it.
    private static func obeySignals(
        _ node: MeshNode, _ log: Log, _ arguments: Arguments
    ) throws(SystemError) {
        let blocked = block([SIGTERM, SIGINT, SIGHUP])
        let error = Thread.start(name: "signals") {
            // This thread's own: lines are written whole, whoever writes them.
            var log = log
            var signals = blocked
            let requests = StopRequests()
            while true {
                var number: Int32 = 0
                unsafe sigwait(&signals, &number)
                if number == SIGHUP {
                    reload(node, arguments, &log)
                    continue
                }
                guard requests.note(atNanoseconds: linux_monotonic_nanoseconds()) else { continue }
                if requests.count == 1 {
                    node.leave()
                    continue
                }
                let name = number == SIGTERM ? "SIGTERM" : "SIGINT"
                log.write(.warning, "endedAtOnce", [("signal", .text(name))])
                _exit(128 + number)
            }
        }
        if let error { throw error }
    }

    /// From now on these wait, for all threads that this one starts, until somebody takes them.
    private static func block(_ numbers: [Int32]) -> sigset_t {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        for number in numbers { unsafe sigaddset(&signals, number) }
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        return signals
    }

    /// One line on standard output, out at once: scripts wait for it. The node does not wait for
    /// them: what a full disk or pipe does not take is lost.
    private static func printLine(_ line: String) {
        Log.writeAtOnce(line + "\n", to: 1)
    }

    // MARK: Options

    static let passwordVariable = "SMALLWORLD_PASSWORD"
    static let operatorVariable = "SMALLWORLD_OPERATOR_PASSWORD"

    /// The flags that concern clients alone.
    private static func setClientOptions(
        _ values: [String: [String]], _ gateway: inout GatewayConfiguration
    ) throws(UsageError) {
        if let text = values["slow-consumer"]?.last {
            guard let policy = SlowConsumerPolicy(name: text) else {
                let names = SlowConsumerPolicy.allCases.map(\.name).joined(separator: ", ")
                throw UsageError("slow-consumer: '\(text)' is none of \(names)")
            }
            gateway.slowConsumerPolicy = policy
        }
        let most = GatewayConfiguration.byteCountMax
        gateway.slowBytesMax = try byteCount("slow-queue", values, gateway.slowBytesMax, most)
        // As much again may be kept of what a counted session has not acknowledged.
        gateway.sessionBytesMax = try byteCount(
            "session-bytes", values, gateway.sessionBytesMax, most / 2)
        if let text = values["session-messages"]?.last {
            guard let count = Int(text), (1...1_000_000).contains(count) else {
                throw UsageError("session-messages: '\(text)' is not a number from 1 to 1000000")
            }
            gateway.sessionCountMax = count
        }
        gateway.messageBytesMax = try byteCount(
            "message-max", values, gateway.messageBytesMax, gateway.messageBytesMax)
        if let text = values["max-clients"]?.last {
            guard let count = Int(text), (1...1_000_000).contains(count) else {
                throw UsageError("max-clients: '\(text)' is not a number from 1 to 1000000")
            }
            gateway.clientCountMax = count
        }
        if let text = values["once-max"]?.last {
            guard let count = Int(text), (1...10_000_000).contains(count) else {
                throw UsageError("once-max: '\(text)' is not a number from 1 to 10000000")
            }
            gateway.onceMax = count
        }
        if let text = values["roster-max"]?.last {
            let most = GatewayConfiguration.rosterBound
            guard let count = Int(text), (1...most).contains(count) else {
                throw UsageError("roster-max: '\(text)' is not a number from 1 to \(most)")
            }
            gateway.rosterMax = count
        }
        for text in values["trusted-proxy"] ?? [] {
            guard let range = MeshNode.addressRange(text) else {
                throw UsageError(
                    "trusted-proxy: '\(text)' is neither an address nor a network as 10.0.0.0/8")
            }
            gateway.trustedProxies.append(range)
        }
        for text in values["user-limit"] ?? [] {
            if let fault = gateway.userLimits.set(text) {
                throw UsageError("user-limit: '\(text)': \(fault.words)")
            }
        }
        if let text = values["output-limit"]?.last {
            if let fault = gateway.setOutputLimits("pubsub " + text) {
                throw UsageError("output-limit: '\(text)': \(fault.words)")
            }
        }
    }

    /// The addresses of `redis`: one of the network and one Unix socket at most.
    private static func setRedis(
        _ values: [String: [String]], _ options: inout MeshNode.Options
    ) throws(UsageError) {
        guard let texts = values["redis"] else { return }
        options.redis = nil
        if texts == ["off"] { return }
        for text in texts {
            let address: RedisAddress
            do throws(MeshNodeError) {
                address = try RedisAddress(text)
            } catch {
                throw UsageError("redis: \(error)")
            }
            switch address {
            case .network(let address) where options.redis == nil: options.redis = address
            case .file(let path) where options.redisSocket == nil:
                options.redisSocket = RedisSocket(path: path)
            case .network, .file:
                throw UsageError(
                    "redis: '\(text)' is one too many: one HOST:PORT and one unix:/PATH at most")
            }
        }
        options.redisSocket?.owner = values["redis-socket-owner"]?.last
        if let text = values["redis-socket-mode"]?.last {
            guard let mode = UInt32(text, radix: 8), mode <= 0o777 else {
                throw UsageError(
                    "redis-socket-mode: '\(text)' is no octal number from 0 to 0777")
            }
            options.redisSocket?.mode = mode
        }
    }

    /// A number of seconds, whole or not: `0.5`.
    private static func duration(
        _ name: String, _ values: [String: [String]], _ standard: Duration
    ) throws(UsageError) -> Duration {
        guard let text = values[name]?.last else { return standard }
        guard let seconds = Double(text), seconds >= 0, seconds <= 3_600 else {
            throw UsageError("\(name): '\(text)' is not a number of seconds from 0 to 3600")
        }
        return .milliseconds(Int64(seconds * 1_000))
    }

    /// A number of bytes from 1,024 to `most`, as Redis reads it: `8mb`.
    private static func byteCount(
        _ name: String, _ values: [String: [String]], _ standard: Int, _ most: Int
    ) throws(UsageError) -> Int {
        guard let text = values[name]?.last else { return standard }
        guard let count = GatewayConfiguration.byteCount(text.lowercased()),
            (1_024...most).contains(count)
        else {
            throw UsageError(
                "\(name): '\(text)' is no number of bytes from 1kb to \(most >> 20)mb")
        }
        return count
    }

    /// Any number of bytes from `MemoryShares.totalMin` on; nil: nobody says.
    private static func memory(_ values: [String: [String]]) throws(UsageError) -> Int? {
        guard let text = values["memory"]?.last else { return nil }
        guard
            let count = GatewayConfiguration.byteCount(text.lowercased(), most: 1 << 50),
            count >= MemoryShares.totalMin
        else {
            throw UsageError(
                "memory: '\(text)' is no number of bytes from \(MemoryShares.totalMin >> 20)mb on")
        }
        return count
    }

    /// Settings of the command line or the file in the node's terms.
    static func options(_ values: [String: [String]]) throws(UsageError) -> MeshNode.Options {
        var options = MeshNode.Options()
        func address(_ name: String, _ text: String) throws(UsageError) -> HostPort {
            do throws(MeshNodeError) {
                return try HostPort(text)
            } catch {
                throw UsageError("\(name): \(error)")
            }
        }
        func optionalAddress(
            _ name: String, _ standard: HostPort?
        ) throws(UsageError) -> HostPort? {
            guard let text = values[name]?.last else { return standard }
            return text == "off" ? nil : try address(name, text)
        }
        if let text = values["mesh"]?.last { options.mesh = try address("mesh", text) }
        try setRedis(values, &options)
        options.http = try optionalAddress("http", options.http)
        options.advertise = try optionalAddress("advertise", nil)
        if values["advertise-redis"] != nil {
            let told = try optionalAddress("advertise-redis", nil)
            options.advertiseRedis = told.map { .told($0) } ?? .none
        }
        for text in values["seed"] ?? [] { options.seeds.append(try address("seed", text)) }
        if values["alone-after"]?.last == "off" {
            options.aloneAfter = nil
        } else {
            options.aloneAfter = try duration("alone-after", values, .seconds(10))
        }
        if let path = values["state"]?.last {
            if path.isEmpty { throw UsageError("state: a file has a name") }
            options.state = path
        }
        options.name = values["name"]?.last
        options.zone = values["zone"]?.last ?? options.zone
        options.cluster = values["cluster"]?.last ?? options.cluster
        if let text = values["degree"]?.last {
            guard let degree = Int(text), degree >= 4, degree <= 64 else {
                throw UsageError("degree: '\(text)' is not a number from 4 to 64")
            }
            options.degree = degree
        }
        if let text = values["log-level"]?.last {
            guard let level = LogLevel(name: text) else {
                let names = LogLevel.allCases.map(\.name).joined(separator: ", ")
                throw UsageError("log-level: '\(text)' is none of \(names)")
            }
            options.log.level = level
        }
        if let text = values["log-format"]?.last {
            guard let format = LogFormat(rawValue: text) else {
                throw UsageError("log-format: '\(text)' is neither text nor json")
            }
            options.log.format = format
        }
        try setClientOptions(values, &options.gateway)
        options.memory = try memory(values)
        options.gateway.credentials.password = try Secret.read(
            "password-file", values["password-file"]?.last, variable: passwordVariable)
        options.gateway.credentials.operatorPassword = try Secret.read(
            "operator-password-file", values["operator-password-file"]?.last,
            variable: operatorVariable)
        options.reattachGrace = try duration("reattach-grace", values, options.reattachGrace)
        options.drainTime = try duration("drain-seconds", values, options.drainTime)
        options.drainMax = try duration("drain-max", values, options.drainMax)
        options.allowsInsecureAddresses = values["insecure"]?.last == "true"
        return options
    }
}
