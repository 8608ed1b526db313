import Glibc
import MeshCore
import MeshGateway
import MeshServer
import MeshTransport
import MeshWire
import Synchronization

/// A node of the mesh inside this process. Here it joins the mesh of the node on 10.0.0.5:
///
///     var options = MeshNode.Options(seeds: [try HostPort("10.0.0.5:7400")])
///     // Where the others reach it: at every address of this machine. The links are not encrypted,
///     // so this is for a network that you trust.
///     options.mesh = try HostPort("0.0.0.0:7400")
///     options.allowsInsecureAddresses = true
///     let node = try MeshNode(options)
///     try await node.run()
///
/// `init` binds the ports, `run` serves on a thread of its own until its task is cancelled; the node
/// then says goodbye to the others. A server that already has a `smallworld` process beside it does
/// not need this: it talks to that process as to Redis.
public final class MeshNode: Sendable {
    /// The settings of a node; the defaults are those of `smallworld node`.
    public struct Options: Sendable {
        /// Where clients of other nodes are sent that are to come to this one.
        public enum ClientAddress: Sendable {
            /// To `redis`; and if that is every address of the machine, to the host of `advertise`. A
            /// loopback address is not told to nodes of other machines, with a warning in the log;
            /// `redisSocket` alone is told to nobody.
            case standard
            /// There. A name is told as it stands, and port 0 is that of `redis`. At most 64 bytes.
            case told(HostPort)
            /// Nowhere, without a warning: clients use the node beside them, and no other.
            case none
        }

        /// Where other nodes connect.
        public var mesh = HostPort(host: "127.0.0.1", port: 7400)
        /// Where Redis clients connect; nil: nowhere.
        public var redis: HostPort? = HostPort(host: "127.0.0.1", port: 7379)
        /// A Unix socket where they connect too, or alone where `redis` is nil; nil: none.
        public var redisSocket: RedisSocket?
        /// `/healthz`, `/readyz` and `/metrics`; nil: nowhere.
        public var http: HostPort? = HostPort(host: "127.0.0.1", port: 7480)
        /// Where others are told to reach this node. Nil: `mesh`; and if that is every address of
        /// the machine, the one on the way to the first seed.
        public var advertise: HostPort?
        public var advertiseRedis = ClientAddress.standard
        /// Live nodes to join through; all addresses of each host are tried. This node's own
        /// address among them is ignored. Names are resolved again and again, also those that have
        /// no address yet.
        public var seeds: [HostPort]
        /// A node none of whose seeds has answered begins to serve alone after this, as the first
        /// one; nil: it waits for ever.
        public var aloneAfter: Duration? = .seconds(10)
        /// A file in which the node keeps where members are, so that it finds them after a restart
        /// when its seeds are gone; nil: none. A file that is broken is told to the log, no more.
        public var state: String?
        /// For people; at most 64 bytes. Nil: the host's name and the mesh port.
        public var name: String?
        /// Where the node runs, for people; at most 64 bytes.
        public var zone = ""
        /// Nodes of another cluster's name are refused.
        public var cluster = "smallworld"
        /// At most this many links; 4 … 64.
        public var degree = 16
        /// Allows addresses that other machines can reach.
        public var allowsInsecureAddresses = false
        /// Bounds of the client side, and what becomes of clients that read too slowly.
        public var gateway = GatewayConfiguration()
        /// The memory that clients may take together, in bytes, `MemoryShares.totalMin` or more; nil: a
        /// quarter of the machine's, or of the control group's, and at least 256 MiB.
        public var memory: Int?
        /// How long a session without a connection, and messages for a user whose node has died,
        /// wait for the user to come back.
        public var reattachGrace = Duration.seconds(10)
        /// How long a node that leaves takes to send its clients elsewhere.
        public var drainTime = Duration.seconds(2)
        /// The longest that this goes on, as long as other nodes take sessions of this one.
        public var drainMax = Duration.seconds(30)
        public var log = Log()
        /// Called each time that the node has members and directory; must not block.
        public var onReady: @Sendable () -> Void = {}

        public init(seeds: [HostPort] = []) {
            self.seeds = seeds
        }
    }

    /// The addresses that a node listens on, with the ports that port 0 has become.
    public struct Ports: Sendable {
        public var mesh: Endpoint
        public var redis: Endpoint?
        /// The path of `Options.redisSocket`.
        public var redisSocket: String?
        public var http: Endpoint?
    }

    public let ports: Ports
    /// Where others are told to reach this node.
    public let advertised: Endpoint
    private let reactorOptions: ReactorOptions
    /// Nil once the node runs or has run.
    private let listeners: Mutex<Listeners?>
    private let inbox: Inbox
    private let own: OwnAddresses
    private let allowsInsecureAddresses: Bool

    /// Resolves the host names, which may block, and binds the ports.
    ///
    /// - Throws: `MeshNodeError`, whose description says what to do.
    public init(_ options: Options) throws(MeshNodeError) {
        guard options.degree >= 4, options.degree <= 64 else {
            throw .invalidDegree(options.degree)
        }
        try MeshNode.check("the cluster's name", options.cluster, bytes: 1...64)
        try MeshNode.check("the zone", options.zone, bytes: 0...64)
        let mesh = try MeshNode.local("--mesh", options.mesh, options)
        var redis: Endpoint?
        if let address = options.redis { redis = try MeshNode.local("--redis", address, options) }
        let redisSocket = try options.redisSocket?.resolve()
        var http: Endpoint?
        if let address = options.http { http = try MeshNode.local("--http", address, options) }
        let resolver = try SeedResolver(options)
        let seeds = try resolver.resolve(isAgain: false)
        let bound: Listeners
        do {
            bound = try Listeners(
                mesh: mesh, redis: redis, redisSocket: redisSocket, http: http)
            inbox = try Inbox()
        } catch {
            throw .system(error)
        }
        ports = Ports(
            mesh: bound.meshEndpoint, redis: bound.redisEndpoint, redisSocket: bound.redisPath,
            http: bound.httpEndpoint)
        advertised = try MeshNode.advertised(options, bound.meshEndpoint, seeds)

        let name = options.name ?? "\(MeshNode.hostName()):\(bound.meshEndpoint.port)"
        try MeshNode.check("the node's name", name, bytes: 1...64)
        let own = OwnAddresses(advertised: advertised, listening: bound.meshEndpoint)
        self.own = own
        allowsInsecureAddresses = options.allowsInsecureAddresses
        var configuration = Configuration(
            endpoint: advertised, name: name, zone: options.zone, seeds: own.strike(from: seeds))
        if resolver.hasNames { configuration.seedNames = options.seeds.map(\.description) }
        configuration.aloneAfter = options.aloneAfter.map(MeshNode.delay)
        configuration.cluster = options.cluster
        configuration.degree = options.degree
        configuration.timing.reattachGrace = MeshNode.delay(options.reattachGrace)
        let file = options.state.map { StateFile(path: $0) }
        if let file { configuration.remembered = own.strike(from: MeshNode.recall(file, options)) }
        var server = ServerOptions(node: configuration)
        server.gateway = options.gateway
        server.gateway.memory = MemoryShares(total: options.memory ?? MachineMemory.standard)
        server.outputBytesMax = server.gateway.memory.crowdedOutput
        server.clientOutputBytes = server.gateway.memory.muchOutput
        server.gateway.sessionGrace = configuration.timing.reattachGrace
        server.drainTime = MeshNode.delay(options.drainTime)
        server.drainMax = MeshNode.delay(options.drainMax)
        var reactor = ReactorOptions(server: server)
        reactor.log = options.log
        reactor.clientAddress = try MeshNode.clientAddress(options, ports, advertised)
        reactor.onReady = options.onReady
        if resolver.hasNames {
            reactor.resolveSeeds = {
                (try? resolver.resolve(isAgain: true)).map { own.strike(from: $0) }
            }
        }
        if let file {
            reactor.rememberedCountMax = StateFile.addressCountMax
            reactor.remember = MeshNode.memory(file, options.log)
        }
        reactorOptions = reactor
        listeners = Mutex(bound)
    }

    /// Serves until the task is cancelled or `leave` is called; returns when the node has left.
    ///
    /// - Throws: `MeshNodeError.alreadyRun` the second time, and `.system` when the kernel fails
    ///   the event loop; nothing that a peer or client does makes it throw.
    public func run() async throws(MeshNodeError) {
        let serve = try server()
        let outcome: Result<Void, MeshNodeError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let error = Thread.start(name: "smallworld") {
                    continuation.resume(returning: serve())
                }
                if let error { continuation.resume(returning: .failure(.system(error))) }
            }
        } onCancel: {
            inbox.leave()
        }
        try outcome.get()
    }

    /// Serves on the calling thread until `leave` or `stop` is called on another one; for programs
    /// that have no use for tasks.
    ///
    /// - Throws: what `run` throws.
    public func runBlocking() throws(MeshNodeError) {
        try server()().get()
    }

    /// The work of the thread that is to be this node's; once.
    private func server() throws(MeshNodeError) -> @Sendable () -> Result<Void, MeshNodeError> {
        guard let bound = listeners.withLock({ $0.take() }) else { throw .alreadyRun }
        Process.prepare()
        return { [reactorOptions, inbox] in
            do throws(SystemError) {
                _ = try Reactor.serve(reactorOptions, listeners: bound, inbox: inbox)
                return .success(())
            } catch {
                return .failure(.system(error))
            }
        }
    }

    /// Settings that hold from now on, while the node runs or before it does. Names among the seeds are
    /// resolved now, which may block, and later no more.
    ///
    /// - Parameters:
    ///   - logLevel: nil: as before.
    ///   - seeds: in place of those before; nil: these stay.
    ///   - change: changes bounds of clients; `clientCountMax` goes as high as there is room.
    /// - Throws: for a seed that cannot be one, or that other machines can reach without the permission.
    public func reconfigure(
        logLevel: LogLevel? = nil, seeds: [HostPort]? = nil,
        change: @escaping @Sendable (inout GatewayConfiguration) -> Void = { _ in }
    ) throws(MeshNodeError) {
        var addresses: [Endpoint]?
        if let seeds {
            var options = Options(seeds: seeds)
            options.allowsInsecureAddresses = allowsInsecureAddresses
            options.log = reactorOptions.log
            addresses = own.strike(from: try SeedResolver(options).resolve(isAgain: false))
        }
        inbox.reconfigure(
            Reconfiguration(logLevel: logLevel, seeds: addresses, change: change))
    }

    /// Says goodbye to the others and lets `run` return.
    public func leave() { inbox.leave() }

    /// Lets `run` return at once, without a word: to the others this is a crash.
    public func stop() { inbox.stop() }

    // MARK: Options

    /// At most an hour, so that no sum of instants can overflow.
    private static func delay(_ duration: Duration) -> Delay {
        let (seconds, attoseconds) = min(max(duration, .zero), .seconds(3_600)).components
        return Delay(nanoseconds: seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }

    private static func check(
        _ what: String, _ text: String, bytes: ClosedRange<Int>
    ) throws(MeshNodeError) {
        guard bytes.contains(text.utf8.count) else {
            throw .invalidText(
                what,
                reason: "has \(text.utf8.count) bytes, not \(bytes.lowerBound) … "
                    + "\(bytes.upperBound)")
        }
        guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
            throw .invalidText(what, reason: "contains control characters")
        }
    }

    /// An address to listen on, which only this machine can reach unless that is allowed.
    private static func local(
        _ option: String, _ address: HostPort, _ options: Options
    ) throws(MeshNodeError) -> Endpoint {
        let endpoint = try Resolver.endpoints(of: address)[0]
        try require(endpoint, option, address, options)
        return endpoint
    }

    private static func require(
        _ endpoint: Endpoint, _ option: String, _ address: HostPort, _ options: Options
    ) throws(MeshNodeError) {
        guard endpoint.isLoopback || options.allowsInsecureAddresses else {
            throw .insecureAddress(option, address)
        }
    }

    /// The addresses of a former life's members.
    private static func recall(_ file: StateFile, _ options: Options) -> [Endpoint] {
        let (addresses, fault) = file.read()
        let allowed = addresses.filter { $0.isLoopback || options.allowsInsecureAddresses }
        let isAllowed = allowed.count == addresses.count
        if let fault = fault ?? (isAllowed ? nil : "it has addresses that need --insecure") {
            var log = options.log
            log.write(
                .warning, "stateUnreadable",
                [
                    ("file", .text(file.path)), ("reason", .text(fault)),
                    ("hint", .text("its other addresses are used; it is written anew")),
                ])
        }
        return allowed
    }

    /// Writes members' addresses to the file; what goes wrong is told once in a row.
    private static func memory(
        _ file: StateFile, _ log: Log
    ) -> @Sendable ([Endpoint]) -> Void {
        let state = Mutex((log: log, isFailing: false))
        return { addresses in
            let fault = file.write(addresses)
            state.withLock { state in
                if let fault, !state.isFailing {
                    state.log.write(
                        .warning, "stateUnwritable",
                        [("file", .text(file.path)), ("reason", .text(fault))])
                }
                state.isFailing = fault != nil
            }
        }
    }

    private static func advertised(
        _ options: Options, _ mesh: Endpoint, _ seeds: [Endpoint]
    ) throws(MeshNodeError) -> Endpoint {
        if let address = options.advertise {
            var endpoint = try Resolver.endpoints(of: address)[0]
            if endpoint.port == 0 { endpoint.port = mesh.port }
            guard !endpoint.isUnspecified else {
                throw .invalidAddress(
                    address.description, reason: "nobody can connect to the address 0")
            }
            try require(endpoint, "--advertise", address, options)
            return endpoint
        }
        guard mesh.isUnspecified else { return mesh }
        // 192.0.2.1 and 2001:db8::1 are reserved for documentation: they stand for "somewhere else", and
        // nothing is sent there. What listens on :: is reached by IPv4 too, but not the other way round.
        let elsewhere = [
            Endpoint(ipv4: 0xC000_0201, port: 9),
            Endpoint(ipv6High: 0x2001_0DB8_0000_0000, low: 1, port: 9),
        ]
        let targets = seeds.filter({ !$0.isLoopback }) + elsewhere
        for target in targets where mesh.isIPv6 || !target.isIPv6 {
            if let source = Endpoint.source(towards: target, port: mesh.port),
                !source.isLoopback
            {
                return source
            }
        }
        throw .noAdvertisableAddress(options.mesh)
    }

    private static func clientAddress(
        _ options: Options, _ ports: Ports, _ advertised: Endpoint
    ) throws(MeshNodeError) -> ClientAddressSource {
        switch options.advertiseRedis {
        case .standard: return .listener
        case .none: return .hidden
        case .told(var address):
            func refuse(_ reason: String) -> MeshNodeError {
                .invalidText("--advertise-redis \(address)", reason: reason)
            }
            guard ports.redis != nil || ports.redisSocket != nil else {
                throw refuse("is where nothing listens: --redis is off")
            }
            if address.port == 0 {
                guard let redis = ports.redis else {
                    throw refuse("has no port, and a Unix socket has none that it could be")
                }
                address.port = redis.port
            }
            try check("--advertise-redis", address.description, bytes: 1...64)
            guard address.description.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                throw refuse("has other characters than those of ASCII")
            }
            // A name may lead elsewhere for others than it does here.
            let isNumeric = Resolver.isNumeric(address.host)
            guard isNumeric || address.host == "localhost" else {
                return .told(address.description)
            }
            let endpoint = try Resolver.endpoints(of: address)[0]
            guard !endpoint.isUnspecified else {
                throw refuse("is nowhere: nobody can connect to 0")
            }
            guard !endpoint.isLoopback || advertised.isLoopback else {
                throw refuse(
                    "leads each client to its own machine, and other nodes are on other machines; "
                        + "'off' says that their clients cannot come here")
            }
            try require(endpoint, "--advertise-redis", address, options)
            return .told(address.description)
        }
    }

    private static func hostName() -> String {
        var bytes = [UInt8](repeating: 0, count: 65)
        let result = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe gethostname(buffer.bindMemory(to: CChar.self).baseAddress!, buffer.count - 1)
        }
        guard result == 0 else { return "node" }
        let name = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        // The port and its colon need six of the 64 bytes.
        return name.isEmpty ? "node" : String(decoding: name.utf8.prefix(58), as: UTF8.self)
    }
}
